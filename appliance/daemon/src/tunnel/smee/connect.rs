//! Opens an event stream: TCP, perhaps through the site's proxy, perhaps TLS,
//! then one request. Each step has a deadline; no redirect is followed.

use std::{sync::Arc, time::Duration};

use http_body_util::Empty;
use hyper::{
    Request, StatusCode, Uri,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{
    config::ChannelUrl,
    github::{is_loopback, roots},
};

/// Deadline of each step.
const STEP: Duration = Duration::from_secs(15);
/// Most bytes of a proxy's answer.
const PROXY_BYTES: usize = 8 * 1024;

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("{0} takes too long")]
    Slow(&'static str),
    #[error("{0}: {1}")]
    Io(&'static str, std::io::Error),
    #[error("no authority to trust: {0}")]
    Roots(String),
    #[error("the channel's host is no name for TLS")]
    Name,
    #[error("the proxy refuses: {0}")]
    Proxy(String),
    #[error("the channel answers no HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("the channel answers {0}: is tunnel.url right?")]
    Status(StatusCode),
    #[error("the channel's address is no event stream: is tunnel.url right?")]
    NoStream,
}

/// An open stream. Its connection ends with it.
pub(super) struct Stream {
    pub(super) body: Incoming,
    _connection: JoinSet<()>,
}

/// The certificates to trust, read once.
pub(super) fn tls() -> Result<Arc<ClientConfig>, ConnectError> {
    let mut store = RootCertStore::empty();
    let roots = roots(None).map_err(|(_, reason)| ConnectError::Roots(reason))?;
    store.add_parsable_certificates(roots.iter().map(|root| root.der().into()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ConnectError::Roots(error.to_string()))?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Opens the stream of a channel.
pub(super) async fn open(url: &ChannelUrl, last_id: &str) -> Result<Stream, ConnectError> {
    let tcp = reach(url).await?;
    if !url.https {
        return ask(tcp, url, last_id).await;
    }
    let name = ServerName::try_from(url.host.clone()).map_err(|_| ConnectError::Name)?;
    let shake = TlsConnector::from(tls()?).connect(name, tcp);
    let stream = step("TLS with the channel", shake).await?;
    ask(stream, url, last_id).await
}

async fn step<T>(
    what: &'static str,
    doing: impl Future<Output = std::io::Result<T>>,
) -> Result<T, ConnectError> {
    let done = timeout(STEP, doing).await;
    let done = done.map_err(|_| ConnectError::Slow(what))?;
    done.map_err(|error| ConnectError::Io(what, error))
}

/// Connects to the channel's host, or to the site's proxy and through it.
async fn reach(url: &ChannelUrl) -> Result<TcpStream, ConnectError> {
    let proxy = proxy(url);
    let Some(proxy) = proxy else {
        let connect = TcpStream::connect((url.host.as_str(), url.port));
        return step("connecting to the channel", connect).await;
    };
    let connect = TcpStream::connect((proxy.host(), proxy.port()));
    let mut stream = step("connecting to the proxy", connect).await?;
    let target = format!("{}:{}", url.host, url.port);
    // RFC 9110 section 9.3.6.
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    step("asking the proxy", stream.write_all(request.as_bytes())).await?;
    let answer = step("the proxy's answer", head(&mut stream)).await?;
    let first = answer.lines().next().unwrap_or_default();
    if first.split(' ').nth(1) != Some("200") {
        return Err(ConnectError::Proxy(super::super::one_line(
            first.as_bytes(),
        )));
    }
    Ok(stream)
}

/// The site's proxy for this address, from the environment as curl knows it.
fn proxy(url: &ChannelUrl) -> Option<ureq::Proxy> {
    if !url.https || is_loopback(&url.host) {
        return None;
    }
    let proxy = ureq::Proxy::try_from_env()?;
    let target: Uri = format!("https://{}:{}/", url.host, url.port).parse().ok()?;
    (!proxy.is_no_proxy(&target)).then_some(proxy)
}

/// An answer's head, byte by byte: what follows is not ours to take.
async fn head(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < PROXY_BYTES {
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    url: &ChannelUrl,
    last_id: &str,
) -> Result<Stream, ConnectError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut task = JoinSet::new();
    task.spawn(async move { drop(connection.await) });
    let host = match url.host.contains(':') {
        true => format!("[{}]:{}", url.host, url.port),
        false => format!("{}:{}", url.host, url.port),
    };
    // smee.io opens a stream for exactly this media type.
    let mut request = Request::get(url.path.as_str())
        .header(HOST, host)
        .header(ACCEPT, "text/event-stream")
        .header(CACHE_CONTROL, "no-cache")
        .header(USER_AGENT, concat!("musher/", env!("CARGO_PKG_VERSION")));
    if !last_id.is_empty() {
        request = request.header("Last-Event-ID", last_id);
    }
    // Every part was checked when it was read.
    let request = request.body(Empty::<Bytes>::new());
    let request = request.map_err(|_| ConnectError::NoStream)?;
    let answer = timeout(STEP, sender.send_request(request)).await;
    let answer = answer.map_err(|_| ConnectError::Slow("the channel's answer"))??;
    if answer.status() != StatusCode::OK {
        return Err(ConnectError::Status(answer.status()));
    }
    let kind = answer.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("text/event-stream") {
        return Err(ConnectError::NoStream);
    }
    Ok(Stream {
        body: answer.into_body(),
        _connection: task,
    })
}
