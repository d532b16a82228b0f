//! Workflow runs: what groups jobs, and what can be run again.

use super::{Announcement, Conclusion, Full, Job, MAX_ROWS, NewJob, State, Status};
use crate::ids;

/// One run of a workflow.
#[derive(Clone)]
pub struct Run {
    /// Owner's login.
    pub account: String,
    /// Repository name.
    pub repo: String,
    /// What started it.
    pub event: String,
    /// Its workflow's file.
    pub file: String,
    /// Which try, from 1.
    pub attempt: u64,
    /// Commit.
    pub head_sha: String,
    /// Creation.
    pub created_ms: i64,
    /// When this try began.
    pub started_ms: i64,
    /// It could not begin, and never has a job.
    pub startup_failure: bool,
    /// What was announced of it last: which try, and its state.
    pub told: Option<(u64, Status)>,
}

/// Why a run is not run again; the texts are GitHub's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RerunError {
    /// No such run.
    #[error("Not Found")]
    Unknown,
    /// Some job has not ended.
    #[error("This workflow is already running")]
    Open,
    /// No job is to run again: none failed, or an older try's was named.
    #[error("The workflow run containing this job cannot be rerun")]
    NothingChosen,
    /// fakehub's own limit.
    #[error("{0}")]
    Full(#[from] Full),
}

impl Run {
    /// A run that begins now.
    #[must_use]
    pub fn new(account: &str, repo: &str, event: &str, now_ms: i64) -> Self {
        Self {
            account: account.to_owned(),
            repo: repo.to_owned(),
            event: event.to_owned(),
            file: "fakehub.yml".to_owned(),
            attempt: 1,
            head_sha: ids::hex(&ids::random::<20>()),
            created_ms: now_ms,
            started_ms: now_ms,
            startup_failure: false,
            told: None,
        }
    }
}

impl State {
    /// Opens a run; runs without jobs make room when there are too many.
    pub fn open_run(&mut self, run: Run) -> u64 {
        if self.runs.len() >= MAX_ROWS {
            let used: std::collections::BTreeSet<u64> =
                self.jobs.values().map(|job| job.run_id).collect();
            self.runs.retain(|id, _| used.contains(id));
        }
        let id = self.fresh_id();
        self.runs.insert(id, run);
        id
    }

    /// The jobs of a run's latest try, oldest first.
    pub fn jobs_of(&self, run: u64) -> impl Iterator<Item = &Job> {
        let attempt = self.runs.get(&run).map_or(0, |run| run.attempt);
        self.jobs
            .values()
            .filter(move |job| job.run_id == run && job.run_attempt == attempt)
    }

    /// How a run stands: by its jobs, if it can have any.
    #[must_use]
    pub fn run_status(&self, run: u64) -> (Status, Option<Conclusion>) {
        if self.runs.get(&run).is_some_and(|run| run.startup_failure) {
            return (Status::Completed, Some(Conclusion::StartupFailure));
        }
        let jobs: Vec<&Job> = self.jobs_of(run).collect();
        let all = |status: Status| jobs.iter().all(|job| job.status == status);
        if all(Status::Queued) {
            return (Status::Queued, None);
        }
        if !all(Status::Completed) {
            return (Status::InProgress, None);
        }
        let any = |conclusion| jobs.iter().any(|job| job.conclusion == Some(conclusion));
        let conclusion = if any(Conclusion::Failure) {
            Conclusion::Failure
        } else if any(Conclusion::Cancelled) {
            Conclusion::Cancelled
        } else {
            Conclusion::Success
        };
        (Status::Completed, Some(conclusion))
    }

    /// The `action` of the `workflow_run` that is to be announced, if the run
    /// or its try has changed since it was asked last.
    pub fn run_news(&mut self, id: u64) -> Option<&'static str> {
        let (mut status, _) = self.run_status(id);
        let run = self.runs.get_mut(&id)?;
        let is_new = run.told.is_none_or(|(attempt, _)| attempt != run.attempt);
        // Jobs that are not tried again have ended in this try too.
        if is_new && status == Status::InProgress {
            status = Status::Queued;
        }
        let now = Some((run.attempt, status));
        if std::mem::replace(&mut run.told, now) == now {
            return None;
        }
        Some(match status {
            Status::Queued => "requested",
            Status::InProgress => "in_progress",
            Status::Completed => "completed",
        })
    }

    /// Begins the next try of a run: its `chosen` jobs are queued under new
    /// numbers, and the others are told of again as completed, under new
    /// numbers too (ARC#4315).
    ///
    /// # Errors
    /// A run that is open, or in which no job is chosen.
    pub fn rerun(
        &mut self,
        id: u64,
        chosen: impl Fn(&Job) -> bool,
        now_ms: i64,
    ) -> Result<Vec<Announcement>, RerunError> {
        if !self.runs.contains_key(&id) {
            return Err(RerunError::Unknown);
        }
        if self.run_status(id).0 != Status::Completed {
            return Err(RerunError::Open);
        }
        if !self.jobs_of(id).any(&chosen) {
            return Err(RerunError::NothingChosen);
        }
        let old: Vec<Job> = self.jobs_of(id).cloned().collect();
        let run = self.runs.get_mut(&id).ok_or(RerunError::Unknown)?;
        run.attempt += 1;
        run.started_ms = now_ms;
        let attempt = run.attempt;
        let mut told = Vec::new();
        for job in old {
            if !chosen(&job) {
                let copy = self.fresh_id();
                let job = Job {
                    id: copy,
                    run_attempt: attempt,
                    ..job
                };
                self.jobs.insert(copy, job);
                told.push(Announcement {
                    job: copy,
                    status: Status::Completed,
                });
            } else {
                let new = NewJob {
                    name: job.name,
                    account: job.account,
                    repo: job.repo,
                    public: job.public,
                    labels: job.labels,
                    script: job.script,
                    run: Some(id),
                };
                told.push(self.queue(new, now_ms)?.1);
            }
        }
        Ok(told)
    }
}
