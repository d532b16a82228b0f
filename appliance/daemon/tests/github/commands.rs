//! `musher github …` as a person or a script runs it.

use std::process::Output;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;

use super::stage::{Stage, jit, org};

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[track_caller]
fn good(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs a command that prints JSON about one scope.
async fn at(stage: &Stage, scope: &str, words: &[&str]) -> Output {
    let mut line = vec!["github"];
    line.extend(words);
    line.extend(["--config", "musher.toml", "--json", "--scope", scope]);
    stage.musher(&line).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runners_and_labels_at_every_scope() {
    let stage = Stage::start().await;
    let client = stage.client();
    for (scope, place) in [
        ("org:octo-org", org()),
        ("repo:octo-org/demo", super::stage::repo()),
        ("enterprise:octo", super::stage::enterprise()),
    ] {
        let made = client.generate_jitconfig(place, jit("sled-1")).await;
        let id = made.unwrap().runner_id;
        let number = id.to_string();
        let one = json!({
            "id": id, "name": "sled-1", "os": "unknown", "status": "offline", "busy": false,
            "group": 1, "labels": ["self-hosted", "linux"],
        });
        let list = at(&stage, scope, &["runners", "list"]).await;
        assert_eq!(good(&list), json!([one]));
        let get = at(&stage, scope, &["runners", "get", &number]).await;
        assert_eq!(good(&get), one);
        for (words, expect) in [
            (vec!["list", &number], vec!["self-hosted", "linux"]),
            (
                vec!["add", &number, "a", "b"],
                vec!["self-hosted", "linux", "a", "b"],
            ),
            (
                vec!["remove", &number, "b"],
                vec!["self-hosted", "linux", "a"],
            ),
            (vec!["set", &number, "c"], vec!["self-hosted", "linux", "c"]),
            (vec!["clear", &number], vec!["self-hosted", "linux"]),
        ] {
            let words: Vec<&str> = std::iter::once("labels").chain(words).collect();
            let seen = good(&at(&stage, scope, &words).await);
            let seen: Vec<&str> = seen
                .as_array()
                .unwrap()
                .iter()
                .map(|label| label["name"].as_str().unwrap())
                .collect();
            assert_eq!(seen, expect, "{words:?}");
        }
        let delete = at(&stage, scope, &["runners", "delete", &number]).await;
        assert_eq!(good(&delete), json!({ "deleted": id }));
        let gone = at(&stage, scope, &["runners", "get", &number]).await;
        assert_eq!(gone.status.code(), Some(1));
        let downloads = good(&at(&stage, scope, &["downloads"]).await);
        assert_eq!(downloads[0]["os"], "linux");
    }
    let groups = good(&at(&stage, "org:octo-org", &["groups"]).await);
    assert_eq!(groups[0]["allows_public_repositories"], false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_go_to_standard_output_alone() {
    let stage = Stage::start().await;
    for kind in ["registration", "remove"] {
        let line = [
            "github",
            "tokens",
            kind,
            "--config",
            "musher.toml",
            "--scope",
            "repo:octo-org/demo",
        ];
        let output = stage.musher(&line).await;
        assert!(output.status.success());
        let token = text(&output.stdout).trim_end();
        assert!(stage.hub().state().permits.contains_key(token), "{kind}");
        assert_eq!(text(&output.stderr), "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_are_listed_shown_and_asked_for_again() {
    let stage = Stage::start().await;
    let mode = json!({ "mode": "unreachable" });
    stage.own("POST", "/_fakehub/deliveries/mode", mode).await;
    for _ in 0..3 {
        stage.job(json!(["linux"])).await;
    }
    let run = async |words: &[&str]| {
        let mut line = vec!["github", "deliveries"];
        line.extend(words);
        line.extend(["--config", "musher.toml", "--app", "main"]);
        stage.musher(&line).await
    };
    let list = good(&run(&["list", "--limit", "2", "--json"]).await);
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert_eq!(list[0]["event"], "workflow_job");
    let id = list[0]["id"].to_string();
    let shown = good(&run(&["show", &id, "--json"]).await);
    assert_eq!(shown["payload"]["action"], "queued");
    let table = run(&["show", &id]).await;
    assert!(text(&table.stdout).contains("\"workflow_job\": {"));
    good(&run(&["redeliver", &id, "--json"]).await);
    assert_eq!(stage.hub().state().deliveries.len(), 4);
    let unknown = run(&["redeliver", "7"]).await;
    assert_eq!(unknown.status.code(), Some(1));
}

/// The first line that a proxy hears from `musher`, if it is asked at all.
async fn through_proxy(no_proxy: &str) -> Option<String> {
    let stage = Stage::start().await;
    stage.configure_at("https://ghes.invalid/api/v3", super::stage::APP, "app.pem");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&heard);
    let listening = tokio::spawn(async move {
        // Hangs up on each: that it was asked is all there is to know.
        while let Ok((stream, _)) = listener.accept().await {
            let mut line = String::new();
            let mut stream = BufReader::new(stream);
            let _ = stream.read_line(&mut line).await;
            log.lock().unwrap().push(line.trim_end().to_owned());
            drop(stream);
        }
    });
    let line = [
        "github",
        "runners",
        "list",
        "--config",
        "musher.toml",
        "--scope",
        "org:octo",
    ];
    let variables = [("HTTPS_PROXY", proxy.as_str()), ("NO_PROXY", no_proxy)];
    let output = stage.musher_with(&line, &variables).await;
    listening.abort();
    assert_eq!(output.status.code(), Some(1), "ghes.invalid is nowhere");
    heard.lock().unwrap().first().cloned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_is_for_what_is_outside() {
    let connect = "CONNECT ghes.invalid:443 HTTP/1.1".to_owned();
    assert_eq!(through_proxy("other.invalid").await, Some(connect));
    assert_eq!(through_proxy("ghes.invalid").await, None);

    // This machine is never asked for through a proxy: nobody listens there.
    let stage = Stage::start().await;
    let line = [
        "github",
        "groups",
        "--config",
        "musher.toml",
        "--json",
        "--scope",
        "org:octo-org",
    ];
    let nobody = [
        ("HTTP_PROXY", "http://127.0.0.1:9"),
        ("ALL_PROXY", "http://127.0.0.1:9"),
    ];
    good(&stage.musher_with(&line, &nobody).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_asked_says_why() {
    let stage = Stage::start().await;
    for (scope, code, words) in [
        (
            "octo-org",
            2,
            "expected org:NAME, repo:OWNER/NAME or enterprise:NAME",
        ),
        ("repo:octo-org", 2, "a repository as owner/name"),
        (
            "org:elsewhere",
            1,
            "install it at https://github.com/apps/sleds/installations/new",
        ),
        (
            "enterprise:other",
            1,
            "whoever made the classic token does not own it",
        ),
    ] {
        let output = at(&stage, scope, &["runners", "list"]).await;
        assert_eq!(output.status.code(), Some(code), "{scope}");
        let said = text(&output.stderr);
        assert!(said.contains(words), "{scope}: {said}");
    }
}
