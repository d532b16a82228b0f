//! Reruns: a job that a sled failed, never one that failed by itself, is run
//! again at GitHub, where its pool allows that.
//!
//! It takes both: evidence of our own that the sled failed (it lost power, its
//! agent fell silent or could not go on) before its runner reported an end, and
//! that the job lived on at GitHub long after, because GitHub waits for a lost
//! runner. A job that failed at the moment of a power cut may be taken for one
//! that failed by itself, never the other way round. GitHub refuses a rerun
//! until the whole workflow run has ended, so it is asked until then, a day at
//! most.

use alloc::{format, vec::Vec};

use messages::{BootId, HubId, JobId, Millis, Outcome};

use crate::{
    Effect, Effects, GithubFailure, JobReport,
    index::outbox::Subject,
    rows::{Boot, Conclusion, Job, JobState},
    state::State,
};

/// From the end of the job until GitHub is asked first, in milliseconds.
const FIRST_MS: u64 = 30_000;

/// Between two questions while the workflow run goes on, in milliseconds.
const AGAIN_MS: u64 = 60_000;

/// A job that lived for this much longer than its agent was given up by GitHub:
/// an agent speaks every few seconds, and GitHub waits some ten minutes.
const SILENT_MS: u64 = 5 * 60 * 1000;

/// Boots that may have failed their jobs. More than these are not remembered.
const LOST: usize = 1024;

/// What is known of a job and its boot when one of them is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The boot failed; its agent had been heard for so long since its runner
    /// started, in milliseconds.
    Sled(u64),
    /// GitHub ended the job long after the agent was heard last.
    Job,
}

/// GitHub ended a job: whether its sled failed it. Deliveries come late, so it
/// is GitHub's own time that counts: how long the job lived there, beside how
/// long its agent lived here. No clock is compared with another.
pub(crate) fn job_ended(
    state: &mut State,
    now: Millis,
    id: JobId,
    ran_ms: Option<u64>,
    fx: &mut Effects,
) {
    let Some((boot, ran_ms)) = state.jobs.get(id).and_then(|job| job.boot).zip(ran_ms) else {
        return;
    };
    let is_under_way = state.boots.get(boot).is_some_and(Boot::is_under_way);
    let alive_ms = if is_under_way {
        alive_ms(state, boot)
    } else {
        match state.lost.remove(&boot) {
            Some(Lost::Sled(alive_ms)) => Some(alive_ms),
            Some(Lost::Job) | None => None,
        }
    };
    if alive_ms.is_none_or(|alive_ms| ran_ms < alive_ms.saturating_add(SILENT_MS)) {
        return;
    }
    if is_under_way {
        note(state, boot, Lost::Job);
    } else {
        consider(state, now, id, boot, fx);
    }
}

/// A boot fails: whether it failed its job is known once GitHub has ended that.
pub(crate) fn boot_fails(state: &mut State, now: Millis, id: BootId, fx: &mut Effects) {
    let Some(job) = state.boots.get(id).and_then(|boot| boot.job) else {
        return;
    };
    match state.lost.remove(&id) {
        Some(Lost::Job) => consider(state, now, job, id, fx),
        Some(Lost::Sled(_)) | None => {
            if let Some(alive_ms) = alive_ms(state, id) {
                note(state, id, Lost::Sled(alive_ms));
            }
        }
    }
}

/// How long the agent of a boot is known to have lived since its runner started.
/// Nobody knows that of a runner that started before we did.
fn alive_ms(state: &State, id: BootId) -> Option<u64> {
    let (began, heard) = (state.began.get(&id)?, state.heard.get(&id)?);
    Some(heard.since(*began))
}

fn note(state: &mut State, id: BootId, lost: Lost) {
    if state.lost.len() >= LOST {
        state.lost.pop_first();
    }
    state.lost.insert(id, lost);
}

fn consider(state: &mut State, now: Millis, job_id: JobId, boot_id: BootId, fx: &mut Effects) {
    let (Some(job), Some(boot)) = (state.jobs.get(job_id), state.boots.get(boot_id)) else {
        return;
    };
    let Some(reason) = sleds_fault(boot).filter(|_| ended_failed(job)) else {
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

/// Why a boot failed whose agent never reported the end of its runner.
fn sleds_fault(boot: &Boot) -> Option<&str> {
    if boot.times.running.is_none() || boot.end.is_some() {
        return None;
    }
    match &boot.outcome {
        Some(Outcome::Failed { reason }) => Some(reason),
        Some(Outcome::Ran | Outcome::Unused { .. }) | None => None,
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
