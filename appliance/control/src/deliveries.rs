//! Deliveries: each GUID counts once, whatever way it came.

use alloc::vec::Vec;

use messages::{DeliveryKey, HubId, Millis};

use crate::{DeliveryResult, Effects, Hook, Source, acceptance, jobs, state::State};

/// Takes one delivery. Remembering its id and applying it are one commit.
pub(crate) fn deliver(
    state: &mut State,
    now: Millis,
    key: DeliveryKey,
    hub: HubId,
    source: Source,
    hook: Hook,
    fx: &mut Effects,
) -> DeliveryResult {
    if state.deliveries.index().contains(key) {
        return DeliveryResult::Duplicate;
    }
    let result = match hook {
        Hook::Ping => DeliveryResult::Pong,
        Hook::Other => DeliveryResult::Ignored,
        Hook::Run(report) => acceptance::run_reported(state, now, hub, &report),
        Hook::Job(report) => jobs::report(state, now, hub, source, &report, fx),
    };
    // What is not ours need not be remembered: it will be ignored again, and
    // other people's traffic costs no disk. What was refused must not be.
    if matches!(result, DeliveryResult::Queued | DeliveryResult::Updated) {
        state.deliveries.insert((now, key), ());
    }
    result
}

/// The clock may have jumped while the appliance was off, or may have been
/// wrong when it ran last: ids from a time that cannot be told count as new.
pub(crate) fn rebase(state: &mut State, now: Millis) {
    let keep_from = Millis(now.0.saturating_sub(state.limits.delivery_memory_ms));
    let strange: Vec<_> = state
        .deliveries
        .keys()
        .filter(|(at, _)| *at < keep_from || *at > now)
        .collect();
    for entry in strange {
        state.deliveries.remove(entry);
        state.deliveries.insert((now, entry.1), ());
    }
}

/// Forgets ids that GitHub itself has forgotten, and the oldest beyond the bound.
pub(crate) fn forget_old(state: &mut State, now: Millis) {
    let keep_from = Millis(now.0.saturating_sub(state.limits.delivery_memory_ms));
    let surplus = state
        .deliveries
        .len()
        .saturating_sub(state.limits.deliveries);
    let old: Vec<_> = state
        .deliveries
        .keys()
        .enumerate()
        .take_while(|(index, (at, _))| *index < surplus || *at < keep_from)
        .map(|(_, entry)| entry)
        .collect();
    for entry in old {
        state.deliveries.remove(entry);
    }
}
