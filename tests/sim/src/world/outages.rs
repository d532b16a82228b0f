//! What goes wrong for minutes to hours, and its end.

use control::{Event, Lever, PowerAction};

use super::{Happening, MINUTE, SECOND, Step, World, inventory};
use crate::{engine::Asker, faults::Fault, machine::Phase, random::Random};

/// Sleds on one circuit.
pub(super) const CIRCUIT: usize = 4;

impl World {
    /// Each virtual minute something may begin.
    pub(super) fn strike_minute(&mut self) -> Step {
        if let Some(dice) = self.faults.strike(Fault::Rack) {
            self.lose_circuit(dice)?;
        }
        if let Some(mut dice) = self.faults.strike(Fault::Tunnel) {
            self.tunnel_out_until = self.now + spell(&mut dice);
            self.mark("tunnel down", self.tunnel_out_until);
        }
        if let Some(mut dice) = self.faults.strike(Fault::Outage) {
            self.github.down_until = self.now + spell(&mut dice);
            self.mark("GitHub down", self.github.down_until);
        }
        if let Some(mut dice) = self.faults.strike(Fault::Full) {
            self.disk_full_until = self.now + dice.between(MINUTE, 10 * MINUTE);
            self.mark("disk full", self.disk_full_until);
        }
        if let Some(mut dice) = self.faults.strike(Fault::Restarts) {
            self.restarts = dice.between(3, 12);
            self.restart()?;
        }
        for (fault, in_run) in [(Fault::BmcLies, false), (Fault::BmcLiesInRun, true)] {
            let Some(mut dice) = self.faults.strike(fault) else {
                continue;
            };
            let sled = dice.index(self.machines.len());
            let until = self.now + dice.between(2 * MINUTE, 30 * MINUTE);
            if in_run || self.machines[sled].phase != Phase::Run {
                self.note(|| format!("the BMC of machine {sled} begins to lie"));
                self.machines[sled].bmc.lies_until = until;
                self.machines[sled].bmc.lies_in_run = in_run;
            }
        }
        if let Some(mut dice) = self.faults.strike(Fault::BmcDead) {
            let sled = dice.index(self.machines.len());
            self.note(|| format!("the BMC of machine {sled} dies"));
            self.machines[sled].bmc.dead = true;
        }
        Ok(())
    }

    /// One more restart of a quick series.
    pub(super) fn restart(&mut self) -> Step {
        if self.restarts == 0 || self.calm {
            return Ok(());
        }
        self.restarts -= 1;
        if self.engine.state.is_some() {
            self.crash_for("a restart", 200, 4 * SECOND)?;
        }
        let wait = self.random.between(SECOND, 40 * SECOND);
        self.at(wait, Happening::Restart);
        Ok(())
    }

    /// All sleds of a circuit lose their power, and their BMCs with them. Some
    /// BMCs take long to come back, and some sleds are set up, against all
    /// advice, to come back by themselves.
    fn lose_circuit(&mut self, mut dice: Random) -> Step {
        let first = dice.index(self.machines.len()) / CIRCUIT * CIRCUIT;
        let last = (first + CIRCUIT).min(self.machines.len());
        self.note(|| format!("machines {first} to {} lose their power", last - 1));
        let back = dice.between(20 * SECOND, 15 * MINUTE);
        self.mark("power lost", self.now + back);
        for sled in first..last {
            if self.machines[sled].is_on() {
                self.machines[sled].turn_off();
            }
            let slow = dice.below(2) * dice.between(MINUTE, 20 * MINUTE);
            self.machines[sled].bmc.out_until = self.now + back + slow;
            if dice.chance(50) {
                self.machines[sled].bmc.out_until = self.now;
                self.turn_on(sled, true);
            }
        }
        if dice.chance(200) && self.engine.state.is_some() {
            return self.crash_for("its circuit lost power", back, back + MINUTE);
        }
        Ok(())
    }

    /// Somebody comes by, now and then in a long world: replaces dead BMCs,
    /// turns off what nobody should have turned on, releases what is withheld.
    pub(super) fn attend(&mut self) {
        self.note(|| "people come by".to_owned());
        for sled in 0..self.machines.len() {
            self.machines[sled].bmc.dead = false;
            if self.machines[sled].by_hand && self.machines[sled].is_on() {
                self.machines[sled].turn_off();
            }
        }
        let Some(state) = self.engine.state.as_ref() else {
            return;
        };
        let withheld: Vec<String> = state
            .sleds()
            .filter(|(_, sled)| sled.quarantine.is_some())
            .map(|(_, sled)| sled.name.to_string())
            .collect();
        for sled in withheld {
            let changed = crate::machine::index_of(&sled)
                .and_then(|index| self.machines.get(index))
                .is_some_and(|machine| machine.settings > 0);
            let lever = if changed {
                Lever::Readopt { sled }
            } else {
                Lever::Release { sled }
            };
            self.submit(Event::Lever(lever), Asker::Operator);
        }
    }

    /// Once the faults have ended, people put everything back into service that
    /// they took out of it.
    pub(super) fn resume_everything(&mut self) {
        if self.resumed || self.engine.state.is_none() {
            return;
        }
        self.resumed = true;
        let sleds = self.machines.iter().map(|machine| Lever::Resume {
            sled: machine.name.clone(),
        });
        let pools = self.inventory.pools.iter().map(|pool| Lever::ResumePool {
            pool: pool.name.clone(),
        });
        let holds = self.machines.iter().map(|machine| Lever::Unhold {
            sled: machine.name.clone(),
        });
        let by_hand = self
            .machines
            .iter()
            .filter(|machine| machine.by_hand && machine.is_on())
            .map(|machine| Lever::Power {
                sled: machine.name.clone(),
                action: PowerAction::Off,
                force: false,
            });
        let levers: Vec<Lever> = sleds.chain(pools).chain(holds).chain(by_hand).collect();
        for lever in levers {
            self.submit(Event::Lever(lever), Asker::Operator);
        }
    }

    /// The faults end; what is broken for good stays broken.
    pub(super) fn calm_down(&mut self) {
        self.note(|| "the faults end".to_owned());
        self.calm = true;
        self.faults.end();
        self.disk_full_until = self.now;
        self.tunnel_out_until = self.now;
        self.restarts = 0;
        self.github.calm_down(self.now);
        for machine in &mut self.machines {
            machine.bmc.out_until = 0;
            machine.bmc.lies_until = 0;
            machine.bmc.slowness = 800;
        }
        self.open_at_calm = self.github.open() + self.engine.open_jobs();
        inventory::relax(&mut self.inventory);
        let inventory = self.inventory.clone();
        self.submit(Event::Inventory(inventory), Asker::Operator);
        if self.attended {
            self.attend();
        } else if self.random.chance(500) {
            for sled in 0..self.machines.len() {
                if !self.machines[sled].bmc.dead {
                    let sled = self.machines[sled].name.clone();
                    self.submit(Event::Lever(Lever::Release { sled }), Asker::Operator);
                }
            }
        }
    }
}

/// Most outages last minutes, some hours.
fn spell(dice: &mut Random) -> u64 {
    if dice.chance(700) {
        dice.between(MINUTE, 15 * MINUTE)
    } else {
        dice.between(15 * MINUTE, 180 * MINUTE)
    }
}
