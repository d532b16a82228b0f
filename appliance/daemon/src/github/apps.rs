//! GitHub's endpoints for the App itself and where it is installed.
//!
//! Source: GitHub REST API, "GitHub Apps", version 2022-11-28.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::GithubClient;
use super::api::{Enough, List, parse};
use super::error::GithubError;
use super::http::Call;
use super::repositories::Repository;
use super::scope::Scope;
use super::status::Asked;

/// Permission to level, as GitHub spells them: `actions` to `read`.
pub type Permissions = BTreeMap<String, String>;

/// The App as GitHub knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Its id.
    pub id: u64,
    /// Its name in addresses.
    #[serde(default)]
    pub slug: String,
    /// Its page.
    pub html_url: String,
    /// What it asks for.
    #[serde(default)]
    pub permissions: Permissions,
    /// The events that it is sent.
    #[serde(default)]
    pub events: Vec<String>,
}

/// One installation of the App.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installation {
    /// Its id, which deliveries name.
    pub id: u64,
    /// Its settings, for the account's owner.
    #[serde(default)]
    pub html_url: String,
    /// What the account granted.
    #[serde(default)]
    pub permissions: Permissions,
    /// The events that it is sent.
    #[serde(default)]
    pub events: Vec<String>,
    /// When the account suspended it.
    #[serde(default)]
    pub suspended_at: Option<String>,
}

impl GithubClient {
    /// GitHub's clock minus this machine's, in milliseconds, by the date of
    /// an answer to nobody in particular; `None` when it has none.
    ///
    /// # Errors
    /// [`GithubError`] when no answer came.
    pub async fn clock_offset_ms(&self) -> Result<Option<i64>, GithubError> {
        self.run("ask for the time", |api| api.auth.clock_offset_ms())
            .await
    }

    /// The App itself.
    ///
    /// # Errors
    /// [`GithubError`].
    pub async fn app(&self) -> Result<App, GithubError> {
        self.run("look up app", |api| {
            let call = Call::get("/app");
            parse(&call, &api.as_app(&call, 200)?)
        })
        .await
    }

    /// The id of the App's installation on `scope`, to compare with the one
    /// that a delivery names. Asked for once and remembered.
    ///
    /// # Errors
    /// [`GithubError`]; [`GithubError::NotInstalled`] says where to install.
    pub async fn installation(&self, scope: Scope) -> Result<u64, GithubError> {
        self.run("look up app installation", move |api| {
            api.auth.installation(&scope)
        })
        .await
    }

    /// The App's installation on `scope` in full, asked for anew.
    ///
    /// # Errors
    /// As [`installation`](Self::installation).
    pub async fn installation_details(&self, scope: Scope) -> Result<Installation, GithubError> {
        self.run("look up app installation", move |api| {
            api.auth.installation(&scope)?;
            let path = format!("{}/installation", scope.path());
            let call = Call::get(&path);
            parse(&call, &api.as_app(&call, 200)?)
        })
        .await
    }

    /// Every repository that the installation on `scope` may see.
    ///
    /// # Errors
    /// [`GithubError`]; more than 10,000 are [`GithubError::Argument`].
    pub async fn installation_repositories(
        &self,
        scope: Scope,
    ) -> Result<Vec<Repository>, GithubError> {
        #[derive(Deserialize)]
        struct Page {
            repositories: Vec<Repository>,
        }
        self.run("list installation repositories", move |api| {
            let mut all = Vec::new();
            let list = List {
                operation: "list installation repositories",
                scope: &scope,
                asked: Asked::Repository(&scope),
                path: "/installation/repositories",
                conditional: true,
            };
            api.pages(&list, |page: Page| {
                let count = page.repositories.len();
                all.extend(page.repositories);
                (count, Enough::No)
            })?;
            Ok(all)
        })
        .await
    }
}
