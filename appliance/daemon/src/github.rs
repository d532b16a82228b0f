//! The client of GitHub's REST API: mints, finds and deletes runners.
//!
//! HTTP here blocks, so it lives on a few threads of its own behind a bounded
//! queue; callers await. Nothing is repeated that is not idempotent: minting
//! is sent once, and its result after a failure is unknown to the client.
//! Tokens, JWTs and JIT configurations are never logged and never stored.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

mod auth;
mod deliveries;
mod endpoint;
mod error;
mod flight;
mod http;
mod jobs;
mod jwt;
mod pool;
mod runners;
mod scope;
mod secret;
mod status;
#[cfg(test)]
mod tests;

pub use deliveries::{Cursor, HookConfig, LogEntry, LogPage, LoggedDelivery};
pub use error::{ErrorKind, GithubError, NetworkFault, StatusError};
pub use runners::{
    DEFAULT_RUNNER_GROUP, JitRequest, JitRunner, RunnerDownload, RunnerStatus, RunnerSummary,
};
pub use scope::Scope;
pub use secret::Secret;

use crate::payload::JobPayload;
use auth::Auth;
use http::Http;
use jwt::AppKey;
use pool::Pool;

/// Threads per App. GitHub allows 100 requests at once; a rack needs few.
const THREADS: usize = 4;
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
    /// The App's id.
    pub app_id: u64,
    /// The App's private key: PEM, PKCS #1 or PKCS #8.
    pub private_key_pem: Secret,
    /// Further certificate authorities to trust, in PEM form.
    pub ca_file: Option<PathBuf>,
}

/// A handle to one App at GitHub. Clones share its threads, tokens and queue.
#[derive(Clone)]
pub struct GithubClient {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    auth: Arc<Auth>,
    pool: Pool,
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
        Self::start_with_clock(config, Arc::new(system_clock))
    }

    /// As [`start`](Self::start), with another clock.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with_clock(config: GithubConfig, clock: Clock) -> Result<Self, GithubError> {
        let auth = Self::auth(&config, clock)?;
        let pool = Pool::start(THREADS, QUEUE)?;
        Ok(Self {
            shared: Arc::new(Shared {
                name: config.name,
                auth: Arc::new(auth),
                pool,
            }),
        })
    }

    /// Checks the configuration alone: URL, key and authorities.
    ///
    /// # Errors
    /// [`GithubError::Config`] naming the key at fault.
    pub fn check(config: &GithubConfig) -> Result<(), GithubError> {
        Self::auth(config, Arc::new(system_clock)).map(|_| ())
    }

    fn auth(config: &GithubConfig, clock: Clock) -> Result<Auth, GithubError> {
        let refuse = |key, reason| GithubError::Config {
            app: config.name.clone(),
            key,
            reason,
        };
        let http = Http::new(&config.api_url, config.ca_file.as_deref())
            .map_err(|(key, reason)| refuse(key, reason))?;
        let key = AppKey::from_pem(config.app_id, &config.private_key_pem)
            .map_err(|reason| refuse("private_key_path", reason))?;
        Ok(Auth::new(config.name.clone(), key, http, clock))
    }

    /// The configured name of the App.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Registers a runner just in time. Sent once: after
    /// [`ErrorKind::Unavailable`] the runner may exist, so delete what
    /// [`find_runner`](Self::find_runner) finds under its name and mint under
    /// a fresh one.
    ///
    /// # Errors
    /// [`GithubError`]; a name that exists is [`ErrorKind::Conflict`].
    pub async fn generate_jitconfig(
        &self,
        scope: Scope,
        request: JitRequest,
    ) -> Result<JitRunner, GithubError> {
        self.run("mint jit runner", move |auth| {
            runners::generate_jitconfig(auth, &scope, &request)
        })
        .await
    }

    /// Deletes a runner. One that does not exist counts as deleted.
    ///
    /// # Errors
    /// [`GithubError`]; a runner that runs a job is [`ErrorKind::Invalid`].
    pub async fn delete_runner(&self, scope: Scope, id: u64) -> Result<(), GithubError> {
        self.run("delete runner", move |auth| {
            runners::delete_runner(auth, &scope, id)
        })
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
    ) -> Result<Option<RunnerSummary>, GithubError> {
        self.run("find runner", move |auth| {
            runners::find_runner(auth, &scope, &name)
        })
        .await
    }

    /// How a workflow job stands; `None` when GitHub does not know it.
    ///
    /// # Errors
    /// [`GithubError`].
    pub async fn find_job(
        &self,
        repository: String,
        number: u64,
    ) -> Result<Option<JobPayload>, GithubError> {
        self.run("look up job", move |auth| {
            jobs::find_job(auth, &repository, number)
        })
        .await
    }

    /// The id of an organization's runner group, by its exact name.
    ///
    /// # Errors
    /// [`GithubError`]; no such group is [`GithubError::Argument`].
    pub async fn runner_group(&self, scope: Scope, name: String) -> Result<u64, GithubError> {
        self.run("find runner group", move |auth| {
            runners::runner_group(auth, &scope, &name)
        })
        .await
    }

    /// The runner releases that GitHub offers now, with their digests.
    ///
    /// # Errors
    /// [`GithubError`].
    pub async fn runner_downloads(&self, scope: Scope) -> Result<Vec<RunnerDownload>, GithubError> {
        self.run("list runner downloads", move |auth| {
            runners::runner_downloads(auth, &scope)
        })
        .await
    }

    /// The id of the App's installation on `scope`, to compare with the one
    /// that a delivery names.
    ///
    /// # Errors
    /// [`GithubError`]; [`GithubError::NotInstalled`] says where to install.
    pub async fn installation(&self, scope: Scope) -> Result<u64, GithubError> {
        self.run("look up app installation", move |auth| {
            auth.installation(&scope)
        })
        .await
    }

    /// A page of the App's delivery log: the newest hundred entries, or those
    /// at a cursor.
    ///
    /// # Errors
    /// [`GithubError`].
    pub async fn deliveries(&self, at: Option<Cursor>) -> Result<LogPage, GithubError> {
        self.run("list deliveries", move |auth| {
            deliveries::list(auth, at.as_ref())
        })
        .await
    }

    /// One attempt in the delivery log, with its payload; `None` when the log
    /// does not hold it (any more).
    ///
    /// # Errors
    /// [`GithubError`].
    pub async fn find_delivery(&self, id: u64) -> Result<Option<LoggedDelivery>, GithubError> {
        self.run("look up delivery", move |auth| deliveries::find(auth, id))
            .await
    }

    /// Asks GitHub to send a delivery once more, under its old GUID.
    ///
    /// # Errors
    /// [`GithubError`].
    pub async fn redeliver(&self, id: u64) -> Result<(), GithubError> {
        self.run("redeliver", move |auth| deliveries::redeliver(auth, id))
            .await
    }

    /// Where the App's webhook points.
    ///
    /// # Errors
    /// [`GithubError`].
    pub async fn hook_config(&self) -> Result<HookConfig, GithubError> {
        self.run("read webhook settings", deliveries::hook_config)
            .await
    }

    /// Takes no more requests and returns when the accepted ones have ended;
    /// each has deadlines of its own (30 s per HTTP call, a few calls each).
    pub async fn shutdown(&self) {
        self.shared.pool.shutdown().await;
    }

    async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Auth) -> Result<T, GithubError> + Send + 'static,
    ) -> Result<T, GithubError> {
        let auth = Arc::clone(&self.shared.auth);
        self.shared.pool.run(operation, move || work(&auth)).await
    }
}

fn system_clock() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
