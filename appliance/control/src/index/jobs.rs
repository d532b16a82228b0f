//! Jobs that wait, by pool and repository, and jobs that ended, by age.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use messages::{JobId, Millis, PoolId};

use super::boots::Share;
use crate::{
    rows::{Job, JobState},
    table::Index,
};

/// Derived from the jobs.
#[derive(Clone, Debug, Default)]
pub(crate) struct JobIndex {
    /// Jobs that wait, in all pools.
    pub(crate) queued: usize,
    pools: BTreeMap<PoolId, PoolQueue>,
    pub(crate) ended: BTreeSet<(Millis, JobId)>,
    /// Pools whose queue changed.
    pub(crate) dirty: BTreeSet<PoolId>,
    /// Who began to wait, so that its turn must be found.
    pub(crate) reshared: BTreeSet<Share>,
}

/// What waits for one pool.
#[derive(Clone, Debug, Default)]
pub(crate) struct PoolQueue {
    /// Jobs that wait.
    pub(crate) queued: usize,
    /// Those among them that no boot was started for.
    pub(crate) unserved: usize,
    repositories: BTreeMap<Arc<str>, RepositoryQueue>,
    /// Repositories with unserved jobs, in the order of their turns.
    turns: BTreeSet<(Turn, Arc<str>)>,
    /// The same by their oldest unserved job.
    ages: BTreeSet<(Millis, Arc<str>)>,
}

/// Unserved jobs of one repository.
#[derive(Clone, Debug, Default)]
struct RepositoryQueue {
    unserved: BTreeSet<(Millis, JobId)>,
    turn: Turn,
}

/// When a repository is served: the smaller, the sooner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn {
    /// What it would use, over its weight, in 65,536ths of a sled.
    pub(crate) share: u64,
    /// Its oldest job.
    oldest: Millis,
}

impl PoolQueue {
    /// Whose turn it is, with its oldest job; none when the next one's share is
    /// `at_cap`.
    pub(crate) fn next(&self, at_cap: u64) -> Option<(&Arc<str>, JobId)> {
        let (turn, repository) = self.turns.first()?;
        let jobs = &self.repositories.get(repository)?.unserved;
        let (_, id) = jobs.first().filter(|_| turn.share < at_cap)?;
        Some((repository, *id))
    }

    /// The oldest unserved job of one repository; none when its share is `at_cap`.
    pub(crate) fn next_of(&self, repository: &str, at_cap: u64) -> Option<JobId> {
        let queue = self.repositories.get(repository)?;
        let (_, id) = queue.unserved.first()?;
        (queue.turn.share < at_cap).then_some(*id)
    }

    /// Unserved jobs of one repository, the oldest first.
    pub(crate) fn unserved_of(&self, repository: &str) -> impl Iterator<Item = JobId> {
        self.repositories
            .get(repository)
            .into_iter()
            .flat_map(|queue| queue.unserved.iter().map(|(_, id)| *id))
    }

    /// Repositories with unserved jobs, and how many each has.
    pub(crate) fn repositories(&self) -> impl Iterator<Item = (&Arc<str>, usize)> {
        self.repositories
            .iter()
            .map(|(name, queue)| (name, queue.unserved.len()))
    }

    /// Since when the oldest unserved job waits.
    pub(crate) fn oldest(&self) -> Option<Millis> {
        self.ages.first().map(|(at, _)| *at)
    }

    /// Repositories whose oldest unserved job came at `at` or before.
    pub(crate) fn waiting_since(&self, at: Millis) -> impl Iterator<Item = &Arc<str>> {
        self.ages
            .iter()
            .take_while(move |(oldest, _)| *oldest <= at)
            .map(|(_, repository)| repository)
    }

    /// Changes what waits of one repository; whether it only now began to wait.
    fn change(&mut self, repository: &Arc<str>, change: impl FnOnce(&mut RepositoryQueue)) -> bool {
        let queue = self.repositories.entry(Arc::clone(repository)).or_default();
        let began = queue.unserved.is_empty();
        let before = queue.turn;
        change(queue);
        let first = queue.unserved.first().map(|(at, _)| *at);
        queue.turn.oldest = first.unwrap_or(before.oldest);
        let after = queue.turn;
        if !began && first == Some(before.oldest) && after == before {
            return false;
        }
        if !began {
            self.turns.remove(&(before, Arc::clone(repository)));
            self.ages.remove(&(before.oldest, Arc::clone(repository)));
        }
        if first.is_some() {
            self.turns.insert((after, Arc::clone(repository)));
            self.ages.insert((after.oldest, Arc::clone(repository)));
        } else {
            self.repositories.remove(repository);
        }
        began
    }
}

impl JobIndex {
    pub(crate) fn pool(&self, pool: PoolId) -> Option<&PoolQueue> {
        self.pools.get(&pool)
    }

