//! Every endpoint that fakehub serves under GitHub's paths, and every webhook
//! that it sends, against GitHub's published descriptions. A served route
//! that this test does not drive fails it.

#[path = "github_openapi/description.rs"]
mod description;
#[path = "github_openapi/receiver.rs"]
mod receiver;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use description::Description;
use fakehub::answer::{Body, Request};
use fakehub::server::{Side, route};
use fakehub::{Hub, Running, github_routes};
use receiver::Receiver;
use serde_json::{Value, json};

const APP: u64 = 123_456;
const INSTALLATION: u64 = 1_001;
const CLASSIC: &str = "ghp_of_the_enterprises_owner";

/// fakehub with one App, started from a configuration file.
struct Stage {
    running: Running,
    key: Vec<u8>,
    receiver: Receiver,
    _dir: tempfile::TempDir,
}

impl Stage {
    async fn start() -> Self {
        let receiver = Receiver::start().await;
        let dir = tempfile::tempdir().expect("a directory");
        let file = |name: &str| dir.path().join(name);
        fakehub::keys::generate(&file("app.pem"), &file("app.pub.pem")).expect("a key pair");
        std::fs::write(file("secret"), "It's a Secret to Everybody\n").expect("written");
        std::fs::write(file("classic"), format!("{CLASSIC}\n")).expect("written");
        std::fs::write(
            file("runner.tar.gz"),
            fakehub::tarball::pack(b"x").expect("packed"),
        )
        .expect("written");
        let text = format!(
            r#"
            [api]
            listen = "127.0.0.1:0"
            [sled]
            listen = "127.0.0.1:0"
            [runner]
            path = "runner.tar.gz"
            version = "2.335.0"
            [[app]]
            app_id = {APP}
            permissions = {{ actions = "write", administration = "write", metadata = "read", organization_self_hosted_runners = "write" }}
            public_key_path = "app.pub.pem"
            webhook_url = "{}"
            webhook_secret_path = "secret"
            events = ["workflow_job", "workflow_run"]
            [[app.installation]]
            id = {INSTALLATION}
            account = "octo-org"
            repositories = ["demo"]
            permissions = {{ actions = "write", administration = "write", metadata = "read", organization_self_hosted_runners = "write" }}
            [[enterprise]]
            slug = "octo"
            organizations = ["octo-org"]
            token_path = "classic"
            [[workflow]]
            repo = "octo-org/demo"
            file = "accept.yml"
            labels = ["self-hosted", "{{{{nonce}}}}"]
            script = "true"
            inputs = ["nonce"]
            "#,
            receiver.url
        );
        std::fs::write(file("fakehub.toml"), text).expect("written");
        let config = fakehub::Config::load(&file("fakehub.toml")).expect("a configuration");
        let running = fakehub::start(config).await.expect("fakehub starts");
        let key = std::fs::read(file("app.pem")).expect("a key");
        Self {
            running,
            key,
            receiver,
            _dir: dir,
        }
    }

    fn hub(&self) -> &Arc<Hub> {
        &self.running.hub
    }

    fn app_token(&self) -> String {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970");
        let now_s = since.as_secs();
        let claims = json!({ "iss": APP, "iat": now_s - 60, "exp": now_s + 540 });
        fakehub::keys::sign(&self.key, &claims).expect("a token")
    }

    /// A request to fakehub's own routes, which GitHub does not describe.
    async fn own(&self, method: &str, path: &str, bearer: &str, body: Value) -> Value {
        let request = Request::new(method, path).bearer(bearer).json(&body);
        let answer = route(self.hub(), Side::Api, &request).await;
        assert!(
            answer.status < 300,
            "{method} {path}: {} {:?}",
            answer.status,
            answer.body
        );
        answer.value().clone()
    }

    async fn job(&self, labels: Value) -> u64 {
        let body = json!({ "repo": "octo-org/demo", "labels": labels, "script": "true" });
        let made = self.own("POST", "/_fakehub/jobs", "", body).await;
        made["id"].as_u64().expect("a number")
    }
}

