//! A small world around the real control core, in virtual time: sleds that
//! boot, a GitHub that gives jobs to runners, and an engine that steps, drains
//! and dispatches as the daemon's does, with memory in place of the disk.
//! Nothing in it fails, and it never reads a clock but to measure.

pub(crate) mod demand;
mod engine;
pub(crate) mod fleet;
mod hub;
mod sleds;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use control::{Effect, Event, JobAction, Outcome, PowerReading, Scope};
use messages::{DeliveryKey, EffectId, Generation, HubId, Millis, RunnerId, SledId};

use crate::random::{Random, mix};
use demand::Demand;
use engine::Engine;
pub(crate) use engine::Spent;
use hub::Hub;
use sleds::{Phase, Sled};
pub(crate) use sleds::{inventory as agent_inventory, wipe as wipe_report};

/// When worlds begin: no time is 0, which means "never" to readers of rows.
pub(crate) const START_MS: u64 = 1_790_000_000_000;
/// The one configured App.
const HUB: HubId = HubId(1);

/// How long things take, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// Events of this span share one turn of the engine.
    pub(crate) turn: u64,
    /// From an effect, or a question, to its answer.
    pub(crate) answer: u64,
    /// From power on to the agent's hello.
    pub(crate) boot: u64,
    /// Of a wipe.
    pub(crate) wipe: u64,
    /// From the agent's acceptance until GitHub gives its runner a job.
    pub(crate) pick_up: u64,
    /// From a change at GitHub to its delivery.
    pub(crate) delivery: u64,
    /// From the end of a run until power is gone.
    pub(crate) power_off: u64,
}

/// Between two words of an agent whose runner runs.
const HEARTBEAT_MS: u64 = 10 * 60 * 1000;
/// Between two looks of a runner that got no job.
const LISTEN_MS: u64 = 5_000;

/// What will happen.
#[derive(Debug)]
enum Happening {
    /// Somebody's push makes a job.
    Create(u64),
    Deliver {
        number: u64,
        action: JobAction,
        runner: Option<(RunnerId, Box<str>)>,
    },
    Answer(EffectId, Outcome),
    Reading(SledId, Generation, PowerReading),
    Facts(SledId, Generation),
    /// A sled says what its phase has it say.
    Ask(usize, u32),
    /// A runner asks GitHub for a job.
    Listen(usize, u32),
    /// A job ends on its sled.
    End(usize, u32),
    /// A sled turns itself off.
    Off(usize, u32),
}

/// One entry of the calendar; the number keeps the order of equal times.
struct Entry(u64, u64, Happening);

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// A world whose jobs are told by `D`.
pub(crate) struct World<D> {
    pub(crate) demand: D,
    timing: Timing,
    engine: Engine,
    hub: Hub,
    sleds: Vec<Sled>,
    calendar: BinaryHeap<Reverse<Entry>>,
    entries: u64,
    now: u64,
    random: Random,
    /// Each job that starts is followed by a new one of its pool, and each
    /// tenth makes one that waits be cancelled and followed: the queue keeps
    /// its length.
    pub(crate) replaced: bool,
    /// Starts of jobs on sleds, where they are wanted: number and time.
    pub(crate) started: Option<Vec<(u64, u64)>>,
    /// Jobs that power was cut under.
    pub(crate) cut: usize,
}

impl<D: Demand> World<D> {
    /// An appliance that never ran before; it keeps `drained` changes from
    /// piling up, or not.
    pub(crate) fn new(demand: D, timing: Timing, drains: bool) -> Self {
        Self {
            hub: Hub::new(demand.pools()),
            demand,
            timing,
            engine: Engine::new(drains),
            sleds: Vec::new(),
            calendar: BinaryHeap::new(),
            entries: 0,
            now: START_MS,
            random: Random::new(7),
            replaced: false,
            started: None,
            cut: 0,
        }
    }

    /// Declares the inventory.
    pub(crate) fn declare(&mut self, inventory: control::Inventory) {
        let macs: Vec<_> = inventory.sleds.iter().map(|sled| sled.mac).collect();
        self.engine.declare(Millis(self.now), inventory);
        self.sleds = macs.into_iter().map(Sled::new).collect();
    }

    /// The core, to be kept.
    pub(crate) fn into_state(self) -> control::State {
        self.engine.state
    }

    /// Virtual milliseconds since the epoch.
    pub(crate) const fn now_ms(&self) -> u64 {
        self.now
    }

