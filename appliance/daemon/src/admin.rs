//! What people and the command line see: the status page, `/metrics` and
//! `/api/v1`, on the admin listener over TLS, and on the control socket in the
//! clear.
//!
//! The admin listener only shows. What changes anything is taken on the
//! control socket alone, which only the daemon's own user can open.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use control::{Event, Lever, Reply};
use http_body_util::{BodyExt, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::{Body, Bytes, Frame, Incoming},
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue, X_CONTENT_TYPE_OPTIONS},
};
use messages::BootId;
use serde::Serialize;
use tokio::{
    net::{TcpListener, UnixListener},
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;

mod power;

use crate::{
    boot_logs::log_path,
    dispatch::PowerDesk,
    engine::Engine,
    http::{Answer, Connections, Shutdown, answer, json, serve_connection, text},
    keys::ReceiptKey,
    metrics, page,
    releases::{ReleaseBoard, ReleasesView},
    store::Store,
    ways::{Ways, WaysView},
};

/// Each open page holds one connection or two.
const CONNECTIONS: Connections = Connections {
    most: 256,
    per_peer: 64,
};

/// Longest wait for a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Jobs shown when nobody says how many.
const JOBS: usize = 100;

/// Most jobs, and most receipts, in one answer.
const MOST: usize = 1_000;

/// Least time between two notices of change.
const NOTICE_GAP: Duration = Duration::from_millis(500);

/// A line is sent this often, so that a lost connection is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Largest body of a command, in bytes.
const COMMAND_BYTES: usize = 64 * 1024;

/// How long the identify light is lit when nobody says how long, in seconds.
const IDENTIFY_S: u64 = 15;

/// Where a request came from, and so what it may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The admin listener: look.
    Admin,
    /// The control socket: look and act.
    Control,
}

/// A receipt as it is exported.
#[derive(Clone, Debug, Serialize, serde::Deserialize)]
pub struct ReceiptExport {
    /// Place in the chain.
    pub sequence: u64,
    /// The signed body, in hex.
    pub body: String,
    /// Ed25519 signature in hex, once it is made.
    pub signature: Option<String>,
}

/// Receipts as they are exported.
#[derive(Debug, Serialize, serde::Deserialize)]
pub struct ReceiptsExport {
    /// The public key, 32 bytes in hex.
    pub key: String,
    /// In order.
    pub receipts: Vec<ReceiptExport>,
}

/// The page and the API.
pub struct Admin {
    /// The core.
    pub engine: Engine,
    /// For receipts.
    pub store: Store,
    /// For their public key.
    pub receipts: Arc<ReceiptKey>,
    /// Where runner logs and consoles are.
    pub logs: PathBuf,
    /// For questions to power drivers.
    pub desk: PowerDesk,
    /// Address and mask of a network of the sleds' own. Linux takes packets
    /// for any of its addresses on any interface, so binding to the admin
    /// network's address alone does not keep sleds out.
    pub sled_network: Option<(Ipv4Addr, Ipv4Addr)>,
    /// How deliveries come in.
    pub ways: Ways,
    /// The runner's releases, one per App.
    pub releases: Vec<Arc<ReleaseBoard>>,
}

/// The whole appliance in one answer.
#[derive(Serialize)]
struct Status {
    #[serde(flatten)]
    core: control::StatusView,
    ways: WaysView,
    runner_releases: Vec<ReleasesView>,
}

/// A person's word on what a sled owes before it is in service.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Judgement {
    status: Verdict,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Success,
    Failure,
}

/// `POST /api/v1/acceptance/{id}/status`: the id is the sled's name or the nonce
/// of its present try.
fn judgement(id: &str, body: &[u8]) -> Result<Lever, serde_json::Error> {
    let said: Judgement = serde_json::from_slice(body)?;
    Ok(Lever::Accept {
        acceptance: id.to_owned(),
        passed: matches!(said.status, Verdict::Success),
    })
}