/// GitHub's description of this one list asks for an account that is a user
/// *and* an enterprise (`allOf`), which no answer of GitHub's is; its own
/// `installation` schema says `anyOf`. Everything else is taken as published.
fn mended(template: &str, schema: &Value) -> Option<Value> {
    (template == "/app/installations").then(|| {
        let both = schema.pointer("/items/properties/account/allOf");
        assert!(
            both.is_some(),
            "the description was mended upstream: remove this exception"
        );
        json!({ "type": "array", "items": { "$ref": "#/components/schemas/installation" } })
    })
}

/// Drives endpoints and holds every body to its description.
struct Checked<'a> {
    stage: &'a Stage,
    api: &'a Description,
    /// GitHub Enterprise Cloud's: it has the enterprises' endpoints.
    cloud: &'a Description,
    driven: BTreeSet<(String, String)>,
}

struct Call<'a> {
    method: &'a str,
    template: &'a str,
    path: String,
    bearer: &'a str,
    body: Option<Value>,
}

impl Checked<'_> {
    async fn call(&mut self, call: Call<'_>, expect: u16) -> Value {
        let what = format!("{} {} -> {expect}", call.method, call.path);
        let api = match call.template.starts_with("/enterprises/") {
            true => self.cloud,
            false => self.api,
        };
        let operation = api.operation(call.method, call.template);
        let mut request = Request::new(call.method, &call.path).bearer(call.bearer);
        if let Some(body) = &call.body {
            request = request.json(body);
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            assert!(schema.is_object(), "{what}: GitHub describes no body");
            if expect < 300 {
                api.check(&format!("body of {what}"), schema, body);
            }
        }
        let answer = route(self.stage.hub(), Side::Api, &request).await;
        assert_eq!(answer.status, expect, "{what}: {:?}", answer.body);
        match operation["responses"].get(expect.to_string()) {
            Some(response) => {
                let response = api.resolve(response);
                match &response["content"]["application/json"]["schema"] {
                    Value::Null => assert!(matches!(answer.body, Body::Empty), "{what}"),
                    schema => {
                        let mended = mended(call.template, schema);
                        api.check(&what, mended.as_ref().unwrap_or(schema), answer.value());
                    }
                }
            }
            None => {
                // GitHub does not list what every endpoint may answer.
                assert!(
                    matches!(expect, 400 | 401 | 403 | 404 | 422),
                    "{what}: not described"
                );
                let schema = json!({ "$ref": "#/components/schemas/basic-error" });
                api.check(&what, &schema, answer.value());
            }
        }
        if expect < 300 {
            self.driven
                .insert((call.method.to_owned(), call.template.to_owned()));
        }
        answer.value().clone()
    }

    /// A call whose path is its template, filled in.
    async fn at(&mut self, line: &str, bearer: &str, body: Option<Value>, expect: u16) -> Value {
        let (method, path) = line.split_once(' ').expect("a method and a path");
        let bare = path.split('?').next().unwrap_or_default();
        let found = github_routes()
            .find(|it| it.method == method && fakehub::routes::matches(it.template, bare).is_some())
            .unwrap_or_else(|| panic!("fakehub does not serve {line}"));
        let call = Call {
            method,
            template: found.template,
            path: path.to_owned(),
            bearer,
            body,
        };
        self.call(call, expect).await
    }

    async fn app_endpoints(&mut self) -> String {
        let app = &self.stage.app_token();
        self.at("GET /app", app, None, 200).await;
        self.at("GET /app", "wrong", None, 401).await;
        self.at("GET /app/installations?per_page=5", app, None, 200)
            .await;
        self.at("GET /orgs/octo-org/installation", app, None, 200)
            .await;
        self.at("GET /orgs/unknown/installation", app, None, 404)
            .await;
        self.at("GET /repos/octo-org/demo/installation", app, None, 200)
            .await;
        self.at("GET /repos/octo-org/unknown/installation", app, None, 404)
            .await;
        let tokens = format!("POST /app/installations/{INSTALLATION}/access_tokens");
        let narrow = json!({ "repositories": ["demo"], "permissions": { "actions": "read" } });
        let narrow = self.at(&tokens, app, Some(narrow), 201).await;
        let narrow = narrow["token"].as_str().expect("a token");
        self.at("GET /orgs/octo-org/actions/runners", narrow, None, 403)
            .await;
        let wide = json!({ "permissions": { "contents": "write" } });
        self.at(&tokens, app, Some(wide), 422).await;
        self.at(&tokens, "wrong", None, 401).await;
        self.at("POST /app/installations/9/access_tokens", app, None, 404)
            .await;
        let answer = self.at(&tokens, app, None, 201).await;
        answer["token"].as_str().expect("a token").to_owned()
    }

    async fn runner_endpoints(&mut self, scope: &str, token: &str) {
        let runners = format!("{scope}/actions/runners");
        let jit = json!({
            "name": "idle", "runner_group_id": 1, "labels": ["self-hosted", "other"],
            "work_folder": "_work",
        });
        let generate = format!("POST {runners}/generate-jitconfig");
        let made = self.at(&generate, token, Some(jit.clone()), 201).await;
        self.at(&generate, token, Some(jit), 409).await;
        self.at(&generate, token, Some(json!({ "name": "x" })), 422)
            .await;
        let unknown = json!({ "name": "x", "runner_group_id": 9, "labels": ["x"] });
        self.at(&generate, token, Some(unknown), 404).await;
        let id = made["runner"]["id"].as_u64().expect("a number");
        self.at(
            &format!("GET {runners}?name=idle&per_page=1"),
            token,
            None,
            200,
        )
        .await;
        self.at(&format!("GET {runners}"), "wrong", None, 401).await;
        self.at(&format!("GET {runners}/{id}"), token, None, 200)
            .await;
        self.at(&format!("GET {runners}/1"), token, None, 404).await;
        let offered = self
            .at(&format!("GET {runners}/downloads"), token, None, 200)
            .await;
        assert_eq!(
            offered[0]["sha256_checksum"].as_str().map(str::len),
            Some(64)
        );
        self.label_endpoints(&format!("{runners}/{id}/labels"), token)
            .await;
        self.at(&format!("DELETE {runners}/{id}"), token, None, 204)
            .await;
        self.at(&format!("DELETE {runners}/{id}"), token, None, 404)
            .await;
        for kind in ["registration-token", "remove-token"] {
            let tokens = format!("POST {runners}/{kind}");
            let made = self.at(&tokens, token, None, 201).await;
            assert_eq!(made["token"].as_str().map(str::len), Some(29));
            self.at(&tokens, "wrong", None, 401).await;
        }
        if !scope.starts_with("/repos/") {
            let groups = format!("GET {scope}/actions/runner-groups?per_page=1");
            let groups = self.at(&groups, token, None, 200).await;
            assert_eq!(
                groups["runner_groups"][0]["allows_public_repositories"],
                false
            );
        }
    }

    async fn label_endpoints(&mut self, labels: &str, token: &str) {
        let names = |answer: &Value| -> Vec<String> {
            let labels = answer["labels"].as_array().expect("a list");
            let name = |it: &Value| it["name"].as_str().expect("a name").to_owned();
            labels.iter().map(name).collect()
        };
        let body = |labels: &[&str]| Some(json!({ "labels": labels }));
        let get = format!("GET {labels}");
        let (post, put) = (format!("POST {labels}"), format!("PUT {labels}"));
        let delete = format!("DELETE {labels}");
        let seen = self.at(&get, token, None, 200).await;
        assert_eq!(names(&seen), ["self-hosted", "other"]);
        let seen = self.at(&post, token, body(&["gpu", "Other"]), 200).await;
        assert_eq!(names(&seen), ["self-hosted", "other", "gpu"]);
        self.at(&post, token, body(&[]), 422).await;
        let seen = self.at(&put, token, body(&["a b", "c"]), 200).await;
        assert_eq!(names(&seen), ["self-hosted", "a b", "c"]);
        let seen = self.at(&format!("{delete}/a%20b"), token, None, 200).await;
        assert_eq!(names(&seen), ["self-hosted", "c"]);
        self.at(&format!("{delete}/a%20b"), token, None, 404).await;
        self.at(&format!("{delete}/self-hosted"), token, None, 422)
            .await;
        let seen = self.at(&delete, token, None, 200).await;
        assert_eq!(names(&seen), ["self-hosted"]);
        self.at(&put, token, body(&[]), 200).await;
        self.at(&get, "wrong", None, 401).await;
    }

    /// A repository, its runs, their jobs, a dispatch, a rerun.
    async fn workflow_endpoints(&mut self, token: &str) {
        const DEMO: &str = "/repos/octo-org/demo";
        self.at("GET /meta", "", None, 200).await;
        self.at(&format!("GET {DEMO}"), token, None, 200).await;
        self.at("GET /repos/octo-org/unknown", token, None, 404)
            .await;
        self.at(
            "GET /installation/repositories?per_page=1",
            token,
            None,
            200,
        )
        .await;
        let dispatch = format!("POST {DEMO}/actions/workflows/accept.yml/dispatches");
        let body = |nonce: &str| Some(json!({ "ref": "main", "inputs": { "nonce": nonce } }));
        self.at(&dispatch, token, body("n-1"), 204).await;
        let too_many: serde_json::Map<String, Value> =
            (0..26).map(|it| (format!("n{it}"), "x".into())).collect();
        for refused in [
            json!({ "ref": "main" }),
            json!({ "inputs": { "nonce": "n" } }),
            json!({ "ref": "nowhere", "inputs": { "nonce": "n" } }),
            json!({ "ref": "main", "inputs": { "nonce": "n", "other": "x" } }),
            json!({ "ref": "main", "inputs": too_many }),
        ] {
            self.at(&dispatch, token, Some(refused), 422).await;
        }
        let unasked = json!({ "ref": "main", "inputs": { "nonce": "n" }, "wait": true });
        self.at(&dispatch, token, Some(unasked), 400).await;
        let unknown = format!("POST {DEMO}/actions/workflows/other.yml/dispatches");
        self.at(&unknown, token, body("n-1"), 404).await;
        let queued = format!("GET {DEMO}/actions/runs?status=queued&per_page=1");
        let runs = self.at(&queued, token, None, 200).await;
        assert_eq!(runs["workflow_runs"][0]["event"], "workflow_dispatch");
        let run = runs["workflow_runs"][0]["id"].as_u64().expect("a number");
        let of_run = format!("GET {DEMO}/actions/runs/{run}/jobs");
        let jobs = self.at(&of_run, token, None, 200).await;
        assert_eq!(jobs["jobs"][0]["labels"], json!(["self-hosted", "n-1"]));
        let job = jobs["jobs"][0]["id"].as_u64().expect("a number");
        let told = json!({
            "ref": "main", "inputs": { "nonce": "n-2" }, "return_run_details": true,
        });
        let told = self.at(&dispatch, token, Some(told), 200).await;
        let begun = told["workflow_run_id"].as_u64().expect("a number");
        assert!(begun > run);
        let of_begun = format!("GET {DEMO}/actions/runs/{begun}/jobs");
        let jobs = self.at(&of_begun, token, None, 200).await;
        assert_eq!(jobs["jobs"][0]["labels"], json!(["self-hosted", "n-2"]));
        let rerun = format!("POST {DEMO}/actions/runs/{run}/rerun-failed-jobs");
        self.at(&rerun, token, None, 403).await;
        let cancel = format!("/_fakehub/jobs/{job}/cancel");
        self.stage.own("POST", &cancel, "", json!({})).await;
        self.at(&rerun, token, None, 201).await;
        let jobs = self.at(&of_run, token, None, 200).await;
        assert_eq!(jobs["jobs"][0]["run_attempt"], 2);
        assert_ne!(jobs["jobs"][0]["id"], job);
        let job = jobs["jobs"][0]["id"].as_u64().expect("a number");
        let one = format!("POST {DEMO}/actions/jobs/{job}/rerun");
        self.at(&one, token, None, 403).await;
        let cancel = format!("/_fakehub/jobs/{job}/cancel");
        self.stage.own("POST", &cancel, "", json!({})).await;
        self.at(&one, token, None, 201).await;
        self.at(&format!("GET {DEMO}/actions/runs/7/jobs"), token, None, 404)
            .await;
    }

    /// What a browser posts, and what the code then buys, once.
    async fn manifest_endpoint(&mut self) {
        let manifest = "manifest=%7B%22url%22%3A%22https%3A%2F%2Fexample.org%22%2C\
            %22redirect_url%22%3A%22http%3A%2F%2F127.0.0.1%3A1%2Fback%22%2C\
            %22default_permissions%22%3A%7B%22actions%22%3A%22read%22%7D%2C\
            %22default_events%22%3A%5B%22workflow_job%22%5D%7D";
        let mut form = Request::new("POST", "/settings/apps/new?state=s");
        form.body = manifest.as_bytes().to_vec();
        let answer = route(self.stage.hub(), Side::Api, &form).await;
        assert_eq!(answer.status, 302, "{:?}", answer.body);
        let location = answer.headers.iter().find(|(name, _)| *name == "location");
        let code = location
            .and_then(|(_, url)| url.strip_prefix("http://127.0.0.1:1/back?code="))
            .and_then(|rest| rest.strip_suffix("&state=s"))
            .expect("a code");
        let convert = format!("POST /app-manifests/{code}/conversions");
        self.at(&convert, "", None, 201).await;
        self.at(&convert, "", None, 404).await;
    }

    /// One job from queued to completed, seen through the API all the way.
    async fn job_endpoints(&mut self, token: &str) {
        let id = self.stage.job(json!(["self-hosted", "Linux"])).await;
        let job = format!("GET /repos/octo-org/demo/actions/jobs/{id}");
        let seen = self.at(&job, token, None, 200).await;
        assert_eq!(seen["status"], "queued");
        let jit = json!({
            "name": "sled-1", "runner_group_id": 1, "labels": ["self-hosted", "linux", "x64"],
        });
        let generate = "POST /orgs/octo-org/actions/runners/generate-jitconfig";
        let made = self.at(generate, token, Some(jit), 201).await;
        let runner = made["runner"]["id"].as_u64().expect("a number");
        let secret = self.stage.hub().state().runners[&runner].secret.clone();
        let sessions = format!("/_runner/{runner}/sessions");
        let opened = self.stage.own("POST", &sessions, &secret, json!({})).await;
        let session = format!("{sessions}/{}", opened["session"].as_str().expect("an id"));
        let taken = self
            .stage
            .own("GET", &format!("{session}/job"), &secret, json!({}))
            .await;
        assert_eq!(taken["id"], id);
        assert_eq!(self.at(&job, token, None, 200).await["runner_id"], runner);
        let one = format!("/orgs/octo-org/actions/runners/{runner}");
        assert_eq!(
            self.at(&format!("GET {one}"), token, None, 200).await["busy"],
            true
        );
        self.at(&format!("DELETE {one}"), token, None, 422).await;
        let done = json!({ "job": id, "result": "succeeded" });
        self.stage
            .own("POST", &format!("{session}/complete"), &secret, done)
            .await;
        assert_eq!(
            self.at(&job, token, None, 200).await["conclusion"],
            "success"
        );
        self.at(&format!("GET {one}"), token, None, 404).await;
        self.at("GET /repos/octo-org/demo/actions/jobs/7", token, None, 404)
            .await;
    }

    async fn delivery_endpoints(&mut self) {
        let app = &self.stage.app_token();
        // Deliveries are logged after their answer; ours may still be counted.
        let entry = loop {
            let list = self
                .at("GET /app/hook/deliveries?per_page=1", app, None, 200)
                .await;
            match list.get(0) {
                Some(entry) => break entry["id"].as_u64().expect("a number"),
                None => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        };
        self.at("GET /app/hook/deliveries?cursor=x", app, None, 400)
            .await;
        self.at(&format!("GET /app/hook/deliveries/{entry}"), app, None, 200)
            .await;
        self.at("GET /app/hook/deliveries/7", app, None, 404).await;
        self.at("GET /app/hook/config", app, None, 200).await;
        let again = format!("POST /app/hook/deliveries/{entry}/attempts");
        self.at(&again, app, None, 202).await;
    }
}

