//! The doctor finds each fault, names the setting, and nothing else.

use std::convert::Infallible;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::stage::{APP, Set, Stage};

const ORG: &str =
    r#"{ actions = "read", metadata = "read", organization_self_hosted_runners = "write" }"#;
const REPO: &str = r#"{ actions = "read", metadata = "read", administration = "write" }"#;
const LITTLE: &str = r#"{ actions = "read", metadata = "read" }"#;

/// A webhook that takes what is signed with `secret`, and refuses all else.
/// Returns its address.
async fn receiver(secret: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(async |request: Request<Incoming>| {
                let signature = request.headers().get("x-hub-signature-256").cloned();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let expect = fakehub::webhook::signature(secret.as_bytes(), &body);
                let mut response = Response::new(Empty::<Bytes>::new());
                if signature.is_none_or(|it| it.as_bytes() != expect.as_bytes()) {
                    *response.status_mut() = hyper::StatusCode::UNAUTHORIZED;
                }
                Ok::<_, Infallible>(response)
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    });
    format!("http://{address}/api/webhook")
}

/// Everything as it must be for a pool of an organization.
async fn healthy() -> Set {
    Set {
        permissions: ORG,
        webhook_url: receiver("It's a Secret to Everybody").await,
        ..Set::default()
    }
}

/// Lets GitHub ping, and runs the doctor. Its exit code and report.
async fn examine(stage: &Stage, scope: &str) -> (Option<i32>, Value) {
    stage.own("POST", "/_fakehub/ping", json!({})).await;
    while stage.hub().state().deliveries.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let inventory = format!(
        r#"
        [[image]]
        name = "debian-12"
        kernel = "secret"
        initramfs = "secret"
        rootfs = "secret"
        [[pool]]
        name = "linux-x64"
        github = "main"
        scope = {scope}
        labels = ["self-hosted", "linux"]
        image = "debian-12"
        "#
    );
    std::fs::write(stage.path("inventory.toml"), inventory).unwrap();
    let line = [
        "github",
        "doctor",
        "--config",
        "musher.toml",
        "--inventory",
        "inventory.toml",
        "--json",
    ];
    let output = stage.musher(&line).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let reports: Value = serde_json::from_slice(&output.stdout).expect(&said);
    (output.status.code(), reports[0].clone())
}

const WRITING: &str =
    r#"{ actions = "write", metadata = "read", organization_self_hosted_runners = "write" }"#;
const AT_ORG: &str = r#"{ org = "octo-org" }"#;
const AT_REPO: &str = r#"{ repo = "octo-org/demo" }"#;

