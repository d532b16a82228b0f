//! One script under `/bin/sh -e`, in a process group of its own, with its
//! output as lines. It hands the script no secret and leaves nothing running.

use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::jit::Settings;
use crate::session::Job;

/// Lines that wait for upload; a full queue slows the script down.
const QUEUE: usize = 1_024;
/// Longest piece that counts as one line.
const MAX_LINE: u64 = 4_096;
/// Time between asking the script to end and killing it.
const GRACE: Duration = Duration::from_secs(5);
/// Time between two looks at the shell.
const TICK: Duration = Duration::from_millis(50);

/// Whether a script could be started.
pub(crate) enum Started {
    /// It runs.
    Yes(Running),
    /// It does not, for this reason.
    No(String),
}

/// A running script.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    /// Exit code and time of the end.
    ended: Option<(Option<i32>, Instant)>,
}

impl Running {
    /// Starts a job's script below `home`.
    pub(crate) fn start(home: &Path, settings: &Settings, job: &Job) -> Started {
        match Self::try_start(home, settings, job) {
            Ok(running) => Started::Yes(running),
            Err(error) => Started::No(format!("cannot start the script: {error}")),
        }
    }

    fn try_start(home: &Path, settings: &Settings, job: &Job) -> std::io::Result<Self> {
        let work = home.join(&settings.work_folder);
        let temp = work.join("_temp");
        // GitHub's layout: work/NAME/NAME, so that tools may write beside it.
        let short = job.repository.rsplit('/').next().unwrap_or("job");
        let place = work.join(short).join(short);
        std::fs::create_dir_all(&temp)?;
        std::fs::create_dir_all(&place)?;
        let file = temp.join(format!("{}.sh", job.id));
        std::fs::write(&file, &job.script)?;
        let mut child = Command::new("/bin/sh")
            .arg("-e")
            .arg(&file)
            .current_dir(&place)
            .env_remove(crate::VARIABLE)
            .env("CI", "true")
            .env("GITHUB_ACTIONS", "true")
            .env("GITHUB_JOB", &job.name)
            .env("GITHUB_REPOSITORY", &job.repository)
            .env("GITHUB_RUN_ID", job.run_id.to_string())
            .env("GITHUB_SHA", &job.sha)
            .env("GITHUB_WORKSPACE", &place)
            .env("RUNNER_NAME", &settings.name)
            .env("RUNNER_OS", "Linux")
            .env("RUNNER_TEMP", &temp)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let (sender, lines) = sync_channel(QUEUE);
        if let Some(out) = child.stdout.take() {
            read(out, sender.clone());
        }
        if let Some(err) = child.stderr.take() {
            read(err, sender);
        }
        Ok(Self {
            child,
            lines,
            ended: None,
        })
    }

    /// Lines that arrive within `wait`, at most `max`.
    pub(crate) fn lines(&mut self, max: usize, wait: Duration) -> Vec<String> {
        let deadline = Instant::now() + wait;
        let mut lines = Vec::new();
        while lines.len() < max {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    // No more output; only the shell's end is awaited.
                    while !self.has_ended() && Instant::now() < deadline {
                        std::thread::sleep(TICK);
                    }
                    break;
                }
            }
        }
        lines
    }

    /// Whether the shell has ended. What it left behind is killed then, as
    /// GitHub's runner does, so that the pipes close.
    pub(crate) fn has_ended(&mut self) -> bool {
        if self.ended.is_none()
            && let Ok(Some(status)) = self.child.try_wait()
        {
            self.ended = Some((status.code(), Instant::now()));
            self.signal(Signal::KILL);
        }
        self.ended.is_some()
    }

    /// Whether its output is complete: the shell has ended and nothing more
    /// came, or a process that escaped the group writes on and on.
    pub(crate) fn is_over(&mut self, quiet: bool) -> bool {
        self.has_ended() && (quiet || self.ended.is_some_and(|(_, at)| at.elapsed() > GRACE))
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // An empty group is what is wanted.
            let _ = kill_process_group(pid, signal);
        }
    }

    /// Asks the script to end, then makes it.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + GRACE;
        while !self.has_ended() && Instant::now() < deadline {
            std::thread::sleep(TICK);
        }
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }

    /// The exit code of an ended script; `None` when a signal ended it.
    pub(crate) fn code(&self) -> Option<i32> {
        self.ended.and_then(|(code, _)| code)
    }
}

/// Splits a pipe into lines on a thread of its own, until it closes.
fn read(pipe: impl Read + Send + 'static, sender: SyncSender<String>) {
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        loop {
            let mut line = Vec::new();
            match pipe.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            while line
                .last()
                .is_some_and(|byte| matches!(byte, b'\n' | b'\r'))
            {
                line.pop();
            }
            if sender
                .send(String::from_utf8_lossy(&line).into_owned())
                .is_err()
            {
                return;
            }
        }
    });
}
