//! The webhook's answers, one by one, as the protocol's table has them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use musher_e2e::{
    Answer, Request, Standalone, exchange, exchange_at, secret, send_slowly, workflow_job,
};

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

/// GitHub's own jobs are passed over without a word; whoever asks for a sled that
/// is not there is told of the nearest.
#[test]
fn a_job_that_fits_no_pool() {
    let mut musher = Standalone::new().unwrap();
    musher.start().unwrap();
    for (job, labels) in [(1, ["ubuntu-latest", "x64"]), (2, ["self-hosted", "gpu"])] {
        let body = workflow_job("queued", job, &labels);
        let answer = exchange(musher.webhook(), &signed("workflow_job", &body)).unwrap();
        assert_eq!(answer.result().as_deref(), Some("ignored"), "{labels:?}");
    }
    assert!(musher.jobs().unwrap().is_empty());
    let log = musher.log().unwrap();
    let audited: Vec<&str> = log.lines().filter(|it| it.contains("audit.job.")).collect();
    assert_eq!(audited.len(), 1, "{audited:?}");
    let expect = "job 2 of octo-org/app: nearest pool linux-x64 lacks label gpu";
    assert!(
        audited[0].contains("audit.job.no_pool_match"),
        "{audited:?}"
    );
    assert!(audited[0].contains(expect), "{audited:?}");
}

const OTHER: &str = r#"
[[github]]
name = "other"
api_url = "http://127.0.0.1:9"
app_id = 654321
private_key_path = "gh-app.pem"
webhook_secret_path = "other-secret"
"#;

const OTHER_POOL: &str = r#"
[[pool]]
name = "other"
github = "other"
scope = { repo = "octo-org/app" }
labels = ["self-hosted", "arm64"]
image = "debian-12"
"#;

/// Each App has a way in, a secret and pools of its own; numbers of jobs are
/// unique on one server only.
#[test]
fn two_apps_side_by_side() {
    let mut musher = Standalone::new().unwrap();
    let files = musher.dir().to_owned();
    secret(&files.join("other-secret"), "the other secret").unwrap();
    for (name, more) in [("musher.toml", OTHER), ("inventory.toml", OTHER_POOL)] {
        let text = std::fs::read_to_string(files.join(name)).unwrap();
        std::fs::write(files.join(name), text + more).unwrap();
    }
    musher.start().unwrap();
    let (main, other) = (Standalone::SECRET, b"the other secret".as_slice());
    let (x64, arm64) = ("X64", "arm64");
    for (number, (secret, path, label, status, result)) in [
        (main, "/api/webhook", x64, 200, Some("queued")),
        (main, "/api/webhook/main", x64, 200, Some("updated")),
        (other, "/api/webhook/other", arm64, 200, Some("queued")),
        (main, "/api/webhook/main", arm64, 200, Some("updated")),
        (main, "/api/webhook/other", arm64, 401, None),
        (other, "/api/webhook", x64, 401, None),
        (other, "/api/webhook/other", x64, 200, Some("updated")),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("82d3162e-cc78-11e3-81ab-{number:012x}");
        let body = workflow_job("queued", 1, &["self-hosted", label]);
        let request = Request::delivery(secret, &id, "workflow_job", body);
        let answer = exchange(musher.webhook(), &request.to(&format!("POST {path}"))).unwrap();
        let shown = format!("{number} {path} {label}: {answer:?}");
        assert_eq!(answer.status, status, "{shown}");
        assert_eq!(answer.result().as_deref(), result, "{shown}");
    }
    let done = musher.run(&["jobs", "--json", "--config", "musher.toml"]);
    let jobs: Vec<serde_json::Value> = serde_json::from_slice(&done.unwrap().stdout).unwrap();
    let mut pools: Vec<_> = jobs.iter().map(|job| (&job["id"], &job["pool"])).collect();
    pools.sort_by_key(|(_, pool)| pool.as_str());
    let one = serde_json::json!(1);
    assert_eq!(
        pools,
        [(&one, &"linux-x64".into()), (&one, &"other".into())]
    );
}

const ACCEPTANCE: &str = r#"
[pool.acceptance]
repository = "octo-org/app"
workflow = "accept.yml"
ref = "main"
inputs = { runner = "{{label}}" }

[[sled]]
name = "sled-01"
pools = ["linux-x64"]
mac = "52:54:00:77:00:01"
power = { driver = "command", program = ["/bin/false"] }
"#;

/// The manual way for whoever judges sleds by other means.
#[test]
fn a_sled_is_judged_over_the_control_socket() {
    let mut musher = Standalone::new().unwrap();
    let inventory = musher.dir().join("inventory.toml");
    let text = std::fs::read_to_string(&inventory).unwrap();
    std::fs::write(&inventory, text + ACCEPTANCE).unwrap();
    musher.start().unwrap();
    let socket = musher.dir().join("state/control.sock");
    let judge = |id: &str, body: &str| {
        let request = Request {
            body: body.as_bytes().to_vec(),
            ..Request::get("")
        };
        let target = format!("POST /api/v1/acceptance/{id}/status");
        let answer = exchange_at(&socket, &request.to(&target)).unwrap();
        (answer.status, answer.body)
    };
    let owes = || {
        let done = musher.run(&["sleds", "--json", "--config", "musher.toml"]);
        let sleds: serde_json::Value = serde_json::from_slice(&done.unwrap().stdout).unwrap();
        !sleds[0]["acceptance"].is_null()
    };
    let success = r#"{"status":"success"}"#;
    assert!(owes());
    for (id, body, status) in [
        ("sled-02", success, 409),
        ("sled-01", r#"{"status":"perhaps"}"#, 400),
        ("sled-01", "success", 400),
    ] {
        let answer = judge(id, body);
        assert_eq!(answer.0, status, "{id} {body}: {}", answer.1);
        assert!(owes());
    }
    assert_eq!(judge("sled-01", success).0, 200);
    assert!(!owes());
    let (status, said) = judge("sled-01", success);
    assert_eq!(status, 409);
    assert!(said.contains("no sled owes an acceptance run"), "{said}");
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
