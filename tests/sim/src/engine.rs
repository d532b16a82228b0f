//! The discipline of the real engine, on a disk of bytes: events are stepped,
//! one transaction holds what they changed, and only after it is on disk are
//! they answered and their effects begun. It never acts before the commit
//! (unless told to, to prove that the checks notice).

use std::collections::{BTreeMap, BTreeSet};

use control::{Change, Effect, Effects, Event, Limits, Reply, State, TableId};
use messages::{AgentKey, ApplianceId, BootId, EffectId, Generation, Millis, SledId};

use crate::{defect::Defect, random::Random};

/// Bytes that survive a crash.
pub(crate) type Disk = BTreeMap<(TableId, Vec<u8>), Vec<u8>>;

/// The appliance's id in every world.
pub(crate) const APPLIANCE: ApplianceId = ApplianceId([0x5e, 0xed, 0, 1]);

/// Who waits for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// Nobody.
    Nobody,
    /// GitHub, for the delivery with this index.
    Delivery(usize),
    /// A machine in one of its power-ons, for its message of this number.
    Machine(usize, u64, u64),
    /// A forger, with the key that is truly its own.
    Forger(AgentKey),
    /// The operator.
    Operator,
}

/// What a turn leaves to do after its commit.
#[derive(Default)]
pub(crate) struct After {
    /// Answers, with what was asked.
    pub(crate) replies: Vec<(Event, Asker, Reply)>,
    /// Agents to wake.
    pub(crate) wake: Vec<BootId>,
    /// Sleds to read.
    pub(crate) read_power: Vec<(SledId, Generation)>,
    /// Sleds whose controllers are asked for their settings.
    pub(crate) read_facts: Vec<(SledId, Generation)>,
    /// Effects whose outcomes were stepped.
    pub(crate) settled: Vec<(EffectId, Event)>,
    /// What is to be committed.
    pub(crate) changes: Vec<Change>,
}

/// The engine's part of the appliance.
pub(crate) struct Engine {
    /// The core's state; `None` while the appliance is down.
    pub(crate) state: Option<State>,
    /// What survives.
    pub(crate) disk: Disk,
    /// Counts starts: what an earlier one began reports to nobody.
    pub(crate) incarnation: u64,
    /// Effects that were begun and not settled.
    pub(crate) begun: BTreeSet<EffectId>,
    /// Orders' secrets, by runner name: only ever in memory.
    pub(crate) secrets: BTreeSet<String>,
    /// Events that wait to be stepped.
    pub(crate) queue: Vec<(Event, Asker)>,
    /// Time of the last tick.
    pub(crate) last_tick: Millis,
    limits: Limits,
}

impl Engine {
    /// An appliance that never ran.
    #[must_use]
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            state: None,
            disk: Disk::new(),
            incarnation: 0,
            begun: BTreeSet::new(),
            secrets: BTreeSet::new(),
            queue: Vec::new(),
            last_tick: Millis(0),
            limits,
        }
    }

    /// The state that the disk stands for.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub(crate) fn load(&self) -> Result<State, String> {
        let rows = self
            .disk
            .iter()
            .filter(|((table, _), _)| table.is_loaded())
            .map(|((table, key), value)| (*table, key.clone(), value.clone()));
        State::load(APPLIANCE, self.limits.clone(), rows).map_err(|error| error.to_string())
    }

    /// Power is lost: memory is gone.
    pub(crate) fn crash(&mut self) {
        self.state = None;
        self.incarnation += 1;
        self.begun.clear();
        self.secrets.clear();
        self.queue.clear();
        self.last_tick = Millis(0);
    }

    /// Steps every waiting event and a tick when one is due.
    pub(crate) fn turn(&mut self, now: Millis, random: &mut Random, tick: bool) -> After {
        let mut after = After::default();
        let mut events = std::mem::take(&mut self.queue);
        if tick {
            self.last_tick = now;
            events.push((Event::Tick, Asker::Nobody));
        }
        let Some(state) = self.state.as_mut() else {
            return after;
        };
        for (event, asker) in events {
            if let Event::Outcome { id, .. } = &event {
                after.settled.push((*id, event.clone()));
            }
            let mut fx = Effects::new(random.bytes());
            control::step(state, now, event.clone(), &mut fx);
            after.wake.append(&mut fx.wake);
            after.read_power.append(&mut fx.read_power);
            after.read_facts.append(&mut fx.read_facts);
            after.replies.push((event, asker, fx.reply));
        }
        after.changes = state.drain_changes();
        after
    }

    /// Puts a turn's changes on the disk, all at once.
    pub(crate) fn commit(&mut self, changes: &[Change], defect: Option<Defect>) {
        for change in changes {
            let lost = match defect {
                Some(Defect::LoseRows) => change.table == TableId::Jobs && change.value.is_some(),
                Some(Defect::ForgetDeliveryIds) => change.table == TableId::Deliveries,
                Some(Defect::LoseReceipt) => {
                    change.table == TableId::Receipts && change.key.last() == Some(&2)
                }
                _ => false,
            };
            if lost {
                continue;
            }
            let key = (change.table, change.key.clone());
            match &change.value {
                Some(value) => self.disk.insert(key, value.clone()),
                None => self.disk.remove(&key),
            };
        }
    }

    /// The store refused: the batch is forgotten. Outcomes in it are reported
    /// again, so their effects stay begun.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub(crate) fn roll_back(&mut self) -> Result<(), String> {
        let loaded = self.load()?;
        self.state = Some(match &self.state {
            Some(before) => loaded.remembering(before),
            None => loaded,
        });
        self.last_tick = Millis(0);
        Ok(())
    }

    /// Jobs that may wait at once.
    #[must_use]
    pub(crate) const fn queue_bound(&self) -> usize {
        self.limits.queue
    }

    /// Jobs that the appliance takes to be open.
    #[must_use]
    pub(crate) fn open_jobs(&self) -> u64 {
        let jobs = self.state.iter().flat_map(State::jobs);
        jobs.filter(|(_, job)| job.state != control::JobState::Completed)
            .count() as u64
    }

    /// Effects to begin now; each is marked as begun.
    pub(crate) fn begin_due(&mut self, now: Millis) -> Vec<(EffectId, Effect)> {
        let Some(state) = self.state.as_ref() else {
            return Vec::new();
        };
        let due: Vec<_> = state
            .due_effects(now)
            .filter(|(id, _)| !self.begun.contains(id))
            .map(|(id, effect)| (id, effect.clone()))
            .collect();
        self.begun.extend(due.iter().map(|(id, _)| *id));
        due
    }
}