    pub(crate) fn pools(&self) -> impl Iterator<Item = (PoolId, &PoolQueue)> {
        self.pools.iter().map(|(id, queue)| (*id, queue))
    }

    /// Jobs that wait for a pool.
    pub(crate) fn queued_for(&self, pool: PoolId) -> usize {
        self.pools.get(&pool).map_or(0, |queue| queue.queued)
    }

    /// Sets when a repository is served next.
    pub(crate) fn set_share(&mut self, (pool, repository): &Share, share: u64) {
        if let Some(queue) = self.pools.get_mut(pool)
            && queue.repositories.contains_key(repository)
        {
            queue.change(repository, |queue| queue.turn.share = share);
        }
    }
}

/// What the index wants to know of a job.
#[derive(PartialEq)]
pub(crate) enum JobEntry {
    /// It waits.
    Queued {
        pool: PoolId,
        since: Millis,
        /// Its repository, as long as no boot was started for it.
        unserved: Option<Arc<str>>,
    },
    /// It ended.
    Ended(Millis),
    /// It runs, or fits no pool.
    Other,
}

impl JobIndex {
    fn put_unserved(
        &mut self,
        id: JobId,
        pool: PoolId,
        since: Millis,
        repository: Option<Arc<str>>,
    ) {
        self.dirty.insert(pool);
        let (Some(repository), Some(queue)) = (repository, self.pools.get_mut(&pool)) else {
            return;
        };
        queue.unserved += 1;
        if queue.change(&repository, |queue| {
            queue.unserved.insert((since, id));
        }) {
            self.reshared.insert((pool, repository));
        }
    }

    fn take_unserved(
        &mut self,
        id: JobId,
        pool: PoolId,
        since: Millis,
        repository: Option<Arc<str>>,
    ) {
        self.dirty.insert(pool);
        let (Some(repository), Some(queue)) = (repository, self.pools.get_mut(&pool)) else {
            return;
        };
        queue.unserved -= 1;
        queue.change(&repository, |queue| {
            queue.unserved.remove(&(since, id));
        });
    }

    /// What follows from the rows, without what it noted on the way and what it
    /// was told of shares.
    pub(crate) fn derived(&self) -> Self {
        let mut derived = self.clone();
        derived.dirty.clear();
        derived.reshared.clear();
        for queue in derived.pools.values_mut() {
            queue.turns.clear();
            for repository in queue.repositories.values_mut() {
                repository.turn.share = 0;
            }
        }
        derived
    }
}

impl Index<JobId, Job> for JobIndex {
    type Entry = JobEntry;

    fn entry(job: &Job) -> JobEntry {
        match (job.state, job.pool) {
            (JobState::Queued, Some(pool)) => JobEntry::Queued {
                pool,
                since: job.delivered_at,
                unserved: match job.serving {
                    Some(_) => None,
                    None => Some(Arc::clone(&job.repository)),
                },
            },
            (JobState::Completed, _) => {
                JobEntry::Ended(job.completed_at.unwrap_or(job.delivered_at))
            }
            (JobState::Queued | JobState::InProgress, _) => JobEntry::Other,
        }
    }

    fn add(&mut self, id: JobId, entry: JobEntry) {
        match entry {
            JobEntry::Queued {
                pool,
                since,
                unserved,
            } => {
                self.queued += 1;
                self.pools.entry(pool).or_default().queued += 1;
                self.put_unserved(id, pool, since, unserved);
            }
            JobEntry::Ended(at) => {
                self.ended.insert((at, id));
            }
            JobEntry::Other => {}
        }
    }

    fn remove(&mut self, id: JobId, entry: JobEntry) {
        match entry {
            JobEntry::Queued {
                pool,
                since,
                unserved,
            } => {
                self.queued -= 1;
                self.take_unserved(id, pool, since, unserved);
                let Some(queue) = self.pools.get_mut(&pool) else {
                    return;
                };
                queue.queued -= 1;
                if queue.queued == 0 {
                    self.pools.remove(&pool);
                }
            }
            JobEntry::Ended(at) => {
                self.ended.remove(&(at, id));
            }
            JobEntry::Other => {}
        }
    }

    /// A job that goes on waiting is only served now, or not any more.
    fn change(&mut self, id: JobId, before: JobEntry, after: JobEntry) {
        match (before, after) {
            (
                JobEntry::Queued {
                    pool: was,
                    since,
                    unserved: before,
                },
                JobEntry::Queued {
                    pool,
                    since: same,
                    unserved: after,
                },
            ) if was == pool && since == same => {
                self.take_unserved(id, pool, since, before);
                self.put_unserved(id, pool, since, after);
            }
            (before, after) => {
                self.remove(id, before);
                self.add(id, after);
            }
        }
    }
}
