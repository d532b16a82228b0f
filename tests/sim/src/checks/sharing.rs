//! What the scheduler promises of each claim: withheld sleds and paused pools
//! get none, repositories and pools go in their turns, circuits start few sleds
//! at a time, and nothing is on its way that nobody waits for.
//!
//! A turn takes many events and is seen only once it is committed, so a claim
//! is judged by what held both before and after its turn.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use control::{
    AGEING_MS, Boot, BootStage, CircuitSpec, Duty, Inventory, Job, JobState, MintScope, PoolSpec,
    State,
};
use messages::{BootId, JobId, Millis, PoolId, SledId};

use super::{Checked, broken};

/// A pool and a repository that uses it.
type Share = (PoolId, Arc<str>);

/// What is remembered from commit to commit.
#[derive(Debug, Default)]
pub(crate) struct Sharing {
    /// The newest boot so far.
    newest: Option<BootId>,
    before: Seen,
    /// When each circuit last began to start a sled, in true time.
    starts: BTreeMap<String, u64>,
}

/// What matters to claims, after a commit.
#[derive(Debug, Default)]
struct Seen {
    /// Jobs that wait and that no boot was started for.
    waiting: BTreeSet<JobId>,
    /// Boots under way.
    usage: BTreeMap<Share, usize>,
    /// Sleds that are to get nothing.
    withheld: BTreeSet<SledId>,
    /// Sleds that have to prove themselves first.
    unproved: BTreeSet<SledId>,
    /// Pools that people paused.
    paused: BTreeSet<String>,
    /// Pools that start nothing: paused, or refused by GitHub.
    troubled: BTreeSet<String>,
}

impl Seen {
    fn of(state: &State) -> Self {
        let waits = |job: &Job| {
            job.state == JobState::Queued && job.pool.is_some() && job.serving.is_none()
        };
        let jobs = state.jobs().filter(|(_, job)| waits(job));
        let withheld = state.sleds().filter(|(_, sled)| {
            sled.quarantine.is_some() || sled.retired || sled.duty != Duty::InService
        });
        let unproved = state.sleds().filter(|(_, sled)| sled.owes_acceptance);
        let mut paused = BTreeSet::new();
        let mut troubled = BTreeSet::new();
        for pool in state.pool_views() {
            if pool.paused {
                paused.insert(pool.name.clone());
            }
            if pool.paused || pool.problem.is_some() {
                troubled.insert(pool.name);
            }
        }
        Self {
            waiting: jobs.map(|(id, _)| id).collect(),
            usage: usage(state),
            withheld: withheld.map(|(id, _)| id).collect(),
            unproved: unproved.map(|(id, _)| id).collect(),
            paused,
            troubled,
        }
    }
}

/// Boots under way by pool and repository, told by their jobs.
fn usage(state: &State) -> BTreeMap<Share, usize> {
    let jobs: BTreeMap<JobId, &Job> = state.jobs().collect();
    let mut usage = BTreeMap::new();
    for (_, boot) in state.boots().filter(|(_, boot)| boot.is_under_way()) {
        if let Some(job) = boot.job.or(boot.for_job).and_then(|job| jobs.get(&job)) {
            let share = (boot.pool, Arc::clone(&job.repository));
            *usage.entry(share).or_insert(0) += 1;
        }
    }
    usage
}

/// The pool that a boot was started for: each has a kernel of its own.
pub(super) fn pool_of<'a>(inventory: &'a Inventory, boot: &Boot) -> Option<&'a PoolSpec> {
    let mut pools = inventory.pools.iter();
    pools.find(|pool| pool.image.kernel == boot.image.kernel)
}

/// The circuit that feeds a sled.
fn circuit_of<'a>(state: &State, inventory: &'a Inventory, id: SledId) -> Option<&'a CircuitSpec> {
    let name = state.sled_name(id)?;
    let sled = inventory.sleds.iter().find(|sled| sled.name == name)?;
    let circuit = sled.circuit.as_ref()?;
    let mut circuits = inventory.circuits.iter();
    circuits.find(|spec| spec.name == *circuit)
}

/// Pools by their ids, as far as sleds tell.
fn pools_by_id<'a>(state: &State, inventory: &'a Inventory) -> BTreeMap<PoolId, &'a PoolSpec> {
    let mut pools = BTreeMap::new();
    for (_, sled) in state.sleds() {
        let spec = inventory.sleds.iter().find(|spec| *spec.name == *sled.name);
        let Some(spec) = spec.filter(|spec| spec.pools.len() == sled.pools.len()) else {
            continue;
        };
        for (id, name) in sled.pools.iter().zip(&spec.pools) {
            let pool = inventory.pools.iter().find(|pool| pool.name == *name);
            pools.extend(pool.map(|pool| (*id, pool)));
        }
    }
    pools
}

