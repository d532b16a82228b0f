//! People: the operator, a hand at the power button, a forger.

use control::{BootAnswer, BootQuestion, Event, Lever, PowerAction, Scope};
use messages::{AgentKey, AgentMessage};

use super::{Happening, MINUTE, SECOND, START, Step, World, talk};
use crate::{defect::Defect, engine::Asker, faults::Fault};

/// Minutes between two visits of people, where a world has visits.
const ATTENDED: u64 = 120;

impl World {
    /// Each virtual minute people may do something.
    pub(super) fn minute(&mut self) -> Step {
        self.at(MINUTE, Happening::Minute);
        self.observe();
        self.list_runners();
        self.watch_replay();
        if !self.calm && self.now >= self.calm_at {
            self.calm_down();
        }
        if self.calm {
            self.resume_everything();
            return self.check_starving();
        }
        self.strike_minute()?;
        if self.faults.strikes(Fault::Hand) {
            self.hand();
        }
        if self.faults.strikes(Fault::Forge) {
            self.forge();
        }
        if self.faults.strikes(Fault::Operator) {
            self.operate();
        }
        let minutes = (self.now - START) / MINUTE;
        if self.attended && minutes % ATTENDED == ATTENDED - 1 {
            self.attend();
        }
        Ok(())
    }

    fn hand(&mut self) {
        let sled = self.random.index(self.machines.len());
        if self.machines[sled].is_on() {
            self.note(|| format!("a hand turns machine {sled} off"));
            self.machines[sled].turn_off();
            return;
        }
        self.note(|| format!("a hand turns machine {sled} on"));
        self.turn_on(sled, true);
        if self.random.chance(700) {
            let epoch = self.machines[sled].epoch;
            let wait = self.random.between(MINUTE, 8 * MINUTE);
            self.at(wait, Happening::HandOff { sled, epoch });
        }
    }

    /// Whoever turned it on turns it off.
    pub(super) fn hand_off(&mut self, sled: usize, epoch: u64) -> Step {
        if self.machines[sled].epoch == epoch {
            self.machines[sled].turn_off();
        }
        Ok(())
    }

    fn forge(&mut self) {
        let sled = self.random.index(self.machines.len());
        let own = AgentKey(self.random.bytes());
        let machine = &self.machines[sled];
        let (mac, key) = (machine.mac, machine.key);
        if self.random.chance(200) {
            // Somebody with the sled's address asks to boot, power or not.
            let question = BootQuestion::Loader { mac };
            self.submit(Event::Boot(question), Asker::Forger(own));
            return;
        }
        let Some(ticket) = machine.ticket.filter(|_| machine.is_on()) else {
            return self.replay();
        };
        let hello = AgentMessage::Hello(talk::inventory());
        let other = AgentMessage::Accepted {
            runner_name: self.started.first().cloned().unwrap_or_default(),
        };
        let (spoken_by, key, message) = match self.random.below(6) {
            0 | 1 => (own, own, hello),
            2 => (own, own, AgentMessage::Poll),
            3 => (key, key, AgentMessage::Poll),
            4 => (key, key, other),
            _ => (key, key, AgentMessage::Wiped(talk::wipe(false))),
        };
        self.note(|| format!("forged for machine {sled}: {message:?}"));
        self.forged.insert(ticket);
        self.send_forged(ticket, spoken_by, key, message);
    }

    fn send_forged(
        &mut self,
        ticket: messages::TicketToken,
        spoken_by: AgentKey,
        key: AgentKey,
        message: AgentMessage,
    ) {
        let accepts_any = self.defect == Some(Defect::AnyKey);
        let first = self.redeemers.get(&ticket).copied().filter(|_| accepts_any);
        let event = Event::Agent {
            ticket,
            key: first.unwrap_or(key),
            message,
        };
        self.submit(event, Asker::Forger(spoken_by));
    }

