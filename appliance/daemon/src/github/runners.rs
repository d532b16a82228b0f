//! GitHub's endpoints for registered runners.
//!
//! Source: GitHub REST API, "Self-hosted runners", version 2022-11-28.

use serde::{Deserialize, Serialize};

use super::GithubClient;
use super::api::{Api, Enough, List, parse, percent_encode};
use super::error::GithubError;
use super::http::{Call, Method};
use super::labels::RunnerLabel;
use super::scope::Scope;
use super::status::Asked;

/// What GitHub knows of a runner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Runner {
    /// GitHub's id of the runner.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its system, `unknown` before it first connected.
    pub os: String,
    /// Whether it is connected.
    pub status: RunnerStatus,
    /// Whether it runs a job. May be false in the middle of one
    /// (actions/runner#4422): ask the agent first.
    pub busy: bool,
    /// The number of its runner group, where GitHub tells it.
    pub runner_group_id: Option<u64>,
    /// Its labels.
    pub labels: Vec<RunnerLabel>,
}

/// Whether a runner is connected to GitHub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunnerStatus {
    /// Connected.
    Online,
    /// Not connected.
    Offline,
    /// A word that GitHub did not document.
    Other,
}

/// One release of the runner program that GitHub offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunnerDownload {
    /// `linux`, `osx` or `win`.
    pub os: String,
    /// `x64`, `arm64` or `arm`.
    pub architecture: String,
    /// Where the archive is.
    pub url: String,
    /// The archive's name, which holds the version.
    pub filename: String,
    /// The archive's SHA-256, 64 lower-case hexadecimal digits, if told.
    pub sha256: Option<String>,
}

impl GithubClient {
    /// Every runner of a scope.
    ///
    /// # Errors
    /// [`GithubError`]; more than 10,000 are [`GithubError::Argument`].
    pub async fn list_runners(&self, scope: Scope) -> Result<Vec<Runner>, GithubError> {
        self.run("list runners", move |api| list_runners(api, &scope))
            .await
    }

    /// One runner; `None` when GitHub does not know it (any more).
    ///
    /// # Errors
    /// [`GithubError`].
    pub async fn runner(&self, scope: Scope, id: u64) -> Result<Option<Runner>, GithubError> {
        self.run("look up runner", move |api| runner(api, &scope, id))
            .await
    }

    /// Deletes a runner. One that does not exist counts as deleted.
    ///
    /// # Errors
    /// [`GithubError`]; a runner that runs a job is `ErrorKind::Invalid`.
    pub async fn delete_runner(&self, scope: Scope, id: u64) -> Result<(), GithubError> {
        self.run("delete runner", move |api| delete_runner(api, &scope, id))
            .await
    }

    /// The runner of exactly this name, if there is one.
    ///
    /// # Errors
    /// [`GithubError`].
    pub async fn find_runner(
        &self,
        scope: Scope,
        name: String,
    ) -> Result<Option<Runner>, GithubError> {
        self.run("find runner", move |api| find_runner(api, &scope, &name))
            .await
    }

    /// The runner releases that GitHub offers now, with their digests.
    ///
    /// # Errors
    /// [`GithubError`].
    pub async fn runner_downloads(&self, scope: Scope) -> Result<Vec<RunnerDownload>, GithubError> {
        self.run("list runner downloads", move |api| downloads(api, &scope))
            .await
    }
}

#[derive(Deserialize)]
struct Page {
    runners: Vec<WireRunner>,
}

#[derive(Deserialize)]
pub(super) struct WireRunner {
    pub(super) id: u64,
    pub(super) name: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    busy: bool,
    #[serde(default)]
    runner_group_id: Option<u64>,
    #[serde(default)]
    labels: Vec<RunnerLabel>,
}

impl From<WireRunner> for Runner {
    fn from(wire: WireRunner) -> Self {
        Self {
            id: wire.id,
            name: wire.name,
            os: wire.os,
            status: match wire.status.as_str() {
                "online" => RunnerStatus::Online,
                "offline" => RunnerStatus::Offline,
                _ => RunnerStatus::Other,
            },
            busy: wire.busy,
            runner_group_id: wire.runner_group_id,
            labels: wire.labels,
        }
    }
}

fn list_runners(api: Api<'_>, scope: &Scope) -> Result<Vec<Runner>, GithubError> {
    let mut all = Vec::new();
    let list = List {
        operation: "list runners",
        scope,
        asked: Asked::Runners(scope),
        path: &format!("{}/actions/runners", scope.path()),
        conditional: true,
    };
    api.pages(&list, |page: Page| {
        let count = page.runners.len();
        all.extend(page.runners.into_iter().map(Runner::from));
        (count, Enough::No)
    })?;
    Ok(all)
}

fn find_runner(api: Api<'_>, scope: &Scope, name: &str) -> Result<Option<Runner>, GithubError> {
    let mut found = None;
    let list = List {
        operation: "find runner",
        scope,
        asked: Asked::Runners(scope),
        path: &format!(
            "{}/actions/runners?name={}",
            scope.path(),
            percent_encode(name)
        ),
        conditional: false,
    };
    api.pages(&list, |page: Page| {
        let count = page.runners.len();
        // Old servers do not know the filter: compare here as well.
        found = page.runners.into_iter().find(|runner| runner.name == name);
        let enough = found.as_ref().map_or(Enough::No, |_| Enough::Yes);
        (count, enough)
    })?;
    Ok(found.map(Runner::from))
}

fn runner(api: Api<'_>, scope: &Scope, id: u64) -> Result<Option<Runner>, GithubError> {
    let path = format!("{}/actions/runners/{id}", scope.path());
    let call = Call::get(&path);
    match api.at(scope, Asked::Runners(scope), &call, 200) {
        Err(error) if error.is_status(404) => Ok(None),
        result => Ok(Some(parse::<WireRunner>(&call, &result?)?.into())),
    }
}

fn delete_runner(api: Api<'_>, scope: &Scope, id: u64) -> Result<(), GithubError> {
    let path = format!("{}/actions/runners/{id}", scope.path());
    let call = Call::change(Method::Delete, &path, None);
    match api.at(scope, Asked::Runners(scope), &call, 204) {
        // It is gone, whoever did it: an ephemeral runner that ran its job,
        // or an earlier try whose answer was lost.
        Err(error) if error.is_status(404) => Ok(()),
        result => result.map(|_| ()),
    }
}

fn downloads(api: Api<'_>, scope: &Scope) -> Result<Vec<RunnerDownload>, GithubError> {
    #[derive(Deserialize)]
    struct Wire {
        os: String,
        architecture: String,
        download_url: String,
        filename: String,
        sha256_checksum: Option<String>,
    }
    let path = format!("{}/actions/runners/downloads", scope.path());
    let call = Call::get_if_changed(&path);
    let answer = api.at(scope, Asked::Runners(scope), &call, 200)?;
    let wire: Vec<Wire> = parse(&call, &answer)?;
    let is_digest =
        |text: &String| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    Ok(wire
        .into_iter()
        .map(|wire| RunnerDownload {
            os: wire.os,
            architecture: wire.architecture,
            url: wire.download_url,
            filename: wire.filename,
            sha256: wire
                .sha256_checksum
                .filter(is_digest)
                .map(|text| text.to_ascii_lowercase()),
        })
        .collect())
}
