//! The configuration file, parsed once into values that cannot be wrong.
//!
//! Unknown keys are errors. Paths are relative to the file that names them.
//! It never holds an App's private key: GitHub keeps only the public half.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::keys::{AppKey, KeyError};
use crate::state::Scope;

/// Permission name to `"read"` or `"write"`, as GitHub spells them.
pub type Permissions = BTreeMap<String, String>;

/// What keeps a configuration from being used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A named file could not be read.
    #[error("cannot read {what} {path}: {source}")]
    Read {
        /// What the file is for.
        what: &'static str,
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is not the TOML that is expected; the message names the line.
    #[error("{path}: {message}")]
    Parse {
        /// The file.
        path: String,
        /// What the parser said.
        message: String,
    },
    /// A public key is not usable.
    #[error("public key of app {app_id}: {source}")]
    Key {
        /// The App.
        app_id: u64,
        /// The cause.
        source: KeyError,
    },
    /// The values contradict each other.
    #[error("{0}")]
    Invalid(String),
}

/// One listening address, with TLS when both files are given.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Address to bind; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Base address that clients use, without a trailing slash; made from
    /// `listen` when absent.
    pub url: Option<String>,
    /// PEM certificate chain.
    pub tls_cert: Option<PathBuf>,
    /// PEM private key.
    pub tls_key: Option<PathBuf>,
}

impl Listener {
    /// A plain HTTP listener.
    #[must_use]
    pub fn plain(listen: SocketAddr) -> Self {
        Self {
            listen,
            url: None,
            tls_cert: None,
            tls_key: None,
        }
    }
}

/// Where channels are.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelListener {
    /// Address to bind; port 0 picks a free one.
    pub listen: SocketAddr,
}

/// The runner that `…/actions/runners/downloads` offers.
#[derive(Clone, Debug)]
pub struct RunnerTarball {
    /// File name in the answer and in the download address.
    pub filename: String,
    /// Whole tarball.
    pub bytes: Arc<Vec<u8>>,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
}

/// A runner group of an organization.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunnerGroup {
    /// Number; 1 is the default group.
    pub id: u64,
    /// Name as in webhooks.
    pub name: String,
    /// GitHub's default: no. Runners of the group then take no job of a
    /// public repository.
    #[serde(default)]
    pub allows_public_repositories: bool,
}

/// One repository of an installation.
#[derive(Clone, Debug)]
pub struct Repository {
    /// Number.
    pub id: u64,
    /// Name without the owner.
    pub name: String,
    /// Whether only members see it.
    pub private: bool,
}

/// One installation of an App on an account.
#[derive(Clone, Debug)]
pub struct Installation {
    /// Number.
    pub id: u64,
    /// Login of the organization or user.
    pub account: String,
    /// Number of the account.
    pub account_id: u64,
    /// `Organization` or `User`.
    pub account_type: String,
    /// Repositories it covers.
    pub repositories: Vec<Repository>,
    /// What was granted.
    pub permissions: Permissions,
    /// Runner groups of the account.
    pub runner_groups: Vec<RunnerGroup>,
}

impl Installation {
    /// The repository of that name, compared without case as GitHub does.
    #[must_use]
    pub fn repository(&self, name: &str) -> Option<&Repository> {
        self.repositories
            .iter()
            .find(|repository| repository.name.eq_ignore_ascii_case(name))
    }

    /// The runner group with that number.
    #[must_use]
    pub fn group(&self, id: u64) -> Option<&RunnerGroup> {
        self.runner_groups.iter().find(|group| group.id == id)
    }
}

/// One GitHub App.
#[derive(Clone)]
pub struct App {
    /// Number; the `iss` of its tokens.
    pub app_id: u64,
    /// Client id; GitHub accepts it as `iss` too.
    pub client_id: String,
    /// Name in addresses.
    pub slug: String,
    /// Verifies its tokens.
    pub key: AppKey,
    /// Where deliveries go.
    pub webhook_url: Option<String>,
    /// Signs deliveries.
    pub webhook_secret: Vec<u8>,
    /// What the App asks for.
    pub permissions: Permissions,
    /// Events that it subscribed to.
    pub events: Vec<String>,
    /// Where it is installed.
    pub installations: Vec<Installation>,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("app_id", &self.app_id)
            .field("webhook_url", &self.webhook_url)
            .field("webhook_secret", &"redacted")
            .field("installations", &self.installations)
            .finish_non_exhaustive()
    }
}

/// An enterprise, whose endpoints take an owner's classic token.
#[derive(Clone)]
pub struct Enterprise {
    /// Name in paths.
    pub slug: String,
    /// Number.
    pub id: u64,
    /// Its organizations: jobs of theirs may use its runners.
    pub organizations: Vec<String>,
    /// The classic token.
    pub token: String,
    /// What the token may do.
    pub scopes: Vec<String>,
    /// Its runner groups.
    pub runner_groups: Vec<RunnerGroup>,
}

