//! How effects went.

use alloc::{format, string::String};

use messages::{EffectId, Millis};

use crate::{
    Effect, Effects, GithubFailure, Outcome, PowerFailure, Source, acceptance, by_hand,
    effect::JobAnswer,
    jobs, persist, power, reruns,
    rows::{Conclusion, Runner},
    runners,
    state::State,
};

/// Tries before an effect is given up: a day at the largest wait. By then
/// GitHub itself has removed an unused runner (its documentation on ephemeral
/// runners: after one day) and has ended a job that was never picked up.
const MAX_ATTEMPTS: u32 = 24 * 60;

/// A runner that had no id when it was deleted is deleted by name once more
/// after this: the request that registers it may have been under way. Longer
/// than the GitHub client waits for an answer.
pub(crate) const LINGER_MS: u64 = 120_000;

/// Settles one effect. An outcome of an effect that was withdrawn is only
/// looked at where it left something behind in the world.
pub(crate) fn settle(
    state: &mut State,
    now: Millis,
    id: EffectId,
    outcome: Outcome,
    fx: &mut Effects,
) {
    let Some(pending) = state.outbox.get(id) else {
        return;
    };
    let effect = pending.effect.clone();
    match (effect, outcome) {
        (_, Outcome::Stale) => {
            state.outbox.remove(id);
        }
        (Effect::PowerOn { boot, .. }, Outcome::PoweredOn(Ok(done))) => {
            state.outbox.remove(id);
            power::powered_on(state, now, boot, done, fx);
        }
        (Effect::PowerOn { boot, .. }, Outcome::PoweredOn(Err(failure))) => {
            // It may have been turned on all the same.
            if let Some(mut boot) = state.boots.get_mut(boot) {
                boot.replayed = true;
            }
            power_failed(state, now, id, failure, Some(boot), fx);
        }
        (Effect::PowerOff { .. }, Outcome::PoweredOff(Ok(()))) => {
            state.outbox.remove(id);
        }
        (Effect::PowerOnByHand { sled, .. }, Outcome::PoweredOn(Ok(_))) => {
            state.outbox.remove(id);
            state.checks.insert(sled, now);
        }
        // A person looks on, and asks again.
        (Effect::PowerOnByHand { sled, .. }, Outcome::PoweredOn(Err(failure))) => {
            state.outbox.remove(id);
            by_hand::failed(state, now, sled, &failure, fx);
        }
        (Effect::PowerOff { .. }, Outcome::PoweredOff(Err(failure))) => {
            power_failed(state, now, id, failure, None, fx);
        }
        (
            Effect::Mint {
                hub,
                scope,
                name,
                boot,
                ..
            },
            Outcome::Minted(result),
        ) => {
            state.outbox.remove(id);
            state.mint_due = true;
            let runner = Runner {
                name,
                id: None,
                hub,
                scope,
            };
            runners::minted(state, now, boot, runner, result, fx);
        }
        (
            Effect::DeleteRunner {
                boot,
                name,
                id: runner,
                ..
            },
            Outcome::Deleted(Ok(true)),
        ) => {
            deleted_once(state, now, id, runner.is_some());
            runners::deleted(state, now, boot, &name, fx);
        }
        (Effect::DeleteRunner { boot, name, .. }, Outcome::Deleted(Ok(false))) => {
            busy(state, now, id, boot, &name);
        }
        (Effect::LookUpJob { job, .. }, Outcome::LookedUp(Ok(answer))) => {
            state.outbox.remove(id);
            match answer {
                JobAnswer::Report(report) => {
                    jobs::report(state, now, job.hub, Source::Sweep, &report, fx);
                    jobs::ask_again(state, now, job);
                }
                JobAnswer::Gone => jobs::finish(state, now, job, Conclusion::Silent, fx),
            }
        }
        (Effect::RerunJob { boot, .. }, Outcome::Rerun(result)) => {
            match reruns::answered(state, boot, result, fx) {
                None => drop(state.outbox.remove(id)),
                Some(wait_ms) => retry(state, now, id, wait_ms),
            }
        }
        (Effect::DispatchWorkflow { boot, .. }, Outcome::Dispatched(result)) => {
            state.outbox.remove(id);
            acceptance::dispatched(state, now, boot, result, fx);
        }
        (Effect::SignReceipt { sequence, .. }, Outcome::Signed(signature)) => {
            state.outbox.remove(id);
            state
                .appended
                .push(persist::signature(sequence, &signature));
        }
        (Effect::DeleteRunner { .. }, Outcome::Deleted(Err(failure)))
        | (Effect::LookUpJob { .. }, Outcome::LookedUp(Err(failure))) => {
            github_failed(state, now, id, failure, fx);
        }
        // A driver that answers something else than it was asked is a defect
        // of ours; trying again is the safe reading of it.
        (_, _) => retry(state, now, id, 0),
    }
}

