//! Rows in their second version, of release 0.1 with shares and circuits. Never
//! edited; only ever read.

use alloc::{string::String, vec::Vec};

use messages::{ApplianceId, Assurance, BootId, Digest, HubId, Millis};
use serde::{Deserialize, Serialize};

use super::{BootImage, Scope, Withheld};
use crate::{Labels, policy::PoolPolicy};

/// Counters, when no receipt ever left.
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
            next_circuit: row.next_circuit,
            first_receipt: 1,
            exported: 0,
        };
        Self { appliance, meta }
    }
}

/// A pool without a runner group, and without a word on public repositories.
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
    pub(crate) policy: PoolPolicy,
    pub(crate) paused: Option<Withheld>,
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
            policy: row.policy,
            paused: row.paused,
            group: None,
            public: Vec::new(),
            acceptance: None,
        }
    }
}
