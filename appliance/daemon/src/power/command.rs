//! A sled whose power a program of the operator's switches: for PDUs, PoE
//! switches, smart plugs and whatever else has no driver here.
//!
//! The contract. Musher runs `PROGRAM [ARGUMENT…] VERB SLED`, without a shell:
//!
//! - `on` and `off` give and take power; doing so twice does no harm;
//! - `status` prints exactly one word, `on`, `off` or `unknown`, about the
//!   *machine*, not about what was commanded;
//! - 0 is done. 64: no such verb; 69 or 75: the device does not answer; 77: it
//!   refuses the credentials (sysexits.h); anything else: failed. What stands
//!   on standard error then is shown to people;
//! - it ends by the deadline, with all that it started, or is killed.
//!
//! It gets no environment but PATH and LC_ALL, no input, and `/` to work in.
//! Secrets are for files that it reads itself, never for arguments.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::error::{PowerError, Target};
use super::switch::Power;
use super::{PowerErrorKind, PowerReading, Switched};
use process::{Ended, Outcome, run};

mod process;

/// How to run the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandConfig {
    /// Where it is; absolute.
    pub program: PathBuf,
    /// What it is given before verb and sled.
    pub arguments: Vec<String>,
    /// When it is killed.
    pub deadline: Duration,
}

/// Why a program did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ProgramFault {
    /// It did not begin.
    #[error(
        "it cannot be started: {source}: check that it exists and that Musher's user may execute it"
    )]
    Start {
        /// What the kernel said.
        source: io::Error,
    },
    /// It was killed at the deadline.
    #[error("it was killed after {after_ms} ms: mend it, or set a longer `deadline_s`{said}")]
    Late {
        /// The deadline in milliseconds.
        after_ms: u128,
        /// What it said on standard error.
        said: Said,
    },
    /// It failed.
    #[error("{how}{said}")]
    Failed {
        /// How it ended.
        how: Failure,
        /// What it said on standard error.
        said: Said,
    },
    /// `status` printed something else.
    #[error("`status` must print on, off or unknown and nothing else; it printed \"{printed}\"")]
    Word {
        /// What it printed, shortened.
        printed: String,
    },
}

/// How a program failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// EX_USAGE.
    #[error("it does not know that verb (exit code 64)")]
    Usage,
    /// EX_UNAVAILABLE and EX_TEMPFAIL.
    #[error("its device does not answer (exit code {0})")]
    Unavailable(i32),
    /// EX_NOPERM.
    #[error("its device refuses the credentials (exit code 77)")]
    Credentials,
    /// Any other exit code.
    #[error("it failed with exit code {0}")]
    Code(i32),
    /// A signal, and not ours.
    #[error("it was ended by signal {0}")]
    Signal(i32),
}

/// The last lines on standard error, on one line; maybe none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said(String);

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, "; it said \"{}\"", self.0)
    }
}

impl ProgramFault {
    /// The kind of [`PowerError`] that it is.
    #[must_use]
    pub fn kind(&self) -> PowerErrorKind {
        match self {
            Self::Start { .. } => PowerErrorKind::Local,
            Self::Late { .. } => PowerErrorKind::Dead,
            Self::Word { .. } => PowerErrorKind::Garbage,
            Self::Failed { how, .. } => match how {
                Failure::Usage => PowerErrorKind::Unsupported,
                Failure::Unavailable(_) => PowerErrorKind::Dead,
                Failure::Credentials => PowerErrorKind::WrongPassword,
                Failure::Code(_) | Failure::Signal(_) => PowerErrorKind::Refused,
            },
        }
    }
}

/// A sled's power behind a program.
pub struct CommandDriver {
    config: CommandConfig,
    sled: String,
    target: Target,
}

impl CommandDriver {
    /// Runs nothing yet.
    #[must_use]
    pub fn new(config: CommandConfig, sled: String) -> Self {
        let by = format!("program {}", config.program.display());
        Self {
            target: Target::new(by, Some(sled.clone())),
            config,
            sled,
        }
    }

    /// Whose power it is, for messages.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What `status` says.
    ///
    /// # Errors
    /// When the program fails or says something else.
    pub async fn read(&self) -> Result<PowerReading, PowerError> {
        let outcome = self.run("status").await?;
        match outcome.printed.trim_ascii() {
            b"on" => Ok(PowerReading::On),
            b"off" => Ok(PowerReading::Off),
            b"unknown" => Ok(PowerReading::Unknown),
            other => {
                let printed = super::error::quote(&String::from_utf8_lossy(other));
                Err(self.error("status", ProgramFault::Word { printed }))
            }
        }
    }

    /// Runs `on` or `off`, unless `status` says that it is so.
    ///
    /// # Errors
    /// When the program fails.
    pub async fn set(&self, power: Power) -> Result<Switched, PowerError> {
        let wanted = match power {
            Power::On => PowerReading::On,
            Power::Off => PowerReading::Off,
        };
        if self.read().await? == wanted {
            return Ok(Switched::AlreadySo);
        }
        let verb = match power {
            Power::On => "on",
            Power::Off => "off",
        };
        self.run(verb).await.map(|_| Switched::Commanded)
    }

    async fn run(&self, verb: &'static str) -> Result<Outcome, PowerError> {
        let done = run(&self.config, [verb, &self.sled]).await;
        let outcome = done.map_err(|source| self.error(verb, ProgramFault::Start { source }))?;
        let how = match outcome.ended {
            Ended::Code(0) => return Ok(outcome),
            Ended::Killed => {
                let fault = ProgramFault::Late {
                    after_ms: self.config.deadline.as_millis(),
                    said: Said(outcome.said),
                };
                return Err(self.error(verb, fault));
            }
            Ended::Code(64) => Failure::Usage,
            Ended::Code(code @ (69 | 75)) => Failure::Unavailable(code),
            Ended::Code(77) => Failure::Credentials,
            Ended::Code(code) => Failure::Code(code),
            Ended::Signal(signal) => Failure::Signal(signal),
        };
        let said = Said(outcome.said);
        Err(self.error(verb, ProgramFault::Failed { how, said }))
    }

    fn error(&self, verb: &'static str, fault: ProgramFault) -> PowerError {
        PowerError::Program {
            target: self.target.clone(),
            verb,
            fault,
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
