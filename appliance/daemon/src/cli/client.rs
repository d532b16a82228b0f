//! HTTP over the control socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

/// Largest answer, in bytes.
const MAX_ANSWER: usize = 64 << 20;

/// Longest wait for an answer.
const DEADLINE: Duration = Duration::from_secs(30);

/// The control socket that a configuration names. Only `state_dir` is looked
/// at: whoever asks for the status need not be able to read secrets.
pub(super) fn socket_path(config: &Path) -> anyhow::Result<PathBuf> {
    let text = std::fs::read_to_string(config).with_context(|| {
        format!(
            "{}: cannot be read (name it with --config, or the socket with --socket)",
            config.display()
        )
    })?;
    let value: toml::Table =
        toml::from_str(&text).with_context(|| format!("{}: not TOML", config.display()))?;
    let state_dir = value
        .get("server")
        .and_then(|server| server.get("state_dir"))
        .and_then(toml::Value::as_str)
        .with_context(|| format!("{}: server.state_dir is missing", config.display()))?;
    let base = config.parent().unwrap_or_else(|| Path::new("."));
    Ok(crate::serve::control_socket(&base.join(state_dir)))
}

/// A client of one appliance.
pub(super) struct Client {
    socket: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    pub(super) fn new(socket: PathBuf) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self { socket, runtime })
    }

    pub(super) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.ask(Method::GET, path, String::new(), DEADLINE)
    }

    pub(super) fn post(&self, path: &str, body: String) -> anyhow::Result<Value> {
        self.ask(Method::POST, path, body, DEADLINE)
    }

    /// Asks for what may take as long as `deadline`.
    pub(super) fn get_within(&self, path: &str, deadline: Duration) -> anyhow::Result<Value> {
        self.ask(Method::GET, path, String::new(), deadline)
    }

    /// Has done what may take as long as `deadline`.
    pub(super) fn post_within(&self, path: &str, deadline: Duration) -> anyhow::Result<Value> {
        self.ask(Method::POST, path, String::new(), deadline)
    }

    /// Hands pieces of an answer to `take` as they come, until it ends.
    pub(super) fn follow(
        &self,
        path: &str,
        mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> anyhow::Result<()> {
        self.runtime.block_on(async {
            let mut body = self.send(Method::GET, path, String::new()).await?;
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| anyhow::anyhow!("read answer: {error}"))?;
                if let Some(bytes) = frame.data_ref() {
                    take(bytes)?;
                }
            }
            Ok(())
        })
    }

    fn ask(
        &self,
        method: Method,
        path: &str,
        body: String,
        deadline: Duration,
    ) -> anyhow::Result<Value> {
        self.runtime.block_on(async {
            tokio::time::timeout(deadline, self.exchange(method, path, body))
                .await
                .context("the appliance did not answer in time")?
        })
    }

    async fn exchange(&self, method: Method, path: &str, body: String) -> anyhow::Result<Value> {
        let body = self.send(method, path, body).await?;
        let bytes = whole(body).await?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// The body of a good answer; a bad one is an error with its text.
    async fn send(&self, method: Method, path: &str, body: String) -> anyhow::Result<Incoming> {
        let stream = UnixStream::connect(&self.socket).await.with_context(|| {
            format!(
                "connect to {}: is `musher serve` running?",
                self.socket.display()
            )
        })?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Ends by itself when the answer was read or dropped.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "musher")
            .header("connection", "close")
            .body(Full::new(Bytes::from(body)))
            .context("names on the command line must be plain")?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        if !status.is_success() {
            let bytes = whole(response.into_body()).await?;
            anyhow::bail!("{}", String::from_utf8_lossy(&bytes).trim_end());
        }
        Ok(response.into_body())
    }
}

async fn whole(body: Incoming) -> anyhow::Result<Bytes> {
    let collected = Limited::new(body, MAX_ANSWER).collect().await;
    let bytes = collected.map_err(|error| anyhow::anyhow!("read answer: {error}"))?;
    Ok(bytes.to_bytes())
}
