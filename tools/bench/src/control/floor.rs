//! The floor under `control-events`: a queue of jobs in the collections of the
//! standard library. It takes the same deliveries, ignores those that came
//! before, and moves jobs from queued to running to gone. It decides nothing,
//! keeps no sleds and makes no rows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use control::{Event, Hook, JobAction, JobReport};

use crate::cpu::CpuTime;
use crate::world::delivery;
use crate::world::demand::{Demand, Steady};

/// The name of this peer.
pub(crate) const NAME: &str = "a BTreeMap and VecDeque queue that decides nothing";

/// Deliveries prepared at a time.
const BATCH: u64 = 30_000;
const ROUNDS: usize = 7;

#[derive(Default)]
struct Floor {
    seen: BTreeSet<u128>,
    jobs: BTreeMap<u64, JobReport>,
    queue: VecDeque<u64>,
}

impl Floor {
    fn take(&mut self, event: Event) {
        let Event::Delivery { key, hook, .. } = event else {
            return;
        };
        let Hook::Job(report) = hook else {
            return;
        };
        if !self.seen.insert(key.0) {
            return;
        }
        match report.action {
            JobAction::Queued | JobAction::Waiting => {
                self.queue.push_back(report.number);
                self.jobs.insert(report.number, *report);
            }
            JobAction::InProgress => {
                // The oldest goes, whichever it is.
                self.queue.pop_front();
                if let Some(job) = self.jobs.get_mut(&report.number) {
                    job.action = JobAction::InProgress;
                }
            }
            JobAction::Completed => {
                self.jobs.remove(&report.number);
            }
        }
    }
}

/// Deliveries per second of processor time with as many jobs waiting, in the
/// best of several rounds.
pub(crate) fn per_second(jobs: u64) -> f64 {
    let mut demand = Steady::new();
    let mut floor = Floor::default();
    let mut oldest = 0;
    for number in demand.take(jobs) {
        oldest = if oldest == 0 { number } else { oldest };
        floor.take(delivery(demand.report(number, JobAction::Queued, None)));
    }
    let mut best: f64 = 0.0;
    for _ in 0..ROUNDS {
        let mut events = Vec::new();
        for number in demand.take(BATCH / 3) {
            for (number, action) in [
                (number, JobAction::Queued),
                (oldest, JobAction::InProgress),
                (oldest, JobAction::Completed),
            ] {
                events.push(delivery(demand.report(number, action, None)));
            }
            oldest += 1;
        }
        let start = CpuTime::now();
        for event in events {
            floor.take(event);
        }
        #[allow(clippy::cast_precision_loss)] // 10^4 or so
        let rate = BATCH as f64 / start.elapsed_s();
        best = best.max(rate);
    }
    best
}
