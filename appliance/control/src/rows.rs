//! What is kept: one struct per stored row.
//!
//! The fields are written to disk in this order without names. Never reorder,
//! remove or insert one: a changed row gets a new version in `persist`.

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};

use messages::{
    AgentKey, Assurance, BootId, CircuitId, Digest, Energy, Generation, HubId, ImageRef, Inventory,
    JobId, Mac, Millis, Outcome, PoolId, RunEnd, RunnerId, SledId, TicketToken, WipeReport,
};
use serde::{Deserialize, Serialize};

use crate::{
    AcceptanceSpec, Effect, Labels,
    policy::{Duty, PoolPolicy, StageTimes},
};

pub(crate) mod first;
pub(crate) mod second;
pub(crate) mod third;

/// Counters and the end of the receipt chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) next_boot: BootId,
    pub(crate) next_effect: u64,
    pub(crate) next_hub: u16,
    pub(crate) next_pool: u32,
    pub(crate) next_sled: u32,
    pub(crate) receipts: u64,
    pub(crate) last_receipt: Digest,
    pub(crate) next_circuit: u16,
    /// The oldest receipt that is kept.
    pub(crate) first_receipt: u64,
    /// The newest receipt that a person has a copy of.
    pub(crate) exported: u64,
}

/// A configured GitHub App, numbered once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hub {
    /// `[[github]] name`.
    pub name: String,
}

/// Where runners are registered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// An organisation.
    Org(String),
    /// A repository, `owner/name`.
    Repo(String),
    /// An enterprise.
    Enterprise(String),
}

impl Scope {
    /// Whether jobs of `repository` (`owner/name`) can reach runners here.
    /// GitHub compares names without case. An enterprise's organisations are
    /// those on which its App is installed: no other job is heard of.
    #[must_use]
    pub fn covers(&self, repository: &str) -> bool {
        match self {
            Self::Org(org) => repository
                .split_once('/')
                .is_some_and(|(owner, _)| owner.eq_ignore_ascii_case(org)),
            Self::Repo(repo) => repository.eq_ignore_ascii_case(repo),
            Self::Enterprise(_) => true,
        }
    }
}

impl core::fmt::Display for Scope {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Org(name) => write!(f, "org:{name}"),
            Self::Repo(name) => write!(f, "repo:{name}"),
            Self::Enterprise(name) => write!(f, "enterprise:{name}"),
        }
    }
}

/// What a pool's sleds boot and run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootImage {
    /// SHA-256 of the kernel.
    pub kernel: Digest,
    /// SHA-256 of the initramfs.
    pub initramfs: Digest,
    /// The runner's root filesystem; its name is the image's name.
    pub rootfs: ImageRef,
}

/// Interchangeable sleds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Name in the inventory.
    pub name: String,
    /// App through which it registers runners.
    pub hub: HubId,
    /// Where.
    pub scope: Scope,
    /// Labels of its runners.
    pub labels: Labels,
    /// What it boots.
    pub image: BootImage,
    /// Longest run of a job, in seconds.
    pub max_runtime_s: u64,
    /// Least grade of a boot that may get an order.
    pub min_assurance: Assurance,
    /// Left the inventory; kept while jobs or boots name it.
    pub retired: bool,
    /// No minting before this time, because GitHub refused for good.
    pub blocked_until: Option<Millis>,
    /// How often in a row it refused.
    pub refusals: u32,
    /// What GitHub said, for people.
    pub problem: Option<String>,
    /// How it shares its sleds.
    pub policy: PoolPolicy,
    /// A person lets it start nothing, since when and why.
    pub paused: Option<Withheld>,
    /// The runner group that its runners join; GitHub's default one without.
    pub group: Option<String>,
    /// Public repositories (`owner/name`, lower case) that it serves all the same.
    pub public: Vec<String>,
    /// What its sleds prove themselves by before they serve.
    pub acceptance: Option<AcceptanceSpec>,
}

impl Pool {
    /// Whether it may run a job of this repository, as far as strangers go.
    #[must_use]
    pub fn admits_public(&self, repository: &str) -> bool {
        self.public
            .iter()
            .any(|name| name.eq_ignore_ascii_case(repository))
    }
}

/// What we know of a sled's power and what it is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Power {
    /// Not proved. Gets nothing.
    Unknown {
        /// Since when.
        since: Millis,
        /// Why, and the way out, for people.
        reason: String,
    },
    /// Read as off.
    Off {
        /// Since when.
        since: Millis,
    },
    /// Claimed: this boot owns it until power is proved off.
    Claimed {
        /// The boot.
        boot: BootId,
    },
}

/// Withheld from scheduling until a person acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withheld {
    /// Since when.
    pub since: Millis,
    /// Evidence and advice, for people.
    pub reason: String,
}

