//! Workflow runs in the shape of GitHub's.

use serde_json::{Value, json};

use super::{HTML, account, node_id, repository, signed_off};
use crate::config::{Installation, Repository};
use crate::ids::timestamp;
use crate::state::{Conclusion, Run, Status};

/// A run as in `GET …/actions/runs`; `stands` is its state by its jobs.
#[must_use]
pub fn run(
    api: &str,
    installation: &Installation,
    place: &Repository,
    (id, run): (u64, &Run),
    stands: (Status, Option<Conclusion>),
) -> Value {
    let full = format!("{}/{}", run.account, run.repo);
    let url = format!("{api}/repos/{full}/actions/runs/{id}");
    let octocat = account(api, "octocat", 583_231, "User");
    let home = repository(api, installation, place);
    let person = json!({ "name": "Octocat", "email": "octocat@example.org" });
    json!({
        "id": id,
        "name": run.file,
        "node_id": node_id("WorkflowRun", id),
        "check_suite_id": id,
        "check_suite_node_id": node_id("CheckSuite", id),
        "head_branch": "main",
        "head_sha": run.head_sha,
        "path": format!(".github/workflows/{}", run.file),
        "display_title": run.file,
        "run_number": id % 100_000,
        "run_attempt": run.attempt,
        "event": run.event,
        "status": stands.0.as_str(),
        "conclusion": stands.1.map(Conclusion::as_str),
        "workflow_id": 1,
        "url": url,
        "html_url": format!("{HTML}/{full}/actions/runs/{id}"),
        "pull_requests": [],
        "created_at": timestamp(run.created_ms),
        "updated_at": timestamp(run.started_ms),
        "run_started_at": timestamp(run.started_ms),
        "actor": octocat,
        "triggering_actor": octocat,
        "referenced_workflows": [],
        "jobs_url": format!("{url}/jobs"),
        "logs_url": format!("{url}/logs"),
        "check_suite_url": format!("{api}/repos/{full}/check-suites/{id}"),
        "artifacts_url": format!("{url}/artifacts"),
        "cancel_url": format!("{url}/cancel"),
        "rerun_url": format!("{url}/rerun"),
        "previous_attempt_url": null,
        "workflow_url": format!("{api}/repos/{full}/actions/workflows/1"),
        "head_commit": {
            "id": run.head_sha,
            "tree_id": run.head_sha,
            "message": "fakehub",
            "timestamp": timestamp(run.created_ms),
            "author": person,
            "committer": person,
        },
        "repository": home,
        "head_repository": home,
    })
}

/// Payload of `workflow_run`, from a run as [`run`] shows it.
#[must_use]
pub fn workflow_run(
    api: &str,
    installation: &Installation,
    place: &Repository,
    action: &str,
    run: Value,
) -> Value {
    let since = run["created_at"].clone();
    let path = run["path"].clone();
    let full = format!("{}/{}", installation.account, place.name);
    let workflow = json!({
        "id": 1,
        "node_id": node_id("Workflow", 1),
        "name": run["name"],
        "path": path,
        "state": "active",
        "created_at": since,
        "updated_at": since,
        "url": format!("{api}/repos/{full}/actions/workflows/1"),
        "html_url": format!("{HTML}/{full}/actions/workflows/1"),
        "badge_url": format!("{HTML}/{full}/workflows/1/badge.svg"),
    });
    let body = json!({ "action": action, "workflow_run": run, "workflow": workflow });
    signed_off(api, installation, place, body)
}
