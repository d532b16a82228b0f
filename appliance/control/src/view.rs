//! What people see: the state in the words of the design, ready to serialise.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use messages::{BootId, JobId, Millis, Outcome, SledId};
use serde::Serialize;

use crate::{
    Duty, acceptance, explain, jobs,
    rows::{Boot, BootStage, Conclusion, Job, JobState, Power, Sled, Timeline},
    schedule,
    state::State,
};

/// The whole appliance at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct StatusView {
    /// Its id.
    pub appliance: String,
    /// When this was true.
    pub now: Millis,
    /// Pools in the order of their names.
    pub pools: Vec<PoolView>,
    /// Sleds in the order of their names.
    pub sleds: Vec<SledView>,
    /// Jobs, newest first, at most as many as were asked for.
    pub jobs: Vec<JobView>,
    /// Jobs that wait.
    pub queued: usize,
    /// Receipts made.
    pub receipts: u64,
}

/// A pool.
#[derive(Clone, Debug, Serialize)]
pub struct PoolView {
    /// Name.
    pub name: String,
    /// Where its runners register.
    pub scope: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// Name of its image.
    pub image: String,
    /// Jobs that wait for it.
    pub queued: usize,
    /// Sleds that serve it.
    pub sleds: usize,
    /// Sleds that it uses now.
    pub used: usize,
    /// Why it starts nothing: what GitHub refused, or who paused it.
    pub problem: Option<String>,
    /// A person paused it.
    pub paused: bool,
}

/// A sled.
#[derive(Clone, Debug, Serialize)]
pub struct SledView {
    /// Name.
    pub name: String,
    /// Network card.
    pub mac: String,
    /// `Off`, `PoweringOn`, …
    pub state: &'static str,
    /// Since when it is in that state.
    pub since: Option<Millis>,
    /// When the state must have ended.
    pub deadline: Option<Millis>,
    /// Why, where there is something to say.
    pub reason: Option<String>,
    /// Names of its pools.
    pub pools: Vec<String>,
    /// Its present boot, or else its last one.
    pub boot: Option<BootView>,
    /// Failed boots in a row.
    pub failures: u32,
    /// What its power driver complained of last.
    pub power_problem: Option<String>,
    /// What it owes before it is in service.
    pub acceptance: Option<AcceptanceView>,
}

/// What a sled owes before it is in service.
#[derive(Clone, Debug, Serialize)]
pub struct AcceptanceView {
    /// Names its present try.
    pub nonce: String,
    /// Since when.
    pub since: Millis,
    /// Tries begun.
    pub tries: u32,
    /// Page of the present try's job at GitHub.
    pub page: Option<String>,
    /// Why the last try came to nothing.
    pub problem: Option<String>,
}

/// A boot.
#[derive(Clone, Debug, Serialize)]
pub struct BootView {
    /// Its number.
    pub id: BootId,
    /// Its sled's name.
    pub sled: String,
    /// Where it stands.
    pub stage: &'static str,
    /// When things happened.
    pub timeline: Timeline,
    /// `claimed`, `netboot-forced` or `attested`.
    pub assurance: &'static str,
    /// `ran`, `unused` or `failed`, once that is known.
    pub outcome: Option<&'static str>,
    /// Why.
    pub reason: Option<String>,
    /// Runner registered for it.
    pub runner: Option<String>,
    /// GitHub's number of the job that it got.
    pub job: Option<u64>,
    /// Its receipt.
    pub receipt: Option<u64>,
    /// Joules that it drew, once it ended, where that was measured.
    pub joules: Option<u64>,
}

/// A job.
#[derive(Clone, Debug, Serialize)]
pub struct JobView {
    /// GitHub's number.
    pub id: u64,
    /// App it came through.
    pub github: String,
    /// `owner/name`.
    pub repository: String,
    /// Its name.
    pub name: String,
    /// Its workflow.
    pub workflow: String,
    /// Page at GitHub, relative to its web address.
    pub path: String,
    /// `queued`, `claimed`, `starting`, `running`, `completed`, `failed`, `cancelled`.
    pub state: &'static str,
    /// Why, where there is something to say.
    pub reason: Option<String>,
    /// GitHub's conclusion.
    pub conclusion: Option<String>,
    /// What it asks for.
    pub labels: Vec<String>,
    /// Pool that serves it.
    pub pool: Option<String>,
    /// When we heard of it.
    pub delivered: Millis,
    /// When it ended.
    pub completed: Option<Millis>,
    /// The boot that serves or served it.
    pub boot: Option<BootView>,
}

impl State {
    /// The whole appliance, with at most `jobs` jobs.
    #[must_use]
    pub fn status(&self, now: Millis, jobs: usize) -> StatusView {
        let mut sleds: Vec<SledView> = self
            .sleds
            .iter()
            .map(|(id, sled)| self.sled_view(now, id, sled))
            .collect();
        sleds.sort_by(|a, b| a.name.cmp(&b.name));
        StatusView {
            appliance: self.appliance.to_string(),
            now,
            pools: self.pool_views(),
            sleds,
            jobs: self.job_views(now, jobs),
            queued: self.jobs.index().queued,
            receipts: self.meta().receipts,
        }
    }

