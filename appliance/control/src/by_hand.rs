//! Power by hand: what a person may turn on and off.
//!
//! Turning on is for sleds that are out of service: nothing is due for them, so
//! they are given nothing to boot. Turning off also ends a boot, but never one
//! that may have a job, unless the person insists.

use alloc::{
    format,
    string::{String, ToString},
};

use messages::{BootId, Millis, Outcome, SledId};
use serde::{Deserialize, Serialize};

use crate::{
    Audit, Effect, Effects, InventoryError, PowerFailure,
    boots::{self, Off},
    holds,
    index::outbox::Subject,
    power,
    rows::{BootStage, Power},
    state::State,
};

/// What a person does to a sled's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PowerAction {
    /// Turns it on.
    On,
    /// Turns it off, without asking its operating system.
    Off,
    /// Turns it off, waits until that is proved, and turns it on again. An
    /// appliance that restarts in between leaves it off.
    Cycle,
}

impl PowerAction {
    /// The word on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Cycle => "cycle",
        }
    }
}

/// A sled that was turned off by hand is expected to read as off within this.
const PATIENCE_MS: u64 = 5 * 60_000;

const TURNED_ON: &str = "it was turned on by hand: power it off and it will be taken";

/// A sled that a person turned off, until it reads as off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Awaited {
    /// Turn it on again then.
    turn_on: bool,
    /// Not waited for any longer than this.
    until: Millis,
}

/// Does what a person wants with a sled's power; `force` also where its runner
/// may have a job.
///
/// # Errors
/// When the sled is not free for that. Nothing was changed.
pub(crate) fn act(
    state: &mut State,
    now: Millis,
    id: SledId,
    action: PowerAction,
    force: bool,
    fx: &mut Effects,
) -> Result<(), InventoryError> {
    let Some(sled) = state.sleds.get(id) else {
        return Ok(());
    };
    let name = sled.name.to_string();
    let claimed = match sled.power {
        Power::Claimed { boot } => Some(boot),
        Power::Off { .. } | Power::Unknown { .. } => None,
    };
    match action {
        PowerAction::On if claimed.is_some() => return Err(InventoryError::HasBoot(name)),
        PowerAction::On | PowerAction::Cycle if sled.is_in_service() => {
            return Err(InventoryError::InService(name));
        }
        PowerAction::On => turn_on(state, id, now),
        PowerAction::Off | PowerAction::Cycle => {
            match claimed {
                Some(boot) => end(state, now, boot, &name, force, fx)?,
                None => turn_off(state, now, id),
            }
            let awaited = Awaited {
                turn_on: action == PowerAction::Cycle,
                until: now.after(PATIENCE_MS),
            };
            state.by_hand.insert(id, awaited);
        }
    }
    fx.audit.push(Audit {
        name: "audit.sled.power_by_hand",
        sled: Some(name),
        boot: claimed,
        job: None,
        detail: action.as_str().to_string(),
    });
    Ok(())
}

fn turn_on(state: &mut State, id: SledId, due: Millis) {
    let Some(mut sled) = state.sleds.get_mut(id) else {
        return;
    };
    sled.power = Power::Unknown {
        since: due,
        reason: TURNED_ON.into(),
    };
    let generation = sled.generation;
    drop(sled);
    state.by_hand.remove(&id);
    // What failed and would be tried again is not wanted any more.
    withdraw(state, id, |effect| {
        matches!(effect, Effect::PowerOff { .. })
    });
    let sled = id;
    state.push_once(due, Effect::PowerOnByHand { sled, generation });
}

fn turn_off(state: &mut State, now: Millis, id: SledId) {
    let Some(mut sled) = state.sleds.get_mut(id) else {
        return;
    };
    sled.power = Power::Unknown {
        since: now,
        reason: "it is turned off by hand, and did not read as off yet".into(),
    };
    let generation = sled.generation;
    drop(sled);
    withdraw(state, id, |effect| {
        matches!(effect, Effect::PowerOnByHand { .. })
    });
    let sled = id;
    state.push_once(now, Effect::PowerOff { sled, generation });
    state.checks.insert(id, now.after(state.limits.off_poll_ms));
}

fn withdraw(state: &mut State, id: SledId, unwanted: impl Fn(&Effect) -> bool) {
    state.withdraw_effects(Subject::Sled(id), unwanted);
}

/// Ends the boot that owns the sled.
fn end(
    state: &mut State,
    now: Millis,
    id: BootId,
    name: &str,
    force: bool,
    fx: &mut Effects,
) -> Result<(), InventoryError> {
    let Some(boot) = state.boots.get(id) else {
        return Ok(());
    };
    let reason = String::from("powered off by hand");
    let outcome = match boot.stage {
        BootStage::PoweringOff { .. } | BootStage::Ended => None,
        BootStage::Held => {
            holds::end(state, now, id, fx);
            None
        }
        BootStage::Running if !force => return Err(InventoryError::Runs(name.into())),
        BootStage::Running => Some(Outcome::Failed { reason }),
        BootStage::PoweringOn
        | BootStage::Netbooting
        | BootStage::Wiping
        | BootStage::Ready
        | BootStage::Ordered => Some(Outcome::Unused { reason }),
    };
    match outcome {
        Some(outcome) => boots::begin_power_off(state, now, id, outcome, Off::Cut, fx),
        None => power::cut(state, now, id, fx),
    }
    Ok(())
}

/// An unclaimed sled that a person turned off reads as off.
pub(crate) fn read_off(state: &mut State, now: Millis, id: SledId) {
    let Some(awaited) = state.by_hand.remove(&id) else {
        return;
    };
    withdraw(state, id, |effect| {
        matches!(effect, Effect::PowerOff { .. })
    });
    if awaited.turn_on {
        turn_on(state, id, now.after(state.limits.off_dwell_ms));
    }
}

/// Whether a sled is read often, because a person turned it off a moment ago.
pub(crate) fn is_awaited(state: &State, now: Millis, id: SledId) -> bool {
    let awaited = state.by_hand.get(&id);
    awaited.is_some_and(|awaited| now < awaited.until)
}

/// It could not be turned on.
pub(crate) fn failed(
    state: &mut State,
    now: Millis,
    id: SledId,
    failure: &PowerFailure,
    fx: &mut Effects,
) {
    power::distrust(state, now, id, failure, fx);
    let Some(mut sled) = state.sleds.get_mut(id) else {
        return;
    };
    sled.power_problem = Some(failure.message.clone());
    drop(sled);
    state.checks.insert(id, now);
    let detail = format!("on failed: {}", failure.message);
    state.audit_sled(fx, "audit.sled.power_by_hand", id, detail);
}
