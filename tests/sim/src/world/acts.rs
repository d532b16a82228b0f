//! What must hold at the very moment of an act in the world, and the defects
//! that break it on purpose.

use std::collections::BTreeMap;

use control::{AgentReply, BootAnswer, BootStage, Change, Effect, Scope, TableId};
use messages::{AgentKey, Assurance, Generation, Instruction, Outcome, SledId, TicketToken};

use super::{MAX_RUNTIME_S, SECOND, Step, World};
use crate::{checks::broken, github::Progress, machine::Phase};

impl World {
    /// `ticket-one-key`: whoever was answered for a ticket is the only one ever.
    pub(super) fn check_redeemer(
        &mut self,
        ticket: TicketToken,
        key: AgentKey,
        answer: &AgentReply,
    ) -> Step {
        if matches!(answer, AgentReply::Refused(_)) {
            return Ok(());
        }
        let known = *self.redeemers.entry(ticket).or_insert(key);
        if known != key {
            return Err(broken(
                "ticket-one-key",
                format!("{key} speaks for {known}'s ticket"),
            ));
        }
        Ok(())
    }

    /// `order-needs-wipe` and `order-to-one-boot`.
    pub(super) fn check_order(
        &mut self,
        ticket: TicketToken,
        instruction: &Option<Instruction>,
    ) -> Step {
        let Some(Instruction::Order(order)) = instruction else {
            return Ok(());
        };
        let holder = self
            .machines
            .iter()
            .position(|machine| machine.ticket == Some(ticket) && machine.is_on());
        let Some(sled) = holder else {
            return Ok(());
        };
        self.check_grade(sled, ticket)?;
        let machine = &self.machines[sled];
        // Whoever redeemed the ticket first may not be the machine itself.
        let own = self.redeemers.get(&ticket) == Some(&machine.key);
        if own && !machine.wiped {
            return Err(broken(
                "order-needs-wipe",
                format!("{} got an order and was not wiped", machine.name),
            ));
        }
        let place = (sled, machine.epoch);
        let first = *self
            .orders
            .entry(order.runner_name.clone())
            .or_insert(place);
        if first != place {
            return Err(broken(
                "order-to-one-boot",
                format!("{} went to {first:?} and {place:?}", order.runner_name),
            ));
        }
        Ok(())
    }

    /// `offer-is-armed`: boot files are for a boot that is on its way to its
    /// agent. What changed in the same turn may have been so before.
    pub(super) fn check_offer(&self, answer: &BootAnswer, changes: &[Change]) -> Step {
        let (BootAnswer::Offer(offer), Some(state)) = (answer, self.engine.state.as_ref()) else {
            return Ok(());
        };
        let boot = state.boots().find(|(_, boot)| boot.ticket == offer.ticket);
        let Some((id, boot)) = boot else {
            return Ok(());
        };
        let key = id.0.to_be_bytes();
        let mut changes = changes.iter().filter(|row| row.table == TableId::Boots);
        let armed = matches!(boot.stage, BootStage::PoweringOn | BootStage::Netbooting);
        if armed || changes.any(|row| row.key == key) {
            return Ok(());
        }
        Err(broken(
            "offer-is-armed",
            format!("boot {id} was offered boot files in {:?}", boot.stage),
        ))
    }

    /// `mint-is-late`: a runner is registered for a wiped sled and a job.
    pub(super) fn check_mint(&self, effect: &Effect) -> Step {
        let (Effect::Mint { boot: id, name, .. }, Some(state)) =
            (effect, self.engine.state.as_ref())
        else {
            return Ok(());
        };
        let early = state.boot(*id).is_some_and(|boot| {
            let unwiped = boot.is_under_way() && boot.wipe.is_none();
            let idle = boot.stage == BootStage::Ready && boot.for_job.is_none() && !boot.accepts;
            boot.has_runner(name) && (unwiped || idle)
        });
        if early {
            return Err(broken(
                "mint-is-late",
                format!("{name} is registered before its sled is wiped or has a job"),
            ));
        }
        Ok(())
    }

    /// `proof-runs-apart`: a sled that proves itself gets the run that was
    /// dispatched for it and nothing else, and no other sled gets that.
    pub(super) fn check_apart(&self, name: &str, number: u64) -> Step {
        let Some(state) = self.engine.state.as_ref() else {
            return Ok(());
        };
        let boot = state.boots().find(|(_, boot)| boot.has_runner(name));
        let Some((id, boot)) = boot else {
            return Ok(());
        };
        let proves = self.github.jobs[&number].proves();
        // Whatever is going off may still be given a job.
        if proves == boot.accepts || !boot.is_under_way() {
            return Ok(());
        }
        Err(broken(
            "proof-runs-apart",
            format!("job {number} (proves a sled: {proves}) ran in boot {id}"),
        ))
    }