/// A runner is gone. When nobody knew its id it is looked for once more.
fn deleted_once(state: &mut State, now: Millis, id: EffectId, by_id: bool) {
    let surely = by_id || state.outbox.get(id).is_none_or(|pending| pending.again);
    if surely {
        state.outbox.remove(id);
    } else if let Some(mut pending) = state.outbox.get_mut(id) {
        pending.again = true;
        pending.attempts = 0;
        pending.due = now.after(LINGER_MS);
    }
}

fn retry(state: &mut State, now: Millis, id: EffectId, at_least_ms: u64) {
    let Some(mut pending) = state.outbox.get_mut(id) else {
        return;
    };
    pending.attempts = pending.attempts.saturating_add(1);
    let attempts = pending.attempts;
    drop(pending);
    let wait = state.limits.backoff(attempts).max(at_least_ms);
    if attempts >= MAX_ATTEMPTS {
        state.outbox.remove(id);
    } else if let Some(mut pending) = state.outbox.get_mut(id) {
        pending.due = now.after(wait);
    }
}

fn power_failed(
    state: &mut State,
    now: Millis,
    id: EffectId,
    failure: PowerFailure,
    boot: Option<messages::BootId>,
    fx: &mut Effects,
) {
    let sled = state
        .outbox
        .get(id)
        .and_then(|pending| pending.effect.sled());
    if let Some(id) = sled {
        power::distrust(state, now, id, &failure, fx);
        if let Some(mut sled) = state.sleds.get_mut(id) {
            sled.power_problem = Some(failure.message.clone());
        }
    }
    // What contradicts itself is withheld: nothing comes of trying again.
    if (failure.permanent || failure.contradiction)
        && let Some(boot) = boot
    {
        state.outbox.remove(id);
        let reason = format!("power on failed: {}", failure.message);
        crate::boots::fail(state, now, boot, reason, crate::boots::Off::Cut, fx);
    } else {
        retry(state, now, id, 0);
        power::keep_distance(state, id);
    }
}

/// The runner that should go has a job.
fn busy(state: &mut State, now: Millis, id: EffectId, boot_id: messages::BootId, name: &str) {
    let running = state
        .boots
        .get(boot_id)
        .filter(|boot| boot.stage == crate::rows::BootStage::Running && boot.has_runner(name));
    if let Some(boot) = running {
        // Good news for an idle-looking runner: it was given work after all.
        let unnamed = boot.for_job.filter(|_| boot.job.is_none());
        state.outbox.remove(id);
        if let Some(job) = unnamed {
            jobs::look_up(state, now, job, 0);
        }
    } else {
        // Its sled is off or going off; GitHub will notice in a while.
        retry(state, now, id, 0);
    }
}

fn github_failed(
    state: &mut State,
    now: Millis,
    id: EffectId,
    failure: GithubFailure,
    fx: &mut Effects,
) {
    let (wait, detail) = match failure {
        GithubFailure::Conflict => (0, String::from("conflict")),
        GithubFailure::RateLimited(ms) => (ms, format!("rate limited for {ms} ms")),
        GithubFailure::Unavailable(detail) | GithubFailure::Refused(detail) => (0, detail),
    };
    let what = state
        .outbox
        .get(id)
        .map_or("", |pending| pending.effect.name());
    state.audit(fx, "audit.github.failed", None, format!("{what}: {detail}"));
    retry(state, now, id, wait);
}
