//! The body of a webhook delivery, parsed into what Musher acts on.
//!
//! Runs after the signature was verified, on bytes that are still not
//! trusted: every string and list is bounded and nothing panics. It never
//! decides whether a job is ours; it never keeps a field nobody reads.
//!
//! Source: GitHub Docs, "Webhook events and payloads", `workflow_job`.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

// Named, because the fuzz target takes this file by its path.
#[path = "payload/installation.rs"]
mod installation;
#[path = "payload/run.rs"]
mod run;

pub use installation::InstallationPayload;
pub use run::{RunAction, RunConclusion, RunPayload};

/// Most bytes of a name. Names that a person reads are cut there; names that
/// identify something are refused beyond it.
const NAME_BYTES: usize = 1024;
/// Most labels of one job: a runner cannot carry more at GitHub.
const LABELS: usize = 100;
/// Most bytes of one label.
const LABEL_BYTES: usize = 256;
/// Most bytes of a parser's message that is passed on.
const REASON_BYTES: usize = 200;

/// What a delivery says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// GitHub tries the hook out.
    Ping,
    /// A job changed.
    WorkflowJob(Box<JobPayload>),
    /// A run of a workflow changed.
    WorkflowRun(Box<RunPayload>),
    /// The App was installed, removed, suspended, or may do other things.
    Installation(InstallationPayload),
    /// An event, or an action of a known event, that Musher has no use for.
    Other,
}

/// What happened to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobAction {
    /// It waits for a runner.
    Queued,
    /// It waits for a person or another gate: no runner is wanted yet.
    Waiting,
    /// A runner took it.
    InProgress,
    /// It ended; see [`JobPayload::conclusion`].
    Completed,
}

/// A `workflow_job` delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobPayload {
    /// What happened.
    pub action: JobAction,
    /// GitHub's id of the job; a rerun has a new one.
    pub job_id: u64,
    /// GitHub's id of the workflow run.
    pub run_id: u64,
    /// Which attempt of the run, from 1. Old servers do not say: then 1.
    pub run_attempt: u32,
    /// The job's name, cut at 1 KiB.
    pub name: String,
    /// The workflow's name, cut at 1 KiB. Old servers do not say.
    pub workflow_name: Option<String>,
    /// `owner/name` of the repository.
    pub repository: String,
    /// Login of the repository's owner, a user or an organization.
    pub owner: String,
    /// Login of the organization, if the repository belongs to one.
    pub organization: Option<String>,
    /// The App's installation that the delivery is for; absent on hooks of a
    /// repository or organization.
    pub installation_id: Option<u64>,
    /// Whether the repository is private (internal ones are).
    pub private: bool,
    /// The job's `runs-on` labels as GitHub spells them. Empty with
    /// `runs-on: { group: … }`.
    pub labels: Vec<String>,
    /// The runner that took the job. GitHub sends 0 or null for none; a
    /// `queued` delivery may carry a stale one.
    pub runner_id: Option<u64>,
    /// That runner's name.
    pub runner_name: Option<String>,
    /// That runner's group.
    pub runner_group_name: Option<String>,
    /// How it ended: `success`, `failure`, `cancelled`, `skipped` and so on.
    pub conclusion: Option<String>,
    /// The job's page, cut at 1 KiB.
    pub html_url: Option<String>,
    /// When it was created, in Unix milliseconds.
    pub created_at_ms: Option<u64>,
    /// When it started, in Unix milliseconds. While queued GitHub repeats the
    /// time of creation here.
    pub started_at_ms: Option<u64>,
    /// When it ended, in Unix milliseconds.
    pub completed_at_ms: Option<u64>,
}

