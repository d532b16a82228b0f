//! The one entrance.

use alloc::vec::Vec;

use messages::{BootId, Millis, SledId};

use crate::{
    Effects, Event, agents, boots, deliveries, effect::Reply, inventory, netboot, outcomes, power,
    restart, rows::Withheld, schedule, state::State,
};

/// Takes one event at time `now`. `now` never runs backwards between calls on
/// one loaded state: the caller derives it from a monotonic clock.
pub fn step(state: &mut State, now: Millis, event: Event, fx: &mut Effects) {
    match event {
        Event::Started => restart::started(state, now, fx),
        Event::Tick => tick(state, now, fx),
        Event::Inventory(inventory) => inventory::apply(state, now, &inventory, fx),
        Event::Delivery {
            key,
            hub,
            source,
            hook,
        } => {
            let result = deliveries::deliver(state, now, key, hub, source, hook, fx);
            fx.reply = Reply::Delivery(result);
        }
        Event::Outcome { id, outcome } => outcomes::settle(state, now, id, outcome, fx),
        Event::PowerRead {
            sled,
            generation,
            result,
        } => {
            power::read(state, now, sled, generation, result, fx);
        }
        Event::Boot(question) => {
            fx.reply = Reply::Boot(netboot::answer(state, now, question, fx));
        }
        Event::Agent {
            ticket,
            key,
            message,
        } => {
            fx.reply = Reply::Agent(agents::hear(state, now, ticket, key, message, fx));
        }
        Event::OrderLost { boot } => crate::runners::order_lost(state, now, boot, fx),
        Event::Release { sled } => fx.reply = Reply::Done(release(state, now, &sled, fx)),
        Event::Quarantine { sled, reason } => {
            let known = state.sled_by_name(&sled);
            let result = known.ok_or(crate::InventoryError::NoSuchSled(sled));
            let result = result.map(|id| boots::quarantine(state, now, id, reason, fx));
            fx.reply = Reply::Done(result);
        }
    }
    schedule::run(state, now, fx);
}

fn tick(state: &mut State, now: Millis, fx: &mut Effects) {
    power::ask_due(state, now, fx);
    let deadlines = &state.boots.index().deadlines;
    let missed: Vec<BootId> = deadlines
        .range(..=(now, BootId(u64::MAX)))
        .map(|(_, id)| *id)
        .collect();
    for id in missed {
        boots::deadline_missed(state, now, id, fx);
    }
    boots::miss_silent_agents(state, now, fx);
    deliveries::forget_old(state, now);
    crate::jobs::ask_stale(state, now);
    schedule::time_passed(state, now);
}

fn release(
    state: &mut State,
    now: Millis,
    name: &str,
    fx: &mut Effects,
) -> Result<(), crate::InventoryError> {
    let id: SledId = state
        .sled_by_name(name)
        .ok_or_else(|| crate::InventoryError::NoSuchSled(name.into()))?;
    if let Some(mut sled) = state.sleds.get_mut(id) {
        let was: Option<Withheld> = sled.quarantine.take();
        sled.failures = 0;
        let detail = was.map_or_else(alloc::string::String::new, |q| q.reason);
        fx.audit.push(crate::Audit {
            name: "audit.sled.release",
            sled: Some(name.into()),
            boot: None,
            job: None,
            detail,
        });
    }
    power::try_off_again(state, now, id, fx);
    state.checks.insert(id, now);
    Ok(())
}
