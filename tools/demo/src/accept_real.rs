//! The chain against GitHub itself, with GitHub's runner: for whoever has an
//! App. It starts no workflow; jobs are those that people queue meanwhile.
//! What it does is tested against the stand-in, over TLS (`tests/e2e`).
//! `accept-real.md` beside this crate's manifest says how to prepare the App.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use musher_demo::{Github, JobView, RUNNER_LABELS, RealGithub, Rig, RigConfig, wait_for};
use musher_lab::{Firmware, SledConfig};

use crate::progress::Progress;
use crate::show::describe;
use crate::summary::Summary;
use crate::table;

/// What GitHub's runner and an ordinary job need.
const MEMORY_MIB: u32 = 3072;
const DISK_MIB: u64 = 20 * 1024;

#[derive(Args)]
pub(crate) struct AcceptReal {
    /// Where GitHub's API is; https://HOST/api/v3 for an Enterprise Server.
    #[arg(long, default_value = "https://api.github.com")]
    api_url: String,
    /// Authority of its certificate, for a server with one of its own.
    #[arg(long)]
    ca_file: Option<PathBuf>,
    /// The App's number.
    #[arg(long)]
    app_id: u64,
    /// The App's private key, a file with mode 0600.
    #[arg(long)]
    private_key: PathBuf,
    /// The webhook's secret, a file with mode 0600.
    #[arg(long)]
    webhook_secret: PathBuf,
    /// ORG, or OWNER/REPOSITORY.
    #[arg(long)]
    scope: String,
    /// Labels of the runners.
    #[arg(long, value_delimiter = ',', default_values = RUNNER_LABELS)]
    labels: Vec<String>,
    /// Release of GitHub's runner, such as 2.335.0.
    #[arg(long)]
    runner_version: String,
    /// SHA-256 of that release for linux-x64, from its page at GitHub.
    #[arg(long)]
    runner_sha256: String,
    /// That release's archive, where it is on this machine already.
    #[arg(long)]
    runner_archive: Option<PathBuf>,
    /// How many sleds.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=10))]
    sleds: u8,
    /// How many jobs to wait for.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    jobs: u16,
    /// Minutes to wait for them.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Where everything is written. Emptied first.
    #[arg(long, default_value = "target/accept-real")]
    dir: PathBuf,
}

/// Runs the chain; whether every job ended well.
///
/// # Errors
/// The runner cannot be fetched or packed, or the rig does not come up.
pub(crate) fn run(wish: &AcceptReal) -> Result<bool> {
    let sled = SledConfig {
        memory_mib: MEMORY_MIB,
        cpus: 2,
        disk_mib: DISK_MIB,
        ..Firmware::Uefi.into()
    };
    let mut config = RigConfig::new(&wish.dir, vec![sled; wish.sleds.into()])?;
    let rootfs = runner(wish, &config)?;
    config.github = Github::Real(RealGithub {
        api_url: wish.api_url.clone(),
        ca_file: wish.ca_file.as_deref().map(absolute).transpose()?,
        app_id: wish.app_id,
        private_key: absolute(&wish.private_key)?,
        webhook_secret: absolute(&wish.webhook_secret)?,
        scope: wish.scope.clone(),
        labels: wish.labels.clone(),
        rootfs,
    });
    let rig = Rig::up(&config)?;
    println!("status page: {} (self-signed certificate)", rig.page());
    println!(
        "send the App's deliveries to {}",
        rig.webhook().unwrap_or_default()
    );
    println!(
        "then run a workflow with runs-on: [{}]",
        wish.labels.join(", ")
    );
    let mut summary = Summary::default();
    match watch(&rig, wish) {
        Ok(jobs) => {
            let receipts = rig.verified_receipts().context("verify receipts")?;
            for job in &jobs {
                summary.add(&job.name, job.id, Some(job), &[], &receipts);
            }
        }
        Err(error) => summary.problem(format!("{error:#}")),
    }
    summary.judge(false);
    let path = rig.dir().join("summary.json");
    summary.write(&path)?;
    print!("{}", table::render(&summary));
    println!("summary: {}", path.display());
    rig.down()?;
    Ok(summary.ok)
}

/// Waits until as many jobs as wished have ended with their receipts.
fn watch(rig: &Rig, wish: &AcceptReal) -> Result<Vec<JobView>> {
    let mut progress = Progress::new();
    let limit = Duration::from_secs(wish.minutes.saturating_mul(60));
    wait_for("the jobs to end", limit, || {
        let mut ended = Vec::new();
        for job in rig.jobs()? {
            let receipt = job.boot.as_ref().is_some_and(|boot| boot.receipt.is_some());
            let done = job.ended() && receipt;
            progress.show(&format!("{} {}", job.name, job.id), &describe(&job), done);
            ended.extend(done.then_some(job));
        }
        Ok((ended.len() >= usize::from(wish.jobs)).then_some(ended))
    })
}

/// Fetches GitHub's runner, verifies it, and packs it on Debian; what is
/// there already is used again.
fn runner(wish: &AcceptReal, config: &RigConfig) -> Result<PathBuf> {
    let version = &wish.runner_version;
    let plain = |c: char| c.is_ascii_digit() || c == '.';
    ensure!(
        version.chars().all(plain),
        "{version:?} is no runner release"
    );
    let images = absolute(&config.images)?;
    let archive = match &wish.runner_archive {
        Some(archive) => absolute(archive)?,
        None => fetched(version, &images)?,
    };
    let sum = call(Command::new("sha256sum").arg(&archive))?;
    let sum = sum.split_whitespace().next().unwrap_or_default();
    ensure!(
        sum.eq_ignore_ascii_case(&wish.runner_sha256),
        "{} has the SHA-256 {sum}, not the one that was given; delete the file, or mend the option",
        archive.display()
    );
    // Two archives of one version are two images.
    let rootfs = images.join(format!("runner-{version}-{sum:.12}.squashfs"));
    if !rootfs.is_file() {
        println!("packing Debian and the runner into {}", rootfs.display());
        let mut command = Command::new(config.programs.join("musher-image"));
        command
            .args(["runner", "--base", "debian", "--runner-version", version])
            .arg("--tarball")
            .arg(&archive);
        call(command.arg("--out").arg(&rootfs))?;
    }
    Ok(rootfs)
}

/// A release of GitHub's runner, from its page at GitHub.
fn fetched(version: &str, images: &Path) -> Result<PathBuf> {
    let archive = images.join(format!("actions-runner-linux-x64-{version}.tar.gz"));
    if archive.is_file() {
        return Ok(archive);
    }
    let name = archive.file_name().unwrap_or_default().display();
    let url = format!("https://github.com/actions/runner/releases/download/v{version}/{name}");
    println!("fetching {url}");
    let part = archive.with_extension("part");
    let mut command = Command::new("curl");
    command.args(["--fail", "--location", "--silent", "--show-error"]);
    call(command.arg("--output").arg(&part).arg(&url))?;
    std::fs::rename(&part, &archive).context("keep the runner's archive")?;
    Ok(archive)
}

fn call(command: &mut Command) -> Result<String> {
    let done = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("run {:?}", command.get_program()))?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{command:?}: {}", said.trim());
    String::from_utf8(done.stdout).context("read what a program printed")
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize()
        .with_context(|| format!("find {}", path.display()))
}
