//! A GitHub of values: scopes, jobs, runners and deliveries. It never knows
//! what the appliance thinks.

use std::collections::{BTreeMap, BTreeSet};

use control::{Hook, JobAction, JobReport, Labels, Scope};
use messages::{DeliveryKey, HubId, RunnerId};

use crate::random::Random;

/// The one configured App.
pub(crate) const HUB: HubId = HubId(1);

/// How far a job is, at GitHub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Progress {
    /// Waits for a runner.
    Queued,
    /// A runner has it.
    Running,
    /// Ended.
    Completed,
}

/// A job.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// GitHub's number.
    pub(crate) number: u64,
    /// Its workflow run.
    pub(crate) run: u64,
    /// Attempt of that run, from 1.
    pub(crate) attempt: u32,
    /// When it was pushed.
    pub(crate) pushed_at: u64,
    /// Milliseconds that it takes.
    pub(crate) length: u64,
    /// `owner/name`.
    pub(crate) repository: &'static str,
    /// What it asks for.
    pub(crate) labels: Labels,
    /// How far it is.
    pub(crate) progress: Progress,
    /// Who has it.
    pub(crate) runner: Option<(RunnerId, String)>,
    /// How it ended.
    pub(crate) conclusion: Option<&'static str>,
    /// When a runner took it.
    pub(crate) started_at: Option<u64>,
    /// When it ended.
    pub(crate) ended_at: Option<u64>,
    /// Its delivery of `queued` was answered with 200.
    pub(crate) acknowledged: bool,
}

/// A registered runner.
#[derive(Clone, Debug)]
pub(crate) struct Runner {
    /// Where.
    pub(crate) scope: Scope,
    /// Id, unique in its scope only.
    pub(crate) id: RunnerId,
    /// Labels.
    pub(crate) labels: Labels,
    /// The job it has.
    pub(crate) job: Option<u64>,
    /// Started in this power-on of this sled.
    pub(crate) listening: Option<(usize, u64)>,
    /// Called busy before this time, whatever it does.
    pub(crate) busy_until: u64,
}

/// A delivery in GitHub's log.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    /// Its GUID.
    pub(crate) key: DeliveryKey,
    /// What it says.
    pub(crate) report: JobReport,
    /// Whether it was answered with 200.
    pub(crate) acknowledged: bool,
}

/// GitHub.
#[derive(Debug, Default)]
pub(crate) struct Github {
    /// Jobs by number.
    pub(crate) jobs: BTreeMap<u64, Job>,
    /// Registered runners by name.
    pub(crate) runners: BTreeMap<String, Runner>,
    /// Every name that was ever registered.
    pub(crate) names: BTreeSet<String>,
    /// The delivery log.
    pub(crate) deliveries: Vec<Delivery>,
    /// It answers 403 until then.
    pub(crate) refuses_until: u64,
    /// It answers 429 until then.
    pub(crate) limited_until: u64,
    /// It answers nothing and sends nothing until then.
    pub(crate) down_until: u64,
    queued: BTreeSet<u64>,
    runs: u64,
    next_id: BTreeMap<Scope, u64>,
}

impl Job {
    /// Whether a sled proves itself by it.
    pub(crate) fn proves(&self) -> bool {
        self.labels
            .iter()
            .any(|label| label.starts_with("musher-accept-"))
    }
}

impl Github {
    /// Whether it is down.
    #[must_use]
    pub(crate) const fn is_down(&self, now: u64) -> bool {
        now < self.down_until
    }

    /// Its troubles end.
    pub(crate) fn calm_down(&mut self, now: u64) {
        self.down_until = self.down_until.min(now);
        for runner in self.runners.values_mut() {
            runner.busy_until = 0;
        }
    }

    /// The number of a new workflow run.
    pub(crate) const fn next_run(&mut self) -> u64 {
        self.runs += 1;
        self.runs
    }

    /// A new queued job.
    pub(crate) fn create(
        &mut self,
        now: u64,
        run: u64,
        repository: &'static str,
        labels: &[&str],
        length: u64,
    ) -> u64 {
        let number = 1000 + self.jobs.len() as u64;
        self.queued.insert(number);
        self.jobs.insert(
            number,
            Job {
                number,
                run,
                attempt: 1,
                pushed_at: now,
                length,
                repository,
                labels: Labels::new(labels.iter().copied()),
                progress: Progress::Queued,
                runner: None,
                conclusion: None,
                started_at: None,
                ended_at: None,
                acknowledged: false,
            },
        );
        number
    }

    /// Runs a failed job again, under a new number; `None` while its run is open.
    pub(crate) fn rerun(&mut self, number: u64, now: u64) -> Option<u64> {
        let job = self.jobs.get(&number)?.clone();
        let mut run = self.jobs.values().filter(|other| other.run == job.run);
        if !run.all(|other| other.progress == Progress::Completed) {
            return None;
        }
        let again = self.create(now, job.run, job.repository, &[], job.length);
        if let Some(row) = self.jobs.get_mut(&again) {
            row.labels = job.labels;
            row.attempt = job.attempt + 1;
        }
        Some(again)
    }

