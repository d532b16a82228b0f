//! Keeps a tunnel program running: cloudflared, `ssh -R`, frpc or any other.
//!
//! It is started from an argument list, never by a shell, in a process group
//! of its own and with few variables of our environment. When it ends it is
//! started again, later each time; with us it ends too, and its children.

use std::{
    fs,
    path::{Path, PathBuf},
    pin::pin,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process_group},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    time::{Instant, timeout},
};

use super::{LINE_BYTES, TunnelShared, one_line};
use crate::{config::TunnelCommand, engine::Clock, http::Shutdown, retry::Backoff};

/// Waits between starts.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A program that ran for so long did work: the next wait is short again.
const WORKED: Duration = Duration::from_secs(60);
/// How long it may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long what it left behind may hold its output open.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Variables that the program gets, beside those that the configuration
/// names. Ours may hold handles that are for us alone.
const ENVIRONMENT: [&str; 12] = [
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "TZ",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "TMPDIR",
];

/// A tunnel program that is kept running.
pub struct CommandTunnel {
    /// What to run.
    pub command: TunnelCommand,
    /// Where its process number is kept, to end it after a crash of ours.
    pub state_dir: PathBuf,
    /// The appliance's time.
    pub clock: Clock,
    /// What others see.
    pub shared: Arc<TunnelShared>,
}

impl CommandTunnel {
    /// Keeps it running until the appliance stops.
    pub async fn run(self, shutdown: Shutdown) {
        let left_over = LeftOver::new(&self.state_dir);
        left_over.end().await;
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        let mut stop = pin!(shutdown.wait());
        loop {
            let started = Instant::now();
            let problem = match self.spawn() {
                Ok(mut child) => {
                    let group = child.id().and_then(pid);
                    left_over.note(group);
                    let lived = tokio::select! {
                        ended = self.live(&mut child) => Some(ended),
                        () = &mut stop => None,
                    };
                    end_group(group, &mut child, lived.is_some()).await;
                    left_over.forget();
                    match lived {
                        Some(problem) => problem,
                        None => return,
                    }
                }
                Err(error) => format!("{} cannot be started: {error}", self.command.program),
            };
            if started.elapsed() >= WORKED {
                backoff.reset();
            }
            let wait = backoff.failed();
            let wait_s = wait.as_secs();
            tracing::warn!(error = %problem, wait_s, "the tunnel is down; starting it again");
            self.shared.down(self.clock.now(), problem);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = &mut stop => return,
            }
        }
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let passed = ENVIRONMENT
            .into_iter()
            .chain(self.command.environment.iter().map(String::as_str));
        let environment = passed.filter_map(|name| Some((name, std::env::var_os(name)?)));
        Command::new(&self.command.program)
            .args(&self.command.arguments)
            .env_clear()
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    /// Logs what it says until it ends; how that was.
    async fn live(&self, child: &mut Child) -> String {
        tracing::info!(program = %self.command.program, pid = child.id(), "tunnel started");
        self.shared.up(self.clock.now());
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let mut words = pin!(async { tokio::join!(self.hear(out), self.hear(err)) });
        let status = tokio::select! {
            status = child.wait() => status,
            // It closed its output and runs on.
            _ = &mut words => return ended(&self.command.program, child.wait().await),
        };
        drop(timeout(LAST_WORDS, words).await);
        ended(&self.command.program, status)
    }

    async fn hear(&self, from: Option<impl AsyncRead + Unpin>) {
        let Some(mut from) = from else { return };
        let (mut chunk, mut line) = ([0; 1024], Vec::new());
        loop {
            let read = from.read(&mut chunk).await.unwrap_or(0);
            for byte in &chunk[..read] {
                match byte {
                    b'\n' => self.said(&std::mem::take(&mut line)),
                    // The rest of a long line is of no use.
                    _ if line.len() >= LINE_BYTES => {}
                    _ => line.push(*byte),
                }
            }
            if read == 0 {
                self.said(&line);
                return;
            }
        }
    }

    fn said(&self, line: &[u8]) {
        let line = one_line(line);
        if !line.is_empty() {
            tracing::info!(target: "tunnel", "{line}");
            self.shared.said(line);
        }
    }
}

fn ended(program: &str, status: std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => format!("{program} ended: {status}"),
        Err(error) => format!("{program} is lost: {error}"),
    }
}

/// Ends what runs of a group, the children of a program that ended included.
async fn end_group(group: Option<Pid>, child: &mut Child, has_ended: bool) {
    if !has_ended {
        signal(group, Signal::TERM);
        drop(timeout(PATIENCE, child.wait()).await);
    }
    signal(group, Signal::KILL);
    drop(child.wait().await);
}

/// Signals a group. One that has ended is what is wanted.
fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(Err(error)) = group.map(|group| kill_process_group(group, signal))
        && error != Errno::SRCH
    {
        tracing::warn!(%error, "the tunnel program cannot be ended");
    }
}

fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}

/// The program of a daemon that ended without a warning: it still runs, and
/// would be in the way of the next one.
struct LeftOver(PathBuf);

impl LeftOver {
    fn new(state_dir: &Path) -> Self {
        Self(state_dir.join("tunnel.pid"))
    }

    fn note(&self, group: Option<Pid>) {
        let noted =
            group.and_then(|pid| Some(format!("{} {}", pid.as_raw_nonzero(), start_of(pid)?)));
        let Some(text) = noted else { return };
        if let Err(error) = fs::write(&self.0, text) {
            tracing::warn!(%error, "the tunnel's process number cannot be kept");
        }
    }

    fn forget(&self) {
        drop(fs::remove_file(&self.0));
    }

    /// The process that was noted, if it is still that one.
    fn process(&self) -> Option<Pid> {
        let text = fs::read_to_string(&self.0).ok()?;
        let (number, start) = text.split_once(' ')?;
        let pid = number.parse().ok().and_then(Pid::from_raw)?;
        (start_of(pid)? == start).then_some(pid)
    }

    async fn end(&self) {
        if let Some(group) = self.process() {
            tracing::info!(
                pid = group.as_raw_nonzero(),
                "ending the tunnel of the run before"
            );
            signal(Some(group), Signal::TERM);
            let deadline = Instant::now() + PATIENCE;
            while self.process().is_some() && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            if self.process().is_some() {
                signal(Some(group), Signal::KILL);
            }
        }
        self.forget();
    }
}

/// When a process started, in ticks since the machine did: with its number
/// that names it for good (proc(5), `/proc/pid/stat`, field 22).
fn start_of(pid: Pid) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19).map(str::to_owned)
}

#[cfg(test)]
mod tests;
