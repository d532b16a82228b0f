//! What is watched each minute: whether jobs starve beside idle sleds, and
//! what a picture of the world needs.

use std::collections::{BTreeMap, BTreeSet};

use control::{BootStage, JobState, PoolSpec, Power, State};
use messages::PoolId;

use super::{START, Step, World};
use crate::{
    checks::broken,
    day::{Mark, Sample, Standing},
};

/// Minutes for which jobs may wait beside a sled that could serve them: what
/// GitHub once refused is tried again after half an hour at most.
const PATIENT_MINUTES: u64 = 45;

impl World {
    /// `no-starvation`: once the faults have ended, no job waits for long while
    /// a sled that may serve it rests.
    pub(super) fn check_starving(&mut self) -> Step {
        let capped = |pool: &PoolSpec| {
            pool.policy.max_sleds.is_some() || pool.policy.max_per_repository.is_some()
        };
        let Some(state) = self.engine.state.as_ref() else {
            return Ok(());
        };
        // Who waits at a cap waits rightly; that it drains is seen in the end.
        if self.inventory.pools.iter().any(capped) {
            return Ok(());
        }
        let starving = starving_pools(state);
        self.starving.retain(|pool, _| starving.contains(pool));
        for pool in starving {
            let minutes = self.starving.entry(pool).or_insert(0);
            *minutes += 1;
            if *minutes > PATIENT_MINUTES {
                return Err(broken(
                    "no-starvation",
                    format!("jobs of pool {pool} waited {minutes} minutes beside an idle sled"),
                ));
            }
        }
        Ok(())
    }

    /// Keeps what a picture needs.
    pub(super) fn observe(&mut self) {
        let Some(record) = self.record.as_mut() else {
            return;
        };
        let mut sample = Sample {
            at_ms: self.now - START,
            waiting: self
                .github
                .waiting()
                .filter(|job| !self.ignored.contains(&job.number))
                .filter(|job| !job.labels.iter().any(|label| label == "ubuntu-latest"))
                .count(),
            sleds: [0; 8],
        };
        match self.engine.state.as_ref() {
            Some(state) => {
                for (_, sled) in state.sleds() {
                    sample.sleds[standing(state, sled) as usize] += 1;
                }
            }
            // While the appliance is down the last picture stays.
            None => sample.sleds = record.samples.last().map_or([0; 8], |last| last.sleds),
        }
        record.samples.push(sample);
    }

    /// Something begins that the picture should show.
    pub(super) fn mark(&mut self, label: &'static str, until: u64) {
        self.note(|| label.to_owned());
        if let Some(record) = self.record.as_mut() {
            record.marks.push(Mark {
                label,
                from_ms: self.now - START,
                until_ms: until.min(self.calm_at) - START,
            });
        }
    }

    /// A job got its runner.
    pub(super) fn note_wait(&mut self, number: u64) {
        if let (Some(record), Some(job)) = (self.record.as_mut(), self.github.jobs.get(&number)) {
            record
                .waits
                .push((self.now - START, self.now - job.pushed_at));
        }
    }
}

/// Pools that owe more boots than are on their way while a sled of theirs rests.
fn starving_pools(state: &State) -> BTreeSet<PoolId> {
    let mut owed: BTreeMap<PoolId, i64> = BTreeMap::new();
    for (_, job) in state.jobs() {
        if let (JobState::Queued, Some(pool)) = (job.state, job.pool) {
            *owed.entry(pool).or_insert(0) += 1;
        }
    }
    if owed.is_empty() {
        return BTreeSet::new();
    }
    for (_, boot) in state.boots() {
        if boot.is_supply() {
            *owed.entry(boot.pool).or_insert(0) -= 1;
        }
    }
    owed.retain(|_, jobs| *jobs > 0);
    let rests = |pool: &PoolId| {
        state.sleds().any(|(_, sled)| {
            matches!(sled.power, Power::Off { .. })
                && sled.quarantine.is_none()
                && !sled.retired
                && !sled.owes_acceptance
                && sled.pools.contains(pool)
        })
    };
    owed.into_keys().filter(rests).collect()
}

fn standing(state: &State, sled: &control::Sled) -> Standing {
    let stage = match sled.power {
        Power::Unknown { .. } => return Standing::Withheld,
        Power::Off { .. } if sled.quarantine.is_some() => return Standing::Withheld,
        Power::Off { .. } => return Standing::Off,
        Power::Claimed { boot } => state.boot(boot).map(|boot| &boot.stage),
    };
    match stage {
        Some(BootStage::PoweringOn) => Standing::PoweringOn,
        Some(BootStage::Netbooting) => Standing::Netbooting,
        Some(BootStage::Wiping) => Standing::Wiping,
        Some(BootStage::Ready | BootStage::Ordered) => Standing::Ready,
        Some(BootStage::Running | BootStage::Held) => Standing::Running,
        Some(BootStage::PoweringOff { .. }) if sled.quarantine.is_some() => Standing::Withheld,
        Some(BootStage::PoweringOff { .. }) => Standing::PoweringOff,
        Some(BootStage::Ended) | None => Standing::Off,
    }
}
