//! Sleds: BMCs that carry out commands, machines that boot, agents that talk.

use control::{
    BootAnswer, BootFile, BootQuestion, Effect, Event, Outcome, PowerFailure, PowerReading,
    PoweredOn,
};
use messages::{
    AgentMessage, BootId, Disk, DiskWipe, Firmware, Instruction, Inventory, RunEnd, RunExit,
    Scratch, SledId, Stage, WipeClass, WipeMethod, WipeReport,
};

use super::{Happening, MAX_RUNTIME_S, MINUTE, SECOND, Step, World};
use crate::{
    checks::broken,
    engine::Asker,
    faults::Defect,
    machine::{Command, Fate, Machine, Phase},
};

/// A machine asks this often before it gives up.
const PATIENT_TRIES: u32 = 80;

impl World {
    fn machine_of(&self, sled: SledId) -> Option<usize> {
        let name = self.engine.state.as_ref()?.sled_name(sled)?;
        self.machines
            .iter()
            .position(|machine| machine.name == name)
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
        if self.random.chance(self.faults.bmc_out) {
            let wait = self.random.between(20 * SECOND, 8 * MINUTE);
            self.machines[sled].bmc.out_until = self.now + wait;
        }
        let bmc = &self.machines[sled].bmc;
        let silent = bmc.dead || self.now < bmc.out_until;
        let failing = silent || self.random.chance(self.faults.bmc);
        // A failure may be that of the answer alone.
        let acts = !silent && (!failing || self.random.chance(500));
        let failure = PowerFailure {
            permanent: false,
            message: "no answer".to_owned(),
        };
        match command {
            Command::Read(id, generation) => {
                let on = self.machines[sled].is_on() && self.defect != Some(Defect::ReadsOff);
                let reading = if on {
                    PowerReading::On
                } else {
                    PowerReading::Off
                };
                let result = if failing { Err(failure) } else { Ok(reading) };
                let event = Event::PowerRead {
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
        if acts && on && !was_on {
            self.check_edge(id, generation, effect)?;
            self.note(|| format!("sled {id} goes on by command"));
            self.turn_on(sled, false);
        } else if acts && !on && was_on {
            self.check_cut(sled, "a power command")?;
            self.note(|| format!("sled {id} goes off by command"));
            self.machines[sled].turn_off();
        }
        Ok(match (failure, on) {
            (Some(failure), true) => Outcome::PoweredOn(Err(failure)),
            (Some(failure), false) => Outcome::PoweredOff(Err(failure)),
            (None, true) => Outcome::PoweredOn(Ok(PoweredOn {
                at: self.time(),
                edge: !was_on,
                override_confirmed: self.random.chance(900),
            })),
            (None, false) => Outcome::PoweredOff(Ok(())),
        })
    }

    /// Power comes to a machine.
    pub(super) fn turn_on(&mut self, sled: usize, by_hand: bool) {
        let dies = self.random.chance(self.faults.die);
        let fate = Fate {
            dies_at: dies.then(|| {
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
                phases[self.random.index(phases.len())]
            }),
            hangs: self.random.chance(self.faults.hang),
            unclean: self.random.chance(self.faults.unclean),
            fails: self.random.chance(self.faults.unclean),
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
        if phase == Phase::Wipe && !machine.fate.unclean && defect != Some(Defect::ForgedWipe) {
            machine.wiped = true;
        }
        self.ask(sled, epoch)
    }

    /// A machine says its message, which may be lost.
    pub(super) fn ask(&mut self, sled: usize, epoch: u64) -> Step {
        let machine = &mut self.machines[sled];
        if machine.epoch != epoch || machine.moving {
            return Ok(());
        }
        machine.asked += 1;
        let asked = machine.asked;
        let Some(event) = message(machine) else {
            return Ok(());
        };
        let wait = self.random.between(3 * SECOND, 6 * SECOND);
        self.at(wait, Happening::Retry { sled, epoch, asked });
        if !self.random.chance(self.faults.lose) {
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

    /// The answer to a firmware's or loader's question.
    pub(super) fn boot_answered(
        &mut self,
        sled: usize,
        epoch: u64,
        asked: u64,
        answer: &BootAnswer,
    ) -> Step {
        if self.random.chance(self.faults.lose) {
            return Ok(());
        }
        let machine = &mut self.machines[sled];
        if machine.epoch != epoch || machine.asked != asked {
            return Ok(());
        }
        let BootAnswer::Offer(offer) = answer else {
            // It asks again later, as firmware does.
            return Ok(());
        };
        let next = match machine.phase {
            Phase::Dhcp => Phase::Loader,
            Phase::Loader => {
                machine.ticket = Some(offer.ticket);
                Phase::Kernel
            }
            Phase::Kernel => Phase::Hello,
            _ => return Ok(()),
        };
        machine.asked += 1;
        self.go(sled, epoch, next, 100, 8 * SECOND);
        Ok(())
    }

    /// The answer to an agent; `None` when it was refused.
    pub(super) fn heard(
        &mut self,
        sled: usize,
        epoch: u64,
        asked: u64,
        said: &AgentMessage,
        instruction: Option<Instruction>,
    ) -> Step {
        if self.random.chance(self.faults.lose) {
            return Ok(());
        }
        let machine = &mut self.machines[sled];
        if machine.epoch != epoch || machine.asked != asked {
            return Ok(());
        }
        let Some(instruction) = instruction else {
            return Ok(());
        };
        machine.asked += 1;
        match (instruction, said) {
            (Instruction::Welcome(_), _) => {
                self.go(sled, epoch, Phase::Wipe, 5 * SECOND, 2 * MINUTE);
            }
            (Instruction::Continue, AgentMessage::Wiped(_)) | (Instruction::Discard, _) => {
                machine.order = None;
                self.go(sled, epoch, Phase::Poll, 100, SECOND);
            }
            (Instruction::Continue, AgentMessage::Accepted { .. }) => {
                return self.start_runner(sled);
            }
            (Instruction::Continue, AgentMessage::Finished(_) | AgentMessage::Failed { .. }) => {
                let wait = self.random.between(500, 5 * SECOND);
                self.at(wait, Happening::SelfOff { sled, epoch });
            }
            (Instruction::Continue, _) => {
                let wait = self.random.between(8 * SECOND, 60 * SECOND);
                self.at(wait, Happening::Ask { sled, epoch });
            }
            (Instruction::Wait, _) => {
                let wait = self.random.between(SECOND, 20 * SECOND);
                self.at(wait, Happening::Ask { sled, epoch });
            }
            (Instruction::Order(order), _) => {
                machine.order = Some(order.runner_name);
                self.go(sled, epoch, Phase::Accept, 100, 15 * SECOND);
            }
            (Instruction::PowerOff { reason }, _) => {
                self.check_cut(sled, &reason)?;
                self.machines[sled].phase = Phase::Stuck;
                let wait = self.random.between(500, 5 * SECOND);
                self.at(wait, Happening::SelfOff { sled, epoch });
            }
        }
        Ok(())
    }

    fn go(&mut self, sled: usize, epoch: u64, phase: Phase, low: u64, high: u64) {
        self.machines[sled].moving = true;
        let wait = self.random.between(low, high);
        self.at(wait, Happening::Reach { sled, epoch, phase });
    }

    fn start_runner(&mut self, sled: usize) -> Step {
        self.check_run(sled)?;
        self.summary.runs += 1;
        let now = self.time();
        let machine = &mut self.machines[sled];
        machine.ran = true;
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

    /// The engine tells an agent to ask again now.
    pub(super) fn wake_agent(&mut self, boot: BootId) {
        let state = self.engine.state.as_ref();
        let ticket = state
            .and_then(|state| state.boot(boot))
            .map(|row| row.ticket);
        let woken = self.machines.iter().position(|machine| {
            machine.is_on()
                && machine.ticket == ticket
                && matches!(machine.phase, Phase::Poll | Phase::Run)
                && machine.fate.dies_at != Some(machine.phase)
        });
        if let Some(sled) = woken {
            let epoch = self.machines[sled].epoch;
            self.at(50, Happening::Ask { sled, epoch });
        }
    }
}

/// What a machine says in its phase.
fn message(machine: &Machine) -> Option<Event> {
    let mac = machine.mac;
    let agent = |message| {
        machine.ticket.map(|ticket| Event::Agent {
            ticket,
            key: machine.key,
            message,
        })
    };
    match machine.phase {
        Phase::Off | Phase::Stuck => None,
        Phase::Dhcp => Some(Event::Boot(BootQuestion::Dhcp {
            mac,
            wants_boot: true,
        })),
        Phase::Loader => Some(Event::Boot(BootQuestion::Loader { mac })),
        Phase::Kernel => machine.ticket.map(|ticket| {
            Event::Boot(BootQuestion::File {
                ticket,
                file: BootFile::Kernel,
            })
        }),
        Phase::Hello => agent(AgentMessage::Hello(inventory())),
        Phase::Wipe if machine.fate.fails && machine.fate.unclean => agent(AgentMessage::Failed {
            stage: Stage::Wipe,
            reason: "the disk does not answer".to_owned(),
        }),
        Phase::Wipe => agent(AgentMessage::Wiped(wipe(!machine.fate.unclean))),
        Phase::Poll => agent(AgentMessage::Poll),
        Phase::Accept if machine.fate.fails => agent(AgentMessage::Failed {
            stage: Stage::Image,
            reason: "the image has another digest".to_owned(),
        }),
        Phase::Accept => agent(AgentMessage::Accepted {
            runner_name: machine.order.clone()?,
        }),
        Phase::Run if machine.fate.dies_at == Some(Phase::Run) => None,
        Phase::Run => agent(AgentMessage::Log {
            offset: 0,
            bytes: Vec::new(),
        }),
        Phase::Finish => agent(AgentMessage::Finished(RunEnd {
            exit: if machine.exit < 0 {
                RunExit::TimedOut
            } else {
                RunExit::Code(machine.exit)
            },
            elapsed_ms: 1,
            log_bytes: 0,
        })),
    }
}

/// The inventory of every agent.
pub(super) fn inventory() -> Inventory {
    Inventory {
        agent_version: "1".to_owned(),
        kernel: "6.12".to_owned(),
        firmware: Firmware::Uefi,
        cpus: 2,
        memory_mib: 1024,
        product: "sim".to_owned(),
        disks: vec![Disk {
            name: "vda".to_owned(),
            model: "sim".to_owned(),
            serial: "1".to_owned(),
            bytes: 1 << 30,
        }],
        uptime_ms: 1,
    }
}

/// A wipe report.
pub(super) fn wipe(clean: bool) -> WipeReport {
    WipeReport {
        disks: vec![DiskWipe {
            name: "vda".to_owned(),
            model: "sim".to_owned(),
            serial: "1".to_owned(),
            bytes: 1 << 30,
            method: WipeMethod::Discard,
            class: WipeClass::Clear,
            samples: 8,
            survivors: u32::from(!clean),
            elapsed_ms: 1,
        }],
        scratch: Scratch {
            cipher: "aes-xts-plain64".to_owned(),
            disk: None,
            bytes: 1 << 20,
        },
        elapsed_ms: 1,
    }
}
