//! Power: commanded, sensed and unknown are three things.
//!
//! A sled is `Off` only when its driver read it as off. What was commanded
//! proves nothing. A reading of an older claim is worth nothing.

use alloc::{format, string::ToString, vec::Vec};

use messages::{BootId, EffectId, Generation, Millis, Outcome, SledId};

use crate::{
    Effect, Effects, PowerFailure, PowerReading,
    boots::{self, Off},
    by_hand,
    effect::PoweredOn,
    holds,
    index::outbox::Subject,
    rows::{BootStage, Power},
    schedule,
    state::State,
};

/// An agent that spoke this recently contradicts a reading of off. It speaks
/// every ten seconds, and words get lost, several in a row at times: cutting a
/// live job is worse than finding a dead sled some minutes later, and GitHub
/// itself takes longer to miss a runner.
const SILENCE_MS: u64 = 300_000;

/// An agent speaks at least every ten seconds while its sled is on. So a sled
/// that is to be off is off when it reads so and its agent was silent for longer:
/// two signals rather than one.
const QUIET_MS: u64 = 12_000;

/// Readings of off in a row that outweigh an agent: a BMC may lie once.
const READINGS: u32 = 3;

/// A sled may read as off for this long after its power-on was accepted.
const SETTLE_MS: u64 = 30_000;

/// Why a sled is not known to be off though it has no power.
const DARK: &str =
    "it has no power, but its relay is closed and it may start: power it off and it will be taken";

/// Asks for the readings that are due.
pub(crate) fn ask_due(state: &mut State, now: Millis, fx: &mut Effects) {
    let due: Vec<(SledId, Generation, u64)> = state
        .checks
        .due(now)
        .filter_map(|id| Some((id, state.sleds.get(id)?)))
        .map(|(id, sled)| (id, sled.generation, poll_ms(state, now, id, &sled.power)))
        .collect();
    for (sled, generation, wait) in due {
        state.checks.insert(sled, now.after(wait));
        fx.read_power.push((sled, generation));
    }
}

fn poll_ms(state: &State, now: Millis, id: SledId, power: &Power) -> u64 {
    let going_off = match power {
        Power::Claimed { boot } => state.boots.get(*boot).is_some_and(|boot| {
            // One that was given up on is asked in the ordinary rhythm.
            matches!(boot.stage, BootStage::PoweringOff { .. }) && boot.deadline.0 != u64::MAX
        }),
        Power::Off { .. } | Power::Unknown { .. } => by_hand::is_awaited(state, now, id),
    };
    if going_off {
        state.limits.off_poll_ms
    } else {
        state.limits.power_poll_ms
    }
}

