//! Stays beside one machine from its start to its end, writes down which
//! process it is and logs both moments. It never ends the machine.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result};

use crate::process::{Process, replace_file};
use crate::qemu::{self, First};
use crate::record::SledDir;

/// Starts the machine of a sled and waits until it ends. `device` is the BMC's
/// boot override; `default` and `disk` put the local disk first.
///
/// # Errors
/// QEMU cannot be started, or the sled's directory cannot be written.
pub fn run(dir: &Path, device: &str) -> Result<()> {
    let dir = SledDir(dir.to_path_buf());
    let sled = dir.record()?;
    // One keeper at a time: the one before may still be logging its exit.
    let _alone = dir.lock("keeper.lock")?;
    let first = match device {
        "default" | "disk" => First::Disk,
        _ => First::Network,
    };
    let log = dir.file("qemu.log");
    let out = File::create(&log).with_context(|| format!("create {}", log.display()))?;
    let mut machine = qemu::command(&dir.0, &sled, first)
        .stdin(Stdio::null())
        .stdout(out.try_clone().context("share QEMU's log")?)
        .stderr(out)
        .spawn()
        .with_context(|| format!("cannot run {}; install qemu-system-x86", qemu::PROGRAM))?;
    let file = dir.file("qemu.pid");
    if let Some(process) = Process::find(machine.id()) {
        dir.log_power("started")?;
        replace_file(&file, process.to_text().as_bytes(), 0o644)?;
    }
    let ended = machine.wait().context("wait for QEMU")?;
    dir.log_power(&format!("exited {ended}"))?;
    let _ = fs::remove_file(&file);
    Ok(())
}
