//! Why power could not be read or switched, and what to do about it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use protocols::rmcp::{AnswerError, CompletionCode, DropReason, SerialError, SessionError, Stage};

use super::PowerReading;
use super::command::ProgramFault;
use super::password_file::PasswordFileError;
use super::redfish::RedfishFault;
use super::switch::{ErrorKind, Power};

/// Whose power it was, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    sled: Option<String>,
    by: String,
}

impl Target {
    /// Power that `by` switches, such as `BMC 10.78.0.11:623`.
    #[must_use]
    pub fn new(by: impl Into<String>, sled: Option<String>) -> Self {
        Self {
            sled,
            by: by.into(),
        }
    }

    /// The BMC at `address`, of `sled` if that is known.
    #[must_use]
    pub fn bmc(address: SocketAddr, sled: Option<String>) -> Self {
        Self::new(format!("BMC {address}"), sled)
    }

    /// The sled, if that is known.
    #[must_use]
    pub fn sled(&self) -> Option<&str> {
        self.sled.as_deref()
    }

    /// A switch on this machine.
    #[must_use]
    pub fn switch(sled: Option<String>) -> Self {
        Self::new("local switch", sled)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(sled) = &self.sled {
            write!(f, "sled {sled}, ")?;
        }
        f.write_str(&self.by)
    }
}

/// Kinds of [`PowerError`], for decisions and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PowerErrorKind {
    /// User, password or BMC key are wrong. Trying again locks accounts.
    WrongPassword,
    /// Nobody answers. Trying again later may help.
    Dead,
    /// Somebody answers, but not as a BMC should.
    Garbage,
    /// Somebody answers who may not be the BMC.
    Untrusted,
    /// The BMC has no time. Trying again later may help.
    Busy,
    /// The BMC lacks what we insist on.
    Unsupported,
    /// The BMC understood and said no.
    Refused,
    /// It says that it did what it was told, and its own readings deny that.
    /// Nothing that it says can be relied on.
    Contradiction,
    /// Something on this machine failed.
    Local,
}

