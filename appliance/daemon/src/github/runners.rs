//! GitHub's endpoints for self-hosted runners, one blocking function each.
//!
//! Minting is sent once and never repeated here: it is not idempotent.
//!
//! Source: GitHub REST API, "Self-hosted runners" and "Self-hosted runner
//! groups", version 2022-11-28.

use std::borrow::Cow;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::auth::{Auth, parse};
use super::error::GithubError;
use super::http::{Call, Method};
use super::scope::Scope;
use super::secret::Secret;
use super::status::Asked;

/// The runner group that every organization and repository has.
pub const DEFAULT_RUNNER_GROUP: u64 = 1;

/// GitHub takes 1 to 100 labels.
const LABELS: usize = 100;
/// GitHub's most per page.
const PER_PAGE: usize = 100;
/// A list longer than this many pages is given up: 10,000 runners.
const PAGES: usize = 100;

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
    /// The runner group; [`DEFAULT_RUNNER_GROUP`] in repositories.
    pub runner_group_id: u64,
    /// 1 to 100 labels.
    pub labels: Vec<String>,
    /// Directory of jobs below the runner's own; GitHub's default is `_work`.
    pub work_folder: String,
}

/// What GitHub knows of a runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunnerSummary {
    /// GitHub's id of the runner.
    pub id: u64,
    /// Whether it is connected.
    pub status: RunnerStatus,
    /// Whether it runs a job. May be false in the middle of one
    /// (actions/runner#4422): ask the agent first.
    pub busy: bool,
}

/// Whether a runner is connected to GitHub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunnerStatus {
    /// Connected.
    Online,
    /// Not connected.
    Offline,
    /// A word that GitHub did not document.
    Other,
}

/// One release of the runner program that GitHub offers.
#[derive(Debug, Clone, PartialEq, Eq)]
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

pub(super) fn generate_jitconfig(
    auth: &Auth,
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
        runner: WireRunner<'a>,
        #[serde(borrow)]
        encoded_jit_config: Cow<'a, str>,
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
    let call = Call {
        method: Method::Post,
        path: &path,
        body: Some(body),
        idempotent: false,
    };
    let answer = auth.as_installation(scope, Asked::Mint(scope), &call, 201)?;
    let wire: Wire<'_> = parse(&call, &answer)?;
    Ok(JitRunner {
        runner_id: wire.runner.id,
        name: wire.runner.name.into_owned(),
        encoded_jit_config: Secret::new(wire.encoded_jit_config.into_owned()),
    })
}

pub(super) fn delete_runner(auth: &Auth, scope: &Scope, id: u64) -> Result<(), GithubError> {
    let path = format!("{}/actions/runners/{id}", scope.path());
    let call = Call {
        method: Method::Delete,
        path: &path,
        body: None,
        idempotent: true,
    };
    match auth.as_installation(scope, Asked::Runners(scope), &call, 204) {
        // It is gone, whoever did it: an ephemeral runner that ran its job,
        // or an earlier try whose answer was lost.
        Err(error) if error.is_status(404) => Ok(()),
        result => result.map(|_| ()),
    }
}

pub(super) fn find_runner(
    auth: &Auth,
    scope: &Scope,
    name: &str,
) -> Result<Option<RunnerSummary>, GithubError> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        runners: Vec<WireRunner<'a>>,
    }
    let name_query = percent_encode(name);
    for page in 1..=PAGES {
        let path = format!(
            "{}/actions/runners?name={name_query}&per_page={PER_PAGE}&page={page}",
            scope.path()
        );
        let call = Call::get(&path);
        let answer = auth.as_installation(scope, Asked::Runners(scope), &call, 200)?;
        let wire: Wire<'_> = parse(&call, &answer)?;
        // Old servers do not know the filter: compare here as well.
        if let Some(runner) = wire.runners.iter().find(|runner| runner.name == name) {
            return Ok(Some(runner.summary()));
        }
        if wire.runners.len() < PER_PAGE {
            return Ok(None);
        }
    }
    Err(too_long("find runner", scope))
}

pub(super) fn runner_group(auth: &Auth, scope: &Scope, name: &str) -> Result<u64, GithubError> {
    const OPERATION: &str = "find runner group";
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        runner_groups: Vec<Group<'a>>,
    }
    #[derive(Deserialize)]
    struct Group<'a> {
        id: u64,
        #[serde(borrow)]
        name: Cow<'a, str>,
    }
    if !scope.is_org() {
        let reason = format!("{scope} has no runner groups: only organizations do");
        return Err(GithubError::Argument {
            operation: OPERATION,
            reason,
        });
    }
    for page in 1..=PAGES {
        let path = format!(
            "{}/actions/runner-groups?per_page={PER_PAGE}&page={page}",
            scope.path()
        );
        let call = Call::get(&path);
        let answer = auth.as_installation(scope, Asked::Runners(scope), &call, 200)?;
        let wire: Wire<'_> = parse(&call, &answer)?;
        if let Some(group) = wire.runner_groups.iter().find(|group| group.name == name) {
            return Ok(group.id);
        }
        if wire.runner_groups.len() < PER_PAGE {
            let reason = format!("{scope} has no runner group named {name:?}");
            return Err(GithubError::Argument {
                operation: OPERATION,
                reason,
            });
        }
    }
    Err(too_long(OPERATION, scope))
}

pub(super) fn runner_downloads(
    auth: &Auth,
    scope: &Scope,
) -> Result<Vec<RunnerDownload>, GithubError> {
    #[derive(Deserialize)]
    struct Wire {
        os: String,
        architecture: String,
        download_url: String,
        filename: String,
        sha256_checksum: Option<String>,
    }
    let path = format!("{}/actions/runners/downloads", scope.path());
    let call = Call::get(&path);
    let answer = auth.as_installation(scope, Asked::Runners(scope), &call, 200)?;
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

#[derive(Deserialize)]
struct WireRunner<'a> {
    id: u64,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    status: Cow<'a, str>,
    #[serde(default)]
    busy: bool,
}

impl WireRunner<'_> {
    fn summary(&self) -> RunnerSummary {
        let status = match self.status.as_ref() {
            "online" => RunnerStatus::Online,
            "offline" => RunnerStatus::Offline,
            _ => RunnerStatus::Other,
        };
        RunnerSummary {
            id: self.id,
            status,
            busy: self.busy,
        }
    }
}

fn too_long(operation: &'static str, scope: &Scope) -> GithubError {
    let reason = format!(
        "the list of {scope} has more than {} entries",
        PAGES * PER_PAGE
    );
    GithubError::Argument { operation, reason }
}

/// RFC 3986 section 2.3: all but the unreserved characters.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
