//! A channel as smee.io has them: what is posted to `/NAME` comes out of it as
//! server-sent events. Anybody may post and read; the body is parsed and
//! written again. Source: probot/smee.io, `lib/server.js`.
//!
//! Unlike there, keys come out in alphabetical order, and nothing is shown to
//! browsers.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;

use crate::answer::percent_decoded;

/// Fastify's limit of a body.
const MAX_BODY: usize = 1024 * 1024;
/// Time between two signs of life.
const PING: Duration = Duration::from_secs(30);
/// Time for a request.
const READ_DEADLINE: Duration = Duration::from_secs(30);
/// Events that a slow reader may be behind.
const BEHIND: usize = 256;
/// Channels that have readers.
const CHANNELS: usize = 64;

type Answer = Response<BoxBody<Bytes, Infallible>>;

/// The channels that somebody reads.
#[derive(Default)]
struct Channels(Mutex<HashMap<String, broadcast::Sender<Arc<str>>>>);

impl Channels {
    fn reader(&self, name: &str) -> Option<broadcast::Receiver<Arc<str>>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, sender| sender.receiver_count() > 0);
        if all.len() >= CHANNELS && !all.contains_key(name) {
            return None;
        }
        let sender = all.entry(name.to_owned());
        Some(
            sender
                .or_insert_with(|| broadcast::channel(BEHIND).0)
                .subscribe(),
        )
    }

    /// Without readers it is lost, as at smee.io.
    fn send(&self, name: &str, event: &Value) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = all.get(name) {
            let _ = sender.send(event.to_string().into());
        }
    }
}

/// Serves until the task is dropped.
pub async fn serve(listener: TcpListener) {
    let channels = Arc::new(Channels::default());
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let channels = Arc::clone(&channels);
        tasks.spawn(async move {
            let mut readers = JoinSet::new();
            let (started, mut streams) = mpsc::unbounded_channel();
            let service = service_fn(move |request| {
                let (channels, started) = (Arc::clone(&channels), started.clone());
                async move { Ok::<_, Infallible>(answer(&channels, &started, request).await) }
            });
            let mut connection = std::pin::pin!(
                hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(READ_DEADLINE)
                    .serve_connection(TokioIo::new(stream), service)
            );
            loop {
                tokio::select! {
                    _ = &mut connection => return,
                    Some((reader, out)) = streams.recv() => {
                        readers.spawn(copy(reader, out));
                    }
                }
            }
        });
    }
}

type Started = mpsc::UnboundedSender<(broadcast::Receiver<Arc<str>>, mpsc::Sender<Bytes>)>;

async fn answer(channels: &Channels, started: &Started, request: Request<Incoming>) -> Answer {
    let path = request.uri().path();
    let name = path.strip_prefix('/').unwrap_or_default().to_owned();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !(1..=128).contains(&name.len()) || !name.bytes().all(is_name) {
        return plain(StatusCode::BAD_REQUEST, "params/channel must match pattern");
    }
    match *request.method() {
        Method::GET => {
            let accept = request.headers().get(ACCEPT);
            if accept.is_none_or(|accept| accept != "text/event-stream") {
                return plain(StatusCode::OK, "a page for browsers");
            }
            let Some(reader) = channels.reader(&name) else {
                return plain(StatusCode::FORBIDDEN, "too many channels");
            };
            let (out, lines) = mpsc::channel(8);
            let _ = started.send((reader, out));
            let mut answer = Response::new(BodyExt::boxed(Lines(lines)));
            let kind = hyper::header::HeaderValue::from_static("text/event-stream");
            answer.headers_mut().insert(CONTENT_TYPE, kind);
            answer
        }
        Method::POST => post(channels, &name, request).await,
        _ => plain(StatusCode::NOT_FOUND, "not found"),
    }
}

async fn post(channels: &Channels, name: &str, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let kind = head.headers.get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.split(';').next() != Some("application/json") {
        return plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported media type");
    }
    let body = tokio::time::timeout(READ_DEADLINE, Limited::new(body, MAX_BODY).collect()).await;
    let body = match body {
        Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "too slow"),
        Ok(Err(_)) => return plain(StatusCode::PAYLOAD_TOO_LARGE, "too large"),
        Ok(Ok(body)) => body.to_bytes(),
    };
    let Ok(body) = serde_json::from_slice::<Map<String, Value>>(&body) else {
        return plain(StatusCode::BAD_REQUEST, "body must be object");
    };
    let query: BTreeMap<String, String> = head
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (percent_decoded(key), percent_decoded(value)))
        .collect();
    let mut event = Map::new();
    for (key, value) in &head.headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        event.insert(key.to_string(), value.into());
    }
    event.insert("body".into(), body.into());
    event.insert("query".into(), serde_json::json!(query));
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now_ms = u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
    event.insert("timestamp".into(), now_ms.into());
    channels.send(name, &event.into());
    plain(StatusCode::OK, "")
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(BodyExt::boxed(Full::from(text)));
    *answer.status_mut() = status;
    answer
}

/// Writes what comes to one reader, until either end is gone.
async fn copy(mut reader: broadcast::Receiver<Arc<str>>, out: mpsc::Sender<Bytes>) {
    let mut id = 0;
    let mut next = Some("event: ready\ndata: {}\n\n".to_owned());
    loop {
        if let Some(text) = next.take() {
            if out.send(format!("id: {id}\n{text}").into()).await.is_err() {
                return;
            }
            id += 1;
        }
        next = tokio::select! {
            event = reader.recv() => match event {
                Ok(event) => Some(format!("data: {event}\n\n")),
                Err(broadcast::error::RecvError::Lagged(_)) => None,
                Err(broadcast::error::RecvError::Closed) => return,
            },
            () = tokio::time::sleep(PING) => Some("event: ping\ndata: {}\n\n".to_owned()),
            () = out.closed() => return,
        };
    }
}

/// A body of lines as they come.
struct Lines(mpsc::Receiver<Bytes>);

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(context)
            .map(|line| line.map(|bytes| Ok(Frame::data(bytes))))
    }
}