#[tokio::test]
async fn answers_fit_githubs_description() {
    let stage = Stage::start().await;
    let api = Description::load("openapi");
    let cloud = Description::of("openapi", "ghec");
    let mut checked = Checked {
        stage: &stage,
        api: &api,
        cloud: &cloud,
        driven: BTreeSet::new(),
    };
    let token = checked.app_endpoints().await;
    checked.runner_endpoints("/orgs/octo-org", &token).await;
    checked
        .runner_endpoints("/repos/octo-org/demo", &token)
        .await;
    checked.runner_endpoints("/enterprises/octo", CLASSIC).await;
    let enterprise = "GET /enterprises/octo/actions/runners";
    checked.at(enterprise, &token, None, 403).await;
    checked
        .at("GET /enterprises/other/actions/runners", CLASSIC, None, 404)
        .await;
    checked.job_endpoints(&token).await;
    checked.workflow_endpoints(&token).await;
    checked.manifest_endpoint().await;
    checked.delivery_endpoints().await;
    let served: BTreeSet<(String, String)> = github_routes()
        .map(|route| (route.method.to_owned(), route.template.to_owned()))
        .collect();
    assert_eq!(
        checked.driven, served,
        "every served route is driven to success"
    );
}

#[tokio::test]
async fn webhooks_fit_githubs_description() {
    let mut stage = Stage::start().await;
    let hooks = Description::load("openapi-webhooks");
    let api = Description::load("openapi");
    let cloud = Description::of("openapi", "ghec");
    let mut checked = Checked {
        stage: &stage,
        api: &api,
        cloud: &cloud,
        driven: BTreeSet::new(),
    };
    let token = checked.app_endpoints().await;
    checked.job_endpoints(&token).await;
    let queued = stage.job(json!(["gpu"])).await;
    stage
        .own(
            "POST",
            &format!("/_fakehub/jobs/{queued}/cancel"),
            "",
            json!({}),
        )
        .await;
    stage.own("POST", "/_fakehub/ping", "", json!({})).await;
    let mut seen = Vec::new();
    while seen.len() < 11 {
        let received = stage.receiver.next().await;
        let header = |name: &str| received.headers.get(name).map(String::as_str).unwrap_or("");
        let body: Value = serde_json::from_slice(&received.body).expect("JSON");
        let name = match (header("x-github-event"), body["action"].as_str()) {
            (event, Some(action)) => format!("{event}-{action}").replace('_', "-"),
            (event, None) => event.to_owned(),
        };
        hooks.check(&name, hooks.webhook(&name), &body);
        let expect = fakehub::webhook::signature(b"It's a Secret to Everybody", &received.body);
        assert_eq!(header("x-hub-signature-256"), expect);
        assert_eq!(header("x-github-delivery").len(), 36);
        assert_eq!(
            header("x-github-hook-installation-target-id"),
            APP.to_string()
        );
        assert_eq!(
            header("x-github-hook-installation-target-type"),
            "integration"
        );
        assert!(header("user-agent").starts_with("GitHub-Hookshot/"));
        seen.push(name);
    }
    seen.sort();
    assert_eq!(
        seen,
        [
            "ping",
            "workflow-job-completed",
            "workflow-job-completed",
            "workflow-job-in-progress",
            "workflow-job-queued",
            "workflow-job-queued",
            "workflow-run-completed",
            "workflow-run-completed",
            "workflow-run-in-progress",
            "workflow-run-requested",
            "workflow-run-requested",
        ]
    );
}
