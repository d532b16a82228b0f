//! Listeners: HTTP/1.1 with or without TLS, bodies bounded in size and time.
//! The sled side serves the runner protocol and downloads and nothing else.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::answer::{Answer, Body, Request};
use crate::config::Listener;
use crate::downloads::{self, Outgoing};
use crate::hub::Hub;
use crate::state::Trouble;
use crate::{StartError, api, broker, control};

/// Largest request body.
const MAX_BODY: usize = 1024 * 1024;
/// Time for a whole request body, and for a TLS handshake.
const READ_DEADLINE: Duration = Duration::from_secs(30);
/// Connections at once and per listener.
const MAX_CONNECTIONS: usize = 512;

/// Which paths a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Everything.
    Api,
    /// Runner protocol and downloads.
    Sled,
}

/// A bound listener.
pub struct Bound {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
    /// Base address for clients.
    pub url: String,
}

impl Bound {
    /// Binds and reads the TLS files, if any.
    ///
    /// # Errors
    /// The address is not free, or a file does not serve.
    pub async fn bind(config: &Listener) -> Result<Self, StartError> {
        let socket = TcpListener::bind(config.listen)
            .await
            .map_err(|source| StartError::Bind {
                address: config.listen,
                source,
            })?;
        let address = socket.local_addr().map_err(|source| StartError::Bind {
            address: config.listen,
            source,
        })?;
        let tls = match (&config.tls_cert, &config.tls_key) {
            (Some(cert), Some(key)) => Some(acceptor(cert, key)?),
            _ => None,
        };
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = config
            .url
            .clone()
            .unwrap_or_else(|| format!("{scheme}://{address}"));
        Ok(Self {
            socket,
            tls,
            url: url.trim_end_matches('/').to_owned(),
        })
    }

    /// Serves until the task is dropped.
    pub async fn serve(self, hub: Arc<Hub>, side: Side) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut tasks = JoinSet::new();
        loop {
            while tasks.try_join_next().is_some() {}
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let stream = match self.socket.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, mostly: let others finish.
                    eprintln!("fakehub: accept: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (hub, tls) = (Arc::clone(&hub), self.tls.clone());
            tasks.spawn(async move {
                match tls {
                    None => connection(stream, hub, side).await,
                    Some(tls) => {
                        let shake = tokio::time::timeout(READ_DEADLINE, tls.accept(stream));
                        if let Ok(Ok(stream)) = shake.await {
                            connection(stream, hub, side).await;
                        }
                    }
                }
                drop(place);
            });
        }
    }
}

fn acceptor(cert: &std::path::Path, key: &std::path::Path) -> Result<TlsAcceptor, StartError> {
    let wrong = |path: &std::path::Path, error: &dyn std::fmt::Display| StartError::Tls {
        path: path.display().to_string(),
        message: error.to_string(),
    };
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(cert, &error))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(cert, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| wrong(cert, &error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    hub: Arc<Hub>,
    side: Side,
) {
    let service = service_fn(move |request| {
        let hub = Arc::clone(&hub);
        async move { serve_one(&hub, side, request).await }
    });
    // A client that goes away is no error of ours, a lost answer is wanted.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_DEADLINE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// The connection is closed instead of an answer, as a test asked.
#[derive(Debug, thiserror::Error)]
#[error("the answer is lost")]
struct Lost;

async fn serve_one(
    hub: &Arc<Hub>,
    side: Side,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Outgoing>, Lost> {
    let (parts, body) = request.into_parts();
    let head_only = parts.method == hyper::Method::HEAD;
    let target = parts.uri.path_and_query().map_or("/", |it| it.as_str());
    let method = if head_only {
        "GET"
    } else {
        parts.method.as_str()
    };
    let mut whole = Request::new(method, target);
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|it| it.to_str().ok())
            .map(str::to_owned)
    };
    whole.authorization = header("authorization");
    whole.user_agent = header("user-agent");
    whole.if_none_match = header("if-none-match");
    let body = Limited::new(body, MAX_BODY).collect();
    let answer = match tokio::time::timeout(READ_DEADLINE, body).await {
        Err(_) => Answer::error(408, "Request Timeout"),
        Ok(Err(_)) => Answer::error(413, "Payload Too Large"),
        Ok(Ok(body)) => {
            whole.body = body.to_bytes().to_vec();
            troubled(hub, side, &whole).await?
        }
    };
    let mut response = response(answer, head_only);
    // By the clock that tests move, not by the machine's.
    if let Ok(date) = crate::ids::http_date(hub.now_ms()).parse() {
        response.headers_mut().insert("date", date);
    }
    Ok(response)
}

/// Answers, unless one of GitHub's bad days strikes.
async fn troubled(hub: &Arc<Hub>, side: Side, request: &Request) -> Result<Answer, Lost> {
    let github = side == Side::Api && !request.path.starts_with("/_");
    let github = github || request.path.starts_with("/_download/");
    let trouble = match github {
        true => hub.state().strike(&request.method, &request.path),
        false => None,
    };
    match trouble {
        Some(Trouble::Status { status }) => Ok(Answer::error(status, "Server Error")),
        Some(Trouble::SecondaryLimit { retry_after_s }) => Ok(Answer::error(
            403,
            "You have exceeded a secondary rate limit. Please wait a few minutes before you try \
             again.",
        )
        .header("retry-after", retry_after_s.to_string())),
        Some(Trouble::Slow { delay_ms }) => {
            let answer = route(hub, side, request).await;
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            Ok(answer)
        }
        Some(Trouble::LostAnswer) => {
            route(hub, side, request).await;
            Err(Lost)
        }
        // These strike downloads alone.
        Some(Trouble::SpoiltArchive | Trouble::CutArchive | Trouble::HugeArchive) | None => {
            Ok(route(hub, side, request).await)
        }
    }
}

/// Sends a request where its path belongs.
pub async fn route(hub: &Arc<Hub>, side: Side, request: &Request) -> Answer {
    let first = request.path.split('/').nth(1).unwrap_or_default();
    match (first, side) {
        ("_download", _) => downloads::handle(hub, request),
        ("_runner", _) => broker::handle(hub, request).await,
        ("_fakehub", Side::Api) => control::handle(hub, request),
        (_, Side::Api) => api::take_form(hub, request).unwrap_or_else(|| api::handle(hub, request)),
        (_, Side::Sled) => Answer::not_found(),
    }
}

fn response(answer: Answer, head_only: bool) -> hyper::Response<Outgoing> {
    let mut response = hyper::Response::builder()
        .status(answer.status)
        .header("server", "fakehub");
    for (name, value) in &answer.headers {
        response = response.header(*name, value);
    }
    let (bytes, says) = match answer.body {
        Body::Cut { bytes, says } => (Bytes::from_owner(SharedBytes(bytes)), Some(says)),
        Body::Empty => (Bytes::new(), None),
        Body::Json(value) => {
            response = response.header("content-type", "application/json; charset=utf-8");
            (Bytes::from(value.to_string()), None)
        }
        Body::File(bytes) => (Bytes::from_owner(SharedBytes(bytes)), None),
    };
    if head_only {
        response = response.header("content-length", bytes.len());
    }
    let body = match says {
        _ if head_only => Outgoing::whole(Bytes::new()),
        Some(says) => {
            response = response.header("content-length", says);
            Outgoing::cut(bytes)
        }
        None => Outgoing::whole(bytes),
    };
    response
        .body(body)
        .unwrap_or_else(|_| hyper::Response::new(Outgoing::whole(Bytes::new())))
}

/// Serves one buffer to many without copies.
struct SharedBytes(Arc<Vec<u8>>);

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
