//! Boots by what they wait for, what they serve and when they are overdue.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use core::cmp::Reverse;

use messages::{BootId, CircuitId, Millis, PoolId, RunnerId, TicketToken};

use super::{count_down, count_up};
use crate::{
    boots::progress,
    rows::{Boot, BootStage},
    table::Index,
};

/// A pool and a repository that uses it.
pub(crate) type Share = (PoolId, Arc<str>);

/// Derived from the boots.
#[derive(Clone, Debug, Default)]
pub(crate) struct BootIndex {
    pub(crate) tickets: BTreeMap<TicketToken, BootId>,
    /// Not ended.
    pub(crate) active: BTreeSet<BootId>,
    /// In the order in which they ended.
    pub(crate) ended: BTreeSet<(Millis, BootId)>,
    /// When each stage must have ended; those without a deadline are left out.
    pub(crate) deadlines: BTreeSet<(Millis, BootId)>,
    pub(crate) running: BTreeSet<BootId>,
    /// Boots on their way that may still be called off, by pool: least
    /// progress first, then the newest.
    idle: BTreeSet<(PoolId, u32, Reverse<BootId>)>,
    /// Boots on their way without a job, by pool: most progress last.
    spare: BTreeSet<(PoolId, u32, BootId)>,
    /// Wiped, with a job, without a runner.
    pub(crate) to_mint: BTreeSet<BootId>,
    runners: BTreeSet<(RunnerId, BootId)>,
    /// Drawing the current of a start, by circuit.
    starting: BTreeMap<CircuitId, usize>,
    /// Boots under way by pool and repository.
    usage: BTreeMap<Share, usize>,
    /// Boots by pool that hold a sled.
    held: BTreeMap<PoolId, usize>,
    /// Pools whose boots changed.
    pub(crate) dirty: BTreeSet<PoolId>,
    /// Whose usage changed.
    pub(crate) reshared: BTreeSet<Share>,
    /// A boot came to need a runner.
    pub(crate) mint_due: bool,
}

impl BootIndex {
    /// Boots of a pool that may be called off, the first ones first.
    pub(crate) fn idle_of(&self, pool: PoolId) -> impl Iterator<Item = BootId> {
        self.idle
            .range((pool, 0, Reverse(BootId(u64::MAX)))..=(pool, u32::MAX, Reverse(BootId(0))))
            .map(|(_, _, Reverse(id))| *id)
    }

    /// Boots of a pool without a job, the furthest ones first.
    pub(crate) fn spare_of(&self, pool: PoolId) -> impl Iterator<Item = BootId> {
        self.spare
            .range((pool, 0, BootId(0))..=(pool, u32::MAX, BootId(u64::MAX)))
            .rev()
            .map(|(_, _, id)| *id)
    }

    /// Boots whose runner has this id, newest first. Ids are unique within one
    /// scope only.
    pub(crate) fn of_runner(&self, runner: RunnerId) -> impl Iterator<Item = BootId> {
        self.runners
            .range((runner, BootId(0))..=(runner, BootId(u64::MAX)))
            .rev()
            .map(|(_, id)| *id)
    }

    pub(crate) fn starting(&self, circuit: CircuitId) -> usize {
        self.starting.get(&circuit).copied().unwrap_or(0)
    }

    pub(crate) fn usage(&self, share: &Share) -> usize {
        self.usage.get(share).copied().unwrap_or(0)
    }

    pub(crate) fn held(&self, pool: PoolId) -> usize {
        self.held.get(&pool).copied().unwrap_or(0)
    }
}

/// Whether it may be called off when nobody needs it: GitHub can not have
/// given it a job yet.
fn is_idle(boot: &Boot) -> bool {
    boot.is_supply() && boot.stage != BootStage::Running
}

fn is_to_mint(boot: &Boot) -> bool {
    boot.stage == BootStage::Ready
        && boot.runner.is_none()
        && boot.for_job.is_some()
        && boot.times.power_on.is_some()
}

const fn is_starting(boot: &Boot) -> bool {
    matches!(boot.stage, BootStage::PoweringOn | BootStage::Netbooting)
}

fn ended_at(boot: &Boot) -> Millis {
    boot.times.off.unwrap_or(boot.times.claimed)
}

fn runner_id(boot: &Boot) -> Option<RunnerId> {
    boot.runner.as_ref().and_then(|runner| runner.id)
}

impl Index<BootId, Boot> for BootIndex {
    fn add(&mut self, id: BootId, boot: &Boot) {
        self.tickets.insert(boot.ticket, id);
        self.dirty.insert(boot.pool);
        if let Some(runner) = runner_id(boot) {
            self.runners.insert((runner, id));
        }
        if boot.stage == BootStage::Ended {
            self.ended.insert((ended_at(boot), id));
            return;
        }
        self.active.insert(id);
        count_up(&mut self.held, boot.pool);
        if boot.deadline.0 != u64::MAX {
            self.deadlines.insert((boot.deadline, id));
        }
        if boot.stage == BootStage::Running {
            self.running.insert(id);
        }
        if is_idle(boot) {
            self.idle.insert((boot.pool, progress(boot), Reverse(id)));
        }
        if boot.is_spare() {
            self.spare.insert((boot.pool, progress(boot), id));
        }
        if is_to_mint(boot) {
            self.to_mint.insert(id);
            self.mint_due = true;
        }
        if let Some(circuit) = boot.circuit.filter(|_| is_starting(boot)) {
            count_up(&mut self.starting, circuit);
        }
        if let Some(repository) = boot.repository.as_ref().filter(|_| boot.is_under_way()) {
            let share = (boot.pool, Arc::clone(repository));
            self.reshared.insert(share.clone());
            count_up(&mut self.usage, share);
        }
    }

    fn remove(&mut self, id: BootId, boot: &Boot) {
        self.tickets.remove(&boot.ticket);
        self.dirty.insert(boot.pool);
        if let Some(runner) = runner_id(boot) {
            self.runners.remove(&(runner, id));
        }
        if boot.stage == BootStage::Ended {
            self.ended.remove(&(ended_at(boot), id));
            return;
        }
        self.active.remove(&id);
        count_down(&mut self.held, &boot.pool);
        self.deadlines.remove(&(boot.deadline, id));
        self.running.remove(&id);
        if is_idle(boot) {
            self.idle.remove(&(boot.pool, progress(boot), Reverse(id)));
        }
        if boot.is_spare() {
            self.spare.remove(&(boot.pool, progress(boot), id));
        }
        if is_to_mint(boot) {
            self.to_mint.remove(&id);
        }
        if let Some(circuit) = boot.circuit.filter(|_| is_starting(boot)) {
            count_down(&mut self.starting, &circuit);
        }
        if let Some(repository) = boot.repository.as_ref().filter(|_| boot.is_under_way()) {
            let share = (boot.pool, Arc::clone(repository));
            count_down(&mut self.usage, &share);
            self.reshared.insert(share);
        }
    }
}
