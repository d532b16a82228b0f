//! Sleds: BMCs that carry out commands, machines that boot and say so.

use control::{BmcFacts, Effect, Event, Outcome, PowerFailure, PowerReading, PoweredOn};
use messages::SledId;

use super::{Happening, MAX_RUNTIME_S, MINUTE, SECOND, Step, World, talk};
use crate::{
    checks::broken,
    defect::Defect,
    engine::Asker,
    faults::Fault,
    machine::{Command, Fate, Phase},
};

/// A machine asks this often before it gives up.
const PATIENT_TRIES: u32 = 80;

impl World {
    pub(super) fn machine_of(&self, sled: SledId) -> Option<usize> {
        let name = self.engine.state.as_ref()?.sled_name(sled)?;
        crate::machine::index_of(name).filter(|index| *index < self.machines.len())
    }

    /// Queues a command at a sled's driver.
    pub(super) fn command(&mut self, sled: SledId, command: Command) {
        let Some(index) = self.machine_of(sled) else {
            if let Command::Effect(id, _) = command {
                self.outcome(self.engine.incarnation, id, 1, Outcome::Stale);
            }
            return;
        };
        let incarnation = self.engine.incarnation;
        let bmc = &mut self.machines[index].bmc;
        let reads = bmc
            .commands
            .iter()
            .any(|(_, one)| matches!(one, Command::Read(..)));
        if reads && matches!(command, Command::Read(..)) {
            return;
        }
        // One reading of the settings waits at a time, the newest.
        if matches!(command, Command::Facts(..)) {
            bmc.commands
                .retain(|(_, one)| !matches!(one, Command::Facts(..)));
        }
        bmc.commands.push_back((incarnation, command));
        self.next_command(index);
    }

    fn next_command(&mut self, sled: usize) {
        let bmc = &mut self.machines[sled].bmc;
        if bmc.busy || bmc.commands.is_empty() {
            return;
        }
        bmc.busy = true;
        let slow = bmc.slowness;
        let wait = self.random.between(20, slow);
        self.at(wait, Happening::BmcDone { sled });
    }

    /// The command at the head of the queue was carried out, or was not.
    pub(super) fn bmc_done(&mut self, sled: usize) -> Step {
        let bmc = &mut self.machines[sled].bmc;
        bmc.busy = false;
        let Some((incarnation, command)) = bmc.commands.pop_front() else {
            return Ok(());
        };
        if let Some(mut dice) = self.faults.strike(Fault::BmcOut) {
            let wait = dice.between(20 * SECOND, 8 * MINUTE);
            self.machines[sled].bmc.out_until = self.now + wait;
        }
        let bmc = &self.machines[sled].bmc;
        let silent = bmc.dead || self.now < bmc.out_until;
        let failing = silent || self.faults.strikes(Fault::Bmc);
        // A failure may be that of the answer alone.
        let acts = !silent && (!failing || self.random.chance(500));
        let failure = PowerFailure {
            permanent: false,
            contradiction: false,
            message: "no answer".to_owned(),
        };
        match command {
            Command::Read(id, generation) => {
                let on = self.reads_on(sled) && self.defect != Some(Defect::ReadsOff);
                let reading = match (on, self.machines[sled].closed) {
                    (true, _) => PowerReading::On,
                    (false, true) => PowerReading::Dark,
                    (false, false) => PowerReading::Off,
                };
                let result = if failing { Err(failure) } else { Ok(reading) };
                let event = Event::PowerRead {
                    sled: id,
                    generation,
                    result,
                };
                self.at(1, Happening::Answer { incarnation, event });
            }
            Command::Facts(id, generation) => {
                let settings = self.machines[sled].settings;
                let result = if failing {
                    Err(failure)
                } else {
                    let mut facts = BmcFacts::default();
                    facts.note("user.02", settings);
                    Ok(Some(facts))
                };
                let event = Event::FactsRead {
                    sled: id,
                    generation,
                    result,
                };
                self.at(1, Happening::Answer { incarnation, event });
            }
            Command::Effect(id, effect) => {
                let outcome = self.carry_out(sled, &effect, acts, failing.then_some(failure))?;
                self.outcome(incarnation, id, 1, outcome);
            }
        }
        self.next_command(sled);
        Ok(())
    }

