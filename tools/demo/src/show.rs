//! The demo from start to end.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use musher_demo::{HubJob, JobView, Rig, RigConfig, Way, wait_for};
use musher_lab::{Firmware, Lab, SledConfig};

use crate::progress::Progress;
use crate::summary::Summary;
use crate::table;
use crate::{Show, Tunnel};

/// Time for one job on an emulated sled, on a slow and busy machine.
const ROUND_LIMIT: Duration = Duration::from_secs(300);

/// What each job does. The kernel makes a new boot id at each start, so it
/// proves from inside that no two jobs saw the same boot.
const SCRIPT: &str = r#"echo "boot_id=$(cat /proc/sys/kernel/random/boot_id)"
echo "I am $(id -un) on $(uname -sr)"
dd if=/dev/urandom of="$HOME/work" bs=1M count=4 2>/dev/null
sudo sh -c 'echo "and $(id -un) when I like"'
sleep 2
"#;

/// Runs the demo; whether every job ended well.
///
/// # Errors
/// The rig does not come up, or the summary cannot be written.
pub(crate) fn run(wish: &Show) -> Result<bool> {
    let sleds: Vec<SledConfig> = [Firmware::Bios, Firmware::Uefi]
        .into_iter()
        .cycle()
        .take(wish.sleds.into())
        .map(Into::into)
        .collect();
    let mut config = RigConfig::new(&wish.dir, sleds)?;
    config.keep = wish.keep;
    config.way = match wish.tunnel {
        Tunnel::Direct => Way::Direct,
        Tunnel::Pull => Way::Pull,
        Tunnel::Smee => Way::Smee,
        Tunnel::Command => Way::Command,
    };
    println!(
        "starting {} sleds, a GitHub stand-in and musher",
        wish.sleds
    );
    let rig = Rig::up(&config)?;
    println!("status page: {} (self-signed certificate)", rig.page());
    println!("files: {}", rig.dir().display());

    let mut summary = Summary::default();
    let jobs = queue(&rig, wish.jobs)?;
    let rounds = u32::from(wish.jobs.div_ceil(u16::from(wish.sleds)));
    let watched = watch(&rig, &jobs, ROUND_LIMIT * rounds);
    if let Err(error) = &watched {
        summary.problem(format!("{error:#}"));
    }
    match rig.jobs() {
        Ok(views) => fill(&mut summary, &rig, &jobs, &views),
        Err(error) => summary.problem(format!("{error:#}")),
    }
    let ways = rig.deliveries_by_way()?;
    println!("deliveries: {ways:?}");
    // By a channel a delivery may also come from the log, when that is first.
    let expected = match config.way {
        Way::Direct | Way::Smee | Way::Command => "Tunnel",
        Way::Pull => "DeliveryLog",
    };
    if !ways.contains_key(expected) || (config.way == Way::Pull && ways.len() > 1) {
        summary.problem(format!("deliveries came by {ways:?}, not by {expected}"));
        summary.ok = false;
    }
    let path = rig.dir().join("summary.json");
    summary.write(&path)?;
    print!("{}", table::render(&summary));
    println!("summary: {}", path.display());
    if wish.keep {
        let dir = wish.dir.display();
        println!(
            "still running: {}; take it down with ./tools/just demo-down {dir}",
            rig.page()
        );
        // The lab was brought up to outlive this process.
        drop(rig);
    } else {
        rig.down()?;
    }
    Ok(summary.ok)
}

/// Takes down what `--keep` left.
///
/// # Errors
/// A lab that does not end.
pub(crate) fn down(dir: &Path) -> Result<()> {
    let lab = dir.join("lab");
    if let Err(error) = std::fs::metadata(lab.join("lab.json"))
        && error.kind() == ErrorKind::NotFound
    {
        println!("no demo was ever run in {}", dir.display());
        return Ok(());
    }
    match Lab::open(&lab) {
        // The namespace's processes end with the lab: musher and the stand-in
        // too, and the page's forwarder after them.
        Ok(lab) => lab.down()?,
        Err(error) => println!("{error:#}"),
    }
    Ok(())
}

fn queue(rig: &Rig, count: u16) -> Result<Vec<HubJob>> {
    (1..=count)
        .map(|number| rig.queue_job(&format!("demo-{number}"), SCRIPT))
        .collect()
}

/// Shows progress until every job has ended and its sled is proved off.
fn watch(rig: &Rig, jobs: &[HubJob], limit: Duration) -> Result<()> {
    let mut progress = Progress::new();
    wait_for("every job and its receipt", limit, || {
        let views: BTreeMap<u64, JobView> = rig
            .jobs()?
            .into_iter()
            .map(|view| (view.id, view))
            .collect();
        let mut open = jobs.len();
        for (number, job) in (1..).zip(jobs) {
            let name = format!("demo-{number}");
            let Some(view) = views.get(&job.id) else {
                progress.show(&name, "delivery under way", false);
                continue;
            };
            let done = view.ended() && view.boot.as_ref().is_none_or(|it| it.receipt.is_some());
            open -= usize::from(done);
            progress.show(&name, &describe(view), done);
        }
        Ok((open == 0).then_some(()))
    })
}

pub(crate) fn describe(view: &JobView) -> String {
    let mut text = view.state.clone();
    if let Some(boot) = &view.boot {
        text += &format!(", {} {} (boot {})", boot.sled, boot.stage, boot.id);
    }
    if let Some(conclusion) = &view.conclusion {
        text += &format!(", {conclusion}");
    }
    if let Some(reason) = &view.reason {
        text += &format!(": {reason}");
    }
    text
}

/// Judges every job.
fn fill(summary: &mut Summary, rig: &Rig, jobs: &[HubJob], views: &[JobView]) {
    let receipts = rig.verified_receipts().context("verify receipts");
    let receipts = receipts.unwrap_or_else(|error| {
        summary.problem(format!("{error:#}"));
        Vec::new()
    });
    for (number, job) in (1..).zip(jobs) {
        let view = views.iter().find(|view| view.id == job.id);
        let log = rig.hub_job(job.id).map(|job| job.log).unwrap_or_default();
        summary.add(&format!("demo-{number}"), job.id, view, &log, &receipts);
    }
    summary.judge(true);
}
