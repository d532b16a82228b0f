//! A replayed history: its faults at fixed rates, one long outage of the
//! tunnel, and an account of every job and every lost delivery.

use std::collections::{BTreeMap, BTreeSet};

use control::{JobAction, JobState};
use messages::Millis;

use super::{Failure, MINUTE, START, World, inventory, log::Log};
use crate::{
    faults::{Fault, FaultSet, Faults},
    github::Progress,
    options::Options,
    random::Random,
    replay::{LogReader, Replay, ReplayReport},
    traffic::{Model, Traffic},
};

/// What strikes, in 1,000,000 chances. People cancel and others steal a few.
const RATES: [(Fault, u64); 6] = [
    (Fault::Drop, 50_000),
    (Fault::Double, 50_000),
    (Fault::Reorder, 200_000),
    (Fault::Api, 10_000),
    (Fault::Cancel, 4_000),
    (Fault::Steal, 3_000),
];

/// How long the tunnel is down.
const OUTAGE: u64 = 60 * MINUTE;

/// What a job costs a sled, roughly, and the load of all, in thousandths.
const JOB_COST: u64 = 4 * MINUTE;
const LOAD: u64 = 700;

/// Shorter than the pools' limit, so that no run is cut for its length.
const LONGEST: u64 = 8 * MINUTE;

/// A history that has not ended by then never will: GitHub gives a job up
/// after a day.
const LAST: u64 = 30 * 60 * MINUTE;

/// A delivery that did not come.
#[derive(Debug)]
pub(super) struct Loss {
    /// When it would have come.
    pub(super) due: u64,
    /// The tunnel was down then.
    pub(super) in_outage: bool,
    /// When the core had it.
    pub(super) known: Option<u64>,
}

/// What is counted.
pub(super) struct Replayed {
    pub(super) log: Log,
    /// Scripts that ran to their ends, by job.
    pub(super) ran: BTreeMap<u64, u32>,
    /// Jobs that GitHub gave up.
    pub(super) expired: BTreeSet<u64>,
    /// By the delivery's index.
    pub(super) losses: BTreeMap<usize, Loss>,
    pub(super) counts: ReplayReport,
    jobs: u64,
    outage_began: bool,
    traffic_ended: Option<u64>,
}

impl World {
    fn replaying(spec: &Replay, keep: bool, reader: Box<dyn LogReader>) -> Self {
        let options = Options {
            faults: Some(FaultSet::default()),
            sleds: Some(spec.sleds),
            jobs: Some(spec.jobs),
            minutes: Some(60),
            traffic: Some(Model::Burst),
            keep,
            ..Options::default()
        };
        let mut world = Self::new(spec.seed, &options);
        let gap = JOB_COST * 1000 / LOAD / spec.sleds;
        world.traffic =
            Traffic::new(spec.seed, Model::Burst, spec.jobs, gap, 0).ours_alone(LONGEST);
        world.faults = Faults::exactly(spec.seed, &RATES);
        world.shape.faults = world.faults.active();
        world.inventory = inventory::for_everybody(&world.machines);
        world.expires = true;
        world.lists = true;
        world.attended = false;
        // Until everything that was pushed is over.
        world.calm_at = u64::MAX;
        world.replay = Some(Box::new(Replayed {
            log: Log::new(reader, Random::of(spec.seed, 5), spec.sweep_ms),
            ran: BTreeMap::new(),
            expired: BTreeSet::new(),
            losses: BTreeMap::new(),
            counts: ReplayReport::default(),
            jobs: spec.jobs,
            outage_began: false,
            traffic_ended: None,
        }));
        world.begin_reading();
        world
    }

