//! What people may do to sleds and pools while they run.

use alloc::{
    format,
    string::{String, ToString},
};

use messages::{BootId, Millis, PoolId, SledId};
use serde::{Deserialize, Serialize};

use crate::{
    Audit, Duty, Effects, InventoryError, PowerAction, acceptance, boots, by_hand, drift, holds,
    power, retention,
    rows::{BootStage, Power, Withheld},
    state::State,
};

/// A person's command. Sleds and pools are named as in the inventory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "lever", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Lever {
    /// Withholds a sled; its boot goes on to its end.
    Quarantine {
        /// The sled.
        sled: String,
        /// Why.
        reason: String,
    },
    /// Puts a quarantined sled back into service.
    Release {
        /// The sled.
        sled: String,
    },
    /// Lets a sled end the job it runs, and gives it no other.
    Drain {
        /// The sled.
        sled: String,
    },
    /// Drains a sled that people are about to work on.
    Maintain {
        /// The sled.
        sled: String,
        /// What for.
        reason: String,
    },
    /// Puts a drained or maintained sled back into service.
    Resume {
        /// The sled.
        sled: String,
    },
    /// Ends the boot of a sled that runs no job; its job is served elsewhere.
    CancelClaim {
        /// The sled.
        sled: String,
    },
    /// Takes whatever a sled's controller is set to now as what it should be,
    /// and puts the sled back into service if it was withheld.
    Readopt {
        /// The sled.
        sled: String,
    },
    /// Turns a sled on or off by hand.
    Power {
        /// The sled.
        sled: String,
        /// What to do.
        action: PowerAction,
        /// Off even where its runner may have a job.
        #[serde(default)]
        force: bool,
    },
    /// If a job of the sled fails within this time, the sled stays on until then
    /// for people to look at.
    Hold {
        /// The sled.
        sled: String,
        /// From now on, in seconds.
        seconds: u64,
    },
    /// Lifts a hold; a sled that is held powers off.
    Unhold {
        /// The sled.
        sled: String,
    },
    /// Judges by hand what a sled owes before it is in service.
    Accept {
        /// The sled, or the nonce of its present try.
        acceptance: String,
        /// Into service, or withheld.
        passed: bool,
    },
    /// Lets a pool start nothing; what runs goes on.
    PausePool {
        /// The pool.
        pool: String,
        /// Why.
        reason: String,
    },
    /// A person has a copy of every receipt up to this one.
    ReceiptsExported {
        /// Its number.
        through: u64,
    },
    /// Lets a paused pool go on.
    ResumePool {
        /// The pool.
        pool: String,
    },
}

/// Longest reason that is kept, in characters.
const MAX_REASON: usize = 300;

fn plain(reason: &str) -> String {
    let text = reason.chars().filter(|c| !c.is_control());
    text.take(MAX_REASON).collect()
}

/// Pulls a lever.
///
/// # Errors
/// When what it names is not there, or cannot be done now. Nothing was changed.
pub(crate) fn pull(
    state: &mut State,
    now: Millis,
    lever: &Lever,
    fx: &mut Effects,
) -> Result<(), InventoryError> {
    match lever {
        Lever::Quarantine { sled, reason } => {
            let id = find_sled(state, sled)?;
            boots::quarantine(state, now, id, plain(reason), fx);
        }
        Lever::Release { sled } => {
            let id = find_sled(state, sled)?;
            release(state, now, id, sled, fx);
        }
        Lever::Drain { sled } => {
            let id = find_sled(state, sled)?;
            drain(state, now, id, Duty::Drained { since: now }, fx);
        }
        Lever::Maintain { sled, reason } => {
            let id = find_sled(state, sled)?;
            let reason = plain(reason);
            drain(state, now, id, Duty::Maintenance { since: now, reason }, fx);
        }
        Lever::Resume { sled } => {
            let id = find_sled(state, sled)?;
            let was = state.sleds.get(id).map(|sled| sled.duty.clone());
            set_duty(state, id, Duty::InService, fx);
            state.checks.insert(id, now);
            // People worked on it.
            if matches!(was, Some(Duty::Maintenance { .. })) {
                acceptance::owe(state, now, id, fx);
            }
        }
        Lever::CancelClaim { sled } => cancel_claim(state, now, sled, fx)?,
        Lever::Readopt { sled } => {
            let id = find_sled(state, sled)?;
            drift::readopt(state, now, id, fx);
            release(state, now, id, sled, fx);
        }
        Lever::Power {
            sled,
            action,
            force,
        } => {
            let id = find_sled(state, sled)?;
            by_hand::act(state, now, id, *action, *force, fx)?;
        }
        Lever::Hold { sled, seconds } => {
            let id = find_sled(state, sled)?;
            let ms = seconds.saturating_mul(1000).min(holds::LONGEST_MS);
            holds::ask_for(state, now, id, Some(now.after(ms)), fx);
            let detail = format!("for {} s", ms / 1000);
            audit(fx, "audit.sled.hold", Some(sled), detail);
        }
        Lever::Unhold { sled } => {
            let id = find_sled(state, sled)?;
            holds::ask_for(state, now, id, None, fx);
            audit(fx, "audit.sled.unhold", Some(sled), String::new());
        }
        Lever::Accept { acceptance, passed } => {
            acceptance::accept(state, now, acceptance, *passed, fx)?;
        }
        Lever::PausePool { pool, reason } => {
            let reason = plain(reason);
            let paused = Withheld { since: now, reason };
            pause(state, pool, Some(paused), fx)?;
        }
        Lever::ReceiptsExported { through } => {
            retention::exported(state, *through);
            let detail = format!("up to {through}");
            audit(fx, "audit.receipts.exported", None, detail);
        }
        Lever::ResumePool { pool } => pause(state, pool, None, fx)?,
    }
    Ok(())
}

