//! GitHub's endpoints for workflows, their runs and jobs.
//!
//! Reading needs the permission "Actions: read"; dispatch and rerun need
//! "Actions: read and write", which is asked for only where they are used.
//!
//! Source: GitHub REST API, "Workflows", "Workflow runs" and "Workflow jobs",
//! version 2022-11-28.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::GithubClient;
use super::api::{Api, Enough, List, percent_encode};
use super::error::{ErrorKind, GithubError};
use super::http::Call;
use super::scope::Scope;
use super::status::Asked;
use crate::payload::{self, JobPayload};

/// GitHub takes at most this many inputs (GitHub Docs, "workflow_dispatch").
const INPUTS: usize = 25;

/// GitHub tells of no more runs that are asked for by their state (GitHub
/// REST API, "List workflow runs for a repository").
const RUNS: usize = 1_000;

/// One run of a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowRun {
    /// GitHub's id of it.
    pub id: u64,
    /// Which try it is, from 1.
    #[serde(default)]
    pub run_attempt: u64,
    /// `queued`, `in_progress`, `completed` and others.
    pub status: Option<String>,
    /// How it ended, once it did.
    pub conclusion: Option<String>,
    /// What started it, such as `workflow_dispatch`.
    #[serde(default)]
    pub event: String,
    /// Its page.
    pub html_url: String,
}

/// Runs that are asked for by their state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunStatus {
    /// Some job waits, none runs.
    Queued,
    /// Some job runs.
    InProgress,
    /// Waits for a person or a time.
    Waiting,
    /// Over.
    Completed,
}

impl RunStatus {
    fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InProgress => "in_progress",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
        }
    }
}

/// A workflow to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatch {
    /// `owner/name`.
    pub repository: String,
    /// Its id, or its file's name such as `accept.yml`.
    pub workflow: String,
    /// Branch or tag.
    pub git_ref: String,
    /// At most 25.
    pub inputs: BTreeMap<String, String>,
}

/// The run that came of a dispatch.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DispatchedRun {
    /// GitHub's id of it.
    #[serde(rename = "workflow_run_id")]
    pub id: u64,
    /// Its page.
    pub html_url: String,
}

impl GithubClient {
    /// How a workflow job stands; `None` when GitHub does not know it.
    ///
    /// # Errors
    /// [`GithubError`].
    pub async fn find_job(
        &self,
        repository: String,
        number: u64,
    ) -> Result<Option<JobPayload>, GithubError> {
        self.run("look up job", move |api| find_job(api, &repository, number))
            .await
    }

    /// The runs of a repository in one state, newest first; the newest 1,000,
    /// which is as many as GitHub tells of.
    ///
    /// # Errors
    /// [`GithubError`].
    pub async fn workflow_runs(
        &self,
        repository: String,
        status: RunStatus,
    ) -> Result<Vec<WorkflowRun>, GithubError> {
        self.run("list workflow runs", move |api| {
            runs(api, &repository, status)
        })
        .await
    }

    /// The jobs of a run's latest attempt.
    ///
    /// # Errors
    /// [`GithubError`].
    pub async fn run_jobs(
        &self,
        repository: String,
        run: u64,
    ) -> Result<Vec<JobPayload>, GithubError> {
        self.run("list jobs of a run", move |api| {
            run_jobs(api, &repository, run)
        })
        .await
    }

    /// Starts a workflow, once. Servers before 3.21 do not name the run that came
    /// of it (cli/cli#12672): then it is known by what its inputs made it name.
    ///
    /// # Errors
    /// [`GithubError`].
    pub async fn dispatch_workflow(
        &self,
        dispatch: Dispatch,
    ) -> Result<Option<DispatchedRun>, GithubError> {
        self.run("dispatch workflow", move |api| start(api, &dispatch))
            .await
    }

    /// Runs one job and those that depend on it again. Sent once.
    ///
    /// # Errors
    /// [`GithubError`]; while its run has not ended it is `ErrorKind::Permission`.
    pub async fn rerun_job(&self, repository: String, job: u64) -> Result<(), GithubError> {
        self.run("rerun job", move |api| {
            let scope = Scope::repo(&repository)?;
            let path = format!("{}/actions/jobs/{job}/rerun", scope.path());
            let call = Call::once(&path, None);
            api.at(&scope, Asked::Workflows(&scope), &call, 201)
                .map(|_| ())
        })
        .await
    }

