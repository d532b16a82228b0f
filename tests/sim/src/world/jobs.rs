//! Lives of jobs at GitHub: pushed, taken, ended, and told of in deliveries
//! that come twice, late or never.

use control::{Event, Source};

use super::{Happening, MINUTE, SECOND, START, Step, World};
use crate::{
    engine::Asker,
    faults::Fault,
    github::{HUB, Progress},
    machine::Phase,
};

/// One job in so many changes the settings of its sled's BMC.
const TAMPERS: u64 = 53;

/// A queued job dies after this, at GitHub ("Usage limits", GitHub docs).
pub(super) const JOB_LIFE: u64 = 24 * 60 * MINUTE;

impl World {
    /// A listener looks for a job.
    pub(super) fn listen(&mut self, name: &str, sled: usize, epoch: u64) -> Step {
        let machine = &self.machines[sled];
        if machine.epoch != epoch || machine.phase != Phase::Run {
            return Ok(());
        }
        if !self.github.runners.contains_key(name) {
            self.runner_ended(sled, epoch, 1);
            return Ok(());
        }
        let down = self.github.is_down(self.now);
        let found = self.github.job_for(name, &mut self.random);
        let Some(number) = found.filter(|_| !down) else {
            let wait = self.random.between(2 * SECOND, 8 * SECOND);
            let name = name.to_owned();
            self.at(wait, Happening::Listen { name, sled, epoch });
            return Ok(());
        };
        self.note(|| format!("GitHub gives job {number} to {name}"));
        self.check_apart(name, number)?;
        if let Some(runner) = self.github.runners.get_mut(name) {
            runner.job = Some(number);
            let id = runner.id;
            self.assign(number, (id, name.to_owned()));
        }
        let wait = self.github.jobs[&number].length;
        self.at(
            wait,
            Happening::JobEnd {
                number,
                sled,
                epoch,
            },
        );
        Ok(())
    }

    fn assign(&mut self, number: u64, runner: (messages::RunnerId, String)) {
        self.github.assign(self.now, number, runner);
        self.note_wait(number);
        self.announce(number);
    }

    /// An idle JIT runner expires within minutes (actions/runner#4726).
    pub(super) fn expire(&mut self, name: &str) -> Step {
        let idle = self
            .github
            .runners
            .get(name)
            .is_some_and(|runner| runner.job.is_none() && runner.listening.is_some());
        if idle && self.expires {
            self.github.runners.remove(name);
        }
        Ok(())
    }

    /// A job's script ends on its machine; number 0 is the agent's own limit.
    pub(super) fn job_end(&mut self, number: u64, sled: usize, epoch: u64) -> Step {
        let machine = &self.machines[sled];
        let runs = machine.epoch == epoch && machine.phase == Phase::Run;
        if number == 0 {
            if runs && machine.fate.dies_at != Some(Phase::Run) {
                if let Some(live) = self.live_job(sled) {
                    self.complete(live, "cancelled")?;
                }
                self.runner_ended(sled, epoch, -1);
            }
            return Ok(());
        }
        if !runs || machine.fate.dies_at == Some(Phase::Run) {
            // GitHub notices a lost runner after a while.
            self.at(10 * MINUTE, Happening::Notice { number });
            return Ok(());
        }
        let hangs = machine.fate.hangs;
        if let Some(replay) = self.replay.as_mut() {
            *replay.ran.entry(number).or_insert(0) += 1;
        } else if !self.calm && number.is_multiple_of(TAMPERS) {
            self.note(|| format!("job {number} changes the BMC of machine {sled}"));
            self.machines[sled].settings += 1;
        }
        let proves = self.github.jobs[&number].proves();
        let conclusion = if self.random.chance(if proves { 950 } else { 800 }) {
            "success"
        } else {
            "failure"
        };
        self.complete(number, conclusion)?;
        if !hangs {
            self.runner_ended(sled, epoch, 0);
        }
        Ok(())
    }

    /// GitHub gives up a job whose runner it does not hear any more.
    pub(super) fn lose(&mut self, number: u64) -> Step {
        self.lost.insert(number);
        self.complete(number, "failure")
    }

    /// A job ends at GitHub.
    pub(super) fn complete(&mut self, number: u64, conclusion: &'static str) -> Step {
        if self.github.complete(self.now, number, conclusion) {
            self.note(|| format!("GitHub: job {number} ends: {conclusion}"));
            self.announce(number);
        }
        Ok(())
    }

