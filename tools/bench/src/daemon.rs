//! The shipped `musher serve` with one pool and no sled: jobs are matched,
//! queued and stored, and nothing is ever powered on for them.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::deliveries::{LABELS, ORGANIZATION, SECRET};
use crate::program::{Program, free_address};

/// A running daemon.
pub(crate) struct Daemon {
    pub(crate) program: Program,
    /// Where it takes deliveries.
    pub(crate) address: SocketAddr,
}

/// The path that deliveries are posted to.
pub(crate) const PATH: &str = "/api/webhook";

impl Daemon {
    /// Starts the binary on an empty state in `dir`, with its default limits
    /// and its default log, which goes to a file.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn start(musher: &Path, dir: &Path) -> Result<Self> {
        let address = free_address()?;
        write_files(dir, address)?;
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
        Ok(Self { program, address })
    }
}

fn write_files(dir: &Path, address: SocketAddr) -> Result<()> {
    let admin = free_address()?;
    let config = format!(
        r#"[server]
webhook_listen = "{address}"
admin_listen = "{admin}"
state_dir = "state"

[[github]]
name = "main"
api_url = "http://127.0.0.1:1"
app_id = 123456
private_key_path = "gh-app.pem"
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
    // openssl keeps the mode of a file that is there.
    let key = dir.join("gh-app.pem");
    write(&key, b"", 0o600)?;
    let done = Command::new("openssl")
        .args(["genrsa", "-traditional", "-out"])
        .arg(&key)
        .stdin(Stdio::null())
        .output()
        .context("run openssl; install the package openssl")?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "openssl genrsa: {said}");
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