/// Takes a reading.
pub(crate) fn read(
    state: &mut State,
    now: Millis,
    id: SledId,
    generation: Generation,
    result: Result<PowerReading, PowerFailure>,
    fx: &mut Effects,
) {
    let Some(sled) = state.sleds.get(id) else {
        return;
    };
    if sled.generation != generation {
        return;
    }
    let problem = result.as_ref().err().map(|failure| failure.message.clone());
    if sled.power_problem != problem
        && let Some(mut sled) = state.sleds.get_mut(id)
    {
        sled.power_problem.clone_from(&problem);
    }
    if let Err(failure) = &result {
        distrust(state, now, id, failure, fx);
    }
    let Some(sled) = state.sleds.get(id) else {
        return;
    };
    match (sled.power.clone(), result) {
        (Power::Claimed { boot }, Ok(PowerReading::Off)) => {
            read_off(state, now, boot, Off::Asked, fx);
        }
        (Power::Claimed { boot }, Ok(PowerReading::Dark)) => {
            read_off(state, now, boot, Off::Cut, fx);
        }
        (Power::Claimed { boot }, Ok(PowerReading::On)) => {
            state.read_off.remove(&boot);
        }
        (Power::Claimed { .. }, Ok(PowerReading::Unknown) | Err(_)) => {}
        (Power::Off { .. }, Ok(PowerReading::Off)) => {}
        (Power::Off { .. }, Ok(PowerReading::On)) => {
            let reason =
                "it is on, but Musher did not turn it on: power it off and it will be taken";
            forget_power(state, now, id, reason, fx);
        }
        (Power::Off { .. }, Ok(PowerReading::Dark)) => forget_power(state, now, id, DARK, fx),
        (Power::Off { .. }, Ok(PowerReading::Unknown)) => {
            forget_power(state, now, id, "its driver cannot tell its power", fx);
        }
        (Power::Off { .. }, Err(failure)) => forget_power(state, now, id, &failure.message, fx),
        (Power::Unknown { .. }, Ok(PowerReading::Off)) => {
            if let Some(mut sled) = state.sleds.get_mut(id) {
                sled.power = Power::Off { since: now };
            }
            by_hand::read_off(state, now, id);
        }
        (Power::Unknown { .. }, Ok(PowerReading::On)) => {
            let reason =
                "it is on, but Musher did not turn it on: power it off and it will be taken";
            restate_unknown(state, id, reason);
        }
        (Power::Unknown { .. }, Ok(PowerReading::Dark)) => restate_unknown(state, id, DARK),
        (Power::Unknown { .. }, Ok(PowerReading::Unknown)) => {
            restate_unknown(state, id, "its driver cannot tell its power");
        }
        (Power::Unknown { .. }, Err(failure)) => restate_unknown(state, id, &failure.message),
    }
}

fn restate_unknown(state: &mut State, id: SledId, why: &str) {
    let same = state
        .sleds
        .get(id)
        .is_some_and(|sled| matches!(&sled.power, Power::Unknown { reason, .. } if reason == why));
    if !same
        && let Some(mut sled) = state.sleds.get_mut(id)
        && let Power::Unknown { reason, .. } = &mut sled.power
    {
        *reason = why.to_string();
    }
}

fn forget_power(state: &mut State, now: Millis, id: SledId, why: &str, fx: &mut Effects) {
    let Some(mut sled) = state.sleds.get_mut(id) else {
        return;
    };
    sled.power = Power::Unknown {
        since: now,
        reason: why.to_string(),
    };
    drop(sled);
    state.audit_sled(fx, "audit.sled.power_unknown", id, why.to_string());
}

/// Withholds a sled whose power contradicts itself: off could not be proved.
pub(crate) fn distrust(
    state: &mut State,
    now: Millis,
    id: SledId,
    failure: &PowerFailure,
    fx: &mut Effects,
) {
    if failure.contradiction {
        let reason = format!(
            "its power contradicts itself: {}; look at its BMC or power line, then release it",
            failure.message
        );
        boots::quarantine(state, now, id, reason, fx);
    }
}

/// A claimed sled has no power. One that may start by itself ([`Off::Cut`]) is
/// not off before it was cut.
fn read_off(state: &mut State, now: Millis, id: BootId, off: Off, fx: &mut Effects) {
    let Some(boot) = state.boots.get(id) else {
        return;
    };
    let (sled, was_cut) = (boot.sled, boot.power_cut);
    match boot.stage {
        // While a command is under way the reading may be older than it.
        BootStage::PoweringOff { .. } if is_commanded(state, now, sled) => {}
        BootStage::PoweringOff { .. } => match quiet_at(state, now, id) {
            None if off == Off::Asked => boots::end(state, now, id, fx),
            // What was cut once is cut again at its deadline.
            None if !was_cut => cut(state, now, id, fx),
            None => {}
            Some(at) => state.checks.insert(sled, at),
        },
        BootStage::PoweringOn | BootStage::Ended => {}
        BootStage::Netbooting => {
            let settled = boot
                .times
                .power_on
                .is_none_or(|on| now.since(on) >= SETTLE_MS);
            if settled {
                boots::fail(state, now, id, "it went off while it booted", off, fx);
                end_uncommanded(state, now, id, off, fx);
            }
        }
        BootStage::Held => {
            // An agent of an older release does not wait.
            if is_gone(state, now, id) {
                holds::end(state, now, id, fx);
                end_uncommanded(state, now, id, off, fx);
            }
        }
        BootStage::Wiping | BootStage::Ready | BootStage::Ordered | BootStage::Running => {
            // A live agent outranks a BMC's word.
            if is_gone(state, now, id) {
                boots::fail(state, now, id, "it lost power", off, fx);
                end_uncommanded(state, now, id, off, fx);
            }
        }
    }
}

