//! The agent protocol: the agent asks, the appliance answers.
//!
//! Each request is an [`Envelope`] signed by the key that the agent made at
//! its start; the first [`AgentMessage::Hello`] binds the boot ticket to it.
//! TLS (with the appliance's key pinned) hides the frames; the signature
//! proves that all of them come from the one redeemer.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{AgentKey, BootId, Order, TicketToken, TokenOrder, WipeReport};

/// Largest [`Envelope`] that either end accepts, in bytes.
pub const MAX_ENVELOPE_BYTES: usize = 256 * 1024;

/// Largest piece of runner log in one [`AgentMessage::Log`], in bytes.
pub const MAX_LOG_CHUNK_BYTES: usize = 64 * 1024;

/// An Ed25519 signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureBytes(pub [u8; 64]);

impl Serialize for SignatureBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_slice().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SignatureBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| D::Error::custom("a signature has 64 bytes"))
    }
}

/// A signed request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The ticket from the kernel command line.
    pub ticket: TicketToken,
    /// The agent's public key.
    pub key: AgentKey,
    /// Counts up with each new request; a repeated request keeps its number.
    pub sequence: u64,
    /// An encoded [`AgentFrame`].
    pub body: Vec<u8>,
    /// Ed25519 over [`Envelope::signed_bytes`].
    pub signature: SignatureBytes,
}

impl Envelope {
    /// What the signature covers, with a prefix that no other use of the key has.
    #[must_use]
    pub fn signed_bytes(
        ticket: &TicketToken,
        key: &AgentKey,
        sequence: u64,
        body: &[u8],
    ) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(96 + body.len());
        bytes.extend_from_slice(b"musher agent frame v1\0");
        bytes.extend_from_slice(&ticket.0);
        bytes.extend_from_slice(&key.0);
        bytes.extend_from_slice(&sequence.to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    }
}

/// Versions of what an agent says. Append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AgentFrame {
    /// First release.
    V1(AgentMessage),
}

/// Versions of what the appliance answers. Append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApplianceFrame {
    /// First release.
    V1(Instruction),
}

/// What an agent says. Append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AgentMessage {
    /// First words: redeems the ticket and tells what the sled is made of.
    Hello(Inventory),
    /// Every local disk is wiped, scratch is set up.
    Wiped(WipeReport),
    /// Long poll for the order.
    Poll,
    /// The order arrived. The runner starts only after the answer
    /// [`Instruction::Continue`].
    Accepted {
        /// `Order::runner_name` of what was accepted.
        runner_name: String,
    },
    /// A piece of the runner's output.
    Log {
        /// Offset of the first byte in the whole log.
        offset: u64,
        /// At most [`MAX_LOG_CHUNK_BYTES`].
        bytes: Vec<u8>,
    },
    /// The runner ended; the agent powers off once this is answered, unless the
    /// answer is [`Instruction::Wait`]: then it polls until it is told to.
    Finished(RunEnd),
    /// A stage failed; the agent powers off once this is answered.
    Failed {
        /// Where.
        stage: Stage,
        /// Why, for people.
        reason: String,
    },
}

/// Stages in which an agent can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Before the wipe began.
    Start,
    /// Wiping disks.
    Wipe,
    /// Setting up scratch space.
    Scratch,
    /// Fetching or verifying the image.
    Image,
    /// Starting the runner.
    Run,
}

/// How a sled was booted, as the agent sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Firmware {
    /// Legacy BIOS.
    Bios,
    /// UEFI (`/sys/firmware/efi` exists).
    Uefi,
}

/// A local disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Kernel name.
    pub name: String,
    /// Model.
    pub model: String,
    /// Serial number.
    pub serial: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// What a sled is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Release of the agent.
    pub agent_version: String,
    /// Kernel release.
    pub kernel: String,
    /// How it was booted.
    pub firmware: Firmware,
    /// Logical processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Board or product name.
    pub product: String,
    /// Every local disk.
    pub disks: Vec<Disk>,
    /// Milliseconds from the kernel's start to this hello.
    pub uptime_ms: u64,
}

/// What the agent must know for its boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootPlan {
    /// The boot this ticket stands for.
    pub boot: BootId,
    /// The sled's name, for the console.
    pub sled: String,
    /// Bytes of runner log the appliance keeps; more is counted, not sent.
    pub log_limit_bytes: u64,
}

/// What the appliance answers. Append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Instruction {
    /// The ticket is yours: wipe, and come back.
    Welcome(BootPlan),
    /// Understood; go on.
    Continue,
    /// Nothing yet: poll again.
    Wait,
    /// Run this.
    Order(Order),
    /// That runner is void and must not be started: poll again.
    Discard,
    /// Power off now. Nothing else is wanted from this boot.
    PowerOff {
        /// Why, for the console.
        reason: String,
    },
    /// Run this; its runner registers itself.
    OrderByToken(TokenOrder),
    /// A person may look at this sled: its job failed, and GitHub knows of no
    /// runner of this boot any more. Stay on, and poll again.
    Hold,
}

/// How a runner's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunExit {
    /// Exit code of the listener. It tells how the *runner* fared, never the
    /// result of the job (actions/runner, `Runner.Listener` return codes).
    Code(i32),
    /// Killed by a signal.
    Signal(i32),
    /// Ended by the agent at `Order::max_runtime_s`.
    TimedOut,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnd {
    /// How the process ended.
    pub exit: RunExit,
    /// Milliseconds from start to end.
    pub elapsed_ms: u64,
    /// Bytes of log written, including those that were not sent.
    pub log_bytes: u64,
}
