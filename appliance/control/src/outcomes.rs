//! How effects went.

use alloc::{format, string::String};

use messages::{EffectId, Millis};

use crate::{
    Effect, Effects, GithubFailure, Outcome, PowerFailure, Source, effect::JobAnswer, jobs,
    persist, power, rows::Conclusion, runners, state::State,
};

/// Tries before an effect that nothing waits for is given up.
const MAX_ATTEMPTS: u32 = 60;

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
            power_failed(state, now, id, failure, Some(boot), fx);
        }
        (Effect::PowerOff { .. }, Outcome::PoweredOff(Ok(()))) => {
            state.outbox.remove(id);
        }
        (Effect::PowerOff { .. }, Outcome::PoweredOff(Err(failure))) => {
            power_failed(state, now, id, failure, None, fx);
        }
        (Effect::Mint { name, boot, .. }, Outcome::Minted(result)) => {
            state.outbox.remove(id);
            runners::minted(state, now, boot, &name, result, fx);
        }
        (Effect::DeleteRunner { boot, .. }, Outcome::Deleted(Ok(true))) => {
            state.outbox.remove(id);
            runners::deleted(state, now, boot, fx);
        }
        (Effect::DeleteRunner { boot, .. }, Outcome::Deleted(Ok(false))) => {
            busy(state, now, id, boot);
        }
        (Effect::LookUpJob { job, .. }, Outcome::LookedUp(Ok(answer))) => {
            state.outbox.remove(id);
            match answer {
                JobAnswer::Report(report) => {
                    jobs::report(state, now, job.hub, Source::Sweep, &report, fx);
                }
                JobAnswer::Gone => jobs::finish(state, now, job, Conclusion::Silent, fx),
            }
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

fn retry(state: &mut State, now: Millis, id: EffectId, at_least_ms: u64) {
    let Some(pending) = state.outbox.get_mut(id) else {
        return;
    };
    pending.attempts = pending.attempts.saturating_add(1);
    let attempts = pending.attempts;
    let wait = state.limits.backoff(attempts).max(at_least_ms);
    if attempts >= MAX_ATTEMPTS {
        state.outbox.remove(id);
    } else if let Some(pending) = state.outbox.get_mut(id) {
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
    if let Some(sled) = sled.and_then(|sled| state.sleds.get_mut(sled)) {
        sled.power_problem = Some(failure.message.clone());
    }
    if failure.permanent
        && let Some(boot) = boot
    {
        state.outbox.remove(id);
        let reason = format!("power on failed: {}", failure.message);
        crate::boots::fail(state, now, boot, reason, crate::boots::Off::Cut, fx);
    } else {
        retry(state, now, id, 0);
    }
}

/// The runner that should go has a job.
fn busy(state: &mut State, now: Millis, id: EffectId, boot: messages::BootId) {
    let running = state
        .boots
        .get(boot)
        .is_some_and(|boot| boot.stage == crate::rows::BootStage::Running);
    if running {
        // Good news for an idle-looking runner: it was given work after all.
        state.outbox.remove(id);
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
