//! Registration, sessions and removal of runners.

use subtle::ConstantTimeEq as _;

use super::{Full, MAX_ROWS, Runner, Scope, Session, State};
use crate::ids;

/// What registration needs.
#[derive(Clone, Debug)]
pub struct NewRunner {
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: Vec<String>,
    /// Group number and name.
    pub group: (u64, String),
    /// Whether the group takes jobs of public repositories.
    pub takes_public: bool,
    /// Where.
    pub scope: Scope,
    /// Folder for jobs.
    pub work_folder: String,
}

/// A token by which runners register or remove themselves.
#[derive(Clone, Debug)]
pub struct RunnerPermit {
    /// Where.
    pub scope: Scope,
    /// To register, or to remove.
    pub registers: bool,
    /// End of its life.
    pub expires_ms: i64,
}

/// GitHub documents one hour.
const PERMIT_MS: i64 = 3_600_000;

/// Why a runner gets no session, or loses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// No such runner, or the secret does not fit.
    #[error("the runner registration has been deleted or its secret is wrong")]
    Unknown,
    /// A session exists already.
    #[error("a session for this runner already exists")]
    Conflict,
    /// Another session id.
    #[error("the session has ended")]
    Ended,
    /// A job that this runner does not have.
    #[error("the runner does not have this job")]
    NotYours,
}

impl State {
    /// Whether the scope has a runner of that name.
    #[must_use]
    pub fn name_taken(&self, scope: &Scope, name: &str) -> bool {
        self.runners
            .values()
            .any(|it| it.scope.same(scope) && it.name.eq_ignore_ascii_case(name))
    }

    /// Registers a runner.
    ///
    /// # Errors
    /// Too many runners.
    pub fn register(&mut self, new: NewRunner, now_ms: i64) -> Result<&Runner, Full> {
        if self.runners.len() >= MAX_ROWS {
            return Err(Full("runners"));
        }
        let id = self.fresh_id();
        let runner = Runner {
            id,
            name: new.name,
            labels: new.labels,
            group: new.group,
            takes_public: new.takes_public,
            scope: new.scope,
            work_folder: new.work_folder,
            secret: ids::hex(&ids::random::<32>()),
            created_ms: now_ms,
            version: None,
            session: None,
            job: None,
        };
        Ok(self.runners.entry(id).or_insert(runner))
    }

    /// A token for runners of a scope, and when it ends.
    ///
    /// # Errors
    /// Too many live tokens.
    pub fn permit(
        &mut self,
        scope: Scope,
        registers: bool,
        now_ms: i64,
    ) -> Result<(String, i64), Full> {
        self.permits.retain(|_, permit| permit.expires_ms > now_ms);
        if self.permits.len() >= MAX_ROWS {
            return Err(Full("runner tokens"));
        }
        let text = format!("A{}", ids::hex(&ids::random::<14>()).to_ascii_uppercase());
        let expires_ms = now_ms.saturating_add(PERMIT_MS);
        let permit = RunnerPermit {
            scope,
            registers,
            expires_ms,
        };
        self.permits.insert(text.clone(), permit);
        Ok((text, expires_ms))
    }

    /// The labels of a scope's runner, to change.
    pub fn labels_in(&mut self, scope: &Scope, id: u64) -> Option<&mut Vec<String>> {
        let runner = self.runners.get_mut(&id)?;
        runner.scope.same(scope).then_some(&mut runner.labels)
    }

    /// The runner of a scope.
    #[must_use]
    pub fn runner_in(&self, scope: &Scope, id: u64) -> Option<&Runner> {
        self.runners
            .get(&id)
            .filter(|runner| runner.scope.same(scope))
    }

    fn proven(&mut self, id: u64, secret: &str) -> Result<&mut Runner, SessionError> {
        let runner = self.runners.get_mut(&id).ok_or(SessionError::Unknown)?;
        let same: bool = runner.secret.as_bytes().ct_eq(secret.as_bytes()).into();
        if same {
            Ok(runner)
        } else {
            Err(SessionError::Unknown)
        }
    }

    /// Opens the runner's one session.
    ///
    /// # Errors
    /// A wrong secret, or a session that lives already.
    pub fn open_session(
        &mut self,
        id: u64,
        secret: &str,
        version: Option<&str>,
        now_ms: i64,
    ) -> Result<String, SessionError> {
        let runner = self.proven(id, secret)?;
        if runner.session.is_some() {
            return Err(SessionError::Conflict);
        }
        let session = ids::guid();
        runner.session = Some(Session {
            id: session.clone(),
            seen_ms: now_ms,
        });
        runner.version = version.map(|text| text.chars().take(32).collect());
        Ok(session)
    }

    /// Checks a session and notes that its runner lives.
    ///
    /// # Errors
    /// A wrong secret, or a session that has ended.
    pub fn session(
        &mut self,
        id: u64,
        secret: &str,
        session: &str,
        now_ms: i64,
    ) -> Result<&mut Runner, SessionError> {
        let runner = self.proven(id, secret)?;
        match &mut runner.session {
            Some(open) if open.id == session => open.seen_ms = now_ms,
            Some(_) | None => return Err(SessionError::Ended),
        }
        Ok(runner)
    }

    /// Closes an idle runner's session; the runner stays, offline.
    ///
    /// # Errors
    /// As [`State::session`].
    pub fn close_session(
        &mut self,
        id: u64,
        secret: &str,
        session: &str,
        now_ms: i64,
    ) -> Result<(), SessionError> {
        let runner = self.session(id, secret, session, now_ms)?;
        runner.session = None;
        // The idle time counts from here, not from the registration.
        runner.created_ms = now_ms;
        Ok(())
    }
}
