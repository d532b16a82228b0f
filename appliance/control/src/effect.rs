//! What must happen in the world, and how it went.

use alloc::{boxed::Box, string::String, vec::Vec};

use messages::{
    BootId, Digest, Generation, HubId, JobId, Millis, RunnerId, SignatureBytes, SledId,
};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::{AgentReply, BootAnswer, DeliveryResult, InventoryError, JobReport, Labels, Scope};

/// Something to do. Every one but [`Effect::Mint`] and
/// [`Effect::DispatchWorkflow`] may be done twice.
/// Stored in the outbox: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// Set network boot out of band, then turn the sled on if it is off.
    PowerOn {
        /// Which sled.
        sled: SledId,
        /// For which boot.
        boot: BootId,
        /// Of which claim; older ones are refused by the driver.
        generation: Generation,
    },
    /// Turn the sled off if it is on.
    PowerOff {
        /// Which sled.
        sled: SledId,
        /// Of which claim.
        generation: Generation,
    },
    /// Register a runner under a fresh name and keep its config in memory.
    Mint {
        /// App.
        hub: HubId,
        /// Where.
        scope: Scope,
        /// Fresh name.
        name: String,
        /// Its labels.
        labels: Labels,
        /// For which boot.
        boot: BootId,
    },
    /// Delete a runner, by id or else by name. One that is gone is deleted.
    DeleteRunner {
        /// App.
        hub: HubId,
        /// Where.
        scope: Scope,
        /// Its name.
        name: String,
        /// Its id, when GitHub told us.
        id: Option<RunnerId>,
        /// The boot it was for.
        boot: BootId,
    },
    /// Ask GitHub how a job stands.
    LookUpJob {
        /// The job.
        job: JobId,
        /// `owner/name`.
        repository: Box<str>,
    },
    /// Sign the receipt of this sequence number.
    SignReceipt {
        /// Place in the chain.
        sequence: u64,
        /// Chain hash of its body.
        digest: Digest,
    },
    /// Have GitHub run a job again that its sled failed.
    RerunJob {
        /// The job.
        job: JobId,
        /// `owner/name`.
        repository: Box<str>,
        /// The boot that failed it.
        boot: BootId,
    },
    /// Turn a sled on for people: no boot is due, so it is given nothing to boot.
    PowerOnByHand {
        /// Which sled.
        sled: SledId,
        /// Of which claim.
        generation: Generation,
    },
    /// Have GitHub start the workflow by which the sled of this boot proves
    /// itself.
    DispatchWorkflow {
        /// App.
        hub: HubId,
        /// The boot whose runner waits for it.
        boot: BootId,
        /// `owner/name`.
        repository: String,
        /// The workflow's id or file name.
        workflow: String,
        /// Branch or tag.
        reference: String,
        /// Inputs of the workflow.
        inputs: Vec<(String, String)>,
    },
}

impl Effect {
    /// A short name for logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PowerOn { .. } => "power-on",
            Self::PowerOff { .. } => "power-off",
            Self::Mint { .. } => "mint",
            Self::DeleteRunner { .. } => "delete-runner",
            Self::LookUpJob { .. } => "look-up-job",
            Self::SignReceipt { .. } => "sign-receipt",
            Self::RerunJob { .. } => "rerun-job",
            Self::PowerOnByHand { .. } => "power-on-by-hand",
            Self::DispatchWorkflow { .. } => "dispatch-workflow",
        }
    }

    /// The sled whose driver does it; effects of one sled are done in order.
    #[must_use]
    pub const fn sled(&self) -> Option<SledId> {
        match self {
            Self::PowerOn { sled, .. }
            | Self::PowerOff { sled, .. }
            | Self::PowerOnByHand { sled, .. } => Some(*sled),
            Self::Mint { .. }
            | Self::DeleteRunner { .. }
            | Self::LookUpJob { .. }
            | Self::SignReceipt { .. }
            | Self::RerunJob { .. }
            | Self::DispatchWorkflow { .. } => None,
        }
    }
}

/// A power reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerReading {
    /// On.
    On,
    /// Off.
    Off,
    /// Without power, but it may start by itself: its relay is closed.
    Dark,
    /// The driver cannot tell.
    Unknown,
}

/// Why a power command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PowerFailure {
    /// Trying again can not help: credentials, configuration.
    pub permanent: bool,
    /// It said two things, or did not do what it accepted: nothing that it says
    /// is to be relied on.
    pub contradiction: bool,
    /// For people.
    pub message: String,
}

/// Why GitHub did not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GithubFailure {
    /// The name exists.
    Conflict,
    /// Asked too often; milliseconds to wait.
    RateLimited(u64),
    /// No answer, or a broken one: it may have happened all the same.
    Unavailable(String),
    /// It will not, until a person changes something.
    Refused(String),
}