    /// Which appliance a world's rows belong to, and its limits.
    pub(crate) fn identity() -> (messages::ApplianceId, control::Limits) {
        (engine::APPLIANCE, engine::limits())
    }

    /// Sleds in the inventory.
    pub(crate) fn sled_count(&self) -> usize {
        self.sleds.len()
    }

    /// Whether something is to happen that was put into the calendar.
    pub(crate) fn has_undelivered(&self) -> bool {
        !self.calendar.is_empty()
    }

    /// Jobs at GitHub that wait, and that run.
    pub(crate) fn jobs(&self) -> (usize, usize) {
        self.hub.jobs()
    }

    /// Lets GitHub have a new job at `at_ms`.
    pub(crate) fn create(&mut self, number: u64, at_ms: u64) {
        if at_ms > self.now {
            self.at(at_ms, Happening::Create(number));
            return;
        }
        let facts = self.demand.facts(number);
        self.hub.create(number, facts);
        self.announce(self.now, number, JobAction::Queued, None);
    }

    /// One turn of the engine: what falls into it, and a tick when one is due.
    pub(crate) fn turn(&mut self) -> Spent {
        let next = self.calendar.peek().map(|Reverse(entry)| entry.0);
        let wake = self.engine.wakes_at();
        let begin = next.map_or(wake, |next| next.min(wake)).max(self.now);
        let until = begin + self.timing.turn - 1;
        self.now = begin;
        while self.calendar.peek().is_some_and(|entry| entry.0.0 <= until) {
            let Some(Reverse(Entry(at, _, happening))) = self.calendar.pop() else {
                break;
            };
            self.now = self.now.max(at);
            if let Some((asker, event)) = self.happen(happening) {
                self.engine.push(Millis(self.now), asker, event);
            }
            if self.engine.is_full() {
                break;
            }
        }
        if self.engine.wakes_at() <= until {
            self.now = self.now.max(self.engine.wakes_at());
        }
        let (spent, after) = self.engine.turn(Millis(self.now));
        for (asker, reply) in after.replies {
            if let Some(sled) = asker {
                self.answered(sled, reply);
            }
        }
        for boot in after.wake {
            self.wake(boot);
        }
        for (id, effect) in after.begun {
            self.begin(id, effect);
        }
        for (sled, generation) in after.read_power {
            let reading = match self.sleds.get(index_of(sled)) {
                Some(sled) if sled.is_on() => PowerReading::On,
                Some(_) | None => PowerReading::Off,
            };
            let answer = Happening::Reading(sled, generation, reading);
            self.after(self.timing.answer, answer);
        }
        for (sled, generation) in after.read_facts {
            self.after(self.timing.answer, Happening::Facts(sled, generation));
        }
        spent
    }

    fn after(&mut self, wait: u64, happening: Happening) {
        self.at(self.now + wait, happening);
    }

    fn at(&mut self, at: u64, happening: Happening) {
        self.entries += 1;
        self.calendar
            .push(Reverse(Entry(at, self.entries, happening)));
    }

    fn announce(
        &mut self,
        at: u64,
        number: u64,
        action: JobAction,
        runner: Option<(RunnerId, Box<str>)>,
    ) {
        let deliver = Happening::Deliver {
            number,
            action,
            runner,
        };
        self.at(at + self.timing.delivery, deliver);
    }

    /// What happens in the world, and the event that the core hears of it.
    fn happen(&mut self, happening: Happening) -> Option<(Option<usize>, Event)> {
        match happening {
            Happening::Create(number) => {
                self.create(number, self.now);
                None
            }
            Happening::Deliver {
                number,
                action,
                runner,
            } => {
                let report = self.demand.report(number, action, runner);
                Some((None, delivery(report)))
            }
            Happening::Answer(id, outcome) => Some((None, Event::Outcome { id, outcome })),
            Happening::Reading(sled, generation, reading) => {
                let result = Ok(reading);
                let read = Event::PowerRead {
                    sled,
                    generation,
                    result,
                };
                Some((None, read))
            }
            Happening::Facts(sled, generation) => {
                let read = Event::FactsRead {
                    sled,
                    generation,
                    result: Ok(None),
                };
                Some((None, read))
            }
            Happening::Ask(sled, epoch) => Some((Some(sled), self.ask(sled, epoch)?)),
            Happening::Listen(sled, epoch) => {
                self.listen(sled, epoch);
                None
            }
            Happening::End(sled, epoch) => {
                self.job_ends(sled, epoch);
                None
            }
            Happening::Off(sled, epoch) => {
                if let Some(sled) = self.sleds.get_mut(sled)
                    && sled.epoch == epoch
                {
                    sled.turn_off();
                }
                None
            }
        }
    }

