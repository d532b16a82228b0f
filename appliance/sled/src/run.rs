//! Running the order: the runner as an unprivileged user in its own root, its
//! output on the way to the appliance, its time bounded. What proves its
//! identity to GitHub reaches the runner by its environment, and nothing else.

pub(crate) mod launch;
mod log;
mod redact;
pub(crate) mod user;
mod watch;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use messages::{
    AgentMessage, Assignment, Identity, Instruction, MAX_LOG_CHUNK_BYTES, RunEnd, RunExit,
};

use crate::appliance::{Appliance, ApplianceError};
use crate::console::say;
use crate::image::ROOT;
use user::{FOLDER, NAME, User};

/// A job outlives an appliance that is restarted, repaired or updated: GitHub
/// and the runner do not need it. After this long without an answer something
/// is wrong for good.
const PATIENCE: Duration = Duration::from_secs(60 * 60);
/// Output is collected for this long before it is sent.
const BATCH: Duration = Duration::from_millis(500);
/// A silent runner is told of by an empty piece this often: its answer is the
/// way in which a cancellation reaches the sled.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Once the runner ended and all else was killed, its output ends at once;
/// a process that even SIGKILL does not end must not hold up the rest.
const LAST_OUTPUT: Duration = Duration::from_secs(5);

/// Why a run failed. A runner that ends badly is no error but a [`RunEnd`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The runner did not start.
    #[error("cannot start the runner")]
    Start(#[source] io::Error),
    /// The log could not be kept.
    #[error("cannot keep the runner's log")]
    Log(#[source] io::Error),
    /// The appliance was lost; the runner was stopped.
    #[error("the run was given up")]
    Appliance(#[source] ApplianceError),
}

/// What the threads of a run tell each other.
#[derive(Debug, Default)]
struct State {
    /// Bytes of log in the file.
    kept: u64,
    /// Bytes of log in all.
    written: u64,
    /// No more output will come.
    closed: bool,
    /// The runner must end.
    stop: bool,
    /// It had to end because of its time.
    timed_out: bool,
    /// How it ended, and when.
    ended: Option<(RunExit, Instant)>,
}

/// [`State`], shared.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits until `done`, for at most `limit`.
    fn wait(&self, limit: Duration, done: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        self.changed
            .wait_timeout_while(self.lock(), limit, |state| !done(state))
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

/// Runs `order` to its end.
///
/// # Errors
/// See [`RunError`].
pub(crate) fn run(
    appliance: &mut Appliance,
    order: &Assignment,
    user: &User,
    log_limit_bytes: u64,
) -> Result<RunEnd, RunError> {
    let shared = Arc::new(Shared::default());
    let (output, input) = io::pipe().map_err(RunError::Start)?;
    let kept = log::Keeper::create(log_limit_bytes).map_err(RunError::Log)?;
    let file = kept.reader().map_err(RunError::Log)?;

    let started = Instant::now();
    let pid = start(order, user, input).map_err(RunError::Start)?;
    log::collect(output, kept, order.identity.secret(), Arc::clone(&shared));
    watch::reap(pid, Arc::clone(&shared));
    let limit = Duration::from_secs(order.max_runtime_s);
    watch::limit(pid, limit, Arc::clone(&shared));

    let shipped = ship(appliance, &shared, &file);
    // Whoever stopped shipping early wants the runner to end.
    shared.update(|state| state.stop = true);
    let state = shared.wait(watch::LONGEST_END, |state| state.ended.is_some());
    let (exit, at) = state.ended.unwrap_or((RunExit::TimedOut, Instant::now()));
    let end = RunEnd {
        exit: if state.timed_out {
            RunExit::TimedOut
        } else {
            exit
        },
        elapsed_ms: u64::try_from((at - started).as_millis()).unwrap_or(u64::MAX),
        log_bytes: state.written,
    };
    drop(state);
    shipped.map_err(RunError::Appliance)?;
    Ok(end)
}

/// Starts the launcher; returns the runner's process id, which is also that
/// of its session and process group.
fn start(order: &Assignment, user: &User, output: io::PipeWriter) -> io::Result<u32> {
    let errors = output.try_clone()?;
    let child = Command::new("/proc/self/exe")
        .args(launch::arguments(ROOT, user))
        .env_clear()
        .envs(identity(order))
        // Without it the listener hides exit code 7, "version deprecated".
        .env("ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE", "1")
        .env("HOME", "/home/runner")
        .env("USER", NAME)
        .env("LOGNAME", NAME)
        .env("PWD", FOLDER)
        .env("SHELL", "/bin/bash")
        .env("LANG", "C.UTF-8")
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()?;
    Ok(child.id())
}

/// What tells the runner who it is. actions/runner, CommandSettings:
/// `ACTIONS_RUNNER_INPUT_<ARGUMENT>` is read like an argument, and removed from
/// the environment of jobs.
fn identity(order: &Assignment) -> Vec<(&'static str, String)> {
    match &order.identity {
        Identity::Jit(config) => {
            vec![("ACTIONS_RUNNER_INPUT_JITCONFIG", config.expose().to_owned())]
        }
        Identity::Token(registration) => {
            let mut given = vec![
                ("ACTIONS_RUNNER_INPUT_NAME", order.runner_name.clone()),
                ("ACTIONS_RUNNER_INPUT_URL", registration.url.clone()),
                ("ACTIONS_RUNNER_INPUT_LABELS", registration.labels.join(",")),
                (launch::TOKEN, registration.token.expose().to_owned()),
            ];
            let group = registration.group.clone();
            given.extend(group.map(|group| ("ACTIONS_RUNNER_INPUT_RUNNERGROUP", group)));
            given
        }
    }
}

/// Sends the log until all of it is sent or the appliance wants no more.
fn ship(appliance: &mut Appliance, shared: &Shared, file: &File) -> Result<(), ApplianceError> {
    let mut sent = 0;
    let mut last = Instant::now();
    loop {
        let state = shared.wait(BATCH, |state| state.closed);
        let (kept, closed) = (state.kept, is_over(&state));
        drop(state);
        while sent < kept || last.elapsed() >= HEARTBEAT {
            let bytes = match piece(file, sent, kept) {
                Ok(bytes) => bytes,
                Err(error) => {
                    say!("cannot read the runner's log back: {error}");
                    return Ok(());
                }
            };
            let message = AgentMessage::Log {
                offset: sent,
                bytes: bytes.clone(),
            };
            let answer = appliance.ask(message, PATIENCE)?;
            sent += bytes.len() as u64;
            last = Instant::now();
            match answer {
                Instruction::PowerOff { reason } => {
                    say!("the run is called off: {reason}");
                    return Ok(());
                }
                Instruction::Discard => {
                    say!("the runner is void");
                    return Ok(());
                }
                Instruction::Continue
                | Instruction::Wait
                | Instruction::Welcome(_)
                | Instruction::Order(_)
                | Instruction::OrderByToken(_)
                | Instruction::Hold => {}
            }
        }
        if closed {
            return Ok(());
        }
    }
}

fn is_over(state: &State) -> bool {
    let late = |(_, at): &(RunExit, Instant)| at.elapsed() > LAST_OUTPUT;
    state.closed || state.ended.as_ref().is_some_and(late)
}

/// The log from `start`, up to `end` or the largest piece.
fn piece(file: &File, start: u64, end: u64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(end - start).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length.min(MAX_LOG_CHUNK_BYTES)];
    file.read_exact_at(&mut bytes, start)?;
    Ok(bytes)
}