    fn carry_out(
        &mut self,
        sled: usize,
        effect: &Effect,
        acts: bool,
        failure: Option<PowerFailure>,
    ) -> Result<Outcome, crate::Violation> {
        let (id, generation, on) = match effect {
            Effect::PowerOn {
                sled, generation, ..
            } => (*sled, *generation, true),
            Effect::PowerOff { sled, generation } => (*sled, *generation, false),
            Effect::PowerOnByHand { sled, generation } => (*sled, *generation, true),
            _ => return Ok(Outcome::Stale),
        };
        let newest = self.machines[sled].bmc.newest;
        let fenced = self.defect != Some(Defect::NoFence);
        if fenced && (id.0, generation) < newest {
            return Ok(Outcome::Stale);
        }
        self.machines[sled].bmc.newest = newest.max((id.0, generation));
        if !fenced && on && self.random.chance(300) {
            // The network hands this datagram over once more, much later.
            let again = (
                self.engine.incarnation,
                Command::Effect(messages::EffectId(0), effect.clone()),
            );
            self.machines[sled].bmc.commands.push_back(again);
            self.machines[sled].bmc.slowness = 5 * MINUTE;
        }
        let was_on = self.machines[sled].is_on();
        // A driver commands only what does not seem to be so already.
        let closed = self.machines[sled].closed;
        let seemed_on = self.reads_on(sled) || closed;
        let override_confirmed = self.random.chance(900);
        if on && was_on && !seemed_on {
            self.machines[sled].feigned = true;
        }
        if acts && on && !was_on && closed {
            self.note(|| format!("the relay of sled {id} is closed already"));
        } else if acts && on && !was_on && matches!(effect, Effect::PowerOnByHand { .. }) {
            self.note(|| format!("sled {id} goes on by command of a person"));
            self.turn_on(sled, true);
        } else if acts && on && !was_on {
            self.check_edge(id, generation, effect)?;
            self.check_budget(sled)?;
            self.note(|| format!("sled {id} goes on by command"));
            self.turn_on(sled, false);
            self.machines[sled].forced = override_confirmed;
            self.summary.edges += 1;
            self.edges_in_calm += u64::from(self.calm);
        } else if acts && !on && was_on && seemed_on {
            self.check_cut(sled, "a power command")?;
            self.note(|| format!("sled {id} goes off by command"));
            self.machines[sled].closed = false;
            if generation.0.is_multiple_of(3) && !closed {
                // Its BMC takes the command at once and its time.
                let epoch = self.machines[sled].epoch;
                self.at(4 * SECOND, Happening::HandOff { sled, epoch });
            } else {
                self.machines[sled].turn_off();
            }
        } else if acts && !on {
            self.machines[sled].closed = false;
        }
        Ok(match (failure, on) {
            (Some(failure), true) => Outcome::PoweredOn(Err(failure)),
            (Some(failure), false) => Outcome::PoweredOff(Err(failure)),
            (None, true) => Outcome::PoweredOn(Ok(PoweredOn {
                at: self.core_time(),
                edge: !seemed_on,
                override_confirmed,
            })),
            (None, false) => Outcome::PoweredOff(Ok(())),
        })
    }

    /// What its BMC makes of a machine's power.
    fn reads_on(&mut self, sled: usize) -> bool {
        let now = self.now;
        let machine = &mut self.machines[sled];
        if machine.is_on() && now < machine.bmc.lies_until {
            machine.lied_at = Some(now);
            return false;
        }
        machine.is_on()
    }

    /// Power comes to a machine.
    pub(super) fn turn_on(&mut self, sled: usize, by_hand: bool) {
        let dies = self.faults.strike(Fault::Die);
        let fate = Fate {
            dies_at: dies.map(|mut dice| {
                let phases = [
                    Phase::Dhcp,
                    Phase::Loader,
                    Phase::Kernel,
                    Phase::Hello,
                    Phase::Wipe,
                    Phase::Poll,
                    Phase::Accept,
                    Phase::Run,
                    Phase::Finish,
                ];
                phases[dice.index(phases.len())]
            }),
            hangs: self.faults.strikes(Fault::Hang),
            unclean: self.faults.strikes(Fault::Unclean),
            fails: self.faults.strikes(Fault::Unclean),
        };
        let key = messages::AgentKey(self.random.bytes());
        let machine = &mut self.machines[sled];
        if let Some(ticket) = machine.ticket {
            self.old_tickets.push((ticket, machine.key));
        }
        machine.turn_on(key, fate, by_hand);
        let epoch = machine.epoch;
        let wait = self.random.between(4 * SECOND, 30 * SECOND);
        self.at(
            wait,
            Happening::Reach {
                sled,
                epoch,
                phase: Phase::Dhcp,
            },
        );
    }

