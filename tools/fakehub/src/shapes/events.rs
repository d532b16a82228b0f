//! Webhook payloads, and the job that the API shows: both carry the same
//! fields at GitHub.

use serde_json::{Value, json};

use super::{HTML, SINCE_MS, account, node_id, organization, repository};
use crate::config::{App, Installation, Repository};
use crate::ids::timestamp;
use crate::state::{Job, Status};

/// A workflow job, as `GET …/actions/jobs/{job_id}` and as `workflow_job`.
#[must_use]
pub fn job(api: &str, job: &Job) -> Value {
    let full = format!("{}/{}", job.account, job.repo);
    let url = format!("{api}/repos/{full}");
    let (id, run_id) = (job.id, job.run_id);
    let by = job.runner.as_ref();
    json!({
        "id": id,
        "run_id": run_id,
        "workflow_name": "fakehub",
        "head_branch": "main",
        "run_url": format!("{url}/actions/runs/{run_id}"),
        "run_attempt": job.run_attempt,
        "node_id": node_id("CheckRun", id),
        "head_sha": job.head_sha,
        "url": format!("{url}/actions/jobs/{id}"),
        "html_url": format!("{HTML}/{full}/actions/runs/{run_id}/job/{id}"),
        "status": job.status.as_str(),
        "conclusion": job.conclusion.map(crate::state::Conclusion::as_str),
        "created_at": timestamp(job.created_ms),
        // GitHub puts the creation time here until a runner takes the job.
        "started_at": timestamp(job.started_ms.unwrap_or(job.created_ms)),
        "completed_at": job.completed_ms.map(timestamp),
        "name": job.name,
        "steps": steps(job),
        "check_run_url": format!("{url}/check-runs/{id}"),
        "labels": job.labels,
        "runner_id": by.map(|it| it.id),
        "runner_name": by.map(|it| &it.name),
        "runner_group_id": by.map(|it| it.group_id),
        "runner_group_name": by.map(|it| &it.group_name),
    })
}

/// None while queued, "Set up job" and the script after that.
fn steps(job: &Job) -> Vec<Value> {
    let Some(started_ms) = job.started_ms else {
        return Vec::new();
    };
    let started = timestamp(started_ms);
    let step =
        |name: &str, number: u64, status: &str, conclusion: Option<&str>, end: Option<i64>| {
            json!({
                "name": name,
                "status": status,
                "conclusion": conclusion,
                "number": number,
                "started_at": started,
                "completed_at": end.map(timestamp),
            })
        };
    match job.status {
        Status::Queued => Vec::new(),
        Status::InProgress => vec![step("Set up job", 1, "in_progress", None, None)],
        Status::Completed => {
            let conclusion = job.conclusion.map(crate::state::Conclusion::as_str);
            vec![
                step(
                    "Set up job",
                    1,
                    "completed",
                    Some("success"),
                    Some(started_ms),
                ),
                step("Run script", 2, "completed", conclusion, job.completed_ms),
                step(
                    "Complete job",
                    3,
                    "completed",
                    Some("success"),
                    job.completed_ms,
                ),
            ]
        }
    }
}

/// Payload of `workflow_job`; the action is the job's state.
#[must_use]
pub fn workflow_job(
    api: &str,
    installation: &Installation,
    place: &Repository,
    changed: &Job,
) -> Value {
    let body = json!({ "action": changed.status.as_str(), "workflow_job": job(api, changed) });
    signed_off(api, installation, place, body)
}

/// Adds what every payload about a repository ends with.
pub(super) fn signed_off(
    api: &str,
    installation: &Installation,
    place: &Repository,
    mut body: Value,
) -> Value {
    let number = installation.id;
    body["repository"] = repository(api, installation, place);
    body["sender"] = account(api, "octocat", 583_231, "User");
    body["installation"] = json!({
        "id": number,
        "node_id": node_id("IntegrationInstallation", number),
    });
    if installation.account_type == "Organization" {
        body["organization"] = organization(api, installation);
    }
    body
}

/// Payload of `ping`, which GitHub sends when an App's webhook is set up.
#[must_use]
pub fn ping(api: &str, app: &App, hook_id: u64) -> Value {
    json!({
        "zen": "Practicality beats purity.",
        "hook_id": hook_id,
        "hook": {
            "type": "App",
            "id": hook_id,
            "name": "web",
            "active": true,
            "events": app.events,
            "config": {
                "content_type": "json",
                "insecure_ssl": "0",
                "secret": "********",
                "url": app.webhook_url,
            },
            "updated_at": timestamp(SINCE_MS),
            "created_at": timestamp(SINCE_MS),
            "app_id": app.app_id,
            "deliveries_url": format!("{api}/app/hook/deliveries"),
        },
    })
}
