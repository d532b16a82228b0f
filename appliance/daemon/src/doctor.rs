//! `musher github doctor`: what keeps an App from serving its pools, each
//! finding with the exact setting to change.
//!
//! Looks and asks; the one thing that it makes at GitHub, a runner that shows
//! that minting works, it deletes again. Changes nothing else.

use std::time::{SystemTime, UNIX_EPOCH};

use control::{MintScope, PoolSpec};
use serde::Serialize;

use crate::config::{self, Config, LoadedInventory};
use crate::github::{
    App, DEFAULT_RUNNER_GROUP, ErrorKind, GithubClient, GithubError, Installation, JitRequest,
    Permissions, Registration, Scope,
};
use crate::releases;
use crate::strangers;

mod runner;
mod webhook;

/// A clock that differs by less than this does no harm: JWTs are backdated.
const CLOCK_MS: i64 = 30_000;

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: `clock`, `app`, `permission`, `event`,
    /// `installation`, `public`, `jit`, `runner`, `webhook`, `secret` or `github`.
    pub about: &'static str,
    /// What is wrong.
    pub found: String,
    /// The setting to change.
    pub mend: String,
}

/// What the doctor saw of one App.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The App's name in the configuration.
    pub app: String,
    /// What is well, one line each.
    pub well: Vec<String>,
    /// What could not be looked at, and why.
    pub unknown: Vec<String>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

impl Report {
    fn well(&mut self, words: impl Into<String>) {
        self.well.push(words.into());
    }

    fn finding(&mut self, about: &'static str, found: impl Into<String>, mend: impl Into<String>) {
        let finding = Finding {
            about,
            found: found.into(),
            mend: mend.into(),
        };
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    /// A failure that no check knows better.
    fn failure(&mut self, error: &GithubError) {
        let mend = match error.kind() {
            ErrorKind::RateLimited { .. } => "ask again later",
            ErrorKind::Unavailable => {
                "check api_url, ca_file, HTTPS_PROXY and this machine's way to github"
            }
            _ => "see the message",
        };
        self.finding("github", error.to_string(), mend);
    }
}

/// What a pool needs of GitHub.
struct Need {
    pool: String,
    scope: Scope,
    labels: Vec<String>,
    group: Option<String>,
    place: control::Scope,
    public: Vec<String>,
    mints_in_repositories: bool,
    /// It runs jobs again or has sleds prove themselves.
    writes_actions: bool,
    /// It has sleds prove themselves.
    proves: bool,
}

impl Need {
    fn of(pool: &PoolSpec) -> Result<Self, GithubError> {
        Ok(Self {
            pool: pool.name.clone(),
            scope: Scope::of(&pool.scope)?,
            labels: pool.labels.clone(),
            group: pool.group.clone(),
            place: pool.scope.clone(),
            public: pool.public.clone(),
            mints_in_repositories: pool.policy.mint_scope == MintScope::Repository,
            writes_actions: pool.policy.max_reruns > 0 || pool.acceptance.is_some(),
            proves: pool.acceptance.is_some(),
        })
    }

