//! Requests to GitHub: carried out, refused or lost.

use std::collections::BTreeMap;

use control::{
    DispatchedRun, Effect, Event, GithubFailure, Hook, JobAction, JobAnswer, JobReport,
    ListedRunner, Outcome, RunReport, Scope, Source,
};
use messages::{DeliveryKey, EffectId, SignatureBytes};

use super::{Happening, MINUTE, SECOND, Step, World, jobs::JOB_LIFE};
use crate::{checks::broken, defect::Defect, faults::Fault, github::HUB, traffic::REPOSITORIES};

/// Minutes between two listings of runners.
const LIST_EVERY: u64 = 3;

impl World {
    /// Sends a request to GitHub (or to the signer).
    pub(super) fn request(&mut self, id: EffectId, effect: Effect) {
        let incarnation = self.engine.incarnation;
        if matches!(effect, Effect::SignReceipt { .. }) {
            self.outcome(incarnation, id, 1, Outcome::Signed(SignatureBytes([7; 64])));
            return;
        }
        let latency = self.random.between(50, 2 * SECOND);
        let mut answered = true;
        let mut wait = latency;
        if let Some(mut dice) = self.faults.strike(Fault::Api) {
            // Where a history is replayed, answers are lost and nothing else.
            let kind = if self.replay.is_some() {
                1
            } else {
                dice.below(6)
            };
            match kind {
                0 => {
                    let outcome = failed(&effect, lost());
                    self.outcome(incarnation, id, latency, outcome);
                    return;
                }
                1 | 2 => {
                    // The answer is lost; the request may even come late.
                    let late = dice.below(2) * dice.between(SECOND, 40 * SECOND);
                    self.outcome(incarnation, id, 15 * SECOND, failed(&effect, lost()));
                    answered = false;
                    wait = latency + late;
                }
                3 => self.github.refuses_until = self.now + dice.between(SECOND, 2 * MINUTE),
                4 => self.github.limited_until = self.now + dice.between(SECOND, 5 * MINUTE),
                _ => wait = dice.between(5 * SECOND, 20 * SECOND),
            }
        }
        self.requests.insert((incarnation, id), effect);
        self.at(
            wait,
            Happening::Api {
                incarnation,
                id,
                answered,
            },
        );
    }

    /// Now and then the appliance lists its runners at GitHub; the answer is some
    /// seconds old when it is taken. Draws nothing: worlds stay what they were.
    pub(super) fn list_runners(&mut self) {
        let minutes = self.now / MINUTE;
        let down = self.github.is_down(self.now) || self.engine.state.is_none();
        if down || !self.lists || !minutes.is_multiple_of(LIST_EVERY) {
            return;
        }
        // GitHub notices late that a runner is gone.
        let late = minutes.is_multiple_of(2);
        let mut listed: BTreeMap<Scope, Vec<ListedRunner>> = BTreeMap::new();
        for (name, runner) in &self.github.runners {
            let online = runner.listening.is_some_and(|(sled, epoch)| {
                let machine = &self.machines[sled];
                late || (machine.is_on() && machine.epoch == epoch)
            });
            listed
                .entry(runner.scope.clone())
                .or_default()
                .push(ListedRunner {
                    id: runner.id,
                    name: name.clone(),
                    online,
                    busy: runner.job.is_some() || self.now < runner.busy_until,
                });
        }
        for (scope, runners) in listed {
            let event = Event::RunnersListed {
                hub: HUB,
                scope,
                runners,
            };
            let incarnation = self.engine.incarnation;
            let wait = SECOND + minutes % 7 * 5 * SECOND;
            self.at(wait, Happening::Answer { incarnation, event });
        }
    }