    /// Somebody cancels a job.
    pub(super) fn cancel(&mut self, number: u64) -> Step {
        let place = self
            .github
            .runners
            .values()
            .find(|runner| runner.job == Some(number))
            .and_then(|runner| runner.listening);
        self.complete(number, "cancelled")?;
        if let Some((sled, epoch)) = place
            && !self.machines[sled].fate.hangs
        {
            self.runner_ended(sled, epoch, 0);
        }
        Ok(())
    }

    /// GitHub gives up a job that no runner took.
    pub(super) fn job_expires(&mut self, number: u64) -> Step {
        let waits = self.github.waiting().any(|job| job.number == number);
        if waits {
            if let Some(replay) = self.replay.as_mut() {
                replay.expired.insert(number);
            }
            return self.complete(number, "cancelled");
        }
        Ok(())
    }

    /// A runner that is not ours takes a job.
    pub(super) fn foreign_take(&mut self, number: u64) -> Step {
        let waits = self
            .github
            .jobs
            .get(&number)
            .is_some_and(|job| job.progress == Progress::Queued);
        if waits {
            // Ids are unique in a scope only, so they may equal one of ours.
            let id = messages::RunnerId(self.random.between(1, 20));
            self.note(|| format!("a foreign runner takes job {number}"));
            self.assign(number, (id, format!("foreign-{number}")));
            let wait = self.random.between(10 * SECOND, 10 * MINUTE);
            self.at(wait, Happening::ForeignEnd { number });
        }
        Ok(())
    }

    /// GitHub sends a delivery about a job as it stands.
    pub(super) fn announce(&mut self, number: u64) {
        let Some(index) = self.github.log(number, &mut self.random) else {
            return;
        };
        if self.replay.is_some() {
            return self.send(index);
        }
        let job = &self.github.jobs[&number];
        let queued = job.progress == Progress::Queued;
        let mut waits = vec![self.random.between(50, 1500)];
        let mut repaired = true;
        if self.faults.strikes(Fault::Reorder) {
            waits = vec![self.random.between(5 * SECOND, 160 * SECOND)];
        }
        if self.faults.strikes(Fault::Double) {
            waits.push(self.random.between(50, 30 * SECOND));
        }
        if let Some(mut dice) = self.faults.strike(Fault::Drop) {
            waits.clear();
            // In some worlds nobody ever reads the log.
            repaired = queued || dice.chance(400);
        }
        if self.github.is_down(self.now) {
            // It catches up with a part when it is back.
            let late = self.github.down_until - self.now + waits.pop().unwrap_or(SECOND);
            waits = vec![late];
            if self.random.chance(500) {
                waits.clear();
            }
        }
        let source = Source::Tunnel;
        for wait in waits {
            self.at(wait, Happening::Deliver { index, source });
        }
        if repaired {
            let wait = self.random.between(2 * MINUTE, 6 * MINUTE);
            self.at(wait, Happening::Repair { index });
        }
    }

    /// A delivery is POSTed.
    pub(super) fn deliver(&mut self, index: usize, source: Source) -> Step {
        if source == Source::Tunnel && self.now < self.tunnel_out_until {
            return Ok(());
        }
        let event = Event::Delivery {
            key: self.github.deliveries[index].key,
            hub: HUB,
            source,
            hook: self.github.hook(index),
        };
        self.submit(event, Asker::Delivery(index));
        Ok(())
    }

    /// Somebody reads GitHub's delivery log.
    pub(super) fn repair(&mut self, index: usize) -> Step {
        if !self.github.deliveries[index].acknowledged {
            if !self.github.is_down(self.now) {
                self.deliver(index, Source::DeliveryLog)?;
            }
            self.at(3 * MINUTE, Happening::Repair { index });
        }
        Ok(())
    }

    /// Somebody pushes a commit.
    pub(super) fn push(&mut self) -> Step {
        if self.calm {
            return Ok(());
        }
        let (push, wait) = self.traffic.next(self.now - START);
        self.at(wait, Happening::Push);
        let Some(push) = push else { return Ok(()) };
        let run = self.github.next_run();
        for (labels, length) in push.jobs {
            let now = self.now;
            let number = self
                .github
                .create(now, run, push.repository, labels, length);
            self.note(|| format!("job {number} of {} wants {labels:?}", push.repository));
            self.announce(number);
            if self.replay.is_some() {
                self.at(JOB_LIFE, Happening::JobExpires { number });
            }
            if self.faults.strikes(Fault::Cancel) || labels[0] == "ubuntu-latest" {
                let wait = self.random.between(SECOND, 8 * MINUTE);
                self.at(wait, Happening::Cancel { number });
            }
            if self.faults.strikes(Fault::Steal) {
                let wait = self.random.between(SECOND, 4 * MINUTE);
                self.at(wait, Happening::ForeignTake { number });
            }
        }
        Ok(())
    }
}
