//! The inventory as the core takes it: pools and sleds, checked against each other.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::{String, ToString},
    vec::Vec,
};

use messages::{Assurance, BootId, CircuitId, HubId, Mac, Millis, PoolId, SledId};

use crate::{
    AcceptanceSpec, Duty, Effects, Labels, MintScope, PoolPolicy, StageTimes, acceptance, drift,
    effect::Reply,
    jobs,
    rows::{Boot, BootImage, Circuit, Hub, Pool, Power, Scope, Sled},
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
    /// How it shares its sleds.
    pub policy: PoolPolicy,
    /// The runner group that its runners join; GitHub's default one without.
    pub group: Option<String>,
    /// Public repositories (`owner/name`) that it serves all the same.
    pub public: Vec<String>,
    /// What its sleds prove themselves by before they serve.
    pub acceptance: Option<AcceptanceSpec>,
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
    /// Name of the circuit that feeds it.
    pub circuit: Option<String>,
    /// What it draws at most, in watts.
    pub watts: u32,
}

/// A circuit as the operator wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitSpec {
    /// Name.
    pub name: String,
    /// Most watts of the sleds that are not proved off; 0 sets no bound.
    pub watts: u32,
    /// Most sleds that start at the same time; 0 sets no bound.
    pub starts: u32,
    /// Least time between two power-ons, in milliseconds.
    pub stagger_ms: u64,
}

/// Everything the operator declared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Names of the configured Apps.
    pub hubs: Vec<String>,
    /// Pools.
    pub pools: Vec<PoolSpec>,
    /// Circuits.
    pub circuits: Vec<CircuitSpec>,
    /// Sleds.
    pub sleds: Vec<SledSpec>,
}

