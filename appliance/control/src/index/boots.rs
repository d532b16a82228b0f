//! Boots by what they wait for, what they serve and when they are overdue.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use core::cmp::Reverse;

use messages::{BootId, CircuitId, Millis, PoolId, RunnerId, TicketToken};

use super::{count_down, count_up, toggle};
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
    /// Their agents speak every few seconds.
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
    /// Boots by pool that hold a sled, but for those given up.
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

    fn add_deadline(&mut self, id: BootId, deadline: Millis, work: &Work) {
        if deadline.0 != u64::MAX && work.ended_at.is_none() {
            self.deadlines.insert((deadline, id));
        }
    }

    fn begin_starting(&mut self, work: &Work) {
        if let Some(circuit) = work.starting {
            count_up(&mut self.starting, circuit);
        }
    }

    fn stop_starting(&mut self, work: &Work) {
        if let Some(circuit) = work.starting {
            count_down(&mut self.starting, &circuit);
        }
    }

    fn begin_using(&mut self, work: &Work) {
        if let Some(share) = work.share() {
            self.reshared.insert(share.clone());
            count_up(&mut self.usage, share);
        }
    }

    fn stop_using(&mut self, work: &Work) {
        if let Some(share) = work.share() {
            count_down(&mut self.usage, &share);
            self.reshared.insert(share);
        }
    }

    /// What follows from the rows, without what it noted on the way.
    pub(crate) fn derived(&self) -> Self {
        Self {
            dirty: BTreeSet::new(),
            reshared: BTreeSet::new(),
            mint_due: false,
            ..self.clone()
        }
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
        && (boot.accepts || boot.for_job.is_some())
        && boot.times.power_on.is_some()
}

const fn is_starting(boot: &Boot) -> bool {
    matches!(boot.stage, BootStage::PoweringOn | BootStage::Netbooting)
}

/// What the index wants to know of a boot.
#[derive(PartialEq)]
pub(crate) struct BootEntry {
    /// When its stage must have ended.
    deadline: Millis,
    work: Work,
}

/// The part of it that matters to the scheduler.
#[derive(PartialEq)]
struct Work {
    ticket: TicketToken,
    pool: PoolId,
    runner: Option<RunnerId>,
    ended_at: Option<Millis>,
    progress: u32,
    running: bool,
    /// It holds its sled. One whose power-off was given up holds a sled that
    /// nobody can use.
    holds: bool,
    idle: bool,
    spare: bool,
    to_mint: bool,
    /// The circuit from which it draws the current of a start.
    starting: Option<CircuitId>,
    /// Whose share it uses.
    repository: Option<Arc<str>>,
}

impl Work {
    fn share(&self) -> Option<Share> {
        let repository = self.repository.as_ref()?;
        Some((self.pool, Arc::clone(repository)))
    }
}

impl Index<BootId, Boot> for BootIndex {
    type Entry = BootEntry;

    fn entry(boot: &Boot) -> BootEntry {
        let ended = boot.stage == BootStage::Ended;
        let repository = boot.repository.as_ref();
        let work = Work {
            ticket: boot.ticket,
            pool: boot.pool,
            runner: boot.runner.as_ref().and_then(|runner| runner.id),
            ended_at: ended.then(|| boot.times.off.unwrap_or(boot.times.claimed)),
            progress: progress(boot),
            holds: !boot.is_given_up(),
            running: matches!(boot.stage, BootStage::Running | BootStage::Held),
            idle: is_idle(boot),
            spare: boot.is_spare(),
            to_mint: is_to_mint(boot),
            starting: boot.circuit.filter(|_| is_starting(boot)),
            repository: repository.filter(|_| boot.is_under_way()).cloned(),
        };
        BootEntry {
            deadline: boot.deadline,
            work,
        }
    }

    fn add(&mut self, id: BootId, BootEntry { deadline, work }: BootEntry) {
        self.add_deadline(id, deadline, &work);
        self.tickets.insert(work.ticket, id);
        self.dirty.insert(work.pool);
        if let Some(runner) = work.runner {
            self.runners.insert((runner, id));
        }
        if let Some(at) = work.ended_at {
            self.ended.insert((at, id));
            return;
        }
        self.active.insert(id);
        if work.holds {
            count_up(&mut self.held, work.pool);
        }
        if work.running {
            self.running.insert(id);
        }
        if work.idle {
            self.idle.insert((work.pool, work.progress, Reverse(id)));
        }
        if work.spare {
            self.spare.insert((work.pool, work.progress, id));
        }
        if work.to_mint {
            self.to_mint.insert(id);
            self.mint_due = true;
        }
        self.begin_starting(&work);
        self.begin_using(&work);
    }

    fn remove(&mut self, id: BootId, BootEntry { deadline, work }: BootEntry) {
        self.deadlines.remove(&(deadline, id));
        self.tickets.remove(&work.ticket);
        self.dirty.insert(work.pool);
        if let Some(runner) = work.runner {
            self.runners.remove(&(runner, id));
        }
        if let Some(at) = work.ended_at {
            self.ended.remove(&(at, id));
            return;
        }
        self.active.remove(&id);
        if work.holds {
            count_down(&mut self.held, &work.pool);
        }
        self.running.remove(&id);
        if work.idle {
            self.idle.remove(&(work.pool, work.progress, Reverse(id)));
        }
        if work.spare {
            self.spare.remove(&(work.pool, work.progress, id));
        }
        if work.to_mint {
            self.to_mint.remove(&id);
        }
        self.stop_starting(&work);
        self.stop_using(&work);
    }

    /// Only what differs: most changes are of a stage, and leave most of the
    /// index as it is.
    fn change(&mut self, id: BootId, before: BootEntry, after: BootEntry) {
        let (was, is) = (&before.work, &after.work);
        let same_place =
            was.ticket == is.ticket && was.pool == is.pool && was.ended_at == is.ended_at;
        if !same_place || is.ended_at.is_some() {
            self.remove(id, before);
            self.add(id, after);
            return;
        }
        if before.deadline != after.deadline {
            self.deadlines.remove(&(before.deadline, id));
            self.add_deadline(id, after.deadline, is);
        }
        if was == is {
            return;
        }
        self.dirty.insert(is.pool);
        if was.runner != is.runner {
            self.runners.extend(is.runner.map(|runner| (runner, id)));
            if let Some(runner) = was.runner {
                self.runners.remove(&(runner, id));
            }
        }
        match (was.holds, is.holds) {
            (false, true) => count_up(&mut self.held, is.pool),
            (true, false) => count_down(&mut self.held, &is.pool),
            (false, false) | (true, true) => {}
        }
        if was.running != is.running {
            toggle(&mut self.running, id, is.running);
        }
        if (was.idle, was.progress) != (is.idle, is.progress) {
            let place = |work: &Work| (work.pool, work.progress, Reverse(id));
            toggle(&mut self.idle, place(was), false);
            toggle(&mut self.idle, place(is), is.idle);
        }
        if (was.spare, was.progress) != (is.spare, is.progress) {
            let place = |work: &Work| (work.pool, work.progress, id);
            toggle(&mut self.spare, place(was), false);
            toggle(&mut self.spare, place(is), is.spare);
        }
        if was.to_mint != is.to_mint {
            toggle(&mut self.to_mint, id, is.to_mint);
            self.mint_due |= is.to_mint;
        }
        if was.starting != is.starting {
            self.stop_starting(was);
            self.begin_starting(is);
        }
        if was.repository != is.repository {
            self.stop_using(was);
            self.begin_using(is);
        }
    }
}
