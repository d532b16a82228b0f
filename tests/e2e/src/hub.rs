//! The GitHub stand-in beside a [`Standalone`] Musher.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{Request, Standalone, exchange, program};

/// A stand-in that runs. It ends with the value.
#[derive(Debug)]
pub struct Hub {
    child: Child,
    api: SocketAddr,
}

impl Hub {
    /// Starts one that knows the App of `musher`, with one repository,
    /// `octo-org/app`, and that offers a runner 2.335.0. `webhook` is where it
    /// sends deliveries; `channel` is where smee.io-style channels are.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(musher: &Standalone, webhook: &str, channel: SocketAddr) -> Result<Self> {
        let dir = musher.dir();
        let made = Command::new("openssl")
            .args([
                "rsa",
                "-in",
                "gh-app.pem",
                "-pubout",
                "-out",
                "gh-app.pub.pem",
            ])
            .current_dir(dir)
            .stdin(Stdio::null())
            .output()
            .context("cannot run openssl; install the package openssl")?;
        ensure!(made.status.success(), "openssl wrote no public key");
        // Any archive will do: nobody runs it.
        let packed = Command::new(program("fakehub")?)
            .args(["runner-tarball", "--runner", "musher.toml"])
            .args(["--out", "runner.tar.gz"])
            .current_dir(dir)
            .status()
            .context("run fakehub")?;
        ensure!(packed.success(), "fakehub packed no runner");
        let config = format!(
            r#"[api]
listen = "127.0.0.1:0"

[channel]
listen = "{channel}"

[runner]
path = "runner.tar.gz"
version = "2.335.0"

[[app]]
app_id = 123456
public_key_path = "gh-app.pub.pem"
webhook_url = "{webhook}"
webhook_secret_path = "webhook-secret"

[[app.installation]]
id = 1001
account = "octo-org"
repositories = ["app"]
"#
        );
        std::fs::write(dir.join("fakehub.toml"), config).context("write fakehub.toml")?;
        let mut child = Command::new(program("fakehub")?)
            .arg("--config")
            .arg(dir.join("fakehub.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("start fakehub")?;
        let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let mut lines = lines.map_while(Result::ok);
        let api = lines.find_map(|line| line.strip_prefix("fakehub: api http://")?.parse().ok());
        let hub = Self {
            child,
            // In case of an error the value ends the child.
            api: api.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 9))),
        };
        ensure!(api.is_some(), "fakehub named no address");
        std::thread::spawn(move || lines.for_each(drop));
        Ok(hub)
    }

    /// Where its API is.
    #[must_use]
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// Queues a job for self-hosted runners, which sends a delivery. GitHub's
    /// number of the job.
    ///
    /// # Errors
    /// It refuses.
    pub fn queue_job(&self, name: &str) -> Result<u64> {
        let job = json!({
            "repo": "octo-org/app", "labels": ["self-hosted", "linux", "x64"],
            "name": name, "script": "true",
        });
        let answer = self.post("jobs", &job)?;
        let made: Value = serde_json::from_str(&answer).context("read the job")?;
        made["id"].as_u64().context("the job has no id")
    }

    /// Cancels a job, which sends a delivery.
    ///
    /// # Errors
    /// It refuses.
    pub fn cancel_job(&self, id: u64) -> Result<()> {
        self.post(&format!("jobs/{id}/cancel"), &json!({}))
            .map(drop)
    }

    /// Somebody else's runner takes a queued job, which sends a delivery.
    ///
    /// # Errors
    /// It refuses.
    pub fn steal_job(&self, id: u64) -> Result<()> {
        let runner = json!({ "runner_name": "somebody-elses" });
        self.post(&format!("jobs/{id}/steal"), &runner).map(drop)
    }

    /// What happens to deliveries from now on: `deliver`, `duplicate`,
    /// `unreachable`, `lost`.
    ///
    /// # Errors
    /// It refuses.
    pub fn deliveries_are(&self, mode: &str) -> Result<()> {
        self.post("deliveries/mode", &json!({ "mode": mode }))
            .map(drop)
    }

    /// Lets deliveries come late from now on: all (`late`), or every second one
    /// (`reordered`).
    ///
    /// # Errors
    /// It refuses.
    pub fn deliveries_wait(&self, mode: &str, delay_ms: u32) -> Result<()> {
        let mode = json!({ "mode": mode, "delay_ms": delay_ms });
        self.post("deliveries/mode", &mode).map(drop)
    }

    /// The delivery log with payloads, newest first.
    ///
    /// # Errors
    /// It does not answer.
    pub fn deliveries(&self) -> Result<Vec<Value>> {
        let answer = exchange(self.api, &Request::get("/_fakehub/deliveries"))?;
        let body: Value = serde_json::from_str(&answer.body).context("read deliveries")?;
        let all = body["deliveries"].as_array().context("no list")?;
        Ok(all.clone())
    }

    fn post(&self, path: &str, body: &Value) -> Result<String> {
        let request = Request {
            body: body.to_string().into_bytes(),
            ..Request::get("")
        }
        .to(&format!("POST /_fakehub/{path}"))
        .with("Content-Type", "application/json");
        let answer = exchange(self.api, &request)?;
        ensure!(answer.status < 300, "fakehub: {path}: {answer:?}");
        Ok(answer.body)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
