//! GitHub in time: requests that get lost, runners that take jobs, deliveries
//! that come twice, late or never.

use control::{Effect, Event, GithubFailure, JobAnswer, Outcome, Source};
use messages::{EffectId, SignatureBytes};

use super::{Happening, MINUTE, SECOND, Step, World};
use crate::{
    engine::Asker,
    faults::Defect,
    github::{HUB, Progress, REPOSITORIES},
    machine::Phase,
};

impl World {
    /// Sends a request to GitHub (or to the signer).
    pub(super) fn request(&mut self, id: EffectId, effect: Effect) {
        let incarnation = self.engine.incarnation;
        if matches!(effect, Effect::SignReceipt { .. }) {
            self.outcome(incarnation, id, 1, Outcome::Signed(SignatureBytes([7; 64])));
            return;
        }
        let lost = || Err(GithubFailure::Unavailable("no answer".to_owned()));
        let latency = self.random.between(50, 2 * SECOND);
        let mut answer_at = Some(0);
        let mut wait = latency;
        if self.random.chance(self.faults.api) {
            match self.random.below(6) {
                0 => {
                    let outcome = failed(&effect, lost());
                    self.outcome(incarnation, id, latency, outcome);
                    return;
                }
                1 | 2 => {
                    // The answer is lost; the request may even come late.
                    let late = self.random.below(2) * self.random.between(SECOND, 40 * SECOND);
                    self.outcome(incarnation, id, 15 * SECOND, failed(&effect, lost()));
                    answer_at = None;
                    wait = latency + late;
                }
                3 => self.github.refuses_until = self.now + self.random.between(SECOND, 2 * MINUTE),
                4 => self.github.limited_until = self.now + self.random.between(SECOND, 5 * MINUTE),
                _ => wait = self.random.between(5 * SECOND, 20 * SECOND),
            }
        }
        self.requests.insert((incarnation, id), effect);
        self.at(
            wait,
            Happening::Api {
                incarnation,
                id,
                answer_at,
            },
        );
    }

    /// A request arrives at GitHub.
    pub(super) fn api(&mut self, incarnation: u64, id: EffectId, answer: Option<u64>) -> Step {
        let Some(effect) = self.requests.get(&(incarnation, id)).cloned() else {
            return Ok(());
        };
        let outcome = if self.now < self.github.limited_until {
            let wait = self.github.limited_until - self.now;
            failed(&effect, Err(GithubFailure::RateLimited(wait)))
        } else if self.now < self.github.refuses_until {
            failed(
                &effect,
                Err(GithubFailure::Refused("no permission".to_owned())),
            )
        } else {
            self.carry_out_request(&effect)?
        };
        self.note(|| format!("GitHub: {effect:?} -> {outcome:?}, answered: {answer:?}"));
        if answer.is_none() {
            return Ok(());
        }
        if let (Effect::Mint { name, .. }, Outcome::Minted(Ok(_))) = (&effect, &outcome)
            && incarnation == self.engine.incarnation
        {
            self.engine.secrets.insert(name.clone());
        }
        let wait = self.random.between(20, SECOND);
        self.outcome(incarnation, id, wait, outcome);
        Ok(())
    }

