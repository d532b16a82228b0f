//! How a runner becomes known to GitHub: just in time, or by a token.
//!
//! Registering is sent once and never repeated here: it is not idempotent.
//! Configurations and tokens are never logged and never stored.
//!
//! Source: GitHub REST API, "Self-hosted runners", version 2022-11-28.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::GithubClient;
use super::api::{Api, parse, time_ms};
use super::error::GithubError;
use super::http::{Call, Method};
use super::labels::LABELS;
use super::scope::Scope;
use super::secret::Secret;
use super::status::Asked;

/// The first release of GitHub Enterprise Server that documents
/// `generate-jitconfig`.
const JIT_SINCE: (u64, u64) = (3, 10);

/// A runner registered just in time, and the configuration that is its whole
/// identity. Good for one job and for a few idle minutes.
#[derive(Debug, Clone)]
pub struct JitRunner {
    /// GitHub's id of the runner, which `in_progress` deliveries name.
    pub runner_id: u64,
    /// The runner's name.
    pub name: String,
    /// What the runner gets as `--jitconfig`. Never stored, never logged.
    pub encoded_jit_config: Secret,
}

/// What a runner is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JitRequest {
    /// A name that was never used before.
    pub name: String,
    /// The runner group; `DEFAULT_RUNNER_GROUP` in repositories.
    pub runner_group_id: u64,
    /// 1 to 100 labels.
    pub labels: Vec<String>,
    /// Directory of jobs below the runner's own; GitHub's default is `_work`.
    pub work_folder: String,
}

/// A token by which any number of runners register, or remove themselves, for
/// an hour.
#[derive(Debug, Clone)]
pub struct RunnerToken {
    /// What `config.sh` gets as `--token`. Never stored, never logged.
    pub token: Secret,
    /// When it ends, in Unix milliseconds.
    pub expires_at_ms: u64,
}

/// How a runner gets its identity.
#[derive(Debug, Clone)]
pub enum Registration {
    /// It is registered; the runner starts with `--jitconfig`.
    Jit(JitRunner),
    /// The server is too old for that. The runner registers itself: its
    /// `config.sh` gets this token, the name and labels of the request, and
    /// `--ephemeral --unattended`. GitHub's id of it is known once it has.
    Token(RunnerToken),
}

impl GithubClient {
    /// Registers a runner just in time. Sent once: after
    /// `ErrorKind::Unavailable` the runner may exist, so delete what
    /// [`find_runner`](Self::find_runner) finds under its name and mint under
    /// a fresh one.
    ///
    /// # Errors
    /// [`GithubError`]; a name that exists is `ErrorKind::Conflict`.
    pub async fn generate_jitconfig(
        &self,
        scope: Scope,
        request: JitRequest,
    ) -> Result<JitRunner, GithubError> {
        self.run("mint jit runner", move |api| {
            generate_jitconfig(api, &scope, &request)
        })
        .await
    }

    /// Registers a runner just in time, or where a GitHub Enterprise Server
    /// is too old for that, gets a token by which it registers itself.
    ///
    /// # Errors
    /// As [`generate_jitconfig`](Self::generate_jitconfig).
    pub async fn register(
        &self,
        scope: Scope,
        request: JitRequest,
    ) -> Result<Registration, GithubError> {
        self.run("register runner", move |api| {
            let refused = match generate_jitconfig(api, &scope, &request) {
                Ok(runner) => return Ok(Registration::Jit(runner)),
                Err(error) => error,
            };
            if !refused.is_status(404) || !lacks_jit(api) {
                return Err(refused);
            }
            runner_token(api, &scope, "registration").map(Registration::Token)
        })
        .await
    }

    /// A token by which runners register themselves. Good for an hour.
    ///
    /// # Errors
    /// [`GithubError`].
    pub async fn registration_token(&self, scope: Scope) -> Result<RunnerToken, GithubError> {
        self.run("get registration token", move |api| {
            runner_token(api, &scope, "registration")
        })
        .await
    }

