//! What readers of GitHub share: how each does, for people, and how long it
//! waits after a failure. It reads nothing itself.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use messages::Millis;
use serde::Serialize;

use crate::{
    github::{ErrorKind, GithubError},
    intake::NotTaken,
    retry::Backoff,
    store::StoreError,
};

/// Waits after a failure.
pub const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How the reading goes, for people.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Health {
    /// The App's configured name.
    pub github: String,
    /// When the newest was read last, in Unix milliseconds.
    pub read_at: Option<u64>,
    /// Whether more is still being read.
    pub backlog: bool,
    /// What the core took from it since the start and had not known.
    pub taken: u64,
    /// What could not be read.
    pub passed_over: u64,
    /// Why it cannot be read now.
    pub problem: Option<String>,
}

/// Where a reader says how it does.
#[derive(Debug)]
pub struct Board {
    /// What it reads, for log lines.
    reads: &'static str,
    health: Mutex<Health>,
}

impl Board {
    /// Of a reader of this.
    #[must_use]
    pub fn new(reads: &'static str) -> Self {
        Self {
            reads,
            health: Mutex::default(),
        }
    }

    /// How the reading goes.
    #[must_use]
    pub fn health(&self) -> Health {
        let health = self.health.lock();
        health.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Health)) {
        change(&mut self.health.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Something was read; `newest` says when, if that is all there is.
    pub(crate) fn note_read(&self, newest: Option<Millis>, backlog: bool) {
        self.change(|health| {
            if let Some(at) = newest {
                health.read_at = Some(at.0);
            }
            if health.problem.take().is_some() {
                tracing::info!(github = %health.github, reads = self.reads, "github can be read again");
            }
            health.backlog = backlog;
        });
    }

    /// Says a problem once, not at each try.
    pub(crate) fn note_problem(&self, fault: &Fault) {
        let problem = fault.to_string();
        self.change(|health| {
            if health.problem.as_ref() != Some(&problem) {
                tracing::warn!(
                    github = %health.github, reads = self.reads, error = %problem,
                    "github cannot be read; trying on",
                );
            }
            health.problem = Some(problem);
        });
    }
}

/// Why something has to be read again.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// GitHub did not tell it.
    #[error(transparent)]
    Github(#[from] GithubError),
    /// The core did not take it.
    #[error("what github told was not taken: {0}")]
    NotTaken(#[from] NotTaken),
    /// How far it was read could not be stored.
    #[error("how far github was read was not stored: {0}")]
    Store(#[from] StoreError),
}

impl Fault {
    /// How long to wait before the next try.
    pub(crate) fn wait(&self, backoff: &mut Backoff) -> Duration {
        let usual = backoff.failed();
        match self {
            Self::Github(error) => match error.kind() {
                ErrorKind::RateLimited { retry_after_ms } => {
                    usual.max(Duration::from_millis(retry_after_ms))
                }
                ErrorKind::Conflict
                | ErrorKind::Permission
                | ErrorKind::NotFound
                | ErrorKind::Invalid
                | ErrorKind::Unauthorized
                | ErrorKind::Unavailable => usual,
            },
            Self::NotTaken(_) | Self::Store(_) => usual,
        }
    }
}

/// The waits of a reader after failures.
pub(crate) const fn backoff() -> Backoff {
    Backoff::new(BACKOFF.0, BACKOFF.1)
}
