use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::handle;
use crate::answer::{Answer, Request};
use crate::config::{
    App, Config, Installation, Limits, Listener, Permissions, Repository, RunnerGroup,
    default_permissions,
};
use crate::hub::{Hub, Urls};
use crate::keys;
use crate::state::NewJob;

/// One key pair for all tests: making one takes a while.
static KEY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("key.pem");
    keys::generate(&file, &dir.path().join("pub.pem")).expect("openssl makes a key");
    std::fs::read(file).expect("a key")
});

fn installation(id: u64, account: &str, permissions: Permissions) -> Installation {
    Installation {
        id,
        account: account.into(),
        account_id: id,
        account_type: "Organization".into(),
        repositories: vec![
            Repository {
                id: id * 10,
                name: "demo".into(),
                private: true,
            },
            Repository {
                id: id * 10 + 1,
                name: "other".into(),
                private: true,
            },
        ],
        permissions,
        runner_groups: vec![RunnerGroup {
            id: 1,
            name: "Default".into(),
            allows_public_repositories: false,
        }],
    }
}

fn hub() -> Arc<Hub> {
    let read_only = [("actions", "read"), ("metadata", "read")];
    let read_only = read_only
        .iter()
        .map(|(name, level)| ((*name).into(), (*level).into()))
        .collect();
    let app = App {
        app_id: 7,
        client_id: "Iv23liTest".into(),
        slug: "musher".into(),
        key: keys::AppKey::from_private_pem(&KEY).expect("a key"),
        webhook_url: None,
        webhook_secret: Vec::new(),
        permissions: default_permissions(),
        events: vec!["workflow_job".into()],
        installations: vec![
            installation(11, "octo-org", default_permissions()),
            installation(12, "poor-org", read_only),
        ],
    };
    let config = Config {
        api: Listener::plain(([127, 0, 0, 1], 0).into()),
        sled: None,
        channel: None,
        limits: Limits::default(),
        apps: vec![app],
        runner: None,
        enterprises: Vec::new(),
        workflows: Vec::new(),
    };
    let url = "http://127.0.0.1:9400".to_owned();
    Hub::new(
        config,
        Urls {
            api: url.clone(),
            sled: url,
        },
        mpsc::channel(8).0,
    )
}

fn app_token(hub: &Hub) -> String {
    let now_s = hub.now_ms() / 1_000;
    let claims = json!({ "iss": 7, "iat": now_s - 60, "exp": now_s + 540 });
    keys::sign(&KEY, &claims).expect("a token")
}

fn token(hub: &Hub, installation: u64, body: &Value) -> Answer {
    let path = format!("/app/installations/{installation}/access_tokens");
    handle(
        hub,
        &Request::new("POST", &path)
            .bearer(&app_token(hub))
            .json(body),
    )
}

fn text_token(hub: &Hub, installation: u64) -> String {
    let answer = token(hub, installation, &json!({}));
    answer.value()["token"]
        .as_str()
        .expect("a token")
        .to_owned()
}

fn jit(name: &str) -> Value {
    json!({ "name": name, "runner_group_id": 1, "labels": ["linux"] })
}

const ORG: &str = "/orgs/octo-org/actions/runners";

#[test]
fn app_endpoints_want_an_app_token() {
    let hub = hub();
    let check = |bearer: &str, status: u16, message: &str| {
        let answer = handle(&hub, &Request::new("GET", "/app").bearer(bearer));
        assert_eq!(
            (answer.status, answer.value()["message"].as_str()),
            (status, Some(message))
        );
    };
    check("ghs_0123", 401, "A JSON web token could not be decoded");
    let now_s = hub.now_ms() / 1_000;
    let stranger = json!({ "iss": 8, "iat": now_s, "exp": now_s + 60 });
    check(
        &keys::sign(&KEY, &stranger).expect("a token"),
        404,
        "Integration not found",
    );
    let late = json!({ "iss": 7, "iat": now_s - 700, "exp": now_s - 100 });
    let late = keys::sign(&KEY, &late).expect("a token");
    assert_eq!(
        handle(&hub, &Request::new("GET", "/app").bearer(&late)).status,
        401
    );
    assert_eq!(
        handle(&hub, &Request::new("GET", "/app").bearer(&app_token(&hub))).status,
        200
    );
    let mut nameless = Request::new("GET", "/app").bearer(&app_token(&hub));
    nameless.user_agent = None;
    assert_eq!(handle(&hub, &nameless).status, 403);
}

#[test]
fn installation_tokens_are_bounded() {
    let hub = hub();
    let check = |installation: u64, body: Value, status: u16| {
        assert_eq!(token(&hub, installation, &body).status, status, "{body}");
    };
    check(11, json!({}), 201);
    check(99, json!({}), 404);
    check(11, json!({ "permissions": { "actions": "read" } }), 201);
    check(11, json!({ "permissions": { "actions": "write" } }), 422);
    check(11, json!({ "permissions": { "contents": "read" } }), 422);
    check(11, json!({ "repositories": ["demo"] }), 201);
    check(11, json!({ "repositories": ["secret"] }), 422);
    check(11, json!({ "repositories": "demo" }), 422);
    check(11, json!({ "repository_ids": [110] }), 201);
    let mut garbage = Request::new("POST", "/app/installations/11/access_tokens");
    garbage.body = b"{".to_vec();
    assert_eq!(handle(&hub, &garbage.bearer(&app_token(&hub))).status, 400);
}

