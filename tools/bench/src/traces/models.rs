//! Jobs as sites make them: three models, each sequence from a seed.

use control::Labels;

use super::policies::Overhead;
use crate::random::Random;
use crate::world::demand::{Demand, Facts};

/// Repositories of every trace.
pub(crate) const REPOSITORIES: usize = 30;
/// Their organisation.
pub(crate) const ORGANIZATION: &str = "octo-org";
/// What every job asks for.
pub(crate) const LABELS: [&str; 3] = ["self-hosted", "linux", "x64"];

const HOUR_MS: f64 = 3_600_000.0;
const FIRST: u64 = 50_000_000_000;
/// Runs are log-normally distributed: half of them below two minutes, a
/// hundredth above half an hour.
const MEDIAN_RUN_MS: f64 = 120_000.0;
const SPREAD: f64 = 1.2;
const LONGEST_RUN_MS: f64 = 5_400_000.0;

/// A way in which jobs come.
pub(crate) struct Model {
    pub(crate) name: &'static str,
    /// How jobs come, in a few words for people.
    pub(crate) short: &'static str,
    /// For how long jobs come.
    pub(crate) hours: u32,
    make: fn(&mut Maker),
}

/// Every model.
pub(crate) const MODELS: [Model; 3] = [
    Model {
        name: "bursty",
        short: "a trickle, and 50 to 150 jobs at once now and then",
        hours: 12,
        make: bursty,
    },
    Model {
        name: "diurnal",
        short: "two days: too much by day, little at night",
        hours: 48,
        make: diurnal,
    },
    Model {
        name: "matrix",
        short: "every push is a matrix of jobs",
        hours: 12,
        make: matrix,
    },
];

/// A job to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// After the begin of the trace.
    pub(crate) created_ms: u64,
    pub(crate) repository: usize,
    pub(crate) run_ms: u64,
}

/// Jobs in the order of their creation.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(crate) jobs: Vec<Job>,
    names: Vec<String>,
    labels: Labels,
}

impl Trace {
    /// The jobs of a model.
    pub(crate) fn new(model: &Model, seed: u64) -> Self {
        let mut maker = Maker {
            random: Random::new(seed),
            until_ms: f64::from(model.hours) * HOUR_MS,
            jobs: Vec::new(),
        };
        (model.make)(&mut maker);
        Self::of(maker.jobs)
    }

    /// As many equal jobs, `apart_ms` from each other.
    pub(crate) fn even(count: usize, apart_ms: u64, run_ms: u64) -> Self {
        let job = |index| Job {
            created_ms: 60_000 + index * apart_ms,
            repository: 0,
            run_ms,
        };
        Self::of((0..count as u64).map(job).collect())
    }

    fn of(mut jobs: Vec<Job>) -> Self {
        jobs.sort_by_key(|job| job.created_ms);
        let names = (1..=REPOSITORIES).map(|number| format!("{ORGANIZATION}/service-{number:02}"));
        Self {
            jobs,
            names: names.collect(),
            labels: Labels::new(LABELS),
        }
    }

    /// GitHub's number of a job.
    pub(crate) fn number(index: usize) -> u64 {
        FIRST + index as u64
    }

    /// The job with this number.
    pub(crate) fn index(number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(FIRST)?).ok()
    }

    /// Milliseconds of work of each repository.
    pub(crate) fn work_ms(&self) -> Vec<u64> {
        let mut work = vec![0; REPOSITORIES];
        for job in &self.jobs {
            work[job.repository] += job.run_ms;
        }
        work
    }

    /// Sled-time asked for over sled-time there is until the last job comes.
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    pub(crate) fn load(&self, sleds: usize, overhead: Overhead) -> f64 {
        let each = overhead.before_ms + overhead.after_ms;
        let asked: u64 = self.jobs.iter().map(|job| job.run_ms + each).sum();
        let last = self.jobs.last().map_or(1, |job| job.created_ms);
        asked as f64 / (last as f64 * sleds as f64)
    }
}

