//! Finds at GitHub what neither a delivery nor the log told of: one sweep per
//! App, through the repositories of its pools.
//!
//! There is no list of jobs by state, so a sweep lists the open runs of each
//! repository, and the jobs of each run (GitHub REST API, "Workflow runs"). It
//! asks a bounded number of questions at a steady pace, most of them answered
//! for free with "not changed", and leaves what GitHub keeps for minting.
//!
//! On the way it lists the runners of this appliance, for what a crash or a
//! restored backup left registered. Which of them go is for `control`.
//!
//! What a job's state means is for `control`. Each is told under a key of its
//! own, so that whoever tells it again tells nothing new.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use control::{
    DeliveryResult, Event, Hook, JobReport, JobState, ListedRunner, MintScope, Scope, Source,
};
use messages::{HubId, JobId, RunnerId};
use tokio::time::Instant;

use crate::{
    delivery_log::Seen,
    engine::{Clock, Engine},
    github::{self, ErrorKind, GithubClient, GithubError, Repository, RunStatus, RunnerStatus},
    http::Shutdown,
    installations::Installations,
    intake::{self, Delivery, NotTaken, job_report},
    payload::{JobAction, JobPayload},
    reader::{self, Board, Fault},
};

mod round;

use round::{Errand, Round};

/// Requests per interval; what is left waits for the next one.
const AT_A_TIME: usize = 100;
/// Between the starts of two sweeps, whatever calls for the second.
const AGAIN: Duration = Duration::from_secs(5);
/// Entries per page of GitHub's lists: each page is a request.
const PER_PAGE: usize = 100;

/// Where one App's jobs and runners may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    scopes: Vec<Scope>,
    /// Where runners are registered for the whole of a scope.
    runners: Vec<Scope>,
    /// Where they are registered at each repository of a scope.
    repositories: Vec<Scope>,
    /// Public repositories that pools name, in lower case.
    public: Vec<String>,
}

impl Places {
    /// Adds those of a pool.
    pub fn add(&mut self, pool: &control::PoolSpec) {
        let registers = match (&pool.scope, pool.policy.mint_scope) {
            (Scope::Org(_), MintScope::Repository) => &mut self.repositories,
            (Scope::Org(_), MintScope::Pool) | (Scope::Repo(_) | Scope::Enterprise(_), _) => {
                &mut self.runners
            }
        };
        for scopes in [&mut self.scopes, registers] {
            if !scopes.contains(&pool.scope) {
                scopes.push(pool.scope.clone());
            }
        }
        let public = pool.public.iter().map(|name| name.to_ascii_lowercase());
        self.public.extend(public);
    }

    /// Whether no pool uses the App.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.scopes.is_empty()
    }

    /// Whether a pool could serve jobs of this repository.
    fn hold(&self, repository: &Repository) -> bool {
        let name = repository.full_name.as_str();
        let named = || self.public.contains(&name.to_ascii_lowercase());
        !repository.archived
            && (repository.private || named())
            && self.scopes.iter().any(|scope| scope.covers(name))
    }

    /// Whether runners are registered at this repository alone.
    fn register_at(&self, repository: &Repository) -> bool {
        let name = repository.full_name.as_str();
        self.repositories.iter().any(|scope| scope.covers(name))
    }
}

/// Sweeps one App's repositories.
pub struct Sweep {
    /// The App's number in the core.
    pub hub: HubId,
    /// The App, for what can wait.
    pub client: GithubClient,
    /// Where to look.
    pub places: Places,
    /// What the names of this appliance's runners begin with.
    pub prefix: String,
    /// Told of where the App is installed.
    pub installations: Arc<Installations>,
    /// Where jobs go.
    pub engine: Engine,
    /// The appliance's time.
    pub clock: Clock,
    /// How it does.
    pub board: Arc<Board>,
}

/// How far a sweep is.
#[derive(Debug, Default)]
pub struct Progress {
    round: Round,
    /// What the core was told already.
    told: Seen,
    /// What could not be read in this round.
    problem: Option<GithubError>,
}

impl Sweep {
    /// Sweeps every `interval` until the appliance stops, and when an installation
    /// changed: then there may be other places to look at. At the start it lists
    /// runners alone: what the delivery log holds comes from there.
    pub async fn run(self, interval: Duration, shutdown: Shutdown) {
        let name = self.client.name().to_owned();
        self.board.change(|health| health.github = name);
        tokio::select! {
            () = self.sweep_on(interval) => {}
            () = shutdown.wait() => {}
        }
    }

