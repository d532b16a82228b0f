//! Runners at GitHub that nobody needs: what a crash, a restored backup or an
//! answer that never came left behind.
//!
//! A runner of ours names its boot. One whose boot is over is deleted: its sled
//! was proved off. One that its boot does not know is deleted once it is offline:
//! nothing may be cut off by this.

use alloc::{format, string::String, vec::Vec};

use messages::{ApplianceId, BootId, HubId, Millis, RunnerId};

use crate::{
    Audit, Effect, Effects,
    index::outbox::Subject,
    rows::{BootStage, Runner, Scope},
    runners,
    state::State,
};

/// A runner as GitHub lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRunner {
    /// GitHub's id.
    pub id: RunnerId,
    /// Its name.
    pub name: String,
    /// It is connected.
    pub online: bool,
    /// It has a job, as far as GitHub tells.
    pub busy: bool,
}

/// What the names of this appliance's runners begin with.
#[must_use]
pub fn runner_prefix(appliance: ApplianceId) -> String {
    format!("musher-{appliance}-")
}

/// The boot that a runner of this appliance was minted for.
pub(crate) fn boot_of(appliance: ApplianceId, name: &str) -> Option<BootId> {
    let rest = name.strip_prefix(runner_prefix(appliance).as_str())?;
    let mut parts = rest.rsplitn(3, '-').skip(1);
    let boot = parts.next()?.parse().ok().map(BootId);
    boot.filter(|_| parts.next().is_some())
}

/// Takes a listing of the runners of one scope. It may be a little old: what is
/// deleted because of it is deleted by id, and nothing registers under an old name.
pub(crate) fn listed(
    state: &mut State,
    now: Millis,
    hub: HubId,
    scope: &Scope,
    listed: Vec<ListedRunner>,
    fx: &mut Effects,
) {
    for runner in listed {
        let Some(boot) = boot_of(state.appliance, &runner.name) else {
            continue;
        };
        if !is_orphan(state, boot, &runner) {
            continue;
        }
        fx.audit.push(Audit {
            name: "audit.runner.orphan",
            sled: None,
            boot: Some(boot),
            job: None,
            detail: format!("runner {} ({}) is deleted", runner.id, runner.name),
        });
        let runner = Runner {
            name: runner.name,
            id: Some(runner.id),
            hub,
            scope: scope.clone(),
        };
        runners::push_delete(state, now, boot, runner);
    }
}

fn is_orphan(state: &State, id: BootId, listed: &ListedRunner) -> bool {
    // An effect that is under way, or comes again, settles it.
    let is_settled = state.effects_about(Subject::Boot(id)).any(|(_, pending)| {
        matches!(
            &pending.effect,
            Effect::Mint { name, .. } | Effect::DeleteRunner { name, .. } if *name == listed.name
        )
    });
    if is_settled {
        return false;
    }
    let idle = !listed.online && !listed.busy;
    match state.boots.get(id) {
        Some(boot) => boot.stage == BootStage::Ended || (idle && !boot.has_runner(&listed.name)),
        // Forgotten, hence over; or of a time that this state does not know.
        None => id < state.meta().next_boot || idle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_boot() {
        let appliance = ApplianceId([0xab; 4]);
        let check = |name: &str, boot: Option<u64>| {
            assert_eq!(boot_of(appliance, name), boot.map(BootId), "{name}");
        };
        check("musher-abababab-sled-01-17-2", Some(17));
        check("musher-abababab-a-1-1", Some(1));
        check("musher-abababab-17-2", None);
        check("musher-abababab-sled-x-2", None);
        check("musher-cdcdcdcd-sled-01-17-2", None);
        check("build-box", None);
    }
}
