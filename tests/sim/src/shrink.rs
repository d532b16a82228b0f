//! Makes a broken world smaller: leaves out what it does not need to break the
//! same invariant. It tries worlds and nothing else, and gives up after a
//! bounded effort with the smallest it has found.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::{
    faults::{Fault, FaultSet},
    options::Options,
    world::{Failure, run_once},
};

/// Most worlds that are tried.
const TRIES: u32 = 1500;

/// Other seeds that are tried for each smaller world, once the seed itself
/// shrinks no further: a smaller world of the same seed is another world.
const NEIGHBOURS: u64 = 10;

/// No world is begun after this.
const PATIENCE: Duration = Duration::from_secs(180);

/// The smallest world that was found.
#[derive(Debug)]
pub struct Shrunk {
    /// How to run it, with the seed of its failure.
    pub options: Options,
    /// How it broke. Its seed may be another one.
    pub failure: Failure,
    /// Worlds that were tried.
    pub tries: u32,
}

/// Shrinks a broken world.
#[must_use]
pub fn shrink(options: &Options, failure: &Failure) -> Shrunk {
    let shape = failure.shape.clone();
    let heavy = options.heavy.0.intersection(&shape.faults.0);
    let mut search = Search {
        best: Shrunk {
            options: Options {
                faults: Some(shape.faults.clone()),
                heavy: FaultSet(heavy.copied().collect()),
                sleds: Some(shape.sleds),
                jobs: Some(shape.jobs),
                minutes: Some(shape.minutes),
                traffic: Some(shape.traffic),
                ..options.clone()
            },
            failure: failure.clone(),
            tries: 0,
        },
        neighbours: 0,
        until: Instant::now() + PATIENCE,
    };
    // Each part that goes may make another one superfluous.
    while search.minutes() | search.sleds() | search.jobs() | search.faults() {}
    search.neighbours = NEIGHBOURS;
    while search.minutes() | search.sleds() | search.jobs() | search.faults() {}
    search.best
}

struct Search {
    best: Shrunk,
    neighbours: u64,
    until: Instant,
}

impl Search {
    /// Keeps the candidate if it breaks the same invariant.
    fn works(&mut self, options: Options) -> bool {
        let options = Options {
            print: false,
            keep: true,
            ..options
        };
        let (seed, invariant) = (
            self.best.failure.seed,
            self.best.failure.violation.invariant,
        );
        for near in 0..=self.neighbours {
            if self.best.tries >= TRIES || Instant::now() >= self.until {
                return false;
            }
            self.best.tries += 1;
            let Err(failure) = run_once(seed.wrapping_add(near), &options) else {
                continue;
            };
            if failure.violation.invariant == invariant {
                self.best.options = options;
                self.best.failure = *failure;
                return true;
            }
        }
        false
    }

    /// Leaves kinds of faults out: all, halves, each one.
    fn faults(&mut self) -> bool {
        let mut shrunk = false;
        let mut size = self.kinds().len();
        while size > 0 {
            let kinds: Vec<Fault> = self.kinds().into_iter().collect();
            for part in kinds.chunks(size) {
                let mut candidate = self.best.options.clone();
                let rest = |set: &BTreeSet<Fault>| {
                    let kept = set.iter().filter(|fault| !part.contains(fault));
                    FaultSet(kept.copied().collect())
                };
                candidate.faults = Some(rest(&self.kinds()));
                candidate.heavy = rest(&candidate.heavy.0);
                shrunk |= self.works(candidate);
            }
            size /= 2;
        }
        shrunk
    }

    fn kinds(&self) -> BTreeSet<Fault> {
        let faults = self.best.options.faults.as_ref();
        faults.map(|set| set.0.clone()).unwrap_or_default()
    }

    fn minutes(&mut self) -> bool {
        let happened = self.best.failure.at.0 / 60_000 + 1;
        self.number(
            |options| &mut options.minutes,
            |minutes| vec![minutes / 2, happened, minutes - 1],
        )
    }

    fn sleds(&mut self) -> bool {
        self.number(|options| &mut options.sleds, |n| vec![n / 2, n - 1])
    }

    fn jobs(&mut self) -> bool {
        self.number(|options| &mut options.jobs, |n| vec![n / 2, n - 1])
    }

    /// Makes a number smaller as long as that works. Steps of one only near
    /// the end: they are many.
    fn number(
        &mut self,
        field: impl Fn(&mut Options) -> &mut Option<u64>,
        smaller: impl Fn(u64) -> Vec<u64>,
    ) -> bool {
        let mut shrunk = false;
        loop {
            let mut candidate = self.best.options.clone();
            let Some(now) = *field(&mut candidate) else {
                return shrunk;
            };
            let tried = smaller(now.max(1))
                .into_iter()
                .filter(|next| *next >= 1 && *next < now && (now <= 8 || *next + 1 < now));
            let mut works = false;
            for next in tried {
                let mut candidate = candidate.clone();
                *field(&mut candidate) = Some(next);
                works = self.works(candidate);
                if works {
                    break;
                }
            }
            if !works {
                return shrunk;
            }
            shrunk = true;
        }
    }
}
