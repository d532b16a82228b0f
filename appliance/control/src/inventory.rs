//! The inventory as the core takes it: pools and sleds, checked against each other.

use alloc::{
    collections::BTreeSet,
    string::{String, ToString},
    vec::Vec,
};

use messages::{Assurance, HubId, Mac, Millis, PoolId, SledId};

use crate::{
    Effects, Labels,
    effect::Reply,
    jobs,
    rows::{BootImage, Hub, Pool, Power, Scope, Sled},
    state::State,
};

/// Longest sled name: a runner's name holds it, and GitHub allows 64 there.
const MAX_SLED_NAME: usize = 30;

/// A pool as the operator wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSpec {
    /// Name.
    pub name: String,
    /// Name of the `[[github]]` entry.
    pub github: String,
    /// Where its runners are registered.
    pub scope: Scope,
    /// Labels of its runners.
    pub labels: Vec<String>,
    /// What it boots.
    pub image: BootImage,
    /// Longest run, in seconds.
    pub max_runtime_s: u64,
    /// Least grade.
    pub min_assurance: Assurance,
}

/// A sled as the operator wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SledSpec {
    /// Name.
    pub name: String,
    /// Network card.
    pub mac: Mac,
    /// Names of pools.
    pub pools: Vec<String>,
}

/// Everything the operator declared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Names of the configured Apps.
    pub hubs: Vec<String>,
    /// Pools.
    pub pools: Vec<PoolSpec>,
    /// Sleds.
    pub sleds: Vec<SledSpec>,
}

/// Why an inventory or a person's command is refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InventoryError {
    /// Two entries share a name.
    #[error("{kind} \"{name}\" is declared twice: rename one of them")]
    Duplicate {
        /// `pool` or `sled`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// Two sleds share a card.
    #[error("sleds \"{first}\" and \"{second}\" both have mac {mac}: each sled needs its own")]
    DuplicateMac {
        /// One.
        first: String,
        /// The other.
        second: String,
        /// The card.
        mac: Mac,
    },
    /// A sled names a pool that is not there.
    #[error(
        "sled \"{sled}\" names pool \"{pool}\", which is not declared: add a [[pool]] or mend the name"
    )]
    NoSuchPool {
        /// The sled.
        sled: String,
        /// The pool.
        pool: String,
    },
    /// A pool names an App that is not configured.
    #[error(
        "pool \"{pool}\" names github \"{github}\", which is not in the configuration: add a [[github]] entry or mend the name"
    )]
    NoSuchHub {
        /// The pool.
        pool: String,
        /// The App.
        github: String,
    },
    /// A pool without labels would serve nothing.
    #[error("pool \"{0}\" has no labels: jobs are matched by labels, so it would never get one")]
    NoLabels(String),
    /// GitHub takes 1 to 100 labels.
    #[error(
        "pool \"{0}\" has more than 99 labels: GitHub takes at most 100 for a runner, and self-hosted is one of them"
    )]
    TooManyLabels(String),
    /// A name that cannot be part of a runner's name.
    #[error("{kind} name \"{name}\" is not 1 to 30 of a-z, 0-9 and -: rename it")]
    BadName {
        /// `pool` or `sled`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A sled with a boot under way is removed, renamed or given another card.
    #[error(
        "sled \"{0}\" has a boot under way, so it can be neither removed nor renamed nor given another mac: change it once `musher sleds` shows it as Off"
    )]
    Busy(String),
    /// A command names a sled that is not there.
    #[error("there is no sled \"{0}\": `musher sleds` lists them")]
    NoSuchSled(String),
}

impl Inventory {
    /// Checks names and references.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), InventoryError> {
        let mut pools = BTreeSet::new();
        for pool in &self.pools {
            check_name("pool", &pool.name)?;
            if !pools.insert(pool.name.as_str()) {
                return Err(InventoryError::Duplicate {
                    kind: "pool",
                    name: pool.name.clone(),
                });
            }
            if !self.hubs.contains(&pool.github) {
                return Err(InventoryError::NoSuchHub {
                    pool: pool.name.clone(),
                    github: pool.github.clone(),
                });
            }
            match Labels::new(pool.labels.iter().map(String::as_str)).len() {
                0 => return Err(InventoryError::NoLabels(pool.name.clone())),
                1..=99 => {}
                _ => return Err(InventoryError::TooManyLabels(pool.name.clone())),
            }
        }
        for (index, sled) in self.sleds.iter().enumerate() {
            check_name("sled", &sled.name)?;
            for earlier in &self.sleds[..index] {
                if earlier.name == sled.name {
                    return Err(InventoryError::Duplicate {
                        kind: "sled",
                        name: sled.name.clone(),
                    });
                }
                if earlier.mac == sled.mac {
                    return Err(InventoryError::DuplicateMac {
                        first: earlier.name.clone(),
                        second: sled.name.clone(),
                        mac: sled.mac,
                    });
                }
            }
            if let Some(pool) = sled
                .pools
                .iter()
                .find(|pool| !pools.contains(pool.as_str()))
            {
                return Err(InventoryError::NoSuchPool {
                    sled: sled.name.clone(),
                    pool: pool.clone(),
                });
            }
        }
        Ok(())
    }
}

