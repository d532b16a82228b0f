//! Where runners belong at GitHub: an organization, one repository, or an
//! enterprise.
//!
//! A scope holds names that are safe in a URL's path, or it does not exist.

use std::fmt;

use super::error::GithubError;

/// Longest login or repository name; GitHub allows 39 and 100.
const NAME_BYTES: usize = 100;

/// An organization, a repository, or an enterprise.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope(Kind);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Kind {
    Org(String),
    Repo { owner: String, name: String },
    Enterprise(String),
}

impl Scope {
    /// A pool's scope.
    ///
    /// # Errors
    /// [`GithubError::Argument`] when its name is none of GitHub's.
    pub fn of(scope: &control::Scope) -> Result<Self, GithubError> {
        match scope {
            control::Scope::Org(org) => Self::org(org),
            control::Scope::Repo(repo) => Self::repo(repo),
            control::Scope::Enterprise(enterprise) => Self::enterprise(enterprise),
        }
    }

    /// The scope of an organization's runners.
    ///
    /// # Errors
    /// [`GithubError::Argument`] when `org` is no login.
    pub fn org(org: &str) -> Result<Self, GithubError> {
        if is_name(org) {
            return Ok(Self(Kind::Org(org.to_owned())));
        }
        Err(refuse(org, "an organization's login, such as octo-org"))
    }

    /// The scope of one repository's runners, from `owner/name`.
    ///
    /// # Errors
    /// [`GithubError::Argument`] when `repo` is not of that form.
    pub fn repo(repo: &str) -> Result<Self, GithubError> {
        match repo.split_once('/') {
            Some((owner, name)) if is_name(owner) && is_name(name) => Ok(Self(Kind::Repo {
                owner: owner.to_owned(),
                name: name.to_owned(),
            })),
            _ => Err(refuse(
                repo,
                "a repository as owner/name, such as octo-org/app",
            )),
        }
    }

    /// The scope of an enterprise's runners. GitHub takes a person's classic
    /// token there, and no App's.
    ///
    /// # Errors
    /// [`GithubError::Argument`] when `enterprise` is no slug.
    pub fn enterprise(enterprise: &str) -> Result<Self, GithubError> {
        if is_name(enterprise) {
            return Ok(Self(Kind::Enterprise(enterprise.to_owned())));
        }
        Err(refuse(enterprise, "an enterprise's slug, such as octo"))
    }

    /// Whether this is an enterprise.
    pub fn is_enterprise(&self) -> bool {
        matches!(self.0, Kind::Enterprise(_))
    }

    /// Whether this is one repository.
    pub fn is_repo(&self) -> bool {
        matches!(self.0, Kind::Repo { .. })
    }

    /// Whether this is a whole organization.
    pub fn is_org(&self) -> bool {
        matches!(self.0, Kind::Org(_))
    }

    /// The path of this scope: `/orgs/{org}`, `/repos/{owner}/{name}` or
    /// `/enterprises/{enterprise}`.
    pub(super) fn path(&self) -> String {
        match &self.0 {
            Kind::Org(org) => format!("/orgs/{org}"),
            Kind::Repo { owner, name } => format!("/repos/{owner}/{name}"),
            Kind::Enterprise(enterprise) => format!("/enterprises/{enterprise}"),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Org(org) => write!(f, "organization {org}"),
            Kind::Repo { owner, name } => write!(f, "repository {owner}/{name}"),
            Kind::Enterprise(enterprise) => write!(f, "enterprise {enterprise}"),
        }
    }
}

/// Letters, digits, `-`, `_` and `.`, and no path of its own. (Logins of
/// enterprise managed users hold an underscore.)
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES
        && name != "."
        && name != ".."
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn refuse(given: &str, expected: &str) -> GithubError {
    let end = given.floor_char_boundary(NAME_BYTES);
    GithubError::Argument {
        operation: "read github scope",
        reason: format!(
            "{:?} is not {expected}",
            given.get(..end).unwrap_or_default()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_safe_in_a_path() {
        #[track_caller]
        fn check(scope: Result<Scope, GithubError>, expect: Option<&str>) {
            assert_eq!(scope.ok().map(|scope| scope.path()).as_deref(), expect);
        }
        check(Scope::org("octo-org"), Some("/orgs/octo-org"));
        check(Scope::org("octo_emu"), Some("/orgs/octo_emu"));
        check(
            Scope::repo("octo-org/app.js"),
            Some("/repos/octo-org/app.js"),
        );
        check(Scope::enterprise("octo"), Some("/enterprises/octo"));
        check(Scope::enterprise("octo/x"), None);
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a b",
            "a?b",
            "a%2f",
            "ü",
            &"a".repeat(101),
        ] {
            check(Scope::org(bad), None);
        }
        for bad in ["", "a", "a/", "/b", "a/b/c", "a/..", "../b", "a/b?c"] {
            check(Scope::repo(bad), None);
        }
    }
}
