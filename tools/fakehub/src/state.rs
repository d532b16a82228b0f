//! What GitHub remembers: tokens, runners, jobs and deliveries, in memory and
//! bounded. Times come in as Unix milliseconds; nothing here reads a clock,
//! sends, or knows of HTTP.

mod deliveries;
mod faults;
mod jobs;
mod runners;
mod runs;
mod sweep;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};

pub use deliveries::{Delivery, DeliveryMode, Outcome};
pub use faults::{Fault, Trouble};
pub use jobs::{Completion, NewJob};
pub use runners::{NewRunner, RunnerPermit, SessionError};
pub use runs::{RerunError, Run};

use crate::config::Permissions;

/// Most jobs, runners and tokens kept at once.
const MAX_ROWS: usize = 10_000;
/// Most log lines kept per job; older ones go first.
const MAX_LOG_LINES: usize = 10_000;
/// GitHub shows a runner as offline some time after its last poll.
const ONLINE_MS: i64 = 60_000;

/// Something is full; the caller sees 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fakehub holds its limit of {MAX_ROWS} {0}")]
pub struct Full(&'static str);

/// An installation token.
#[derive(Clone)]
pub struct Token {
    /// Installation it belongs to.
    pub installation: u64,
    /// What it may do.
    pub permissions: Permissions,
    /// Repositories it is limited to, by number; all when absent.
    pub repositories: Option<Vec<u64>>,
    /// End of its life.
    pub expires_ms: i64,
}

/// Where a runner is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A whole organization.
    Org {
        /// Login.
        account: String,
    },
    /// One repository.
    Repo {
        /// Owner's login.
        account: String,
        /// Name.
        repo: String,
    },
    /// A whole enterprise.
    Enterprise {
        /// Slug.
        slug: String,
        /// Its organizations.
        organizations: Vec<String>,
    },
}

impl Scope {
    /// Whether a job of `account/repo` lies within.
    #[must_use]
    pub fn contains(&self, account: &str, repo: &str) -> bool {
        match self {
            Self::Org { account: own } => own.eq_ignore_ascii_case(account),
            Self::Repo {
                account: own,
                repo: name,
            } => own.eq_ignore_ascii_case(account) && name.eq_ignore_ascii_case(repo),
            Self::Enterprise { organizations, .. } => organizations
                .iter()
                .any(|own| own.eq_ignore_ascii_case(account)),
        }
    }

    /// Whether both are the same place.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.place().eq_ignore_ascii_case(&other.place())
    }

    /// The path of its page: unique among scopes.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Org { account } => account.clone(),
            Self::Repo { account, repo } => format!("{account}/{repo}"),
            Self::Enterprise { slug, .. } => format!("enterprises/{slug}"),
        }
    }
}

/// The one session of a runner.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its id.
    pub id: String,
    /// Last sign of life.
    pub seen_ms: i64,
}

/// A registered just-in-time runner, always ephemeral.
#[derive(Clone)]
pub struct Runner {
    /// Number.
    pub id: u64,
    /// Unique in its scope, compared without case.
    pub name: String,
    /// Those given at registration, or since.
    pub labels: Vec<String>,
    /// Group number and name.
    pub group: (u64, String),
    /// Whether the group's runners take jobs of public repositories.
    pub takes_public: bool,
    /// Where it is registered.
    pub scope: Scope,
    /// Folder for jobs, as registered.
    pub work_folder: String,
    /// Proves the holder of the JIT configuration.
    pub secret: String,
    /// Registration.
    pub created_ms: i64,
    /// Version that the runner reported.
    pub version: Option<String>,
    /// Open session.
    pub session: Option<Session>,
    /// Its one job, once taken.
    pub job: Option<u64>,
}

impl Runner {
    /// `online` or `offline`.
    #[must_use]
    pub fn status(&self, now_ms: i64) -> &'static str {
        let online = self
            .session
            .as_ref()
            .is_some_and(|it| now_ms - it.seen_ms < ONLINE_MS);
        if online { "online" } else { "offline" }
    }
}

/// What a job's runner was, kept after the runner is gone.
#[derive(Clone, Debug)]
pub struct TakenBy {
    /// Number.
    pub id: u64,
    /// Name.
    pub name: String,
    /// Group number.
    pub group_id: u64,
    /// Group name.
    pub group_name: String,
}

/// GitHub's states of a job that fakehub uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Waits for a runner.
    Queued,
    /// A runner has it.
    InProgress,
    /// Over.
    Completed,
}

impl Status {
    /// As in the API and in webhooks.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
        }
    }
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// Its script succeeded.
    Success,
    /// Its script failed, its runner was lost, or it waited too long.
    Failure,
    /// Somebody stopped it.
    Cancelled,
    /// A run that could not begin, such as for a mistake in its workflow.
    StartupFailure,
}

