//! A `workflow_run` delivery: how a whole run of a workflow stands.
//!
//! Source: GitHub Docs, "Webhook events and payloads", `workflow_run`.

use std::borrow::Cow;

use serde::Deserialize;

use super::{
    NAME_BYTES, PayloadError, WireAction, WireInstallation, WireRepository, cut, full_name,
    identity, optional, refuse, required,
};

/// What happened to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunAction {
    /// A run, or another attempt of one, was asked for.
    Requested,
    /// Its first job began.
    InProgress,
    /// It is over; see [`RunPayload::conclusion`].
    Completed,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunConclusion {
    /// Every job succeeded.
    Success,
    /// Some job failed, or something else that is not good happened.
    Failure,
    /// Somebody stopped it.
    Cancelled,
    /// It waits for a person, who must approve it.
    ActionRequired,
    /// There was nothing to do.
    Skipped,
}

impl RunConclusion {
    /// GitHub's word. `neutral` counts as skipped, and what is not known as a
    /// failure: `timed_out`, `stale`, `startup_failure` and what is to come.
    #[must_use]
    pub fn of(word: &str) -> Self {
        match word {
            "success" => Self::Success,
            "cancelled" => Self::Cancelled,
            "action_required" => Self::ActionRequired,
            "skipped" | "neutral" => Self::Skipped,
            _ => Self::Failure,
        }
    }

    /// One word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Cancelled => "cancelled",
            Self::ActionRequired => "action_required",
            Self::Skipped => "skipped",
        }
    }
}

/// A `workflow_run` delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunPayload {
    /// What happened.
    pub action: RunAction,
    /// GitHub's id of the run: the same for each attempt.
    pub run_id: u64,
    /// Which attempt, from 1. Old servers do not say: then 1.
    pub run_attempt: u32,
    /// GitHub's word for its state: `queued`, `in_progress`, `completed` and
    /// others.
    pub status: String,
    /// How it ended, once it did.
    pub conclusion: Option<RunConclusion>,
    /// What started it, such as `workflow_dispatch`.
    pub event: String,
    /// The workflow's id.
    pub workflow_id: Option<u64>,
    /// `owner/name` of the repository whose workflow it is.
    pub repository: String,
    /// Whether that repository is private (internal ones are).
    pub private: bool,
    /// `owner/name` of the repository whose commit it runs: a fork's may be
    /// another. `None` when that was deleted.
    pub head_repository: Option<String>,
    /// The App's installation that the delivery is for.
    pub installation_id: Option<u64>,
    /// The run's page, cut at 1 KiB.
    pub html_url: Option<String>,
}

#[derive(Deserialize)]
struct WireDelivery<'a> {
    #[serde(borrow)]
    workflow_run: Option<WireRun<'a>>,
    repository: Option<WireRepository<'a>>,
    installation: Option<WireInstallation>,
}

#[derive(Deserialize)]
struct WireRun<'a> {
    id: Option<u64>,
    run_attempt: Option<u32>,
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
    #[serde(borrow)]
    conclusion: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event: Option<Cow<'a, str>>,
    workflow_id: Option<u64>,
    head_repository: Option<WireRepository<'a>>,
    #[serde(borrow)]
    html_url: Option<Cow<'a, str>>,
}

