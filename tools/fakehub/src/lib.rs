//! A GitHub stand-in, as strict as GitHub: App tokens, installation tokens,
//! just-in-time runners, webhooks and their delivery log. It runs no workflow
//! files and never talks to GitHub.
//!
//! # Configuration
//!
//! Paths are relative to the file. Unknown keys are errors.
//!
//! ```toml
//! [api]                                   # GitHub's paths and /_fakehub
//! listen = "127.0.0.1:9400"
//! # url = "https://…"  tls_cert = "…"  tls_key = "…"
//!
//! [sled]                                  # /_runner and /_download, nothing else
//! listen = "10.77.0.1:9401"
//!
//! [channel]                               # smee.io-style: POST and GET /NAME
//! listen = "127.0.0.1:9402"
//!
//! [runner]                                # offered by …/actions/runners/downloads
//! path = "runner.tar.gz"                  # made by `fakehub runner-tarball`
//! version = "2.335.0"
//!
//! [limits]                                # all optional; defaults as shown
//! token_lifetime_s = 3600
//! jit_idle_s = 300                        # registered but never connected
//! lost_runner_s = 600                     # busy and silent: its job fails
//! cancel_grace_s = 300
//! queued_s = 86400
//! rate_limit_per_hour = 5000
//! # minimum_runner_version = "2.329.0"
//! # server_release = "3.9.0"             # a GitHub Enterprise Server, before 3.10 without JIT
//!
//! [[app]]
//! app_id = 123456
//! public_key_path = "app.pub.pem"         # made by `fakehub app-key`
//! webhook_url = "http://127.0.0.1:8400/api/webhook"
//! webhook_secret_path = "webhook-secret"
//! # slug, permissions = { … }, events = ["workflow_job"]
//!
//! [[app.installation]]
//! id = 1001
//! account = "octo-org"                    # account_type = "Organization" | "User"
//! repositories = ["demo"]                 # private; also: public_repositories
//! # permissions = { … }, runner_groups = [{ id = 1, name = "Default" }]
//!
//! # [[enterprise]]                        # takes no App's token
//! # slug = "octo"
//! # organizations = ["octo-org"]
//! # token_path = "classic-token"
//! # scopes = ["manage_runners:enterprise"]
//!
//! # [[workflow]]                          # what workflow_dispatch starts
//! # repo = "octo-org/demo"
//! # file = "accept.yml"
//! # labels = ["self-hosted", "{{nonce}}"] # inputs are filled in
//! # script = "true"
//! # inputs = ["sled", "nonce"]            # each is required
//! # startup_failure = true                # GitHub cannot begin it: no job, ever
//! ```
//!
//! # Control routes
//!
//! On the API address, without credentials: bind it to loopback.
//!
//! | route | what |
//! | --- | --- |
//! | `POST /_fakehub/jobs` `{repo, labels, script, name?, run?}` | queues a job, in a run of its own or in one that exists, sends `workflow_job` queued; 201 with the job |
//! | `POST /_fakehub/jobs/{id}/cancel` | at once when queued, else its runner is told; 202 |
//! | `POST /_fakehub/jobs/{id}/steal` `{runner_name}` | a runner that nobody here knows takes the queued job; 202 |
//! | `POST /_fakehub/faults` `{kind, method?, path?, times?, …}` | one of GitHub's bad days, see below; 201 |
//! | `DELETE /_fakehub/faults` | ends them all; 204 |
//! | `POST /_fakehub/runner` `{version}` | offers the runner under another version; 204 |
//! | `POST /_fakehub/busy-lies` `{on}` | runners in mid-job look idle and can be deleted; 204 |
//! | `POST /_fakehub/tokens/revoke` | every installation token is void from now on; 200 `{revoked}` |
//! | `GET /_fakehub/jobs`, `GET /_fakehub/jobs/{id}` | status, conclusion, runner, times, log |
//! | `GET /_fakehub/runners` | every registered runner |
//! | `POST /_fakehub/ping` | sends `ping` to every App; 202 `{sent}` |
//! | `GET /_fakehub/requests` | how often each of GitHub's routes was asked |
//! | `GET /_fakehub/deliveries` | whole log, newest first |
//! | `POST /_fakehub/deliveries/mode` `{mode, delay_ms?}` | `deliver`, `duplicate`, `unreachable` (logged, not sent), `lost` (not even logged), `late` and `reordered` (every second one late) by `delay_ms` |
//! | `POST /_fakehub/clock` `{advance_s}` | moves the clock forward, so that things expire |
//!
//! # App manifests
//!
//! `POST /settings/apps/new` and `/organizations/{org}/settings/apps/new` take
//! the form that a browser posts and redirect to its `redirect_url` with a code.
//! An App made so is only what its conversion answers: it cannot be installed.
//!
//! # Bad days
//!
//! A fault strikes the next `times` (default 1) requests to GitHub's paths
//! whose method is `method` and whose path contains `path` (default: any).
//!
//! | `kind` | what |
//! | --- | --- |
//! | `status`, with `status` | answered so, and not done |
//! | `slow`, with `delay_ms` | done, and answered late |
//! | `lost_answer` | done, and the connection closed instead of an answer |
//! | `secondary_limit`, with `retry_after_s` | 403 as for a secondary rate limit, and not done |
//! | `spoilt_archive`, `cut_archive`, `huge_archive` | the runner's archive is not what it should be; `method` and `path` do not matter |
//!
//! Downloads are struck by the others where `path` names `/_download`.
//!
//! A 409 after a lost answer, and a rerun refused while its run is open, need
//! no fault: that is how GitHub works.
//!
//! # Runner protocol
//!
//! GitHub's broker protocol is private, so the real runner cannot connect
//! here: `stub-runner` does. `Authorization: Bearer SECRET`, both from the JIT
//! configuration, whose outer shape is GitHub's.
//!
//! | route | what |
//! | --- | --- |
//! | `POST /_runner/register` `{name, labels, place, group}` | with a registration token instead of a secret, by whom `place` (`ORG` or `OWNER/NAME`) is its scope: 201 `{id, secret, server}`, what `config.sh --ephemeral` does |
//! | `POST /_runner/{id}/sessions` `{version}` | 201 `{session}`; 401 unknown, 409 conflict, 403 version deprecated |
//! | `GET /_runner/{id}/sessions/{session}/job?wait_s=N` | 200 with the job, or 204; the same job again when asked again |
//! | `POST …/log` `{job, lines}` | sign of life; 200 `{cancelled}` |
//! | `POST …/complete` `{job, result}` | `succeeded`, `failed` or `canceled`; the runner is removed |
//! | `DELETE /_runner/{id}/sessions/{session}` | ends an idle session |
//!
//! # What is not like GitHub
//!
//! Secondary rate limits only as faults, no runner groups beyond the configured
//! ones. A cancelled job that nobody took has null runner fields.

