//! Four payloads of the npm package @octokit/webhooks-examples (MIT, Copyright
//! Gregor Martynus and contributors), and what hostile or new ones do.

use serde_json::{Value, json};

use super::*;

const QUEUED: &str = include_str!("queued.json");
const WAITING: &str = include_str!("waiting.json");
const IN_PROGRESS_OLD: &str = include_str!("in_progress_old.json");
const COMPLETED: &str = include_str!("completed.json");

fn job(body: &str) -> JobPayload {
    match parse("workflow_job", body.as_bytes()) {
        Ok(Payload::WorkflowJob(job)) => *job,
        other => panic!("expected a job, got {other:?}"),
    }
}

/// The completed example with one field set to another value, or removed.
fn altered(pointer: &str, value: Option<Value>) -> String {
    let mut body: Value = serde_json::from_str(COMPLETED).unwrap();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = body.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => parent.insert(key.to_owned(), value),
        None => parent.remove(key),
    };
    body.to_string()
}

#[track_caller]
fn refused(pointer: &str, value: Option<Value>, expect: PayloadError) {
    let body = altered(pointer, value);
    assert_eq!(
        parse("workflow_job", body.as_bytes()),
        Err(expect),
        "{pointer}"
    );
}

#[test]
fn queued_job_of_a_user() {
    assert_eq!(
        job(QUEUED),
        JobPayload {
            action: JobAction::Queued,
            job_id: 289_782_451,
            run_id: 2_202_229_078,
            run_attempt: 1,
            name: "update".into(),
            workflow_name: Some("CodeQL".into()),
            repository: "Codertocat/Hello-World".into(),
            owner: "Octocoders".into(),
            organization: None,
            installation_id: Some(3_456_996),
            private: false,
            labels: vec!["ubuntu-latest".into()],
            runner_id: Some(5),
            runner_name: Some("GitHub Actions 5".into()),
            runner_group_name: Some("GitHub Actions".into()),
            conclusion: None,
            html_url: Some("https://github.com/octo-org/octo-repo/runs/1291536064".into()),
            created_at_ms: Some(1_631_499_673_000),
            started_at_ms: Some(1_631_499_673_000),
            completed_at_ms: None,
        }
    );
}

#[test]
fn the_other_actions() {
    let waiting = job(WAITING);
    assert_eq!(waiting.action, JobAction::Waiting);
    assert_eq!(waiting.labels, ["self-hosted", "k8s"]);
    assert_eq!((waiting.runner_id, waiting.runner_name), (None, None));

    let old = job(IN_PROGRESS_OLD);
    assert_eq!(old.action, JobAction::InProgress);
    assert_eq!(
        (old.run_attempt, old.workflow_name, old.created_at_ms),
        (1, None, None)
    );
    assert_eq!(old.runner_id, Some(1));
    assert_eq!(old.organization.as_deref(), Some("octo-org"));

    let completed = job(COMPLETED);
    assert_eq!(completed.action, JobAction::Completed);
    assert_eq!(completed.conclusion.as_deref(), Some("failure"));
    assert_eq!(completed.completed_at_ms, Some(1_628_159_896_000));
}

#[test]
fn runner_id_zero_is_none() {
    assert_eq!(
        job(&altered("/workflow_job/runner_id", Some(json!(0)))).runner_id,
        None
    );
    assert_eq!(
        job(&altered("/workflow_job/runner_name", Some(json!("")))).runner_name,
        None
    );
}

