//! Who the runner runs as: the user `runner` of the image, with its groups.

use std::fs;
use std::io;
use std::path::Path;

/// The unprivileged user of every runner image.
pub(crate) const NAME: &str = "runner";
/// Where the runner's files are, in the image.
pub(crate) const FOLDER: &str = "/home/runner/actions-runner";
/// What starts it.
pub(crate) const PROGRAM: &str = "/home/runner/actions-runner/run.sh";

/// What registers a runner that was not registered just in time.
pub(crate) const CONFIGURE: &str = "/home/runner/actions-runner/config.sh";

/// Groups that are passed on; more than a job's user can sensibly have.
const MAX_GROUPS: usize = 64;

/// An image that cannot run a runner.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserError {
    /// A file is not there.
    #[error("cannot read {file} in the image")]
    Read {
        /// Which.
        file: &'static str,
        /// Why.
        source: io::Error,
    },
    /// No such user.
    #[error("/etc/passwd in the image has no user {NAME}")]
    NoUser,
    /// The user is root.
    #[error("user {NAME} of the image is root; a runner must not be")]
    Root,
}

/// Numbers of the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// User id, never 0.
    pub(crate) uid: u32,
    /// Primary group.
    pub(crate) gid: u32,
    /// All other groups.
    pub(crate) groups: Vec<u32>,
}

impl User {
    /// The user `runner` in the root at `root`, which must also have the
    /// runner's program.
    ///
    /// # Errors
    /// See [`UserError`].
    pub(crate) fn find(root: &Path) -> Result<Self, UserError> {
        let read = |file: &'static str| {
            fs::read_to_string(root.join(file.trim_start_matches('/')))
                .map_err(|source| UserError::Read { file, source })
        };
        fs::metadata(root.join(PROGRAM.trim_start_matches('/'))).map_err(|source| {
            UserError::Read {
                file: PROGRAM,
                source,
            }
        })?;
        Self::parse(&read("/etc/passwd")?, &read("/etc/group")?)
    }

    /// Reads passwd(5) and group(5).
    fn parse(passwd: &str, group: &str) -> Result<Self, UserError> {
        let (uid, gid) = passwd
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find_map(|fields| match fields[..] {
                [NAME, _, uid, gid, ..] => Some((uid.parse().ok()?, gid.parse().ok()?)),
                _ => None,
            })
            .ok_or(UserError::NoUser)?;
        if uid == 0 {
            return Err(UserError::Root);
        }
        let groups = group
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .filter_map(|fields| match fields[..] {
                [_, _, gid, members] if members.split(',').any(|name| name == NAME) => {
                    gid.parse().ok()
                }
                _ => None,
            })
            .filter(|other| *other != gid)
            .take(MAX_GROUPS)
            .collect();
        Ok(Self { uid, gid, groups })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users() {
        #[track_caller]
        fn check(passwd: &str, group: &str, expect: Option<(u32, u32, &[u32])>) {
            let expect = expect.map(|(uid, gid, groups)| User {
                uid,
                gid,
                groups: groups.to_vec(),
            });
            assert_eq!(User::parse(passwd, group).ok(), expect, "{passwd}");
        }
        let root = "root:x:0:0::/root:/bin/sh\n";
        let runner = "runner:x:1001:1002:GitHub:/home/runner:/bin/bash\n";
        check(
            &format!("{root}{runner}"),
            "root:x:0:\nsudo:x:27:admin,runner\nrunner:x:1002:runner\ndocker:x:999:runner\nx:x:5:xrunner\n",
            Some((1001, 1002, &[27, 999])),
        );
        check(runner, "", Some((1001, 1002, &[])));
        check(root, "", None);
        check("runner:x:0:0::/:/bin/sh\n", "", None);
        check("runner:x:many:0::/:/bin/sh\n", "", None);
        check("runner:x\n", "", None);
    }
}
