//! Talks to the GitHub stand-in's control routes, by curl inside the rig's
//! namespace, since their address is loopback there.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use musher_lab::Lab;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::files::HUB_API;

/// A job as the stand-in keeps it.
#[derive(Clone, Debug, Deserialize)]
pub struct HubJob {
    /// Its number.
    pub id: u64,
    /// `queued`, `in_progress`, `completed`.
    pub status: String,
    /// How it ended.
    pub conclusion: Option<String>,
    /// The runner that took it.
    pub runner_name: Option<String>,
    /// What its script printed.
    pub log: Vec<String>,
}

pub(crate) fn get<T: DeserializeOwned>(lab: &Lab, path: &str) -> Result<T> {
    curl(lab, path, &[])
}

pub(crate) fn post<T: DeserializeOwned>(lab: &Lab, path: &str, body: &Value) -> Result<T> {
    let body = body.to_string();
    curl(lab, path, &["--json", &body])
}

fn curl<T: DeserializeOwned>(lab: &Lab, path: &str, arguments: &[&str]) -> Result<T> {
    let done = lab
        .command("curl")
        .args([
            "--silent",
            "--show-error",
            "--fail-with-body",
            "--max-time",
            "10",
        ])
        .args(arguments)
        .arg(format!("http://{HUB_API}/_fakehub/{path}"))
        .stdin(Stdio::null())
        .output()
        .context("cannot run curl; install the package curl")?;
    let said = String::from_utf8_lossy(&done.stdout);
    ensure!(
        done.status.success(),
        "ask the GitHub stand-in for {path}: {said} {}",
        String::from_utf8_lossy(&done.stderr).trim()
    );
    serde_json::from_str(&said).with_context(|| format!("read the stand-in's answer to {path}"))
}