    /// GitHub Docs, "Permissions required for GitHub Apps".
    fn permissions(&self) -> Permissions {
        let actions = if self.writes_actions { "write" } else { "read" };
        let mut wanted = vec![("metadata", "read"), ("actions", actions)];
        if self.scope.is_org() {
            wanted.push(("organization_self_hosted_runners", "write"));
        }
        if self.scope.is_repo() || self.mints_in_repositories {
            wanted.push(("administration", "write"));
        }
        wanted
            .into_iter()
            .map(|(name, level)| (name.to_owned(), level.to_owned()))
            .collect()
    }
}

/// Looks at one App, for the pools that use it.
pub async fn examine(
    config: &Config,
    github: &config::Github,
    client: &GithubClient,
    inventory: Option<&LoadedInventory>,
) -> Report {
    let mut report = Report {
        app: github.name.clone(),
        ..Report::default()
    };
    if !clock(&mut report, client).await {
        return report;
    }
    let Some(app) = identity(&mut report, github, client).await else {
        return report;
    };
    let mut needs = Vec::new();
    let (pools, images) = inventory
        .map(|inventory| releases::of_app(&github.name, inventory))
        .unwrap_or_default();
    for pool in &pools {
        match Need::of(pool) {
            Ok(need) => needs.push(need),
            Err(error) => report.failure(&error),
        }
    }
    events(&mut report, &app, &needs);
    if needs.is_empty() {
        report
            .unknown
            .push("permissions, installation and minting: no pool uses this app".to_owned());
    }
    spare_permissions(&mut report, &app, &needs);
    for need in &needs {
        place(&mut report, client, &app, need).await;
    }
    if let Some(need) = needs.first() {
        runner::look(&mut report, config, client, &need.scope, &images).await;
    }
    webhook::look(&mut report, config, github, client).await;
    report
}

/// Whether this machine's clock is GitHub's. False when GitHub is not reached.
async fn clock(report: &mut Report, client: &GithubClient) -> bool {
    match client.clock_offset_ms().await {
        Ok(Some(offset_ms)) if offset_ms.abs() >= CLOCK_MS => {
            let seconds = offset_ms.unsigned_abs() / 1000;
            let way = if offset_ms > 0 { "behind" } else { "ahead of" };
            report.finding(
                "clock",
                format!("this machine's clock is {seconds} s {way} github's"),
                "set the clock: run `timedatectl set-ntp true`, and see that it reaches a time \
                 server",
            );
        }
        Ok(Some(offset_ms)) => report.well(format!(
            "clock: within {} s of github's",
            offset_ms.unsigned_abs() / 1000 + 1
        )),
        Ok(None) => report
            .unknown
            .push("clock: github's answer had no date".to_owned()),
        Err(error) => {
            report.failure(&error);
            return false;
        }
    }
    true
}

/// Whether key and App belong together.
async fn identity(
    report: &mut Report,
    github: &config::Github,
    client: &GithubClient,
) -> Option<App> {
    let id = github.app_id;
    match client.app().await {
        Ok(app) => {
            report.well(format!("app: {id} is {} and the key is its own", app.slug));
            return Some(app);
        }
        Err(error) => match error.kind() {
            ErrorKind::NotFound => report.finding(
                "app",
                format!("github knows no app {id}: {error}"),
                format!(
                    "set app_id of [[github]] \"{}\" to the App ID on the app's settings page",
                    github.name
                ),
            ),
            ErrorKind::Unauthorized => report.finding(
                "app",
                format!("the private key is not one of app {id}: {error}"),
                format!(
                    "generate a private key on the settings page of app {id}, and put it where \
                     private_key_path of [[github]] \"{}\" says",
                    github.name
                ),
            ),
            _ => report.failure(&error),
        },
    }
    None
}

fn events(report: &mut Report, app: &App, needs: &[Need]) {
    let late = "jobs would be found by the sweep alone, late";
    event(report, app, "workflow_job", "Workflow job", late);
    if needs.iter().any(|need| need.proves) {
        let unseen = "an acceptance run that GitHub cannot begin would be tried again and again";
        event(report, app, "workflow_run", "Workflow run", unseen);
    }
}

fn event(report: &mut Report, app: &App, name: &str, box_to_tick: &str, otherwise: &str) {
    if app.events.iter().any(|event| event == name) {
        report.well(format!("event: {name} is subscribed to"));
        return;
    }
    report.finding(
        "event",
        format!("the app is not sent {name}: {otherwise}"),
        format!(
            "tick \"{box_to_tick}\" in the settings of app {} under Permissions & events, \
             Subscribe to events",
            app.slug
        ),
    );
}

/// What the App may do beyond what anything that is configured needs.
fn spare_permissions(report: &mut Report, app: &App, needs: &[Need]) {
    if needs.is_empty() {
        return;
    }
    for (name, level) in &app.permissions {
        let wanted = needs
            .iter()
            .filter_map(|need| need.permissions().get(name).cloned())
            .max();
        if level == "write" && wanted.as_deref() != Some("write") {
            let lower = wanted.map_or("No access", |_| "Read-only");
            report.finding(
                "permission",
                format!(
                    "the app may write {}, which nothing that is configured needs",
                    words(name)
                ),
                format!(
                    "set {} to \"{lower}\" in the settings of app {} under Permissions & events",
                    words(name),
                    app.slug
                ),
            );
        }
    }
}

/// Installation, permissions and minting where a pool wants its runners.
async fn place(report: &mut Report, client: &GithubClient, app: &App, need: &Need) {
    let scope = &need.scope;
    if scope.is_enterprise() {
        // A person's token is asked there, which minting shows to work or not.
        return mint_for_ours(report, client, need).await;
    }
    let installation = match client.installation_details(scope.clone()).await {
        Ok(installation) => installation,
        Err(GithubError::NotInstalled { on, mend, .. }) => {
            let found = format!("app {} is not installed on {on}", app.slug);
            report.finding("installation", found, mend);
            return;
        }
        Err(error) => return report.failure(&error),
    };
    if installation.suspended_at.is_some() {
        report.finding(
            "installation",
            format!("the installation on {scope} is suspended"),
            format!("unsuspend it at {}", installation.html_url),
        );
        return;
    }
    report.well(format!("installation: {} on {scope}", installation.id));
    if missing_permissions(report, app, &installation, need) {
        return;
    }
    report.well(format!("permissions: pool {} has what it needs", need.pool));
    mint_for_ours(report, client, need).await;
}

/// Mints as the pool would: where no stranger comes in.
async fn mint_for_ours(report: &mut Report, client: &GithubClient, need: &Need) {
    if !strangers_come_in(report, client, need).await {
        mint(report, client, need).await;
    }
}

/// Whether nothing is minted because a public repository could use it. (A pool
/// that registers at each repository has each looked at when it mints there.)
async fn strangers_come_in(report: &mut Report, client: &GithubClient, need: &Need) -> bool {
    if need.mints_in_repositories {
        return false;
    }
    let pool = &need.pool;
    match strangers::look(client, &need.place, need.group.as_deref()).await {
        Err(error) => {
            report.failure(&error);
            true
        }
        Ok(entrance) => match entrance.check(&need.public) {
            Err(strangers) => {
                let found = format!("pool {pool} mints nothing: {}", strangers.found);
                report.finding("public", found, strangers.mend);
                true
            }
            Ok(()) => {
                report.well(format!("public: pool {pool} lets in whom it names"));
                false
            }
        },
    }
}

/// Whether a permission is missing; each is a finding.
fn missing_permissions(
    report: &mut Report,
    app: &App,
    installation: &Installation,
    need: &Need,
) -> bool {
    let covers = |granted: Option<&String>, wanted: &str| {
        granted.is_some_and(|level| level == wanted || level == "write")
    };
    let mut missing = false;
    for (name, level) in need.permissions() {
        if covers(installation.permissions.get(&name), &level) {
            continue;
        }
        missing = true;
        let choice = match level.as_str() {
            "write" => "Read and write",
            _ => "Read-only",
        };
        let mend = if covers(app.permissions.get(&name), &level) {
            format!(
                "the app asks for it, {} has not granted it: accept the new permissions at {}",
                need.scope, installation.html_url
            )
        } else {
            format!(
                "set {} to \"{choice}\" in the settings of app {} under Permissions & events, \
                 then accept it for {}",
                words(&name),
                app.slug,
                need.scope
            )
        };
        let found = format!("pool {} needs {} ({level})", need.pool, words(&name));
        report.finding("permission", found, mend);
    }
    missing
}

/// A permission as GitHub's settings page calls it.
fn words(permission: &str) -> String {
    match permission {
        "actions" => "the repository permission \"Actions\"".to_owned(),
        "administration" => "the repository permission \"Administration\"".to_owned(),
        "metadata" => "the repository permission \"Metadata\"".to_owned(),
        "organization_self_hosted_runners" => {
            "the organization permission \"Self-hosted runners\"".to_owned()
        }
        other => format!("the permission \"{other}\""),
    }
}

/// Mints a runner as the pool would, and deletes it.
async fn mint(report: &mut Report, client: &GithubClient, need: &Need) {
    let scope = &need.scope;
    let group = match &need.group {
        None => Ok(DEFAULT_RUNNER_GROUP),
        Some(name) => client
            .runner_group(scope.clone(), name.clone())
            .await
            .map(|group| group.id),
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let name = format!("musher-doctor-{}", since.unwrap_or_default().as_nanos());
    let minted = match group {
        Err(error) => Err(error),
        Ok(runner_group_id) => {
            let request = JitRequest {
                name: name.clone(),
                runner_group_id,
                labels: need.labels.clone(),
                work_folder: "_work".to_owned(),
            };
            client.register(scope.clone(), request).await
        }
    };
    // Also when the answer was lost: then it is found by its name.
    let id = match &minted {
        Ok(Registration::Jit(runner)) => Some(runner.runner_id),
        // Nothing is registered by it unless a runner does that itself.
        Ok(Registration::Token(_)) => None,
        Err(error) if error.kind() == ErrorKind::Unavailable => {
            let found = client.find_runner(scope.clone(), name.clone()).await;
            found.ok().flatten().map(|runner| runner.id)
        }
        Err(_) => None,
    };
    if let Some(id) = id
        && let Err(error) = client.delete_runner(scope.clone(), id).await
    {
        report.finding(
            "jit",
            format!("the doctor's runner {name} is left at {scope}: {error}"),
            format!("run `musher github runners delete {id}` with that scope"),
        );
    }
    match minted {
        Ok(Registration::Jit(_)) => {
            report.well(format!("jit: pool {} can mint at {scope}", need.pool));
        }
        Ok(Registration::Token(_)) => report.well(format!(
            "jit: this server has none (they come with release 3.10): runners of pool {} \
             register themselves at {scope} by a token",
            need.pool
        )),
        Err(error) => report.finding(
            "jit",
            format!("pool {} cannot mint at {scope}: {error}", need.pool),
            format!(
                "see the message; the pool's scope, labels and group are {scope}, {}, {}",
                need.labels.join(","),
                need.group.as_deref().unwrap_or("the default one")
            ),
        ),
    }
}
