//! Boot files by HTTP, for `sled_listen`: the iPXE script, kernel and
//! initramfs. It never lists anything, never serves a path that a client
//! names, and never changes anything.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /boot/script?mac=…` | boot script, held script, 403 or 404 |
//! | `GET /boot/{token}/kernel` and `…/initramfs` | the file, 403 or 404 |
//! | `HEAD` of those | the same without body |
//! | another method | 405 |
//!
//! 403 means "not allowed", 404 "unknown": an operator at a sled's screen can
//! tell a machine without ticket from a wrong address.

mod body;
mod range;

use std::io;
use std::net::{SocketAddr, SocketAddrV4};

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE,
};
use hyper::{Method, Request, Response, StatusCode};
use protocols::dhcp::MacAddress;
use protocols::ipxe::{BootToken, Notice, boot_script, held_script};
use tokio::net::TcpListener;
use tracing::{error, info};

use super::authority::{BootAnswer, BootAuthority, BootFile, BootQuestion, ask};
use super::socket::{self, SocketError};
pub(crate) use body::FileBody;
use range::Selection;

/// Body of every answer.
pub type BootBody = BoxBody<Bytes, io::Error>;

/// How long a held machine shows why before it powers off.
const HELD_SECONDS: u16 = 30;
/// Longest path with query that is looked at.
const MAX_TARGET_BYTES: usize = 512;

/// Listens at `address` for connections that come in by `interface`. Others
/// are refused by the kernel.
///
/// # Errors
/// The address or the interface cannot be used.
pub fn listen(interface: &str, address: SocketAddrV4) -> Result<TcpListener, SocketError> {
    socket::tcp("HTTP", interface, address)
}

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Script(MacAddress),
    File(BootToken, BootFile),
}

/// Answers one request below `/boot/`. The caller owns connections: deadlines
/// for slow readers and their number are bounded there.
pub async fn serve_boot_file<A: BootAuthority, B>(
    authority: &A,
    peer: SocketAddr,
    request: Request<B>,
) -> Response<BootBody> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD are served\n",
        );
        response
            .headers_mut()
            .insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let uri = request.uri();
    let Some(target) = target(uri.path(), uri.query().unwrap_or_default()) else {
        return text(StatusCode::NOT_FOUND, "no such boot file\n");
    };
    let mut response = match target {
        Target::Script(mac) => script(authority, peer, mac).await,
        Target::File(token, file) => {
            let range = request
                .headers()
                .get(RANGE)
                .and_then(|value| value.to_str().ok());
            let head = request.method() == Method::HEAD;
            boot_file(authority, peer, token, file, range, head).await
        }
    };
    if request.method() == Method::HEAD {
        // Content-Length stays as GET would say it: UEFI HTTP Boot sizes its
        // buffer by HEAD.
        *response.body_mut() = empty();
    }
    response
}

fn target(path: &str, query: &str) -> Option<Target> {
    if path.len() + query.len() > MAX_TARGET_BYTES {
        return None;
    }
    let rest = path.strip_prefix("/boot/")?;
    if rest == "script" {
        let mac = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("mac="))?;
        // Some clients encode the colons.
        let mac = mac.replace("%3A", ":").replace("%3a", ":");
        return mac.parse().ok().map(Target::Script);
    }
    let (token, name) = rest.split_once('/')?;
    let file = match name {
        "kernel" => BootFile::Kernel,
        "initramfs" => BootFile::Initramfs,
        _ => return None,
    };
    BootToken::parse(token)
        .ok()
        .map(|token| Target::File(token, file))
}

async fn script<A: BootAuthority>(
    authority: &A,
    peer: SocketAddr,
    mac: MacAddress,
) -> Response<BootBody> {
    match ask(authority, BootQuestion::Script { mac, peer }).await {
        BootAnswer::Offer(offer) => {
            info!(%mac, %peer, "boot script served");
            text(
                StatusCode::OK,
                boot_script(mac, &offer.token, &offer.command_line),
            )
        }
        BootAnswer::Held { reason } => {
            info!(%mac, %peer, reason, "held script served");
            text(
                StatusCode::OK,
                held_script(mac, &Notice::new(&reason), HELD_SECONDS),
            )
        }
        refused => refusal(&refused, &format!("script of {mac}"), peer),
    }
}

