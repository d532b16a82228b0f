//! The client of GitHub's REST API: runners and all that belongs to them,
//! the App, workflows. One file per group of endpoints; each adds its methods
//! to [`GithubClient`].
//!
//! HTTP here blocks, so it lives on a few threads of its own behind a bounded
//! queue; callers await. Nothing is repeated that is not idempotent: minting
//! is sent once, and its result after a failure is unknown to the client.
//! Tokens, JWTs and JIT configurations are never logged and never stored.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

mod answer;
mod api;
mod apps;
mod archive;
mod auth;
mod budget;
mod cache;
mod deliveries;
mod endpoint;
mod error;
mod flight;
mod groups;
mod http;
mod jwt;
mod labels;
mod manifest;
mod pool;
mod registration;
mod repositories;
mod runners;
mod scope;
mod secret;
mod status;
#[cfg(test)]
mod tests;
mod workflows;

pub use apps::{App, Installation, Permissions};
pub use archive::Archive;
pub use budget::Hold;
pub use deliveries::{Cursor, HookConfig, LogEntry, LogPage, LoggedDelivery};
pub use endpoint::web_url;
pub(crate) use endpoint::{is_loopback, roots};
pub(crate) use error::one_line;
pub use error::{ErrorKind, GithubError, NetworkFault, StatusError};
pub use groups::{DEFAULT_RUNNER_GROUP, RunnerGroup};
pub use labels::{LabelKind, RunnerLabel};
pub use manifest::{MadeApp, convert_manifest};
pub use registration::{JitRequest, JitRunner, Registration, RunnerToken};
pub use repositories::Repository;
pub use runners::{Runner, RunnerDownload, RunnerStatus};
pub use scope::Scope;
pub use secret::Secret;
pub use workflows::{Dispatch, DispatchedRun, RunStatus, WorkflowRun};

use api::Api;
use auth::Auth;
use budget::Urgency;
use http::{Http, Waits};
use jwt::AppKey;
use pool::Pool;

/// Threads per App. GitHub allows 100 requests at once; a rack needs few.
const THREADS: usize = 4;
/// Threads for calls that can wait, so that they never hold up the others.
const BACKGROUND_THREADS: usize = 2;
/// Requests that may wait for a thread.
const QUEUE: usize = 64;

/// The time in Unix milliseconds.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// One `[[github]]` entry, with its key read.
#[derive(Debug, Clone)]
pub struct GithubConfig {
    /// The entry's name, for messages.
    pub name: String,
    /// Base of the REST API: `https://api.github.com`, or a server's
    /// `https://HOST/api/v3`. Plain http only to this machine.
    pub api_url: String,
    /// Where GitHub's pages are, when that does not follow from its API.
    pub web_url: Option<String>,
    /// The App's id.
    pub app_id: u64,
    /// The App's private key: PEM, PKCS #1 or PKCS #8.
    pub private_key_pem: Secret,
    /// A classic token with `manage_runners:enterprise`, for enterprises.
    pub enterprise_token: Option<Secret>,
    /// Further certificate authorities to trust, in PEM form.
    pub ca_file: Option<PathBuf>,
}

/// A handle to one App at GitHub. Clones share its threads, tokens and queue.
#[derive(Clone)]
pub struct GithubClient {
    shared: Arc<Shared>,
    urgency: Urgency,
}

struct Shared {
    name: String,
    web_url: Option<String>,
    auth: Arc<Auth>,
    urgent: Pool,
    background: Pool,
}

impl fmt::Debug for GithubClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GithubClient")
            .field("name", &self.shared.name)
            .finish_non_exhaustive()
    }
}

impl GithubClient {
    /// Checks the configuration and starts the threads. Asks GitHub nothing.
    ///
    /// # Errors
    /// [`GithubError::Config`] naming the key at fault, or
    /// [`GithubError::Thread`].
    pub fn start(config: GithubConfig) -> Result<Self, GithubError> {
        Self::start_with(config, Arc::new(system_clock), Waits::default())
    }

    fn start_with(config: GithubConfig, clock: Clock, waits: Waits) -> Result<Self, GithubError> {
        let auth = Self::auth(&config, clock, waits)?;
        Ok(Self {
            shared: Arc::new(Shared {
                web_url: config.web_url.or_else(|| web_url(&config.api_url)),
                name: config.name,
                auth: Arc::new(auth),
                urgent: Pool::start(THREADS, QUEUE)?,
                background: Pool::start(BACKGROUND_THREADS, QUEUE)?,
            }),
            urgency: Urgency::Urgent,
        })
    }

    /// Checks the configuration alone: URL, key and authorities.
    ///
    /// # Errors
    /// [`GithubError::Config`] naming the key at fault.
    pub fn check(config: &GithubConfig) -> Result<(), GithubError> {
        Self::auth(config, Arc::new(system_clock), Waits::default()).map(|_| ())
    }

    fn auth(config: &GithubConfig, clock: Clock, waits: Waits) -> Result<Auth, GithubError> {
        let refuse = |key, reason| GithubError::Config {
            app: config.name.clone(),
            key,
            reason,
        };
        let http = Http::new(&config.api_url, config.ca_file.as_deref(), waits)
            .map_err(|(key, reason)| refuse(key, reason))?;
        let key = AppKey::from_pem(config.app_id, &config.private_key_pem)
            .map_err(|reason| refuse("private_key_path", reason))?;
        let token = config.enterprise_token.clone();
        Ok(Auth::new(config.name.clone(), key, token, http, clock))
    }

    /// The same App for what can wait: sweeps, logs, upkeep. Such calls have
    /// threads of their own, and are refused as rate limited while the hour's
    /// requests run low, so that minting never starves.
    #[must_use]
    pub fn background(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            urgency: Urgency::Background,
        }
    }

    /// Where the App is installed, and its tokens, are asked for anew when they
    /// are needed next. A token may do what its installation might when it was
    /// made.
    pub fn forget_installations(&self) {
        self.shared.auth.forget_installations();
    }

    /// The configured name of the App.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Where GitHub's pages are, if that is known.
    pub fn web_url(&self) -> Option<&str> {
        self.shared.web_url.as_deref()
    }

    /// Takes no more requests and returns when the accepted ones have ended;
    /// each has deadlines of its own (30 s per HTTP call, a few calls each).
    pub async fn shutdown(&self) {
        self.shared.background.shutdown().await;
        self.shared.urgent.shutdown().await;
    }

    async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(Api<'_>) -> Result<T, GithubError> + Send + 'static,
    ) -> Result<T, GithubError> {
        let (auth, urgency) = (Arc::clone(&self.shared.auth), self.urgency);
        let pool = match urgency {
            Urgency::Urgent => &self.shared.urgent,
            Urgency::Background => &self.shared.background,
        };
        let work = move || {
            work(Api {
                auth: &auth,
                urgency,
            })
        };
        pool.run(operation, work).await
    }
}

fn system_clock() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