/// Why a body was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// The bytes are not JSON: set the hook's content type to
    /// `application/json`, not to a form.
    #[error("parse delivery: not json ({0}): set the webhook's content type to application/json")]
    NotJson(String),
    /// A field has another type than GitHub documents.
    #[error("parse {event} delivery: unexpected shape: {reason}")]
    Shape {
        /// The event's name.
        event: &'static str,
        /// What the parser met.
        reason: String,
    },
    /// A field that Musher needs is absent or null.
    #[error("parse delivery: field {0} is missing")]
    Missing(&'static str),
    /// A field's text is not what GitHub documents.
    #[error("parse delivery: field {0} is malformed")]
    Malformed(&'static str),
    /// A field is longer than any real one.
    #[error("parse delivery: field {field} is longer than {limit}")]
    TooLong {
        /// The field's path.
        field: &'static str,
        /// Most bytes, or most labels.
        limit: usize,
    },
}

/// Parses the body of a delivery; `event` is the value of `X-GitHub-Event`.
///
/// Unknown events and actions give [`Payload::Other`], whatever else their
/// body holds, as long as it is JSON: GitHub adds new ones at any time.
///
/// # Errors
/// [`PayloadError`], naming the field where there is one.
pub fn parse(event: &str, body: &[u8]) -> Result<Payload, PayloadError> {
    match event {
        "workflow_job" => {}
        "workflow_run" => {
            let run = run::parse(body)?;
            return Ok(run.map_or(Payload::Other, |run| Payload::WorkflowRun(Box::new(run))));
        }
        "installation" => {
            return installation::parse("installation", body).map(Payload::Installation);
        }
        "installation_repositories" => {
            return installation::parse("installation_repositories", body)
                .map(Payload::Installation);
        }
        "ping" => {
            serde_json::from_slice::<IgnoredAny>(body).map_err(|error| refuse("ping", &error))?;
            return Ok(Payload::Ping);
        }
        _ => {
            serde_json::from_slice::<IgnoredAny>(body).map_err(|error| refuse("other", &error))?;
            return Ok(Payload::Other);
        }
    }
    let delivery = serde_json::from_slice::<WireDelivery<'_>>(body);
    let action = match &delivery {
        Ok(wire) => action(wire.action.as_deref())?,
        // An unknown action may have an unknown shape.
        Err(_) => {
            let wire: WireAction<'_> =
                serde_json::from_slice(body).map_err(|error| refuse("workflow_job", &error))?;
            action(wire.action.as_deref())?
        }
    };
    let Some(action) = action else {
        return Ok(Payload::Other);
    };
    let wire = delivery.map_err(|error| refuse("workflow_job", &error))?;
    Ok(Payload::WorkflowJob(Box::new(wire.into_job(action)?)))
}

/// What happened to a job; nothing for an action that Musher has no use for.
fn action(word: Option<&str>) -> Result<Option<JobAction>, PayloadError> {
    Ok(Some(match word.ok_or(PayloadError::Missing("action"))? {
        "queued" => JobAction::Queued,
        "waiting" => JobAction::Waiting,
        "in_progress" => JobAction::InProgress,
        "completed" => JobAction::Completed,
        _ => return Ok(None),
    }))
}

fn refuse(event: &'static str, error: &serde_json::Error) -> PayloadError {
    let reason = cut(&error.to_string(), REASON_BYTES);
    if error.is_data() {
        PayloadError::Shape { event, reason }
    } else {
        PayloadError::NotJson(reason)
    }
}

#[derive(Deserialize)]
struct WireAction<'a> {
    #[serde(borrow)]
    action: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct WireDelivery<'a> {
    #[serde(borrow)]
    action: Option<Cow<'a, str>>,
    #[serde(borrow)]
    workflow_job: Option<WireJob<'a>>,
    repository: Option<WireRepository<'a>>,
    organization: Option<WireAccount<'a>>,
    installation: Option<WireInstallation>,
}

#[derive(Deserialize)]
struct WireJob<'a> {
    id: Option<u64>,
    run_id: Option<u64>,
    run_attempt: Option<u32>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    workflow_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    labels: Option<Vec<Cow<'a, str>>>,
    runner_id: Option<u64>,
    #[serde(borrow)]
    runner_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    runner_group_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    conclusion: Option<Cow<'a, str>>,
    #[serde(borrow)]
    html_url: Option<Cow<'a, str>>,
    #[serde(borrow)]
    created_at: Option<Cow<'a, str>>,
    #[serde(borrow)]
    started_at: Option<Cow<'a, str>>,
    #[serde(borrow)]
    completed_at: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct WireRepository<'a> {
    #[serde(borrow)]
    full_name: Option<Cow<'a, str>>,
    owner: Option<WireAccount<'a>>,
    private: Option<bool>,
}

#[derive(Deserialize)]
struct WireAccount<'a> {
    #[serde(borrow)]
    login: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct WireInstallation {
    id: Option<u64>,
}

impl WireDelivery<'_> {
    fn into_job(self, action: JobAction) -> Result<JobPayload, PayloadError> {
        let job = self
            .workflow_job
            .ok_or(PayloadError::Missing("workflow_job"))?;
        let repository = self.repository.ok_or(PayloadError::Missing("repository"))?;
        let owner = repository
            .owner
            .ok_or(PayloadError::Missing("repository.owner"))?;
        let full_name = full_name(
            "repository.full_name",
            required("repository.full_name", repository.full_name)?,
        )?;
        let organization = match self.organization {
            Some(account) => optional("organization.login", account.login)?,
            None => None,
        };
        Ok(JobPayload {
            action,
            job_id: required("workflow_job.id", job.id)?,
            run_id: required("workflow_job.run_id", job.run_id)?,
            run_attempt: job.run_attempt.unwrap_or(1).max(1),
            name: cut(&required("workflow_job.name", job.name)?, NAME_BYTES),
            workflow_name: job.workflow_name.map(|name| cut(&name, NAME_BYTES)),
            repository: full_name,
            owner: identity(
                "repository.owner.login",
                required("repository.owner.login", owner.login)?,
            )?,
            organization,
            installation_id: self.installation.and_then(|installation| installation.id),
            // Required: a missing value must not make a public repository
            // look private, nor the other way round.
            private: required("repository.private", repository.private)?,
            labels: labels(required("workflow_job.labels", job.labels)?)?,
            runner_id: job.runner_id.filter(|id| *id != 0),
            runner_name: optional("workflow_job.runner_name", job.runner_name)?,
            runner_group_name: optional("workflow_job.runner_group_name", job.runner_group_name)?,
            conclusion: optional("workflow_job.conclusion", job.conclusion)?,
            html_url: job.html_url.map(|url| cut(&url, NAME_BYTES)),
            created_at_ms: time("workflow_job.created_at", job.created_at)?,
            started_at_ms: time("workflow_job.started_at", job.started_at)?,
            completed_at_ms: time("workflow_job.completed_at", job.completed_at)?,
        })
    }
}