impl Conclusion {
    /// As in the API and in webhooks.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Cancelled => "cancelled",
            Self::StartupFailure => "startup_failure",
        }
    }
}

/// One workflow job.
#[derive(Clone)]
pub struct Job {
    /// Number.
    pub id: u64,
    /// Number of its workflow run.
    pub run_id: u64,
    /// Which try of the run it belongs to, from 1.
    pub run_attempt: u64,
    /// Display name.
    pub name: String,
    /// Owner's login.
    pub account: String,
    /// Repository name.
    pub repo: String,
    /// Whether its repository is public.
    pub public: bool,
    /// What `runs-on` asks for.
    pub labels: Vec<String>,
    /// Run by `/bin/sh -e`.
    pub script: String,
    /// Commit.
    pub head_sha: String,
    /// State.
    pub status: Status,
    /// How it ended.
    pub conclusion: Option<Conclusion>,
    /// Creation.
    pub created_ms: i64,
    /// A runner took it.
    pub started_ms: Option<i64>,
    /// Its end.
    pub completed_ms: Option<i64>,
    /// Somebody asked to stop it.
    pub cancel_ms: Option<i64>,
    /// Who took it.
    pub runner: Option<TakenBy>,
    /// Newest lines.
    pub log: VecDeque<String>,
    /// How many older lines were dropped.
    pub log_dropped: u64,
}

/// A job changed in a way that GitHub announces; `action` of `workflow_job`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The job.
    pub job: u64,
    /// Its new state, which is the action's name too.
    pub status: Status,
}

/// Everything remembered.
pub struct State {
    /// Installation tokens.
    pub tokens: HashMap<String, Token>,
    /// Runners by number.
    pub runners: BTreeMap<u64, Runner>,
    /// Jobs by number.
    pub jobs: BTreeMap<u64, Job>,
    /// Workflow runs by number.
    pub runs: BTreeMap<u64, Run>,
    /// Registration and remove tokens.
    pub permits: HashMap<String, RunnerPermit>,
    /// What will go wrong.
    pub faults: Vec<Fault>,
    /// The runner's version that is offered, if not the configured one.
    pub runner_version: Option<String>,
    /// Requests so far, by method and route.
    pub asked: BTreeMap<(&'static str, &'static str), u64>,
    /// Whether runners in mid-job look idle (actions/runner#4422).
    pub busy_lies: bool,
    /// Manifests that a browser posted, by code, and when.
    pub manifests: HashMap<String, (serde_json::Value, i64)>,
    /// Newest last.
    pub deliveries: VecDeque<Delivery>,
    /// What happens to the next deliveries.
    pub delivery_mode: DeliveryMode,
    /// The next delivery overtakes the one before it.
    overtakes: bool,
    /// Requests per installation in the running hour: hour and count.
    pub requests: HashMap<u64, (i64, u64)>,
    next_id: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            tokens: HashMap::new(),
            runners: BTreeMap::new(),
            jobs: BTreeMap::new(),
            runs: BTreeMap::new(),
            permits: HashMap::new(),
            faults: Vec::new(),
            runner_version: None,
            asked: BTreeMap::new(),
            busy_lies: false,
            manifests: HashMap::new(),
            deliveries: VecDeque::new(),
            delivery_mode: DeliveryMode::Deliver,
            overtakes: false,
            requests: HashMap::new(),
            // GitHub's ids have passed 32 bits long ago; ours do as well, so
            // that a client with narrower ones shows.
            next_id: 30_000_000_000,
        }
    }
}

impl State {
    /// A number that nothing else has.
    pub(crate) fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Keeps a token until it expires.
    ///
    /// # Errors
    /// Too many live tokens.
    pub fn add_token(&mut self, token: Token, now_ms: i64) -> Result<String, Full> {
        self.tokens.retain(|_, token| token.expires_ms > now_ms);
        if self.tokens.len() >= MAX_ROWS {
            return Err(Full("installation tokens"));
        }
        let text = format!("ghs_{}", crate::ids::hex(&crate::ids::random::<18>()));
        self.tokens.insert(text.clone(), token);
        Ok(text)
    }

    /// Takes back a request that is not counted: one answered with 304.
    pub fn uncount_request(&mut self, installation: u64) {
        if let Some((_, count)) = self.requests.get_mut(&installation) {
            *count = count.saturating_sub(1);
        }
    }

    /// Counts a request of an installation; `None` when its hour is used up,
    /// else how many remain.
    pub fn count_request(&mut self, installation: u64, limit: u64, now_ms: i64) -> Option<u64> {
        let hour = now_ms.div_euclid(3_600_000);
        let entry = self.requests.entry(installation).or_insert((hour, 0));
        if entry.0 != hour {
            *entry = (hour, 0);
        }
        let remaining = limit.checked_sub(entry.1 + 1)?;
        entry.1 += 1;
        Some(remaining)
    }
}
