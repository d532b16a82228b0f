//! The stub runner behaves like GitHub's listener: it takes one job, tells
//! GitHub how that went, and ends with the listener's exit codes
//! (actions/runner, `Constants.Runner.ReturnCode`), which tell how the
//! *listener* fared and never how the job did.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fakehub::answer::Request;
use fakehub::server::{Side, route};
use fakehub::{Hub, Running};
use musher_e2e::program;
use serde_json::{Value, json};

const APP: u64 = 123_456;
const LIMIT: Duration = Duration::from_secs(60);

/// fakehub with one App and one repository.
struct Stage {
    running: Option<Running>,
    hub: Arc<Hub>,
    key: Vec<u8>,
    dir: tempfile::TempDir,
}

impl Stage {
    async fn start(limits: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        fakehub::keys::generate(&file("app.pem"), &file("app.pub.pem")).unwrap();
        let text = format!(
            r#"
            [api]
            listen = "127.0.0.1:0"
            [limits]
            {limits}
            [[app]]
            app_id = {APP}
            public_key_path = "app.pub.pem"
            [[app.installation]]
            id = 1001
            account = "octo-org"
            repositories = ["demo"]
            "#
        );
        std::fs::write(file("fakehub.toml"), text).unwrap();
        let config = fakehub::Config::load(&file("fakehub.toml")).unwrap();
        let running = fakehub::start(config).await.unwrap();
        let key = std::fs::read(file("app.pem")).unwrap();
        Self {
            hub: Arc::clone(&running.hub),
            running: Some(running),
            key,
            dir,
        }
    }

    fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Nothing listens any more.
    fn stop(&mut self) {
        self.running = None;
    }

    async fn post(&self, path: &str, bearer: &str, body: Value) -> Value {
        let request = Request::new("POST", path).bearer(bearer).json(&body);
        let answer = route(self.hub(), Side::Api, &request).await;
        assert!(answer.status < 300, "{path}: {:?}", answer.body);
        answer.value().clone()
    }

    /// Registers a runner just in time: its number and its configuration.
    async fn mint(&self) -> (u64, String) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now_s = since.as_secs();
        let claims = json!({ "iss": APP, "iat": now_s - 60, "exp": now_s + 540 });
        let app = fakehub::keys::sign(&self.key, &claims).unwrap();
        let tokens = "/app/installations/1001/access_tokens";
        let token = self.post(tokens, &app, json!({})).await;
        let jit = json!({ "name": "sled-01", "runner_group_id": 1, "labels": ["linux"] });
        let generate = "/repos/octo-org/demo/actions/runners/generate-jitconfig";
        let made = self
            .post(generate, token["token"].as_str().unwrap(), jit)
            .await;
        let config = made["encoded_jit_config"].as_str().unwrap();
        (made["runner"]["id"].as_u64().unwrap(), config.to_owned())
    }

    async fn queue(&self, script: &str) -> u64 {
        let job = json!({ "repo": "octo-org/demo", "labels": ["linux"], "script": script });
        let made = self.post("/_fakehub/jobs", "", job).await;
        made["id"].as_u64().unwrap()
    }

    fn conclusion(&self, job: u64) -> Option<&'static str> {
        let state = self.hub().state();
        state.jobs[&job].conclusion.map(|it| it.as_str())
    }

    /// The listener, with the configuration as the agent gives it.
    fn listener(&self, config: &str) -> Command {
        let mut command = Command::new(program("stub-runner").unwrap());
        command
            .arg("run")
            .env("ACTIONS_RUNNER_INPUT_JITCONFIG", config)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    /// Waits until that runner listens.
    async fn listens(&self, runner: u64) {
        let start = Instant::now();
        while self.hub().state().runners[&runner].session.is_none() {
            assert!(start.elapsed() < LIMIT, "the runner does not connect");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Runs it to its end beside the stand-in's tasks; its exit code.
async fn end(mut command: Command) -> Option<i32> {
    let ended = tokio::task::spawn_blocking(move || command.status().unwrap());
    let ended = tokio::time::timeout(LIMIT, ended).await;
    ended.expect("it does not end").unwrap().code()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_job_then_0_however_it_went() {
    let stage = Stage::start("").await;
    for (script, conclusion) in [("echo done", "success"), ("exit 3", "failure")] {
        let job = stage.queue(script).await;
        let waits = stage.queue("echo never").await;
        let (runner, config) = stage.mint().await;
        assert_eq!(end(stage.listener(&config)).await, Some(0), "{script}");
        assert_eq!(stage.conclusion(job), Some(conclusion), "{script}");
        assert_eq!(stage.conclusion(waits), None, "it took a second job");
        assert!(!stage.hub().state().runners.contains_key(&runner));
        stage
            .post(&format!("/_fakehub/jobs/{waits}/cancel"), "", json!({}))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_go_on_ends_with_1() {
    let stage = Stage::start("").await;
    assert_eq!(end(stage.listener("no configuration")).await, Some(1));
    let (runner, config) = stage.mint().await;
    stage.hub().state().runners.remove(&runner);
    assert_eq!(end(stage.listener(&config)).await, Some(1), "deleted");

    let (runner, config) = stage.mint().await;
    let mut idle = stage.listener(&config).spawn().unwrap();
    stage.listens(runner).await;
    let told = Command::new("kill").arg(idle.id().to_string()).status();
    assert!(told.unwrap().success());
    let ended = tokio::task::spawn_blocking(move || idle.wait().unwrap());
    assert_eq!(ended.await.unwrap().code(), Some(1), "told to end");
    let left = &stage.hub().state().runners[&runner].session;
    assert!(left.is_none(), "it closes its session");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_is_2() {
    let mut stage = Stage::start("").await;
    let (_, config) = stage.mint().await;
    let listener = stage.listener(&config);
    stage.stop();
    assert_eq!(end(listener).await, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_listener_is_5() {
    let stage = Stage::start("").await;
    let (runner, config) = stage.mint().await;
    let mut first = stage.listener(&config).spawn().unwrap();
    stage.listens(runner).await;
    assert_eq!(end(stage.listener(&config)).await, Some(5));
    first.kill().unwrap();
    first.wait().unwrap();
}

/// 7 only for who asks for it, as the agent does.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_version_is_7_or_1() {
    let stage = Stage::start("minimum_runner_version = \"99.0.0\"").await;
    let (_, config) = stage.mint().await;
    let listener = |wants: &str| {
        let mut command = stage.listener(&config);
        command.env("ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE", wants);
        command
    };
    assert_eq!(end(listener("1")).await, Some(7));
    assert_eq!(end(listener("0")).await, Some(1));
}
