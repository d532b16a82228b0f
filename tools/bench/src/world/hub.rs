//! GitHub as values: jobs that wait, runners that take them. It never knows
//! what the appliance thinks.

use std::collections::{BTreeSet, HashMap};

use control::JobAction;
use messages::RunnerId;

use super::demand::Facts;

/// A registered runner.
struct Runner {
    id: RunnerId,
    pool: usize,
    /// The repository it is registered at; `None` for an organisation's.
    repository: Option<usize>,
    busy: bool,
}

type Named = Option<(RunnerId, Box<str>)>;

/// GitHub.
pub(crate) struct Hub {
    /// Waiting jobs of each pool; numbers count up, so the least is the oldest.
    waiting: Vec<BTreeSet<u64>>,
    by_repository: HashMap<(usize, usize), BTreeSet<u64>>,
    facts: HashMap<u64, Facts>,
    running: HashMap<u64, (RunnerId, Box<str>)>,
    runners: HashMap<String, Runner>,
    registered: u64,
}

impl Hub {
    pub(crate) fn new(pools: usize) -> Self {
        Self {
            waiting: vec![BTreeSet::new(); pools],
            by_repository: HashMap::new(),
            facts: HashMap::new(),
            running: HashMap::new(),
            runners: HashMap::new(),
            registered: 0,
        }
    }

    /// A new job.
    pub(crate) fn create(&mut self, number: u64, facts: Facts) {
        if let Some(waiting) = self.waiting.get_mut(facts.pool) {
            waiting.insert(number);
        }
        let place = (facts.pool, facts.repository);
        self.by_repository.entry(place).or_default().insert(number);
        self.facts.insert(number, facts);
    }

    /// How many wait, and how many run.
    pub(crate) fn jobs(&self) -> (usize, usize) {
        let waiting = self.waiting.iter().map(BTreeSet::len).sum();
        (waiting, self.running.len())
    }

    /// Registers a runner of a pool, for one repository or for all of them.
    pub(crate) fn register(
        &mut self,
        name: String,
        pool: usize,
        repository: Option<usize>,
    ) -> RunnerId {
        self.registered += 1;
        let id = RunnerId(self.registered);
        let runner = Runner {
            id,
            pool,
            repository,
            busy: false,
        };
        self.runners.insert(name, runner);
        id
    }

    /// Whether it is gone.
    pub(crate) fn delete(&mut self, name: &str) -> bool {
        if self.runners.get(name).is_some_and(|runner| runner.busy) {
            return false;
        }
        self.runners.remove(name);
        true
    }

    /// The oldest job that a runner may have.
    pub(crate) fn give(&mut self, name: &str) -> Option<(u64, RunnerId)> {
        let runner = self.runners.get_mut(name)?;
        let number = match runner.repository {
            None => *self.waiting.get(runner.pool)?.first()?,
            Some(at) => *self.by_repository.get(&(runner.pool, at))?.first()?,
        };
        runner.busy = true;
        let id = runner.id;
        self.leave_queue(number);
        self.running.insert(number, (id, name.into()));
        Some((number, id))
    }

    /// A job of this pool that waits and is cancelled now.
    pub(crate) fn cancel_one(&mut self, pool: usize, chance: u64) -> Option<u64> {
        let waiting = self.waiting.get(pool)?;
        let (first, last) = (*waiting.first()?, *waiting.last()?);
        let from = first + chance % (last - first + 1);
        let number = *waiting.range(from..).next()?;
        self.leave_queue(number);
        self.facts.remove(&number);
        Some(number)
    }

    /// A job ended; its runner goes with it.
    pub(crate) fn complete(&mut self, number: u64) -> Named {
        let runner = self.running.remove(&number);
        if let Some((_, name)) = &runner {
            self.runners.remove(name.as_ref());
        }
        self.facts.remove(&number);
        runner
    }

    /// How a job stands.
    pub(crate) fn status(&self, number: u64) -> (JobAction, Named) {
        if let Some(runner) = self.running.get(&number) {
            return (JobAction::InProgress, Some(runner.clone()));
        }
        if self.facts.contains_key(&number) {
            return (JobAction::Queued, None);
        }
        (JobAction::Completed, None)
    }

    fn leave_queue(&mut self, number: u64) {
        let Some(facts) = self.facts.get(&number) else {
            return;
        };
        if let Some(waiting) = self.waiting.get_mut(facts.pool) {
            waiting.remove(&number);
        }
        let place = (facts.pool, facts.repository);
        if let Some(waiting) = self.by_repository.get_mut(&place) {
            waiting.remove(&number);
        }
    }
}
