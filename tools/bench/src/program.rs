//! A program under measurement: started in the background, looked at from
//! outside, ended with the value. It knows nothing of what it measures.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How long a program may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A running program.
pub(crate) struct Program {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Program {
    /// Starts it and waits until it takes connections.
    ///
    /// # Errors
    /// It does not start, ends, or does not listen in time; the message holds
    /// its last words.
    pub(crate) fn start(command: &mut Command, log: &Path, address: SocketAddr) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let file = File::create(log).with_context(|| format!("create {}", log.display()))?;
        let again = file.try_clone().context("share the log")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(again)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        let mut program = Self {
            child,
            name,
            log: log.to_path_buf(),
        };
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            program.alive()?;
            if start.elapsed() > START_LIMIT {
                bail!("{} does not listen on {address}", program.name);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(program)
    }

    /// # Errors
    /// It ended; the message holds its last words.
    pub(crate) fn alive(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait().context("look after a program")? else {
            return Ok(());
        };
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let last: Vec<&str> = text.lines().rev().take(5).collect();
        bail!("{} ended ({status}): {}", self.name, last.join("\n"));
    }

    /// Its resident memory (`VmRSS` of proc(5)) in MiB.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn resident_mib(&self) -> Result<f64> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let value = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = value.and_then(|value| value.trim().strip_suffix("kB"));
        let kib: f64 = kib
            .and_then(|kib| kib.trim().parse().ok())
            .with_context(|| format!("{path} holds no VmRSS"))?;
        Ok(kib / 1024.0)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address on loopback that nobody listens on at this moment.
///
/// # Errors
/// No free port.
pub(crate) fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("find a free port")?;
    listener.local_addr().context("ask for the free port")
}
