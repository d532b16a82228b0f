//! What can go wrong between Musher and GitHub, and what a person or the
//! control core does about it.
//!
//! Messages never hold a token, a JWT, a private key or a JIT configuration:
//! they are built from statuses, paths and GitHub's own `message`.

use std::fmt;

use super::budget::Hold;

/// Most bytes of GitHub's own words that a message repeats.
const WORDS_BYTES: usize = 1024;

/// What the control core needs to know of a failure to choose its next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The name is taken (409): mint under a fresh one.
    Conflict,
    /// The App lacks a permission (403): a person must act.
    Permission,
    /// The object does not exist, or is not visible to the App (404).
    NotFound,
    /// The request or the configuration is wrong: repeating it is useless.
    Invalid,
    /// GitHub refuses the App's identity (401): wrong key, or wrong clock.
    Unauthorized,
    /// Too many requests: nothing was done, ask again after this time.
    RateLimited {
        /// Milliseconds to wait, at least.
        retry_after_ms: u64,
    },
    /// GitHub or the way to it is down, slow or overloaded, or this client's
    /// queue is full. A request that changes something may have taken effect.
    Unavailable,
}

/// A failed operation. `Clone`, because callers that waited for one and the
/// same token request share its failure.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GithubError {
    /// The `[[github]]` entry cannot work.
    #[error("configure github app {app:?}: {key}: {reason}")]
    Config {
        /// The entry's name.
        app: String,
        /// The key at fault.
        key: &'static str,
        /// What is wrong and how to mend it.
        reason: String,
    },
    /// An argument that GitHub would refuse, found before asking.
    #[error("{operation}: {reason}")]
    Argument {
        /// What was asked for.
        operation: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Every worker is busy and the queue is full.
    #[error(
        "{operation}: {waiting} github requests wait already: github is slow or unreachable, \
         ask again later"
    )]
    Busy {
        /// What was asked for.
        operation: &'static str,
        /// How many wait.
        waiting: usize,
    },
    /// Not sent: GitHub asked for a pause, or the rest of the hour's requests
    /// is kept for what is urgent.
    #[error("{method} {path}: not sent: {}", held(hold))]
    Held {
        /// HTTP method.
        method: &'static str,
        /// Path below `api_url`.
        path: String,
        /// Why, and for how long.
        hold: Hold,
    },
    /// The client was shut down, or the request was lost with its thread.
    #[error("{operation}: the github client is shut down")]
    Stopped {
        /// What was asked for.
        operation: &'static str,
    },
    /// The operating system gave no thread.
    #[error("start github client: spawn thread: {reason}")]
    Thread {
        /// The system's words.
        reason: String,
    },
    /// The App is not installed where the pool wants runners.
    #[error("look up app installation on {on}: app {app_id} is not installed there: {mend}")]
    NotInstalled {
        /// Organization or repository.
        on: String,
        /// The App's id.
        app_id: u64,
        /// Where to install it.
        mend: String,
    },
    /// GitHub answered with an error status.
    #[error(transparent)]
    Status(Box<StatusError>),
    /// No answer: the connection, TLS or a deadline failed.
    #[error("{method} {path}: {reason}")]
    Network {
        /// HTTP method.
        method: &'static str,
        /// Path below `api_url`.
        path: String,
        /// How it failed.
        fault: NetworkFault,
        /// What happened and, where known, how to mend it.
        reason: String,
    },
    /// An answer came that is not what GitHub documents.
    #[error("{method} {path}: {reason}")]
    Answer {
        /// HTTP method.
        method: &'static str,
        /// Path below `api_url`.
        path: String,
        /// What is wrong with the answer.
        reason: String,
    },
}

/// How a call failed before an answer was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkFault {
    /// The name could not be resolved, or the connection failed or broke.
    Connection,
    /// The server's certificate or TLS itself was refused.
    Tls,
    /// A deadline passed.
    Deadline,
}

/// An error status of GitHub's, with what mends it where that is known.
#[derive(Debug, Clone)]
pub struct StatusError {
    /// HTTP method.
    pub method: &'static str,
    /// Path below `api_url`.
    pub path: String,
    /// HTTP status.
    pub status: u16,
    /// GitHub's own message and its list of errors, at most 1 KiB.
    pub message: String,
    /// What mends it, or empty.
    pub mend: String,
    /// What it means to the caller.
    pub kind: ErrorKind,
}

impl fmt::Display for StatusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}: github answered {}",
            self.method, self.path, self.status
        )?;
        if !self.message.is_empty() {
            write!(f, " ({})", self.message)?;
        }
        if let ErrorKind::RateLimited { retry_after_ms } = self.kind {
            write!(
                f,
                ": rate limited, ask again in {} s",
                retry_after_ms.div_ceil(1000)
            )?;
        }
        if !self.mend.is_empty() {
            write!(f, ": {}", self.mend)?;
        }
        Ok(())
    }
}

impl std::error::Error for StatusError {}

impl GithubError {
    /// What the failure means to the caller.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Config { .. } | Self::Argument { .. } => ErrorKind::Invalid,
            Self::Busy { .. } | Self::Stopped { .. } | Self::Thread { .. } => {
                ErrorKind::Unavailable
            }
            Self::NotInstalled { .. } => ErrorKind::NotFound,
            Self::Held { hold, .. } => ErrorKind::RateLimited {
                retry_after_ms: hold.wait_ms(),
            },
            Self::Status(status) => status.kind,
            Self::Network { .. } | Self::Answer { .. } => ErrorKind::Unavailable,
        }
    }

    /// Whether GitHub answered with this status.
    pub(super) fn is_status(&self, status: u16) -> bool {
        matches!(self, Self::Status(error) if error.status == status)
    }
}

fn held(hold: &Hold) -> String {
    let wait_s = hold.wait_ms().div_ceil(1000);
    match hold {
        Hold::Pause { .. } => format!("github asked for a pause, ask again in {wait_s} s"),
        Hold::Reserve { remaining, .. } => format!(
            "only {remaining} requests of this hour are left, they are kept for minting: \
             ask again in {wait_s} s"
        ),
    }
}

/// GitHub's words, made fit for one line of a log: bounded, and without
/// control characters, since they come from outside.
pub(crate) fn one_line(words: &str) -> String {
    let end = words.floor_char_boundary(WORDS_BYTES);
    words
        .get(..end)
        .unwrap_or_default()
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect::<String>()
        .trim()
        .to_owned()
}
