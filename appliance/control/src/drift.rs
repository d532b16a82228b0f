//! What a job with root changed on its sled's controller, found between boots.
//!
//! The first settings that are read are adopted. From then on a sled gets no
//! boot before they were read again after the one before, and a difference
//! withholds it until a person adopts it or puts it right.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use messages::{Generation, Millis, SledId};

use crate::{
    BmcFacts, Drift, Effects, PowerFailure, boots, placement::Hindrance, rows::Power, state::State,
};

/// Settings are read at least this often while nothing runs, in milliseconds.
const EVERY_MS: u64 = 60 * 60_000;

/// One that could not be read is asked again after this, in milliseconds.
const AGAIN_MS: u64 = 15_000;

/// Differences that are told.
const TOLD: usize = 5;

/// Asks for the settings that are due. While a boot has the sled they may be in
/// the hands of its job, so they are read when it has ended.
pub(crate) fn ask_due(state: &mut State, now: Millis, fx: &mut Effects) {
    let due: Vec<SledId> = state.facts_due.due(now).collect();
    for id in due {
        let claimed = state
            .sleds
            .get(id)
            .is_none_or(|sled| matches!(sled.power, Power::Claimed { .. }));
        if claimed {
            state.facts_due.remove(&id);
        } else {
            ask(state, now, id, fx);
        }
    }
}

/// The settings of a sled are to be asked for as soon as its driver is there.
pub(crate) fn due(state: &mut State, now: Millis, id: SledId) {
    state.unread.insert(id);
    state.facts_due.insert(id, now);
}

/// Asks for the settings of a sled now.
pub(crate) fn ask(state: &mut State, now: Millis, id: SledId, fx: &mut Effects) {
    let Some(generation) = state.sleds.get(id).map(|sled| sled.generation) else {
        return;
    };
    state.unread.insert(id);
    state.facts_due.insert(id, now.after(AGAIN_MS));
    fx.read_facts.push((id, generation));
}

/// Takes settings; `None` where there is no controller that could tell.
pub(crate) fn read(
    state: &mut State,
    now: Millis,
    id: SledId,
    generation: Generation,
    result: Result<Option<BmcFacts>, PowerFailure>,
    fx: &mut Effects,
) {
    let Some(sled) = state.sleds.get(id) else {
        return;
    };
    // What was asked for before the last boot says nothing about what it left.
    if sled.generation != generation {
        return;
    }
    let pools = sled.pools.clone();
    match result {
        Err(failure) => {
            // It is asked again; a sled whose settings are known waits for that.
            if state.unread.contains(&id)
                && let Some(mut sled) = state.sleds.get_mut(id)
            {
                sled.power_problem = Some(failure.message);
            }
            return;
        }
        Ok(None) => {}
        Ok(Some(facts)) => compare(state, now, id, facts, fx),
    }
    state.unread.remove(&id);
    state.facts_due.insert(id, now.after(EVERY_MS));
    state.due_pools.extend(pools.iter());
}

fn compare(state: &mut State, now: Millis, id: SledId, facts: BmcFacts, fx: &mut Effects) {
    let Some(adopted) = state.facts.get(id) else {
        let count = facts.iter().count();
        state.facts.insert(id, facts);
        let detail = format!("{count} settings");
        state.audit_sled(fx, "audit.sled.bmc_adopted", id, detail);
        return;
    };
    let drift = adopted.drift(&facts);
    if drift.is_empty() {
        return;
    }
    let told: Vec<String> = drift.iter().take(TOLD).map(Drift::to_string).collect();
    let more = match drift.len() - told.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let reason = format!(
        "its BMC's settings changed between boots ({}{more}): put them right and release it, or take them with `musher sled readopt`",
        told.join("; ")
    );
    boots::quarantine(state, now, id, reason, fx);
}

/// What is read next is adopted, whatever it is.
pub(crate) fn readopt(state: &mut State, now: Millis, id: SledId, fx: &mut Effects) {
    state.facts.remove(id);
    state.audit_sled(fx, "audit.sled.readopt", id, String::new());
    ask(state, now, id, fx);
}

/// Why a sled whose settings are known is not started now.
pub(crate) fn hindrance(state: &State, id: SledId) -> Option<Hindrance> {
    let unread = state.unread.contains(&id) && state.facts.get(id).is_some();
    unread.then_some(Hindrance::Unread)
}
