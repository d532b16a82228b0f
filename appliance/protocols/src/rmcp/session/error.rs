//! Why a session ended, and why a datagram was dropped.

use core::fmt;

use super::super::command::CompletionCode;
use super::super::frame::DecodeError;
use super::super::handshake::RmcpStatus;
use super::super::message::MessageError;
use super::super::suite::{CipherSuite, Privilege};

/// How far a session got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Get Channel Authentication Capabilities.
    Probe,
    /// Open Session.
    OpenSession,
    /// RAKP messages 1 and 2.
    Challenge,
    /// RAKP messages 3 and 4.
    Proof,
    /// Set Session Privilege Level.
    Privilege,
    /// Open; a command.
    Command,
    /// Closed or failed.
    Closed,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Probe => "capabilities probe",
            Self::OpenSession => "open session",
            Self::Challenge => "RAKP 1",
            Self::Proof => "RAKP 3",
            Self::Privilege => "set session privilege level",
            Self::Command => "command",
            Self::Closed => "closed session",
        })
    }
}

/// Why a datagram was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DropReason {
    /// It is no IPMI packet.
    #[error(transparent)]
    Datagram(#[from] DecodeError),
    /// What it carries is no IPMI message.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// A set-up payload is too short or has another tag.
    #[error("the set-up payload is malformed")]
    SetUp,
    /// A kind of packet that nobody asked for.
    #[error("nobody asked for this kind of packet")]
    Unexpected,
    /// It belongs to another session.
    #[error("the packet belongs to another session")]
    ForeignSession,
    /// It is not both encrypted and authenticated.
    #[error("the packet is not encrypted and authenticated")]
    Unprotected,
    /// Its authentication code is wrong.
    #[error("the packet's authentication code is wrong")]
    WrongCode,
    /// Its sequence number came before, or is far off.
    #[error("the packet's sequence number was seen before or is out of the window")]
    Replayed,
    /// It does not decrypt to a padded payload.
    #[error("the packet's encrypted payload is malformed")]
    Sealed,
}

/// Why a session cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// BMC and client do not have the same password.
    #[error("wrong password{}", in_brackets(.status))]
    WrongPassword {
        /// What the BMC said; `None` when its own proof was wrong.
        status: Option<RmcpStatus>,
    },
    /// The BMC knows no such user.
    #[error("the BMC refuses the user name: {status}")]
    UnauthorizedName {
        /// What the BMC said.
        status: RmcpStatus,
    },
    /// The password is right, but the session keys differ.
    #[error("the BMC key (Kg) is wrong or missing")]
    WrongBmcKey,
    /// The user may not have the privilege level.
    #[error("the BMC refuses the privilege level {privilege}")]
    PrivilegeRefused {
        /// What was asked for.
        privilege: Privilege,
    },
    /// The BMC does not have the cipher suite, or has it disabled.
    #[error("the BMC refuses {suite}{}", in_brackets(.status))]
    UnsupportedSuite {
        /// What was asked for.
        suite: CipherSuite,
        /// What the BMC said; `None` when it chose other algorithms.
        status: Option<RmcpStatus>,
    },
    /// The BMC speaks IPMI 1.5 only, or has IPMI 2.0 disabled.
    #[error("the BMC does not offer IPMI 2.0 over LAN")]
    NoIpmi2,
    /// The BMC refused the session for another reason.
    #[error("the BMC refuses the session at {stage}: {status}")]
    Refused {
        /// How far it got.
        stage: Stage,
        /// What the BMC said.
        status: RmcpStatus,
    },
    /// The BMC is busy or starting, and refuses the privilege level for that.
    #[error("the BMC is busy: {code}")]
    BmcBusy {
        /// What the BMC said.
        code: CompletionCode,
    },
    /// Nothing came back.
    #[error("no answer to {stage} (sent {tries} times)")]
    NoAnswer {
        /// What was not answered.
        stage: Stage,
        /// How often it was sent.
        tries: u32,
    },
    /// What came back was dropped, each and every datagram.
    #[error("{dropped} unusable answers to {stage}, the last one because: {last}")]
    Garbage {
        /// What was asked.
        stage: Stage,
        /// How many datagrams were dropped since the last good one.
        dropped: u32,
        /// Why the last was.
        last: DropReason,
    },
    /// A command was given before the session was open, or after it closed.
    #[error("the session is not active")]
    NotActive,
    /// A command was given while another is in flight.
    #[error("another command is in flight")]
    Busy,
}

/// ` (status)`, or nothing.
fn in_brackets(status: &Option<RmcpStatus>) -> impl fmt::Display {
    struct Brackets(Option<RmcpStatus>);
    impl fmt::Display for Brackets {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self.0 {
                Some(status) => write!(f, " (the BMC says: {status})"),
                None => Ok(()),
            }
        }
    }
    Brackets(*status)
}