/// Parses the body of a `workflow_run` delivery; `None` for an action that is
/// not known.
///
/// # Errors
/// [`PayloadError`], naming the field where there is one.
pub(super) fn parse(body: &[u8]) -> Result<Option<RunPayload>, PayloadError> {
    const EVENT: &str = "workflow_run";
    let shape = |error: serde_json::Error| refuse(EVENT, &error);
    let wire: WireAction<'_> = serde_json::from_slice(body).map_err(shape)?;
    let action = match required("action", wire.action)?.as_ref() {
        "requested" => RunAction::Requested,
        "in_progress" => RunAction::InProgress,
        "completed" => RunAction::Completed,
        _ => return Ok(None),
    };
    let wire: WireDelivery<'_> = serde_json::from_slice(body).map_err(shape)?;
    let run = required("workflow_run", wire.workflow_run)?;
    let repository = required("repository", wire.repository)?;
    let head = run.head_repository.and_then(|head| head.full_name);
    let head_repository = match head {
        Some(name) => Some(full_name("workflow_run.head_repository.full_name", name)?),
        None => None,
    };
    let field = "repository.full_name";
    let conclusion = optional("workflow_run.conclusion", run.conclusion)?;
    let word = |field, word| identity(field, required(field, word)?);
    Ok(Some(RunPayload {
        action,
        run_id: required("workflow_run.id", run.id)?,
        run_attempt: run.run_attempt.unwrap_or(1).max(1),
        status: word("workflow_run.status", run.status)?,
        conclusion: conclusion.as_deref().map(RunConclusion::of),
        event: word("workflow_run.event", run.event)?,
        workflow_id: run.workflow_id,
        repository: full_name(field, required(field, repository.full_name)?)?,
        // As with a job's: required.
        private: required("repository.private", repository.private)?,
        head_repository,
        installation_id: wire.installation.and_then(|installation| installation.id),
        html_url: run.html_url.map(|url| cut(&url, NAME_BYTES)),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{Payload, parse};
    use super::*;

    fn body() -> Value {
        json!({
            "action": "completed",
            "workflow_run": {
                "id": 30_433_642, "run_attempt": 2, "status": "completed",
                "conclusion": "success", "event": "pull_request", "workflow_id": 159_038,
                "head_repository": { "full_name": "octocat/app", "owner": null },
                "html_url": "https://github.com/octo-org/app/actions/runs/30433642",
            },
            "repository": { "full_name": "octo-org/app", "private": true },
            "installation": { "id": 1001 },
        })
    }

    fn parsed(body: &Value) -> Result<Payload, PayloadError> {
        parse("workflow_run", body.to_string().as_bytes())
    }

    fn run(body: &Value) -> RunPayload {
        match parsed(body) {
            Ok(Payload::WorkflowRun(run)) => *run,
            other => panic!("{other:?}"),
        }
    }

    fn altered(pointer: &str, value: Value) -> Value {
        let mut body = body();
        *body.pointer_mut(pointer).unwrap() = value;
        body
    }

    #[test]
    fn a_run_of_a_fork() {
        let expect = RunPayload {
            action: RunAction::Completed,
            run_id: 30_433_642,
            run_attempt: 2,
            status: "completed".into(),
            conclusion: Some(RunConclusion::Success),
            event: "pull_request".into(),
            workflow_id: Some(159_038),
            repository: "octo-org/app".into(),
            private: true,
            head_repository: Some("octocat/app".into()),
            installation_id: Some(1001),
            html_url: Some("https://github.com/octo-org/app/actions/runs/30433642".into()),
        };
        assert_eq!(run(&body()), expect);
        let gone = run(&altered("/workflow_run/head_repository", Value::Null));
        assert_eq!(gone.head_repository, None);
        let old = run(&altered("/workflow_run/run_attempt", Value::Null));
        assert_eq!(old.run_attempt, 1);
    }

    #[test]
    fn conclusions() {
        for (word, expect) in [
            ("success", RunConclusion::Success),
            ("failure", RunConclusion::Failure),
            ("timed_out", RunConclusion::Failure),
            ("startup_failure", RunConclusion::Failure),
            ("stale", RunConclusion::Failure),
            ("a new one", RunConclusion::Failure),
            ("cancelled", RunConclusion::Cancelled),
            ("action_required", RunConclusion::ActionRequired),
            ("skipped", RunConclusion::Skipped),
            ("neutral", RunConclusion::Skipped),
        ] {
            let run = run(&altered("/workflow_run/conclusion", word.into()));
            assert_eq!(run.conclusion, Some(expect), "{word}");
        }
        let open = run(&altered("/workflow_run/conclusion", Value::Null));
        assert_eq!(open.conclusion, None);
    }

    #[test]
    fn what_is_not_githubs() {
        let other = altered("/action", "rerequested".into());
        assert_eq!(parsed(&other), Ok(Payload::Other));
        for (pointer, value, expect) in [
            ("/action", Value::Null, PayloadError::Missing("action")),
            (
                "/workflow_run",
                Value::Null,
                PayloadError::Missing("workflow_run"),
            ),
            (
                "/workflow_run/id",
                Value::Null,
                PayloadError::Missing("workflow_run.id"),
            ),
            (
                "/repository/private",
                Value::Null,
                PayloadError::Missing("repository.private"),
            ),
            (
                "/repository/full_name",
                "app".into(),
                PayloadError::Malformed("repository.full_name"),
            ),
            (
                "/workflow_run/head_repository/full_name",
                "a/b/c".into(),
                PayloadError::Malformed("workflow_run.head_repository.full_name"),
            ),
            (
                "/workflow_run/event",
                "x".repeat(NAME_BYTES + 1).into(),
                PayloadError::TooLong {
                    field: "workflow_run.event",
                    limit: NAME_BYTES,
                },
            ),
        ] {
            assert_eq!(parsed(&altered(pointer, value)), Err(expect), "{pointer}");
        }
        let shape = parsed(&altered("/workflow_run/id", "7".into()));
        assert!(matches!(
            shape,
            Err(PayloadError::Shape {
                event: "workflow_run",
                ..
            })
        ));
    }
}