impl fmt::Debug for Enterprise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enterprise")
            .field("slug", &self.slug)
            .field("organizations", &self.organizations)
            .field("token", &"redacted")
            .finish_non_exhaustive()
    }
}

/// A workflow that `workflow_dispatch` starts: one job.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workflow {
    /// `owner/name`.
    pub repo: String,
    /// The file's name.
    pub file: String,
    /// What `runs-on` asks for; `{{input}}` is filled in.
    pub labels: Vec<String>,
    /// Run by `/bin/sh -e`.
    pub script: String,
    /// Inputs, all of them required.
    #[serde(default)]
    pub inputs: Vec<String>,
    /// GitHub cannot even begin its runs: they end at once and have no job.
    #[serde(default)]
    pub startup_failure: bool,
}

impl Workflow {
    /// GitHub's number of it.
    #[must_use]
    pub fn id(&self) -> u64 {
        number(&format!("{}/{}", self.repo, self.file))
    }
}

/// Durations and bounds, in seconds where the name says so.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Life of an installation token; GitHub: one hour.
    pub token_lifetime_s: u64,
    /// A registered runner without a session is removed after this. GitHub
    /// documents one day, operators see minutes (actions/runner#4726).
    pub jit_idle_s: u64,
    /// A busy runner that says nothing for this long has lost communication
    /// and its job fails.
    pub lost_runner_s: u64,
    /// A cancelled job that its runner does not end is ended after this;
    /// GitHub: five minutes.
    pub cancel_grace_s: u64,
    /// A queued job fails after this; GitHub: one day.
    pub queued_s: u64,
    /// Requests per hour and installation; GitHub: 5,000 and more.
    pub rate_limit_per_hour: u64,
    /// Attempts that the delivery log holds, of all Apps together.
    pub deliveries: usize,
    /// Runners older than this are told that they are deprecated, as in
    /// `2.329.0`.
    pub minimum_runner_version: Option<String>,
    /// Pretends to be this release of GitHub Enterprise Server.
    pub server_release: Option<String>,
}

impl Limits {
    /// GitHub Enterprise Server has just-in-time runners since 3.10.
    #[must_use]
    pub fn has_jit(&self) -> bool {
        self.is_at_least(10)
    }

    /// It names the run of a dispatch since 3.21 (cli/cli#12672).
    #[must_use]
    pub fn has_run_details(&self) -> bool {
        self.is_at_least(21)
    }

    /// Whether it is github.com, or a server of 3.`minor` or later.
    fn is_at_least(&self, minor: u64) -> bool {
        let Some(release) = &self.server_release else {
            return true;
        };
        let mut parts = release.split('.').map(|part| part.parse().unwrap_or(0_u64));
        (parts.next(), parts.next()) >= (Some(3), Some(minor))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            token_lifetime_s: 3_600,
            jit_idle_s: 300,
            lost_runner_s: 600,
            cancel_grace_s: 300,
            queued_s: 86_400,
            rate_limit_per_hour: 5_000,
            deliveries: 20_000,
            minimum_runner_version: None,
            server_release: None,
        }
    }
}

