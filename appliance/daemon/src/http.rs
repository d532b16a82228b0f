//! What every HTTP listener here shares: bounded connections, deadlines,
//! bodies. It knows no route.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

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
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
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

/// Something that connections come from.
pub trait Listener: Send + 'static {
    /// A connection.
    type Stream: Send + 'static;

    /// The next connection, and where it came from.
    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Option<SocketAddr>)>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<(TcpStream, Option<SocketAddr>)> {
        let (stream, peer) = self.accept().await?;
        drop(stream.set_nodelay(true));
        Ok((stream, Some(peer)))
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<(UnixStream, Option<SocketAddr>)> {
        let (stream, _) = self.accept().await?;
        Ok((stream, None))
    }
}

/// Bounds the connections of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Connections {
    /// At once; more wait to be accepted.
    pub most: usize,
    /// At once from one address; more are closed at once.
    pub per_peer: usize,
}

/// How many connections each address has.
type Peers = Arc<Mutex<BTreeMap<IpAddr, usize>>>;

/// A connection's place, given back when it ends.
struct Place {
    _permit: OwnedSemaphorePermit,
    peer: Option<(IpAddr, Peers)>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((address, peers)) = &self.peer else {
            return;
        };
        let mut peers = peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = peers.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                peers.remove(address);
            }
        }
    }
}

impl Connections {
    /// Accepts connections and serves each on a task of its own, until the
    /// appliance stops.
    pub async fn accept<L, F>(
        self,
        listener: L,
        shutdown: Shutdown,
        serve: impl Fn(L::Stream, Option<SocketAddr>) -> F,
    ) where
        L: Listener,
        F: Future<Output = ()> + Send + 'static,
    {
        let places = Arc::new(Semaphore::new(self.most));
        let peers = Peers::default();
        let mut stop = pin!(shutdown.wait());
        loop {
            let Ok(permit) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                accepted = listener.next() => accepted,
                () = &mut stop => return,
            };
            let Ok((stream, peer)) = accepted else {
                // Out of descriptors, or the peer is gone already.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let Some(place) = self.place(permit, peer, &peers) else {
                tracing::debug!(?peer, "too many connections from one address");
                continue;
            };
            let served = serve(stream, peer);
            tokio::spawn(async move {
                served.await;
                drop(place);
            });
        }
    }

    fn place(
        self,
        permit: OwnedSemaphorePermit,
        peer: Option<SocketAddr>,
        peers: &Peers,
    ) -> Option<Place> {
        let peer = match peer {
            Some(peer) => {
                let address = peer.ip().to_canonical();
                let mut counts = peers.lock().unwrap_or_else(PoisonError::into_inner);
                let count = counts.entry(address).or_default();
                if *count >= self.per_peer {
                    return None;
                }
                *count += 1;
                Some((address, Arc::clone(peers)))
            }
            None => None,
        };
        Some(Place {
            _permit: permit,
            peer,
        })
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