/// One physical machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sled {
    /// Name in the inventory.
    pub name: Arc<str>,
    /// Network card it boots from.
    pub mac: Mac,
    /// Pools it serves.
    pub pools: Arc<[PoolId]>,
    /// Power and occupation.
    pub power: Power,
    /// Counts its claims.
    pub generation: Generation,
    /// Withheld, and why.
    pub quarantine: Option<Withheld>,
    /// Failed boots since the last good one.
    pub failures: u32,
    /// Left the inventory; gone once it is not claimed.
    pub retired: bool,
    /// What the last power command or reading failed with.
    pub power_problem: Option<String>,
    /// Its last boot.
    pub last_boot: Option<BootId>,
    /// The circuit that feeds it.
    pub circuit: Option<CircuitId>,
    /// What it draws at most, in watts.
    pub watts: u32,
    /// What people want of it.
    pub duty: Duty,
    /// Until this time a failed job leaves it on, for people to look at.
    pub hold_until: Option<Millis>,
    /// How long its boots take.
    pub times: StageTimes,
    /// It has to prove itself first. Derived from what is owed.
    #[serde(skip)]
    pub owes_acceptance: bool,
}

impl Sled {
    /// Whether it may be given a boot, as far as people and its record say.
    #[must_use]
    pub fn may_boot(&self) -> bool {
        self.quarantine.is_none() && !self.retired && self.duty == Duty::InService
    }

    /// Whether it serves its pools: one that has to prove itself does not yet.
    #[must_use]
    pub fn is_in_service(&self) -> bool {
        self.may_boot() && !self.owes_acceptance
    }
}

/// What feeds sleds: starts are staggered and watts are bounded, so that jobs
/// wait rather than trip a breaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Circuit {
    /// Name in the inventory.
    pub name: String,
    /// Most watts of all sleds that are not proved off; 0 sets no bound.
    pub watts: u32,
    /// Most sleds that start at the same time; 0 sets no bound.
    pub starts: u32,
    /// Least time between two power-ons, in milliseconds.
    pub stagger_ms: u64,
    /// Left the inventory.
    pub retired: bool,
}

/// How far a job is, in GitHub's order. Never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum JobState {
    /// Waits for a runner.
    Queued,
    /// GitHub gave it to a runner.
    InProgress,
    /// Ended.
    Completed,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Conclusion {
    /// GitHub's word for it.
    Said(Box<str>),
    /// GitHub never said.
    Silent,
}

/// A workflow job that we may serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// `owner/name`.
    pub repository: Arc<str>,
    /// Name of the job.
    pub name: Arc<str>,
    /// Name of the workflow.
    pub workflow: Arc<str>,
    /// GitHub's workflow run.
    pub run_id: u64,
    /// Attempt of that run.
    pub run_attempt: u32,
    /// What it asks for.
    pub labels: Labels,
    /// The pool that serves it; `None` when no pool fits any more.
    pub pool: Option<PoolId>,
    /// How far it is.
    pub state: JobState,
    /// When its first event was committed.
    pub delivered_at: Millis,
    /// When it ended.
    pub completed_at: Option<Millis>,
    /// How it ended.
    pub conclusion: Option<Conclusion>,
    /// The boot whose runner GitHub named for it.
    pub boot: Option<BootId>,
    /// Name of a runner that is not ours and took it.
    pub taken_by: Option<Box<str>>,
    /// The boot that was started for it while it waits. Derived from the boots.
    #[serde(skip)]
    pub serving: Option<BootId>,
}

/// Times of a boot's stages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// The claim was granted.
    pub claimed: Millis,
    /// The power command was accepted.
    pub power_on: Option<Millis>,
    /// First DHCP request.
    pub dhcp: Option<Millis>,
    /// First fetch of the kernel.
    pub kernel: Option<Millis>,
    /// The agent's hello.
    pub agent: Option<Millis>,
    /// The wipe report.
    pub wiped: Option<Millis>,
    /// Ready for an order.
    pub ready: Option<Millis>,
    /// The order was handed over.
    pub order: Option<Millis>,
    /// The agent started the runner.
    pub running: Option<Millis>,
    /// The runner ended.
    pub finished: Option<Millis>,
    /// Power was read as off.
    pub off: Option<Millis>,
}

/// Where a boot stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BootStage {
    /// Power on is commanded, not proved.
    PoweringOn,
    /// Powered; no agent yet.
    Netbooting,
    /// The agent wipes.
    Wiping,
    /// Wiped, not registered at GitHub; a runner may be being minted.
    Ready,
    /// Registered; the order is there to fetch.
    Ordered,
    /// The agent accepted the order.
    Running,
    /// Nothing more is wanted of it but to be off.
    PoweringOff {
        /// Cuts commanded; 0 while the agent does it by itself.
        cuts: u32,
    },
    /// Proved off.
    Ended,
    /// Its runner ended, and a person asked to look at the sled if its job
    /// failed: it stays on until GitHub has told how, and after a failure until
    /// the hold expires. Between [`BootStage::Running`] and
    /// [`BootStage::PoweringOff`]; it stands here because rows only ever append.
    Held,
}

/// A runner registered, or about to be, for a boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runner {
    /// Name, fresh for each minting.
    pub name: String,
    /// GitHub's id once it answered.
    pub id: Option<RunnerId>,
    /// App through which it was registered: the pool may change meanwhile.
    pub hub: HubId,
    /// Where it was registered.
    pub scope: Scope,
}

