//! What can happen, and what is answered to whoever asked.

use alloc::{boxed::Box, string::String, vec::Vec};

use messages::{
    AgentKey, AgentMessage, BootId, DeliveryKey, Digest, EffectId, Generation, HubId, Instruction,
    JobId, Mac, PowerMeter, RunnerId, SledId, TicketToken,
};

use crate::{
    BmcFacts, BootImage, Inventory, Labels, Lever, ListedRunner, Outcome, PowerFailure,
    PowerReading, Scope,
};

/// An input of the core.
#[derive(Clone, Debug)]
pub enum Event {
    /// The appliance started; the state was loaded just before.
    Started,
    /// Time passed.
    Tick,
    /// The inventory, at each start and after each change.
    Inventory(Inventory),
    /// A verified webhook delivery, or the same truth from another source.
    Delivery {
        /// Its GUID.
        key: DeliveryKey,
        /// The App it came through.
        hub: HubId,
        /// Where it came from.
        source: Source,
        /// What it says.
        hook: Hook,
    },
    /// An effect was tried.
    Outcome {
        /// Which.
        id: EffectId,
        /// How it went.
        outcome: Outcome,
    },
    /// A sled's power was read.
    PowerRead {
        /// Which sled.
        sled: SledId,
        /// At the time of which claim it was asked for.
        generation: Generation,
        /// What the driver says.
        result: Result<PowerReading, PowerFailure>,
    },
    /// The settings of a sled's controller were read, see
    /// [`Effects::read_facts`](crate::Effects::read_facts).
    FactsRead {
        /// Which sled.
        sled: SledId,
        /// At the time of which claim they were asked for.
        generation: Generation,
        /// `None` where there is no controller.
        result: Result<Option<BmcFacts>, PowerFailure>,
    },
    /// A sled's draw of power was read, as often as there is something to read
    /// while it is claimed.
    WattsRead {
        /// Which sled.
        sled: SledId,
        /// Watts.
        watts: u32,
        /// Who measured.
        meter: PowerMeter,
    },
    /// A sled asks to boot.
    Boot(BootQuestion),
    /// An agent speaks. Its signature was verified.
    Agent {
        /// The ticket it holds.
        ticket: TicketToken,
        /// Its key.
        key: AgentKey,
        /// What it says. The bytes of a log are left out.
        message: AgentMessage,
    },
    /// The order's secret part is not in memory (any more).
    OrderLost {
        /// The boot.
        boot: BootId,
    },
    /// Receipts that may leave were found, see
    /// [`Effects::aged_receipts`](crate::Effects::aged_receipts).
    ReceiptsAged {
        /// The last of them.
        through: u64,
        /// Its chain hash.
        hash: Digest,
    },
    /// Runners of this appliance that GitHub lists in one scope, see
    /// [`runner_prefix`](crate::runner_prefix).
    RunnersListed {
        /// The App that was asked.
        hub: HubId,
        /// Where they are registered.
        scope: Scope,
        /// The runners.
        runners: Vec<ListedRunner>,
    },
    /// A person's command.
    Lever(Lever),
}

/// How a delivery reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// POSTed to the webhook listener.
    Tunnel,
    /// Read from GitHub's delivery log.
    DeliveryLog,
    /// Found by asking GitHub.
    Sweep,
}

/// What a delivery says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hook {
    /// GitHub greets.
    Ping,
    /// A job changed.
    Job(Box<JobReport>),
    /// A workflow run changed.
    Run(Box<RunReport>),
    /// Something we do not act on.
    Other,
}

/// GitHub's word on a workflow run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunReport {
    /// GitHub's id of the run.
    pub run_id: u64,
    /// `owner/name`.
    pub repository: Box<str>,
    /// How it ended, once it did: `success`, `failure`, `cancelled`,
    /// `action_required` or `skipped`.
    pub conclusion: Option<Box<str>>,
    /// Its page at GitHub.
    pub page: Option<Box<str>>,
}

