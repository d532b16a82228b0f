//! Rows in their third version, of release 0.1 with runner groups. Never edited;
//! only ever read.

use alloc::{string::String, vec::Vec};

use messages::{Assurance, HubId, Millis};
use serde::{Deserialize, Serialize};

use super::{BootImage, Scope, Withheld};
use crate::{Labels, policy::PoolPolicy};

/// A pool whose sleds need not prove themselves.
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
    pub(crate) group: Option<String>,
    pub(crate) public: Vec<String>,
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
            group: row.group,
            public: row.public,
            acceptance: None,
        }
    }
}
