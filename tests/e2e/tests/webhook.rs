//! The webhook's answers, one by one, as the protocol's table has them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use musher_e2e::{Answer, Request, Standalone, exchange, send_slowly, workflow_job};

/// GitHub's cap: 25 MB.
const CAP: usize = 25 * 1024 * 1024;

fn signed(event: &str, body: &str) -> Request {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let id = format!("72d3162e-cc78-11e3-81ab-{number:012x}");
    Request::delivery(Standalone::SECRET, &id, event, body)
}

#[test]
fn answers() {
    let mut musher = Standalone::new().unwrap();
    musher.start().unwrap();
    let send = |request: &Request| exchange(musher.webhook(), request).unwrap();
    let queued = |job| {
        signed(
            "workflow_job",
            &workflow_job("queued", job, &["self-hosted", "X64"]),
        )
    };
    let check = |request: &Request, status: u16, result: Option<&str>| {
        let answer = send(request);
        let shown = format!("{} {:?}: {answer:?}", request.target, request.headers);
        assert_eq!(answer.status, status, "{shown}");
        assert_eq!(answer.result().as_deref(), result, "{shown}");
    };

    let first = queued(1);
    check(&first, 200, Some("queued"));
    check(&first, 200, Some("duplicate"));
    check(&queued(2).to("POST /api/webhook/main"), 200, Some("queued"));
    check(
        &signed(
            "ping",
            r#"{"zen":"Keep it logically awesome.","hook_id":1}"#,
        ),
        200,
        Some("pong"),
    );
    check(
        &signed(
            "installation",
            r#"{"action":"created","installation":{"id":7,"account":{"login":"octo-org"}}}"#,
        ),
        200,
        Some("ignored"),
    );
    check(
        &signed("fork", r#"{"forkee":{"id":7}}"#),
        200,
        Some("ignored"),
    );
    check(
        &signed(
            "workflow_job",
            &workflow_job("queued", 3, &["ubuntu-latest"]),
        ),
        200,
        Some("ignored"),
    );

    check(&queued(4).without("X-Hub-Signature-256"), 401, None);
    check(
        &queued(4).with("X-Hub-Signature-256", &format!("sha256={}", "0".repeat(64))),
        401,
        None,
    );
    check(&queued(4).with("X-Hub-Signature-256", "sha1=00"), 401, None);
    // The signature is looked at before the body is.
    check(
        &signed("workflow_job", "no json").without("X-Hub-Signature-256"),
        401,
        None,
    );
    check(
        &Request::delivery(b"another secret", "one", "workflow_job", "no json"),
        401,
        None,
    );

    check(&signed("workflow_job", "no json"), 400, None);
    check(&signed("workflow_job", r#"{"action":"queued"}"#), 400, None);
    check(
        &signed("installation", r#"{"action":"created"}"#),
        400,
        None,
    );
    check(&queued(5).without("X-GitHub-Event"), 400, None);
    check(&queued(5).without("X-GitHub-Delivery"), 400, None);

    check(&queued(6).to("POST /api/webhook/other"), 404, None);
    check(&queued(6).to("POST /"), 404, None);
    check(&Request::get("/api/v1/status"), 404, None);
    assert_eq!(send(&Request::get("/healthz")).status, 200);

    let big = signed("workflow_job", "{}");
    let answer = send_slowly(musher.webhook(), &big, CAP + 1).unwrap();
    assert_eq!(answer.status, 413, "{answer:?}");
}

#[test]
fn a_slow_sender_is_told_so() {
    let mut musher = Standalone::new().unwrap();
    musher.start().unwrap();
    let request = signed("workflow_job", "{}");
    let answer = send_slowly(musher.webhook(), &request, 100).unwrap();
    assert_eq!(answer.status, 408, "{answer:?}");
}

/// 200 means on disk: a delivery that was answered survives kill -9.
#[test]
fn what_was_answered_is_kept() {
    let mut musher = Standalone::new().unwrap();
    musher.start().unwrap();
    let request = signed("workflow_job", &workflow_job("queued", 11, &["linux"]));
    let send = |musher: &Standalone| exchange(musher.webhook(), &request).unwrap();
    assert_eq!(send(&musher).result().as_deref(), Some("queued"));
    musher.kill().unwrap();
    musher.start().unwrap();
    let Answer { status, .. } = send(&musher);
    assert_eq!(status, 200);
    assert_eq!(send(&musher).result().as_deref(), Some("duplicate"));
    assert_eq!(musher.jobs().unwrap(), BTreeSet::from([11]));
}