/// GitHub's word on a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobReport {
    /// GitHub's job id.
    pub number: u64,
    /// What happened.
    pub action: JobAction,
    /// `owner/name`.
    pub repository: Box<str>,
    /// Name of the job.
    pub name: Box<str>,
    /// Name of the workflow, when told.
    pub workflow: Box<str>,
    /// Workflow run.
    pub run_id: u64,
    /// Attempt of the run.
    pub run_attempt: u32,
    /// What it asks for. Empty with `runs-on: { group: … }`.
    pub labels: Labels,
    /// The runner group that GitHub names for it, if it names one. A queued job
    /// may carry the one of an earlier attempt.
    pub group: Option<Box<str>>,
    /// Its repository is public: anyone's pull request may be its code.
    pub public: bool,
    /// The runner it runs on.
    pub runner: Option<(RunnerId, Box<str>)>,
    /// Its page at GitHub, when told.
    pub page: Option<Box<str>>,
    /// GitHub's conclusion.
    pub conclusion: Option<Box<str>>,
    /// From its start to its end by GitHub's clock, in milliseconds, once it
    /// ended.
    pub ran_ms: Option<u64>,
}

/// What happened to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobAction {
    /// It waits for a runner.
    Queued,
    /// It waits for an approval: not for a runner.
    Waiting,
    /// A runner has it.
    InProgress,
    /// It ended.
    Completed,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryResult {
    /// A new job waits.
    Queued,
    /// A known job changed, or nothing about it was new.
    Updated,
    /// Not ours to act on.
    Ignored,
    /// This delivery was here before.
    Duplicate,
    /// A ping.
    Pong,
    /// The queue is at its bound: not stored, come again.
    Full,
}

impl DeliveryResult {
    /// The word in the webhook's answer.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Updated => "updated",
            Self::Ignored => "ignored",
            Self::Duplicate => "duplicate",
            Self::Pong => "pong",
            Self::Full => "full",
        }
    }
}

/// A sled's firmware or boot loader asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootQuestion {
    /// A DHCP request from this card; `wants_boot` when a firmware or boot
    /// loader asks (option 93 or a user class), not an operating system.
    Dhcp {
        /// Who.
        mac: Mac,
        /// Whether it asks for something to boot.
        wants_boot: bool,
    },
    /// Asks for the boot script or the boot loader.
    Loader {
        /// Who.
        mac: Mac,
    },
    /// Fetches a file with a ticket.
    File {
        /// The ticket.
        ticket: TicketToken,
        /// Which file.
        file: BootFile,
    },
    /// An agent fetches a runner image.
    Image {
        /// The ticket.
        ticket: TicketToken,
        /// SHA-256 of the image.
        digest: Digest,
    },
}

/// Files of a netboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootFile {
    /// The kernel.
    Kernel,
    /// The initramfs.
    Initramfs,
}

/// The answer to a [`BootQuestion`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootAnswer {
    /// Not in the inventory: not even a lease.
    Unknown,
    /// A lease and nothing to boot: a sled whose agent runs.
    Lease,
    /// A lease, and this to boot.
    Offer(BootOffer),
    /// A lease, and a message why there is nothing to boot.
    Held(&'static str),
    /// Not allowed.
    Refused(&'static str),
}

/// What an armed sled boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootOffer {
    /// The ticket, for the kernel's command line.
    pub ticket: TicketToken,
    /// What its receipt will say that it booted.
    pub image: BootImage,
}

/// The answer to an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentReply {
    /// As it stands. For [`AgentMessage::Log`] also the boot whose log it is.
    Instruction {
        /// The boot.
        boot: BootId,
        /// What to do.
        instruction: Instruction,
    },
    /// The order of this boot, whose JIT config the caller holds.
    Order {
        /// The boot.
        boot: BootId,
        /// The runner whose config it must be.
        runner_name: String,
        /// The image.
        image: messages::ImageRef,
        /// Longest run in seconds.
        max_runtime_s: u64,
    },
    /// No such right.
    Refused(&'static str),
}

impl JobReport {
    /// The job's id, seen through `hub`.
    #[must_use]
    pub const fn id(&self, hub: HubId) -> JobId {
        JobId {
            hub,
            number: self.number,
        }
    }
}