    fn carry_out_request(&mut self, effect: &Effect) -> Result<Outcome, crate::Violation> {
        Ok(match effect {
            Effect::Mint {
                scope,
                name,
                labels,
                ..
            } => {
                self.check_name(name, scope)?;
                let twice = self.defect == Some(Defect::MintTwice);
                if twice && self.github.names.contains(name) {
                    self.github.runners.remove(name);
                    self.check_name(name, scope)?;
                }
                match self.github.register(scope, name, labels) {
                    Some(id) => {
                        let wait = self.random.between(2 * MINUTE, 6 * MINUTE);
                        self.at(wait, Happening::Expire { name: name.clone() });
                        Outcome::Minted(Ok(id))
                    }
                    None => Outcome::Minted(Err(GithubFailure::Conflict)),
                }
            }
            Effect::DeleteRunner {
                scope, name, id, ..
            } => {
                let gone = self.defect == Some(Defect::KeepRunners)
                    || self.github.delete(scope, name, *id);
                Outcome::Deleted(Ok(gone))
            }
            Effect::LookUpJob { job, .. } => {
                let answer = self
                    .github
                    .report(job.number)
                    .map_or(JobAnswer::Gone, |report| {
                        JobAnswer::Report(Box::new(report))
                    });
                Outcome::LookedUp(Ok(answer))
            }
            Effect::PowerOn { .. } | Effect::PowerOff { .. } | Effect::SignReceipt { .. } => {
                Outcome::Stale
            }
        })
    }

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
        let Some(number) = self.github.job_for(name, &mut self.random) else {
            let wait = self.random.between(2 * SECOND, 8 * SECOND);
            let name = name.to_owned();
            self.at(wait, Happening::Listen { name, sled, epoch });
            return Ok(());
        };
        self.note(|| format!("GitHub gives job {number} to {name}"));
        if let Some(runner) = self.github.runners.get_mut(name) {
            runner.job = Some(number);
            let id = runner.id;
            self.assign(number, (id, name.to_owned()));
        }
        let wait = self.random.between(5 * SECOND, 4 * MINUTE);
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
        if let Some(job) = self.github.jobs.get_mut(&number) {
            job.progress = Progress::Running;
            job.runner = Some(runner);
        }
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
        let conclusion = if self.random.chance(800) {
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

    /// A job ends at GitHub.
    pub(super) fn complete(&mut self, number: u64, conclusion: &'static str) -> Step {
        if self.github.complete(number, conclusion) {
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
        let queued = self.github.jobs[&number].progress == Progress::Queued;
        let base = self.random.between(50, 1500);
        let mut repaired = true;
        if self.random.chance(self.faults.delivery) {
            match self.random.below(3) {
                0 => {
                    // Dropped; in some worlds nobody ever reads the log.
                    repaired = queued || self.random.chance(400);
                }
                1 => {
                    for _ in 0..2 {
                        let wait = self.random.between(50, 30 * SECOND);
                        self.at(
                            wait,
                            Happening::Deliver {
                                index,
                                source: Source::Tunnel,
                            },
                        );
                    }
                }
                _ => {
                    let wait = self.random.between(5 * SECOND, 160 * SECOND);
                    self.at(
                        wait,
                        Happening::Deliver {
                            index,
                            source: Source::Tunnel,
                        },
                    );
                }
            }
        } else {
            self.at(
                base,
                Happening::Deliver {
                    index,
                    source: Source::Tunnel,
                },
            );
        }
        if repaired {
            let wait = self.random.between(2 * MINUTE, 6 * MINUTE);
            self.at(wait, Happening::Repair { index });
        }
    }

    /// A delivery is POSTed.
    pub(super) fn deliver(&mut self, index: usize, source: Source) -> Step {
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
            self.deliver(index, Source::DeliveryLog)?;
            self.at(3 * MINUTE, Happening::Repair { index });
        }
        Ok(())
    }

    /// Somebody pushes a commit.
    pub(super) fn new_job(&mut self) -> Step {
        if self.jobs_left == 0 || self.calm {
            return Ok(());
        }
        self.jobs_left -= 1;
        let repository = REPOSITORIES[self.random.index(REPOSITORIES.len())];
        let labels: &[&str] = match self.random.below(8) {
            0 => &["ubuntu-latest"],
            1 | 2 => &["self-hosted", "big"],
            3..=5 => &["Linux", "x64"],
            _ => &["self-hosted", "linux"],
        };
        let number = self.github.create(repository, labels);
        self.note(|| format!("job {number} of {repository} wants {labels:?}"));
        self.announce(number);
        if self.random.chance(self.faults.cancel) || labels[0] == "ubuntu-latest" {
            let wait = self.random.between(SECOND, 8 * MINUTE);
            self.at(wait, Happening::Cancel { number });
        }
        if self.random.chance(self.faults.steal) {
            let wait = self.random.between(SECOND, 4 * MINUTE);
            self.at(wait, Happening::ForeignTake { number });
        }
        let wait = if self.random.chance(500) {
            self.random.between(1, 5 * SECOND)
        } else {
            self.random.between(10 * SECOND, 3 * MINUTE)
        };
        self.at(wait, Happening::NewJob);
        Ok(())
    }
}

/// The outcome of a request that failed.
fn failed(effect: &Effect, failure: Result<(), GithubFailure>) -> Outcome {
    let failure = failure
        .err()
        .unwrap_or_else(|| GithubFailure::Unavailable(String::new()));
    match effect {
        Effect::Mint { .. } => Outcome::Minted(Err(failure)),
        Effect::DeleteRunner { .. } => Outcome::Deleted(Err(failure)),
        Effect::LookUpJob { .. } => Outcome::LookedUp(Err(failure)),
        Effect::PowerOn { .. } | Effect::PowerOff { .. } | Effect::SignReceipt { .. } => {
            Outcome::Stale
        }
    }
}
