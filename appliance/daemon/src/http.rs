//! What every HTTP listener here shares: bounded connections, deadlines,
//! bodies. It knows no route.

use std::{convert::Infallible, future::Future, io, pin::pin, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Semaphore, watch},
};

/// Body of every answer.
pub type Body = BoxBody<Bytes, io::Error>;

/// An answer.
pub type Answer = Response<Body>;

/// Longest time for the head of a request.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// How long open connections may go on after a stop was asked for.
const DRAIN: Duration = Duration::from_secs(5);

/// Ends when the appliance stops.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// Tells every [`Shutdown`] to end.
#[derive(Debug)]
pub struct ShutdownHandle(watch::Sender<bool>);

impl Shutdown {
    /// A pair of both ends.
    #[must_use]
    pub fn new() -> (ShutdownHandle, Self) {
        let (sender, receiver) = watch::channel(false);
        (ShutdownHandle(sender), Self(receiver))
    }

    /// Resolves once the appliance stops.
    pub async fn wait(mut self) {
        drop(self.0.wait_for(|stopping| *stopping).await);
    }
}

impl ShutdownHandle {
    /// Tells everybody.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// Limits the connections of one listener.
#[derive(Clone, Debug)]
pub struct Connections(Arc<Semaphore>);

impl Connections {
    /// At most `most` at once; more wait to be accepted.
    #[must_use]
    pub fn at_most(most: usize) -> Self {
        Self(Arc::new(Semaphore::new(most)))
    }

    /// Waits for a free place.
    pub async fn place(&self) -> Option<tokio::sync::OwnedSemaphorePermit> {
        Arc::clone(&self.0).acquire_owned().await.ok()
    }
}

/// Serves one connection until it ends or the appliance stops.
pub async fn serve_connection<S, H, F>(stream: S, shutdown: Shutdown, handler: H)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Answer>,
{
    let service = service_fn(|request| {
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(64 * 1024);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.wait() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(DRAIN, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// A body of these bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed()
}

/// An answer of this type and content.
pub fn answer(status: StatusCode, content_type: &'static str, bytes: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(full(bytes));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// An answer in plain text.
pub fn text(status: StatusCode, message: impl Into<String>) -> Answer {
    let mut message = message.into();
    message.push('\n');
    answer(status, "text/plain; charset=utf-8", message)
}

/// An answer in JSON.
pub fn json(status: StatusCode, value: &impl serde::Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(bytes) => answer(status, "application/json", bytes),
        Err(_) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the answer cannot be written as JSON",
        ),
    }
}
