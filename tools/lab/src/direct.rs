//! Boots a kernel and initramfs directly in QEMU, past firmware and network,
//! and says how long the guest took to print a text. It leaves no guest
//! running.

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use crate::acceleration::Accelerator;
use crate::process::wait_until;
use crate::qemu::{self, First};
use crate::record::SledRecord;

/// What to boot, and what to wait for.
#[derive(Clone, Debug)]
pub struct DirectBoot {
    /// The kernel image.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initramfs: PathBuf,
    /// The kernel command line.
    pub command_line: String,
    /// The text on the serial console that ends the measurement.
    pub until: String,
    /// How long to wait for it.
    pub limit: Duration,
}

/// What a direct boot showed.
#[derive(Clone, Debug, Serialize)]
pub struct DirectBootReport {
    /// From the start of QEMU to the awaited text.
    pub until_ms: u64,
    /// What the guest wrote up to then.
    pub console: String,
}

/// Boots outside any lab, on a machine without network or disk, under TCG.
///
/// # Errors
/// QEMU that does not start, or a guest that does not print the text in time.
pub fn direct_boot(boot: &DirectBoot, memory_mib: u32) -> Result<DirectBootReport> {
    let mut arguments: Vec<String> = [
        "-machine",
        "q35,graphics=off",
        "-nodefaults",
        "-display",
        "none",
        "-no-reboot",
    ]
    .map(str::to_owned)
    .to_vec();
    arguments.extend(Accelerator::Tcg.arguments().map(str::to_owned));
    arguments.extend(["-m".to_owned(), memory_mib.to_string()]);
    run(Command::new(qemu::PROGRAM), &arguments, boot)
}

/// The sled's own hardware, without its firmware choice, its console and its
/// control socket.
pub(crate) fn sled_arguments(sled: &SledRecord) -> Vec<String> {
    let plain = SledRecord {
        firmware: crate::Firmware::Bios,
        ..sled.clone()
    };
    let all = qemu::machine_arguments(&plain, First::Network);
    let mut kept = Vec::new();
    let mut words = all.into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-chardev" | "-serial" | "-qmp" => drop(words.next()),
            _ => kept.push(word),
        }
    }
    kept
}

/// Runs QEMU with these arguments and the boot's kernel until the text shows.
pub(crate) fn run(
    mut command: Command,
    arguments: &[String],
    boot: &DirectBoot,
) -> Result<DirectBootReport> {
    let kernel = find(&boot.kernel)?;
    let initramfs = find(&boot.initramfs)?;
    let console = std::env::temp_dir().join(format!(
        "musher-direct-{}-{:x}.log",
        std::process::id(),
        crate::process::now_ms()
    ));
    command
        .args(arguments)
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", &boot.command_line])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let start = Instant::now();
    let mut guest = command
        .spawn()
        .context("cannot run QEMU; install qemu-system-x86")?;
    let mut until_ms = None;
    wait_until(boot.limit, || {
        let ended = guest.try_wait().is_ok_and(|status| status.is_some());
        let said = fs::read(&console).unwrap_or_default();
        if String::from_utf8_lossy(&said).contains(&boot.until) {
            until_ms = u64::try_from(start.elapsed().as_millis()).ok();
        }
        ended || until_ms.is_some()
    });
    let _ = guest.kill();
    let _ = guest.wait();
    let mut errors = String::new();
    if let Some(mut stream) = guest.stderr.take() {
        let _ = stream.read_to_string(&mut errors);
    }
    let said = String::from_utf8_lossy(&fs::read(&console).unwrap_or_default()).into_owned();
    let _ = fs::remove_file(&console);
    ensure!(
        until_ms.is_some(),
        "the guest did not print {:?} within {} s: {} {}",
        boot.until,
        boot.limit.as_secs(),
        said.trim(),
        errors.trim()
    );
    Ok(DirectBootReport {
        until_ms: until_ms.unwrap_or_default(),
        console: said,
    })
}

fn find(path: &std::path::Path) -> Result<PathBuf> {
    path.canonicalize()
        .with_context(|| format!("there is no file {}", path.display()))
}