    /// Runs a run's failed jobs and those that depend on them again. Sent
    /// once.
    ///
    /// # Errors
    /// [`GithubError`]; a run that has not ended is `ErrorKind::Permission`.
    pub async fn rerun_failed_jobs(&self, repository: String, run: u64) -> Result<(), GithubError> {
        self.run("rerun failed jobs", move |api| {
            let scope = Scope::repo(&repository)?;
            let path = format!("{}/actions/runs/{run}/rerun-failed-jobs", scope.path());
            let call = Call::once(&path, None);
            api.at(&scope, Asked::Workflows(&scope), &call, 201)
                .map(|_| ())
        })
        .await
    }
}

fn job_payload(repository: &str, path: &str, body: &[u8]) -> Result<JobPayload, GithubError> {
    payload::parse_job(repository, body).map_err(|error| GithubError::Answer {
        method: "GET",
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

fn find_job(
    api: Api<'_>,
    repository: &str,
    number: u64,
) -> Result<Option<JobPayload>, GithubError> {
    let scope = Scope::repo(repository)?;
    let path = format!("{}/actions/jobs/{number}", scope.path());
    match api.at(&scope, Asked::Jobs(&scope), &Call::get(&path), 200) {
        Ok(answer) => job_payload(repository, &path, &answer.body).map(Some),
        Err(GithubError::Status(error)) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn runs(
    api: Api<'_>,
    repository: &str,
    status: RunStatus,
) -> Result<Vec<WorkflowRun>, GithubError> {
    #[derive(Deserialize)]
    struct Page {
        workflow_runs: Vec<WorkflowRun>,
    }
    let scope = Scope::repo(repository)?;
    let mut all = Vec::new();
    let list = List {
        operation: "list workflow runs",
        scope: &scope,
        asked: Asked::Jobs(&scope),
        path: &format!("{}/actions/runs?status={}", scope.path(), status.as_str()),
        conditional: true,
    };
    api.pages(&list, |page: Page| {
        let count = page.workflow_runs.len();
        all.extend(page.workflow_runs);
        let enough = match all.len() >= RUNS {
            true => Enough::Yes,
            false => Enough::No,
        };
        (count, enough)
    })?;
    Ok(all)
}

fn run_jobs(api: Api<'_>, repository: &str, run: u64) -> Result<Vec<JobPayload>, GithubError> {
    #[derive(Deserialize)]
    struct Page {
        jobs: Vec<Box<RawValue>>,
    }
    let scope = Scope::repo(repository)?;
    let path = format!("{}/actions/runs/{run}/jobs", scope.path());
    let mut raw = Vec::new();
    let list = List {
        operation: "list jobs of a run",
        scope: &scope,
        asked: Asked::Jobs(&scope),
        path: &path,
        conditional: true,
    };
    api.pages(&list, |page: Page| {
        let count = page.jobs.len();
        raw.extend(page.jobs);
        (count, Enough::No)
    })?;
    raw.iter()
        .map(|job| job_payload(repository, &path, job.get().as_bytes()))
        .collect()
}

fn start(api: Api<'_>, dispatch: &Dispatch) -> Result<Option<DispatchedRun>, GithubError> {
    if dispatch.inputs.len() > INPUTS {
        let count = dispatch.inputs.len();
        return Err(unfit(format!("{count} inputs: github takes {INPUTS}")));
    }
    match send(api, dispatch, true) {
        // It refuses a field that it does not know, and has started nothing.
        Err(error) if error.is_status(400) => send(api, dispatch, false),
        result => result,
    }
}

fn send(
    api: Api<'_>,
    dispatch: &Dispatch,
    return_run_details: bool,
) -> Result<Option<DispatchedRun>, GithubError> {
    #[derive(Serialize)]
    struct Body<'a> {
        #[serde(rename = "ref")]
        git_ref: &'a str,
        inputs: &'a BTreeMap<String, String>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        return_run_details: bool,
    }
    let body = serde_json::to_vec(&Body {
        git_ref: &dispatch.git_ref,
        inputs: &dispatch.inputs,
        return_run_details,
    })
    .map_err(|error| unfit(error.to_string()))?;
    let scope = Scope::repo(&dispatch.repository)?;
    let path = format!(
        "{}/actions/workflows/{}/dispatches",
        scope.path(),
        percent_encode(&dispatch.workflow)
    );
    let call = Call::once(&path, Some(body));
    let expect = if return_run_details { 200 } else { 204 };
    match api.at(&scope, Asked::Workflows(&scope), &call, expect) {
        // It was started, whatever the answer holds.
        Ok(answer) => Ok(serde_json::from_slice(&answer.body).ok()),
        Err(error) if error.is_status(204) => Ok(None),
        Err(error) => Err(error),
    }
}

fn unfit(reason: String) -> GithubError {
    GithubError::Argument {
        operation: "dispatch workflow",
        reason,
    }
}
