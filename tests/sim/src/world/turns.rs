//! The appliance: turns of its engine, crashes, starts.

use control::{AgentReply, Effect, Event, JobAction, Outcome, Reply, TableId};
use messages::{AgentMessage, EffectId, ImageRef, Instruction, Order, Secret};

use super::{Happening, MAX_RUNTIME_S, MINUTE, SECOND, START, Step, World, inventory};
use crate::{
    checks::broken,
    defect::Defect,
    engine::{After, Asker},
    faults::Fault,
    machine::Command,
    options::Boundary,
    random::Random,
};

impl World {
    /// The alarm that was set for the core.
    pub(super) fn woken(&mut self) -> Step {
        if self.wake_at != Some(self.now) {
            return Ok(());
        }
        self.wake_at = None;
        self.turn(true)
    }

    /// One turn of the engine, with a crash wherever it hurts.
    pub(super) fn turn(&mut self, tick: bool) -> Step {
        if self.engine.state.is_none() {
            return Ok(());
        }
        self.count_turn()?;
        let mut tick = tick;
        if tick && self.defect == Some(Defect::NoTicks) && self.now > START + 5 * MINUTE {
            self.engine.last_tick = self.core_time();
            tick = false;
        }
        let after = self.engine.turn(self.core_time(), &mut self.random, tick);
        if self.defect == Some(Defect::AnswerBeforeCommit) {
            self.release(&after)?;
        }
        let crash = self
            .faults
            .strike(Fault::Crash)
            .map(|mut dice| dice.below(3));
        if crash == Some(0) {
            return self.crash("before the commit");
        }
        if self.is_disk_full() || self.faults.strikes(Fault::Store) {
            return self.not_stored(&after);
        }
        self.commit(&after)?;
        if crash == Some(1) || self.is_crash_after_commit() {
            return self.crash("after the commit, before the answers");
        }
        if self.defect != Some(Defect::AnswerBeforeCommit) {
            self.release(&after)?;
        }
        if self.engine.state.is_none() {
            return Ok(());
        }
        if crash == Some(2) {
            return self.crash("after the answers, before the effects");
        }
        self.dispatch(after)?;
        self.set_alarm();
        Ok(())
    }

    fn is_disk_full(&self) -> bool {
        self.now < self.disk_full_until
    }

    fn commit(&mut self, after: &After) -> Step {
        self.engine.commit(&after.changes, self.defect);
        self.summary.commits += 1;
        for (id, _) in &after.settled {
            self.engine.begun.remove(id);
        }
        self.check_commit(after)
    }

    fn is_crash_after_commit(&self) -> bool {
        self.crash_at == Some(Boundary::Commit(self.summary.commits))
    }

    fn check_commit(&mut self, after: &After) -> Step {
        for (event, _, reply) in &after.replies {
            match (event, reply) {
                (Event::Delivery { key, .. }, Reply::Delivery(result)) => {
                    use control::DeliveryResult::{Queued, Updated};
                    if matches!(result, Queued | Updated) {
                        self.checks.applied(*key)?;
                    }
                }
                (Event::Inventory(inventory), _) => self.declared.clone_from(inventory),
                _ => {}
            }
        }
        let now = (self.now, self.core_time());
        self.checks.committed(
            &self.engine,
            &after.changes,
            &mut self.machines,
            &self.declared,
            now,
        )?;
        self.check_accepted()
    }

    fn crash(&mut self, when: &str) -> Step {
        self.crash_for(when, 3 * SECOND, 90 * SECOND)
    }

    /// The appliance dies, and starts after a time between these.
    pub(super) fn crash_for(&mut self, when: &str, low: u64, high: u64) -> Step {
        self.note(|| format!("CRASH {when}"));
        self.summary.crashes += 1;
        self.engine.crash();
        self.turn_due = false;
        self.wake_at = None;
        // Commands that no BMC got yet die with the driver.
        for machine in &mut self.machines {
            machine.bmc.commands.truncate(usize::from(machine.bmc.busy));
        }
        let wait = self.random.between(low, high);
        self.mark("appliance down", self.now + wait);
        self.at(wait, Happening::Start);
        Ok(())
    }

    fn not_stored(&mut self, after: &After) -> Step {
        self.note(|| "the store refused a batch".to_owned());
        self.engine
            .roll_back()
            .map_err(|error| broken("load-equals-live", error))?;
        self.paused_until = self.now + PAUSE + 50 * self.machines.len() as u64;
        let incarnation = self.engine.incarnation;
        for (_, event) in &after.settled {
            let event = event.clone();
            self.at(SECOND, Happening::Answer { incarnation, event });
        }
        self.set_alarm();
        Ok(())
    }

