//! Chooses how QEMU runs guests. `/dev/kvm` may open and yet not run a stock
//! guest, so KVM is used only after a guest really booted under it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::process::wait_until;
use crate::qemu;

/// How long the probe guest has to reach the end of its kernel's start.
const PROBE_LIMIT: Duration = Duration::from_secs(10);
/// A kernel that finds no root says so after it brought the machine up.
const PROBE_MARK: &str = "not syncing: VFS";

/// How QEMU should run guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Acceleration {
    /// KVM where a probe guest boots under it, else TCG.
    Auto,
    /// KVM, and an error where the probe guest does not boot.
    Kvm,
    /// QEMU's own translator.
    Tcg,
}

/// How QEMU does run guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Accelerator {
    /// Hardware virtualisation.
    Kvm,
    /// QEMU's own translator.
    Tcg,
}

impl Accelerator {
    pub(crate) fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }
}

/// Decides, and keeps the probe's outcome in the lab's directory.
///
/// # Errors
/// KVM was demanded and does not run guests here, or cannot be probed.
pub(crate) fn choose(wish: Acceleration, kernel: Option<&Path>, dir: &Path) -> Result<Accelerator> {
    let works = match (wish, kernel) {
        (Acceleration::Tcg, _) => return Ok(Accelerator::Tcg),
        (Acceleration::Auto, None) => return Ok(Accelerator::Tcg),
        (Acceleration::Kvm, None) => bail!("KVM is used after a probe only; name a kernel for it"),
        (_, Some(kernel)) => probe(kernel, dir)?,
    };
    match (wish, works) {
        (_, true) => Ok(Accelerator::Kvm),
        (Acceleration::Kvm, false) => {
            bail!("no guest boots under KVM here; use tcg, or give this user /dev/kvm")
        }
        (_, false) => Ok(Accelerator::Tcg),
    }
}

fn probe(kernel: &Path, dir: &Path) -> Result<bool> {
    let known = dir.join("kvm-works");
    match fs::read_to_string(&known).as_deref() {
        Ok("yes\n") => return Ok(true),
        Ok("no\n") => return Ok(false),
        _ => {}
    }
    let works = fs::exists("/dev/kvm").unwrap_or(false) && boots(kernel, dir)?;
    fs::write(&known, if works { "yes\n" } else { "no\n" })
        .with_context(|| format!("write {}", known.display()))?;
    Ok(works)
}

fn boots(kernel: &Path, dir: &Path) -> Result<bool> {
    let console = dir.join("kvm-probe.log");
    let _ = fs::remove_file(&console);
    let mut guest = Command::new(qemu::PROGRAM)
        .args([
            "-machine",
            "q35,graphics=off",
            "-m",
            "256",
            "-nodefaults",
            "-display",
            "none",
        ])
        .args(Accelerator::Kvm.arguments())
        .args(["-no-reboot", "-append", "console=ttyS0 panic=-1", "-kernel"])
        .arg(kernel)
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {}; install qemu-system-x86", qemu::PROGRAM))?;
    let reached = || {
        let said = fs::read(&console).unwrap_or_default();
        String::from_utf8_lossy(&said).contains(PROBE_MARK)
    };
    wait_until(PROBE_LIMIT, || {
        reached() || guest.try_wait().is_ok_and(|ended| ended.is_some())
    });
    let _ = guest.kill();
    let _ = guest.wait();
    Ok(reached())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether or not this machine has a `/dev/kvm`, and one that works.
    #[test]
    fn kvm_is_used_only_after_a_guest_booted() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let kernel = dir.join("kernel");
        fs::write(&kernel, "what no machine boots").unwrap();
        let with = |wish| choose(wish, Some(&kernel), dir).map_err(|error| error.to_string());
        assert_eq!(
            choose(Acceleration::Auto, None, dir).unwrap(),
            Accelerator::Tcg
        );
        assert!(choose(Acceleration::Kvm, None, dir).is_err());
        assert_eq!(with(Acceleration::Auto), Ok(Accelerator::Tcg));
        let refused = with(Acceleration::Kvm).unwrap_err();
        assert!(
            refused.contains("no guest boots under KVM here"),
            "{refused}"
        );

        // Probed once per lab.
        fs::write(dir.join("kvm-works"), "yes\n").unwrap();
        assert_eq!(with(Acceleration::Auto), Ok(Accelerator::Kvm));
        assert_eq!(with(Acceleration::Tcg), Ok(Accelerator::Tcg));
    }
}
