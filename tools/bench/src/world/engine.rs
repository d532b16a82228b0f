//! Turns as the daemon's engine takes them: step what waits, drain what
//! changed, begin the effects that are due, find out when to wake. That much
//! is measured. It stores nothing and decides nothing.

use std::collections::BTreeSet;

use control::{Effect, Effects, Event, Limits, Reply, State};
use messages::{ApplianceId, BootId, EffectId, Generation, Millis, SledId};

use crate::cpu::CpuTime;
use crate::random::Random;

/// Events stepped into one transaction, as in the daemon.
const BATCH: usize = 1024;
/// Longest time without a tick, in milliseconds, as in the daemon.
const TICK_MS: u64 = 1_000;
/// The appliance of every world.
pub(crate) const APPLIANCE: ApplianceId = ApplianceId([0xbe, 0x4c, 0, 1]);

/// What a turn took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    /// Events stepped, ticks among them.
    pub(crate) events: u64,
    /// Processor time of this thread, in nanoseconds.
    pub(crate) cpu_ns: u64,
}

/// What a turn leaves to do.
#[derive(Default)]
pub(crate) struct After {
    pub(crate) replies: Vec<(Option<usize>, Reply)>,
    pub(crate) wake: Vec<BootId>,
    pub(crate) begun: Vec<(EffectId, Effect)>,
    pub(crate) read_power: Vec<(SledId, Generation)>,
    pub(crate) read_facts: Vec<(SledId, Generation)>,
}

/// The core and what its caller remembers.
pub(crate) struct Engine {
    pub(crate) state: State,
    waiting: Vec<(Millis, Option<usize>, Event)>,
    begun: BTreeSet<EffectId>,
    last_tick: Millis,
    wake: Option<Millis>,
    drains: bool,
    random: Random,
}

/// The limits of every world: the shipped ones, but for the queue's bound,
/// which is that of the largest row.
pub(crate) fn limits() -> Limits {
    Limits {
        queue: 2_000_000,
        ..Limits::default()
    }
}

impl Engine {
    pub(crate) fn new(drains: bool) -> Self {
        Self {
            state: State::new(APPLIANCE, limits()),
            waiting: Vec::new(),
            begun: BTreeSet::new(),
            last_tick: Millis(0),
            wake: None,
            drains,
            random: Random::new(1),
        }
    }

    pub(crate) fn declare(&mut self, now: Millis, inventory: control::Inventory) {
        let mut fx = Effects::new(self.random.entropy());
        control::step(&mut self.state, now, Event::Inventory(inventory), &mut fx);
        assert_eq!(fx.reply, Reply::Done(Ok(())), "the inventory is refused");
        self.last_tick = Millis(now.0.saturating_sub(TICK_MS));
        self.wake = None;
    }

    pub(crate) fn push(&mut self, at: Millis, asker: Option<usize>, event: Event) {
        self.waiting.push((at, asker, event));
    }

    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= BATCH
    }

    /// When it has a turn of its own accord, in milliseconds.
    pub(crate) fn wakes_at(&self) -> u64 {
        let tick = self.last_tick.after(TICK_MS);
        self.wake.map_or(tick, |wake| wake.min(tick)).0
    }

    pub(crate) fn turn(&mut self, now: Millis) -> (Spent, After) {
        let mut after = After::default();
        let mut waiting = std::mem::take(&mut self.waiting);
        let entropy = self.random.entropy();
        let mut events = waiting.len() as u64;
        let start = CpuTime::now();
        for (at, asker, event) in waiting.drain(..) {
            if let Event::Outcome { id, .. } = &event {
                self.begun.remove(id);
            }
            let reply = step(&mut self.state, at, event, entropy, &mut after);
            after.replies.push((asker, reply));
        }
        let wake = self.state.next_wake_after(self.last_tick);
        if now.since(self.last_tick) >= TICK_MS || wake.is_some_and(|wake| wake <= now) {
            events += 1;
            self.last_tick = now;
            step(&mut self.state, now, Event::Tick, entropy, &mut after);
        }
        if self.drains {
            drop(self.state.drain_changes());
        }
        let due = self.state.due_effects(now);
        let due = due.filter(|(id, _)| !self.begun.contains(id));
        after.begun = due.map(|(id, effect)| (id, effect.clone())).collect();
        self.begun.extend(after.begun.iter().map(|(id, _)| *id));
        self.wake = self.state.next_wake_after(self.last_tick);
        let cpu_ns = start.elapsed_ns();
        self.waiting = waiting;
        (Spent { events, cpu_ns }, after)
    }
}

fn step(
    state: &mut State,
    at: Millis,
    event: Event,
    mut entropy: [u8; 32],
    after: &mut After,
) -> Reply {
    // Boot tickets must differ; that nobody can guess them matters elsewhere.
    let count = after.replies.len() as u64;
    for (byte, more) in entropy.iter_mut().zip(count.to_le_bytes()) {
        *byte ^= more;
    }
    let mut fx = Effects::new(entropy);
    control::step(state, at, event, &mut fx);
    after.wake.append(&mut fx.wake);
    after.read_power.append(&mut fx.read_power);
    after.read_facts.append(&mut fx.read_facts);
    fx.reply
}
