//! After a restart: nothing is toggled, everything under way is picked up.

use alloc::{format, vec::Vec};

use messages::{BootId, Millis};

use crate::{
    Effect, Effects, acceptance, boots, deliveries, drift,
    index::outbox::Subject,
    outcomes::LINGER_MS,
    power,
    rows::{BootStage, Power},
    runners,
    state::State,
};

/// Settles what was under way when the appliance stopped.
///
/// Power effects stay in the outbox: they are commands to *be* on or off and
/// are carried out again only where that is not so. A minting may or may not
/// have happened: its name is deleted and a fresh one is minted. Every
/// deadline starts anew, because sleds went on while we were away.
pub(crate) fn started(state: &mut State, now: Millis, fx: &mut Effects) {
    state.started = now;
    state.began.clear();
    forget_future(state, now);
    linger_anew(state, now);
    deliveries::rebase(state, now);
    runners::void_mintings(state, now);
    acceptance::void_dispatches(state);
    let active: Vec<(BootId, BootStage)> = state
        .active_boots()
        .map(|(id, boot)| (id, boot.stage.clone()))
        .collect();
    for (id, stage) in active {
        let deadline = now.after(boots::stage_ms(state, now, id, &stage));
        let sled = state.boots.get(id).map(|boot| Subject::Sled(boot.sled));
        let turning_on = sled.is_some_and(|sled| {
            state.effects_about(sled).any(
                |(_, pending)| matches!(pending.effect, Effect::PowerOn { boot, .. } if boot == id),
            )
        });
        if let Some(mut boot) = state.boots.get_mut(id) {
            boot.deadline = deadline;
            // Its agent may have spoken before the command's answer came.
            boot.replayed |= turning_on;
        }
        match stage {
            BootStage::Ready => runners::void_runner(state, now, id),
            // Its config was in our memory only. An agent that has it already
            // waits for our word before it starts the runner.
            BootStage::Ordered => {
                runners::void_runner(state, now, id);
                state.audit(
                    fx,
                    "audit.runner.void",
                    Some(id),
                    "the appliance restarted".into(),
                );
            }
            BootStage::PoweringOn
            | BootStage::Netbooting
            | BootStage::Wiping
            | BootStage::Running
            | BootStage::Held
            | BootStage::PoweringOff { .. }
            | BootStage::Ended => {}
        }
    }
    let active = state.active_boots().count();
    state.audit(
        fx,
        "audit.appliance.started",
        None,
        format!("{active} boots under way"),
    );
    // A start of before may still be drawing its current.
    for circuit in state.circuits.keys() {
        state.last_start.insert(circuit, now);
    }
    let turning_on = state.effects_that(|pending| matches!(pending.effect, Effect::PowerOn { .. }));
    for effect in turning_on {
        power::keep_distance(state, effect);
    }
    let sleds: Vec<_> = state.sleds.keys().collect();
    for sled in sleds {
        let claimed = state
            .sleds
            .get(sled)
            .is_some_and(|row| matches!(row.power, Power::Claimed { .. }));
        if !claimed {
            drift::due(state, now, sled);
        }
    }
    state.due_pools.extend(state.pools.keys());
}

/// An appliance without a real-time clock may start earlier than it stopped.
/// Nothing may then wait for a time that is long to come.
fn forget_future(state: &mut State, now: Millis) {
    let latest = now.after(LONGEST_WAIT_MS);
    for id in state.effects_that(|pending| pending.due > latest) {
        if let Some(mut pending) = state.outbox.get_mut(id) {
            pending.due = now;
        }
    }
    let sleds: Vec<_> = state
        .sleds
        .iter()
        .filter(|(_, sled)| matches!(sled.power, Power::Off { since } if since > now))
        .map(|(id, _)| id)
        .collect();
    for id in sleds {
        if let Some(mut sled) = state.sleds.get_mut(id) {
            sled.power = Power::Off { since: now };
        }
    }
    let tries: Vec<_> = state
        .acceptances
        .iter()
        .filter(|(_, row)| row.not_before > latest)
        .map(|(id, _)| id)
        .collect();
    for id in tries {
        if let Some(mut row) = state.acceptances.get_mut(id) {
            row.not_before = now;
        }
    }
    let pools: Vec<_> = state
        .pools
        .iter()
        .filter(|(_, pool)| pool.blocked_until.is_some_and(|until| until > latest))
        .map(|(id, _)| id)
        .collect();
    for id in pools {
        if let Some(mut pool) = state.pools.get_mut(id) {
            pool.blocked_until = Some(now);
        }
    }
}

/// A registration that was under way may still come to GitHub, however the clock
/// stands now: what is deleted once more for its sake waits anew.
fn linger_anew(state: &mut State, now: Millis) {
    for id in state.effects_that(|pending| pending.again) {
        if let Some(mut pending) = state.outbox.get_mut(id) {
            pending.due = now.after(LINGER_MS);
        }
    }
}

/// No effect and no pool waits longer than this: GitHub's rate limits are
/// reset each hour.
const LONGEST_WAIT_MS: u64 = 60 * 60 * 1000;
