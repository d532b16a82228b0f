//! The end of a world: has everything settled, and how?

use std::collections::BTreeSet;

use control::{Effect, JobState, Power, State};
use messages::{Millis, PoolId};

use super::{Step, World};
use crate::{
    checks::{self, broken},
    github::Progress,
    machine::{Machine, index_of},
};

impl World {
    /// Whether nothing more is going to happen by itself.
    pub(super) fn is_settled(&mut self) -> bool {
        let Some(state) = self.engine.state.as_ref() else {
            return false;
        };
        let idle = state
            .due_effects(Millis(u64::MAX))
            .all(|(_, effect)| is_patient(state, effect));
        let jobs = self.open_jobs(state).is_empty();
        let sleds = self.restless(state).is_empty();
        idle && jobs && sleds && self.github.runners.is_empty()
    }

    /// Jobs that should have been served or told of, and were not.
    fn open_jobs(&self, state: &State) -> Vec<String> {
        let mut open = Vec::new();
        let mut known = BTreeSet::new();
        for (id, job) in state.jobs() {
            known.insert(id.number);
            let truth = self.github.jobs.get(&id.number).map(|job| job.progress);
            let over = job.state == JobState::Completed && truth == Some(Progress::Completed);
            let waits = |pool: Option<PoolId>| {
                pool.is_none_or(|pool| {
                    state
                        .sleds()
                        .filter(|(_, sled)| sled.pools.contains(&pool) && !sled.retired)
                        .all(|(_, sled)| is_withheld(sled))
                })
            };
            let waits = job.state == JobState::Queued && waits(job.pool);
            if !over && !waits {
                open.push(format!("job {id} is {:?}, at GitHub {truth:?}", job.state));
            }
        }
        // A queue at its bound takes no more until some of what waits, maybe
        // for withheld sleds only, leaves.
        let waiting = state
            .jobs()
            .filter(|(_, job)| job.state == JobState::Queued);
        if waiting.count() >= self.engine.queue_bound() {
            return open;
        }
        for job in self.github.jobs.values() {
            let over = job.progress == Progress::Completed || self.ignored.contains(&job.number);
            if !over && !known.contains(&job.number) {
                open.push(format!("job {} was never heard of", job.number));
            }
        }
        open
    }

    fn restless(&self, state: &State) -> Vec<String> {
        let mut restless = Vec::new();
        for (_, sled) in state.sleds() {
            let machine = index_of(&sled.name).and_then(|index| self.machines.get(index));
            let on = machine.is_some_and(Machine::is_on);
            let settled = match sled.power {
                Power::Off { .. } => !(on || sled.owes_acceptance && sled.may_boot()),
                Power::Unknown { .. } | Power::Claimed { .. } => is_withheld(sled),
            };
            if !settled {
                restless.push(format!(
                    "sled {} is {:?}, on: {on}, owes a run: {}",
                    sled.name, sled.power, sled.owes_acceptance
                ));
            }
        }
        restless
    }

    pub(super) fn leftovers(&self) -> String {
        let Some(state) = self.engine.state.as_ref() else {
            return "the appliance is down".to_owned();
        };
        let mut lines = self.open_jobs(state);
        lines.extend(self.restless(state));
        for (id, effect) in state.due_effects(Millis(u64::MAX)) {
            lines.push(format!("effect {id} {effect:?}"));
        }
        lines.extend(
            self.github
                .runners
                .keys()
                .map(|name| format!("runner {name} is left")),
        );
        lines.join("\n    ")
    }

    /// What must hold at the end.
    pub(super) fn final_checks(&mut self) -> Step {
        let Some(state) = self.engine.state.as_ref() else {
            return Err(broken("drains", "the appliance is down"));
        };
        checks::round_trip(&self.engine, state)?;
        checks::chain_on_disk(&self.engine, state.receipt_head().0)?;
        self.checks.acknowledged(state, &self.github)?;
        let expected = 4 * self.open_at_calm + 4 * self.machines.len() as u64 + 8;
        if self.edges_in_calm > expected {
            return Err(broken(
                "no-power-oscillation",
                format!(
                    "{} power-ons for {} jobs after the faults ended",
                    self.edges_in_calm, self.open_at_calm
                ),
            ));
        }
        let receipts = state.receipt_head().0;
        let withheld = state.sleds().filter(|(_, sled)| is_withheld(sled)).count();
        self.summary.receipts = receipts;
        self.summary.withheld = withheld;
        Ok(())
    }
}

/// Whether an effect only waits for what people must mend first: a job that
/// no sled may serve is asked about each hour, a BMC that never answers is
/// told to turn its withheld sled off.
fn is_patient(state: &State, effect: &Effect) -> bool {
    match effect {
        Effect::LookUpJob { job, .. } => state
            .jobs()
            .any(|(id, row)| id == *job && row.state == JobState::Queued),
        Effect::PowerOff { sled, .. } => state
            .sleds()
            .any(|(id, row)| id == *sled && is_withheld(row)),
        Effect::PowerOn { .. }
        | Effect::PowerOnByHand { .. }
        | Effect::Mint { .. }
        | Effect::DeleteRunner { .. }
        | Effect::RerunJob { .. }
        | Effect::DispatchWorkflow { .. }
        | Effect::SignReceipt { .. } => false,
    }
}

/// Whether a sled gets nothing until a person acts, and says why.
fn is_withheld(sled: &control::Sled) -> bool {
    let quarantined = sled
        .quarantine
        .as_ref()
        .is_some_and(|quarantine| !quarantine.reason.is_empty());
    let unknown = matches!(&sled.power, Power::Unknown { reason, .. } if !reason.is_empty());
    quarantined || unknown
}
