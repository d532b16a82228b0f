//! Requests as bytes on a socket, so that a test can also send wrong ones.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const PATIENCE: Duration = Duration::from_secs(30);

/// A request to be sent.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method and path.
    pub target: String,
    /// Headers beyond `Host` and `Content-Length`.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Request {
    /// A request without a body.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self {
            target: format!("GET {path}"),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// A delivery as GitHub sends it, signed.
    #[must_use]
    pub fn delivery(secret: &[u8], id: &str, event: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let signature = sign(secret, &body);
        Self {
            target: "POST /api/webhook".to_owned(),
            headers: Vec::new(),
            body,
        }
        .with("Content-Type", "application/json")
        .with("X-GitHub-Delivery", id)
        .with("X-GitHub-Event", event)
        .with("X-Hub-Signature-256", &signature)
    }

    /// Sets a header, in place of one that is there.
    #[must_use]
    pub fn with(self, name: &str, value: &str) -> Self {
        let mut changed = self.without(name);
        changed.headers.push((name.to_owned(), value.to_owned()));
        changed
    }

    /// Takes a header away.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers
            .retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self
    }

    /// Sends it elsewhere.
    #[must_use]
    pub fn to(mut self, target: &str) -> Self {
        target.clone_into(&mut self.target);
        self
    }

    /// Every byte of it, for whoever sends it elsewhere.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.head(self.body.len()).as_bytes(), &self.body].concat()
    }

    fn head(&self, length: usize) -> String {
        let mut head = format!(
            "{} HTTP/1.1\r\nHost: musher\r\nConnection: close\r\nContent-Length: {length}\r\n",
            self.target
        );
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head + "\r\n"
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// Body as text.
    pub body: String,
}

impl Answer {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    /// The field `result` of a JSON body.
    #[must_use]
    pub fn result(&self) -> Option<String> {
        let body: serde_json::Value = serde_json::from_str(&self.body).ok()?;
        Some(body.get("result")?.as_str()?.to_owned())
    }
}

/// Sends a request and waits for the answer.
///
/// # Errors
/// No connection, or no answer that is HTTP.
pub fn exchange(address: SocketAddr, request: &Request) -> Result<Answer> {
    let mut stream = connect(address)?;
    stream
        .write_all(request.head(request.body.len()).as_bytes())
        .context("send a request")?;
    // A server that refuses early stops reading; its answer counts.
    let _ = stream.write_all(&request.body);
    answer(stream)
}

/// As [`exchange`], over a Unix socket.
///
/// # Errors
/// No connection, or no answer that is HTTP.
pub fn exchange_at(socket: &Path, request: &Request) -> Result<Answer> {
    let stream = UnixStream::connect(socket);
    let mut stream = stream.with_context(|| format!("connect to {}", socket.display()))?;
    stream
        .set_read_timeout(Some(PATIENCE))
        .context("bound the wait")?;
    stream
        .write_all(&request.to_bytes())
        .context("send a request")?;
    answer(stream)
}

/// Announces the whole body but sends only its first byte, then waits.
///
/// # Errors
/// No connection, or no answer that is HTTP.
pub fn send_slowly(address: SocketAddr, request: &Request, announce: usize) -> Result<Answer> {
    let mut stream = connect(address)?;
    stream
        .write_all(request.head(announce).as_bytes())
        .context("send a request")?;
    let _ = stream.write_all(b"{");
    answer(stream)
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    stream
        .set_read_timeout(Some(PATIENCE))
        .context("bound the wait")?;
    stream
        .set_write_timeout(Some(PATIENCE))
        .context("bound the wait")?;
    Ok(stream)
}

fn answer(mut stream: impl Read) -> Result<Answer> {
    let mut bytes = Vec::new();
    // The connection may be reset behind the answer: what came is judged.
    let ended = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .with_context(|| format!("no HTTP answer in {text:?} ({ended:?})"))?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok(Answer {
        status: status.with_context(|| format!("no status in {head:?}"))?,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

/// The value of `X-Hub-Signature-256` for a body.
#[must_use]
pub fn sign(secret: &[u8], body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any key length serves");
    mac.update(body);
    mac.finalize()
        .into_bytes()
        .iter()
        .fold("sha256=".to_owned(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
