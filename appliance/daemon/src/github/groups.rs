//! GitHub's endpoints for runner groups: which repositories may use a runner.
//!
//! Source: GitHub REST API, "Self-hosted runner groups", version 2022-11-28.

use serde::{Deserialize, Serialize};

use super::GithubClient;
use super::api::{Api, Enough, List};
use super::error::GithubError;
use super::scope::Scope;
use super::status::Asked;

/// The runner group that every organization and repository has.
pub const DEFAULT_RUNNER_GROUP: u64 = 1;

/// A runner group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerGroup {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Whether jobs of public repositories may use its runners: then anyone's
    /// pull request may run there. Where GitHub is silent, taken as yes.
    #[serde(default = "yes")]
    pub allows_public_repositories: bool,
    /// `all`, `selected` or `private`: which repositories may use it.
    #[serde(default)]
    pub visibility: String,
}

fn yes() -> bool {
    true
}

impl GithubClient {
    /// Every runner group of an organization or enterprise.
    ///
    /// # Errors
    /// [`GithubError`]; repositories have none: [`GithubError::Argument`].
    pub async fn runner_groups(&self, scope: Scope) -> Result<Vec<RunnerGroup>, GithubError> {
        self.run("list runner groups", move |api| groups(api, &scope))
            .await
    }

    /// A runner group by its exact name.
    ///
    /// # Errors
    /// [`GithubError`]; no such group is [`GithubError::Argument`].
    pub async fn runner_group(
        &self,
        scope: Scope,
        name: String,
    ) -> Result<RunnerGroup, GithubError> {
        self.run("find runner group", move |api| {
            let named = format!("named {name:?}");
            find(api, &scope, &named, |group| group.name == name)
        })
        .await
    }

    /// The runner group that runners join when none is named.
    ///
    /// # Errors
    /// As [`runner_group`](Self::runner_group).
    pub async fn default_runner_group(&self, scope: Scope) -> Result<RunnerGroup, GithubError> {
        self.run("find runner group", move |api| {
            let numbered = format!("with number {DEFAULT_RUNNER_GROUP}");
            find(api, &scope, &numbered, |group| {
                group.id == DEFAULT_RUNNER_GROUP
            })
        })
        .await
    }
}

fn find(
    api: Api<'_>,
    scope: &Scope,
    which: &str,
    is_it: impl Fn(&RunnerGroup) -> bool,
) -> Result<RunnerGroup, GithubError> {
    let found = groups(api, scope)?.into_iter().find(is_it);
    found.ok_or_else(|| GithubError::Argument {
        operation: "find runner group",
        reason: format!("{scope} has no runner group {which}"),
    })
}

fn groups(api: Api<'_>, scope: &Scope) -> Result<Vec<RunnerGroup>, GithubError> {
    #[derive(Deserialize)]
    struct Page {
        runner_groups: Vec<RunnerGroup>,
    }
    if scope.is_repo() {
        return Err(GithubError::Argument {
            operation: "list runner groups",
            reason: format!("{scope} has no runner groups: organizations and enterprises do"),
        });
    }
    let mut all = Vec::new();
    let list = List {
        operation: "list runner groups",
        scope,
        asked: Asked::Runners(scope),
        path: &format!("{}/actions/runner-groups", scope.path()),
        conditional: true,
    };
    api.pages(&list, |page: Page| {
        let count = page.runner_groups.len();
        all.extend(page.runner_groups);
        (count, Enough::No)
    })?;
    Ok(all)
}
