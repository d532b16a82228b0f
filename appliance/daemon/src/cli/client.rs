//! HTTP over the control socket.

use std::path::{Path, PathBuf};

use anyhow::Context;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, body::Bytes};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

/// Largest answer, in bytes.
const MAX_ANSWER: usize = 64 << 20;

/// Longest wait for an answer.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(30);

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
        self.ask(Method::GET, path, String::new())
    }

    pub(super) fn post(&self, path: &str, body: String) -> anyhow::Result<Value> {
        self.ask(Method::POST, path, body)
    }

    fn ask(&self, method: Method, path: &str, body: String) -> anyhow::Result<Value> {
        self.runtime.block_on(async {
            tokio::time::timeout(DEADLINE, self.exchange(method, path, body))
                .await
                .context("the appliance did not answer in time")?
        })
    }

    async fn exchange(&self, method: Method, path: &str, body: String) -> anyhow::Result<Value> {
        let stream = UnixStream::connect(&self.socket).await.with_context(|| {
            format!(
                "connect to {}: is `musher serve` running?",
                self.socket.display()
            )
        })?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "musher")
            .body(Full::new(Bytes::from(body)))
            .context("names on the command line must be plain")?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let bytes = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!("read answer: {error}"))?
            .to_bytes();
        drop(sender);
        connection.abort();
        if !status.is_success() {
            anyhow::bail!("{}", String::from_utf8_lossy(&bytes).trim_end());
        }
        Ok(serde_json::from_slice(&bytes)?)
    }
}
