//! Where jobs come from: models of how people push. All of it in whole
//! numbers and from its own generator, so that the jobs of a seed stay the
//! same whatever goes wrong.

use clap::ValueEnum;

use crate::random::Random;

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A model of how jobs come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Model {
    /// One after the other, at times in quick succession.
    Trickle,
    /// Quiet, then many pushes within a minute or two.
    Burst,
    /// As people work: a curve over the day, quiet nights and weekends.
    Day,
    /// One push starts a matrix build of 5 to 60 jobs.
    Matrix,
}

/// What a push asks for: jobs of one workflow run.
#[derive(Clone, Debug)]
pub(crate) struct Push {
    /// Whose.
    pub(crate) repository: &'static str,
    /// Labels and length in milliseconds of each job.
    pub(crate) jobs: Vec<(&'static [&'static str], u64)>,
}

/// Repositories with jobs. Some are covered by no pool in some worlds.
pub(crate) const REPOSITORIES: [&str; 8] = [
    "octo/app",
    "octo/lib",
    "solo/tool",
    "octo/web",
    "octo/docs",
    "octo/infra",
    "octo/kernel",
    "octo/site",
];

/// What jobs ask for, and how often; the first is GitHub's own business.
const LABELS: [(&[&str], u64); 5] = [
    (&["ubuntu-latest"], 10),
    (&["self-hosted", "big"], 25),
    (&["Linux", "x64"], 40),
    (&["self-hosted", "linux"], 30),
    (&["self-hosted", "gpu"], 5),
];

/// Thousandths of the busiest hour, by hour of the local day.
const CURVE: [u64; 24] = [
    60, 40, 30, 30, 30, 40, 80, 200, 450, 800, 950, 1000, 800, 850, 1000, 950, 900, 700, 450, 300,
    220, 180, 140, 90,
];

/// Thousandths of a working day, at a weekend.
const WEEKEND: u64 = 180;

/// The traffic of one world.
#[derive(Clone, Debug)]
pub(crate) struct Traffic {
    /// Its model.
    pub(crate) model: Model,
    /// Jobs that may still come.
    pub(crate) left: u64,
    /// Milliseconds between two jobs in the busiest hour, on average.
    gap: u64,
    /// Local time when the world starts, since the start of a Monday.
    local_start: u64,
    /// Pushes of a burst still to come.
    burst: u64,
    /// Longest job, in milliseconds.
    longest: u64,
    /// How often each of [`LABELS`] is asked for.
    labels: [u64; LABELS.len()],
    weights: Vec<u64>,
    random: Random,
}

impl Traffic {
    /// The traffic of a seed, of at most `jobs`, one each `gap` milliseconds at
    /// the busiest time.
    pub(crate) fn new(seed: u64, model: Model, jobs: u64, gap: u64, local_start: u64) -> Self {
        let mut random = Random::of(seed, 2);
        let count = 3 + random.index(REPOSITORIES.len() - 2);
        // Unequal on purpose: a few repositories have most of the jobs.
        let weights = (0..count).map(|_| 1 << random.below(6)).collect();
        Self {
            model,
            left: jobs,
            gap: gap.max(1),
            local_start,
            burst: 0,
            longest: 15 * MINUTE,
            labels: LABELS.map(|(_, weight)| weight),
            weights,
            random,
        }
    }

    /// The same without jobs that are GitHub's own business, and without jobs
    /// of more than `longest` milliseconds.
    pub(crate) fn ours_alone(mut self, longest: u64) -> Self {
        self.labels[0] = 0;
        self.longest = longest;
        self
    }

    /// Milliseconds since the start of a Monday, at the place where people work.
    pub(crate) const fn local(&self, elapsed: u64) -> u64 {
        self.local_start + elapsed
    }

    /// What is pushed now, if anything, and when to ask again.
    pub(crate) fn next(&mut self, elapsed: u64) -> (Option<Push>, u64) {
        if self.left == 0 {
            return (None, DAY);
        }
        match self.model {
            Model::Trickle => {
                let push = self.push(1);
                let wait = if self.random.chance(500) {
                    self.random.between(1, 5 * SECOND)
                } else {
                    self.random.between(10 * SECOND, 3 * MINUTE)
                };
                (Some(push), wait)
            }
            Model::Burst => {
                if self.burst == 0 {
                    self.burst = self.random.between(3, 25);
                }
                self.burst -= 1;
                let size = self.size();
                let push = self.push(size);
                let wait = match self.burst {
                    0 => self.random.wait(20 * self.gap),
                    _ => self.random.wait(6 * SECOND),
                };
                (Some(push), wait)
            }
            Model::Day => {
                let wait = self.random.wait(2 * self.gap);
                let here = self.random.chance(intensity(self.local(elapsed)));
                let push = here.then(|| {
                    let size = self.size();
                    self.push(size)
                });
                (push, wait)
            }
            Model::Matrix => {
                let size = self.random.between(5, 60);
                let push = self.push(size);
                (Some(push), self.random.wait(30 * self.gap))
            }
        }
    }

    /// Jobs of an everyday push: two on average.
    fn size(&mut self) -> u64 {
        match self.random.below(20) {
            0..=13 => 1,
            14..=18 => self.random.between(2, 5),
            _ => self.random.between(6, 14),
        }
    }

    fn push(&mut self, size: u64) -> Push {
        let repository = REPOSITORIES[self.random.weighted(&self.weights)];
        let size = size.min(self.left);
        self.left -= size;
        // A workflow asks for one or two sets of labels, not for any.
        let sets = [(); 2].map(|()| LABELS[self.random.weighted(&self.labels)].0);
        let jobs = (0..size)
            .map(|_| (sets[self.random.index(2)], self.length()))
            .collect();
        Push { repository, jobs }
    }

    /// How long a job takes: most a minute or less, some beyond any limit.
    fn length(&mut self) -> u64 {
        let mut length = self.random.between(5 * SECOND, MINUTE);
        for _ in 0..6 {
            if !self.random.chance(400) {
                break;
            }
            length *= 2;
        }
        length.min(self.longest)
    }
}

/// Thousandths of the busiest hour at this local time.
fn intensity(local: u64) -> u64 {
    let hour = usize::try_from(local % DAY / HOUR).unwrap_or(0);
    let weekend = (local / DAY) % 7 >= 5;
    let curve = CURVE[hour];
    if weekend {
        curve * WEEKEND / 1000
    } else {
        curve
    }
}