    /// The appliance starts: whatever the disk holds is the truth.
    pub(super) fn start(&mut self) -> Step {
        if self.engine.state.is_some() {
            return Ok(());
        }
        if self.is_disk_full() {
            // It cannot even note that it started, and is started again.
            self.at(10 * SECOND, Happening::Start);
            return Ok(());
        }
        self.set_clock();
        let state = self
            .engine
            .load()
            .map_err(|error| broken("load-equals-live", error))?;
        self.checks.started(&state, &self.github)?;
        self.engine.state = Some(state);
        let power = |world: &Self| -> Vec<EffectId> {
            let state = world.engine.state.as_ref();
            state
                .into_iter()
                .flat_map(|state| state.due_effects(messages::Millis(u64::MAX)))
                .filter(|(_, effect)| effect.sled().is_some())
                .map(|(id, _)| id)
                .collect()
        };
        let before = power(self);
        self.note(|| "START".to_owned());
        self.engine.queue.push((Event::Started, Asker::Nobody));
        let after = self.engine.turn(self.core_time(), &mut self.random, false);
        let added = power(self).iter().any(|id| !before.contains(id));
        // Before the inventory and a reading, there is no demand that a start
        // itself could serve: work that waited was there before.
        let claims = after.changes.iter().any(|row| row.table == TableId::Boots);
        if added && !claims {
            return Err(broken("restart-causes-no-edge", "starting commanded power"));
        }
        if self.defect == Some(Defect::RestartToggles) {
            self.toggle_everything()?;
        }
        self.commit(&after)?;
        if self.is_crash_after_commit() {
            return self.crash("after the commit of its start");
        }
        self.dispatch(after)?;
        let inventory = self.inventory.clone();
        self.submit(Event::Inventory(inventory), Asker::Operator);
        self.set_alarm();
        Ok(())
    }

    /// The clock is read at a start only, and may be wrong then: there is no
    /// battery behind it, or it was set wrongly.
    fn set_clock(&mut self) {
        let far = self.faults.strike(Fault::ClockFar);
        if let Some(mut dice) = self.faults.strike(Fault::Clock) {
            self.skew = wrong_by(&mut dice);
        } else if let Some(mut dice) = far {
            self.skew = far_wrong_by(&mut dice, self.now);
        } else if self.random.chance(500) {
            self.skew = 0;
        }
        let skew = self.skew;
        self.note(|| format!("its clock is wrong by {skew} ms"));
    }

    fn set_alarm(&mut self) {
        let last = self.engine.last_tick;
        let Some(state) = self.engine.state.as_ref() else {
            return;
        };
        let wake = match self.defect {
            Some(Defect::Spin) => Some(messages::Millis(self.core_time().0 + 1)),
            _ => state.next_wake_after(last),
        };
        let Some(wake) = wake else { return };
        let wake = wake.0.saturating_add_signed(self.skew.saturating_neg());
        let at = wake.max(self.now + 1).max(self.paused_until);
        if self.wake_at.is_none_or(|set| set > at) {
            self.wake_at = Some(at);
            self.at(at - self.now, Happening::Wake);
        }
    }

    fn dispatch(&mut self, after: After) -> Step {
        for boot in after.wake {
            self.wake_agent(boot);
        }
        for (id, effect) in self.engine.begin_due(self.core_time()) {
            self.note(|| format!("effect {id} begins: {effect:?}"));
            self.check_mint(&effect)?;
            let copies = 1 + usize::from(
                self.defect == Some(Defect::MintTwice) && matches!(effect, Effect::Mint { .. }),
            );
            for _ in 0..copies {
                match effect.sled() {
                    Some(sled) => {
                        self.command(sled, Command::Effect(id, effect.clone()));
                    }
                    None => self.request(id, effect.clone()),
                }
            }
            self.summary.effects += 1;
            if self.crash_at == Some(Boundary::Effect(self.summary.effects)) {
                return self.crash("after an effect was begun");
            }
        }
        for (sled, generation) in after.read_power {
            self.command(sled, Command::Read(sled, generation));
        }
        for (sled, generation) in after.read_facts {
            self.command(sled, Command::Facts(sled, generation));
        }
        Ok(())
    }

