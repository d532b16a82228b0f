//! After a restart: nothing is toggled, everything under way is picked up.

use alloc::{format, vec::Vec};

use messages::{BootId, Millis};

use crate::{Effect, Effects, boots, rows::BootStage, runners, state::State};

/// Settles what was under way when the appliance stopped.
///
/// Power effects stay in the outbox: they are commands to *be* on or off and
/// are carried out again only where that is not so. A minting may or may not
/// have happened: its name is deleted and a fresh one is minted. Every
/// deadline starts anew, because sleds went on while we were away.
pub(crate) fn started(state: &mut State, now: Millis, fx: &mut Effects) {
    let active: Vec<(BootId, BootStage)> = state
        .active_boots()
        .map(|(id, boot)| (id, boot.stage.clone()))
        .collect();
    for (id, stage) in active {
        let deadline = now.after(boots::stage_ms(state, id, &stage));
        if let Some(boot) = state.boots.get_mut(id) {
            boot.deadline = deadline;
        }
        match stage {
            BootStage::PoweringOn => {
                let begun = state.outbox.iter().any(|(_, pending)| {
                    matches!(pending.effect, Effect::PowerOn { boot, .. } if boot == id)
                });
                if begun && let Some(boot) = state.boots.get_mut(id) {
                    boot.replayed = true;
                }
            }
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
            BootStage::Netbooting
            | BootStage::Wiping
            | BootStage::Running
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
    state.schedule_due = true;
}
