//! One run of a program: in a process group of its own that is killed as a
//! whole, with bounded output, by a deadline. Never through a shell.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::pin::pin;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::time::{sleep, timeout};

use super::CommandConfig;
use crate::power::error::quote;

/// What is kept of each output, in bytes. The rest is read and dropped.
const KEPT: usize = 4096;
/// Lines of standard error that go into a message.
const LINES: usize = 3;
/// Pause between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(5);
/// How long a killed process may take to be gone, and its pipes to be empty.
const REMAINS: Duration = Duration::from_secs(1);

/// How a run ended, and what came out.
pub(super) struct Outcome {
    pub(super) ended: Ended,
    /// The beginning of standard output.
    pub(super) printed: Vec<u8>,
    /// The last lines of standard error, on one line.
    pub(super) said: String,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself, with this code.
    Code(i32),
    /// By a signal that was not ours.
    Signal(i32),
    /// At the deadline, by us.
    Killed,
}

/// A process that leads a group. Until it is reaped its number belongs to no
/// other process, so that killing the group hits nobody else.
struct Group {
    child: Child,
    reaped: bool,
}

impl Group {
    /// Its number, while it is its own.
    fn pid(&self) -> Option<Pid> {
        let pid = i32::try_from(self.child.id()).ok()?;
        Pid::from_raw(pid).filter(|_| !self.reaped)
    }

    fn kill(&self) {
        if let Some(pid) = self.pid() {
            // It fails when all are gone.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }

    /// Waits until the leader has ended, and leaves it to be reaped.
    async fn ended(&self) {
        let only_look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        while let Some(pid) = self.pid()
            && let Ok(None) = waitid(WaitId::Pid(pid), only_look)
        {
            sleep(LOOK).await;
        }
    }

    fn reap(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().ok().flatten();
        self.reaped |= status.is_some();
        status
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        self.reap();
    }
}

/// Runs the program with these last arguments.
///
/// # Errors
/// When it does not start.
pub(super) async fn run(config: &CommandConfig, last: [&str; 2]) -> io::Result<Outcome> {
    let mut child = Command::new(&config.program)
        .args(&config.arguments)
        .args(last)
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let pipes = (child.stdout.take(), child.stderr.take());
    let mut group = Group {
        child,
        reaped: false,
    };
    let (Some(out), Some(err)) = pipes else {
        return Err(io::Error::other("no pipes"));
    };
    let (mut out, mut err) = (Output::new(out.into())?, Output::new(err.into())?);
    let in_time = timeout(config.deadline, async {
        let mut ended = pin!(group.ended());
        loop {
            tokio::select! {
                () = &mut ended => return,
                () = out.more(), if out.open => {}
                () = err.more(), if err.open => {}
            }
        }
    })
    .await
    .is_ok();
    // All that it left behind, too; then the pipes have no writer, unless one
    // went into a session of its own.
    group.kill();
    let _ = timeout(REMAINS, async {
        group.ended().await;
        while out.open {
            out.more().await;
        }
        while err.open {
            err.more().await;
        }
    })
    .await;
    let status = group.reap();
    let ended = match status {
        _ if !in_time => Ended::Killed,
        None => Ended::Killed,
        Some(status) => match (status.code(), status.signal()) {
            (Some(code), _) => Ended::Code(code),
            (None, signal) => Ended::Signal(signal.unwrap_or_default()),
        },
    };
    out.head.truncate(KEPT);
    Ok(Outcome {
        ended,
        printed: out.head,
        said: last_lines(&err.tail),
    })
}

/// One of its outputs: the beginning and the end.
struct Output {
    pipe: pipe::Receiver,
    open: bool,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Output {
    fn new(pipe: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            pipe: pipe::Receiver::from_owned_fd(pipe)?,
            open: true,
            head: Vec::new(),
            tail: Vec::new(),
        })
    }

    /// Takes what is there; nothing is lost when it is cancelled.
    async fn more(&mut self) {
        let mut buffer = [0; KEPT];
        let read = self.pipe.read(&mut buffer).await.unwrap_or(0);
        let new = buffer.get(..read).unwrap_or_default();
        self.open = !new.is_empty();
        let room = (KEPT + 1).saturating_sub(self.head.len());
        self.head.extend(new.iter().take(room));
        self.tail.extend(new);
        let surplus = self.tail.len().saturating_sub(KEPT);
        self.tail.drain(..surplus);
    }
}

fn last_lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut lines: Vec<&str> = text.lines().rev().map(str::trim).collect();
    lines.retain(|line| !line.is_empty());
    lines.truncate(LINES);
    lines.reverse();
    quote(&lines.join(" / "))
}
