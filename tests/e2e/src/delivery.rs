//! Bodies of deliveries, as GitHub writes them.

use serde_json::json;

/// A `workflow_job` delivery of the repository `octo-org/app`.
#[must_use]
pub fn workflow_job(action: &str, job: u64, labels: &[&str]) -> String {
    json!({
        "action": action,
        "workflow_job": {
            "id": job, "run_id": 7, "run_attempt": 1, "name": "build", "workflow_name": "CI",
            "labels": labels, "runner_id": null, "runner_name": null, "conclusion": null,
            "html_url": "https://github.com/octo-org/app/actions/runs/7/job/1",
            "created_at": "2026-01-02T03:04:05Z", "started_at": "2026-01-02T03:04:05Z",
            "completed_at": null,
        },
        "repository": {
            "full_name": "octo-org/app", "private": true, "owner": { "login": "octo-org" },
        },
        "organization": { "login": "octo-org" },
        "installation": { "id": 1001 },
    })
    .to_string()
}