/// Why power could not be read or switched.
#[derive(Debug, thiserror::Error)]
pub enum PowerError {
    /// The BMC does not accept our credentials, or cannot prove its own.
    #[error(
        "{target}: {why}: compare `username` and the file of `password_path` with the BMC's user; \
         not tried again, as BMCs lock accounts"
    )]
    WrongPassword {
        /// Which BMC.
        target: Target,
        /// What was wrong.
        why: SessionError,
    },
    /// Nothing came back, ever.
    #[error(
        "{target}: no answer to {stage} in {tries} tries: check that the BMC has power and this \
         address, that the route to it exists, and that IPMI over LAN is enabled"
    )]
    Dead {
        /// Which BMC.
        target: Target,
        /// What was asked last.
        stage: Stage,
        /// How often.
        tries: u32,
    },
    /// Sending failed, or the port is closed.
    #[error(
        "{target}: {source} ({tries} tries): check that the BMC has power and this address and \
         port, and that IPMI over LAN is enabled"
    )]
    Unreachable {
        /// Which BMC.
        target: Target,
        /// How often.
        tries: u32,
        /// What the kernel said last.
        source: io::Error,
    },
    /// What came back is not IPMI, or belongs to nobody.
    #[error(
        "{target}: something answers, but not as a BMC ({dropped} answers to {stage} dropped, \
         the last one because: {last}): check that the address is the BMC's"
    )]
    Garbage {
        /// Which BMC.
        target: Target,
        /// What was asked.
        stage: Stage,
        /// How many answers were useless.
        dropped: u32,
        /// Why the last was.
        last: DropReason,
    },
    /// An authentic answer that does not say what it should.
    #[error("{target}: {why}: update the BMC's firmware")]
    Malformed {
        /// Which BMC.
        target: Target,
        /// What was malformed.
        why: AnswerError,
    },
    /// The cipher suite, or IPMI 2.0 as a whole, is missing.
    #[error(
        "{target}: {why}: enable it on the BMC, or set `cipher` to one that the BMC offers \
         (17 or 3)"
    )]
    UnsupportedCipher {
        /// Which BMC.
        target: Target,
        /// What is missing.
        why: SessionError,
    },
    /// The BMC refuses the session for another reason.
    #[error(
        "{target}: {why}: give the BMC's user the operator privilege on its LAN channel, and close \
         other IPMI sessions"
    )]
    SessionRefused {
        /// Which BMC.
        target: Target,
        /// What it said.
        why: SessionError,
    },
    /// The BMC refuses a command.
    #[error("{target}: {why}: see the BMC's event log")]
    Refused {
        /// Which BMC.
        target: Target,
        /// Which command, and the completion code.
        why: AnswerError,
    },
    /// Told to power down, and it did not.
    #[error(
        "{target}: still on {after_ms} ms after it was told to power down: look at the machine and \
         at the BMC's event log"
    )]
    StillOn {
        /// Which BMC.
        target: Target,
        /// How long it was watched, in milliseconds.
        after_ms: u128,
    },
    /// A setting was accepted and reads otherwise.
    #[error("{target}: {setting} was set to {wanted} and reads {is}: set it at the BMC by hand")]
    NotKept {
        /// Which BMC.
        target: Target,
        /// Which setting.
        setting: &'static str,
        /// What it was set to.
        wanted: &'static str,
        /// What it reads.
        is: &'static str,
    },
    /// The driver or the BMC has no such thing.
    #[error("{target}: {what} is not available: {why}")]
    Lacks {
        /// Whose.
        target: Target,
        /// What was asked for.
        what: &'static str,
        /// Why it is not available, and what to do.
        why: &'static str,
    },
    /// Somebody else reads the serial line.
    #[error(
        "{target}: serial over LAN is in use: end the other session, such as `ipmitool sol \
         activate`; one that was cut off ends by itself after a minute"
    )]
    SerialInUse {
        /// Which BMC.
        target: Target,
    },
    /// The serial line failed.
    #[error("{target}: serial over LAN: {why}")]
    Serial {
        /// Which BMC.
        target: Target,
        /// Why.
        why: SerialError,
    },
    /// The overall deadline passed.
    #[error("{target}: {command} was not done within {after_ms} ms: is the BMC overloaded?")]
    Late {
        /// Which BMC.
        target: Target,
        /// Which command.
        command: &'static str,
        /// The deadline in milliseconds.
        after_ms: u128,
    },
    /// Accepted, and not carried out as far as can be seen.
    #[error(
        "{target}: told to switch {told} {tries} times, and accepted it each time, yet it reads \
         {first}, then {last}, {after_ms} ms later: look at the machine itself, and do not rely on \
         what it says"
    )]
    Ignored {
        /// Whose power.
        target: Target,
        /// What was commanded.
        told: Power,
        /// How often.
        tries: u32,
        /// The first reading after that.
        first: PowerReading,
        /// The last one.
        last: PowerReading,
        /// How long it was watched, in milliseconds.
        after_ms: u128,
    },
    /// On, after it read as off, though nobody told it to.
    #[error(
        "{target}: read off, and {after_ms} ms later on, though Musher did not switch it on: look \
         at the machine itself, and do not rely on what it says"
    )]
    Flipped {
        /// Whose power.
        target: Target,
        /// The time between the two readings, in milliseconds.
        after_ms: u128,
    },
    /// A Redfish service did not do what was asked.
    #[error("{target}: cannot {operation}: {fault}")]
    Redfish {
        /// Which BMC.
        target: Target,
        /// What was to be done.
        operation: &'static str,
        /// Why it was not.
        fault: RedfishFault,
    },
    /// An operator's program did not do what was asked.
    #[error("{target}: cannot run `{verb}`: {fault}")]
    Program {
        /// Which program.
        target: Target,
        /// What it was to do.
        verb: &'static str,
        /// Why it did not.
        fault: ProgramFault,
    },
    /// A magic packet could not be sent.
    #[error("{target}: no packet can be sent: {source}: check `broadcast` and the route to it")]
    Packet {
        /// Whose.
        target: Target,
        /// What the kernel said.
        source: io::Error,
    },
    /// The operating system gave no random numbers.
    #[error("{target}: no random numbers for a session: {detail}")]
    Random {
        /// Which BMC.
        target: Target,
        /// What it said.
        detail: String,
    },
    /// A password's file could not be read or written.
    #[error("{target}: {why}")]
    PasswordFile {
        /// Whose BMC.
        target: Target,
        /// Why not.
        why: PasswordFileError,
    },
    /// A change of the password was cut short, and the BMC takes neither.
    #[error(
        "{target}: the BMC takes neither the password in {} nor the one in {}: give its user the \
         first one at the BMC's own page, and remove the second file",
        path.display(),
        next.display()
    )]
    PasswordUnknown {
        /// Which BMC.
        target: Target,
        /// The password's file.
        path: PathBuf,
        /// Where the next one lies.
        next: PathBuf,
    },
    /// A switch on this machine failed.
    #[error("{target}: cannot {what}: {kind}: {detail}")]
    Switch {
        /// Whose switch.
        target: Target,
        /// Which operation.
        what: &'static str,
        /// What kind of failure.
        kind: ErrorKind,
        /// What the pin driver said.
        detail: String,
    },
}