impl Sharing {
    /// After a commit that changed boots, sleds, jobs or pools. `now` is the
    /// true time, `told` what the appliance takes for it.
    ///
    /// # Errors
    /// The first promise that is broken.
    pub(super) fn committed(
        &mut self,
        state: &State,
        inventory: &Inventory,
        now: u64,
        told: Millis,
    ) -> Checked {
        let after = Seen::of(state);
        let newest = self.newest;
        let claims: Vec<(BootId, &Boot)> =
            state.boots().filter(|(id, _)| Some(*id) > newest).collect();
        owed(state, inventory)?;
        for (id, boot) in &claims {
            self.gets_one(*id, boot, inventory, &after)?;
            self.starts(state, inventory, boot, now)?;
        }
        self.shares(state, inventory, &claims, &after)?;
        self.priorities(state, inventory, &claims, &after, told)?;
        self.newest = claims.last().map(|(id, _)| *id).or(newest);
        self.before = after;
        Ok(())
    }

    /// `withheld-gets-nothing` and `pause-holds`.
    fn gets_one(&self, id: BootId, boot: &Boot, inventory: &Inventory, after: &Seen) -> Checked {
        let both = |of: fn(&Seen) -> &BTreeSet<SledId>| {
            of(&self.before).contains(&boot.sled) && of(after).contains(&boot.sled)
        };
        if both(|seen| &seen.withheld) {
            return Err(broken(
                "withheld-gets-nothing",
                format!("boot {id} was started on a sled that is withheld"),
            ));
        }
        if both(|seen| &seen.unproved) && !boot.accepts {
            return Err(broken(
                "proof-runs-apart",
                format!("boot {id} was started on a sled that has to prove itself first"),
            ));
        }
        let pool = pool_of(inventory, boot).map(|pool| &pool.name);
        if pool.is_some_and(|pool| self.before.paused.contains(pool) && after.paused.contains(pool))
        {
            return Err(broken(
                "pause-holds",
                format!("boot {id} was started for pool {pool:?}, which is paused"),
            ));
        }
        Ok(())
    }

    /// `circuit-starts`.
    fn starts(&mut self, state: &State, inventory: &Inventory, boot: &Boot, now: u64) -> Checked {
        let Some(circuit) = circuit_of(state, inventory, boot.sled) else {
            return Ok(());
        };
        let name = &circuit.name;
        let last = self.starts.insert(name.clone(), now);
        let since = last.map(|last| now - last);
        if since.is_some_and(|since| since < circuit.stagger_ms) {
            return Err(broken(
                "circuit-starts",
                format!(
                    "{name} starts a sled each {} ms, and started two within {since:?} ms",
                    circuit.stagger_ms
                ),
            ));
        }
        let starting = state
            .boots()
            .filter(|(_, boot)| matches!(boot.stage, BootStage::PoweringOn | BootStage::Netbooting))
            .filter(|(_, boot)| {
                circuit_of(state, inventory, boot.sled).is_some_and(|of| of.name == *name)
            })
            .count();
        if circuit.starts > 0 && starting > circuit.starts as usize {
            return Err(broken(
                "circuit-starts",
                format!("{name} starts {starting} sleds of {}", circuit.starts),
            ));
        }
        Ok(())
    }

    /// `shares-hold`, and `caps-hold` of repositories. Where runners are minted for one repository, a sled goes
    /// to who waits and has least for its weight.
    fn shares(
        &self,
        state: &State,
        inventory: &Inventory,
        claims: &[(BootId, &Boot)],
        after: &Seen,
    ) -> Checked {
        let jobs = |boot: &Boot| {
            let id = boot.for_job?;
            state.jobs().find(|(job, _)| *job == id)
        };
        for (id, boot) in claims {
            let Some(pool) = pool_of(inventory, boot) else {
                continue;
            };
            let policy = &pool.policy;
            let Some((_, job)) = jobs(boot).filter(|_| policy.mint_scope == MintScope::Repository)
            else {
                continue;
            };
            let own = (boot.pool, Arc::clone(&job.repository));
            let of = |seen: &Seen, share: &Share| seen.usage.get(share).copied().unwrap_or(0);
            let new = claims.iter().filter(|(_, one)| {
                one.pool == boot.pool
                    && jobs(one).is_some_and(|(_, one)| one.repository == job.repository)
            });
            let used = of(after, &own).min(of(&self.before, &own) + new.count());
            // GitHub may give a runner that is left over to one more.
            if let Some(cap) = policy.max_per_repository.filter(|cap| used > *cap as usize) {
                return Err(broken(
                    "caps-hold",
                    format!("boot {id} is sled {used} of {cap} of {}", job.repository),
                ));
            }
            let weight = |repository: &str| policy.weight(repository) as usize;
            for other in self.waiting(state, boot.pool, after) {
                let share = (boot.pool, Arc::clone(&other.repository));
                let has = of(after, &share).max(of(&self.before, &share));
                let capped = policy
                    .max_per_repository
                    .is_some_and(|cap| has >= cap as usize);
                let unfair = used * weight(&other.repository) > (has + 1) * weight(&job.repository);
                if other.repository != job.repository && !capped && unfair {
                    return Err(broken(
                        "shares-hold",
                        format!(
                            "boot {id} of pool {} is sled {used} of {}, while {} waits and has {has}",
                            pool.name, job.repository, other.repository
                        ),
                    ));
                }
            }
        }
        Ok(())
    }

