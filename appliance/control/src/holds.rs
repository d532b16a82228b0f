//! Holds: a sled whose job failed stays on for a person to look at, until the
//! hold expires or is lifted.
//!
//! The runner has ended by then. The sled is held for looking only once GitHub
//! has said that the job failed and has no runner of this boot any more, so
//! that nothing that happens on it can be taken for part of the job. A sled
//! whose job did well, or about which GitHub stays silent, is powered off as
//! ever.

use alloc::format;

use messages::{BootId, Instruction, JobId, Millis, Outcome, RunExit, SledId};

use crate::{
    Effect, Effects,
    boots::{self, Off},
    index::outbox::Subject,
    jobs,
    rows::{BootStage, Conclusion, Job, JobState, Power},
    runners,
    state::State,
};

/// Longest hold: a sled that nobody looks at for a week serves nobody.
pub(crate) const LONGEST_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// A runner ended; whether its sled stays on for now.
pub(crate) fn begin(
    state: &mut State,
    now: Millis,
    id: BootId,
    exit: RunExit,
    fx: &mut Effects,
) -> bool {
    let Some((boot, job)) = state.boots.get(id).and_then(|boot| Some((boot, boot.job?))) else {
        return false;
    };
    let sled = state.sleds.get(boot.sled);
    let wanted = sled.is_some_and(|sled| sled.hold_until.is_some_and(|until| until > now));
    let ended = matches!(exit, RunExit::Code(0) | RunExit::TimedOut);
    if !wanted || !ended {
        return false;
    }
    boots::enter(state, now, id, BootStage::Held);
    if is_over(state, job) {
        job_ended(state, now, id, fx);
    } else {
        jobs::look_up(state, now, job, state.limits.silence_ms);
    }
    is_held(state, id)
}

/// GitHub said how the job of a held boot ended: its runner must be gone too.
pub(crate) fn job_ended(state: &mut State, now: Millis, id: BootId, fx: &mut Effects) {
    if is_held(state, id) {
        runners::delete(state, now, id);
        settle(state, now, id, fx);
    }
}

/// The runner of a boot is gone from GitHub.
pub(crate) fn runner_gone(state: &mut State, now: Millis, id: BootId, fx: &mut Effects) {
    let job = state.boots.get(id).and_then(|boot| boot.job);
    if job.is_some_and(|job| is_over(state, job)) && is_held(state, id) {
        settle(state, now, id, fx);
    }
}

/// Whether GitHub said how a job ended.
fn is_over(state: &State, id: JobId) -> bool {
    let job = state.jobs.get(id);
    job.is_some_and(|job| job.state == JobState::Completed)
}

/// Whether a boot stays on after its runner ended.
pub(crate) fn is_held(state: &State, id: BootId) -> bool {
    state
        .boots
        .get(id)
        .is_some_and(|boot| boot.stage == BootStage::Held)
}

/// What the agent of a held boot is to do: nothing yet, or let a person look,
/// once nothing is open at GitHub about it.
pub(crate) fn instruction(state: &State, id: BootId) -> Instruction {
    match until(state, id) {
        Some(_) if !is_registered(state, id) => Instruction::Hold,
        Some(_) | None => Instruction::Wait,
    }
}

/// Goes on holding a boot whose job failed, or ends it.
fn settle(state: &mut State, now: Millis, id: BootId, fx: &mut Effects) {
    match until(state, id) {
        None => end(state, now, id, fx),
        // Until its runner is gone from GitHub.
        Some(_) if is_registered(state, id) => {}
        Some(until) => {
            boots::enter(state, now, id, BootStage::Held);
            let left = until.since(now) / 1000;
            let detail = format!("its job failed: held for {left} s for people to look at");
            state.audit(fx, "audit.sled.held_for_people", Some(id), detail);
            fx.wake.push(id);
        }
    }
}

/// Until when a boot is held because its job failed.
fn until(state: &State, id: BootId) -> Option<Millis> {
    let boot = state.boots.get(id)?;
    let job = state.jobs.get(boot.job?)?;
    if !failed(job) {
        return None;
    }
    state.sleds.get(boot.sled)?.hold_until
}

/// Whether the job's own work failed, in GitHub's words.
fn failed(job: &Job) -> bool {
    matches!(&job.conclusion, Some(Conclusion::Said(word))
        if matches!(word.as_ref(), "failure" | "timed_out"))
}

/// Whether GitHub may still know the boot's runner.
fn is_registered(state: &State, id: BootId) -> bool {
    state
        .effects_about(Subject::Boot(id))
        .any(|(_, pending)| matches!(pending.effect, Effect::DeleteRunner { .. }))
}

/// How long a boot may stay held from `now` on, in milliseconds: until the hold
/// expires, or as long as GitHub may take to settle what is open.
pub(crate) fn stage_ms(state: &State, now: Millis, id: BootId) -> u64 {
    match until(state, id) {
        Some(until) if !is_registered(state, id) => until.since(now).min(LONGEST_MS),
        Some(_) | None => state.limits.finish_ms,
    }
}

/// Nobody looks any more: the boot ends as one that ran.
pub(crate) fn end(state: &mut State, now: Millis, id: BootId, fx: &mut Effects) {
    boots::begin_power_off(state, now, id, Outcome::Ran, Off::Asked, fx);
}

/// A person wants to look at this sled if its job fails before `until`, or does
/// not want to any more.
pub(crate) fn ask_for(
    state: &mut State,
    now: Millis,
    id: SledId,
    until: Option<Millis>,
    fx: &mut Effects,
) {
    if let Some(mut sled) = state.sleds.get_mut(id) {
        sled.hold_until = until;
    }
    let held = state.sleds.get(id).and_then(|sled| match sled.power {
        Power::Claimed { boot } => Some(boot).filter(|boot| is_held(state, *boot)),
        Power::Off { .. } | Power::Unknown { .. } => None,
    });
    match (held, until) {
        (Some(boot), Some(_)) => boots::enter(state, now, boot, BootStage::Held),
        (Some(boot), None) => end(state, now, boot, fx),
        (None, _) => {}
    }
}
