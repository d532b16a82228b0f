//! From power on to the agent's own address on the sled network: through
//! firmware and netboot, and with kernel and initramfs put into memory by
//! QEMU. The same sled, the same files, the same line on the console, which
//! is the last one before the agent says hello that a boot without a ticket
//! gets to as well.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use musher_demo::{PowerEvent, Rig, RigConfig, wait_for};
use musher_lab::{DirectBoot, Firmware, Lab};

use crate::Bench;
use crate::acks::median;
use crate::summary::{Goal, Row};

/// Boots of each kind; their median counts.
const ROUNDS: usize = 3;
/// For one boot on a slow, busy machine without KVM.
const BOOT_LIMIT: Duration = Duration::from_secs(240);
/// What the agent prints when it has its address.
const UNTIL: &str = " has 10.77.0.";
/// No appliance ever answers to these: the agent gets its address first.
const DIRECT_COMMAND_LINE: &str = "console=ttyS0 musher.url=https://10.77.0.1:8480 \
    musher.pin=0000000000000000000000000000000000000000000000000000000000000000 \
    musher.ticket=00000000000000000000000000000000";

/// `netboot`.
pub(crate) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let programs = bench.folder("programs")?;
    let tools = bench.target.join("debug");
    for name in ["fakehub", "musher-lab", "musher-demo"] {
        let program = tools.join(name);
        ensure!(
            program.is_file(),
            "{} is not built; run `cargo build --workspace --bins`",
            program.display()
        );
        symlink(&program, programs.join(name)).context("link a program")?;
    }
    symlink(&bench.musher()?, programs.join("musher")).context("link musher")?;
    let dir = bench.work.join("netboot");
    let mut config = RigConfig::with_programs(programs, dir, vec![Firmware::Bios.into()]);
    config.images = bench.target.join("images");
    let rig = Rig::up(&config)?;
    let (mut ours, mut direct) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        ours.push(netboot(&rig)?);
        direct.push(direct_boot(&rig, &config.images)?);
        if let (Some(ours), Some(direct)) = (ours.last(), direct.last()) {
            println!("  round {round} of {ROUNDS}: netboot {ours:.2} s, direct {direct:.2} s");
        }
    }
    rig.down()?;
    let figures = (median(&mut ours), median(&mut direct), "s");
    Ok(vec![Row::new(
        "netboot",
        figures,
        "QEMU -kernel -initrd",
        Goal::Shown,
    )])
}

/// Boots the sled for a job, and waits until it is off again. Seconds from the
/// start of its machine to the agent's address.
fn netboot(rig: &Rig) -> Result<f64> {
    let sled = rig
        .lab_sleds()
        .into_iter()
        .next()
        .context("the lab has no sled")?;
    let before = fs::metadata(&sled.console_path).map_or(0, |meta| meta.len());
    let job = rig.queue_job("bench", "true")?;
    let at = console_shows(&sled.console_path, before)?;
    let start = rig
        .power_log(&sled.name)?
        .into_iter()
        .rev()
        .find(|line| line.event == PowerEvent::Started)
        .context("the sled's machine was never started")?;
    wait_for("the job, and its sled off", BOOT_LIMIT, || {
        let done = rig
            .job(job.id)?
            .is_some_and(|job| job.ended() && job.boot.is_some_and(|boot| boot.receipt.is_some()));
        Ok((done && !rig.is_on(&sled.name)).then_some(()))
    })?;
    let elapsed = at.checked_sub(Duration::from_millis(start.at_ms));
    Ok(elapsed.context("the clock was set back")?.as_secs_f64())
}

/// When the console shows the line behind its first `from` bytes, since the
/// Unix epoch.
fn console_shows(console: &Path, from: u64) -> Result<Duration> {
    let from = usize::try_from(from).context("the console's log is too long")?;
    let start = Instant::now();
    loop {
        let text = fs::read(console).unwrap_or_default();
        let fresh = String::from_utf8_lossy(text.get(from..).unwrap_or_default());
        if fresh.contains(UNTIL) {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            return now.context("the clock is before 1970");
        }
        ensure!(
            start.elapsed() < BOOT_LIMIT,
            "the sled's agent had no address within {} s; see {}",
            BOOT_LIMIT.as_secs(),
            console.display()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn direct_boot(rig: &Rig, images: &Path) -> Result<f64> {
    let lab = Lab::open(&rig.dir().join("lab"))?;
    let report = lab.direct_boot(
        1,
        &DirectBoot {
            kernel: images.join("kernel/vmlinuz"),
            initramfs: images.join("initramfs.img"),
            command_line: DIRECT_COMMAND_LINE.to_owned(),
            until: UNTIL.to_owned(),
            limit: BOOT_LIMIT,
        },
    )?;
    Ok(Duration::from_millis(report.until_ms).as_secs_f64())
}
