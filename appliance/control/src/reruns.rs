//! Reruns: a job that a sled failed, never one that failed by itself, is run
//! again at GitHub, where its pool allows that.
//!
//! What counts as the sled's failure is evidence of our own, and the job's own
//! end must not have been seen: power was lost, the agent fell silent or could
//! not go on. A runner that reported its end, or a job that took longer than it
//! may, is never run again. GitHub refuses a rerun until the whole workflow run
//! has ended, so it is asked for until then, a day at most.

use alloc::{format, vec::Vec};

use messages::{BootId, HubId, JobId, Millis, Outcome};

use crate::{
    Effect, Effects, GithubFailure, JobReport,
    boots::RAN_TOO_LONG,
    index::outbox::Subject,
    rows::{Boot, Conclusion, Job, JobState},
    state::State,
};

/// From the end of the job until GitHub is asked first, in milliseconds.
const FIRST_MS: u64 = 30_000;

/// Between two questions while the workflow run goes on, in milliseconds.
pub(crate) const AGAIN_MS: u64 = 60_000;

/// An agent that was silent for this long before GitHub ended its job was lost
/// by then. It speaks every few seconds, and GitHub gives a runner ten minutes.
const SILENT_MS: u64 = 5 * 60 * 1000;

/// GitHub ended a job: whether its sled had failed it before that.
pub(crate) fn job_ended(state: &mut State, now: Millis, id: JobId, fx: &mut Effects) {
    let boot = state.jobs.get(id).and_then(|job| job.boot);
    if let Some(boot) = boot {
        consider(state, now, id, boot, false, fx);
    }
}

/// A boot failed: whether GitHub ended its job before that, for want of a word
/// from the sled. `heard` is when its agent last spoke.
pub(crate) fn boot_failed(
    state: &mut State,
    now: Millis,
    id: BootId,
    heard: Option<Millis>,
    fx: &mut Effects,
) {
    let Some(job_id) = state.boots.get(id).and_then(|boot| boot.job) else {
        return;
    };
    let ended = state.jobs.get(job_id).and_then(|job| job.completed_at);
    let lost_before = heard
        .zip(ended)
        .is_some_and(|(heard, ended)| ended.since(heard) >= SILENT_MS);
    if lost_before {
        consider(state, now, job_id, id, true, fx);
    }
}

/// `was_lost` tells that the sled was lost before GitHub ended the job.
fn consider(
    state: &mut State,
    now: Millis,
    job_id: JobId,
    boot_id: BootId,
    was_lost: bool,
    fx: &mut Effects,
) {
    let (Some(job), Some(boot)) = (state.jobs.get(job_id), state.boots.get(boot_id)) else {
        return;
    };
    let Some(reason) = sleds_fault(boot, was_lost).filter(|_| ended_failed(job)) else {
        return;
    };
    let allowed = job
        .pool
        .and_then(|pool| state.pools.get(pool))
        .map_or(0, |pool| pool.policy.max_reruns);
    let detail = format!(
        "attempt {} of {}: {reason}; {} of {allowed} reruns",
        job.run_attempt,
        job.repository,
        job.run_attempt.saturating_sub(1)
    );
    let listed = state
        .effects_about(Subject::Job(job_id))
        .any(|(_, pending)| matches!(pending.effect, Effect::RerunJob { .. }));
    // Attempts count from 1: the first is no rerun.
    if job.run_attempt > allowed || listed {
        return;
    }
    let effect = Effect::RerunJob {
        job: job_id,
        repository: job.repository.as_ref().into(),
        boot: boot_id,
    };
    state.push_effect(now.after(FIRST_MS), effect);
    state.audit(fx, "audit.job.rerun", Some(boot_id), detail);
}

/// Why the sled failed what ran on it, if it did. A runner that is there for too
/// long is its job's fault, unless its sled was lost long before.
fn sleds_fault(boot: &Boot, was_lost: bool) -> Option<&str> {
    if boot.times.running.is_none() || boot.end.is_some() {
        return None;
    }
    match &boot.outcome {
        Some(Outcome::Failed { reason }) if was_lost || reason != RAN_TOO_LONG => Some(reason),
        Some(Outcome::Failed { .. } | Outcome::Ran | Outcome::Unused { .. }) | None => None,
    }
}

fn ended_failed(job: &Job) -> bool {
    job.state == JobState::Completed
        && matches!(&job.conclusion, Some(Conclusion::Said(word)) if word.as_ref() == "failure")
}

/// A newer attempt of a workflow run exists: whoever asked for it, nothing of an
/// older one is to be run again. So an answer that got lost runs nothing twice.
pub(crate) fn superseded(state: &mut State, hub: HubId, report: &JobReport) {
    if report.run_attempt < 2 {
        return;
    }
    let older = |id: &JobId| {
        state.jobs.get(*id).is_some_and(|job| {
            id.hub == hub
                && job.run_id == report.run_id
                && job.run_attempt < report.run_attempt
                && job.repository.as_ref() == report.repository.as_ref()
        })
    };
    let jobs: Vec<JobId> = state
        .outbox
        .iter()
        .filter_map(|(_, pending)| match &pending.effect {
            Effect::RerunJob { job, .. } => Some(*job),
            _ => None,
        })
        .filter(older)
        .collect();
    for job in jobs {
        state.withdraw_effects(Subject::Job(job), |effect| {
            matches!(effect, Effect::RerunJob { .. })
        });
    }
}

/// GitHub answered. While the workflow run goes on it refuses; how long to wait
/// before it is asked again, if it is to be asked.
pub(crate) fn answered(
    state: &State,
    boot: BootId,
    result: Result<(), GithubFailure>,
    fx: &mut Effects,
) -> Option<u64> {
    let (detail, wait) = match result {
        Ok(()) => ("GitHub runs it again".into(), None),
        Err(GithubFailure::RateLimited(ms)) => {
            (format!("rate limited for {ms} ms"), Some(ms.max(AGAIN_MS)))
        }
        Err(GithubFailure::Conflict) => ("conflict".into(), Some(AGAIN_MS)),
        Err(GithubFailure::Unavailable(why) | GithubFailure::Refused(why)) => (why, Some(AGAIN_MS)),
    };
    state.audit(fx, "audit.job.rerun_answer", Some(boot), detail);
    wait
}