/// Why an inventory or a person's command is refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InventoryError {
    /// Two entries share a name.
    #[error("{kind} \"{name}\" is declared twice: rename one of them")]
    Duplicate {
        /// `pool`, `circuit` or `sled`.
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
    /// A sled names a circuit that is not there.
    #[error(
        "sled \"{sled}\" names circuit \"{circuit}\", which is not declared: add a [[circuit]] or mend the name"
    )]
    NoSuchCircuit {
        /// The sled.
        sled: String,
        /// The circuit.
        circuit: String,
    },
    /// A circuit can not carry one of its sleds.
    #[error(
        "sled \"{sled}\" draws {watts} watts, more than its circuit \"{circuit}\" gives: it would never start"
    )]
    TooManyWatts {
        /// The sled.
        sled: String,
        /// What it draws.
        watts: u32,
        /// The circuit.
        circuit: String,
    },
    /// A pool's bounds contradict each other.
    #[error("pool \"{pool}\": {problem}")]
    Policy {
        /// The pool.
        pool: String,
        /// What is wrong, and the way out.
        problem: String,
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
        /// `pool`, `circuit` or `sled`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A sled with a boot under way is removed, renamed or given another card.
    #[error(
        "sled \"{0}\" has a boot under way, so it can be neither removed nor renamed nor given another mac: change it once `musher sleds` shows it as Off"
    )]
    Busy(String),
    /// A command names a pool that is not there.
    #[error("there is no pool \"{0}\": `musher pools` lists them")]
    UnknownPool(String),
    /// A claim cannot be cancelled while a runner may have a job.
    #[error(
        "sled \"{0}\" runs a runner, and its power is not cut while that may have a job: cancel the job at GitHub, and drain the sled"
    )]
    Runs(String),
    /// A sled in service is not turned on by hand.
    #[error(
        "sled \"{0}\" is in service, so Musher turns it on when a job needs it: `musher sled maintain` it first"
    )]
    InService(String),
    /// A sled with a boot is not turned on by hand.
    #[error("sled \"{0}\" has a boot under way: wait until `musher sleds` shows it as Off")]
    HasBoot(String),
    /// There is no claim to cancel.
    #[error("sled \"{0}\" has no boot on its way: there is nothing to cancel")]
    NoClaim(String),
    /// Nothing is owed under that name.
    #[error("no sled owes an acceptance run under \"{0}\": `musher sleds` tells which do")]
    NoAcceptance(String),
    /// A judgement lifts no quarantine, and a release asks for another run.
    #[error(
        "sled \"{0}\" is quarantined: put right what its reason says, `musher sled release {0}`, then accept it"
    )]
    Quarantined(String),
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
            pool.check_policy()?;
        }
        let circuits = self.check_circuits()?;
        let mut names = BTreeSet::new();
        let mut macs = BTreeMap::new();
        for sled in &self.sleds {
            check_name("sled", &sled.name)?;
            if !names.insert(sled.name.as_str()) {
                return Err(InventoryError::Duplicate {
                    kind: "sled",
                    name: sled.name.clone(),
                });
            }
            if let Some(first) = macs.insert(sled.mac, &sled.name) {
                return Err(InventoryError::DuplicateMac {
                    first: first.clone(),
                    second: sled.name.clone(),
                    mac: sled.mac,
                });
            }
            sled.check_circuit(&circuits)?;
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

impl Inventory {
    fn check_circuits(&self) -> Result<BTreeMap<&str, &CircuitSpec>, InventoryError> {
        let mut circuits = BTreeMap::new();
        for circuit in &self.circuits {
            check_name("circuit", &circuit.name)?;
            if circuits.insert(circuit.name.as_str(), circuit).is_some() {
                return Err(InventoryError::Duplicate {
                    kind: "circuit",
                    name: circuit.name.clone(),
                });
            }
        }
        Ok(circuits)
    }
}

impl SledSpec {
    fn check_circuit(&self, circuits: &BTreeMap<&str, &CircuitSpec>) -> Result<(), InventoryError> {
        let Some(name) = &self.circuit else {
            return Ok(());
        };
        let Some(circuit) = circuits.get(name.as_str()) else {
            return Err(InventoryError::NoSuchCircuit {
                sled: self.name.clone(),
                circuit: name.clone(),
            });
        };
        if circuit.watts > 0 && self.watts > circuit.watts {
            return Err(InventoryError::TooManyWatts {
                sled: self.name.clone(),
                watts: self.watts,
                circuit: name.clone(),
            });
        }
        Ok(())
    }
}

impl PoolSpec {
    fn check_policy(&self) -> Result<(), InventoryError> {
        let policy = &self.policy;
        let warm = &policy.warm;
        let problem = if policy.max_sleds == Some(0) {
            "max_sleds is 0, so it would never run a job: leave it out, or pause the pool"
        } else if policy.max_per_repository == Some(0) {
            "max_per_repository is 0, so it would never run a job: leave it out"
        } else if policy.max_sleds.is_some_and(|max| max < policy.min_sleds) {
            "min_sleds is more than max_sleds: keep fewer, or allow more"
        } else if policy.weights.iter().any(|(_, weight)| *weight == 0) {
            "a weight is 0, so its repository would never be served: use 1 or more"
        } else if warm.max_age_ms < MIN_WARM_MS || warm.idle_ms < MIN_WARM_MS {
            "warm sleds must be allowed to wait for a minute at least"
        } else if warm.windows.iter().any(|window| {
            window.from_minute >= window.to_minute || window.to_minute > 24 * 60 || window.days == 0
        }) {
            "a warm window ends before it begins, or has no day: split one over midnight in two"
        } else if self.group.is_some()
            && (matches!(self.scope, Scope::Repo(_)) || policy.mint_scope == MintScope::Repository)
        {
            "only organisations have runner groups, and its runners are registered at repositories: leave group out, or register at the organisation"
        } else if self
            .group
            .as_ref()
            .is_some_and(|group| group.trim().is_empty())
        {
            "its runner group has no name: name one, or leave group out"
        } else if let Some(foreign) = self.public.iter().find(|name| !self.scope.covers(name)) {
            return Err(InventoryError::Policy {
                pool: self.name.clone(),
                problem: format!(
                    "public names {foreign}, which its scope {} does not cover: write owner/name of a repository there",
                    self.scope
                ),
            });
        } else {
            return self.check_acceptance();
        };
        Err(InventoryError::Policy {
            pool: self.name.clone(),
            problem: problem.to_string(),
        })
    }

    fn check_acceptance(&self) -> Result<(), InventoryError> {
        let Some(spec) = &self.acceptance else {
            return Ok(());
        };
        let uncovered = || {
            (!self.scope.covers(&spec.repository)).then(|| {
                format!(
                    "acceptance.repository is {}, which its scope {} does not cover: its workflow could not reach the pool's runners",
                    spec.repository, self.scope
                )
            })
        };
        match spec.problem().or_else(uncovered) {
            None => Ok(()),
            Some(problem) => Err(InventoryError::Policy {
                pool: self.name.clone(),
                problem,
            }),
        }
    }
}

/// Least time that warm sleds may wait, in milliseconds.
const MIN_WARM_MS: u64 = 60_000;

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
        apply_circuits(state, inventory);
        apply_sleds(state, now, inventory, fx);
        acceptance::inventory_changed(state, now, fx);
        state.forget_retired();
        state.matches.clear();
        jobs::rematch(state, now);
        state.due_pools.extend(state.pools.keys());
    }
    fx.reply = Reply::Done(result);
}

/// A sled with a boot under way must stay what it is: only its driver can
/// prove it off, and its agent speaks by its card's address. One whose
/// power-off was given up may go: a person will have to see to it anyway.
fn check_claims(state: &State, inventory: &Inventory) -> Result<(), InventoryError> {
    let declared: BTreeSet<(&str, Mac)> = inventory
        .sleds
        .iter()
        .map(|spec| (spec.name.as_str(), spec.mac))
        .collect();
    for (_, sled) in state.sleds.iter() {
        let Power::Claimed { boot } = sled.power else {
            continue;
        };
        let given_up = state.boots.get(boot).is_none_or(Boot::is_given_up);
        let kept = declared.contains(&(sled.name.as_ref(), sled.mac));
        if !kept && !given_up && !sled.retired {
            return Err(InventoryError::Busy(sled.name.to_string()));
        }
    }
    Ok(())
}

