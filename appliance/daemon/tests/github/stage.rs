//! A stand-in of GitHub's, and what an appliance needs to ask it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use fakehub::answer::Request;
use fakehub::server::{Side, route};
use fakehub::{Hub, Running};
use musher::github::{GithubClient, GithubConfig, JitRequest, Scope, Secret};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const APP: u64 = 123_456;

/// What a runner service and acceptance runs need.
pub(crate) const ALL: &str = r#"{ actions = "write", administration = "write", metadata = "read", organization_self_hosted_runners = "write" }"#;

/// How the stand-in differs from one where all is well.
#[derive(Clone)]
pub(crate) struct Set {
    pub(crate) permissions: &'static str,
    /// What the account granted, if not all that the App asks for.
    pub(crate) granted: Option<&'static str>,
    pub(crate) events: &'static str,
    pub(crate) account: &'static str,
    pub(crate) webhook_url: String,
    pub(crate) limits: &'static str,
    /// Lines of the installation's section.
    pub(crate) installation: &'static str,
}

impl Default for Set {
    fn default() -> Self {
        Self {
            permissions: ALL,
            granted: None,
            events: r#"["workflow_job"]"#,
            account: "octo-org",
            webhook_url: "http://127.0.0.1:9/api/webhook".to_owned(),
            limits: "",
            installation: "",
        }
    }
}

/// A running stand-in, and a folder with the App's key and secrets.
pub(crate) struct Stage {
    running: Running,
    dir: TempDir,
}

impl Stage {
    pub(crate) async fn start() -> Self {
        Self::with(Set::default()).await
    }

    pub(crate) async fn with(set: Set) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        let Set {
            permissions,
            granted,
            events,
            account,
            webhook_url,
            limits,
            installation,
        } = set;
        let granted = granted.unwrap_or(permissions);
        fakehub::keys::generate(&file("app.pem"), &file("app.pub.pem")).unwrap();
        secret(&file("secret"), "It's a Secret to Everybody\n");
        secret(&file("classic"), "ghp_of_the_enterprises_owner\n");
        std::fs::write(file("runner.tar.gz"), fakehub::tarball::pack(b"x").unwrap()).unwrap();
        let text = format!(
            r#"
            [api]
            listen = "127.0.0.1:0"
            [runner]
            path = "runner.tar.gz"
            version = "2.335.0"
            [limits]
            {limits}
            [[app]]
            app_id = {APP}
            slug = "sleds"
            public_key_path = "app.pub.pem"
            webhook_url = "{webhook_url}"
            webhook_secret_path = "secret"
            events = {events}
            permissions = {permissions}
            [[app.installation]]
            id = 1001
            account = "{account}"
            permissions = {granted}
            repositories = ["demo"]
            public_repositories = ["open"]
            {installation}
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
            [[workflow]]
            repo = "octo-org/demo"
            file = "broken.yml"
            labels = []
            script = ""
            inputs = ["nonce"]
            startup_failure = true
            "#
        );
        std::fs::write(file("fakehub.toml"), text).unwrap();
        let config = fakehub::Config::load(&file("fakehub.toml")).unwrap();
        let running = fakehub::start(config).await.unwrap();
        let stage = Self { running, dir };
        stage.configure(APP, "app.pem");
        stage
    }

    /// Writes the appliance's configuration.
    pub(crate) fn configure(&self, app_id: u64, key: &str) {
        self.configure_at(&self.hub().urls.api, app_id, key);
    }

    /// As [`configure`](Self::configure), for a GitHub elsewhere.
    pub(crate) fn configure_at(&self, api_url: &str, app_id: u64, key: &str) {
        let text = format!(
            r#"
            [server]
            webhook_listen = "127.0.0.1:8400"
            admin_listen = "127.0.0.1:8443"
            state_dir = "state"
            [[github]]
            name = "main"
            api_url = "{api_url}"
            app_id = {app_id}
            private_key_path = "{key}"
            webhook_secret_path = "secret"
            token_path = "classic"
            "#
        );
        std::fs::write(self.path("musher.toml"), text).unwrap();
    }

    /// Runs `musher` beside this runtime.
    pub(crate) async fn musher(&self, arguments: &[&str]) -> Output {
        self.musher_with(arguments, &[]).await
    }

    /// As [`musher`](Self::musher), with variables of its environment.
    pub(crate) async fn musher_with(
        &self,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_musher"));
        command.args(arguments).current_dir(self.dir.path());
        command.envs(variables.iter().copied());
        tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap()
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.running.hub
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn client(&self) -> GithubClient {
        let pem = std::fs::read_to_string(self.path("app.pem")).unwrap();
        GithubClient::start(GithubConfig {
            web_url: None,
            name: "main".to_owned(),
            api_url: self.hub().urls.api.clone(),
            app_id: APP,
            private_key_pem: Secret::new(pem),
            enterprise_token: Some(Secret::new("ghp_of_the_enterprises_owner".to_owned())),
            ca_file: None,
        })
        .unwrap()
    }

    /// A request to fakehub's own routes.
    pub(crate) async fn own(&self, method: &str, path: &str, body: Value) -> Value {
        let request = Request::new(method, path).json(&body);
        let answer = route(self.hub(), Side::Api, &request).await;
        assert!(answer.status < 300, "{method} {path}: {:?}", answer.body);
        answer.value().clone()
    }

    /// Makes the next requests go wrong.
    pub(crate) async fn fault(&self, fault: Value) {
        self.own("POST", "/_fakehub/faults", fault).await;
    }

    /// How often one of GitHub's routes was asked.
    pub(crate) fn asked(&self, method: &'static str, template: &'static str) -> u64 {
        let state = self.hub().state();
        state.asked.get(&(method, template)).copied().unwrap_or(0)
    }

    /// Queues a job of `octo-org/demo`; its number.
    pub(crate) async fn job(&self, labels: Value) -> u64 {
        let body = json!({ "repo": "octo-org/demo", "labels": labels, "script": "true" });
        let made = self.own("POST", "/_fakehub/jobs", body).await;
        made["id"].as_u64().unwrap()
    }
}

/// Writes a file that nobody but its owner can read.
pub(crate) fn secret(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

pub(crate) fn org() -> Scope {
    Scope::org("octo-org").unwrap()
}

pub(crate) fn repo() -> Scope {
    Scope::repo("octo-org/demo").unwrap()
}

pub(crate) fn enterprise() -> Scope {
    Scope::enterprise("octo").unwrap()
}

pub(crate) fn jit(name: &str) -> JitRequest {
    JitRequest {
        name: name.to_owned(),
        runner_group_id: 1,
        labels: vec!["self-hosted".to_owned(), "linux".to_owned()],
        work_folder: "_work".to_owned(),
    }
}