    /// Each minute of a replayed history.
    pub(super) fn watch_replay(&mut self) {
        self.note_repairs();
        let Some(replay) = self.replay.as_mut() else {
            return;
        };
        let pushed = replay.jobs - self.traffic.left;
        if !replay.outage_began && pushed * 3 > replay.jobs {
            replay.outage_began = true;
            self.tunnel_out_until = self.now + OUTAGE;
        }
        if self.traffic.left == 0 && !self.calm {
            let ended = *replay.traffic_ended.get_or_insert(self.now);
            if self.github.open() == 0 || self.now > ended + LAST {
                self.calm_at = self.now;
            }
        }
    }

    /// What the core may have learned in other ways: by asking about a job.
    fn note_repairs(&mut self) {
        let (Some(replay), Some(state)) = (self.replay.as_mut(), self.engine.state.as_ref()) else {
            return;
        };
        let jobs: BTreeMap<u64, JobState> = state
            .jobs()
            .map(|(id, job)| (id.number, job.state))
            .collect();
        let open = replay.losses.iter_mut();
        for (index, loss) in open.filter(|(_, loss)| loss.known.is_none()) {
            let report = &self.github.deliveries[*index].report;
            let known = jobs.get(&report.number).copied();
            if self.now > loss.due && is_known(known, report.action) {
                loss.known = Some(self.now);
            }
        }
    }

    fn account(&mut self) -> ReplayReport {
        let Some(mut replay) = self.replay.take() else {
            return ReplayReport::default();
        };
        let counts = &mut replay.counts;
        for job in self.github.jobs.values() {
            let ran = replay.ran.get(&job.number).copied().unwrap_or(0);
            let taker = job.runner.as_ref().map(|(_, name)| name.as_str());
            let stolen = taker.is_some_and(|name| name.starts_with("foreign-"));
            let class = if stolen {
                &mut counts.stolen
            } else if replay.expired.contains(&job.number) {
                &mut counts.expired
            } else if job.conclusion == Some("cancelled") {
                &mut counts.cancelled
            } else if ran == 1 && job.progress == Progress::Completed {
                counts.ran_once += 1;
                continue;
            } else {
                counts.wrong.push(job.number);
                continue;
            };
            *class += 1;
            if ran > 1 {
                counts.wrong.push(job.number);
            }
        }
        for loss in replay.losses.values() {
            let repairs = match loss.in_outage {
                true => &mut counts.in_outage,
                false => &mut counts.lost,
            };
            match loss.known {
                Some(known) => repairs.waits_ms.push(known.saturating_sub(loss.due)),
                None => repairs.open += 1,
            }
        }
        counts.lost.waits_ms.sort_unstable();
        counts.in_outage.waits_ms.sort_unstable();
        counts.jobs = self.github.jobs.len() as u64;
        counts.registered = self.github.runners.len() as u64;
        counts.deliveries = self.github.deliveries.len() as u64;
        counts.runs = self.summary.runs;
        counts.edges = self.summary.edges;
        counts.elapsed_ms = self.now - START;
        replay.counts
    }
}

/// Whether a core that has a job in this state knows what a delivery says.
fn is_known(state: Option<JobState>, action: JobAction) -> bool {
    let least = match action {
        JobAction::Queued | JobAction::Waiting => JobState::Queued,
        JobAction::InProgress => JobState::InProgress,
        JobAction::Completed => JobState::Completed,
    };
    state.is_some_and(|state| state >= least)
}

/// Replays a history: every invariant holds, and each job and each lost
/// delivery is accounted for. `reader` makes the shell that reads the log.
///
/// # Errors
/// The invariant that broke, with what happened last.
pub fn replay(
    spec: &Replay,
    reader: impl Fn() -> Box<dyn LogReader>,
) -> Result<ReplayReport, Box<Failure>> {
    let once = |keep| {
        let mut world = World::replaying(spec, keep, reader());
        match world.run() {
            Ok(_) => Ok(world.account()),
            Err(violation) => Err(Box::new(Failure {
                seed: spec.seed,
                shape: world.shape,
                violation,
                at: Millis(world.now - START),
                last: world.trace.unwrap_or_default(),
            })),
        }
    };
    once(false).or_else(|_| once(true))
}