#[test]
fn runner_endpoints_want_a_live_token_with_permission() {
    let hub = hub();
    let check = |bearer: Option<&str>, path: &str, status: u16| {
        let mut request = Request::new("GET", path);
        request.authorization = bearer.map(|it| format!("token {it}"));
        assert_eq!(handle(&hub, &request).status, status, "{path}");
    };
    let rich = text_token(&hub, 11);
    check(None, ORG, 401);
    check(Some("ghs_wrong"), ORG, 401);
    check(Some(&rich), ORG, 200);
    check(Some(&rich), "/repos/Octo-Org/Demo/actions/runners", 200);
    check(Some(&rich), "/orgs/poor-org/actions/runners", 404);
    check(Some(&rich), "/repos/octo-org/unknown/actions/runners", 404);
    let poor = text_token(&hub, 12);
    check(Some(&poor), "/orgs/poor-org/actions/runners", 403);
    check(Some(&poor), "/repos/poor-org/demo/actions/runners", 403);
    // A dispatch wants Actions write, which reading does not grant.
    let mut dispatch = Request::new(
        "POST",
        "/repos/octo-org/demo/actions/workflows/accept.yml/dispatches",
    )
    .json(&json!({ "ref": "main" }));
    dispatch.authorization = Some(format!("token {rich}"));
    assert_eq!(handle(&hub, &dispatch).status, 403);
    let narrow = token(&hub, 11, &json!({ "repositories": ["demo"] }));
    let narrow = narrow.value()["token"]
        .as_str()
        .expect("a token")
        .to_owned();
    check(Some(&narrow), "/repos/octo-org/demo/actions/runners", 200);
    check(Some(&narrow), "/repos/octo-org/other/actions/runners", 404);
    hub.advance(3_601);
    check(Some(&rich), ORG, 401);
}

#[test]
fn jit_bodies_are_validated_and_names_unique() {
    let hub = hub();
    let bearer = text_token(&hub, 11);
    let check = |body: Value, status: u16| {
        let path = format!("{ORG}/generate-jitconfig");
        let answer = handle(
            &hub,
            &Request::new("POST", &path).bearer(&bearer).json(&body),
        );
        assert_eq!(answer.status, status, "{body}");
        if status == 422 {
            assert!(
                answer.value()["errors"]
                    .as_array()
                    .is_some_and(|it| !it.is_empty())
            );
        }
    };
    check(jit("a"), 201);
    check(jit("A"), 409);
    check(json!({}), 422);
    check(
        json!({ "name": "b", "runner_group_id": "1", "labels": ["x"] }),
        422,
    );
    check(
        json!({ "name": "b", "runner_group_id": 1, "labels": [] }),
        422,
    );
    check(
        json!({ "name": "b", "runner_group_id": 1, "labels": [7] }),
        422,
    );
    check(
        json!({ "name": "b", "runner_group_id": 1, "labels": vec!["x"; 101] }),
        422,
    );
    check(
        json!({ "name": "b".repeat(65), "runner_group_id": 1, "labels": ["x"] }),
        422,
    );
    check(
        json!({ "name": "b", "runner_group_id": 5, "labels": ["x"] }),
        404,
    );
    check(jit("b"), 201);
}

#[test]
fn busy_runners_stay_and_names_come_free() {
    let hub = hub();
    let bearer = text_token(&hub, 11);
    let path = format!("{ORG}/generate-jitconfig");
    let made = handle(
        &hub,
        &Request::new("POST", &path).bearer(&bearer).json(&jit("a")),
    );
    let id = made.value()["runner"]["id"].as_u64().expect("an id");
    let now_ms = hub.now_ms();
    hub.state()
        .queue(
            NewJob {
                name: "build".into(),
                account: "octo-org".into(),
                repo: "demo".into(),
                public: false,
                labels: vec!["linux".into()],
                script: "true".into(),
                run: None,
            },
            now_ms,
        )
        .expect("room");
    hub.state().take(id, now_ms).expect("a job");
    let delete = |id: u64| {
        handle(
            &hub,
            &Request::new("DELETE", &format!("{ORG}/{id}")).bearer(&bearer),
        )
        .status
    };
    assert_eq!(delete(id), 422);
    hub.state().runners.get_mut(&id).expect("a runner").job = None;
    assert_eq!(delete(id), 204);
    assert_eq!(delete(id), 404);
    let again = handle(
        &hub,
        &Request::new("POST", &path).bearer(&bearer).json(&jit("a")),
    );
    assert_eq!(again.status, 201);
}

#[test]
fn lists_have_pages() {
    let hub = hub();
    let bearer = text_token(&hub, 11);
    for name in ["a", "b", "c"] {
        let path = format!("{ORG}/generate-jitconfig");
        let made = handle(
            &hub,
            &Request::new("POST", &path).bearer(&bearer).json(&jit(name)),
        );
        assert_eq!(made.status, 201);
    }
    let check = |query: &str, names: &[&str], next: bool| {
        let answer = handle(
            &hub,
            &Request::new("GET", &format!("{ORG}{query}")).bearer(&bearer),
        );
        let runners = answer.value()["runners"].as_array().expect("a list");
        let found: Vec<&str> = runners
            .iter()
            .filter_map(|it| it["name"].as_str())
            .collect();
        assert_eq!(found, names);
        assert_eq!(
            answer.headers.iter().any(|(name, _)| *name == "link"),
            next,
            "{query}"
        );
    };
    check("", &["a", "b", "c"], false);
    check("?per_page=2", &["a", "b"], true);
    check("?per_page=2&page=2", &["c"], false);
    check("?name=B", &["b"], false);
}
