//! The listener: connects, takes exactly one job, reports it, ends. Its lines
//! and exit codes are those of GitHub's listener.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::jit::Settings;
use crate::script::{Running, Started};
use crate::session::{Job, Session, SessionError};
use crate::time::now;

/// The version that it claims, as GitHub refuses old ones at registration.
pub(crate) const VERSION: &str = "2.335.0";
/// Longest pause between two uploads of a running job.
const UPLOAD_EVERY: Duration = Duration::from_millis(500);
/// Most lines of one upload.
const MAX_LINES: usize = 500;

/// Exit codes of GitHub's listener (`Constants.Runner.ReturnCode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It did its job, whatever the job's result.
    Done,
    /// It cannot go on.
    Terminated,
    /// Trying again may help.
    Retry,
    /// Another runner uses the registration.
    Conflict,
    /// The version is too old.
    Deprecated,
}

impl Ended {
    /// The exit code; 7 only for callers that asked for it.
    pub(crate) fn code(self, wants_7: bool) -> u8 {
        match self {
            Self::Done => 0,
            Self::Terminated => 1,
            Self::Retry => 2,
            Self::Conflict => 5,
            Self::Deprecated => {
                if wants_7 {
                    7
                } else {
                    1
                }
            }
        }
    }
}

impl From<SessionError> for Ended {
    fn from(error: SessionError) -> Self {
        eprintln!("{error}");
        match error {
            SessionError::Conflict => Self::Conflict,
            SessionError::Deprecated(_) => Self::Deprecated,
            SessionError::Unknown => Self::Terminated,
            SessionError::Network(_) | SessionError::Refused { .. } => Self::Retry,
        }
    }
}

/// Runs until the one job is over or `stop` is set.
pub(crate) fn run(settings: &Settings, stop: &AtomicBool) -> Ended {
    let session = match Session::open(settings, VERSION) {
        Ok(session) => session,
        Err(error) => return error.into(),
    };
    println!("\n√ Connected to GitHub\n");
    println!("Current runner version: '{VERSION}'");
    println!("{}: Listening for Jobs", now());
    loop {
        if stop.load(Ordering::Relaxed) {
            println!("Exiting...");
            session.close();
            return Ended::Terminated;
        }
        match session.poll() {
            Ok(None) => {}
            Ok(Some(job)) => return serve(settings, &session, &job, stop),
            Err(error) => return error.into(),
        }
    }
}

/// Runs the job, whatever comes, and reports its end.
fn serve(settings: &Settings, session: &Session, job: &Job, stop: &AtomicBool) -> Ended {
    println!("{}: Running job: {}", now(), job.name);
    let result = match Running::start(&home(), settings, job) {
        Started::Yes(running) => attend(session, job, running, stop),
        Started::No(message) => {
            // The job fails either way; the line only says why.
            let _ = session.log(job.id, &[format!("##[error]{message}")]);
            "failed"
        }
    };
    if let Err(error) = session.complete(job.id, result) {
        return error.into();
    }
    let shown = match result {
        "succeeded" => "Succeeded",
        "canceled" => "Canceled",
        _ => "Failed",
    };
    println!("{}: Job {} completed with result: {shown}", now(), job.name);
    if stop.load(Ordering::Relaxed) {
        Ended::Terminated
    } else {
        Ended::Done
    }
}

/// Carries lines to the server until the script ends or is stopped.
fn attend(session: &Session, job: &Job, mut running: Running, stop: &AtomicBool) -> &'static str {
    let mut cancelled = false;
    loop {
        let lines = running.lines(MAX_LINES, UPLOAD_EVERY);
        let over = running.is_over(lines.is_empty());
        // Lines that cannot be sent are lost; the server decides about the job.
        cancelled |= session.log(job.id, &lines).unwrap_or(false);
        if !over && (cancelled || stop.load(Ordering::Relaxed)) {
            running.stop();
            let rest = running.lines(MAX_LINES, Duration::ZERO);
            let _ = session.log(job.id, &rest);
            let _ = session.log(job.id, &["##[error]The operation was canceled.".to_owned()]);
            return "canceled";
        }
        if over {
            break;
        }
    }
    match running.code() {
        Some(0) => "succeeded",
        code => {
            let shown = code.map_or_else(|| "a signal".to_owned(), |it| it.to_string());
            let line = format!("##[error]Process completed with exit code {shown}.");
            let _ = session.log(job.id, &[line]);
            "failed"
        }
    }
}

/// The folder that holds `run.sh`: the one above `bin`, else the current one.
pub(crate) fn home() -> PathBuf {
    std::env::current_exe()
        .ok()
        .filter(|exe| exe.parent().is_some_and(|it| it.ends_with("bin")))
        .and_then(|exe| exe.parent()?.parent().map(PathBuf::from))
        .filter(|home| home.join("run.sh").exists())
        .or_else(|| std::env::current_dir().ok())
        .unwrap_or_else(|| PathBuf::from("/"))
}
