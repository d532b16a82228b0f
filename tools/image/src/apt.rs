//! Fetches Debian packages as any user, on any machine that has `apt`, with
//! lists, cache and sources of its own. It never installs a package and never
//! reads the machine's own sources, so an Ubuntu machine packs the same files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{files, run};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const LISTS_STAY_FRESH: Duration = Duration::from_secs(24 * 60 * 60);

/// One scratch APT directory for one suite.
pub(crate) struct Apt {
    root: PathBuf,
}

impl Apt {
    /// Prepares the directory and, when its lists are missing or a day old,
    /// fetches them.
    ///
    /// # Errors
    /// A suite name with other characters than a-z, 0-9 and `-`, an absent
    /// Debian keyring, or an archive that cannot be reached.
    pub(crate) fn open(cache: &Path, suite: &str, refresh: bool) -> Result<Self> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        ensure!(
            !suite.is_empty() && suite.chars().all(plain),
            "{suite:?} is no Debian suite"
        );
        ensure!(
            Path::new(KEYRING).exists(),
            "{KEYRING} is missing; install the package debian-archive-keyring"
        );
        files::make_dir(cache)?;
        let cache = cache
            .canonicalize()
            .with_context(|| format!("find {}", cache.display()))?;
        let apt = Self {
            root: cache.join(format!("apt-{suite}")),
        };
        for folder in ["lists/partial", "cache/archives/partial", "packages"] {
            files::make_dir(&apt.root.join(folder))?;
        }
        files::write(&apt.root.join("status"), b"", 0o644)?;
        files::write(
            &apt.root.join("sources.list"),
            sources(suite).as_bytes(),
            0o644,
        )?;
        files::write(
            &apt.root.join("apt.conf"),
            settings(&apt.root).as_bytes(),
            0o644,
        )?;
        let stamp = apt.root.join("updated");
        if refresh || !is_fresh(&stamp) {
            println!("fetching Debian's package lists ({suite})");
            run::output(apt.program("apt-get").arg("update"))
                .context("fetch Debian's package lists")?;
            files::write(&stamp, b"", 0o644)?;
        }
        Ok(apt)
    }

    fn program(&self, name: &str) -> Command {
        let mut command = run::command(name);
        // Given by -c, the file is read after the machine's own apt.conf.d:
        // ours wins, yet a proxy that is set there stays in force.
        command.arg("-c").arg(self.root.join("apt.conf"));
        command
    }

    /// The packages that `package` names as direct dependencies.
    pub(crate) fn depends(&self, package: &str) -> Result<Vec<String>> {
        let said = run::text(
            self.program("apt-cache")
                .args(["depends", "--important"])
                .arg(package),
        )?;
        Ok(said
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "))
            .map(|name| name.trim().to_owned())
            .collect())
    }

    /// `package` and everything it depends on, alternatives included.
    pub(crate) fn closure(&self, package: &str) -> Result<Vec<String>> {
        let said = run::text(
            self.program("apt-cache")
                .args(["depends", "--recurse", "--important"])
                .arg(package),
        )?;
        let name = |line: &str| line.starts_with(|c: char| c.is_ascii_alphanumeric());
        Ok(said
            .lines()
            .filter(|line| name(line))
            .map(|line| line.trim().to_owned())
            .collect())
    }

    /// Downloads packages into the cache and hands back their files, in the
    /// order asked for. What is there in the archive's current version is not
    /// fetched again.
    ///
    /// # Errors
    /// A package that the suite does not have, or an archive out of reach.
    pub(crate) fn download(&self, packages: &[String]) -> Result<Vec<PathBuf>> {
        let folder = self.root.join("packages");
        // It prints nothing for a file that is in its working directory already.
        let mut command = self.program("apt-get");
        command
            .args(["--print-uris", "download"])
            .args(packages)
            .current_dir(self.root.join("lists"));
        let uris = run::text(&mut command).context("look packages up in Debian's lists")?;
        let mut found = Vec::new();
        for package in packages {
            let name = uris
                .lines()
                .filter_map(|line| line.split_whitespace().nth(1))
                .find(|name| name.split('_').next() == Some(package))
                .with_context(|| format!("find {package} in Debian's lists"))?;
            found.push((package, folder.join(name)));
        }
        let missing: Vec<_> = found
            .iter()
            .filter(|(_, file)| !file.exists())
            .map(|(name, _)| name)
            .collect();
        if !missing.is_empty() {
            println!("downloading {} package(s) from Debian", missing.len());
            let mut command = self.program("apt-get");
            command
                .args(["-q", "download"])
                .args(missing)
                .current_dir(&folder);
            run::output(&mut command).context("download packages")?;
        }
        found
            .into_iter()
            .map(|(name, file)| match file.exists() {
                true => Ok(file),
                false => bail!("apt-get downloaded no {name}"),
            })
            .collect()
    }
}

/// Unpacks a package's files below `target`; its scripts do not run.
pub(crate) fn unpack(package: &Path, target: &Path) -> Result<()> {
    files::make_dir(target)?;
    run::output(run::command("dpkg-deb").arg("-x").arg(package).arg(target))
        .with_context(|| format!("unpack {}", package.display()))?;
    Ok(())
}

fn is_fresh(stamp: &Path) -> bool {
    let age = fs::metadata(stamp)
        .and_then(|meta| meta.modified())
        .ok()
        .and_then(|at| SystemTime::now().duration_since(at).ok());
    age.is_some_and(|age| age < LISTS_STAY_FRESH)
}

fn sources(suite: &str) -> String {
    let mut lines =
        format!("deb [signed-by={KEYRING}] http://deb.debian.org/debian {suite} main\n");
    // sid has no security suite: fixes are uploaded to it directly.
    if suite != "sid" && !suite.ends_with("-backports") {
        lines += &format!(
            "deb [signed-by={KEYRING}] http://deb.debian.org/debian-security {suite}-security main\n"
        );
    }
    lines
}

fn settings(root: &Path) -> String {
    let root = root.display();
    format!(
        r#"Dir::State "{root}";
Dir::State::lists "{root}/lists";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
Dir::Etc::sourcelist "{root}/sources.list";
Dir::Etc::sourceparts "/dev/null";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"#
    )
}

#[cfg(test)]
mod tests {
    use super::sources;

    #[test]
    fn suites_with_and_without_security_updates() {
        let check = |suite: &str, expect: usize| {
            assert_eq!(sources(suite).lines().count(), expect, "{suite}");
        };
        check("bookworm", 2);
        check("trixie", 2);
        check("sid", 1);
        check("trixie-backports", 1);
    }
}