/// When the agent of a boot that goes off will have been silent for long enough
/// to count as gone; `None` when it is, or never spoke.
fn quiet_at(state: &mut State, now: Millis, id: BootId) -> Option<Millis> {
    state.boots.get(id)?.key?;
    // After a restart the silence is counted anew.
    let heard = *state.heard.entry(id).or_insert(now);
    let at = heard.after(QUIET_MS);
    (now < at).then_some(at)
}

/// Whether the agent of a boot whose sled reads as off is gone: it has been
/// silent for a while, and the reading was repeated.
fn is_gone(state: &mut State, now: Millis, id: BootId) -> bool {
    // After a restart the silence is counted anew.
    let heard = *state.heard.entry(id).or_insert(now);
    let readings = state.read_off.entry(id).or_insert(0);
    *readings = readings.saturating_add(1);
    if *readings >= READINGS && now.since(heard) >= SILENCE_MS {
        return true;
    }
    if let Some(sled) = state.boots.get(id).map(|boot| boot.sled) {
        let soon = now.after(SILENCE_MS / u64::from(READINGS));
        state.checks.insert(sled, soon);
    }
    false
}

/// Ends a boot whose sled read as off, unless it may start by itself, or a
/// command is under way that could still change that; then a later reading ends
/// it.
fn end_uncommanded(state: &mut State, now: Millis, id: BootId, off: Off, fx: &mut Effects) {
    let sled = state.boots.get(id).map(|boot| boot.sled);
    if off == Off::Asked && sled.is_some_and(|sled| !is_commanded(state, now, sled)) {
        boots::end(state, now, id, fx);
    }
}

/// Whether a power command for this sled is under way. A driver carries out
/// one sled's commands and readings in order, so a reading that arrives after
/// the outcome was taken after the command. One that failed and waits for its
/// next try is not under way.
fn is_commanded(state: &State, now: Millis, sled: SledId) -> bool {
    state
        .effects_about(Subject::Sled(sled))
        .any(|(_, pending)| pending.due <= now)
}

/// A power-on that is tried again keeps its distance from its circuit's other
/// starts, as a first try does.
pub(crate) fn keep_distance(state: &mut State, id: EffectId) {
    let Some(pending) = state.outbox.get(id) else {
        return;
    };
    let Effect::PowerOn { sled, .. } = pending.effect else {
        return;
    };
    let due = pending.due;
    let circuit = state.sleds.get(sled).and_then(|sled| sled.circuit);
    let of = circuit.and_then(|id| Some((id, state.circuits.get(id)?.stagger_ms)));
    let Some((circuit, stagger_ms)) = of.filter(|(_, stagger_ms)| *stagger_ms > 0) else {
        return;
    };
    let last = state.last_start.get(&circuit);
    let due = due.max(last.map_or(due, |last| last.after(stagger_ms)));
    state.last_start.insert(circuit, due);
    if let Some(mut pending) = state.outbox.get_mut(id) {
        pending.due = due;
    }
}

