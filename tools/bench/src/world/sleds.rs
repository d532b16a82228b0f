//! Sleds: firmware that asks to boot, agents that wipe, poll, run and turn
//! themselves off. Each waits for an answer before it goes on.

use control::{AgentReply, BootAnswer, BootFile, BootQuestion, Event, Outcome, PoweredOn, Reply};
use messages::{
    AgentKey, AgentMessage, BootId, Digest, Disk, DiskWipe, Firmware, Instruction, Inventory, Mac,
    Millis, RunEnd, RunExit, Scratch, TicketToken, WipeClass, WipeMethod, WipeReport,
};

use super::{HEARTBEAT_MS, Happening, World, demand::Demand, index_of};

/// Where a sled stands, by what it says next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Off,
    Dhcp,
    Loader,
    Kernel,
    Hello,
    Wiped,
    Poll,
    Accept,
    Run,
    Finish,
    /// Told to turn itself off.
    Leaving,
}

/// A sled.
pub(crate) struct Sled {
    mac: Mac,
    /// Counts its power edges: what was said before one is over.
    pub(crate) epoch: u32,
    pub(crate) phase: Phase,
    ticket: Option<TicketToken>,
    /// The runner of its order.
    pub(crate) runner: Option<String>,
    /// The job that its runner has.
    pub(crate) job: Option<u64>,
}

impl Sled {
    /// One that is off.
    pub(crate) fn new(mac: Mac) -> Self {
        Self {
            mac,
            epoch: 0,
            phase: Phase::Off,
            ticket: None,
            runner: None,
            job: None,
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.phase != Phase::Off
    }

    pub(crate) fn turn_off(&mut self) {
        self.epoch += 1;
        self.phase = Phase::Off;
    }

    /// What it says in its phase.
    fn words(&self) -> Option<Event> {
        let mac = self.mac;
        let message = match self.phase {
            Phase::Off | Phase::Leaving => return None,
            Phase::Dhcp => {
                let wants_boot = true;
                return Some(Event::Boot(BootQuestion::Dhcp { mac, wants_boot }));
            }
            Phase::Loader => return Some(Event::Boot(BootQuestion::Loader { mac })),
            Phase::Kernel => {
                let (ticket, file) = (self.ticket?, BootFile::Kernel);
                return Some(Event::Boot(BootQuestion::File { ticket, file }));
            }
            Phase::Hello => AgentMessage::Hello(inventory()),
            Phase::Wiped => AgentMessage::Wiped(wipe()),
            Phase::Poll => AgentMessage::Poll,
            Phase::Accept => AgentMessage::Accepted {
                runner_name: self.runner.clone()?,
            },
            Phase::Run => AgentMessage::Log {
                offset: 0,
                bytes: Vec::new(),
            },
            Phase::Finish => AgentMessage::Finished(RunEnd {
                exit: RunExit::Code(0),
                elapsed_ms: 1,
                log_bytes: 0,
            }),
        };
        let mut key = [0; 32];
        key[..6].copy_from_slice(&mac.0);
        key[6..10].copy_from_slice(&self.epoch.to_be_bytes());
        Some(Event::Agent {
            ticket: self.ticket?,
            key: AgentKey(key),
            message,
        })
    }
}

impl<D: Demand> World<D> {
    pub(super) fn power_on(&mut self, index: usize) -> Outcome {
        let Some(sled) = self.sleds.get_mut(index) else {
            return Outcome::Stale;
        };
        let edge = !sled.is_on();
        if edge {
            sled.epoch += 1;
            sled.phase = Phase::Dhcp;
            sled.ticket = None;
            sled.runner = None;
            let epoch = sled.epoch;
            // A firmware's self-test is the longest part of a boot.
            self.after(self.timing.boot / 2, Happening::Ask(index, epoch));
        }
        Outcome::PoweredOn(Ok(PoweredOn {
            at: Millis(self.now),
            edge,
            override_confirmed: true,
        }))
    }

    pub(super) fn power_off(&mut self, index: usize) -> Outcome {
        if let Some(sled) = self.sleds.get_mut(index) {
            self.cut += usize::from(sled.job.is_some());
            sled.turn_off();
        }
        Outcome::PoweredOff(Ok(()))
    }