fn apply_hubs(state: &mut State, inventory: &Inventory) {
    for name in &inventory.hubs {
        if state.hub_by_name(name).is_none() {
            let id = HubId(state.count(|meta| {
                meta.next_hub += 1;
                meta.next_hub - 1
            }));
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
            && let Some(mut pool) = state.pools.get_mut(id)
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
            policy: spec.policy.clone(),
            paused: known.and_then(|(_, pool)| pool.paused.clone()),
            group: spec.group.clone(),
            public: spec.public.iter().map(|name| name.to_lowercase()).collect(),
            acceptance: spec.acceptance.clone(),
        };
        match known.map(|(id, pool)| (id, *pool == wanted)) {
            Some((_, true)) => {}
            Some((id, false)) => state.pools.insert(id, wanted),
            None => {
                let id = PoolId(state.count(|meta| {
                    meta.next_pool += 1;
                    meta.next_pool - 1
                }));
                state.pools.insert(id, wanted);
            }
        }
    }
}

fn apply_circuits(state: &mut State, inventory: &Inventory) {
    let ids: Vec<CircuitId> = state.circuits.keys().collect();
    for id in ids {
        let Some(circuit) = state.circuits.get(id) else {
            continue;
        };
        let gone = !inventory
            .circuits
            .iter()
            .any(|spec| spec.name == circuit.name);
        if gone != circuit.retired
            && let Some(mut circuit) = state.circuits.get_mut(id)
        {
            circuit.retired = gone;
        }
    }
    for spec in &inventory.circuits {
        let wanted = Circuit {
            name: spec.name.clone(),
            watts: spec.watts,
            starts: spec.starts,
            stagger_ms: spec.stagger_ms,
            retired: false,
        };
        let known = state
            .circuits
            .iter()
            .find(|(_, circuit)| circuit.name == spec.name);
        match known.map(|(id, circuit)| (id, *circuit == wanted)) {
            Some((_, true)) => {}
            Some((id, false)) => state.circuits.insert(id, wanted),
            None => {
                let id = CircuitId(state.count(|meta| {
                    meta.next_circuit += 1;
                    meta.next_circuit - 1
                }));
                state.circuits.insert(id, wanted);
            }
        }
    }
}

fn apply_sleds(state: &mut State, now: Millis, inventory: &Inventory, fx: &mut Effects) {
    let declared: BTreeSet<&str> = inventory
        .sleds
        .iter()
        .map(|spec| spec.name.as_str())
        .collect();
    let ids: Vec<SledId> = state.sleds.keys().collect();
    for id in ids {
        let Some(sled) = state.sleds.get(id) else {
            continue;
        };
        let gone = !declared.contains(sled.name.as_ref());
        if gone != sled.retired
            && let Some(mut sled) = state.sleds.get_mut(id)
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
        let circuit = spec.circuit.as_deref();
        let circuit = circuit.and_then(|name| state.circuit_by_name(name));
        match state.sled_by_name(&spec.name) {
            Some(id) => {
                let unchanged = state.sleds.get(id).is_some_and(|sled| {
                    sled.mac == spec.mac
                        && *sled.pools == *pools
                        && sled.circuit == circuit
                        && sled.watts == spec.watts
                });
                let other_card = state.sleds.get(id).is_some_and(|sled| sled.mac != spec.mac);
                if !unchanged && let Some(mut sled) = state.sleds.get_mut(id) {
                    sled.mac = spec.mac;
                    sled.pools = pools.into();
                    sled.circuit = circuit;
                    sled.watts = spec.watts;
                }
                rewire(state, id, circuit);
                if other_card {
                    acceptance::owe(state, now, id, fx);
                }
            }
            None => {
                let id = SledId(state.count(|meta| {
                    meta.next_sled += 1;
                    meta.next_sled - 1
                }));
                state.sleds.insert(id, new_sled(spec, pools, circuit, now));
                state.checks.insert(id, now);
                drift::due(state, now, id);
                acceptance::owe(state, now, id, fx);
            }
        }
    }
}

/// The boot under way on a sled draws from its new circuit.
fn rewire(state: &mut State, id: SledId, circuit: Option<CircuitId>) {
    let boot = state.sleds.get(id).and_then(|sled| match sled.power {
        Power::Claimed { boot } => Some(boot),
        Power::Off { .. } | Power::Unknown { .. } => None,
    });
    let under_way = |id: &BootId| state.boots.get(*id).is_some_and(Boot::is_under_way);
    let boot = boot.filter(under_way);
    if let Some(mut boot) = boot.and_then(|id| state.boots.derived_mut(id)) {
        boot.circuit = circuit;
    }
}

fn new_sled(spec: &SledSpec, pools: Vec<PoolId>, circuit: Option<CircuitId>, now: Millis) -> Sled {
    Sled {
        name: spec.name.as_str().into(),
        mac: spec.mac,
        pools: pools.into(),
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
        circuit,
        watts: spec.watts,
        duty: Duty::InService,
        hold_until: None,
        times: StageTimes::default(),
        owes_acceptance: false,
    }
}
