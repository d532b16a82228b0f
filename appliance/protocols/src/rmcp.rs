//! IPMI 2.0 over RMCP+: the client's side of a session with a BMC, as values.
//!
//! Datagrams go in, datagrams and answers come out; [`Session`] is the
//! machine, the other modules are its codecs. It never reads a clock, never
//! makes a random number, never opens a socket and never logs: time, nonces
//! and initialisation vectors are arguments, so that a test can replay an
//! exchange byte for byte.
//!
//! "IPMI" below means the Intelligent Platform Management Interface
//! Specification, second generation, v2.0 rev. 1.1.

mod command;
mod credentials;
mod frame;
mod handshake;
mod message;
mod session;
mod suite;
mod window;

#[cfg(test)]
mod test_bmc;

pub use command::{
    Answer, AnswerError, BootDevice, BootFlags, ChassisControl, ChassisStatus, Command,
    CompletionCode, DeviceId, Firmware, RestorePolicy,
};
pub use credentials::{BmcKey, CredentialError, Password, Username};
pub use frame::{DecodeError, MAX_DATAGRAM_BYTES, Packet, PayloadType, decode};
pub use handshake::RmcpStatus;
pub use message::{Message, MessageError};
pub use session::{
    Config, DropReason, Entropy, NameLookup, Progress, Session, SessionError, Stage, Timing,
    fuzz_session,
};
pub use suite::{CipherSuite, Privilege, UnknownSuite};

/// The UDP port of RMCP, which every BMC listens on (ASF 2.0, clause 3.2.2).
pub const RMCP_PORT: u16 = 623;