/// One boot of one sled: a claim and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// The sled.
    pub sled: SledId,
    /// The claim.
    pub generation: Generation,
    /// The pool it serves.
    pub pool: PoolId,
    /// What it boots, fixed at the claim.
    pub image: BootImage,
    /// The job at whose demand it was started. Not a pairing: GitHub may give
    /// the runner another one.
    pub for_job: Option<JobId>,
    /// Where it stands.
    pub stage: BootStage,
    /// When that stage must have ended.
    pub deadline: Millis,
    /// Its ticket.
    pub ticket: TicketToken,
    /// Who redeemed the ticket.
    pub key: Option<AgentKey>,
    /// When things happened.
    pub times: Timeline,
    /// The sled was off and our command turned it on.
    pub power_edge: bool,
    /// A power command had no answer (a crash, a timeout), so a sled that is on
    /// already was most likely turned on by us.
    pub replayed: bool,
    /// Network boot was set out of band and read back.
    pub override_confirmed: bool,
    /// Registered at GitHub.
    pub runner: Option<Runner>,
    /// Mintings tried.
    pub mints: u32,
    /// The job that GitHub bound to the runner.
    pub job: Option<JobId>,
    /// What the agent told of the sled.
    pub inventory: Option<Inventory>,
    /// What the agent told of the wipe.
    pub wipe: Option<WipeReport>,
    /// What the agent told of the run.
    pub end: Option<RunEnd>,
    /// How it ended, decided before power off.
    pub outcome: Option<Outcome>,
    /// We commanded its power off.
    pub power_cut: bool,
    /// Its receipt's place in the chain.
    pub receipt: Option<u64>,
    /// What it drew, once it ended, where that was measured.
    pub energy: Option<Energy>,
    /// While it is under way: the repository of the job that it has, or else of
    /// the one it was started for. Derived from the jobs.
    #[serde(skip)]
    pub repository: Option<Arc<str>>,
    /// While it is under way: the circuit that feeds its sled. Derived from the
    /// sleds.
    #[serde(skip)]
    pub circuit: Option<CircuitId>,
    /// While it is under way: its sled proves itself by it, so it serves no job
    /// of its pool. Derived from what is owed.
    #[serde(skip)]
    pub accepts: bool,
}

impl Boot {
    /// How sure we are that this boot was ours, from what was observed.
    #[must_use]
    pub fn assurance(&self) -> Assurance {
        let times = &self.times;
        let in_order = match (times.power_on, times.dhcp, times.kernel, times.agent) {
            (Some(_), Some(dhcp), Some(kernel), Some(agent)) => dhcp <= kernel && kernel <= agent,
            _ => false,
        };
        if self.power_edge && self.override_confirmed && in_order {
            Assurance::NetbootForced
        } else {
            Assurance::Claimed
        }
    }

    /// Whether something may still come of it: it neither ended nor goes off.
    #[must_use]
    pub const fn is_under_way(&self) -> bool {
        !matches!(self.stage, BootStage::PoweringOff { .. } | BootStage::Ended)
    }

    /// Whether its power-off was given up: a person must see to its sled.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        matches!(self.stage, BootStage::PoweringOff { .. }) && self.deadline == Millis(u64::MAX)
    }

    /// Whether it is on its way and no job was found for it yet.
    #[must_use]
    pub fn is_spare(&self) -> bool {
        self.for_job.is_none() && self.is_supply()
    }

    /// Whether its runner ended well before GitHub named the job that it ran:
    /// most likely the one it was started for, which waits for no other boot
    /// until GitHub was asked, or this one has to be cut.
    #[must_use]
    pub const fn may_have_run(&self) -> bool {
        self.job.is_none()
            && matches!(self.outcome, Some(Outcome::Ran))
            && matches!(self.stage, BootStage::PoweringOff { cuts: 0 })
    }

    /// Whether its present runner has this name.
    #[must_use]
    pub fn has_runner(&self, name: &str) -> bool {
        self.runner
            .as_ref()
            .is_some_and(|runner| runner.name == name)
    }

    /// Whether it is on its way to serve a job of its pool that it does not have
    /// yet.
    #[must_use]
    pub fn is_supply(&self) -> bool {
        !self.accepts && self.is_on_its_way()
    }

    /// Whether it is on its way to a job that it does not have yet.
    #[must_use]
    pub const fn is_on_its_way(&self) -> bool {
        self.job.is_none()
            && match self.stage {
                BootStage::PoweringOn
                | BootStage::Netbooting
                | BootStage::Wiping
                | BootStage::Ready
                | BootStage::Ordered
                | BootStage::Running => true,
                BootStage::Held | BootStage::PoweringOff { .. } | BootStage::Ended => false,
            }
    }
}

/// An effect in the outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// What to do.
    pub effect: Effect,
    /// Not before this time.
    pub due: Millis,
    /// Tries that failed so far.
    pub attempts: u32,
    /// It was done once and is done again later, because something that was
    /// still under way then could have undone it.
    pub again: bool,
}
