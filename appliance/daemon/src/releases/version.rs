//! The runner's versions: three numbers, and the name of their archive.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A version of GitHub's runner, such as 2.335.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version([u32; 3]);

/// A text that is no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no version of the runner: expected three numbers such as 2.335.0")]
pub struct ParseVersionError(String);

impl Version {
    /// What an archive for sleds holds, by its name.
    #[must_use]
    pub fn of_archive(name: &str) -> Option<Self> {
        let rest = name.strip_prefix("actions-runner-linux-x64-")?;
        rest.strip_suffix(".tar.gz")?.parse().ok()
    }

    /// The name of its archive for sleds.
    #[must_use]
    pub fn archive(self) -> String {
        format!("actions-runner-linux-x64-{self}.tar.gz")
    }
}

impl FromStr for Version {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParseVersionError(text.chars().take(40).collect());
        let mut numbers = [0; 3];
        let mut parts = text.split('.');
        for number in &mut numbers {
            let part = parts.next().ok_or_else(refuse)?;
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            *number = match digits {
                true => part.parse().map_err(|_| refuse())?,
                false => return Err(refuse()),
            };
        }
        match parts.next() {
            None => Ok(Self(numbers)),
            Some(_) => Err(refuse()),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

impl TryFrom<String> for Version {
    type Error = ParseVersionError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn archives_name_their_version() {
        let check = |name: &str, expect: Option<&str>| {
            let version = Version::of_archive(name).map(|it| it.to_string());
            assert_eq!(version.as_deref(), expect, "{name}");
        };
        check("actions-runner-linux-x64-2.335.0.tar.gz", Some("2.335.0"));
        check("actions-runner-linux-arm64-2.335.0.tar.gz", None);
        check("actions-runner-linux-x64-2.335.tar.gz", None);
        check("actions-runner-linux-x64-2.335.0.1.tar.gz", None);
        check("actions-runner-linux-x64-2.335.+1.tar.gz", None);
        check("actions-runner-linux-x64-2.335.99999999999.tar.gz", None);
        check("actions-runner-linux-x64-../../2.tar.gz", None);
        let version = |text: &str| text.parse::<Version>().unwrap();
        assert!(version("2.99.9") < version("2.335.0"));
    }
}
