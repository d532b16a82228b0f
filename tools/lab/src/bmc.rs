//! Starts OpenIPMI's `ipmi_sim` as a sled's BMC. The simulator decides when
//! power changes; the chassis command carries it out.
//!
//! It speaks IPMI 2.0 with cipher suites 0, 1 and 3 (not 17).

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::namespace::Namespace;
use crate::process::{Process, replace_file, wait_until};
use crate::record::{SledDir, SledRecord};

/// IPMI 2.0 section 22.30: a password holds 16 bytes, or 20 for RMCP+ only.
const PASSWORD_LENGTH: usize = 16;

/// Writes the BMC's configuration and a fresh password.
pub(crate) fn prepare(lab_binary: &Path, dir: &SledDir, sled: &SledRecord) -> Result<()> {
    let words = [lab_binary, &dir.0];
    for path in words {
        let text = path.to_str().unwrap_or("\"");
        // ipmi_sim hands the line to a shell and knows no escapes of its own.
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:".contains(c);
        ensure!(
            text.chars().all(plain),
            "{} holds characters that ipmi_sim cannot take; use another directory",
            path.display()
        );
    }
    let password = random_password()?;
    replace_file(&dir.file("bmc-password"), password.as_bytes(), 0o600)?;
    let chassis = format!("{} chassis {}", lab_binary.display(), dir.0.display());
    let settings = lan_settings(sled, &password, &chassis);
    replace_file(&dir.file("lan.conf"), settings.as_bytes(), 0o600)?;
    replace_file(&dir.file("bmc.emu"), EMULATOR.as_bytes(), 0o644)?;
    let state = dir.file("bmc-state");
    fs::create_dir_all(&state).with_context(|| format!("make directory {}", state.display()))
}

/// Starts the simulator and waits until it listens.
pub(crate) fn start(namespace: &Namespace, dir: &SledDir, sled: &SledRecord) -> Result<Child> {
    let log = dir.file("ipmi_sim.log");
    let out = File::create(&log).with_context(|| format!("create {}", log.display()))?;
    let mut child = namespace
        .command("ipmi_sim")
        .args([
            "-n",
            "-c",
            "lan.conf",
            "-f",
            "bmc.emu",
            "-s",
            "bmc-state",
            "-p",
        ])
        .current_dir(&dir.0)
        .stdin(Stdio::null())
        .stdout(out.try_clone().context("share the simulator's log")?)
        .stderr(out)
        .process_group(0)
        .spawn()
        .context("cannot run ipmi_sim; install the package openipmi")?;
    let number = child.id();
    let listens = wait_until(Duration::from_secs(10), || {
        listens_on(number, sled.bmc_port) || child.try_wait().is_ok_and(|ended| ended.is_some())
    });
    if !listens || Process::find(number).is_none() {
        let _ = child.kill();
        let _ = child.wait();
        let said = fs::read_to_string(&log).unwrap_or_default();
        bail!(
            "the BMC simulator of {} does not listen: {}",
            sled.name,
            said.trim()
        );
    }
    Ok(child)
}

/// Whether a UDP socket is bound to the port in the process's namespace
/// (/proc/PID/net/udp, local address in hexadecimal).
fn listens_on(process: u32, port: u16) -> bool {
    let wanted = format!(":{port:04X}");
    fs::read_to_string(format!("/proc/{process}/net/udp")).is_ok_and(|table| {
        table
            .lines()
            .filter_map(|line| line.split_whitespace().nth(1))
            .any(|local| local.ends_with(&wanted))
    })
}

fn random_password() -> Result<String> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; PASSWORD_LENGTH];
    let mut source = File::open("/dev/urandom").context("open /dev/urandom")?;
    std::io::Read::read_exact(&mut source, &mut bytes).context("read /dev/urandom")?;
    // 256 is a multiple of 32, so every letter is equally likely.
    let letter = |byte: u8| {
        LETTERS
            .get(usize::from(byte % 32))
            .map(|letter| char::from(*letter))
    };
    Ok(bytes.into_iter().filter_map(letter).collect())
}

/// lan.conf, see ipmi_lan(5). User 1 is the anonymous user that ipmi_sim
/// needs in order to answer the discovery of authentication types.
fn lan_settings(sled: &SledRecord, password: &str, chassis: &str) -> String {
    let SledRecord {
        name,
        number,
        bmc_port,
        bmc_username,
        ..
    } = sled;
    let anonymous = "user 1 false \"\" \"\" user 10 none";
    format!(
        r#"name "{name}"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 {bmc_port}
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid 6d75736865726c616200000000{number:06x}
  endlan
  chassis_control "{chassis}"
  {anonymous}
  user 2 true "{bmc_username}" "{password}" admin 10 none md2 md5 straight
"#
    )
}

/// The emulated controller: a BMC at address 0x20 with a chassis device, see
/// ipmi_sim_cmd(5).
const EMULATOR: &str = "mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
mc_enable 0x20
";