    /// Hands a turn's answers to whoever asked.
    fn release(&mut self, after: &After) -> Step {
        for (event, asker, reply) in &after.replies {
            self.note(|| format!("{event:?} -> {reply:?}"));
            match (event, reply) {
                (Event::Delivery { hook, source, .. }, Reply::Delivery(result)) => {
                    if let (Asker::Delivery(index), control::Hook::Job(report)) = (asker, hook) {
                        self.delivered(*index, report.number, report.action, *result);
                        self.taken_in(*index, *source, *result);
                    }
                }
                (
                    Event::Agent {
                        ticket,
                        key,
                        message,
                    },
                    Reply::Agent(answer),
                ) => {
                    let key = match asker {
                        Asker::Forger(true_key) => *true_key,
                        _ => *key,
                    };
                    self.check_redeemer(*ticket, key, answer)?;
                    let instruction = self.instruction(message, answer);
                    self.check_order(*ticket, &instruction)?;
                    if let Asker::Machine(sled, epoch, asked) = asker {
                        let machine = &mut self.machines[*sled];
                        if machine.epoch == *epoch && !matches!(answer, AgentReply::Refused(_)) {
                            machine.spoke_at = self.now;
                        }
                        self.heard(*sled, *epoch, *asked, message, instruction)?;
                    }
                }
                (Event::Boot(_), Reply::Boot(answer)) => {
                    self.check_offer(answer, &after.changes)?;
                    if let Asker::Machine(sled, epoch, asked) = asker {
                        self.boot_answered(*sled, *epoch, *asked, answer)?;
                    } else if matches!(asker, Asker::Forger(_)) {
                        self.ghost_answered(answer);
                    }
                }
                _ => {}
            }
            self.summary.answers += 1;
            if self.crash_at == Some(Boundary::Answer(self.summary.answers)) {
                return self.crash("after an answer");
            }
        }
        Ok(())
    }

    fn delivered(
        &mut self,
        index: usize,
        number: u64,
        action: JobAction,
        result: control::DeliveryResult,
    ) {
        use control::DeliveryResult as Result;
        match result {
            Result::Full => return,
            Result::Ignored => {
                if action == JobAction::Queued {
                    self.ignored.insert(number);
                }
            }
            Result::Queued | Result::Updated | Result::Duplicate => {
                self.ignored.remove(&number);
                if let Some(job) = self.github.jobs.get_mut(&number) {
                    job.acknowledged = true;
                }
            }
            Result::Pong => {}
        }
        self.github.deliveries[index].acknowledged = true;
    }

    /// What the agent API makes of the core's answer: the order's secret
    /// comes from memory, or is lost.
    fn instruction(&mut self, asked: &AgentMessage, answer: &AgentReply) -> Option<Instruction> {
        if self.defect == Some(Defect::AnyOrder)
            && *asked == AgentMessage::Poll
            && let Some(name) = self.engine.secrets.first()
        {
            return Some(Instruction::Order(order(
                name,
                inventory::rootfs(),
                MAX_RUNTIME_S,
            )));
        }
        match answer {
            AgentReply::Instruction { instruction, .. } => Some(instruction.clone()),
            AgentReply::Order {
                boot,
                runner_name,
                image,
                max_runtime_s,
            } => {
                if !self.engine.secrets.contains(runner_name) {
                    self.submit(Event::OrderLost { boot: *boot }, Asker::Nobody);
                    return Some(Instruction::Wait);
                }
                Some(Instruction::Order(order(
                    runner_name,
                    image.clone(),
                    *max_runtime_s,
                )))
            }
            AgentReply::Refused(_) => None,
        }
    }

    /// Reports an effect's outcome, unless the appliance that began it is gone.
    pub(super) fn outcome(&mut self, incarnation: u64, id: EffectId, wait: u64, outcome: Outcome) {
        let event = Event::Outcome { id, outcome };
        self.at(
            wait.min(60 * MINUTE),
            Happening::Answer { incarnation, event },
        );
    }
}

/// The engine rests this long after a commit that failed, as the real one does;
/// longer where there is more to load again, for the sake of the test's time.
const PAUSE: u64 = 200;

const HOUR: u64 = 60 * MINUTE;

/// By how many milliseconds a clock is wrong that somebody set or that ran by
/// itself for long. Two of them differ by less than the memory of deliveries.
fn wrong_by(dice: &mut Random) -> i64 {
    let amount = match dice.below(3) {
        0 => dice.between(1, 2 * MINUTE),
        1 => dice.between(MINUTE, 12 * HOUR),
        _ => dice.between(12 * HOUR, 72 * HOUR),
    };
    signed(amount, dice.chance(500))
}

/// Without a battery a clock starts in 1970; a bad time server may say anything.
fn far_wrong_by(dice: &mut Random, now: u64) -> i64 {
    let decade = 10 * 365 * 24 * HOUR;
    match dice.below(3) {
        0 => signed(now - dice.between(0, 5 * MINUTE), true),
        1 => signed(dice.between(24 * HOUR, decade), true),
        _ => signed(dice.between(24 * HOUR, decade), false),
    }
}

fn signed(amount: u64, behind: bool) -> i64 {
    let amount = i64::try_from(amount).unwrap_or(i64::MAX);
    if behind { -amount } else { amount }
}

fn order(name: &str, image: ImageRef, max_runtime_s: u64) -> Order {
    Order {
        runner_name: name.to_owned(),
        jit_config: Secret::new(String::new()),
        image,
        max_runtime_s,
    }
}
