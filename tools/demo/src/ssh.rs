//! A tunnel that many operators have: `ssh -R` to a host that GitHub reaches.
//! Here that host is an sshd of the rig's own, on loopback, with keys that
//! are made for it and end with it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use musher_lab::Lab;

/// Where the rig's sshd listens.
const LISTEN: (&str, u16) = ("127.0.0.1", 9422);
/// The port of the host that GitHub reaches; it leads to Musher.
pub(crate) const PUBLIC: &str = "127.0.0.1:9480";

/// Makes keys and configuration in `dir`.
///
/// # Errors
/// No right to run an sshd, or no programs of OpenSSH.
pub(crate) fn prepare(dir: &Path) -> Result<()> {
    let own = fs::metadata("/proc/self")
        .context("look at this process")?
        .uid();
    ensure!(
        own == 0,
        "sshd takes its users' rights on, which needs root: run the demo as root"
    );
    fs::create_dir_all(dir).context("make a folder for keys")?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).context("close the folder")?;
    for name in ["host_key", "key"] {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(dir.join(name))
            .stdin(Stdio::null())
            .output()
            .context("cannot run ssh-keygen; install the package openssh-client")?;
        ensure!(made.status.success(), "ssh-keygen made no key: {made:?}");
    }
    let public = |name: &str| fs::read_to_string(dir.join(name)).context("read a public key");
    let (host, port) = LISTEN;
    let known = format!("[{host}]:{port} {}", public("host_key.pub")?);
    fs::write(dir.join("known_hosts"), known).context("write known_hosts")?;
    let allowed = format!("restrict,port-forwarding {}", public("key.pub")?);
    fs::write(dir.join("authorized_keys"), allowed).context("write authorized_keys")?;
    let shown = dir.display();
    let config = format!(
        "ListenAddress {host}:{port}\nHostKey {shown}/host_key\n\
         AuthorizedKeysFile {shown}/authorized_keys\nStrictModes no\nUsePAM no\nPidFile none\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         PermitRootLogin prohibit-password\nAllowTcpForwarding remote\nPermitListen {PUBLIC}\n"
    );
    fs::write(dir.join("sshd_config"), config).context("write sshd_config")
}

/// The sshd, in the foreground, to be run inside the lab.
///
/// # Errors
/// Its empty folder cannot be made.
pub(crate) fn server(lab: &Lab, dir: &Path) -> Result<Command> {
    // Debian makes it when the service starts, which it never does here.
    fs::create_dir_all("/run/sshd").context("make /run/sshd")?;
    let mut command = lab.command("/usr/sbin/sshd");
    command
        .args(["-D", "-e", "-f"])
        .arg(dir.join("sshd_config"));
    Ok(command)
}

/// The arguments of the tunnel program that leads to `target`.
pub(crate) fn client(dir: &Path, target: &str) -> Vec<String> {
    let (host, port) = LISTEN;
    let shown = dir.display();
    let fixed = [
        "ssh",
        "-N",
        "-T",
        "-F",
        "none",
        "-o",
        "IdentitiesOnly=yes",
        "-o",
    ];
    let last = [
        "BatchMode=yes".to_owned(),
        "-o".to_owned(),
        "ExitOnForwardFailure=yes".to_owned(),
        "-o".to_owned(),
        format!("UserKnownHostsFile={shown}/known_hosts"),
        "-i".to_owned(),
        format!("{shown}/key"),
        "-p".to_owned(),
        port.to_string(),
        "-R".to_owned(),
        format!("{PUBLIC}:{target}"),
        format!("root@{host}"),
    ];
    fixed.map(str::to_owned).into_iter().chain(last).collect()
}