    /// Words of an earlier boot are said again.
    fn replay(&mut self) {
        if self.old_tickets.is_empty() {
            return;
        }
        let (ticket, key) = self.old_tickets[self.random.index(self.old_tickets.len())];
        let message = match self.random.below(3) {
            0 => AgentMessage::Hello(talk::inventory()),
            1 => AgentMessage::Poll,
            _ => AgentMessage::Wiped(talk::wipe(true)),
        };
        self.forged.insert(ticket);
        self.send_forged(ticket, key, key, message);
    }

    /// A machine that took another's address got an answer: it redeems.
    pub(super) fn ghost_answered(&mut self, answer: &BootAnswer) {
        if let BootAnswer::Offer(offer) = answer {
            let key = AgentKey(self.random.bytes());
            self.note(|| "a ghost redeems a ticket".to_owned());
            self.forged.insert(offer.ticket);
            let hello = AgentMessage::Hello(talk::inventory());
            self.send_forged(offer.ticket, key, key, hello);
        }
    }

    fn operate(&mut self) {
        let mut changed = self.inventory.clone();
        let sled = self.random.index(changed.sleds.len());
        let name = changed.sleds[sled].name.clone();
        match self.random.below(7) {
            0 => {
                changed.sleds.remove(sled);
            }
            1 if changed.pools.len() > 1 => {
                let gone = changed.pools.remove(self.random.index(changed.pools.len()));
                for sled in &mut changed.sleds {
                    sled.pools.retain(|pool| *pool != gone.name);
                }
            }
            2 => {
                // The pool moves to another scope under the same name.
                changed.pools[0].scope = Scope::Repo("octo/app".to_owned());
            }
            3 | 4 => {
                let lever = self.lever(name);
                self.note(|| format!("the operator pulls {lever:?}"));
                return self.submit(Event::Lever(lever), Asker::Operator);
            }
            _ => {}
        }
        // A sled may lose the pool that asks for its run.
        let sleds = self.inventory.sleds.iter();
        self.excused.extend(sleds.map(|sled| sled.name.clone()));
        self.note(|| "the operator changes the inventory".to_owned());
        self.submit(Event::Inventory(changed), Asker::Operator);
        if self.random.chance(500) {
            let wait = self.random.between(10 * SECOND, 5 * MINUTE);
            self.at(wait, Happening::Declare);
        }
    }

    /// The operator declares again what was meant all along.
    pub(super) fn declare(&mut self) -> Step {
        let inventory = self.inventory.clone();
        self.submit(Event::Inventory(inventory), Asker::Operator);
        Ok(())
    }

    fn lever(&mut self, sled: String) -> Lever {
        let pools = &self.inventory.pools;
        let pool = pools[self.random.index(pools.len())].name.clone();
        let reason = "a person looks at it".to_owned();
        match self.random.below(if self.proves { 13 } else { 12 }) {
            0 => Lever::Quarantine { sled, reason },
            1 => Lever::Release { sled },
            2 => Lever::Drain { sled },
            3 => Lever::Maintain { sled, reason },
            4 | 5 => Lever::Resume { sled },
            6 => Lever::CancelClaim { sled },
            7 => Lever::PausePool { pool, reason },
            8 => Lever::Unhold { sled },
            9 => Lever::Power {
                sled,
                action: [PowerAction::On, PowerAction::Off, PowerAction::Cycle]
                    [self.random.index(3)],
                force: false,
            },
            10 => Lever::Hold {
                sled,
                seconds: self.random.between(1, 2 * 3600),
            },
            11 => Lever::ResumePool { pool },
            _ => {
                self.excused.insert(sled.clone());
                Lever::Accept {
                    acceptance: sled,
                    passed: self.random.chance(800),
                }
            }
        }
    }

    /// For a defect: every sled is turned off, whatever it does.
    pub(super) fn toggle_everything(&mut self) -> Step {
        for sled in 0..self.machines.len() {
            if self.machines[sled].is_on() {
                self.check_cut(sled, "a restart")?;
                self.machines[sled].turn_off();
            }
        }
        Ok(())
    }
}