    /// A machine comes to its next phase and says so.
    pub(super) fn reach(&mut self, sled: usize, epoch: u64, phase: Phase) -> Step {
        let defect = self.defect;
        let machine = &mut self.machines[sled];
        if machine.epoch != epoch || machine.phase == Phase::Stuck {
            return Ok(());
        }
        machine.phase = phase;
        machine.moving = false;
        machine.tries = 0;
        if machine.fate.dies_at == Some(phase) {
            machine.phase = if phase == Phase::Run {
                Phase::Run
            } else {
                Phase::Stuck
            };
            if phase != Phase::Run {
                return Ok(());
            }
        }
        if phase > Phase::Dhcp && self.faults.strikes(Fault::Reboot) {
            self.reboot(sled);
        }
        let machine = &mut self.machines[sled];
        let phase = machine.phase;
        if phase == Phase::Wipe && !machine.fate.unclean && defect != Some(Defect::ForgedWipe) {
            machine.wiped = true;
        }
        self.ask(sled, epoch)
    }

    /// A machine starts anew by itself: a panic, a watchdog. It was not off.
    fn reboot(&mut self, sled: usize) {
        self.note(|| format!("machine {sled} boots anew by itself"));
        let key = messages::AgentKey(self.random.bytes());
        let machine = &mut self.machines[sled];
        if let Some(ticket) = machine.ticket {
            self.old_tickets.push((ticket, machine.key));
        }
        machine.boot_anew(key);
    }

    /// A machine says its message, which may be lost.
    pub(super) fn ask(&mut self, sled: usize, epoch: u64) -> Step {
        let machine = &mut self.machines[sled];
        if machine.epoch != epoch || machine.moving {
            return Ok(());
        }
        machine.asked += 1;
        let asked = machine.asked;
        let Some(event) = talk::message(machine) else {
            return Ok(());
        };
        let wait = self.random.between(3 * SECOND, 6 * SECOND);
        self.at(wait, Happening::Retry { sled, epoch, asked });
        if let Some(mut dice) = self.faults.strike(Fault::Repeat) {
            let wait = dice.between(1, MINUTE);
            let event = event.clone();
            self.at(wait, Happening::Repeat { event });
        }
        if !self.faults.strikes(Fault::Lose) {
            self.submit(event, Asker::Machine(sled, epoch, asked));
        }
        Ok(())
    }

    /// No answer came: the same message again.
    pub(super) fn retry(&mut self, sled: usize, epoch: u64, asked: u64) -> Step {
        let machine = &mut self.machines[sled];
        if machine.epoch != epoch || machine.asked != asked {
            return Ok(());
        }
        machine.tries += 1;
        if machine.tries < PATIENT_TRIES || machine.phase == Phase::Run {
            return self.ask(sled, epoch);
        }
        if machine.phase >= Phase::Hello {
            return self.self_off(sled, epoch);
        }
        machine.phase = Phase::Stuck;
        Ok(())
    }

    /// An agent turns its machine off.
    pub(super) fn self_off(&mut self, sled: usize, epoch: u64) -> Step {
        if self.machines[sled].epoch == epoch {
            self.note(|| format!("machine {sled} turns itself off"));
            self.machines[sled].turn_off();
        }
        Ok(())
    }

    pub(super) fn go(&mut self, sled: usize, epoch: u64, phase: Phase, low: u64, high: u64) {
        self.machines[sled].moving = true;
        let wait = self.random.between(low, high);
        self.at(wait, Happening::Reach { sled, epoch, phase });
    }

    pub(super) fn start_runner(&mut self, sled: usize) -> Step {
        self.check_run(sled)?;
        self.summary.runs += 1;
        let now = self.now;
        let machine = &mut self.machines[sled];
        machine.ran = true;
        if !machine.bmc.lies_in_run {
            machine.bmc.lies_until = 0;
        }
        machine.ran_at = now;
        let (epoch, name) = (machine.epoch, machine.order.clone().unwrap_or_default());
        self.note(|| format!("machine {sled} starts runner {name}"));
        self.reach(sled, epoch, Phase::Run)?;
        if let Some(runner) = self.github.runners.get_mut(&name) {
            if runner.listening.is_some_and(|place| place != (sled, epoch)) {
                return Err(broken("order-to-one-boot", format!("{name} listens twice")));
            }
            runner.listening = Some((sled, epoch));
        }
        self.at(2 * SECOND, Happening::Listen { name, sled, epoch });
        // The agent itself ends what takes too long, unless it died.
        self.at(
            MAX_RUNTIME_S * SECOND,
            Happening::JobEnd {
                number: 0,
                sled,
                epoch,
            },
        );
        Ok(())
    }

    /// The runner's process ended.
    pub(super) fn runner_ended(&mut self, sled: usize, epoch: u64, exit: i32) {
        let machine = &mut self.machines[sled];
        if machine.epoch == epoch
            && machine.phase == Phase::Run
            && machine.fate.dies_at != Some(Phase::Run)
        {
            machine.exit = exit;
            machine.asked += 1;
            self.go(sled, epoch, Phase::Finish, 300, 3 * SECOND);
        }
    }
}
