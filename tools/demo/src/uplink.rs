//! A way out of the rig's namespace for jobs that need GitHub: slirp4netns
//! carries its traffic as ordinary connections of this machine, whose own
//! network stays as it is. The stand-in's rigs have none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use musher_lab::Lab;

use crate::wait_for;

const INTERFACE: &str = "uplink";
/// slirp4netns answers DNS here, by the machine's own resolver.
const DNS: &str = "10.0.2.3";
const START_LIMIT: Duration = Duration::from_secs(10);

/// Forwarding and address translation, inside the namespace.
const RULES: &str = "add table ip egress
add chain ip egress post { type nat hook postrouting priority 100; }
add rule ip egress post ip saddr 10.77.0.0/24 oifname \"uplink\" masquerade
";

/// An uplink that is up. It ends with the lab.
#[derive(Debug)]
pub(crate) struct Uplink {
    carrier: Child,
    holder: Child,
    resolv_conf: PathBuf,
}

/// What `[dhcp]` says where there is an uplink.
pub(crate) fn dhcp_lines() -> String {
    format!("gateway = \"10.77.0.1\"\ndns = [\"{DNS}\"]\n")
}

impl Uplink {
    /// # Errors
    /// slirp4netns or nft is missing, or the kernel has no address translation.
    pub(crate) fn up(lab: &Lab, dir: &Path) -> Result<Self> {
        let quiet = |command: &mut Command| {
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
        };
        let holder = quiet(lab.command("sleep").arg("infinity")).context("run sleep")?;
        let number = holder.id();
        // Only once it is sleep has it joined the namespace.
        wait_for("the lab's namespace", START_LIMIT, || {
            let name = fs::read_to_string(format!("/proc/{number}/comm")).unwrap_or_default();
            Ok((name == "sleep\n").then_some(()))
        })?;
        let carrier = quiet(
            Command::new("slirp4netns")
                .args(["--configure", "--mtu=1500", "--disable-host-loopback"])
                .arg(number.to_string())
                .arg(INTERFACE),
        )
        .context("cannot run slirp4netns; install the package slirp4netns")?;
        let resolv_conf = dir.join("resolv.conf");
        fs::write(&resolv_conf, format!("nameserver {DNS}\n")).context("write resolv.conf")?;
        let rules = dir.join("egress.nft");
        fs::write(&rules, RULES).context("write the egress rules")?;
        let uplink = Self {
            carrier,
            holder,
            resolv_conf,
        };
        wait_for("the uplink", START_LIMIT, || {
            let shown = lab
                .command("ip")
                .args(["-brief", "-4", "address", "show", "dev", INTERFACE])
                .output()
                .context("run ip")?;
            Ok(String::from_utf8_lossy(&shown.stdout)
                .contains("10.0.2.")
                .then_some(()))
        })?;
        run(
            lab.command("nft").arg("-f").arg(&rules),
            "install the package nftables",
        )?;
        run(
            lab.command("sysctl")
                .args(["-q", "-w", "net.ipv4.ip_forward=1"]),
            "install the package procps",
        )?;
        Ok(uplink)
    }

    /// A command that runs `program` with the uplink's name server: the
    /// machine's own may be on its loopback, which the namespace lacks.
    pub(crate) fn command(&self, lab: &Lab, program: &Path) -> Command {
        let mut command = lab.command("unshare");
        command.args(["--mount", "sh", "-c"]);
        command.arg("mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"");
        command.arg("sh").arg(&self.resolv_conf).arg(program);
        command
    }
}

impl Drop for Uplink {
    fn drop(&mut self) {
        for child in [&mut self.carrier, &mut self.holder] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn run(command: &mut Command, help: &str) -> Result<()> {
    let done = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {:?}; {help}", command.get_program()))?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{command:?}: {}", said.trim());
    Ok(())
}
