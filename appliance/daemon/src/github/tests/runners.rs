//! The endpoints of runners, and every way in which they fail.

use std::sync::{Arc, Barrier};

use serde_json::{Value, json};

use super::super::{ErrorKind, GithubClient, GithubError, JitRequest, RunnerStatus, Scope};
use super::server::{Reply, Seen, Server};
use super::{FakeClock, START_MS, client, config, rfc3339};

const JIT: &str = "eyJzZWNyZXQiOiJqaXQifQ==";

pub(super) fn request() -> JitRequest {
    JitRequest {
        name: "musher-1".into(),
        runner_group_id: 1,
        labels: vec!["self-hosted".into(), "linux".into()],
        work_folder: "_work".into(),
    }
}

/// A GitHub where the App is installed everywhere, and `answer` has the rest.
fn github(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Server {
    let expires_at = rfc3339(START_MS + 3_600_000);
    Server::start(move |seen| match seen.line.as_str() {
        line if line.ends_with("/installation") => Reply::new(200, r#"{"id":5}"#),
        line if line.starts_with("POST /app/") => Reply::new(
            201,
            json!({"token": "ghs_x", "expires_at": expires_at}).to_string(),
        ),
        _ => answer(seen),
    })
}

fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> (Server, GithubClient) {
    let server = github(answer);
    let client = client(&server, &FakeClock::new());
    (server, client)
}

fn org() -> Scope {
    Scope::org("octo").unwrap()
}

fn repo() -> Scope {
    Scope::repo("octo/app").unwrap()
}

fn minted() -> Reply {
    let runner = json!({"id": 42, "name": "musher-1", "os": "unknown", "status": "offline",
        "busy": false, "labels": []});
    Reply::new(
        201,
        json!({"runner": runner, "encoded_jit_config": JIT}).to_string(),
    )
}

#[tokio::test]
async fn minting_for_both_scopes() {
    for (scope, path) in [(org(), "/orgs/octo"), (repo(), "/repos/octo/app")] {
        let (server, client) = start(|_| minted());
        let runner = client.generate_jitconfig(scope, request()).await.unwrap();
        assert_eq!((runner.runner_id, runner.name.as_str()), (42, "musher-1"));
        assert_eq!(runner.encoded_jit_config.expose(), JIT);
        assert!(!format!("{runner:?}").contains(JIT), "{runner:?}");

        let seen = server.seen();
        let seen = seen.last().unwrap();
        assert_eq!(
            seen.line,
            format!("POST {path}/actions/runners/generate-jitconfig")
        );
        assert_eq!(
            serde_json::from_str::<Value>(&seen.body).unwrap(),
            json!({"name": "musher-1", "runner_group_id": 1,
                "labels": ["self-hosted", "linux"], "work_folder": "_work"})
        );
        let version = env!("CARGO_PKG_VERSION");
        for (name, expect) in [
            ("authorization", "Bearer ghs_x"),
            ("accept", "application/vnd.github+json"),
            ("x-github-api-version", "2022-11-28"),
            ("content-type", "application/json"),
            ("user-agent", &format!("musher/{version}")),
        ] {
            assert_eq!(seen.header(name), Some(expect), "{name}");
        }
    }
}

#[tokio::test]
async fn arguments_are_checked_before_asking() {
    let (server, client) = start(|_| minted());
    for request in [
        JitRequest {
            labels: Vec::new(),
            ..request()
        },
        JitRequest {
            labels: vec!["l".into(); 101],
            ..request()
        },
        JitRequest {
            name: String::new(),
            ..request()
        },
    ] {
        let error = client.generate_jitconfig(org(), request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    assert!(server.seen().is_empty());
}

/// The error that minting for `scope` gives on this answer.
async fn mint_error(scope: Scope, reply: fn() -> Reply) -> GithubError {
    let (server, client) = start(move |_| reply());
    let error = client
        .generate_jitconfig(scope, request())
        .await
        .unwrap_err();
    assert_eq!(
        server.count("POST /orgs") + server.count("POST /repos"),
        1,
        "sent once"
    );
    error
}

#[tokio::test]
async fn statuses_of_minting() {
    async fn check(scope: Scope, reply: fn() -> Reply, expect: ErrorKind, words: &str) {
        let error = mint_error(scope, reply).await;
        assert_eq!(error.kind(), expect, "{error}");
        assert!(error.to_string().contains(words), "{error} lacks {words:?}");
    }
    let limited = |retry_after_ms| ErrorKind::RateLimited { retry_after_ms };
    let forbidden = || {
        Reply::new(
            403,
            r#"{"message":"Resource not accessible by integration"}"#,
        )
    };
    check(
        org(),
        forbidden,
        ErrorKind::Permission,
        "\"Self-hosted runners: read and write\"",
    )
    .await;
    check(
        repo(),
        forbidden,
        ErrorKind::Permission,
        "\"Administration: read and write\"",
    )
    .await;
    let suspended = || Reply::new(403, r#"{"message":"This installation has been suspended"}"#);
    check(
        org(),
        suspended,
        ErrorKind::Permission,
        ": unsuspend the app's installation",
    )
    .await;
    let missing = || Reply::new(404, r#"{"message":"Not Found"}"#);
    check(
        org(),
        missing,
        ErrorKind::NotFound,
        "or the app is not installed there",
    )
    .await;
    let taken = || Reply::new(409, r#"{"message":"Already exists - musher-1"}"#);
    check(
        org(),
        taken,
        ErrorKind::Conflict,
        "(Already exists - musher-1): a runner of this",
    )
    .await;
    let invalid = || {
        Reply::new(
            422,
            r#"{"message":"Validation Failed","errors":["labels are bad",
                {"field":"name","code":"invalid"},{"message":"no\n group"}]}"#,
        )
    };
    let words = "(Validation Failed; labels are bad; name: invalid; no  group)";
    check(org(), invalid, ErrorKind::Invalid, words).await;
    let unauthorized = || Reply::new(401, r#"{"message":"Bad credentials"}"#);
    check(
        org(),
        unauthorized,
        ErrorKind::Unauthorized,
        "was the app uninstalled",
    )
    .await;
    let moved = || Reply::new(301, "{}").header("Location", "http://127.0.0.1:1/elsewhere");
    check(org(), moved, ErrorKind::Invalid, "it has moved").await;
    for reply in [
        || Reply::new(502, "<html>"),
        || Reply::new(503, ""),
        || Reply::new(408, ""),
    ] {
        check(org(), reply, ErrorKind::Unavailable, "github answered").await;
    }
    let secondary = || Reply::new(429, "{}").header("Retry-After", "7");
    check(
        org(),
        secondary,
        limited(7_000),
        "rate limited, ask again in 7 s",
    )
    .await;
    let primary = || {
        Reply::new(403, r#"{"message":"API rate limit exceeded"}"#)
            .header("x-ratelimit-remaining", "0")
            .header("x-ratelimit-reset", &(START_MS / 1000 + 90).to_string())
    };
    check(org(), primary, limited(90_000), "ask again in 90 s").await;
    let bare = || Reply::new(429, "");
    check(org(), bare, limited(60_000), "").await;
    let endless = || Reply::new(429, "").header("Retry-After", "18446744073709551615");
    check(org(), endless, limited(3_600_000), "").await;
    let past = || {
        Reply::new(429, "")
            .header("x-ratelimit-remaining", "0")
            .header("x-ratelimit-reset", "1")
    };
    check(org(), past, limited(1_000), "").await;
}

#[tokio::test]
async fn answers_that_are_not_githubs() {
    async fn check(reply: fn() -> Reply, words: &str) {
        let error = mint_error(org(), reply).await;
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let text = format!("{error} {error:?}");
        assert!(text.contains(words), "{text} lacks {words:?}");
        assert!(!text.contains(JIT), "the secret is in {text}");
    }
    check(
        || Reply::new(201, "<html>"),
        "not the json that github documents",
    )
    .await;
    let swapped = || {
        Reply::new(
            201,
            json!({"runner": JIT, "encoded_jit_config": {"x": JIT}}).to_string(),
        )
    };
    check(swapped, "not the json that github documents").await;
    check(|| Reply::new(200, "{}"), "unexpected status 200").await;
    check(
        || Reply::new(201, vec![b' '; 8 * 1024 * 1024 + 1]),
        "larger than 8388608 bytes",
    )
    .await;
    check(Reply::hang_up, "connection to 127.0.0.1 failed").await;
}

#[tokio::test]
async fn only_idempotent_calls_are_repeated_on_a_broken_connection() {
    let (server, client) = start(|_| Reply::hang_up());
    client
        .generate_jitconfig(org(), request())
        .await
        .unwrap_err();
    assert_eq!(server.count("POST /orgs/octo/actions"), 1);
    client.delete_runner(org(), 9).await.unwrap_err();
    assert_eq!(server.count("DELETE /orgs/octo/actions/runners/9"), 3);
    client.find_runner(org(), "r".into()).await.unwrap_err();
    assert_eq!(server.count("GET /orgs/octo/actions/runners?name=r"), 3);
}

#[tokio::test]
async fn deleting() {
    async fn check(status: u16, expect: Result<(), ErrorKind>) {
        let (_server, client) = start(move |_| Reply::new(status, ""));
        let got = client
            .delete_runner(repo(), 9)
            .await
            .map_err(|error| error.kind());
        assert_eq!(got, expect, "{status}");
    }
    check(204, Ok(())).await;
    check(404, Ok(())).await;
    check(403, Err(ErrorKind::Permission)).await;
    check(422, Err(ErrorKind::Invalid)).await;
    check(500, Err(ErrorKind::Unavailable)).await;
}

#[tokio::test]
async fn finding_a_runner_by_its_exact_name() {
    // As an old server: no filter, two pages.
    let (server, client) = start(|seen| {
        let named = |id: u64, name: String| json!({"id": id, "name": name, "status": "online", "busy": id == 100});
        let runners: Vec<Value> = match seen.line.ends_with("page=1") {
            true => (0..100).map(|id| named(id, format!("sled {id}"))).collect(),
            false => vec![named(100, "sled/é 100".into())],
        };
        Reply::new(
            200,
            json!({"total_count": 101, "runners": runners}).to_string(),
        )
    });
    let found = client
        .find_runner(org(), "sled/é 100".into())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (found.id, found.status, found.busy),
        (100, RunnerStatus::Online, true)
    );
    assert_eq!(
        server.seen().last().unwrap().line,
        "GET /orgs/octo/actions/runners?name=sled%2F%C3%A9%20100&per_page=100&page=2"
    );
    assert_eq!(
        client.find_runner(org(), "sled".into()).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn runner_groups_and_downloads() {
    let (_server, client) = start(|seen| {
        if seen.line.contains("runner-groups") {
            return Reply::new(
                200,
                r#"{"runner_groups":[{"id":1,"name":"Default"},{"id":7,"name":"sleds"}]}"#,
            );
        }
        let download = |architecture: &str, digest: &str| {
            json!({"os": "linux", "architecture": architecture, "download_url": "https://x/y",
                "filename": "y", "sha256_checksum": digest})
        };
        let list = json!([
            download("x64", &"AB".repeat(32)),
            download("arm64", "short")
        ]);
        Reply::new(200, list.to_string())
    });
    assert_eq!(
        client.runner_group(org(), "sleds".into()).await.unwrap().id,
        7
    );
    let error = client
        .runner_group(org(), "other".into())
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no runner group named \"other\""),
        "{error}"
    );
    client
        .runner_group(repo(), "sleds".into())
        .await
        .unwrap_err();
    let downloads = client.runner_downloads(org()).await.unwrap();
    let digests: Vec<_> = downloads
        .iter()
        .map(|download| download.sha256.as_deref())
        .collect();
    assert_eq!(digests, [Some("ab".repeat(32).as_str()), None]);
}

#[tokio::test]
async fn a_full_queue_is_an_error_and_shutdown_drains() {
    // The first request is held, so that no thread ends any work: each waits
    // for the installation's id. What threads and queue cannot take is refused.
    let gate = Arc::new(Barrier::new(2));
    let held = Arc::clone(&gate);
    let expires_at = rfc3339(START_MS + 3_600_000);
    let server = Server::start(move |seen| match seen.line.as_str() {
        "GET /orgs/octo/installation" => {
            held.wait();
            Reply::new(200, r#"{"id":5}"#)
        }
        line if line.starts_with("POST /app/") => Reply::new(
            201,
            json!({"token": "ghs_x", "expires_at": expires_at}).to_string(),
        ),
        _ => Reply::new(204, ""),
    });
    let client = client(&server, &FakeClock::new());
    let calls: Vec<_> = (0..200)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.delete_runner(org(), 9).await })
        })
        .collect();
    // This runtime has one thread, and each yield polls at least one task:
    // after as many yields each has sent its request.
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    let opening = tokio::task::spawn_blocking(move || gate.wait());
    client.shutdown().await;
    opening.await.unwrap();

    let (mut accepted, mut refused) = (0, 0);
    for call in calls {
        match call.await.unwrap() {
            Ok(()) => accepted += 1,
            Err(GithubError::Busy { waiting: 64, .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(
        (64..=68).contains(&accepted),
        "{accepted} accepted, {refused} refused"
    );
    assert_eq!(server.count("DELETE"), accepted);
    let error = client.delete_runner(org(), 9).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "delete runner: the github client is shut down"
    );
}

#[test]
fn bad_configurations_name_the_key() {
    #[track_caller]
    fn check(url: &str, expect: &str) {
        let error = GithubClient::start(config(url)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().starts_with(expect), "{error}");
    }
    check(
        "http://api.github.com",
        "configure github app \"main\": api_url: plain http to",
    );
    check("", "configure github app \"main\": api_url: ");
    GithubClient::check(&config("http://127.0.0.1:1")).unwrap();
}
