//! The one entrance.

use alloc::vec::Vec;

use messages::{BootId, Millis};

use crate::{
    Effects, Event, acceptance, agents, boots, deliveries, drift, effect::Reply, energy, inventory,
    levers, netboot, orphans, outcomes, power, restart, retention, schedule, state::State,
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
        Event::FactsRead {
            sled,
            generation,
            result,
        } => drift::read(state, now, sled, generation, result, fx),
        Event::WattsRead { sled, watts, meter } => energy::read(state, now, sled, watts, meter),
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
        Event::ReceiptsAged { through, hash } => {
            retention::remove(state, now, through, hash, fx);
        }
        Event::RunnersListed {
            hub,
            scope,
            runners,
        } => orphans::listed(state, now, hub, &scope, runners, fx),
        Event::Lever(lever) => {
            fx.reply = Reply::Done(levers::pull(state, now, &lever, fx));
        }
    }
    schedule::run(state, now, fx);
}

fn tick(state: &mut State, now: Millis, fx: &mut Effects) {
    power::ask_due(state, now, fx);
    drift::ask_due(state, now, fx);
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
    retention::tick(state, now, fx);
    crate::jobs::ask_stale(state, now);
    acceptance::tick(state, now, fx);
    schedule::time_passed(state, now);
}