    pub(super) fn ask(&mut self, index: usize, epoch: u32) -> Option<Event> {
        let sled = self.sleds.get(index)?;
        if sled.epoch != epoch {
            return None;
        }
        if sled.phase == Phase::Run {
            self.after(HEARTBEAT_MS, Happening::Ask(index, epoch));
        }
        self.sleds.get(index)?.words()
    }

    /// The core answers a sled.
    pub(super) fn answered(&mut self, index: usize, reply: Reply) {
        let timing = self.timing;
        let Some(sled) = self.sleds.get_mut(index) else {
            return;
        };
        let epoch = sled.epoch;
        let (phase, wait) = match (reply, sled.phase) {
            (Reply::Boot(BootAnswer::Offer(offer)), phase) => {
                sled.ticket = Some(offer.ticket);
                match phase {
                    Phase::Dhcp => (Phase::Loader, timing.answer),
                    Phase::Loader => (Phase::Kernel, timing.answer),
                    _ => (Phase::Hello, timing.boot - timing.boot / 2),
                }
            }
            (Reply::Agent(AgentReply::Order { runner_name, .. }), Phase::Poll) => {
                sled.runner = Some(runner_name);
                (Phase::Accept, timing.answer)
            }
            (Reply::Agent(AgentReply::Instruction { instruction, .. }), phase) => {
                match (instruction, phase) {
                    (Instruction::Welcome(_), _) => (Phase::Wiped, timing.wipe),
                    (Instruction::Continue, Phase::Wiped) => (Phase::Poll, timing.answer),
                    (Instruction::Continue, Phase::Accept) => {
                        sled.phase = Phase::Run;
                        self.after(timing.pick_up, Happening::Listen(index, epoch));
                        self.after(HEARTBEAT_MS, Happening::Ask(index, epoch));
                        return;
                    }
                    (Instruction::Continue, Phase::Finish) | (Instruction::PowerOff { .. }, _) => {
                        sled.phase = Phase::Leaving;
                        self.after(timing.power_off, Happening::Off(index, epoch));
                        return;
                    }
                    (Instruction::Discard, _) => (Phase::Poll, timing.answer),
                    // A long poll: `wake` ends it.
                    (
                        Instruction::Wait
                        | Instruction::Hold
                        | Instruction::Continue
                        | Instruction::Order(_)
                        | Instruction::OrderByToken(_),
                        _,
                    ) => return,
                }
            }
            // Firmware that is held asks again when it is turned on again.
            _ => return,
        };
        sled.phase = phase;
        self.after(wait, Happening::Ask(index, epoch));
    }

    /// The core has something for an agent that waits.
    pub(super) fn wake(&mut self, boot: BootId) {
        let Some(boot) = self.engine.state.boot(boot) else {
            return;
        };
        let index = index_of(boot.sled);
        let waits = self.sleds.get(index).filter(|sled| {
            sled.ticket == Some(boot.ticket) && matches!(sled.phase, Phase::Poll | Phase::Run)
        });
        if let Some(epoch) = waits.map(|sled| sled.epoch) {
            self.after(1, Happening::Ask(index, epoch));
        }
    }
}

/// The inventory of every agent.
pub(crate) fn inventory() -> Inventory {
    Inventory {
        agent_version: "0.1.0".to_owned(),
        kernel: "6.12.48".to_owned(),
        firmware: Firmware::Uefi,
        cpus: 32,
        memory_mib: 131_072,
        product: "a server".to_owned(),
        disks: vec![Disk {
            name: "nvme0n1".to_owned(),
            model: "a disk".to_owned(),
            serial: "S0123456789".to_owned(),
            bytes: 1_000_204_886_016,
        }],
        uptime_ms: 9_000,
    }
}

/// A clean wipe.
pub(crate) fn wipe() -> WipeReport {
    WipeReport {
        disks: vec![DiskWipe {
            name: "nvme0n1".to_owned(),
            model: "a disk".to_owned(),
            serial: "S0123456789".to_owned(),
            bytes: 1_000_204_886_016,
            method: WipeMethod::Discard,
            class: WipeClass::Clear,
            samples: 64,
            survivors: 0,
            elapsed_ms: 1_500,
        }],
        scratch: Scratch {
            cipher: "aes-xts-plain64".to_owned(),
            disk: Some("nvme0n1".to_owned()),
            bytes: 900 << 30,
        },
        elapsed_ms: 1_600,
    }
}

/// A digest of something that nobody looks into.
pub(super) fn digest(byte: u8) -> Digest {
    Digest([byte; 32])
}