    /// `accepted-by-success`: what a sled owes is settled by its run's success
    /// or by people.
    pub(super) fn check_accepted(&mut self) -> Step {
        let Some(state) = self.engine.state.as_ref() else {
            return Ok(());
        };
        let owed: BTreeMap<SledId, String> = state
            .acceptances()
            .map(|(id, row)| (id, row.label()))
            .collect();
        let settled = self.owed.iter().filter(|(id, _)| !owed.contains_key(id));
        for (id, label) in settled {
            let Some(name) = state.sled_name(*id) else {
                continue;
            };
            let succeeded = self.github.jobs.values().any(|job| {
                job.labels.iter().eq([label.as_str()]) && job.conclusion == Some("success")
            });
            if !succeeded && !self.excused.contains(name) {
                return Err(broken(
                    "accepted-by-success",
                    format!("sled {name} is in service, and {label} did not succeed"),
                ));
            }
        }
        self.owed = owed;
        Ok(())
    }

    /// `order-meets-min-assurance`: judged by what really happened to the
    /// machine, not by what the appliance was told.
    fn check_grade(&self, sled: usize, ticket: TicketToken) -> Step {
        let Some(state) = self.engine.state.as_ref() else {
            return Ok(());
        };
        let mut boots = state.boots().collect::<Vec<_>>().into_iter().rev();
        let Some((id, boot)) = boots.find(|(_, boot)| boot.ticket == ticket) else {
            return Ok(());
        };
        let pools = &self.inventory.pools;
        let asked = pools
            .iter()
            .find(|pool| pool.image.kernel == boot.image.kernel)
            .map(|pool| pool.min_assurance);
        let machine = &self.machines[sled];
        // A BMC that feigns a power edge is believed, and nobody sees a hand
        // that turns a machine off and on again while it boots.
        let forced = machine.forced || machine.feigned || machine.by_hand;
        if asked.is_some_and(|asked| asked >= Assurance::NetbootForced) && !forced {
            return Err(broken(
                "order-meets-min-assurance",
                format!(
                    "boot {id} of {} got an order, but its netboot was not forced",
                    machine.name
                ),
            ));
        }
        Ok(())
    }

    /// `one-run-per-power-on`: a runner starts.
    pub(super) fn check_run(&mut self, sled: usize) -> Step {
        let machine = &self.machines[sled];
        if machine.ran && !machine.given_up {
            return Err(broken(
                "one-run-per-power-on",
                format!("{} was not off since its last run", machine.name),
            ));
        }
        if !machine.wiped {
            return Err(broken(
                "order-needs-wipe",
                format!("{} runs unwiped", machine.name),
            ));
        }
        let name = machine.order.clone().unwrap_or_default();
        if !self.started.insert(name.clone()) {
            return Err(broken(
                "order-to-one-boot",
                format!("{name} was started twice"),
            ));
        }
        Ok(())
    }

    /// `edge-is-ours`: power comes by our command.
    pub(super) fn check_edge(&self, sled: SledId, generation: Generation, effect: &Effect) -> Step {
        let Effect::PowerOn { boot, .. } = effect else {
            return Ok(());
        };
        let loaded;
        // What is in memory between two turns is on disk.
        let state = match self.engine.state.as_ref() {
            Some(state) => state,
            None => {
                loaded = self
                    .engine
                    .load()
                    .map_err(|error| broken("load-equals-live", error))?;
                &loaded
            }
        };
        let current = state.generation(sled) == Some(generation);
        let live = state
            .boot(*boot)
            .is_some_and(|row| row.stage != BootStage::Ended);
        let adopted = state.bmc_facts(sled);
        let machine = self.machine_of(sled).map(|index| &self.machines[index]);
        if let (Some(adopted), Some(machine)) = (adopted, machine)
            && adopted.get("user.02") != Some(machine.settings.to_string().as_str())
        {
            return Err(broken(
                "changed-bmc-is-withheld",
                format!("sled {sled} goes on, though its BMC's settings are not the adopted ones"),
            ));
        }
        if current && live {
            return Ok(());
        }
        Err(broken(
            "edge-is-ours",
            format!("sled {sled} was turned on for boot {boot}, which is over"),
        ))
    }