fn find_sled(state: &State, name: &str) -> Result<SledId, InventoryError> {
    state
        .sled_by_name(name)
        .ok_or_else(|| InventoryError::NoSuchSled(name.into()))
}

fn audit(fx: &mut Effects, name: &'static str, sled: Option<&str>, detail: String) {
    fx.audit.push(Audit {
        name,
        sled: sled.map(ToString::to_string),
        boot: None,
        job: None,
        detail,
    });
}

fn release(state: &mut State, now: Millis, id: SledId, name: &str, fx: &mut Effects) {
    if let Some(mut sled) = state.sleds.get_mut(id) {
        let was = sled.quarantine.take();
        sled.failures = 0;
        let detail = was.map_or_else(String::new, |was| was.reason);
        audit(fx, "audit.sled.release", Some(name), detail);
    }
    power::try_off_again(state, now, id, fx);
    // What it was withheld for may not be put right.
    drift::ask(state, now, id, fx);
    acceptance::owe(state, now, id, fx);
    state.checks.insert(id, now);
}

fn set_duty(state: &mut State, id: SledId, duty: Duty, fx: &mut Effects) {
    let Some(mut sled) = state.sleds.get_mut(id) else {
        return;
    };
    let (name, detail) = match &duty {
        Duty::InService => ("audit.sled.resume", String::new()),
        Duty::Drained { .. } => ("audit.sled.drain", String::new()),
        Duty::Maintenance { reason, .. } => ("audit.sled.maintain", reason.clone()),
    };
    sled.duty = duty;
    audit(fx, name, Some(&sled.name), detail);
}

fn drain(state: &mut State, now: Millis, id: SledId, duty: Duty, fx: &mut Effects) {
    set_duty(state, id, duty, fx);
    if let Some(boot) = unstarted(state, id) {
        boots::call_off(state, now, boot, "its sled is drained", fx);
    }
}

/// The boot of a sled, unless GitHub may have given it a job already.
fn unstarted(state: &State, id: SledId) -> Option<BootId> {
    let Power::Claimed { boot: id } = state.sleds.get(id)?.power else {
        return None;
    };
    let boot = state.boots.get(id)?;
    (boot.is_on_its_way() && boot.stage != BootStage::Running).then_some(id)
}

fn cancel_claim(
    state: &mut State,
    now: Millis,
    name: &str,
    fx: &mut Effects,
) -> Result<(), InventoryError> {
    let id = find_sled(state, name)?;
    if let Some(boot) = unstarted(state, id) {
        boots::call_off(state, now, boot, "cancelled by hand", fx);
        return Ok(());
    }
    let claimed = state.sleds.get(id).and_then(|sled| match sled.power {
        Power::Claimed { boot } => Some(boot),
        Power::Off { .. } | Power::Unknown { .. } => None,
    });
    let boot = claimed.and_then(|boot| state.boots.get(boot));
    match boot.filter(|boot| boot.is_under_way()) {
        Some(_) => Err(InventoryError::Runs(name.into())),
        None => Err(InventoryError::NoClaim(name.into())),
    }
}

fn pause(
    state: &mut State,
    name: &str,
    paused: Option<Withheld>,
    fx: &mut Effects,
) -> Result<(), InventoryError> {
    let id: PoolId = state
        .pool_by_name(name)
        .ok_or_else(|| InventoryError::UnknownPool(name.into()))?;
    let (action, detail) = match &paused {
        Some(pause) => ("audit.pool.pause", format!("pool {name}: {}", pause.reason)),
        None => ("audit.pool.resume", format!("pool {name}")),
    };
    if let Some(mut pool) = state.pools.get_mut(id) {
        pool.paused = paused;
    }
    state.due_pools.insert(id);
    audit(fx, action, None, detail);
    Ok(())
}
