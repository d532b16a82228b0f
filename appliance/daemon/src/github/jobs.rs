//! GitHub's endpoint for one workflow job.
//!
//! Source: GitHub REST API, "Workflow jobs", version 2022-11-28.

use super::auth::Auth;
use super::error::{ErrorKind, GithubError};
use super::http::Call;
use super::scope::Scope;
use super::status::Asked;
use crate::payload::{self, JobPayload};

/// How a job stands now; `None` when GitHub does not know it (any more).
pub(super) fn find_job(
    auth: &Auth,
    repository: &str,
    number: u64,
) -> Result<Option<JobPayload>, GithubError> {
    let scope = Scope::repo(repository)?;
    let path = format!("{}/actions/jobs/{number}", scope.path());
    let call = Call::get(&path);
    let answer = match auth.as_installation(&scope, Asked::Jobs(&scope), &call, 200) {
        Ok(answer) => answer,
        Err(GithubError::Status(error)) if error.kind == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match payload::parse_job(repository, &answer.body) {
        Ok(job) => Ok(Some(job)),
        Err(error) => Err(GithubError::Answer {
            method: call.method.as_str(),
            path: path.clone(),
            reason: error.to_string(),
        }),
    }
}