/// What GitHub says of a job that was looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobAnswer {
    /// This.
    Report(Box<JobReport>),
    /// There is no such job.
    Gone,
}

/// How an effect went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// [`Effect::PowerOn`], [`Effect::PowerOnByHand`].
    PoweredOn(Result<PoweredOn, PowerFailure>),
    /// [`Effect::PowerOff`]: accepted, not yet proved.
    PoweredOff(Result<(), PowerFailure>),
    /// [`Effect::Mint`]. A runner that registers itself has no id yet.
    Minted(Result<Option<RunnerId>, GithubFailure>),
    /// [`Effect::DeleteRunner`]: whether it is gone; `false` when it is busy.
    Deleted(Result<bool, GithubFailure>),
    /// [`Effect::LookUpJob`].
    LookedUp(Result<JobAnswer, GithubFailure>),
    /// [`Effect::SignReceipt`].
    Signed(SignatureBytes),
    /// [`Effect::RerunJob`]. GitHub refuses until the workflow run has ended.
    Rerun(Result<(), GithubFailure>),
    /// [`Effect::DispatchWorkflow`]: the run that came of it, where GitHub names it.
    Dispatched(Result<Option<DispatchedRun>, GithubFailure>),
    /// The driver refused an effect of an older claim.
    Stale,
}

/// The workflow run that came of a dispatch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispatchedRun {
    /// GitHub's id of it.
    pub id: u64,
    /// Its page at GitHub.
    pub page: Option<Box<str>>,
}

/// How a power-on went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoweredOn {
    /// When the command was accepted.
    pub at: Millis,
    /// It was off before, and turned on by this command.
    pub edge: bool,
    /// Network boot was set and read back.
    pub override_confirmed: bool,
}

/// An answer to whoever submitted the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing to say.
    None,
    /// To a delivery.
    Delivery(DeliveryResult),
    /// To a sled's firmware.
    Boot(BootAnswer),
    /// To an agent.
    Agent(AgentReply),
    /// To an inventory or a person's command.
    Done(Result<(), InventoryError>),
}

/// A line for the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Dotted name, such as `audit.sled.power_on`.
    pub name: &'static str,
    /// The sled's name.
    pub sled: Option<String>,
    /// The boot.
    pub boot: Option<BootId>,
    /// The job.
    pub job: Option<JobId>,
    /// Detail.
    pub detail: String,
}

/// Receipts that may leave, if there are such: the last one is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgedReceipts {
    /// The oldest that is kept.
    pub first: u64,
    /// Those made before this time may leave,
    pub made_before: Millis,
    /// and those up to this one,
    pub surplus: u64,
    /// but none after this one.
    pub at_most: u64,
}

/// Collects what a step gives back besides the changed rows.
#[derive(Debug)]
pub struct Effects {
    entropy: [u8; 32],
    drawn: u64,
    /// The answer.
    pub reply: Reply,
    /// Lines for the audit log, to be written after the commit.
    pub audit: Vec<Audit>,
    /// Boots whose agents should ask again now.
    pub wake: Vec<BootId>,
    /// Sleds whose power should be read now, answered by
    /// [`Event::PowerRead`](crate::Event::PowerRead). Readings change nothing
    /// in the world, so they are not kept in the outbox.
    pub read_power: Vec<(SledId, Generation)>,
    /// Sleds whose controllers' settings should be read now, answered by
    /// [`Event::FactsRead`](crate::Event::FactsRead).
    pub read_facts: Vec<(SledId, Generation)>,
    /// Receipts that may leave should be looked for, answered by
    /// [`Event::ReceiptsAged`](crate::Event::ReceiptsAged) if there are such.
    pub aged_receipts: Option<AgedReceipts>,
}

impl Effects {
    /// `entropy` is fresh from the system's generator for each step (or from
    /// the seed in a simulation).
    #[must_use]
    pub const fn new(entropy: [u8; 32]) -> Self {
        Self {
            entropy,
            drawn: 0,
            reply: Reply::None,
            audit: Vec::new(),
            wake: Vec::new(),
            read_power: Vec::new(),
            read_facts: Vec::new(),
            aged_receipts: None,
        }
    }

    /// Sixteen bytes that nobody can guess.
    pub(crate) fn random(&mut self) -> [u8; 16] {
        self.drawn += 1;
        let mut hash = sha2::Sha256::new();
        hash.update(b"musher control entropy v1\0");
        hash.update(self.entropy);
        hash.update(self.drawn.to_be_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize()[..16]);
        bytes
    }
}