    /// Jobs of a pool that waited before and after a turn.
    fn waiting<'a>(
        &'a self,
        state: &'a State,
        pool: PoolId,
        after: &'a Seen,
    ) -> impl Iterator<Item = &'a Job> {
        state
            .jobs()
            .filter(move |(_, job)| job.pool == Some(pool))
            .filter(|(id, _)| self.before.waiting.contains(id) && after.waiting.contains(id))
            .map(|(_, job)| job)
    }

    /// `priority-holds`. Of the pools that a sled serves, the one with the
    /// highest priority gets it; a waiting job raises its pool's with time.
    fn priorities(
        &self,
        state: &State,
        inventory: &Inventory,
        claims: &[(BootId, &Boot)],
        after: &Seen,
        told: Millis,
    ) -> Checked {
        let kept = inventory.pools.iter().any(|pool| pool.policy.min_sleds > 0);
        if claims.is_empty() || kept {
            return Ok(());
        }
        let pools = pools_by_id(state, inventory);
        let capped = |pool: &PoolSpec| {
            pool.policy.max_sleds.is_some() || pool.policy.max_per_repository.is_some()
        };
        for (id, boot) in claims {
            let sled = state.sleds().find(|(sled, _)| *sled == boot.sled);
            let (Some((_, sled)), Some(pool)) = (sled, pool_of(inventory, boot)) else {
                continue;
            };
            if boot.for_job.is_none() {
                continue;
            }
            // Whatever may have waited in its pool when it was claimed.
            let own = state
                .jobs()
                .filter(|(job, row)| {
                    row.pool == Some(boot.pool)
                        && (self.before.waiting.contains(job)
                            || after.waiting.contains(job)
                            || claims.iter().any(|(_, one)| one.for_job == Some(*job)))
                })
                .map(|(_, row)| row.delivered_at)
                .min();
            let rank = |pool: &PoolSpec, oldest: Option<Millis>| {
                let aged = oldest.map_or(0, |oldest| told.since(oldest) / AGEING_MS);
                i64::from(pool.policy.priority) + i64::try_from(aged).unwrap_or(i64::MAX)
            };
            let own = rank(pool, own);
            for other in sled.pools.iter().filter(|other| **other != boot.pool) {
                let Some(spec) = pools.get(other).filter(|spec| !capped(spec)) else {
                    continue;
                };
                if [&self.before, after]
                    .iter()
                    .any(|seen| seen.troubled.contains(&spec.name))
                {
                    continue;
                }
                let oldest = state
                    .jobs()
                    .filter(|(_, job)| job.pool == Some(*other))
                    .filter(|(id, _)| {
                        self.before.waiting.contains(id) && after.waiting.contains(id)
                    })
                    .min_by_key(|(_, job)| job.delivered_at);
                let Some((job, row)) = oldest else {
                    continue;
                };
                let before = rank(spec, Some(row.delivered_at));
                if before <= own {
                    continue;
                }
                return Err(broken(
                    "priority-holds",
                    format!(
                        "boot {id} of pool {} at {own} went before job {job} of pool {} at {before}",
                        pool.name, spec.name
                    ),
                ));
            }
        }
        Ok(())
    }
}

/// `supply-is-owed`: whatever is on its way and may be called off stands for a
/// job that waits, or is warm.
fn owed(state: &State, inventory: &Inventory) -> Checked {
    let jobs: BTreeMap<JobId, &Job> = state.jobs().collect();
    let mut spare: BTreeMap<PoolId, usize> = BTreeMap::new();
    for (id, boot) in state.boots() {
        if !boot.is_supply() || boot.stage == BootStage::Running {
            continue;
        }
        let Some(job) = boot.for_job else {
            let count = spare.entry(boot.pool).or_insert(0);
            *count += 1;
            let warm = pool_of(inventory, boot).map(|pool| &pool.policy.warm);
            let most = warm.map_or(0, |warm| (warm.count + warm.follow) as usize);
            if *count > most {
                return Err(broken(
                    "supply-is-owed",
                    format!("boot {id} is on its way for nobody, in {:?}", boot.stage),
                ));
            }
            continue;
        };
        let waits = jobs
            .get(&job)
            .is_some_and(|row| row.state == JobState::Queued && row.serving == Some(id));
        if !waits {
            return Err(broken(
                "supply-is-owed",
                format!("boot {id} is on its way for job {job}, which does not wait for it"),
            ));
        }
    }
    Ok(())
}