async fn boot_file<A: BootAuthority>(
    authority: &A,
    peer: SocketAddr,
    token: BootToken,
    file: BootFile,
    range: Option<&str>,
    head: bool,
) -> Response<BootBody> {
    let offer = match ask(authority, BootQuestion::File { token, file, peer }).await {
        BootAnswer::Offer(offer) => offer,
        refused => return refusal(&refused, &format!("{file:?}"), peer),
    };
    let path = match file {
        BootFile::Kernel => &offer.kernel,
        BootFile::Initramfs => &offer.initramfs,
    };
    let opened = FileBody::open(path).await;
    let (mut content, total) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            error!(%peer, ?file, path = %path.display(), %error, "boot file not readable");
            let why = "the appliance cannot read this boot file; see its log\n";
            return text(StatusCode::INTERNAL_SERVER_ERROR, why);
        }
    };
    let (status, first, length) = match Selection::of(range, total) {
        Selection::Whole => (StatusCode::OK, 0, total),
        Selection::Part { first, length } => (StatusCode::PARTIAL_CONTENT, first, length),
        Selection::Unsatisfiable => {
            let mut response = text(StatusCode::RANGE_NOT_SATISFIABLE, "range is past the end\n");
            insert(&mut response, CONTENT_RANGE, &format!("bytes */{total}"));
            return response;
        }
    };
    if let Err(error) = content.select(first, length).await {
        error!(%peer, ?file, path = %path.display(), %error, "boot file not readable");
        return text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the boot file cannot be read\n",
        );
    }
    info!(%peer, ?file, first, length, head, "boot file served");
    let mut response = Response::new(content.boxed());
    *response.status_mut() = status;
    insert(&mut response, CONTENT_TYPE, "application/octet-stream");
    insert(&mut response, CONTENT_LENGTH, &length.to_string());
    insert(&mut response, ACCEPT_RANGES, "bytes");
    if status == StatusCode::PARTIAL_CONTENT {
        let last = first + length.saturating_sub(1);
        insert(
            &mut response,
            CONTENT_RANGE,
            &format!("bytes {first}-{last}/{total}"),
        );
    }
    response
}

fn refusal(answer: &BootAnswer, what: &str, peer: SocketAddr) -> Response<BootBody> {
    let (status, reason) = match answer {
        BootAnswer::Unknown => (StatusCode::NOT_FOUND, "unknown machine or token"),
        BootAnswer::Held { reason } | BootAnswer::Refused { reason } => {
            (StatusCode::FORBIDDEN, reason.as_str())
        }
        BootAnswer::LeaseOnly | BootAnswer::Offer(_) => (StatusCode::FORBIDDEN, "no boot is due"),
    };
    info!(%peer, what, status = status.as_u16(), reason, "boot request refused");
    let prefix = if status == StatusCode::FORBIDDEN {
        "not allowed: "
    } else {
        ""
    };
    text(status, format!("{prefix}{reason}\n"))
}

fn text(status: StatusCode, content: impl Into<Bytes>) -> Response<BootBody> {
    let content = content.into();
    let length = content.len();
    let full = Full::new(content).map_err(|never| match never {});
    let mut response = Response::new(full.boxed());
    *response.status_mut() = status;
    insert(&mut response, CONTENT_TYPE, "text/plain; charset=utf-8");
    insert(&mut response, CONTENT_LENGTH, &length.to_string());
    insert(&mut response, CACHE_CONTROL, "no-store");
    response
}

fn empty() -> BootBody {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// Sets a header whose value is visible ASCII by construction.
fn insert(response: &mut Response<BootBody>, name: hyper::header::HeaderName, value: &str) {
    if let Ok(value) = hyper::header::HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests;