    /// `power-budget`: what a circuit bears, before one more sled of it goes on.
    /// What people turned on by hand is theirs to answer for.
    pub(super) fn check_budget(&self, sled: usize) -> Step {
        let spec = self.inventory.sleds.get(sled);
        let Some(circuit) = spec.and_then(|spec| spec.circuit.as_ref()) else {
            return Ok(());
        };
        let bound = self
            .inventory
            .circuits
            .iter()
            .find(|spec| spec.name == *circuit)
            .map_or(0, |spec| spec.watts);
        let drawing = self.inventory.sleds.iter().zip(&self.machines);
        let drawn: u32 = drawing
            .filter(|(spec, _)| spec.circuit.as_ref() == Some(circuit))
            .filter(|(_, machine)| machine.is_on() && !machine.by_hand && !machine.given_up)
            .map(|(spec, _)| spec.watts)
            .sum();
        let own = spec.map_or(0, |spec| spec.watts);
        if bound > 0 && drawn + own > bound {
            return Err(broken(
                "power-budget",
                format!("{circuit} bears {bound} W and draws {drawn} W before sled {sled} goes on"),
            ));
        }
        Ok(())
    }

    /// `live-job-is-not-cut`: the power of a sled goes by our doing.
    ///
    /// Justified are: a run beyond its pool's limit; a machine that died in it;
    /// forged messages for its ticket; an agent whose power edge was not ours.
    pub(super) fn check_cut(&self, sled: usize, why: &str) -> Step {
        let machine = &self.machines[sled];
        if machine.phase != Phase::Run || self.live_job(sled).is_none() {
            return Ok(());
        }
        let overdue = self.now.saturating_sub(machine.ran_at) >= MAX_RUNTIME_S * SECOND;
        let forged = machine
            .ticket
            .is_some_and(|ticket| self.forged.contains(&ticket));
        let died = machine.fate.dies_at == Some(Phase::Run);
        if overdue || died || forged {
            return Ok(());
        }
        let reason = self.engine.load().ok().and_then(|state| {
            let boots: Vec<_> = state.boots().collect();
            boots
                .iter()
                .rev()
                .find(|(_, boot)| Some(boot.ticket) == machine.ticket)
                .map(|(_, boot)| match &boot.outcome {
                    Some(Outcome::Failed { reason } | Outcome::Unused { reason }) => reason.clone(),
                    Some(Outcome::Ran) | None => String::from("no reason"),
                })
        });
        Err(broken(
            "live-job-is-not-cut",
            format!(
                "{} ran a live job and was turned off by {why}: {reason:?}",
                machine.name
            ),
        ))
    }

    /// The job that this machine's runner runs and that GitHub has not ended.
    pub(super) fn live_job(&self, sled: usize) -> Option<u64> {
        let name = self.machines[sled].order.as_ref()?;
        let number = self.github.runners.get(name)?.job?;
        let job = self.github.jobs.get(&number)?;
        (job.progress == Progress::Running).then_some(number)
    }

    /// `hold-is-after-the-job`: who looks at a held sled may do anything there.
    pub(super) fn check_hold(&self, sled: usize) -> Step {
        let machine = &self.machines[sled];
        let Some(name) = machine.order.as_ref() else {
            return Err(broken(
                "hold-is-after-the-job",
                format!("{} is held and ran nothing", machine.name),
            ));
        };
        if self.github.runners.contains_key(name) {
            return Err(broken(
                "hold-is-after-the-job",
                format!("{} is held, and GitHub knows {name}", machine.name),
            ));
        }
        Ok(())
    }

    /// `rerun-is-the-sleds-fault`. Only a job that failed is run again, and no workflow does so of itself.
    pub(super) fn check_rerun(&self, number: u64) -> Step {
        let job = self.github.jobs.get(&number);
        let failed = job.is_some_and(|job| job.conclusion == Some("failure"));
        let lost = self.lost.contains(&number);
        if failed && lost {
            return Ok(());
        }
        Err(broken(
            "rerun-is-the-sleds-fault",
            format!("job {number} is run again, and its sled did not fail it"),
        ))
    }

    /// `name-registered-once`.
    pub(super) fn check_name(&self, name: &str, _scope: &Scope) -> Step {
        if self.github.names.contains(name) && !self.github.runners.contains_key(name) {
            return Err(broken("name-registered-once", format!("{name} came again")));
        }
        Ok(())
    }
}