    /// Begins an effect; power changes at once, its answer follows.
    fn begin(&mut self, id: EffectId, effect: Effect) {
        let outcome = match effect {
            Effect::PowerOn { sled, .. } | Effect::PowerOnByHand { sled, .. } => {
                self.power_on(index_of(sled))
            }
            Effect::PowerOff { sled, .. } => self.power_off(index_of(sled)),
            Effect::Mint {
                scope, name, boot, ..
            } => {
                let repository = match &scope {
                    Scope::Repo(name) => self.demand.repository(name),
                    Scope::Org(_) | Scope::Enterprise(_) => None,
                };
                // The core numbers pools from 1 in the order of the inventory.
                let pool = self.engine.state.boot(boot).map_or(0, |boot| boot.pool.0);
                let pool = usize::try_from(pool).unwrap_or(0).wrapping_sub(1);
                Outcome::Minted(Ok(Some(self.hub.register(name, pool, repository))))
            }
            Effect::DeleteRunner { name, .. } => Outcome::Deleted(Ok(self.hub.delete(&name))),
            Effect::LookUpJob { job, .. } => {
                let (action, runner) = self.hub.status(job.number);
                let report = self.demand.report(job.number, action, runner);
                Outcome::LookedUp(Ok(control::JobAnswer::Report(Box::new(report))))
            }
            Effect::RerunJob { .. } => Outcome::Rerun(Ok(())),
            Effect::DispatchWorkflow { .. } => Outcome::Dispatched(Ok(None)),
            Effect::SignReceipt { .. } => Outcome::Signed(messages::SignatureBytes([7; 64])),
        };
        self.after(self.timing.answer, Happening::Answer(id, outcome));
    }

    /// A runner on a sled looks for a job.
    fn listen(&mut self, index: usize, epoch: u32) {
        let Some(sled) = self.sleds.get_mut(index) else {
            return;
        };
        if sled.epoch != epoch || sled.phase != Phase::Run {
            return;
        }
        let name = sled.runner.clone().unwrap_or_default();
        let Some((number, runner)) = self.hub.give(&name) else {
            self.after(LISTEN_MS, Happening::Listen(index, epoch));
            return;
        };
        sled.job = Some(number);
        let facts = self.demand.facts(number);
        if let Some(started) = &mut self.started {
            started.push((number, self.now));
        }
        let runner = Some((runner, name.into_boxed_str()));
        self.announce(self.now, number, JobAction::InProgress, runner);
        self.after(facts.run_ms, Happening::End(index, epoch));
        if self.replaced {
            self.replace(number);
            if self.random.below(10) == 0
                && let Some(other) = self.hub.cancel_one(facts.pool, self.random.next())
            {
                self.announce(self.now, other, JobAction::Completed, None);
                self.replace(other);
            }
        }
    }

    fn replace(&mut self, number: u64) {
        if let Some(next) = self.demand.next_like(number) {
            self.create(next, self.now);
        }
    }

    fn job_ends(&mut self, index: usize, epoch: u32) {
        let Some(sled) = self.sleds.get_mut(index) else {
            return;
        };
        let Some(number) = sled.job.filter(|_| sled.epoch == epoch) else {
            return;
        };
        sled.job = None;
        sled.phase = Phase::Finish;
        let runner = self.hub.complete(number);
        self.announce(self.now, number, JobAction::Completed, runner);
        self.after(self.timing.answer, Happening::Ask(index, epoch));
    }
}

/// The place of a sled in the inventory: the core numbers them from 1.
fn index_of(sled: SledId) -> usize {
    usize::try_from(sled.0).map_or(usize::MAX, |id| id.wrapping_sub(1))
}

/// A delivery whose GUID follows from what it says.
pub(crate) fn delivery(report: control::JobReport) -> Event {
    let what = report.number * 4 + report.action as u64;
    let key = u128::from(mix(what)) << 64 | u128::from(what);
    Event::Delivery {
        key: DeliveryKey(key),
        hub: HUB,
        source: control::Source::Tunnel,
        hook: control::Hook::Job(Box::new(report)),
    }
}