    /// Jobs, newest first, at most `limit`.
    #[must_use]
    pub fn job_views(&self, now: Millis, limit: usize) -> Vec<JobView> {
        let mut ids: Vec<(Millis, JobId)> = self
            .jobs
            .iter()
            .map(|(id, job)| (job.delivered_at, id))
            .collect();
        // Only those that are shown need an order.
        if limit < ids.len() {
            ids.select_nth_unstable_by(limit, |a, b| b.cmp(a));
            ids.truncate(limit);
        }
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids.into_iter()
            .filter_map(|(_, id)| self.jobs.get(id).map(|job| self.job_view(now, id, job)))
            .collect()
    }

    /// Pools in the order of their names.
    #[must_use]
    pub fn pool_views(&self) -> Vec<PoolView> {
        let mut pools: Vec<PoolView> = self
            .pools
            .iter()
            .filter(|(_, pool)| !pool.retired)
            .map(|(id, pool)| PoolView {
                name: pool.name.clone(),
                scope: pool.scope.to_string(),
                labels: pool.labels.iter().map(ToString::to_string).collect(),
                image: pool.image.rootfs.name.clone(),
                queued: self.jobs.index().queued_for(id),
                sleds: self
                    .sleds
                    .iter()
                    .filter(|(_, sled)| sled.pools.contains(&id))
                    .count(),
                used: self.boots.index().held(id),
                problem: match &pool.paused {
                    Some(pause) => Some(alloc::format!("paused: {}", pause.reason)),
                    None => pool.problem.clone(),
                },
                paused: pool.paused.is_some(),
            })
            .collect();
        pools.sort_by(|a, b| a.name.cmp(&b.name));
        pools
    }

    fn sled_view(&self, now: Millis, id: SledId, sled: &Sled) -> SledView {
        let boot = match sled.power {
            Power::Claimed { boot } => Some(boot),
            Power::Off { .. } | Power::Unknown { .. } => sled.last_boot,
        };
        let row = boot.and_then(|id| self.boots.get(id));
        let (state, since, reason) = self.sled_state(now, id, sled);
        let claimed = matches!(sled.power, Power::Claimed { .. });
        SledView {
            name: sled.name.to_string(),
            mac: sled.mac.to_string(),
            state,
            since,
            deadline: row
                .filter(|_| claimed)
                .map(|boot| boot.deadline)
                .filter(|at| at.0 != u64::MAX),
            reason,
            pools: sled
                .pools
                .iter()
                .filter_map(|id| self.pools.get(*id))
                .map(|pool| pool.name.clone())
                .collect(),
            boot: boot.zip(row).map(|(id, boot)| self.boot_view(id, boot)),
            failures: sled.failures,
            power_problem: sled.power_problem.clone(),
            acceptance: self.acceptances.get(id).map(|row| AcceptanceView {
                nonce: row.nonce(),
                since: row.since,
                tries: row.tries,
                page: row.page.as_ref().map(ToString::to_string),
                problem: row.problem.clone(),
            }),
        }
    }

    fn sled_state(
        &self,
        now: Millis,
        id: SledId,
        sled: &Sled,
    ) -> (&'static str, Option<Millis>, Option<String>) {
        let stage = match &sled.power {
            Power::Claimed { boot } => self.boots.get(*boot),
            Power::Off { .. } | Power::Unknown { .. } => None,
        };
        if let Some(boot) = stage {
            // What keeps it from serving outlasts what ended its boot.
            let reason = sled.quarantine.as_ref().map(|q| q.reason.clone());
            let reason = reason
                .or_else(|| boot.outcome.as_ref().and_then(reason_of))
                .or_else(|| held_reason(boot))
                .or_else(|| Self::off_reason(sled))
                .or_else(|| acceptance::words(self, now, id));
            return (stage_name(&boot.stage), stage_since(boot), reason);
        }
        if let (None, Duty::Maintenance { since, reason }) = (&sled.quarantine, &sled.duty) {
            return ("Maintenance", Some(*since), Some(reason.clone()));
        }
        match (&sled.quarantine, &sled.power) {
            (Some(quarantine), _) => (
                "Quarantined",
                Some(quarantine.since),
                Some(quarantine.reason.clone()),
            ),
            (None, Power::Unknown { since, reason }) => {
                ("Unknown", Some(*since), Some(reason.clone()))
            }
            (None, Power::Off { since }) => (
                "Off",
                Some(*since),
                Self::off_reason(sled).or_else(|| acceptance::words(self, now, id)),
            ),
            (None, Power::Claimed { .. }) => ("Unknown", None, None),
        }
    }

    fn off_reason(sled: &Sled) -> Option<String> {
        matches!(sled.duty, Duty::Drained { .. })
            .then(|| "drained: it gets no boot until it is resumed".to_string())
    }

