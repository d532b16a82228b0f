//! Whether GitHub could give a runner the job of a public repository.
//!
//! Anyone's pull request may be such a job's code, and no webhook keeps a
//! runner from it: GitHub gives a runner any job that fits, of any repository
//! that may use its group (GitHub Docs, "Managing access to self-hosted
//! runners using groups"). So it is looked up before one is registered.

use control::Scope;

use crate::github::{self, DEFAULT_RUNNER_GROUP, GithubClient, GithubError};

/// Where a pool's runners are registered, as far as it matters who may use
/// them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entrance {
    /// The number of the runner group.
    pub group: u64,
    open: Option<Opening>,
}

/// Through what public repositories come in.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Opening {
    /// The runner group lets them.
    Group { name: String, scope: String },
    /// The repository is one, `owner/name`.
    Repository(String),
}

/// Strangers could come in, and nobody said that they may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found}: {mend}")]
pub struct Strangers {
    /// What is wrong.
    pub found: String,
    /// The setting to change.
    pub mend: String,
}

/// Looks up who may use runners of a group, GitHub's default one without, at
/// `scope`.
///
/// # Errors
/// [`GithubError`]; a group that is not there is [`GithubError::Argument`].
pub async fn look(
    client: &GithubClient,
    scope: &Scope,
    group: Option<&str>,
) -> Result<Entrance, GithubError> {
    if let Scope::Repo(name) = scope {
        let repository = client.repository(name.clone()).await?;
        let open = (!repository.private).then_some(Opening::Repository(repository.full_name));
        return Ok(Entrance {
            group: DEFAULT_RUNNER_GROUP,
            open,
        });
    }
    let scope = github::Scope::of(scope)?;
    let group = match group {
        Some(name) => client.runner_group(scope.clone(), name.to_owned()).await?,
        None => client.default_runner_group(scope.clone()).await?,
    };
    let open = group.allows_public_repositories.then(|| Opening::Group {
        name: group.name,
        scope: scope.to_string(),
    });
    Ok(Entrance {
        group: group.id,
        open,
    })
}

impl Entrance {
    /// Whether only those come in whom a pool `named` among its `public`
    /// repositories. A group that lets public repositories in lets all of them
    /// in: whoever names one has been told so.
    ///
    /// # Errors
    /// [`Strangers`], with the setting to change.
    pub fn check(&self, named: &[String]) -> Result<(), Strangers> {
        match &self.open {
            None => Ok(()),
            Some(Opening::Group { .. }) if !named.is_empty() => Ok(()),
            Some(Opening::Repository(name))
                if named.iter().any(|it| it.eq_ignore_ascii_case(name)) =>
            {
                Ok(())
            }
            Some(Opening::Group { name, scope }) => Err(Strangers {
                found: format!(
                    "runner group \"{name}\" of {scope} allows public repositories, so anyone's \
                     pull request could run on a sled"
                ),
                mend: format!(
                    "untick \"Allow public repositories\" in the settings of {scope} under \
                     Actions, Runner groups, {name}; or name those that are meant in `public` of \
                     the pool"
                ),
            }),
            Some(Opening::Repository(name)) => Err(Strangers {
                found: format!(
                    "repository {name} is public, so anyone's pull request could run on a sled"
                ),
                mend: format!(
                    "make it private under Settings, General, Change visibility; or name {name} \
                     in `public` of the pool"
                ),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_in_must_be_named() {
        let entrance = |open| Entrance { group: 1, open };
        #[track_caller]
        fn check(entrance: &Entrance, named: &[&str], mend: Option<&str>) {
            let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
            let result = entrance.check(&named);
            match mend {
                None => assert_eq!(result, Ok(())),
                Some(mend) => assert!(result.unwrap_err().to_string().contains(mend)),
            }
        }
        check(&entrance(None), &[], None);
        let group = entrance(Some(Opening::Group {
            name: "Default".to_owned(),
            scope: "organization o".to_owned(),
        }));
        check(&group, &[], Some("untick \"Allow public repositories\""));
        check(&group, &["o/site"], None);
        let repository = entrance(Some(Opening::Repository("o/site".to_owned())));
        check(&repository, &[], Some("name o/site in `public`"));
        check(&repository, &["o/other"], Some("name o/site in `public`"));
        check(&repository, &["O/Site"], None);
    }
}