/// A power-on was carried out.
pub(crate) fn powered_on(
    state: &mut State,
    now: Millis,
    id: BootId,
    done: PoweredOn,
    fx: &mut Effects,
) {
    let Some(boot) = state.boots.get(id) else {
        return;
    };
    if matches!(boot.stage, BootStage::PoweringOff { .. } | BootStage::Ended) {
        return;
    }
    // An agent that spoke before the edge did not come from it.
    let spoke = boot
        .times
        .agent
        .filter(|spoke| done.edge && *spoke < done.at);
    let (sled, replayed) = (boot.sled, boot.replayed);
    if spoke.is_some() {
        let reason = "an agent redeemed its boot ticket before it was turned on: look for a second machine with this sled's address on the sled network, then release it";
        // After a try without an answer it may as well have lost its power.
        if !replayed {
            boots::quarantine(state, now, sled, reason.to_string(), fx);
        }
        boots::fail(state, now, id, reason, Off::Cut, fx);
        return;
    }
    let Some(boot) = state.boots.get(id) else {
        return;
    };
    // After a crash in mid-command a sled that is on was turned on by us.
    let ours = done.edge || boot.replayed;
    let Some(mut boot) = state.boots.get_mut(id) else {
        return;
    };
    boot.times.power_on = Some(done.at);
    boot.power_edge = done.edge;
    boot.override_confirmed = done.override_confirmed;
    let stage = boot.stage.clone();
    drop(boot);
    if !ours {
        let reason = "it was on already when Musher came to turn it on";
        boots::fail(state, now, id, reason, Off::Cut, fx);
        return;
    }
    state.audit(
        fx,
        "audit.sled.power_on",
        Some(id),
        format!(
            "edge {}, network boot confirmed {}",
            done.edge, done.override_confirmed
        ),
    );
    if stage == BootStage::PoweringOn {
        boots::enter(state, now, id, BootStage::Netbooting);
    }
    state
        .checks
        .insert(sled, now.after(state.limits.power_poll_ms));
    // A sled may be wiped already, and wait for this proof to be given a runner.
    state.mint_due = true;
}

/// Commands the power off. Reading it follows.
pub(crate) fn cut(state: &mut State, now: Millis, id: BootId, fx: &mut Effects) {
    let Some(boot) = state.boots.get(id) else {
        return;
    };
    let BootStage::PoweringOff { cuts } = boot.stage else {
        return;
    };
    let (sled, generation) = (boot.sled, boot.generation);
    boots::enter(state, now, id, BootStage::PoweringOff { cuts: cuts + 1 });
    schedule::release_job(state, id);
    if let Some(mut boot) = state.boots.get_mut(id) {
        boot.power_cut = true;
    }
    state.push_once(now, Effect::PowerOff { sled, generation });
    state
        .checks
        .insert(sled, now.after(state.limits.off_poll_ms));
    state.audit(
        fx,
        "audit.sled.power_off",
        Some(id),
        format!("cut {}", cuts + 1),
    );
}

/// The sled is still not off. Cuts again, up to a bound; after that the sled
/// is withheld, and its power goes on being asked for until it reads off.
pub(crate) fn cut_again(state: &mut State, now: Millis, id: BootId, cuts: u32, fx: &mut Effects) {
    if cuts < state.limits.cuts {
        cut(state, now, id, fx);
        return;
    }
    let Some(mut boot) = state.boots.get_mut(id) else {
        return;
    };
    boot.deadline = Millis(u64::MAX);
    let sled = boot.sled;
    let why = format!(
        "it did not read as off after {cuts} power-off commands: check its power line and BMC, turn it off by hand, then release it"
    );
    if matches!(boot.outcome, None | Some(Outcome::Ran)) {
        boot.outcome = Some(Outcome::Failed {
            reason: why.clone(),
        });
    }
    drop(boot);
    boots::quarantine(state, now, sled, why, fx);
}

/// A person released a sled whose power-off had been given up: it is tried
/// anew, and withheld anew when that fails too.
pub(crate) fn try_off_again(state: &mut State, now: Millis, id: SledId, fx: &mut Effects) {
    let given_up = state
        .active_boots()
        .find(|(_, boot)| boot.sled == id && boot.is_given_up());
    if let Some((boot, _)) = given_up {
        boots::enter(state, now, boot, BootStage::PoweringOff { cuts: 0 });
        cut(state, now, boot, fx);
    }
}
