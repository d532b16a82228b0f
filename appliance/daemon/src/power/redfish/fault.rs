//! What can go wrong between us and a Redfish service, and how to mend it.

use std::io;

use super::super::PowerErrorKind;

/// Why a Redfish service did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RedfishFault {
    /// No connection, or it broke twice.
    #[error(
        "{source}: check that the BMC has power and this address and port, and that its web \
         service is enabled"
    )]
    Unreachable {
        /// What the kernel or the HTTP library said.
        source: io::Error,
    },
    /// A deadline passed.
    #[error("no complete answer within {after_ms} ms: is the BMC overloaded?")]
    Late {
        /// The deadline in milliseconds.
        after_ms: u128,
    },
    /// The certificate is not the one to expect.
    #[error("{why}; nothing was sent")]
    Untrusted {
        /// What was seen and what was expected.
        why: String,
    },
    /// User or password are wrong.
    #[error(
        "user or password refused{}: compare `username` and the file of `password_path` with the \
         BMC's account; not tried again for a while, as BMCs lock accounts", said(.message)
    )]
    WrongPassword {
        /// What the BMC said.
        message: String,
    },
    /// The BMC understood and said no.
    #[error("refused with HTTP status {status}{}: see the BMC's event log and the privileges of \
             its account", said(.message))]
    Refused {
        /// HTTP status.
        status: u16,
        /// What the BMC said.
        message: String,
    },
    /// The BMC has no time.
    #[error("busy (HTTP status 503) {tries} times: is the BMC starting or being updated?")]
    Busy {
        /// How often it was asked.
        tries: u32,
    },
    /// What came back is not what Redfish prescribes.
    #[error("{what}: check that the address is the BMC's, and update its firmware")]
    Garbage {
        /// What was wrong.
        what: String,
    },
    /// The BMC lacks what we insist on, or several things fit.
    #[error("{what}")]
    Unsupported {
        /// What, and what to do.
        what: String,
    },
    /// Something on this machine failed.
    #[error("{what}")]
    Local {
        /// What.
        what: String,
    },
}

impl RedfishFault {
    /// The kind of [`super::super::PowerError`] that it is.
    #[must_use]
    pub fn kind(&self) -> PowerErrorKind {
        match self {
            Self::Unreachable { .. } | Self::Late { .. } => PowerErrorKind::Dead,
            Self::Untrusted { .. } => PowerErrorKind::Untrusted,
            Self::WrongPassword { .. } => PowerErrorKind::WrongPassword,
            Self::Refused { .. } => PowerErrorKind::Refused,
            Self::Busy { .. } => PowerErrorKind::Busy,
            Self::Garbage { .. } => PowerErrorKind::Garbage,
            Self::Unsupported { .. } => PowerErrorKind::Unsupported,
            Self::Local { .. } => PowerErrorKind::Local,
        }
    }

    pub(super) fn garbage(what: impl Into<String>) -> Self {
        Self::Garbage { what: what.into() }
    }
}

fn said(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(" (\"{message}\")")
    }
}
