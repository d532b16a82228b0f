//! The life of a job: queued, taken by one runner, ended once.

use super::{
    Announcement, Conclusion, Full, Job, MAX_LOG_LINES, MAX_ROWS, Run, Runner, SessionError, State,
    Status, TakenBy,
};

/// What creates a job.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Display name.
    pub name: String,
    /// Owner's login.
    pub account: String,
    /// Repository name.
    pub repo: String,
    /// Whether the repository is public.
    pub public: bool,
    /// What `runs-on` asks for.
    pub labels: Vec<String>,
    /// Run by `/bin/sh -e`.
    pub script: String,
    /// The run that it belongs to; one of its own when absent.
    pub run: Option<u64>,
}

/// What the end of a job changes.
pub type Completion = Option<Announcement>;

/// Whether `runner` may take `job`: in scope, every label of the job among the
/// runner's (compared without case), and public repositories only where the
/// group allows them. No labels at all (`runs-on: {group: …}`) fit any runner.
#[must_use]
pub(crate) fn fits(runner: &Runner, job: &Job) -> bool {
    let labelled = |wanted: &String| {
        runner
            .labels
            .iter()
            .any(|it| it.eq_ignore_ascii_case(wanted))
    };
    runner.scope.contains(&job.account, &job.repo)
        && (!job.public || runner.takes_public)
        && job.labels.iter().all(labelled)
}

impl State {
    /// Queues a job.
    ///
    /// # Errors
    /// Too many jobs that are not over.
    pub fn queue(&mut self, new: NewJob, now_ms: i64) -> Result<(u64, Announcement), Full> {
        if self.jobs.len() >= MAX_ROWS {
            let over = self
                .jobs
                .values()
                .find(|job| job.status == Status::Completed);
            let id = over.map(|job| job.id).ok_or(Full("jobs"))?;
            self.jobs.remove(&id);
        }
        let run_id = match new.run {
            Some(run) => run,
            None => self.open_run(Run::new(&new.account, &new.repo, "push", now_ms)),
        };
        let run = self.runs.get(&run_id).ok_or(Full("runs"))?;
        let (run_attempt, head_sha) = (run.attempt, run.head_sha.clone());
        let id = self.fresh_id();
        let job = Job {
            id,
            run_id,
            run_attempt,
            name: new.name,
            account: new.account,
            repo: new.repo,
            public: new.public,
            labels: new.labels,
            script: new.script,
            head_sha,
            status: Status::Queued,
            conclusion: None,
            created_ms: now_ms,
            started_ms: None,
            completed_ms: None,
            cancel_ms: None,
            runner: None,
            log: std::collections::VecDeque::new(),
            log_dropped: 0,
        };
        self.jobs.insert(id, job);
        Ok((
            id,
            Announcement {
                job: id,
                status: Status::Queued,
            },
        ))
    }

    /// Gives the runner its one job: the oldest queued one that fits, or the
    /// one it has already (answers get lost). The session was checked before.
    pub fn take(&mut self, runner: u64, now_ms: i64) -> Option<(u64, Option<Announcement>)> {
        let runner = self.runners.get_mut(&runner)?;
        if let Some(job) = runner.job {
            return Some((job, None));
        }
        let job = self
            .jobs
            .values_mut()
            .find(|job| job.status == Status::Queued && fits(runner, job))?;
        job.status = Status::InProgress;
        job.started_ms = Some(now_ms);
        job.runner = Some(TakenBy {
            id: runner.id,
            name: runner.name.clone(),
            group_id: runner.group.0,
            group_name: runner.group.1.clone(),
        });
        runner.job = Some(job.id);
        Some((
            job.id,
            Some(Announcement {
                job: job.id,
                status: Status::InProgress,
            }),
        ))
    }

    /// A runner that nobody here registered takes a queued job: another
    /// service's, or one that a person set up. `None` unless it is queued.
    pub fn steal(&mut self, job: u64, runner_name: &str, now_ms: i64) -> Option<Announcement> {
        let runner = self.fresh_id();
        let job = self
            .jobs
            .get_mut(&job)
            .filter(|job| job.status == Status::Queued)?;
        job.status = Status::InProgress;
        job.started_ms = Some(now_ms);
        job.runner = Some(TakenBy {
            id: runner,
            name: runner_name.to_owned(),
            group_id: 1,
            group_name: "Default".to_owned(),
        });
        Some(Announcement {
            job: job.id,
            status: Status::InProgress,
        })
    }

    /// Keeps log lines of a running job; says whether it was cancelled.
    ///
    /// # Errors
    /// The runner does not have the job.
    pub fn append_log(
        &mut self,
        runner: u64,
        job: u64,
        lines: Vec<String>,
    ) -> Result<bool, SessionError> {
        let job = self.job_of(runner, job)?;
        for line in lines {
            if job.log.len() >= MAX_LOG_LINES {
                job.log.pop_front();
                job.log_dropped += 1;
            }
            job.log.push_back(line);
        }
        Ok(job.cancel_ms.is_some())
    }

    fn job_of(&mut self, runner: u64, job: u64) -> Result<&mut Job, SessionError> {
        let owns = self
            .runners
            .get(&runner)
            .is_some_and(|it| it.job == Some(job));
        self.jobs
            .get_mut(&job)
            .filter(|_| owns)
            .ok_or(SessionError::NotYours)
    }

    /// The runner reports the end of its job; the ephemeral runner goes.
    ///
    /// # Errors
    /// The runner does not have the job.
    pub fn complete(
        &mut self,
        runner: u64,
        job: u64,
        conclusion: Conclusion,
        now_ms: i64,
    ) -> Result<Completion, SessionError> {
        self.job_of(runner, job)?;
        Ok(self.end(job, conclusion, now_ms))
    }

    /// Asks for the end of a job: at once when queued, else its runner is told
    /// with its next sign of life. `None` when there is no such job.
    pub fn cancel(&mut self, job: u64, now_ms: i64) -> Option<Completion> {
        let found = self.jobs.get_mut(&job)?;
        match found.status {
            Status::Queued => Some(self.end(job, Conclusion::Cancelled, now_ms)),
            Status::InProgress => {
                found.cancel_ms.get_or_insert(now_ms);
                Some(None)
            }
            Status::Completed => Some(None),
        }
    }

    /// Ends a job once and removes the runner that had it.
    pub(crate) fn end(&mut self, id: u64, conclusion: Conclusion, now_ms: i64) -> Completion {
        let job = self
            .jobs
            .get_mut(&id)
            .filter(|job| job.status != Status::Completed)?;
        job.status = Status::Completed;
        job.conclusion = Some(conclusion);
        job.completed_ms = Some(now_ms);
        self.runners.retain(|_, runner| runner.job != Some(id));
        Some(Announcement {
            job: id,
            status: Status::Completed,
        })
    }
}
