//! The chassis program that a sled's BMC simulator calls: it carries out power
//! and boot commands on the sled's QEMU and answers from what is true, not
//! from what was commanded. It never changes power by itself.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::process::{replace_file, wait_until};
use crate::record::SledDir;

const START_LIMIT: Duration = Duration::from_secs(5);
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// IPMI 2.0 section 28.13: without an override the machine boots as it likes.
const NO_OVERRIDE: &str = "none";

/// Runs one call, as `ipmi_sim` makes it: `get power`, `get boot`,
/// `set power 1|0`, `set boot DEVICE`, `set reset 1`, `set shutdown 1`; the
/// answer to `get` is printed as `NAME:VALUE`.
///
/// # Errors
/// Words it does not know, a machine that does not start or stop, a lab that
/// is being taken down. The simulator turns any of them into an IPMI error.
pub fn run(dir: &Path, words: &[String]) -> Result<()> {
    let dir = SledDir(dir.to_path_buf());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["get", names @ ..] => names.iter().try_for_each(|name| get(&dir, name)),
        ["set", pairs @ ..] => {
            let _alone = dir.lock("chassis.lock")?;
            pairs.chunks(2).try_for_each(|pair| match pair {
                [name, value] => set(&dir, name, value),
                _ => bail!("set lacks a value in {pairs:?}"),
            })
        }
        _ => bail!("expected get or set, not {words:?}"),
    }
}

fn get(dir: &SledDir, name: &str) -> Result<()> {
    match name {
        "power" => println!("power:{}", u8::from(dir.machine().is_some())),
        "boot" => println!("boot:{}", boot_override(dir)),
        other => bail!("{other} cannot be asked for"),
    }
    Ok(())
}

fn set(dir: &SledDir, name: &str, value: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric();
    ensure!(
        value.len() < 16 && value.chars().all(plain),
        "{name} cannot be {value:?}"
    );
    // Logged before it is tried: a command is an edge even where it fails.
    dir.log_power(&format!("set {name} {value}"))?;
    match (name, value) {
        ("power", "1") => start(dir),
        ("power", "0") => stop(dir),
        ("boot", device) => replace_file(&dir.file("boot"), device.as_bytes(), 0o644),
        // Section 28.3: a reset of a machine that is off has no effect.
        ("reset", _) if dir.machine().is_none() => Ok(()),
        ("reset", _) => stop(dir).and_then(|()| start(dir)),
        ("shutdown", _) => shut_down(dir),
        _ => bail!("{name} cannot be set to {value}"),
    }
}

fn boot_override(dir: &SledDir) -> String {
    fs::read_to_string(dir.file("boot"))
        .ok()
        .filter(|device| !device.is_empty())
        .unwrap_or_else(|| NO_OVERRIDE.to_owned())
}

/// Starts the machine in the background, if it is off.
pub(crate) fn start(dir: &SledDir) -> Result<()> {
    if dir.machine().is_some() {
        return Ok(());
    }
    ensure!(!dir.closed().exists(), "the lab is being taken down");
    let device = boot_override(dir);
    let program = std::env::current_exe().context("find the lab's own program")?;
    // In a process group of its own, a ctrl-c in the terminal passes it by;
    // without our pipes, ipmi_sim does not wait for it.
    let mut keeper = Command::new(program)
        .arg("keeper")
        .arg(&dir.0)
        .arg(&device)
        .current_dir(&dir.0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("start the machine's keeper")?;
    let mut ended = false;
    wait_until(START_LIMIT, || {
        ended = keeper.try_wait().is_ok_and(|status| status.is_some());
        ended || dir.machine().is_some()
    });
    if dir.machine().is_none() {
        let said = fs::read_to_string(dir.file("qemu.log")).unwrap_or_default();
        let how = if ended {
            "ended at once"
        } else {
            "did not start"
        };
        bail!("the machine {how}: {}", said.trim());
    }
    // Section 28.13, parameter 5: an override that is not persistent is good
    // for one boot. The simulator does not tell which it is; one is safe.
    replace_file(&dir.file("boot"), NO_OVERRIDE.as_bytes(), 0o644)
}

/// Cuts the machine's power, if it is on.
pub(crate) fn stop(dir: &SledDir) -> Result<()> {
    if let Some(machine) = dir.machine() {
        machine.kill();
        let gone = wait_until(STOP_LIMIT, || !machine.is_alive());
        ensure!(
            gone,
            "the machine's process {} does not end",
            machine.number()
        );
        // The keeper logs the exit; let the log be in order before we answer.
        wait_until(STOP_LIMIT, || !dir.file("qemu.pid").exists());
    }
    Ok(())
}

/// Presses the power button shortly: what happens is up to the guest.
fn shut_down(dir: &SledDir) -> Result<()> {
    if dir.machine().is_none() {
        return Ok(());
    }
    // A socket's path holds 107 bytes at most (unix(7)), so it is reached by
    // a relative one.
    std::env::set_current_dir(&dir.0).context("enter the sled's directory")?;
    let mut socket = UnixStream::connect("qmp.sock").context("reach QEMU's control socket")?;
    socket
        .set_read_timeout(Some(STOP_LIMIT))
        .context("bound the wait for QEMU")?;
    let mut lines = BufReader::new(socket.try_clone().context("share QEMU's socket")?).lines();
    for command in ["qmp_capabilities", "system_powerdown"] {
        writeln!(socket, "{}", json!({ "execute": command })).context("write to QEMU")?;
        // The greeting and events come in between.
        let answered = lines.by_ref().take(16).map_while(Result::ok).any(|line| {
            serde_json::from_str::<Value>(&line).is_ok_and(|said| said.get("return").is_some())
        });
        ensure!(answered, "QEMU did not answer {command}");
    }
    Ok(())
}