pub mod answer;
pub mod api;
pub mod broker;
pub mod channel;
pub mod config;
pub mod control;
mod downloads;
pub mod hub;
pub mod ids;
pub mod keys;
pub mod routes;
pub mod server;
pub mod shapes;
pub mod state;
pub mod tarball;
pub mod webhook;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub use config::{Config, ConfigError};
pub use hub::{Hub, Urls};
pub use routes::github_routes;

use config::ChannelListener;
use server::{Bound, Side};

/// What keeps fakehub from starting.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is not free.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: std::io::Error,
    },
    /// A TLS file does not serve.
    #[error("cannot use {path} for TLS: {message}")]
    Tls {
        /// The file.
        path: String,
        /// The cause.
        message: String,
    },
}

/// A running stand-in; dropping it stops everything.
pub struct Running {
    /// Shared state, also for calls without a socket.
    pub hub: Arc<Hub>,
    /// Where channels are.
    pub channel: Option<SocketAddr>,
    _tasks: JoinSet<()>,
}

/// Binds, and serves in the background of the current tokio runtime.
///
/// # Errors
/// An address that is not free, or TLS files that do not serve.
pub async fn start(config: Config) -> Result<Running, StartError> {
    let api = Bound::bind(&config.api).await?;
    let sled = match &config.sled {
        Some(listener) => Some(Bound::bind(listener).await?),
        None => None,
    };
    let channel = match config.channel {
        Some(ChannelListener { listen: address }) => {
            let bound = TcpListener::bind(address).await;
            Some(bound.map_err(|source| StartError::Bind { address, source })?)
        }
        None => None,
    };
    let urls = Urls {
        api: api.url.clone(),
        sled: sled
            .as_ref()
            .map_or_else(|| api.url.clone(), |it| it.url.clone()),
    };
    let (outgoing, queue) = mpsc::channel(webhook::QUEUE);
    let hub = Hub::new(config, urls, outgoing);
    let mut tasks = JoinSet::new();
    tasks.spawn(api.serve(Arc::clone(&hub), Side::Api));
    if let Some(sled) = sled {
        tasks.spawn(sled.serve(Arc::clone(&hub), Side::Sled));
    }
    let channel_address = channel.as_ref().and_then(|it| it.local_addr().ok());
    if let Some(channel) = channel {
        tasks.spawn(channel::serve(channel));
    }
    tasks.spawn(webhook::run(Arc::clone(&hub), queue));
    let swept = Arc::clone(&hub);
    tasks.spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            swept.sweep();
        }
    });
    Ok(Running {
        hub,
        channel: channel_address,
        _tasks: tasks,
    })
}