    fn boot_view(&self, id: BootId, boot: &Boot) -> BootView {
        BootView {
            id,
            sled: self.sled_name(boot.sled).unwrap_or("(gone)").to_string(),
            stage: stage_name(&boot.stage),
            timeline: boot.times.clone(),
            assurance: boot.assurance().as_str(),
            outcome: boot.outcome.as_ref().map(|outcome| match outcome {
                Outcome::Ran => "ran",
                Outcome::Unused { .. } => "unused",
                Outcome::Failed { .. } => "failed",
            }),
            reason: boot.outcome.as_ref().and_then(reason_of),
            runner: boot.runner.as_ref().map(|runner| runner.name.clone()),
            job: boot.job.map(|job| job.number),
            receipt: boot.receipt,
            joules: boot.energy.map(|energy| energy.joules),
        }
    }

    fn job_view(&self, now: Millis, id: JobId, job: &Job) -> JobView {
        let boot = jobs::serving_boot(self, id);
        let row = boot.and_then(|boot| self.boots.get(boot));
        let (state, reason) = self.job_state(now, id, job, row);
        JobView {
            id: id.number,
            github: self.hub_name(id.hub).unwrap_or_default().to_string(),
            repository: job.repository.to_string(),
            name: job.name.to_string(),
            workflow: job.workflow.to_string(),
            path: alloc::format!(
                "{}/actions/runs/{}/job/{}",
                job.repository,
                job.run_id,
                id.number
            ),
            state,
            reason,
            conclusion: job.conclusion.as_ref().map(|conclusion| match conclusion {
                Conclusion::Said(word) => word.to_string(),
                Conclusion::Silent => "unknown".to_string(),
            }),
            labels: job.labels.iter().map(ToString::to_string).collect(),
            pool: job
                .pool
                .and_then(|pool| self.pools.get(pool))
                .map(|pool| pool.name.clone()),
            delivered: job.delivered_at,
            completed: job.completed_at,
            boot: boot.zip(row).map(|(id, boot)| self.boot_view(id, boot)),
        }
    }

    fn job_state(
        &self,
        now: Millis,
        id: JobId,
        job: &Job,
        boot: Option<&Boot>,
    ) -> (&'static str, Option<String>) {
        let stolen = || {
            let name = job.taken_by.as_ref()?;
            Some(alloc::format!("taken by runner {name}, which is not ours"))
        };
        match (job.state, &job.conclusion) {
            (JobState::Completed, Some(Conclusion::Said(word))) => match word.as_ref() {
                "success" | "skipped" | "neutral" => ("completed", stolen()),
                "cancelled" => ("cancelled", stolen()),
                _ => ("failed", stolen()),
            },
            (JobState::Completed, Some(Conclusion::Silent) | None) => (
                "completed",
                Some("GitHub never said how it ended".to_string()),
            ),
            (JobState::InProgress, _) => ("running", stolen()),
            (JobState::Queued, _) => match boot.map(|boot| &boot.stage) {
                Some(BootStage::Ordered | BootStage::Running) => ("starting", None),
                Some(BootStage::PoweringOff { .. }) => (
                    "running",
                    Some("its sled is done, and GitHub is asked whether it ran there".to_string()),
                ),
                Some(_) => ("claimed", None),
                None => ("queued", self.wait_reason(now, id, job)),
            },
        }
    }

    fn wait_reason(&self, now: Millis, id: JobId, job: &Job) -> Option<String> {
        if job.pool.is_none() {
            return Some(explain::without_pool(self, id).1);
        }
        let hindrance = schedule::hindrance(self, now, job)?;
        Some(explain::words(self, now, job, &hindrance).1)
    }
}

fn held_reason(boot: &Boot) -> Option<String> {
    (boot.stage == BootStage::Held).then(|| {
        "stays on for people to look at if its job failed: `musher sled unhold` ends that"
            .to_string()
    })
}

fn reason_of(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Ran => None,
        Outcome::Unused { reason } | Outcome::Failed { reason } => Some(reason.clone()),
    }
}

const fn stage_name(stage: &BootStage) -> &'static str {
    match stage {
        BootStage::PoweringOn => "PoweringOn",
        BootStage::Netbooting => "Netbooting",
        BootStage::Wiping => "Wiping",
        BootStage::Ready | BootStage::Ordered => "Ready",
        BootStage::Running => "Running",
        BootStage::Held => "Held",
        BootStage::PoweringOff { .. } => "PoweringOff",
        BootStage::Ended => "Off",
    }
}

const fn stage_since(boot: &Boot) -> Option<Millis> {
    let times = &boot.times;
    match boot.stage {
        BootStage::PoweringOn => Some(times.claimed),
        BootStage::Netbooting => times.power_on,
        BootStage::Wiping => times.agent,
        BootStage::Ready | BootStage::Ordered => times.ready,
        BootStage::Running => times.running,
        BootStage::Held | BootStage::PoweringOff { .. } => times.finished,
        BootStage::Ended => times.off,
    }
}