#[test]
fn other_events_and_actions_pass_by() {
    #[track_caller]
    fn check(event: &str, body: &str, expect: Payload) {
        assert_eq!(parse(event, body.as_bytes()), Ok(expect), "{event} {body}");
    }
    check(
        "ping",
        r#"{"zen":"Design for failure.","hook_id":1}"#,
        Payload::Ping,
    );
    check("push", r#"{"ref":"refs/heads/main"}"#, Payload::Other);
    check(
        "workflow_job",
        r#"{"action":"parked","workflow_job":7}"#,
        Payload::Other,
    );
}

#[test]
fn a_missing_field_is_named() {
    for (pointer, field) in [
        ("/action", "action"),
        ("/workflow_job", "workflow_job"),
        ("/workflow_job/id", "workflow_job.id"),
        ("/workflow_job/run_id", "workflow_job.run_id"),
        ("/workflow_job/name", "workflow_job.name"),
        ("/workflow_job/labels", "workflow_job.labels"),
        ("/repository", "repository"),
        ("/repository/full_name", "repository.full_name"),
        ("/repository/owner", "repository.owner"),
        ("/repository/owner/login", "repository.owner.login"),
        ("/repository/private", "repository.private"),
    ] {
        refused(pointer, None, PayloadError::Missing(field));
        refused(pointer, Some(Value::Null), PayloadError::Missing(field));
    }
}

#[test]
fn lengths_are_bounded() {
    let long = "é".repeat(NAME_BYTES);
    let named = job(&altered("/workflow_job/name", Some(json!(long))));
    assert_eq!(named.name.len(), NAME_BYTES);
    let odd = job(&altered(
        "/workflow_job/name",
        Some(json!(format!("x{long}"))),
    ));
    assert_eq!(
        odd.name.len(),
        NAME_BYTES - 1,
        "never cuts inside a character"
    );

    let field = "repository.full_name";
    let too_long = PayloadError::TooLong {
        field,
        limit: NAME_BYTES,
    };
    refused(
        "/repository/full_name",
        Some(json!(format!("a/{long}"))),
        too_long,
    );
    let field = "workflow_job.labels";
    let many = json!(vec!["l"; LABELS + 1]);
    refused(
        "/workflow_job/labels",
        Some(many),
        PayloadError::TooLong {
            field,
            limit: LABELS,
        },
    );
    let wide = json!(["l".repeat(LABEL_BYTES + 1)]);
    refused(
        "/workflow_job/labels",
        Some(wide),
        PayloadError::TooLong {
            field,
            limit: LABEL_BYTES,
        },
    );
    let fits = altered(
        "/workflow_job/labels",
        Some(json!(vec!["l".repeat(LABEL_BYTES); LABELS])),
    );
    assert_eq!(job(&fits).labels.len(), LABELS);
}

#[test]
fn malformed_values_are_named() {
    for name in ["octo", "octo/", "/app", "octo/app/x"] {
        let field = "repository.full_name";
        refused(
            "/repository/full_name",
            Some(json!(name)),
            PayloadError::Malformed(field),
        );
    }
    for time in ["", "yesterday", "2021-09-13", "1960-01-01T00:00:00Z"] {
        let field = "workflow_job.created_at";
        refused(
            "/workflow_job/created_at",
            Some(json!(time)),
            PayloadError::Malformed(field),
        );
    }
}

#[test]
fn what_is_not_json_or_not_of_this_shape() {
    #[track_caller]
    fn check(event: &str, body: &[u8], not_json: bool) {
        match parse(event, body) {
            Err(PayloadError::NotJson(_)) if not_json => {}
            Err(PayloadError::Shape { .. }) if !not_json => {}
            other => panic!("{event}: {other:?}"),
        }
    }
    check("workflow_job", b"", true);
    check("workflow_job", b"payload=%7B%7D", true);
    check("workflow_job", b"{\"action\":\"queued\"", true);
    check("ping", b"\xff\xfe", true);
    check("push", b"{}x", true);
    check("workflow_job", b"[]", false);
    check("workflow_job", b"7", false);
    check(
        "workflow_job",
        altered("/workflow_job/id", Some(json!(-1))).as_bytes(),
        false,
    );
    check(
        "workflow_job",
        altered("/workflow_job/id", Some(json!("1"))).as_bytes(),
        false,
    );
    check(
        "workflow_job",
        altered("/workflow_job/labels", Some(json!([1]))).as_bytes(),
        false,
    );
    // Deep nesting ends at a limit, or is skipped without recursion.
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let body = format!(r#"{{"action":"queued","workflow_job":{{"labels":{deep}}}}}"#);
    check("workflow_job", body.as_bytes(), false);
    assert_eq!(parse("push", deep.as_bytes()), Ok(Payload::Other));
}