/// Parses a job as the REST API gives it (`GET …/actions/jobs/{id}`): the same
/// object, with a `status` in place of a delivery's action and no repository.
/// [`JobPayload::private`] is `true`: what the API does not say is not assumed
/// to be public.
///
/// # Errors
/// [`PayloadError`], naming the field where there is one.
pub fn parse_job(repository: &str, body: &[u8]) -> Result<JobPayload, PayloadError> {
    #[derive(Deserialize)]
    struct WireStatus<'a> {
        #[serde(borrow)]
        status: Option<Cow<'a, str>>,
    }
    let shape = |error: serde_json::Error| PayloadError::Shape {
        event: "workflow_job",
        reason: error.to_string(),
    };
    let status: WireStatus<'_> = serde_json::from_slice(body).map_err(shape)?;
    let action = match required("workflow_job.status", status.status)?.as_ref() {
        "completed" => JobAction::Completed,
        "in_progress" => JobAction::InProgress,
        "waiting" | "pending" | "requested" => JobAction::Waiting,
        _ => JobAction::Queued,
    };
    let job: WireJob<'_> = serde_json::from_slice(body).map_err(shape)?;
    let owner = repository.split('/').next().unwrap_or_default();
    let delivery = WireDelivery {
        action: None,
        workflow_job: Some(job),
        repository: Some(WireRepository {
            full_name: Some(repository.into()),
            owner: Some(WireAccount {
                login: Some(owner.into()),
            }),
            private: Some(true),
        }),
        organization: None,
        installation: None,
    };
    delivery.into_job(action)
}

fn required<T>(field: &'static str, value: Option<T>) -> Result<T, PayloadError> {
    value.ok_or(PayloadError::Missing(field))
}

/// A name that tells one thing from another is never cut: two could become one.
fn identity(field: &'static str, text: Cow<'_, str>) -> Result<String, PayloadError> {
    if text.len() > NAME_BYTES {
        return Err(PayloadError::TooLong {
            field,
            limit: NAME_BYTES,
        });
    }
    if text.is_empty() {
        return Err(PayloadError::Malformed(field));
    }
    Ok(text.into_owned())
}

/// `owner/name`.
fn full_name(field: &'static str, text: Cow<'_, str>) -> Result<String, PayloadError> {
    let text = identity(field, text)?;
    let parts = text.split_once('/');
    match parts
        .is_some_and(|(owner, name)| !owner.is_empty() && !name.is_empty() && !name.contains('/'))
    {
        true => Ok(text),
        false => Err(PayloadError::Malformed(field)),
    }
}

/// GitHub sends null for what is not there; older servers send empty strings.
fn optional(
    field: &'static str,
    text: Option<Cow<'_, str>>,
) -> Result<Option<String>, PayloadError> {
    text.filter(|text| !text.is_empty())
        .map(|text| identity(field, text))
        .transpose()
}

fn labels(labels: Vec<Cow<'_, str>>) -> Result<Vec<String>, PayloadError> {
    const FIELD: &str = "workflow_job.labels";
    if labels.len() > LABELS {
        return Err(PayloadError::TooLong {
            field: FIELD,
            limit: LABELS,
        });
    }
    if labels.iter().any(|label| label.len() > LABEL_BYTES) {
        return Err(PayloadError::TooLong {
            field: FIELD,
            limit: LABEL_BYTES,
        });
    }
    Ok(labels.into_iter().map(Cow::into_owned).collect())
}

fn time(field: &'static str, text: Option<Cow<'_, str>>) -> Result<Option<u64>, PayloadError> {
    let Some(text) = text else { return Ok(None) };
    let time: jiff::Timestamp = text.parse().map_err(|_| PayloadError::Malformed(field))?;
    u64::try_from(time.as_millisecond())
        .map(Some)
        .map_err(|_| PayloadError::Malformed(field))
}

/// At most `limit` bytes of `text`, ending between two characters.
fn cut(text: &str, limit: usize) -> String {
    text.get(..text.floor_char_boundary(limit))
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests;
