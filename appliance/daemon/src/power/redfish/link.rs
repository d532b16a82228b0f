//! One HTTP/1.1 connection to a BMC: bounded heads and bodies, no redirects,
//! nothing repeated. Driven by whoever asks, so that it needs no task.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::endpoint::Endpoint;
use super::fault::RedfishFault;

/// Most bytes of an answer's body. Firmware inventories of large servers stay
/// below a hundred kilobytes.
const BODY_BYTES: usize = 1024 * 1024;
/// Most bytes of an answer's head.
const HEAD_BYTES: usize = 64 * 1024;

/// An answer, whatever its status.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why an exchange failed.
pub(super) enum Broken {
    /// The connection went away; a new one may do.
    Connection(io::Error),
    /// What came is not to be had, on any connection.
    Answer(String),
}

/// An open connection.
pub(super) struct Link {
    sender: SendRequest<Full<Bytes>>,
    connection: Pin<Box<dyn Future<Output = ()> + Send>>,
    ended: bool,
}

impl Link {
    /// Connects, and checks who is there. The caller sets the deadline.
    pub(super) async fn open(endpoint: &Endpoint) -> Result<Self, RedfishFault> {
        let unreachable = |source| RedfishFault::Unreachable { source };
        let tcp = TcpStream::connect((endpoint.host.as_str(), endpoint.port))
            .await
            .map_err(unreachable)?;
        tcp.set_nodelay(true).map_err(unreachable)?;
        match &endpoint.tls {
            None => Self::over(tcp).await,
            Some((config, name)) => {
                let connector = TlsConnector::from(config.clone());
                let tls = connector.connect(name.clone(), tcp).await;
                Self::over(tls.map_err(tls_fault)?).await
            }
        }
    }

    async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Self, RedfishFault> {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| RedfishFault::Unreachable {
                source: io::Error::other(error),
            })?;
        Ok(Self {
            sender,
            // How it ends shows in the exchange, if there is one.
            connection: Box::pin(async move { drop(connection.await) }),
            ended: false,
        })
    }

    /// Whether it can carry a request, as far as is known without trying.
    pub(super) fn is_usable(&self) -> bool {
        !self.ended && !self.sender.is_closed()
    }

    /// One request and its whole answer.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Reply, Broken> {
        let Self {
            sender,
            connection,
            ended,
        } = self;
        let mut work = pin!(async move {
            sender.ready().await.map_err(broken)?;
            let response = sender.send_request(request).await.map_err(broken)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, BODY_BYTES).collect().await;
            let body = body.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    return Broken::Answer(format!("an answer is larger than {BODY_BYTES} bytes"));
                }
                match error.downcast::<hyper::Error>() {
                    Ok(error) => broken(*error),
                    Err(error) => Broken::Connection(io::Error::other(error)),
                }
            })?;
            Ok(Reply {
                status: head.status,
                headers: head.headers,
                body: body.to_bytes(),
            })
        });
        poll_fn(|context| {
            if !*ended && connection.as_mut().poll(context).is_ready() {
                *ended = true;
            }
            match work.as_mut().poll(context) {
                Poll::Ready(outcome) => Poll::Ready(outcome),
                // What the work did may be for the connection to carry on.
                Poll::Pending if !*ended => {
                    if connection.as_mut().poll(context).is_ready() {
                        *ended = true;
                        return work.as_mut().poll(context);
                    }
                    Poll::Pending
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}

fn broken(error: hyper::Error) -> Broken {
    if error.is_parse() || error.is_parse_too_large() {
        return Broken::Answer(format!("something answers, but not HTTP ({error})"));
    }
    Broken::Connection(io::Error::other(error))
}

fn tls_fault(error: io::Error) -> RedfishFault {
    let tls = error
        .get_ref()
        .and_then(|inner| (inner as &(dyn Error + 'static)).downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::General(why)) => RedfishFault::Untrusted { why: why.clone() },
        Some(rustls::Error::InvalidCertificate(why)) => RedfishFault::Untrusted {
            why: format!(
                "its certificate was refused ({why}): check `ca_file` and the host of `url`, or \
                 set `certificate_sha256` instead"
            ),
        },
        Some(other) => RedfishFault::Garbage {
            what: format!("no TLS connection: {other}"),
        },
        None => RedfishFault::Unreachable { source: error },
    }
}