/// Whether a peer is in this network.
fn is_in(network: Option<(Ipv4Addr, Ipv4Addr)>, peer: IpAddr) -> bool {
    let (Some((address, mask)), IpAddr::V4(peer)) = (network, peer.to_canonical()) else {
        return false;
    };
    peer & mask == address & mask
}

impl Admin {
    /// Serves people until the appliance stops.
    pub async fn run(self: Arc<Self>, listener: TcpListener, tls: TlsAcceptor, shutdown: Shutdown) {
        let until = shutdown.clone();
        let serve = |stream, peer: Option<SocketAddr>| {
            let (admin, tls, shutdown) = (Arc::clone(&self), tls.clone(), shutdown.clone());
            async move {
                if peer.is_some_and(|peer| is_in(admin.sled_network, peer.ip())) {
                    tracing::warn!(?peer, "a sled tried to reach the admin listener");
                    return;
                }
                if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                    let handler = |request| admin.answer(Way::Admin, request, &shutdown);
                    serve_connection(stream, shutdown.clone(), handler).await;
                }
            }
        };
        CONNECTIONS.accept(listener, until, serve).await;
    }

    /// Serves the command line until the appliance stops.
    pub async fn run_control(self: Arc<Self>, listener: UnixListener, shutdown: Shutdown) {
        let until = shutdown.clone();
        let serve = |stream, _| {
            let (admin, shutdown) = (Arc::clone(&self), shutdown.clone());
            async move {
                let handler = |request| admin.answer(Way::Control, request, &shutdown);
                serve_connection(stream, shutdown.clone(), handler).await;
            }
        };
        CONNECTIONS.accept(listener, until, serve).await;
    }

    async fn answer(&self, way: Way, request: Request<Incoming>, shutdown: &Shutdown) -> Answer {
        let path = request.uri().path().to_owned();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let mut answer = match (request.method(), parts.as_slice()) {
            (&Method::GET, [""]) => self.page(page::document).await,
            (&Method::GET, ["live"]) => self.page(page::live).await,
            (&Method::GET, ["style.css"]) => answer(StatusCode::OK, "text/css", page::STYLE),
            (&Method::GET, ["page.js"]) => answer(StatusCode::OK, "text/javascript", page::SCRIPT),
            (&Method::GET, ["icon.svg"]) => answer(StatusCode::OK, "image/svg+xml", page::ICON),
            (&Method::GET, ["metrics"]) => self.metrics().await,
            (&Method::GET, ["events"]) => self.events(shutdown.clone()),
            (&Method::GET, ["api", "v1", "power"]) if way == Way::Control => {
                self.power_sweep().await
            }
            (&Method::GET, ["api", "v1", "sleds", name, "power"]) if way == Way::Control => {
                self.power(name).await
            }
            (&Method::GET, ["api", "v1", "sleds", name, "console"]) if way == Way::Control => {
                let follow = parameter(request.uri().query(), "follow") == Some(1);
                self.console(name, follow, shutdown.clone()).await
            }
            (&Method::GET, ["api", "v1", "jobs", number, "console"]) if way == Way::Control => {
                self.console_of_job(number).await
            }
            (&Method::POST, ["api", "v1", "sleds", name, "identify"]) if way == Way::Control => {
                let for_s = parameter(request.uri().query(), "for").unwrap_or(IDENTIFY_S);
                self.identify(name, for_s).await
            }
            (&Method::POST, ["api", "v1", "sleds", name, "password"]) if way == Way::Control => {
                self.rotate_password(name).await
            }
            (&Method::GET, ["api", "v1", "sleds", name, "events"]) if way == Way::Control => {
                self.bmc_events(name).await
            }
            (&Method::POST, ["api", "v1", "sleds", name, "clear-events"])
                if way == Way::Control =>
            {
                self.clear_bmc_events(name).await
            }
            (&Method::GET, ["api", "v1", rest @ ..]) => {
                self.look(rest, request.uri().query()).await
            }
            (&Method::POST, ["api", "v1", rest @ ..]) if way == Way::Control => {
                let rest: Vec<String> = rest.iter().map(|part| (*part).to_owned()).collect();
                self.act(&rest, request).await
            }
            (&Method::POST, _) => text(
                StatusCode::FORBIDDEN,
                "changes are taken on the control socket only: use the musher command on the appliance",
            ),
            _ => text(StatusCode::NOT_FOUND, "not found"),
        };
        let headers = answer.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(
            CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(page::CONTENT_SECURITY_POLICY),
        );
        answer
    }

    fn releases(&self) -> Vec<ReleasesView> {
        self.releases.iter().map(|board| board.view()).collect()
    }

    async fn page(
        &self,
        render: fn(&control::StatusView, &WaysView, &[ReleasesView]) -> String,
    ) -> Answer {
        match self
            .engine
            .query(|state, now| state.status(now, JOBS))
            .await
        {
            Ok(view) => {
                let html = render(&view, &self.ways.view(), &self.releases());
                answer(StatusCode::OK, "text/html; charset=utf-8", html)
            }
            Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        }
    }

    async fn metrics(&self) -> Answer {
        let ask = |state: &control::State, now| (state.status(now, 0), metrics::Kept::of(state));
        match self.engine.query(ask).await {
            Ok((view, kept)) => {
                let text = metrics::render(&view, &kept);
                answer(StatusCode::OK, metrics::CONTENT_TYPE, text)
            }
            Err(error) => stopping(error),
        }
    }

    async fn look(&self, path: &[&str], query: Option<&str>) -> Answer {
        let limit = parameter(query, "limit")
            .unwrap_or(JOBS as u64)
            .min(MOST as u64);
        let limit = usize::try_from(limit).unwrap_or(MOST);
        match path {
            ["status"] => {
                let view = self
                    .engine
                    .query(move |state, now| state.status(now, limit))
                    .await;
                let whole = view.map(|core| Status {
                    core,
                    ways: self.ways.view(),
                    runner_releases: self.releases(),
                });
                whole.map_or_else(stopping, |whole| json(StatusCode::OK, &whole))
            }
            ["jobs"] => {
                let view = self
                    .engine
                    .query(move |state, now| state.job_views(now, limit))
                    .await;
                view.map_or_else(stopping, |view| json(StatusCode::OK, &view))
            }
            ["sleds"] => {
                let view = self
                    .engine
                    .query(|state, now| state.status(now, 0).sleds)
                    .await;
                view.map_or_else(stopping, |view| json(StatusCode::OK, &view))
            }
            ["pools"] => {
                let view = self.engine.query(|state, _| state.pool_views()).await;
                view.map_or_else(stopping, |view| json(StatusCode::OK, &view))
            }
            ["jobs", number, "explain"] => match number.parse() {
                Ok(number) => self.explain(number).await,
                Err(_) => text(StatusCode::NOT_FOUND, "a job's id is a number"),
            },
            ["receipts"] => {
                self.receipts(parameter(query, "from").unwrap_or(1), limit)
                    .await
            }
            ["boots", id, "log"] => match id.parse::<BootId>() {
                Ok(id) => runner_log(&self.logs, id).await,
                Err(_) => text(StatusCode::NOT_FOUND, "not found"),
            },
            _ => text(StatusCode::NOT_FOUND, "not found"),
        }
    }

    async fn explain(&self, number: u64) -> Answer {
        let said = self
            .engine
            .query(move |state, now| state.explain(now, number))
            .await;
        match said {
            Ok(Some(said)) => json(StatusCode::OK, &said),
            Ok(None) => text(
                StatusCode::NOT_FOUND,
                format!(
                    "job {number} is not known: no delivery told of it, or it fitted no pool a long time ago"
                ),
            ),
            Err(error) => stopping(error),
        }
    }

    async fn receipts(&self, from: u64, limit: usize) -> Answer {
        let store = self.store.clone();
        let rows = tokio::task::spawn_blocking(move || store.receipts(from, limit)).await;
        match rows {
            Ok(Ok(rows)) => {
                let receipts = rows.into_iter().map(|(sequence, receipt)| ReceiptExport {
                    sequence,
                    body: hex(&receipt.body),
                    signature: receipt.signature.map(|signature| hex(&signature.0)),
                });
                let export = ReceiptsExport {
                    key: self.receipts.public_hex(),
                    receipts: receipts.collect(),
                };
                json(StatusCode::OK, &export)
            }
            Ok(Err(error)) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "receipts cannot be read"),
        }
    }

    async fn act(&self, path: &[String], request: Request<Incoming>) -> Answer {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let read: fn(&str, &[u8]) -> Result<Lever, serde_json::Error> = match path.as_slice() {
            ["levers"] => |_, body| serde_json::from_slice(body),
            ["acceptance", _, "status"] => judgement,
            _ => return text(StatusCode::NOT_FOUND, "not found"),
        };
        let body = Limited::new(request.into_body(), COMMAND_BYTES)
            .collect()
            .await;
        let Ok(body) = body else {
            return text(StatusCode::PAYLOAD_TOO_LARGE, "the command is too long");
        };
        let name = path.get(1).copied().unwrap_or_default();
        let lever = match read(name, &body.to_bytes()) {
            Ok(lever) => lever,
            Err(error) => {
                let message = format!("this is no command that is known here: {error}");
                return text(StatusCode::BAD_REQUEST, message);
            }
        };
        let event = Event::Lever(lever);
        match self.engine.submit(event).await {
            Ok(Reply::Done(Ok(()))) => json(StatusCode::OK, &serde_json::json!({ "done": true })),
            Ok(Reply::Done(Err(error))) => text(StatusCode::CONFLICT, error.to_string()),
            Ok(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "no answer"),
            Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        }
    }

    /// Server-sent events: one `change` whenever something was committed.
    fn events(&self, shutdown: Shutdown) -> Answer {
        let mut changes = self.engine.changes();
        let (lines, ready) = mpsc::channel(1);
        tokio::spawn(async move {
            let stop = shutdown.wait();
            let mut stop = std::pin::pin!(stop);
            loop {
                let line = tokio::select! {
                    changed = changes.changed() => match changed {
                        Ok(()) => "event: change\ndata: 1\n\n",
                        Err(_) => return,
                    },
                    () = tokio::time::sleep(HEARTBEAT) => ": still here\n\n",
                    () = &mut stop => return,
                };
                if lines
                    .send(Bytes::from_static(line.as_bytes()))
                    .await
                    .is_err()
                {
                    return;
                }
                tokio::time::sleep(NOTICE_GAP).await;
            }
        });
        let mut answer = answer(StatusCode::OK, "text/event-stream", "");
        *answer.body_mut() = BodyExt::boxed(Lines(ready));
        answer
    }
}

/// A body of lines as they come.
struct Lines(mpsc::Receiver<Bytes>);

impl Body for Lines {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0
            .poll_recv(context)
            .map(|line| line.map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn stopping(error: crate::engine::EngineError) -> Answer {
    text(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}

async fn runner_log(logs: &Path, id: BootId) -> Answer {
    match tokio::fs::read(log_path(logs, id)).await {
        Ok(bytes) => answer(StatusCode::OK, "text/plain; charset=utf-8", bytes),
        Err(_) => text(StatusCode::NOT_FOUND, "this boot has no runner log"),
    }
}

fn parameter(query: Option<&str>, name: &str) -> Option<u64> {
    query?
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.parse().ok())
}

/// Bytes in hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleds_are_told_from_people() {
        let sleds = Some((Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(255, 255, 255, 0)));
        let check = |peer: &str, expect: bool| {
            assert_eq!(is_in(sleds, peer.parse().unwrap()), expect, "{peer}");
        };
        check("10.77.0.50", true);
        check("::ffff:10.77.0.50", true);
        check("10.77.1.50", false);
        check("127.0.0.1", false);
        check("fe80::1", false);
        assert!(!is_in(None, "10.77.0.50".parse().unwrap()));
    }
}