    async fn sweep_on(&self, interval: Duration) {
        let mut progress = Progress {
            round: Round::through(&self.places.runners, &[]),
            ..Progress::default()
        };
        let mut backoff = reader::backoff();
        let mut began = Instant::now();
        let mut due = began;
        loop {
            let next = due;
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = self.installations.change() => {
                    progress.round = Round::default();
                    due = due.min(began + AGAIN);
                    continue;
                }
            }
            began = Instant::now();
            due = began + interval;
            while let Err(fault) = self.look(&mut progress).await {
                self.board.note_problem(&fault);
                tokio::time::sleep(fault.wait(&mut backoff)).await;
            }
            backoff.reset();
        }
    }

    /// Goes on with the round under way, or begins one: as many questions as
    /// belong to one interval.
    ///
    /// # Errors
    /// [`Fault`]: the question that failed is asked again the next time.
    pub async fn look(&self, progress: &mut Progress) -> Result<(), Fault> {
        if progress.round.next().is_none() {
            self.find_installations().await?;
            progress.round = Round::through(&self.places.runners, &self.places.scopes);
        }
        let mut asked = 0;
        while asked < AT_A_TIME
            && let Some(errand) = progress.round.next()
        {
            asked += match self.ask(progress, errand).await {
                Ok(requests) => requests,
                Err(Fault::Github(error)) if is_of_one_place(&error) => {
                    // One that is closed to us does not keep the others out.
                    self.board.change(|health| health.passed_over += 1);
                    progress.problem = Some(error);
                    progress.round.settle(Vec::new());
                    1
                }
                Err(fault) => return Err(fault),
            };
        }
        let is_over = progress.round.next().is_none();
        match progress.problem.take_if(|_| is_over) {
            Some(error) => self.board.note_problem(&Fault::Github(error)),
            None => {
                let now = is_over.then(|| self.clock.now());
                self.board.note_read(now, !is_over);
            }
        }
        Ok(())
    }

    /// Asks one question and takes in the answer; how many requests that was.
    async fn ask(&self, progress: &mut Progress, errand: Errand) -> Result<usize, Fault> {
        let (entries, next) = match errand {
            Errand::Runners(scope) => (self.list_runners(scope).await?, Vec::new()),
            Errand::Place(scope) => {
                let found = self.repositories(&scope).await?;
                let entries = found.len();
                let held = found.into_iter().filter(|it| self.places.hold(it));
                let register = |repository: &Repository| self.places.register_at(repository);
                (entries, progress.round.visit(held.collect(), register))
            }
            Errand::Runs(repository, status) => {
                let runs = self.runs(&repository, status).await?;
                let jobs = |run| Errand::Jobs(Arc::clone(&repository), run);
                (runs.len(), runs.into_iter().map(jobs).collect())
            }
            Errand::Jobs(repository, run) => {
                let name = repository.full_name.clone();
                let jobs = self.client.run_jobs(name, run).await?;
                let entries = jobs.len();
                self.tell(&progress.told, &repository, jobs).await?;
                (entries, Vec::new())
            }
        };
        progress.round.settle(next);
        Ok(1 + entries / PER_PAGE)
    }

    /// Tells the core of its runners in a scope; how many all of them are.
    async fn list_runners(&self, scope: Scope) -> Result<usize, Fault> {
        let listed = self.client.list_runners(github::Scope::of(&scope)?).await?;
        let entries = listed.len();
        let ours = listed
            .into_iter()
            .filter(|runner| runner.name.starts_with(&self.prefix));
        let runners: Vec<ListedRunner> = ours
            .map(|runner| ListedRunner {
                id: RunnerId(runner.id),
                name: runner.name,
                // What GitHub says in a new word may be connected.
                online: runner.status != RunnerStatus::Offline,
                busy: runner.busy,
            })
            .collect();
        if !runners.is_empty() {
            let event = Event::RunnersListed {
                hub: self.hub,
                scope,
                runners,
            };
            let reply = self.engine.submit(event).await;
            reply.map_err(|_| NotTaken::NotStored)?;
        }
        Ok(entries)
    }

    /// Asked for once; anew where the App was installed again.
    async fn find_installations(&self) -> Result<(), GithubError> {
        let mut all = BTreeSet::new();
        for scope in &self.places.scopes {
            // An enterprise's organisations are not told.
            if matches!(scope, Scope::Enterprise(_)) {
                return Ok(());
            }
            match self.client.installation(github::Scope::of(scope)?).await {
                Ok(id) => drop(all.insert(id)),
                Err(error) if is_of_one_place(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.installations.are(all);
        Ok(())
    }

    async fn repositories(&self, scope: &Scope) -> Result<Vec<Repository>, GithubError> {
        match scope {
            Scope::Org(_) => {
                let place = github::Scope::of(scope)?;
                self.client.installation_repositories(place).await
            }
            Scope::Repo(name) => Ok(vec![self.client.repository(name.clone()).await?]),
            // GitHub lists an enterprise's repositories to no App: the deliveries and
            // their log tell of its jobs.
            Scope::Enterprise(_) => Ok(Vec::new()),
        }
    }

    async fn runs(
        &self,
        repository: &Repository,
        status: RunStatus,
    ) -> Result<Vec<u64>, GithubError> {
        let name = repository.full_name.clone();
        let runs = self.client.workflow_runs(name, status).await?;
        Ok(runs.into_iter().map(|run| run.id).collect())
    }

    /// Tells the core what it does not know.
    async fn tell(
        &self,
        told: &Seen,
        repository: &Repository,
        jobs: Vec<JobPayload>,
    ) -> Result<(), Fault> {
        let mut news = BTreeMap::new();
        for job in jobs {
            let Some(state) = state_of(job.action) else {
                continue;
            };
            let id = delivery_id(self.hub, &job);
            let key = intake::delivery_key(&id);
            let Some(key) = key.filter(|key| !told.contains(*key)) else {
                continue;
            };
            let job = JobPayload {
                // The API tells of a job without its repository.
                private: repository.private,
                ..job
            };
            let report = job_report(&job);
            news.insert(report.id(self.hub), (id, key, state, report));
        }
        if news.is_empty() {
            return Ok(());
        }
        let reported = news.iter().map(|(id, (.., state, _))| (*id, *state));
        let known = self.known(reported.collect()).await?;
        for (job, (id, key, _, report)) in news {
            if !known.contains(&job) {
                self.submit(&id, key, report).await?;
            }
            told.insert(key);
        }
        Ok(())
    }

    /// Those of which the core knows as much or more. (A running job whose
    /// runner it was not told may be one of ours all the same.)
    async fn known(&self, jobs: BTreeMap<JobId, JobState>) -> Result<Vec<JobId>, NotTaken> {
        let known = self.engine.query(move |state, _| {
            let as_far = |id: &JobId, job: &control::Job| {
                let named = job.boot.is_some() || job.taken_by.is_some();
                jobs.get(id).is_some_and(|reported| {
                    job.state >= *reported && (named || *reported != JobState::InProgress)
                })
            };
            let of_these = state.jobs().filter(|(id, job)| as_far(id, job));
            of_these.map(|(id, _)| id).collect()
        });
        known.await.map_err(|_| NotTaken::NotStored)
    }

    async fn submit(
        &self,
        id: &str,
        key: messages::DeliveryKey,
        report: JobReport,
    ) -> Result<(), NotTaken> {
        let delivery = Delivery {
            id,
            key,
            hub: self.hub,
            source: Source::Sweep,
            hook: Hook::Job(Box::new(report)),
        };
        let result = intake::submit(&self.engine, delivery).await?;
        if matches!(result, DeliveryResult::Queued | DeliveryResult::Updated) {
            self.board.change(|health| health.taken += 1);
        }
        Ok(())
    }
}

/// How far a job is that GitHub tells of; `None` while it waits for a person,
/// which is no news to anybody.
const fn state_of(action: JobAction) -> Option<JobState> {
    match action {
        JobAction::Waiting => None,
        JobAction::Queued => Some(JobState::Queued),
        JobAction::InProgress => Some(JobState::InProgress),
        JobAction::Completed => Some(JobState::Completed),
    }
}

/// Whoever sweeps again names a job in one state alike. GitHub's numbers are
/// unique on one server only, so the App is part of it.
fn delivery_id(hub: HubId, job: &JobPayload) -> String {
    let state = match job.action {
        JobAction::Queued => "queued",
        JobAction::Waiting => "waiting",
        JobAction::InProgress => "in_progress",
        JobAction::Completed => "completed",
    };
    format!("sweep.{}.{}.{}.{state}", hub.0, job.job_id, job.run_attempt)
}

/// Whether a failure says nothing of other places.
fn is_of_one_place(error: &GithubError) -> bool {
    let of_one = matches!(
        error.kind(),
        ErrorKind::Permission | ErrorKind::NotFound | ErrorKind::Invalid | ErrorKind::Conflict
    );
    of_one || matches!(error, GithubError::Answer { .. })
}

#[cfg(test)]
mod tests;