    /// A request arrives at GitHub.
    pub(super) fn api(&mut self, incarnation: u64, id: EffectId, answered: bool) -> Step {
        let Some(effect) = self.requests.get(&(incarnation, id)).cloned() else {
            return Ok(());
        };
        let outcome = if self.github.is_down(self.now) {
            failed(&effect, lost())
        } else if self.now < self.github.limited_until {
            let wait = self.github.limited_until - self.now;
            failed(&effect, GithubFailure::RateLimited(wait))
        } else if self.now < self.github.refuses_until {
            failed(&effect, GithubFailure::Refused("no permission".to_owned()))
        } else {
            self.carry_out_request(&effect)?
        };
        self.note(|| format!("GitHub: {effect:?} -> {outcome:?}, answered: {answered}"));
        if !answered {
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
                        Outcome::Minted(Ok(Some(id)))
                    }
                    None => Outcome::Minted(Err(GithubFailure::Conflict)),
                }
            }
            Effect::DeleteRunner {
                scope, name, id, ..
            } => {
                if let Some(mut dice) = self.faults.strike(Fault::Busy) {
                    let until = self.now + dice.between(MINUTE, 20 * MINUTE);
                    self.github.call_busy(name, until);
                }
                let gone = self.defect == Some(Defect::KeepRunners)
                    || self.github.delete(scope, name, *id, self.now);
                Outcome::Deleted(Ok(gone))
            }
            Effect::LookUpJob { job, .. } => {
                let mut report = self.github.report(job.number);
                if let Some(report) = report.as_mut()
                    && let Some(mut dice) = self.faults.strike(Fault::Stale)
                {
                    stale(report, dice.chance(500));
                }
                let answer = report.map_or(JobAnswer::Gone, |report| {
                    JobAnswer::Report(Box::new(report))
                });
                Outcome::LookedUp(Ok(answer))
            }
            Effect::RerunJob { job, .. } => {
                self.check_rerun(job.number)?;
                Outcome::Rerun(match self.github.rerun(job.number, self.now) {
                    Some(number) => {
                        self.announce(number);
                        Ok(())
                    }
                    None => Err(GithubFailure::Refused("the run is open".to_owned())),
                })
            }
            Effect::DispatchWorkflow {
                repository, inputs, ..
            } => {
                let asked = REPOSITORIES
                    .iter()
                    .find(|name| **name == repository.as_str());
                let label = inputs.first().map(|(_, value)| value.as_str());
                let (Some(asked), Some(label)) = (asked, label) else {
                    return Err(broken("dispatch-is-complete", format!("{effect:?}")));
                };
                if !self.dispatched.insert(label.to_owned()) {
                    return Err(broken(
                        "dispatched-once",
                        format!("{label} was dispatched twice"),
                    ));
                }
                let run = self.github.next_run();
                let named = DispatchedRun {
                    id: run,
                    page: None,
                };
                // Drawn from the nonce, so that worlds go on as they did before.
                let dice = label
                    .bytes()
                    .rev()
                    .take(2)
                    .fold(0, |sum, byte| sum * 7 + u64::from(byte));
                if dice % 8 == 0 {
                    self.run_cannot_begin(run, asked, dice * SECOND / 32);
                    return Ok(Outcome::Dispatched(Ok(Some(named))));
                }
                let length = self.random.between(5 * SECOND, 2 * MINUTE);
                let number = self.github.create(self.now, run, asked, &[label], length);
                self.announce(number);
                self.at(JOB_LIFE, Happening::JobExpires { number });
                Outcome::Dispatched(Ok(Some(named)))
            }
            Effect::PowerOn { .. }
            | Effect::PowerOff { .. }
            | Effect::PowerOnByHand { .. }
            | Effect::SignReceipt { .. } => Outcome::Stale,
        })
    }
}

impl World {
    /// A workflow that GitHub cannot even begin has no job, and its run is over.
    fn run_cannot_begin(&mut self, run_id: u64, repository: &str, wait: u64) {
        let report = RunReport {
            run_id,
            repository: repository.into(),
            conclusion: Some("failure".into()),
            page: None,
        };
        let event = Event::Delivery {
            key: DeliveryKey(u128::from(run_id) << 64),
            hub: HUB,
            source: Source::Tunnel,
            hook: Hook::Run(Box::new(report)),
        };
        self.at(wait, Happening::Repeat { event });
    }
}

/// GitHub answers from a copy that lags behind.
fn stale(report: &mut JobReport, long: bool) {
    report.conclusion = None;
    if long || report.action == JobAction::InProgress {
        report.action = JobAction::Queued;
        report.runner = None;
    } else if report.action == JobAction::Completed && report.runner.is_some() {
        report.action = JobAction::InProgress;
    }
}

fn lost() -> GithubFailure {
    GithubFailure::Unavailable("no answer".to_owned())
}

/// The outcome of a request that failed.
fn failed(effect: &Effect, failure: GithubFailure) -> Outcome {
    match effect {
        Effect::Mint { .. } => Outcome::Minted(Err(failure)),
        Effect::DeleteRunner { .. } => Outcome::Deleted(Err(failure)),
        Effect::LookUpJob { .. } => Outcome::LookedUp(Err(failure)),
        Effect::RerunJob { .. } => Outcome::Rerun(Err(failure)),
        Effect::DispatchWorkflow { .. } => Outcome::Dispatched(Err(failure)),
        Effect::PowerOn { .. }
        | Effect::PowerOff { .. }
        | Effect::PowerOnByHand { .. }
        | Effect::SignReceipt { .. } => Outcome::Stale,
    }
}
