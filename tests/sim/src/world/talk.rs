//! What machines and agents say, and what they make of the answers.

use control::{BootAnswer, BootFile, BootQuestion, Event};
use messages::{
    AgentMessage, BootId, Disk, DiskWipe, Firmware, Instruction, Inventory, RunEnd, RunExit,
    Scratch, Stage, WipeClass, WipeMethod, WipeReport,
};

use super::{Happening, MINUTE, SECOND, Step, World};
use crate::{
    checks::broken,
    faults::Fault,
    machine::{Machine, Phase},
};

impl World {
    /// The answer to a firmware's or loader's question.
    pub(super) fn boot_answered(
        &mut self,
        sled: usize,
        epoch: u64,
        asked: u64,
        answer: &BootAnswer,
    ) -> Step {
        if self.faults.strikes(Fault::Lose) {
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
        if self.faults.strikes(Fault::Lose) {
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
                // The heartbeat of an agent whose runner runs.
                let wait = self.random.between(8 * SECOND, 12 * SECOND);
                self.at(wait, Happening::Ask { sled, epoch });
            }
            (Instruction::Hold, _) => {
                self.check_hold(sled)?;
                self.at(5 * SECOND, Happening::Ask { sled, epoch });
            }
            (Instruction::Wait, _) => {
                let wait = self.random.between(SECOND, 20 * SECOND);
                self.at(wait, Happening::Ask { sled, epoch });
            }
            // This GitHub registers every runner itself.
            (Instruction::OrderByToken(_), _) => {
                return Err(broken("order-to-one-boot", "a token where none was given"));
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
pub(super) fn message(machine: &Machine) -> Option<Event> {
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