fn check_name(kind: &'static str, name: &str) -> Result<(), InventoryError> {
    let fits = (1..=MAX_SLED_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits {
        Ok(())
    } else {
        Err(InventoryError::BadName {
            kind,
            name: name.to_string(),
        })
    }
}

/// Takes over a checked inventory. Ids stay with their names.
pub(crate) fn apply(state: &mut State, now: Millis, inventory: &Inventory, fx: &mut Effects) {
    let result = inventory
        .check()
        .and_then(|()| check_claims(state, inventory));
    if result.is_ok() {
        apply_hubs(state, inventory);
        apply_pools(state, inventory);
        apply_sleds(state, now, inventory);
        state.forget_retired();
        jobs::rematch(state, now);
        state.schedule_due = true;
    }
    fx.reply = Reply::Done(result);
}

/// A sled with a boot under way must stay what it is: only its driver can
/// prove it off, and its agent speaks by its card's address. One whose
/// power-off was given up may go: a person will have to see to it anyway.
fn check_claims(state: &State, inventory: &Inventory) -> Result<(), InventoryError> {
    for (_, sled) in state.sleds.iter() {
        let Power::Claimed { boot } = sled.power else {
            continue;
        };
        let given_up = state
            .boots
            .get(boot)
            .is_none_or(|boot| boot.deadline == Millis(u64::MAX));
        let kept = inventory
            .sleds
            .iter()
            .any(|spec| spec.name == sled.name && spec.mac == sled.mac);
        if !kept && !given_up && !sled.retired {
            return Err(InventoryError::Busy(sled.name.clone()));
        }
    }
    Ok(())
}

fn apply_hubs(state: &mut State, inventory: &Inventory) {
    for name in &inventory.hubs {
        if state.hub_by_name(name).is_none() {
            let meta = state.meta_mut();
            let id = HubId(meta.next_hub);
            meta.next_hub += 1;
            state.hubs.insert(id, Hub { name: name.clone() });
        }
    }
}

fn apply_pools(state: &mut State, inventory: &Inventory) {
    let ids: Vec<PoolId> = state.pools.keys().collect();
    for id in ids {
        let Some(pool) = state.pools.get(id) else {
            continue;
        };
        let gone = !inventory.pools.iter().any(|spec| spec.name == pool.name);
        if gone != pool.retired
            && let Some(pool) = state.pools.get_mut(id)
        {
            pool.retired = gone;
        }
    }
    for spec in &inventory.pools {
        let Some(hub) = state.hub_by_name(&spec.github) else {
            continue;
        };
        let known = state.pools.iter().find(|(_, pool)| pool.name == spec.name);
        let wanted = Pool {
            name: spec.name.clone(),
            hub,
            scope: spec.scope.clone(),
            labels: Labels::new(spec.labels.iter().map(String::as_str)),
            image: spec.image.clone(),
            max_runtime_s: spec.max_runtime_s,
            min_assurance: spec.min_assurance,
            retired: false,
            blocked_until: known.and_then(|(_, pool)| pool.blocked_until),
            refusals: known.map_or(0, |(_, pool)| pool.refusals),
            problem: known.and_then(|(_, pool)| pool.problem.clone()),
        };
        match known.map(|(id, pool)| (*id, *pool == wanted)) {
            Some((_, true)) => {}
            Some((id, false)) => state.pools.insert(id, wanted),
            None => {
                let meta = state.meta_mut();
                let id = PoolId(meta.next_pool);
                meta.next_pool += 1;
                state.pools.insert(id, wanted);
            }
        }
    }
}

fn apply_sleds(state: &mut State, now: Millis, inventory: &Inventory) {
    let ids: Vec<SledId> = state.sleds.keys().collect();
    for id in ids {
        let Some(sled) = state.sleds.get(id) else {
            continue;
        };
        let gone = !inventory.sleds.iter().any(|spec| spec.name == sled.name);
        if gone != sled.retired
            && let Some(sled) = state.sleds.get_mut(id)
        {
            sled.retired = gone;
        }
    }
    for spec in &inventory.sleds {
        let pools: Vec<PoolId> = spec
            .pools
            .iter()
            .filter_map(|name| state.pool_by_name(name))
            .collect();
        match state.sled_by_name(&spec.name) {
            Some(id) => {
                let unchanged = state
                    .sleds
                    .get(id)
                    .is_some_and(|sled| sled.mac == spec.mac && sled.pools == pools);
                if !unchanged && let Some(sled) = state.sleds.get_mut(id) {
                    sled.mac = spec.mac;
                    sled.pools = pools;
                }
            }
            None => {
                let meta = state.meta_mut();
                let id = SledId(meta.next_sled);
                meta.next_sled += 1;
                state.sleds.insert(id, new_sled(spec, pools, now));
                state.checks.insert(id, now);
            }
        }
    }
    state.index_macs();
}

fn new_sled(spec: &SledSpec, pools: Vec<PoolId>, now: Millis) -> Sled {
    Sled {
        name: spec.name.clone(),
        mac: spec.mac,
        pools,
        power: Power::Unknown {
            since: now,
            reason: "its power was not read yet".to_string(),
        },
        generation: messages::Generation(0),
        quarantine: None,
        failures: 0,
        retired: false,
        power_problem: None,
        last_boot: None,
    }
}
