//! GitHub's endpoint for one repository: who can see it.
//!
//! Source: GitHub REST API, "Repositories", version 2022-11-28.

use serde::{Deserialize, Serialize};

use super::GithubClient;
use super::api::parse;
use super::error::GithubError;
use super::http::Call;
use super::scope::Scope;
use super::status::Asked;

/// A repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// GitHub's id of it.
    pub id: u64,
    /// `owner/name`.
    pub full_name: String,
    /// Whether only some can see it. One that is not private is public: there
    /// anyone's pull request may run code. Where GitHub is silent, taken as
    /// public.
    #[serde(default)]
    pub private: bool,
    /// Whether it is read-only: then no workflow runs there.
    #[serde(default)]
    pub archived: bool,
}

impl GithubClient {
    /// A repository, `owner/name`.
    ///
    /// # Errors
    /// [`GithubError`].
    pub async fn repository(&self, full_name: String) -> Result<Repository, GithubError> {
        self.run("look up repository", move |api| {
            let scope = Scope::repo(&full_name)?;
            let path = scope.path();
            let call = Call::get_if_changed(&path);
            parse(
                &call,
                &api.at(&scope, Asked::Repository(&scope), &call, 200)?,
            )
        })
        .await
    }
}