    /// A runner has the job now.
    pub(crate) fn assign(&mut self, now: u64, number: u64, runner: (RunnerId, String)) {
        if let Some(job) = self.jobs.get_mut(&number) {
            job.progress = Progress::Running;
            job.runner = Some(runner);
            job.started_at = Some(now);
            self.queued.remove(&number);
        }
    }

    /// Jobs that have not ended.
    #[must_use]
    pub(crate) fn open(&self) -> u64 {
        let open = |job: &&Job| job.progress != Progress::Completed;
        self.jobs.values().filter(open).count() as u64
    }

    /// Jobs that wait.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Job> {
        self.queued
            .iter()
            .filter_map(|number| self.jobs.get(number))
    }

    /// Registers a runner: its id, or `None` when the name is taken (409).
    pub(crate) fn register(
        &mut self,
        scope: &Scope,
        name: &str,
        labels: &Labels,
    ) -> Option<RunnerId> {
        if self.runners.contains_key(name) {
            return None;
        }
        let next = self.next_id.entry(scope.clone()).or_insert(1);
        let id = RunnerId(*next);
        *next += 1;
        self.names.insert(name.to_owned());
        self.runners.insert(
            name.to_owned(),
            Runner {
                scope: scope.clone(),
                id,
                labels: labels.clone(),
                job: None,
                listening: None,
                busy_until: 0,
            },
        );
        Some(id)
    }

    /// From now on a runner is called busy, until then.
    pub(crate) fn call_busy(&mut self, name: &str, until: u64) {
        if let Some(runner) = self.runners.get_mut(name) {
            runner.busy_until = until;
        }
    }

    /// Deletes a runner: whether it is gone; a busy one stays.
    pub(crate) fn delete(
        &mut self,
        scope: &Scope,
        name: &str,
        id: Option<RunnerId>,
        now: u64,
    ) -> bool {
        let found = self.runners.iter().find(|(known, runner)| {
            runner.scope == *scope
                && id.map_or_else(|| known.as_str() == name, |id| runner.id == id)
        });
        let busy = |runner: &Runner| runner.job.is_some() || now < runner.busy_until;
        match found.map(|(name, runner)| (name.clone(), busy(runner))) {
            None => true,
            Some((_, true)) => false,
            Some((name, false)) => {
                self.runners.remove(&name);
                true
            }
        }
    }

    /// A queued job that this runner may take.
    pub(crate) fn job_for(&self, name: &str, random: &mut Random) -> Option<u64> {
        let runner = self.runners.get(name)?;
        let fits: Vec<u64> = self
            .waiting()
            .filter(|job| runner.scope.covers(job.repository) && runner.labels.serve(&job.labels))
            .map(|job| job.number)
            .collect();
        (!fits.is_empty()).then(|| fits[random.index(fits.len())])
    }

    /// Ends a job and removes the ephemeral runner that had it.
    pub(crate) fn complete(&mut self, now: u64, number: u64, conclusion: &'static str) -> bool {
        let Some(job) = self.jobs.get_mut(&number) else {
            return false;
        };
        if job.progress == Progress::Completed {
            return false;
        }
        job.progress = Progress::Completed;
        self.queued.remove(&number);
        job.conclusion = Some(conclusion);
        job.ended_at = Some(now);
        self.runners.retain(|_, runner| runner.job != Some(number));
        true
    }

    /// What GitHub says of a job now.
    #[must_use]
    pub(crate) fn report(&self, number: u64) -> Option<JobReport> {
        let job = self.jobs.get(&number)?;
        Some(JobReport {
            number,
            action: match job.progress {
                Progress::Queued => JobAction::Queued,
                Progress::Running => JobAction::InProgress,
                Progress::Completed => JobAction::Completed,
            },
            repository: job.repository.into(),
            name: "build".into(),
            workflow: "ci".into(),
            run_id: job.run,
            run_attempt: job.attempt,
            labels: job.labels.clone(),
            group: None,
            public: false,
            ran_ms: job
                .started_at
                .zip(job.ended_at)
                .map(|(started, ended)| ended - started),
            runner: job
                .runner
                .as_ref()
                .map(|(id, name)| (*id, name.as_str().into())),
            page: None,
            conclusion: job.conclusion.map(Into::into),
        })
    }

    /// Writes a delivery about a job to the log; its index.
    pub(crate) fn log(&mut self, number: u64, random: &mut Random) -> Option<usize> {
        let report = self.report(number)?;
        let key = u128::from_le_bytes(random.bytes());
        self.deliveries.push(Delivery {
            key: DeliveryKey(key),
            report,
            acknowledged: false,
        });
        Some(self.deliveries.len() - 1)
    }

    /// The hook of a delivery.
    #[must_use]
    pub(crate) fn hook(&self, index: usize) -> Hook {
        Hook::Job(Box::new(self.deliveries[index].report.clone()))
    }
}
