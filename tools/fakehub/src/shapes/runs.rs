//! Workflow runs in the shape of GitHub's.

use serde_json::{Value, json};

use super::{HTML, account, node_id, repository};
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