/// Everything that fakehub is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// GitHub's API and the control routes.
    pub api: Listener,
    /// What sleds reach: runner protocol and downloads, nothing else.
    pub sled: Option<Listener>,
    /// A smee.io-style channel.
    pub channel: Option<ChannelListener>,
    /// Bounds.
    pub limits: Limits,
    /// Apps, at least one.
    pub apps: Vec<App>,
    /// The runner offered for download.
    pub runner: Option<RunnerTarball>,
    /// Enterprises.
    pub enterprises: Vec<Enterprise>,
    /// Workflows that can be dispatched.
    pub workflows: Vec<Workflow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    api: Listener,
    sled: Option<Listener>,
    channel: Option<ChannelListener>,
    #[serde(default)]
    limits: Limits,
    runner: Option<RawRunner>,
    #[serde(default)]
    app: Vec<RawApp>,
    #[serde(default)]
    enterprise: Vec<RawEnterprise>,
    #[serde(default)]
    workflow: Vec<Workflow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEnterprise {
    slug: String,
    organizations: Vec<String>,
    token_path: PathBuf,
    scopes: Option<Vec<String>>,
    runner_groups: Option<Vec<RunnerGroup>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRunner {
    path: PathBuf,
    version: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawApp {
    app_id: u64,
    slug: Option<String>,
    public_key_path: PathBuf,
    webhook_url: Option<String>,
    webhook_secret_path: Option<PathBuf>,
    permissions: Option<Permissions>,
    events: Option<Vec<String>>,
    #[serde(default)]
    installation: Vec<RawInstallation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawInstallation {
    id: u64,
    account: String,
    account_type: Option<String>,
    #[serde(default)]
    repositories: Vec<String>,
    #[serde(default)]
    public_repositories: Vec<String>,
    permissions: Option<Permissions>,
    runner_groups: Option<Vec<RunnerGroup>>,
}

/// What a runner service needs: the permissions that GitHub documents for the
/// runner, job and metadata endpoints.
#[must_use]
pub fn default_permissions() -> Permissions {
    [
        ("actions", "read"),
        ("administration", "write"),
        ("metadata", "read"),
        ("organization_self_hosted_runners", "write"),
    ]
    .into_iter()
    .map(|(name, level)| (name.to_owned(), level.to_owned()))
    .collect()
}

/// Whether `granted` covers `wanted`; write covers read.
#[must_use]
pub fn covers(granted: Option<&str>, wanted: &str) -> bool {
    matches!(
        (granted, wanted),
        (Some("write"), "read" | "write") | (Some("read"), "read")
    )
}

impl Config {
    /// The runner group of that name where these runners belong. A repository
    /// has its account's default group only.
    #[must_use]
    pub fn group_named(&self, scope: &Scope, name: &str) -> Option<&RunnerGroup> {
        let installations = self.apps.iter().flat_map(|app| &app.installations);
        let of_account = |account: &str| {
            let mut found = installations
                .clone()
                .filter(|it| it.account.eq_ignore_ascii_case(account));
            found.next().map_or(&[][..], |it| &it.runner_groups[..])
        };
        let (groups, default_only) = match scope {
            Scope::Org { account } => (of_account(account), false),
            Scope::Repo { account, .. } => (of_account(account), true),
            Scope::Enterprise { slug, .. } => {
                let mut enterprises = self.enterprises.iter();
                let found = enterprises.find(|it| it.slug.eq_ignore_ascii_case(slug));
                (found.map_or(&[][..], |it| &it.runner_groups[..]), false)
            }
        };
        let fits = |group: &&RunnerGroup| {
            group.name.eq_ignore_ascii_case(name) && (!default_only || group.id == 1)
        };
        groups.iter().find(fits)
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// A missing file, TOML that does not fit, an unusable key, or values
    /// that contradict each other.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            String::from_utf8(read("configuration", path)?).map_err(|_| ConfigError::Parse {
                path: path.display().to_string(),
                message: "not UTF-8".into(),
            })?;
        let dir = path.parent().unwrap_or(Path::new("."));
        let raw: RawConfig = toml::from_str(&text).map_err(|error| ConfigError::Parse {
            path: path.display().to_string(),
            message: error.to_string(),
        })?;
        let apps = raw
            .app
            .into_iter()
            .map(|app| app.resolve(dir))
            .collect::<Result<Vec<_>, ConfigError>>()?;
        let runner = match raw.runner {
            Some(runner) => Some(RunnerTarball::load(
                &dir.join(runner.path),
                &runner.version,
            )?),
            None => None,
        };
        let absolute = |mut listener: Listener| {
            listener.tls_cert = listener.tls_cert.map(|file| dir.join(file));
            listener.tls_key = listener.tls_key.map(|file| dir.join(file));
            listener
        };
        let enterprises = raw
            .enterprise
            .into_iter()
            .map(|enterprise| enterprise.resolve(dir))
            .collect::<Result<Vec<_>, ConfigError>>()?;
        let config = Self {
            enterprises,
            workflows: raw.workflow,
            api: absolute(raw.api),
            sled: raw.sled.map(absolute),
            channel: raw.channel,
            limits: raw.limits,
            apps,
            runner,
        };
        config.check()?;
        Ok(config)
    }

    /// Checks what single values cannot show.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn check(&self) -> Result<(), ConfigError> {
        let invalid = |message: String| Err(ConfigError::Invalid(message));
        if self.apps.is_empty() {
            return invalid("no app: add an [[app]] section".into());
        }
        for (name, listener) in [("api", Some(&self.api)), ("sled", self.sled.as_ref())] {
            if listener.is_some_and(|it| it.tls_cert.is_some() != it.tls_key.is_some()) {
                return invalid(format!(
                    "[{name}] needs both tls_cert and tls_key, or neither"
                ));
            }
        }
        let (mut apps, mut installations) = (BTreeSet::new(), BTreeSet::new());
        for app in &self.apps {
            if !apps.insert(app.app_id) {
                return invalid(format!("app {} is listed twice", app.app_id));
            }
            if app
                .webhook_url
                .as_ref()
                .is_some_and(|url| !url.starts_with("http://"))
            {
                return invalid(format!(
                    "app {}: webhook_url must start with http:// (deliveries stay on this machine)",
                    app.app_id
                ));
            }
            for installation in &app.installations {
                if !installations.insert(installation.id) {
                    return invalid(format!("installation {} is listed twice", installation.id));
                }
                for (name, level) in &installation.permissions {
                    if !covers(app.permissions.get(name).map(String::as_str), level) {
                        return invalid(format!(
                            "installation {}: permission {name}={level} exceeds the app's",
                            installation.id
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

impl RawApp {
    fn resolve(self, dir: &Path) -> Result<App, ConfigError> {
        let pem = read("public key", &dir.join(&self.public_key_path))?;
        let key = AppKey::from_public_pem(&pem).map_err(|source| ConfigError::Key {
            app_id: self.app_id,
            source,
        })?;
        let webhook_secret = match (&self.webhook_url, &self.webhook_secret_path) {
            (Some(_), None) => {
                return Err(ConfigError::Invalid(format!(
                    "app {}: webhook_url needs webhook_secret_path",
                    self.app_id
                )));
            }
            (_, Some(path)) => read("webhook secret", &dir.join(path))?
                .trim_ascii()
                .to_vec(),
            (None, None) => Vec::new(),
        };
        let permissions = self.permissions.unwrap_or_else(default_permissions);
        let installations = self
            .installation
            .into_iter()
            .map(|raw| raw.resolve(&permissions))
            .collect();
        Ok(App {
            app_id: self.app_id,
            client_id: format!("Iv23li{:014}", self.app_id),
            slug: self.slug.unwrap_or_else(|| "musher".into()),
            key,
            webhook_url: self.webhook_url,
            webhook_secret,
            permissions,
            events: self.events.unwrap_or_else(|| vec!["workflow_job".into()]),
            installations,
        })
    }
}

impl RawEnterprise {
    fn resolve(self, dir: &Path) -> Result<Enterprise, ConfigError> {
        let token = read("classic token", &dir.join(&self.token_path))?;
        Ok(Enterprise {
            id: number(&format!("enterprise {}", self.slug)),
            slug: self.slug,
            organizations: self.organizations,
            token: String::from_utf8_lossy(token.trim_ascii()).into_owned(),
            scopes: self
                .scopes
                .unwrap_or_else(|| vec!["manage_runners:enterprise".into()]),
            runner_groups: self.runner_groups.unwrap_or_else(|| vec![default_group()]),
        })
    }
}

fn default_group() -> RunnerGroup {
    RunnerGroup {
        id: 1,
        name: "Default".into(),
        allows_public_repositories: false,
    }
}

impl RawInstallation {
    fn resolve(self, app_permissions: &Permissions) -> Installation {
        let names = self
            .repositories
            .into_iter()
            .map(|name| (name, true))
            .chain(
                self.public_repositories
                    .into_iter()
                    .map(|name| (name, false)),
            );
        let repositories = names
            .map(|(name, private)| Repository {
                id: number(&format!("{}/{name}", self.account)),
                name,
                private,
            })
            .collect();
        Installation {
            id: self.id,
            account_id: number(&self.account),
            account: self.account,
            account_type: self.account_type.unwrap_or_else(|| "Organization".into()),
            repositories,
            permissions: self.permissions.unwrap_or_else(|| app_permissions.clone()),
            runner_groups: self.runner_groups.unwrap_or_else(|| vec![default_group()]),
        }
    }
}

impl RunnerTarball {
    /// Reads a tarball and names it as GitHub's releases are named.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn load(path: &Path, version: &str) -> Result<Self, ConfigError> {
        Ok(Self::new(read("runner tarball", path)?, version))
    }

    /// Takes a tarball from memory.
    #[must_use]
    pub fn new(bytes: Vec<u8>, version: &str) -> Self {
        let sha256 = crate::ids::hex(&crate::ids::sha256(&bytes));
        let runner = Self {
            filename: String::new(),
            bytes: Arc::new(bytes),
            sha256,
        };
        runner.of_version(version)
    }

    /// The same bytes as another release.
    #[must_use]
    pub fn of_version(self, version: &str) -> Self {
        let filename = format!("actions-runner-linux-x64-{version}.tar.gz");
        Self { filename, ..self }
    }
}

/// A stable number for a name: GitHub's ids survive a restart, so these do.
fn number(name: &str) -> u64 {
    let digest = crate::ids::sha256(name.to_ascii_lowercase().as_bytes());
    digest
        .iter()
        .take(4)
        .fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
        | 0x0100_0000
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|source| ConfigError::Read {
        what,
        path: path.display().to_string(),
        source,
    })
}