    /// A token by which runners remove themselves. Good for an hour.
    ///
    /// # Errors
    /// [`GithubError`].
    pub async fn remove_token(&self, scope: Scope) -> Result<RunnerToken, GithubError> {
        self.run("get remove token", move |api| {
            runner_token(api, &scope, "remove")
        })
        .await
    }
}

fn generate_jitconfig(
    api: Api<'_>,
    scope: &Scope,
    request: &JitRequest,
) -> Result<JitRunner, GithubError> {
    const OPERATION: &str = "mint jit runner";
    #[derive(Serialize)]
    struct Body<'a> {
        name: &'a str,
        runner_group_id: u64,
        labels: &'a [String],
        work_folder: &'a str,
    }
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        runner: WireRunner<'a>,
        #[serde(borrow)]
        encoded_jit_config: Cow<'a, str>,
    }
    #[derive(Deserialize)]
    struct WireRunner<'a> {
        id: u64,
        #[serde(borrow)]
        name: Cow<'a, str>,
    }
    let refuse = |reason: String| GithubError::Argument {
        operation: OPERATION,
        reason,
    };
    if request.name.is_empty() {
        return Err(refuse("the runner has no name".to_owned()));
    }
    if request.labels.is_empty() || request.labels.len() > LABELS {
        let count = request.labels.len();
        return Err(refuse(format!(
            "{count} labels: github takes 1 to {LABELS}"
        )));
    }
    let body = serde_json::to_vec(&Body {
        name: &request.name,
        runner_group_id: request.runner_group_id,
        labels: &request.labels,
        work_folder: &request.work_folder,
    })
    .map_err(|error| refuse(error.to_string()))?;
    let path = format!("{}/actions/runners/generate-jitconfig", scope.path());
    let call = Call::once(&path, Some(body));
    let answer = api.at(scope, Asked::Mint(scope), &call, 201)?;
    let wire: Wire<'_> = parse(&call, &answer)?;
    Ok(JitRunner {
        runner_id: wire.runner.id,
        name: wire.runner.name.into_owned(),
        encoded_jit_config: Secret::new(wire.encoded_jit_config.into_owned()),
    })
}

/// Whether GitHub is a server whose release has no JIT runners, by its own
/// word (`GET /meta`). github.com tells no release.
fn lacks_jit(api: Api<'_>) -> bool {
    #[derive(Deserialize)]
    struct Wire {
        installed_version: Option<String>,
    }
    let call = Call::get_if_changed("/meta");
    let release = api
        .auth
        .as_nobody(&call, 200)
        .and_then(|answer| parse::<Wire>(&call, &answer))
        .ok()
        .and_then(|wire| wire.installed_version);
    let Some(release) = release else { return false };
    let mut parts = release.split('.').map(str::parse::<u64>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) < JIT_SINCE => {
            tracing::warn!(
                release,
                "this github enterprise server has no just-in-time runners: runners register \
                 by a token; they come with release 3.10",
            );
            true
        }
        _ => false,
    }
}

/// `kind` is `registration` or `remove`. Another token does no harm.
fn runner_token(api: Api<'_>, scope: &Scope, kind: &str) -> Result<RunnerToken, GithubError> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        token: Cow<'a, str>,
        expires_at: String,
    }
    let path = format!("{}/actions/runners/{kind}-token", scope.path());
    let call = Call::change(Method::Post, &path, None);
    let answer = api.at(scope, Asked::Mint(scope), &call, 201)?;
    let wire: Wire<'_> = parse(&call, &answer)?;
    let expires_at_ms = time_ms(&wire.expires_at).ok_or_else(|| GithubError::Answer {
        method: call.method.as_str(),
        path: path.clone(),
        reason: "expires_at is not a time".to_owned(),
    })?;
    Ok(RunnerToken {
        token: Secret::new(wire.token.into_owned()),
        expires_at_ms,
    })
}
