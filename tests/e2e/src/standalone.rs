//! A `musher serve` without sleds: webhook and page on free ports of loopback.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use musher_demo::wait_for;
use serde_json::Value;
use tempfile::TempDir;

const START_LIMIT: Duration = Duration::from_secs(30);

/// The path of a program of the workspace.
///
/// # Errors
/// It is not built.
pub fn program(name: &str) -> Result<PathBuf> {
    let me = std::env::current_exe().context("find the running program")?;
    me.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("cannot find {name}; run `cargo build --workspace --bins`"))
}

/// Writes a secret with mode 0600.
///
/// # Errors
/// The file cannot be written.
pub fn secret(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).context("set a secret's mode")
}

/// Musher's files in a folder that goes with the value, and the program, if it
/// was started.
#[derive(Debug)]
pub struct Standalone {
    folder: TempDir,
    webhook: SocketAddr,
    admin: SocketAddr,
    child: Option<Child>,
}

impl Standalone {
    /// The webhook's secret.
    pub const SECRET: &[u8] = b"a secret of this test";

    /// Writes a valid configuration and an inventory with one pool and no
    /// sleds; nothing is started.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir().context("make a folder")?;
        let dir = folder.path();
        let (webhook, admin) = (free_port()?, free_port()?);
        secret(
            &dir.join("webhook-secret"),
            std::str::from_utf8(Self::SECRET)?,
        )?;
        secret(&dir.join("gh-app.pem"), "")?;
        let made = Command::new("openssl")
            .args(["genrsa", "-traditional", "-out"])
            .arg(dir.join("gh-app.pem"))
            .stdin(Stdio::null())
            .output()
            .context("cannot run openssl; install the package openssl")?;
        ensure!(made.status.success(), "openssl made no key");
        for name in ["kernel", "initramfs", "rootfs"] {
            fs::write(dir.join(name), name).context("write an image's file")?;
        }
        fs::write(dir.join("musher.toml"), config(webhook, admin)).context("write musher.toml")?;
        fs::write(dir.join("inventory.toml"), INVENTORY).context("write inventory.toml")?;
        Ok(Self {
            folder,
            webhook,
            admin,
            child: None,
        })
    }

    /// The folder with `musher.toml` and everything that it names.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// Lets it ask this stand-in, and adds `[tunnel]` or other lines.
    ///
    /// # Errors
    /// The configuration cannot be written.
    pub fn configure(&self, api: SocketAddr, lines: &str) -> Result<()> {
        let file = self.dir().join("musher.toml");
        let text = fs::read_to_string(&file).context("read musher.toml")?;
        let text = text.replace("http://127.0.0.1:9\"", &format!("http://{api}\""));
        fs::write(file, format!("{text}\n{lines}\n")).context("write musher.toml")
    }

    /// Where deliveries are taken.
    #[must_use]
    pub fn webhook(&self) -> SocketAddr {
        self.webhook
    }

    /// Where the status page is, over TLS.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Starts `musher serve` and waits until it answers.
    ///
    /// # Errors
    /// It ends at once; the message holds what it said.
    pub fn start(&mut self) -> Result<()> {
        let log = self.dir().join("musher.log");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .context("open a log")?;
        let child = Command::new(program("musher")?)
            .arg("serve")
            .arg("--config")
            .arg(self.dir().join("musher.toml"))
            .arg("--inventory")
            .arg(self.dir().join("inventory.toml"))
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("share a log")?)
            .stderr(file)
            .spawn()
            .context("start musher")?;
        let child = self.child.insert(child);
        let webhook = self.webhook;
        wait_for("musher", START_LIMIT, || {
            if let Some(status) = child.try_wait().context("look after musher")? {
                anyhow::bail!("musher ended ({status}): {}", fs::read_to_string(&log)?);
            }
            Ok(std::net::TcpStream::connect(webhook).ok())
        })?;
        Ok(())
    }

    /// The number of its process.
    ///
    /// # Errors
    /// It does not run.
    pub fn pid(&self) -> Result<u32> {
        let child = self.child.as_ref().context("musher is not running")?;
        Ok(child.id())
    }

    /// What it has said so far.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn log(&self) -> Result<String> {
        fs::read_to_string(self.dir().join("musher.log")).context("read musher.log")
    }

    /// GitHub's numbers of the jobs that it knows, the newest thousand.
    ///
    /// # Errors
    /// It does not answer, or not as documented.
    pub fn jobs(&self) -> Result<BTreeSet<u64>> {
        let done = self.run(&[
            "jobs",
            "--json",
            "--limit",
            "1000",
            "--config",
            "musher.toml",
        ])?;
        ensure!(done.status.success(), "musher jobs: {done:?}");
        let jobs: Vec<Value> = serde_json::from_slice(&done.stdout).context("read musher jobs")?;
        jobs.iter()
            .map(|job| {
                job["id"]
                    .as_u64()
                    .with_context(|| format!("no id in {job}"))
            })
            .collect()
    }

    /// Kills it without a warning.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("musher is not running")?;
        child.kill().context("kill musher")?;
        child.wait().context("wait for musher")?;
        Ok(())
    }

    /// Runs a `musher` command to its end.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        Command::new(program("musher")?)
            .args(arguments)
            .current_dir(self.dir())
            .stdin(Stdio::null())
            .output()
            .context("run musher")
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        if self.child.is_some() {
            let _ = self.kill();
        }
    }
}

/// A port of loopback that nobody uses now.
///
/// # Errors
/// There is none.
pub fn free_port() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listen on loopback")?;
    listener.local_addr().context("ask for a port")
}

fn config(webhook: SocketAddr, admin: SocketAddr) -> String {
    format!(
        r#"[server]
webhook_listen = "{webhook}"
admin_listen = "{admin}"
state_dir = "state"

[[github]]
name = "main"
api_url = "http://127.0.0.1:9"
app_id = 123456
private_key_path = "gh-app.pem"
webhook_secret_path = "webhook-secret"
"#
    )
}

const INVENTORY: &str = r#"[[image]]
name = "debian-12"
kernel = "kernel"
initramfs = "initramfs"
rootfs = "rootfs"

[[pool]]
name = "linux-x64"
github = "main"
scope = { org = "octo-org" }
labels = ["self-hosted", "linux", "x64"]
image = "debian-12"
"#;