/// Longest text of a stranger that goes into a message, in characters.
const QUOTE: usize = 200;

/// A stranger's text on one line, bounded, without control characters.
pub(super) fn quote(text: &str) -> String {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(QUOTE)
        .collect();
    clean.trim().to_owned()
}

impl PowerError {
    /// What kind of error it is.
    #[must_use]
    pub fn kind(&self) -> PowerErrorKind {
        match self {
            Self::WrongPassword { .. } | Self::PasswordUnknown { .. } => {
                PowerErrorKind::WrongPassword
            }
            Self::Dead { .. }
            | Self::Unreachable { .. }
            | Self::Late { .. }
            | Self::Serial { .. } => PowerErrorKind::Dead,
            Self::Garbage { .. } | Self::Malformed { .. } => PowerErrorKind::Garbage,
            Self::UnsupportedCipher { .. }
            | Self::Lacks { .. }
            | Self::Switch {
                kind: ErrorKind::NoCut,
                ..
            } => PowerErrorKind::Unsupported,
            Self::SessionRefused { .. }
            | Self::Refused { .. }
            | Self::StillOn { .. }
            | Self::NotKept { .. }
            | Self::SerialInUse { .. } => PowerErrorKind::Refused,
            Self::Ignored { .. } | Self::Flipped { .. } => PowerErrorKind::Contradiction,
            Self::Redfish { fault, .. } => fault.kind(),
            Self::Program { fault, .. } => fault.kind(),
            Self::Packet { .. }
            | Self::Random { .. }
            | Self::PasswordFile { .. }
            | Self::Switch { .. } => PowerErrorKind::Local,
        }
    }

    /// The completion code, where the BMC refused a command.
    #[must_use]
    pub fn code(&self) -> Option<CompletionCode> {
        match self {
            Self::Refused {
                why: AnswerError::Refused { code, .. },
                ..
            } => Some(*code),
            _ => None,
        }
    }

    /// The error that a session's end means to a person; `attempts` counts
    /// the tries to open it.
    pub(super) fn from_session(target: Target, why: SessionError, attempts: u32) -> Self {
        match why {
            SessionError::WrongPassword { .. }
            | SessionError::UnauthorizedName { .. }
            | SessionError::WrongBmcKey => Self::WrongPassword { target, why },
            SessionError::UnsupportedSuite { .. } | SessionError::NoIpmi2 => {
                Self::UnsupportedCipher { target, why }
            }
            SessionError::PrivilegeRefused { .. }
            | SessionError::Refused { .. }
            | SessionError::BmcBusy { .. }
            | SessionError::NotActive
            | SessionError::Busy => Self::SessionRefused { target, why },
            SessionError::NoAnswer { stage, tries } => Self::Dead {
                target,
                stage,
                tries: tries.max(attempts),
            },
            SessionError::Garbage {
                stage,
                dropped,
                last,
            } => Self::Garbage {
                target,
                stage,
                dropped,
                last,
            },
        }
    }

    /// The error that an answer means to a person.
    pub(super) fn from_answer(target: Target, why: AnswerError) -> Self {
        match why {
            AnswerError::Refused { .. } => Self::Refused { target, why },
            AnswerError::Malformed { .. } => Self::Malformed { target, why },
        }
    }
}
