//! Everything that crosses a wire or a disk between Musher's parts.
//!
//! Both ends of the agent protocol and every reader of a stored record share
//! these types. They are encoded with postcard, which carries no field names:
//! a record is therefore always wrapped in an append-only `enum { V1(..), .. }`,
//! and [`decode`] refuses bytes that remain. This crate never does IO, never
//! reads a clock and never decides anything.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod agent;
mod codec;
mod ids;
mod order;
mod receipt;
mod wipe;

pub use agent::{
    AgentFrame, AgentMessage, ApplianceFrame, BootPlan, Disk, Envelope, Firmware, Instruction,
    Inventory, MAX_ENVELOPE_BYTES, MAX_LOG_CHUNK_BYTES, RunEnd, RunExit, SignatureBytes, Stage,
};
pub use codec::{DecodeError, decode, encode};
pub use ids::{
    AgentKey, ApplianceId, BootId, CircuitId, DeliveryKey, Digest, EffectId, Generation, HubId,
    IdParseError, JobId, Mac, Millis, PoolId, RunnerId, SledId, TicketToken,
};
pub use order::{Assignment, Identity, ImageRef, Order, Registration, Secret, TokenOrder};
pub use receipt::{
    Assurance, Energy, Epoch, EpochCause, JobRef, Observed, Outcome, PowerMeter, Receipt,
    ReceiptRecord, Reported, SignedReceipt,
};
pub use wipe::{DiskWipe, Scratch, WipeClass, WipeMethod, WipeReport};

/// Path of the agent API on the sled listener. The body of a request is an
/// [`Envelope`], that of an answer an [`ApplianceFrame`], both by [`encode`].
pub const AGENT_PATH: &str = "/agent/v1";

/// Prefix of runner image downloads on the sled listener, followed by the
/// image's SHA-256 in hex. Served over TLS to agents.
pub const IMAGE_PATH: &str = "/image/";

/// Kernel command line key: base URL of the appliance's sled listener,
/// `https://ADDRESS:PORT`.
pub const CMDLINE_URL: &str = "musher.url";
/// Kernel command line key: SHA-256 in hex of the appliance's
/// SubjectPublicKeyInfo, which the agent pins.
pub const CMDLINE_PIN: &str = "musher.pin";
/// Kernel command line key: the boot ticket's token in hex. Worthless once
/// redeemed.
pub const CMDLINE_TICKET: &str = "musher.ticket";