impl Demand for Trace {
    fn pools(&self) -> usize {
        1
    }

    fn facts(&self, number: u64) -> Facts {
        let job = Self::index(number).and_then(|index| self.jobs.get(index));
        Facts {
            repository: job.map_or(0, |job| job.repository),
            pool: 0,
            run_ms: job.map_or(1, |job| job.run_ms),
        }
    }

    fn repository(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|own| own == name)
    }

    fn repository_name(&self, index: usize) -> &str {
        self.names.get(index).map_or("", String::as_str)
    }

    fn labels(&self, _: usize) -> &Labels {
        &self.labels
    }

    fn next_like(&mut self, _: u64) -> Option<u64> {
        None
    }
}

struct Maker {
    random: Random,
    until_ms: f64,
    jobs: Vec<Job>,
}

impl Maker {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // some 10^8 at most
    fn job(&mut self, at_ms: f64, repository: usize) {
        let run = MEDIAN_RUN_MS * (SPREAD * self.random.normal()).exp();
        self.jobs.push(Job {
            created_ms: at_ms as u64,
            repository,
            run_ms: run.clamp(5_000.0, LONGEST_RUN_MS) as u64,
        });
    }

    /// The n-th busiest has 1/n of the busiest's load (Zipf).
    fn repository(&mut self) -> usize {
        #[allow(clippy::cast_precision_loss)]
        let weight = |index: usize| 1.0 / (index + 1) as f64;
        let sum: f64 = (0..REPOSITORIES).map(weight).sum();
        let mut at = self.random.unit() * sum;
        for index in 0..REPOSITORIES {
            at -= weight(index);
            if at <= 0.0 {
                return index;
            }
        }
        REPOSITORIES - 1
    }

    /// Times of a Poisson process with `per_hour(t)`, at most `most` (thinning:
    /// Lewis and Shedler, 1979).
    fn times(&mut self, most: f64, per_hour: impl Fn(f64) -> f64) -> Vec<f64> {
        let mut times = Vec::new();
        let mut at = 0.0;
        loop {
            at += self.random.exponential(HOUR_MS / most);
            if at >= self.until_ms {
                return times;
            }
            if self.random.unit() * most <= per_hour(at / HOUR_MS) {
                times.push(at);
            }
        }
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.random.below(high - low + 1)
    }
}

fn bursty(maker: &mut Maker) {
    for at in maker.times(190.0, |_| 190.0) {
        let repository = maker.repository();
        maker.job(at, repository);
    }
    for at in maker.times(1.7, |_| 1.7) {
        let repository = maker.repository();
        for _ in 0..maker.between(50, 150) {
            let within = maker.random.unit() * 20_000.0;
            maker.job(at + within, repository);
        }
    }
}

fn diurnal(maker: &mut Maker) {
    // From 5 % at night to all of it at 14:00; 560 per hour are more than 40
    // sleds can do.
    let per_hour = |hour: f64| {
        let day = (std::f64::consts::TAU * (hour - 8.0) / 24.0).sin().max(0.0);
        560.0 * (0.05 + 0.95 * day)
    };
    for at in maker.times(560.0, per_hour) {
        let repository = maker.repository();
        maker.job(at, repository);
    }
}

fn matrix(maker: &mut Maker) {
    for at in maker.times(27.0, |_| 27.0) {
        let repository = maker.repository();
        let widest = match repository {
            0..3 => 40,
            3..10 => 12,
            _ => 4,
        };
        for _ in 0..maker.between(widest / 4, widest) {
            maker.job(at, repository);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_one_trace() {
        for model in &MODELS {
            let [first, again, other] = [1, 1, 2].map(|seed| Trace::new(model, seed).jobs);
            assert_eq!(first, again, "{}", model.name);
            assert_ne!(first, other, "{}", model.name);
            assert!(first.is_sorted_by_key(|job| job.created_ms));
        }
    }
}