/// The one finding of a report, which must have both texts.
#[track_caller]
fn one((code, report): &(Option<i32>, Value), about: &str, found: &str, mend: &str) {
    let findings = report["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1, "{report:#}");
    let text = |name: &str| findings[0][name].as_str().unwrap();
    assert_eq!(text("about"), about, "{report:#}");
    assert!(text("found").contains(found), "{report:#}");
    assert!(text("mend").contains(mend), "{report:#}");
    assert_eq!(*code, Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_is_well() {
    for (permissions, scope) in [(ORG, AT_ORG), (REPO, AT_REPO)] {
        let set = Set {
            permissions,
            ..healthy().await
        };
        let stage = Stage::with(set).await;
        let (code, report) = examine(&stage, scope).await;
        assert_eq!(
            (code, &report["findings"]),
            (Some(0), &json!([])),
            "{report:#}"
        );
        assert_eq!(report["well"].as_array().unwrap().len(), 8, "{report:#}");
        assert!(
            stage.hub().state().runners.is_empty(),
            "what it minted is gone"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_just_in_time_runners() {
    let set = Set {
        limits: r#"server_release = "3.9.14""#,
        ..healthy().await
    };
    let stage = Stage::with(set).await;
    let (code, report) = examine(&stage, AT_ORG).await;
    assert_eq!(code, Some(0), "{report:#}");
    let said = "jit: this server has none (they come with release 3.10): runners of pool \
                linux-x64 register themselves at organization octo-org by a token";
    let well = report["well"].as_array().unwrap();
    assert!(well.contains(&json!(said)), "{report:#}");
}

/// The release was out before anybody looked, so its age is not known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_with_an_old_runner() {
    let stage = Stage::with(healthy().await).await;
    // The manifest that musher-image writes, and its digest of that very file.
    let digest = fakehub::ids::sha256(&std::fs::read(stage.path("secret")).unwrap());
    let manifest = |digest: &str, version: &str| {
        let text = format!("sha256 = \"{digest}\"\nrunner_version = \"{version}\"\n");
        std::fs::write(stage.path("secret.manifest.toml"), text).unwrap();
    };
    manifest(&fakehub::ids::hex(&digest), "2.334.0");
    let report = examine(&stage, AT_ORG).await;
    one(
        &report,
        "runner",
        "image debian-12 carries runner 2.334.0, and 2.335.0 is out",
        "Build image debian-12 anew with runner 2.335.0: `musher-image runner",
    );
    manifest(&fakehub::ids::hex(&digest), "2.335.0");
    let (code, report) = examine(&stage, AT_ORG).await;
    assert_eq!(code, Some(0), "{report:#}");
    let said = "runner: image debian-12 carries 2.335.0, the newest known";
    assert!(
        report["well"].as_array().unwrap().contains(&json!(said)),
        "{report:#}"
    );
    // One that is about another file says nothing.
    manifest(&fakehub::ids::hex(&[0; 32]), "2.334.0");
    let (code, report) = examine(&stage, AT_ORG).await;
    assert_eq!(code, Some(0), "{report:#}");
    let unknown = report["unknown"][0].as_str().unwrap();
    assert!(
        unknown.contains("does not say which runner it carries"),
        "{report:#}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_app_id() {
    let stage = Stage::with(healthy().await).await;
    stage.configure(APP + 1, "app.pem");
    let report = examine(&stage, AT_ORG).await;
    one(
        &report,
        "app",
        "github knows no app 123457",
        "set app_id of [[github]] \"main\"",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_key() {
    let stage = Stage::with(healthy().await).await;
    fakehub::keys::generate(&stage.path("other.pem"), &stage.path("other.pub")).unwrap();
    stage.configure(APP, "other.pem");
    let report = examine(&stage, AT_ORG).await;
    one(
        &report,
        "app",
        "is not one of app 123456",
        "where private_key_path of",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_ten_minutes_off() {
    let stage = Stage::with(healthy().await).await;
    let ahead = json!({ "advance_s": 600 });
    stage.own("POST", "/_fakehub/clock", ahead).await;
    let report = examine(&stage, AT_ORG).await;
    one(
        &report,
        "clock",
        "s behind github's",
        "timedatectl set-ntp true",
    );
    let found = report.1["findings"][0]["found"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        found.contains("600 s") || found.contains("599 s"),
        "{found}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_permission() {
    let little = Set {
        permissions: LITTLE,
        ..healthy().await
    };
    let stage = Stage::with(little).await;
    let report = examine(&stage, AT_ORG).await;
    one(
        &report,
        "permission",
        "pool linux-x64 needs the organization permission \"Self-hosted runners\" (write)",
        "to \"Read and write\" in the settings of app sleds",
    );
    let report = examine(&stage, AT_REPO).await;
    one(
        &report,
        "permission",
        "needs the repository permission \"Administration\" (write)",
        "to \"Read and write\" in the settings of app sleds",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permission_that_was_not_accepted_or_is_not_needed() {
    let unaccepted = Set {
        granted: Some(LITTLE),
        ..healthy().await
    };
    let stage = Stage::with(unaccepted).await;
    let report = examine(&stage, AT_ORG).await;
    one(
        &report,
        "permission",
        "Self-hosted runners",
        "accept the new permissions at https://",
    );

    let much = Set {
        permissions: WRITING,
        ..healthy().await
    };
    let stage = Stage::with(much).await;
    let report = examine(&stage, AT_ORG).await;
    one(
        &report,
        "permission",
        "may write",
        "\"Actions\" to \"Read-only\"",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_not_subscribed_to() {
    let deaf = Set {
        events: "[]",
        ..healthy().await
    };
    let stage = Stage::with(deaf).await;
    let report = examine(&stage, AT_ORG).await;
    one(
        &report,
        "event",
        "is not sent workflow_job",
        "tick \"Workflow job\"",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_acceptance_runs_need() {
    const ASKING: &str = r#"{ org = "octo-org" }
        acceptance = { repository = "octo-org/demo", workflow = "accept.yml", ref = "main", inputs = { runner = "{{label}}" } }"#;
    let set = |events| async move {
        Set {
            events,
            permissions: WRITING,
            ..healthy().await
        }
    };
    let stage = Stage::with(set(r#"["workflow_job"]"#).await).await;
    one(
        &examine(&stage, ASKING).await,
        "event",
        "is not sent workflow_run",
        "tick \"Workflow run\"",
    );
    let stage = Stage::with(set(r#"["workflow_job", "workflow_run"]"#).await).await;
    let (code, report) = examine(&stage, ASKING).await;
    assert_eq!(code, Some(0), "{report:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_that_is_not_installed() {
    let elsewhere = Set {
        account: "other-org",
        ..healthy().await
    };
    let stage = Stage::with(elsewhere).await;
    let report = examine(&stage, AT_ORG).await;
    one(
        &report,
        "installation",
        "app sleds is not installed on organization octo-org",
        "install it at https://github.com/apps/sleds/installations/new",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_public_repository_that_could_use_the_runners() {
    let open = Set {
        installation: r#"runner_groups = [{ id = 1, name = "Default", allows_public_repositories = true }]"#,
        ..healthy().await
    };
    let stage = Stage::with(open).await;
    let report = examine(&stage, AT_ORG).await;
    one(
        &report,
        "public",
        "pool linux-x64 mints nothing: runner group \"Default\" of organization octo-org allows",
        "untick \"Allow public repositories\" in the settings of organization octo-org",
    );
    let public = Set {
        permissions: REPO,
        ..healthy().await
    };
    let stage = Stage::with(public).await;
    let report = examine(&stage, r#"{ repo = "octo-org/open" }"#).await;
    one(
        &report,
        "public",
        "repository octo-org/open is public",
        "name octo-org/open in `public` of the pool",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_webhook_secret() {
    let other = Set {
        webhook_url: receiver("another secret").await,
        ..healthy().await
    };
    let stage = Stage::with(other).await;
    let report = examine(&stage, AT_ORG).await;
    one(
        &report,
        "secret",
        "refused with 401",
        "file that webhook_secret_path of",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_that_github_does_not_reach() {
    let nobody = Set {
        webhook_url: "http://127.0.0.1:9/api/webhook".to_owned(),
        ..healthy().await
    };
    let stage = Stage::with(nobody).await;
    let report = examine(&stage, AT_ORG).await;
    one(
        &report,
        "webhook",
        "github did not reach http://127.0.0.1:9/api/webhook",
        "see that the tunnel runs and forwards to server.webhook_listen",
    );
}
