//! The shipped `musher serve` with one pool and no sled: jobs are matched,
//! queued and stored, and nothing is ever powered on for them.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::deliveries::{LABELS, ORGANIZATION, SECRET};
use crate::program::{Program, free_address};

/// A running daemon.
pub(crate) struct Daemon {
    pub(crate) program: Program,
    /// Where it takes deliveries.
    pub(crate) address: SocketAddr,
    socket: PathBuf,
}

/// The App's number, and its private key's file.
pub(crate) const APP: u64 = 123_456;
pub(crate) const KEY: &str = "gh-app.pem";

/// The path that deliveries are posted to.
pub(crate) const PATH: &str = "/api/webhook";

impl Daemon {
    /// Starts the binary on an empty state in `dir`, with its default limits
    /// and its default log, which goes to a file.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn start(musher: &Path, dir: &Path) -> Result<Self> {
        make_key(dir)?;
        Self::start_at(musher, dir, "http://127.0.0.1:1", "direct")
    }

    /// The same with GitHub at `api_url`, deliveries coming in by this `kind` of
    /// tunnel, and the App's key made already.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn start_at(musher: &Path, dir: &Path, api_url: &str, kind: &str) -> Result<Self> {
        let address = free_address()?;
        write_files(dir, address, api_url, kind)?;
        let mut command = Command::new(musher);
        command
            .args([
                "serve",
                "--config",
                "musher.toml",
                "--inventory",
                "inventory.toml",
            ])
            .env_remove("MUSHER_LOG")
            .current_dir(dir);
        let program = Program::start(&mut command, &dir.join("musher.log"), address)?;
        let socket = dir.join("state/control.sock");
        Ok(Self {
            program,
            address,
            socket,
        })
    }
}

impl Daemon {
    /// Deliveries that it took from GitHub's log.
    ///
    /// # Errors
    /// It does not say.
    pub(crate) fn taken(&self, musher: &Path) -> Result<u64> {
        let said = Command::new(musher)
            .args(["status", "--json", "--socket"])
            .arg(&self.socket)
            .output()
            .context("ask for its status")?;
        let status: serde_json::Value =
            serde_json::from_slice(&said.stdout).context("read its status")?;
        let taken = status.pointer("/ways/delivery_log/0/taken");
        let taken = taken.and_then(serde_json::Value::as_u64);
        taken.context("its status has no log")
    }
}

fn write_files(dir: &Path, address: SocketAddr, api_url: &str, kind: &str) -> Result<()> {
    let admin = free_address()?;
    let config = format!(
        r#"[server]
webhook_listen = "{address}"
admin_listen = "{admin}"
state_dir = "state"

[tunnel]
kind = "{kind}"

[[github]]
name = "main"
api_url = "{api_url}"
app_id = {APP}
private_key_path = "{KEY}"
webhook_secret_path = "webhook-secret"
"#
    );
    let labels = LABELS.map(|label| format!("\"{label}\"")).join(", ");
    // No sled ever boots this: the files only have to exist.
    let inventory = format!(
        r#"[[image]]
name = "none"
kernel = "image"
initramfs = "image"
rootfs = "image"

[[pool]]
name = "linux-x64"
github = "main"
scope = {{ org = "{ORGANIZATION}" }}
labels = [{labels}]
image = "none"
"#
    );
    write(&dir.join("musher.toml"), config.as_bytes(), 0o644)?;
    write(&dir.join("inventory.toml"), inventory.as_bytes(), 0o644)?;
    write(&dir.join("image"), b"no image", 0o644)?;
    write(&dir.join("webhook-secret"), SECRET, 0o600)?;
    Ok(())
}

/// Makes the App's key in `dir`.
///
/// # Errors
/// openssl refuses.
pub(crate) fn make_key(dir: &Path) -> Result<()> {
    // openssl keeps the mode of a file that is there.
    let key = dir.join(KEY);
    write(&key, b"", 0o600)?;
    openssl(&["genrsa", "-traditional", "-out"], &key)
}

/// Runs openssl with `words` and a file.
///
/// # Errors
/// It is not there, or refuses.
pub(crate) fn openssl(words: &[&str], file: &Path) -> Result<()> {
    let done = Command::new("openssl")
        .args(words)
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .context("run openssl; install the package openssl")?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "openssl {words:?}: {said}");
    Ok(())
}

pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    // Removed first: an old file would keep its old mode.
    let _ = fs::remove_file(path);
    File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .with_context(|| format!("write {}", path.display()))
}
