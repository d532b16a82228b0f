//! GitHub's endpoints for the labels of a registered runner.
//!
//! Source: GitHub REST API, "Self-hosted runners", version 2022-11-28.

use serde::{Deserialize, Serialize};

use super::GithubClient;
use super::api::{Api, parse, percent_encode};
use super::error::GithubError;
use super::http::{Call, Method};
use super::scope::Scope;
use super::status::Asked;

/// GitHub takes 1 to 100 labels.
pub(super) const LABELS: usize = 100;

/// A label of a runner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerLabel {
    /// The label. Jobs ask for it without regard to case.
    pub name: String,
    /// Who gave it.
    #[serde(rename = "type", default)]
    pub kind: LabelKind,
}

/// Who gave a label.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LabelKind {
    /// A person or program: it can be taken away.
    Custom,
    /// GitHub itself, such as `self-hosted`.
    ReadOnly,
    /// A word that GitHub did not document.
    #[default]
    #[serde(other)]
    Other,
}

impl GithubClient {
    /// The labels of a runner.
    ///
    /// # Errors
    /// [`GithubError`].
    pub async fn labels(&self, scope: Scope, id: u64) -> Result<Vec<RunnerLabel>, GithubError> {
        self.run("list labels", move |api| {
            let path = labels_path(&scope, id);
            ask(api, &scope, &Call::get(&path))
        })
        .await
    }

    /// Gives a runner further labels; returns all it has then.
    ///
    /// # Errors
    /// [`GithubError`]; other than 1 to 100 are [`GithubError::Argument`].
    pub async fn add_labels(
        &self,
        scope: Scope,
        id: u64,
        labels: Vec<String>,
    ) -> Result<Vec<RunnerLabel>, GithubError> {
        self.run("add labels", move |api| {
            let (path, body) = (labels_path(&scope, id), body("add labels", &labels, 1)?);
            ask(api, &scope, &Call::change(Method::Post, &path, Some(body)))
        })
        .await
    }

    /// Replaces a runner's custom labels; returns all it has then.
    ///
    /// # Errors
    /// [`GithubError`]; more than 100 are [`GithubError::Argument`].
    pub async fn set_labels(
        &self,
        scope: Scope,
        id: u64,
        labels: Vec<String>,
    ) -> Result<Vec<RunnerLabel>, GithubError> {
        self.run("set labels", move |api| {
            let (path, body) = (labels_path(&scope, id), body("set labels", &labels, 0)?);
            ask(api, &scope, &Call::change(Method::Put, &path, Some(body)))
        })
        .await
    }

    /// Takes all custom labels from a runner; returns those that it keeps.
    ///
    /// # Errors
    /// [`GithubError`].
    pub async fn clear_labels(
        &self,
        scope: Scope,
        id: u64,
    ) -> Result<Vec<RunnerLabel>, GithubError> {
        self.run("clear labels", move |api| {
            let path = labels_path(&scope, id);
            ask(api, &scope, &Call::change(Method::Delete, &path, None))
        })
        .await
    }

    /// Takes one custom label from a runner; returns those that it keeps.
    ///
    /// # Errors
    /// [`GithubError`]; one that is GitHub's own is `ErrorKind::Invalid`.
    pub async fn remove_label(
        &self,
        scope: Scope,
        id: u64,
        label: String,
    ) -> Result<Vec<RunnerLabel>, GithubError> {
        self.run("remove label", move |api| {
            let path = format!("{}/{}", labels_path(&scope, id), percent_encode(&label));
            ask(api, &scope, &Call::change(Method::Delete, &path, None))
        })
        .await
    }
}

fn labels_path(scope: &Scope, id: u64) -> String {
    format!("{}/actions/runners/{id}/labels", scope.path())
}

fn body(operation: &'static str, labels: &[String], least: usize) -> Result<Vec<u8>, GithubError> {
    #[derive(Serialize)]
    struct Body<'a> {
        labels: &'a [String],
    }
    let refuse = |reason| GithubError::Argument { operation, reason };
    if !(least..=LABELS).contains(&labels.len()) {
        let count = labels.len();
        return Err(refuse(format!(
            "{count} labels: github takes {least} to {LABELS}"
        )));
    }
    serde_json::to_vec(&Body { labels }).map_err(|error| refuse(error.to_string()))
}

fn ask(api: Api<'_>, scope: &Scope, call: &Call<'_>) -> Result<Vec<RunnerLabel>, GithubError> {
    #[derive(Deserialize)]
    struct Wire {
        labels: Vec<RunnerLabel>,
    }
    let answer = api.at(scope, Asked::Runners(scope), call, 200)?;
    Ok(parse::<Wire>(call, &answer)?.labels)
}
