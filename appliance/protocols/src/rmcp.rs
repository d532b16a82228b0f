//! IPMI 2.0 over RMCP+: the client's side of a session with a BMC, as values.
//!
//! Datagrams go in, datagrams and answers come out; [`Session`] is the
//! machine, the other modules are its codecs. It never reads a clock, never
//! makes a random number, never opens a socket and never logs: time, nonces
//! and initialisation vectors are arguments, so that a test can replay an
//! exchange byte for byte.
//!
//! # Workarounds
//!
//! What BMCs do that the specification does not say, by the names that tests
//! and comments use. All of them are always in force: none makes a session
//! weaker, so nobody has to know which BMC needs which.
//!
//! | name | BMCs | here |
//! | --- | --- | --- |
//! | `fresh-port` | are confused by a set-up that comes again from the same port (FreeIPMI) | each set-up packet is sent once; the next try is a new session from a new port |
//! | `named-privilege` | refuse "highest privilege" (0) in Open Session (iLO) | the level is asked for by name |
//! | `open-session-privilege` | hash Open Session's level instead of RAKP 1's role (FreeIPMI `opensesspriv`) | both are tried on RAKP 2; the one that fits is used on |
//! | `long-rakp2` | send bytes after RAKP 2's and RAKP 4's code | the code decides, the rest is not looked at |
//! | `short-refusal` | end a refusal after its status | status and tag are enough |
//! | `illegal-parameter` | say "illegal parameter" for a wrong password | taken as a wrong password: not tried again |
//! | `late-answer` | answer twice, late, or in another order | session window and request numbers; what nobody waits for is dropped |
//! | `busy` | say "node busy" or "starting" | asked again, a few times |
//! | `off-when-off` | refuse "off" when off (bmclib 417) | nothing is sent to what reads off; a refusal in the present state is settled by a reading |
//! | `expiring-boot-flags` | forget boot flags after 60 s | asked to keep them; flags are set right before power on |
//! | `lost-efi-bit` | lose the EFI or valid bit on the way back | each is reported, none is assumed |
//! | `lost-session` | forget sessions when they restart or are full | the command goes over a new session, unless it could be done twice |
//!
//! Not worked around: BMCs that make wrong keys or codes (FreeIPMI
//! `intel20`, `supermicro20`, `sun20`, `integritycheckvalue`,
//! `nochecksumcheck`): a session that cannot be proved is none.
//!
//! "IPMI" below means the Intelligent Platform Management Interface
//! Specification, second generation, v2.0 rev. 1.1.

mod command;
mod credentials;
mod frame;
mod handshake;
mod message;
mod serial;
mod session;
mod suite;
mod window;

#[cfg(test)]
mod test_bmc;

pub use command::{
    Answer, AnswerError, BootDevice, BootFlags, ChannelAccess, ChannelInfo, ChassisControl,
    ChassisStatus, Command, CommandMask, CompletionCode, DeviceId, Firmware, LanParameter,
    LanValue, Medium, PowerDraw, RestorePolicy, RestoreSupport, SYSTEM_INTERFACE, SelEntry,
    SelInfo, SerialChannel, THIS_CHANNEL, UserAccess, UserId, UserName,
};
pub use credentials::{BmcKey, CredentialError, Password, Username};
pub use frame::{DecodeError, MAX_DATAGRAM_BYTES, Packet, PayloadType, decode};
pub use handshake::RmcpStatus;
pub use message::{Message, MessageError};
pub use serial::{MOST_WAITING_BYTES, Received, SerialError, SerialLine};
pub use session::{
    Config, DropReason, Entropy, NameLookup, Progress, Session, SessionError, Stage, Timing,
    fuzz_session,
};
pub use suite::{CipherSuite, Privilege, UnknownSuite};

/// The UDP port of RMCP, which every BMC listens on (ASF 2.0, clause 3.2.2).
pub const RMCP_PORT: u16 = 623;
