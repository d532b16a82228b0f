//! Rows as releases up to 0.1 wrote them. Never edited; only ever read.

use alloc::{boxed::Box, string::String, vec::Vec};

use messages::{
    AgentKey, ApplianceId, Assurance, BootId, Digest, Generation, HubId, Inventory, JobId, Mac,
    Millis, Outcome, PoolId, RunEnd, SledId, TicketToken, WipeReport,
};
use serde::{Deserialize, Serialize};

use super::{BootImage, BootStage, Power, Runner, Scope, Timeline, Withheld};
use crate::{
    Labels,
    policy::{Duty, PoolPolicy, StageTimes},
};

/// Counters, without that of circuits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) next_boot: BootId,
    pub(crate) next_effect: u64,
    pub(crate) next_hub: u16,
    pub(crate) next_pool: u32,
    pub(crate) next_sled: u32,
    pub(crate) receipts: u64,
    pub(crate) last_receipt: Digest,
}

/// The meta row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MetaRow {
    pub(crate) appliance: ApplianceId,
    pub(crate) meta: Meta,
}

impl From<MetaRow> for crate::state::MetaRow {
    fn from(
        MetaRow {
            appliance,
            meta: row,
        }: MetaRow,
    ) -> Self {
        let meta = super::Meta {
            next_boot: row.next_boot,
            next_effect: row.next_effect,
            next_hub: row.next_hub,
            next_pool: row.next_pool,
            next_sled: row.next_sled,
            receipts: row.receipts,
            last_receipt: row.last_receipt,
            next_circuit: 1,
            first_receipt: 1,
            exported: 0,
        };
        Self { appliance, meta }
    }
}

/// A pool without a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pool {
    pub(crate) name: String,
    pub(crate) hub: HubId,
    pub(crate) scope: Scope,
    pub(crate) labels: Labels,
    pub(crate) image: BootImage,
    pub(crate) max_runtime_s: u64,
    pub(crate) min_assurance: Assurance,
    pub(crate) retired: bool,
    pub(crate) blocked_until: Option<Millis>,
    pub(crate) refusals: u32,
    pub(crate) problem: Option<String>,
}

impl From<Pool> for super::Pool {
    fn from(row: Pool) -> Self {
        Self {
            name: row.name,
            hub: row.hub,
            scope: row.scope,
            labels: row.labels,
            image: row.image,
            max_runtime_s: row.max_runtime_s,
            min_assurance: row.min_assurance,
            retired: row.retired,
            blocked_until: row.blocked_until,
            refusals: row.refusals,
            problem: row.problem,
            policy: PoolPolicy::default(),
            paused: None,
            group: None,
            public: Vec::new(),
            acceptance: None,
        }
    }
}

/// A sled without a circuit and always in service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sled {
    pub(crate) name: String,
    pub(crate) mac: Mac,
    pub(crate) pools: Vec<PoolId>,
    pub(crate) power: Power,
    pub(crate) generation: Generation,
    pub(crate) quarantine: Option<Withheld>,
    pub(crate) failures: u32,
    pub(crate) retired: bool,
    pub(crate) power_problem: Option<String>,
    pub(crate) last_boot: Option<BootId>,
}

impl From<Sled> for super::Sled {
    fn from(row: Sled) -> Self {
        Self {
            name: row.name.into(),
            mac: row.mac,
            pools: row.pools.into(),
            power: row.power,
            generation: row.generation,
            quarantine: row.quarantine,
            failures: row.failures,
            retired: row.retired,
            power_problem: row.power_problem,
            last_boot: row.last_boot,
            circuit: None,
            watts: 0,
            duty: Duty::InService,
            hold_until: None,
            times: StageTimes::default(),
            owes_acceptance: false,
        }
    }
}

/// A boot whose power was not measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Boot {
    pub(crate) sled: SledId,
    pub(crate) generation: Generation,
    pub(crate) pool: PoolId,
    pub(crate) image: BootImage,
    pub(crate) for_job: Option<JobId>,
    pub(crate) stage: BootStage,
    pub(crate) deadline: Millis,
    pub(crate) ticket: TicketToken,
    pub(crate) key: Option<AgentKey>,
    pub(crate) times: Timeline,
    pub(crate) power_edge: bool,
    pub(crate) replayed: bool,
    pub(crate) override_confirmed: bool,
    pub(crate) runner: Option<Runner>,
    pub(crate) mints: u32,
    pub(crate) job: Option<JobId>,
    pub(crate) inventory: Option<Inventory>,
    pub(crate) wipe: Option<WipeReport>,
    pub(crate) end: Option<RunEnd>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) power_cut: bool,
    pub(crate) receipt: Option<u64>,
}

impl From<Boot> for super::Boot {
    fn from(row: Boot) -> Self {
        Self {
            sled: row.sled,
            generation: row.generation,
            pool: row.pool,
            image: row.image,
            for_job: row.for_job,
            stage: row.stage,
            deadline: row.deadline,
            ticket: row.ticket,
            key: row.key,
            times: row.times,
            power_edge: row.power_edge,
            replayed: row.replayed,
            override_confirmed: row.override_confirmed,
            runner: row.runner,
            mints: row.mints,
            job: row.job,
            inventory: row.inventory,
            wipe: row.wipe,
            end: row.end,
            outcome: row.outcome,
            power_cut: row.power_cut,
            receipt: row.receipt,
            energy: None,
            repository: None,
            circuit: None,
            accepts: false,
        }
    }
}

/// What a sled owes, without the run that its dispatch led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Acceptance {
    pub(crate) pool: PoolId,
    pub(crate) since: Millis,
    pub(crate) nonce: [u8; 16],
    pub(crate) tries: u32,
    pub(crate) not_before: Millis,
    pub(crate) problem: Option<String>,
    pub(crate) boot: Option<BootId>,
    pub(crate) job: Option<JobId>,
    pub(crate) page: Option<Box<str>>,
    pub(crate) judged: Option<bool>,
}

impl From<Acceptance> for crate::Acceptance {
    fn from(row: Acceptance) -> Self {
        Self {
            pool: row.pool,
            since: row.since,
            nonce: row.nonce,
            tries: row.tries,
            not_before: row.not_before,
            problem: row.problem,
            boot: row.boot,
            job: row.job,
            page: row.page,
            judged: row.judged,
            run: None,
            ended: None,
        }
    }
}
