//! What jobs there are: repository, pool and length of each, by its number.

use control::{JobAction, JobReport, Labels};
use messages::RunnerId;

use crate::random::{Random, mix};

/// What a world must know of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Index of its repository.
    pub(crate) repository: usize,
    /// Index of the pool that serves it.
    pub(crate) pool: usize,
    /// How long it runs, in milliseconds.
    pub(crate) run_ms: u64,
}

/// Jobs.
pub(crate) trait Demand {
    /// Number of pools.
    fn pools(&self) -> usize;
    /// What a job is.
    fn facts(&self, number: u64) -> Facts;
    /// A repository's index.
    fn repository(&self, name: &str) -> Option<usize>;
    /// A repository's name, `owner/name`.
    fn repository_name(&self, index: usize) -> &str;
    /// What a pool's jobs ask for.
    fn labels(&self, pool: usize) -> &Labels;
    /// A job that never was, of the same pool.
    fn next_like(&mut self, number: u64) -> Option<u64>;

    /// GitHub's word on a job.
    fn report(
        &self,
        number: u64,
        action: JobAction,
        runner: Option<(RunnerId, Box<str>)>,
    ) -> JobReport {
        let facts = self.facts(number);
        let chance = mix(number);
        let conclusion = match (action, &runner) {
            (JobAction::Completed, Some(_)) => Some("success".into()),
            (JobAction::Completed, None) => Some("cancelled".into()),
            (JobAction::Queued | JobAction::Waiting | JobAction::InProgress, _) => None,
        };
        JobReport {
            number,
            action,
            repository: self.repository_name(facts.repository).into(),
            name: pick(&JOBS, chance).into(),
            workflow: pick(&WORKFLOWS, chance >> 20).into(),
            // A run has about four jobs; its number is of the jobs' size.
            run_id: number / 4,
            run_attempt: 1,
            labels: self.labels(facts.pool).clone(),
            group: None,
            public: false,
            ran_ms: None,
            runner,
            page: None,
            conclusion,
        }
    }
}

fn pick<'a>(from: &[&'a str], chance: u64) -> &'a str {
    let count = from.len() as u64;
    let index = usize::try_from(chance % count).unwrap_or(0);
    from.get(index).copied().unwrap_or_default()
}

/// Names as workflows give them, matrix included.
const JOBS: [&str; 12] = [
    "build",
    "lint",
    "test (ubuntu-24.04, 3.12)",
    "test (ubuntu-24.04, 3.13)",
    "build (linux, x64, release)",
    "build (linux, arm64, release)",
    "unit / shard 3 of 8",
    "unit / shard 7 of 8",
    "integration (postgres-17)",
    "e2e (chromium)",
    "docs",
    "package / container image",
];
const WORKFLOWS: [&str; 4] = ["CI", "Nightly", "Release", "Pull request checks"];
/// Words of repository names.
const WORDS: [&str; 10] = [
    "billing", "search", "mobile", "gateway", "ledger", "parser", "console", "worker", "schema",
    "infra",
];

/// Organisations of [`Steady`].
pub(crate) const ORGANIZATIONS: [&str; 4] = ["octo-org", "acme-robotics", "hubble-lab", "initech"];
/// Labels of the pools of one organisation; none holds another.
pub(crate) const FLAVOURS: [[&str; 2]; 5] = [
    ["linux", "x64"],
    ["linux", "arm64"],
    ["linux", "gpu"],
    ["windows", "x64"],
    ["macos", "arm64"],
];

/// 1,000 repositories of 4 organisations with 5 pools each. Everything about a
/// job follows from its number, so a million of them need no memory here.
pub(crate) struct Steady {
    repositories: Vec<String>,
    labels: Vec<Labels>,
    next: u64,
}

/// The number of the first job; GitHub's have eleven digits at this time.
const FIRST: u64 = 50_000_000_000;
const REPOSITORIES: usize = 1_000;
/// Runs last this long on average, exponentially distributed: whatever part of
/// a job is over, the rest looks the same, so a fleet is in its steady state
/// as soon as every sled has a job.
const MEAN_RUN_MS: f64 = 180_000.0;

impl Steady {
    pub(crate) fn new() -> Self {
        let repositories = (0..REPOSITORIES).map(|index| {
            let organization = ORGANIZATIONS[index % ORGANIZATIONS.len()];
            let (first, second) = (WORDS[index / 4 % 10], WORDS[index / 40 % 10]);
            format!("{organization}/{first}-{second}-{}", index / 400)
        });
        let labels = (0..ORGANIZATIONS.len() * FLAVOURS.len()).map(|pool| {
            let [system, machine] = FLAVOURS[pool % FLAVOURS.len()];
            Labels::new(["self-hosted", system, machine])
        });
        Self {
            repositories: repositories.collect(),
            labels: labels.collect(),
            next: FIRST,
        }
    }

    /// As many new jobs, spread over the pools.
    pub(crate) fn take(&mut self, count: u64) -> std::ops::Range<u64> {
        let first = self.next;
        self.next += count;
        first..self.next
    }
}

impl Demand for Steady {
    fn pools(&self) -> usize {
        self.labels.len()
    }

    fn facts(&self, number: u64) -> Facts {
        let pools = self.labels.len() as u64;
        let pool = usize::try_from(number % pools).unwrap_or(0);
        // Each organisation has every fourth repository.
        let organization = pool / FLAVOURS.len();
        let each = (REPOSITORIES / ORGANIZATIONS.len()) as u64;
        let nth = usize::try_from(mix(number) % each).unwrap_or(0);
        let mut random = Random::new(number);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // some 10^7 at most
        let run_ms = random.exponential(MEAN_RUN_MS) as u64 + 1;
        Facts {
            repository: nth * ORGANIZATIONS.len() + organization,
            pool,
            run_ms,
        }
    }

    fn repository(&self, name: &str) -> Option<usize> {
        self.repositories.iter().position(|own| own == name)
    }

    fn repository_name(&self, index: usize) -> &str {
        self.repositories.get(index).map_or("", String::as_str)
    }

    fn labels(&self, pool: usize) -> &Labels {
        &self.labels[pool]
    }

    fn next_like(&mut self, number: u64) -> Option<u64> {
        let pools = self.labels.len() as u64;
        let wanted = number % pools;
        let ahead = (wanted + pools - self.next % pools) % pools;
        // Skipped numbers are never used; there are enough.
        let next = self.next + ahead;
        self.next = next + 1;
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_follows_is_of_the_same_pool_and_new() {
        let mut jobs = Steady::new();
        let taken = jobs.take(1_000);
        let mut last = taken.end - 1;
        for number in taken.step_by(7) {
            let next = jobs.next_like(number).expect("there is always one more");
            assert!(next > last);
            assert_eq!(jobs.facts(next).pool, jobs.facts(number).pool);
            last = next;
        }
    }

    #[test]
    fn a_repository_is_of_its_pools_organisation() {
        let mut jobs = Steady::new();
        for number in jobs.take(1_000) {
            let facts = jobs.facts(number);
            let name = jobs.repository_name(facts.repository);
            let organization = ORGANIZATIONS[facts.pool / FLAVOURS.len()];
            assert!(
                name.starts_with(organization),
                "{name} in pool {}",
                facts.pool
            );
            assert_eq!(jobs.repository(name), Some(facts.repository));
        }
    }
}
