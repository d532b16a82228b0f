//! The network namespace that everything of a lab runs in: made by root with
//! `ip netns`, or inside a user namespace by anyone. It never changes the
//! machine's own network.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::process::{Process, now_ms, wait_until};

/// How the namespace is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// `Root` when run by root, else `User`.
    Auto,
    /// `ip netns add`: needs root.
    Root,
    /// A user namespace: needs a kernel that allows them to ordinary users.
    User,
}

/// A namespace that is up.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Namespace {
    /// Named, below /run/netns.
    Root {
        /// Its name, unique on this machine.
        name: String,
    },
    /// Held by a sleeping process.
    User {
        /// That process.
        holder: i32,
        /// Its start time in ticks, against reuse of the number.
        holder_started: u64,
    },
}

impl Namespace {
    /// Makes one.
    ///
    /// # Errors
    /// No right to make one; the message says which package or setting helps.
    pub(crate) fn create(mode: Mode) -> Result<Self> {
        let root = rustix::process::geteuid().is_root();
        match (mode, root) {
            (Mode::Root, false) => bail!("a lab in mode root needs root; use mode user"),
            (Mode::Root, true) | (Mode::Auto, true) => Self::create_named(),
            (Mode::User, _) | (Mode::Auto, false) => Self::create_held(),
        }
    }

    fn create_named() -> Result<Self> {
        let name = format!("musher-lab-{}-{:x}", std::process::id(), now_ms());
        run(Command::new("ip").args(["netns", "add", &name]))?;
        Ok(Self::Root { name })
    }

    fn create_held() -> Result<Self> {
        let mut child = Command::new("unshare")
            .args(["--user", "--map-root-user", "--net", "sleep", "infinity"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot run unshare; install the package util-linux")?;
        let number = child.id();
        // unshare becomes sleep once both namespaces exist.
        let ready = wait_until(Duration::from_secs(5), || {
            fs::read_to_string(format!("/proc/{number}/comm")).is_ok_and(|name| name == "sleep\n")
                || child.try_wait().is_ok_and(|ended| ended.is_some())
        });
        let holder = Process::find(number).filter(|_| ready);
        let Some(holder) = holder else {
            let _ = child.kill();
            let _ = child.wait();
            bail!(
                "cannot make a user namespace; run as root, or allow them: \
                 sysctl kernel.unprivileged_userns_clone=1 on Debian, \
                 kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu"
            );
        };
        Ok(Self::User {
            holder: holder.number(),
            holder_started: holder.started(),
        })
    }

    /// A command that runs `program` in the namespace, with the same process
    /// number as the spawned child.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command;
        match self {
            Self::Root { name } => {
                command = Command::new("ip");
                command.args(["netns", "exec", name]);
            }
            Self::User { holder, .. } => {
                command = Command::new("nsenter");
                command.args(["--preserve-credentials", "--user", "--net", "--target"]);
                command.arg(holder.to_string()).arg("--");
            }
        }
        command.arg(program);
        command
    }

    /// Runs a list of `ip` commands in the namespace, one per line.
    pub(crate) fn configure(&self, lines: &str) -> Result<()> {
        let mut child = self
            .command("ip")
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run ip; install the package iproute2")?;
        if let Some(mut input) = child.stdin.take() {
            input
                .write_all(lines.as_bytes())
                .context("give ip its commands")?;
        }
        let done = child.wait_with_output().context("wait for ip")?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(
            done.status.success(),
            "set up the lab's network: {}",
            said.trim()
        );
        Ok(())
    }

    /// Whether it still exists.
    pub(crate) fn exists(&self) -> bool {
        match self {
            Self::Root { name } => fs::exists(format!("/run/netns/{name}")).unwrap_or(false),
            Self::User { .. } => self.holder().is_some(),
        }
    }

    fn holder(&self) -> Option<Process> {
        match self {
            Self::Root { .. } => None,
            Self::User {
                holder,
                holder_started,
            } => {
                let found = Process::find(u32::try_from(*holder).ok()?)?;
                (found.started() == *holder_started).then_some(found)
            }
        }
    }

    /// Every process in it, but for the holder and the asking process.
    pub(crate) fn members(&self) -> Vec<Process> {
        let identity = match self {
            Self::Root { name } => identity_of_file(&format!("/run/netns/{name}")),
            Self::User { holder, .. } => self
                .holder()
                .and_then(|_| identity_of_file(&format!("/proc/{holder}/ns/net"))),
        };
        let Some(identity) = identity else {
            return Vec::new();
        };
        let spared = [self.holder(), Process::find(std::process::id())];
        let Ok(all) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        all.flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .filter(|number| identity_of_file(&format!("/proc/{number}/ns/net")) == Some(identity))
            .filter_map(Process::find)
            .filter(|process| !spared.contains(&Some(*process)))
            .collect()
    }

    /// Ends the namespace. Its members must be gone.
    pub(crate) fn destroy(&self) -> Result<()> {
        match self {
            Self::Root { name } if self.exists() => {
                run(Command::new("ip").args(["netns", "delete", name]))
            }
            Self::Root { .. } => Ok(()),
            Self::User { .. } => {
                if let Some(holder) = self.holder() {
                    holder.kill();
                    reap(holder);
                    let gone = wait_until(Duration::from_secs(5), || !holder.is_alive());
                    ensure!(
                        gone,
                        "the lab's namespace holder {} does not end",
                        holder.number()
                    );
                }
                Ok(())
            }
        }
    }
}

/// Collects the holder when it is a child of ours; it is not where the lab
/// was brought up by another process.
fn reap(holder: Process) {
    if let Some(pid) = rustix::process::Pid::from_raw(holder.number()) {
        let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
    }
}

/// A namespace is one inode of nsfs (namespaces(7)).
fn identity_of_file(path: &str) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {name}; install the package iproute2"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{name} failed: {}", said.trim());
    Ok(())
}
