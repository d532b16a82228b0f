//! The files that a rig's programs read: keys, secrets, `musher.toml`,
//! `inventory.toml`, `fakehub.toml`. Secrets get mode 0600 from the start.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use musher_lab::LabSled;

use crate::{RigConfig, ssh, uplink};

/// Where Musher takes deliveries, inside the rig's namespace.
pub(crate) const WEBHOOK_LISTEN: &str = "127.0.0.1:8400";
/// Where Musher's page is, inside the rig's namespace.
pub(crate) const ADMIN_LISTEN: &str = "127.0.0.1:8443";
/// The stand-in's API, and its control routes.
pub(crate) const HUB_API: &str = "127.0.0.1:9400";
/// The stand-in's channels.
const CHANNELS: &str = "127.0.0.1:9402";
/// What sleds reach of the stand-in.
const HUB_SLEDS: &str = "10.77.0.1:9401";
/// Boot files and the agent API.
const SLED_LISTEN: &str = "10.77.0.1:8480";
/// The App's number.
const APP_ID: u64 = 123_456;
/// The runner release that the stub stands for.
const RUNNER_VERSION: &str = "2.335.0";

/// Labels of the rig's only pool.
pub const RUNNER_LABELS: [&str; 3] = ["self-hosted", "linux", "x64"];

/// `[deadlines]` of `musher.toml`, in seconds; those not named stay at their
/// defaults. Keys are the configuration's own, such as `netboot_s`.
pub type Deadlines = Vec<(&'static str, u64)>;

/// Where jobs come from.
#[derive(Clone, Debug)]
pub enum Github {
    /// The stand-in, which the rig starts.
    StandIn,
    /// GitHub itself.
    Real(RealGithub),
}

/// An App at GitHub, and what its runners are.
#[derive(Clone, Debug)]
pub struct RealGithub {
    /// Where GitHub's API is.
    pub api_url: String,
    /// Authority of its certificate, where that is not one of the machine's.
    pub ca_file: Option<PathBuf>,
    /// The App's number.
    pub app_id: u64,
    /// Its private key, mode 0600.
    pub private_key: PathBuf,
    /// Its webhook's secret, mode 0600.
    pub webhook_secret: PathBuf,
    /// `ORG`, or `OWNER/REPOSITORY`.
    pub scope: String,
    /// Labels of the runners.
    pub labels: Vec<String>,
    /// Root filesystem with GitHub's runner in it.
    pub rootfs: PathBuf,
}

impl Github {
    /// The `[[github]]` entry.
    fn section(&self) -> String {
        let (api_url, app_id, key, secret) = match self {
            Self::StandIn => (
                format!("http://{HUB_API}"),
                APP_ID,
                "gh-app.pem".into(),
                "webhook-secret".into(),
            ),
            Self::Real(real) => (
                real.api_url.clone(),
                real.app_id,
                real.private_key.clone(),
                real.webhook_secret.clone(),
            ),
        };
        let more = match self {
            // Where sleds reach it.
            Self::StandIn => format!("web_url = \"http://{HUB_SLEDS}\"\n"),
            Self::Real(RealGithub {
                ca_file: Some(file),
                ..
            }) => format!("ca_file = \"{}\"\n", file.display()),
            Self::Real(_) => String::new(),
        };
        format!(
            "\n[[github]]\nname = \"main\"\napi_url = \"{api_url}\"\n{more}app_id = {app_id}\n\
             private_key_path = \"{}\"\nwebhook_secret_path = \"{}\"\n",
            key.display(),
            secret.display()
        )
    }

    /// The pool's scope, labels and root filesystem.
    fn pool(&self, images: &Path) -> (String, Vec<String>, PathBuf) {
        match self {
            Self::StandIn => (
                "octo-org".to_owned(),
                RUNNER_LABELS.map(str::to_owned).to_vec(),
                images.join("runner.squashfs"),
            ),
            Self::Real(real) => (real.scope.clone(), real.labels.clone(), real.rootfs.clone()),
        }
    }
}

/// How deliveries come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// The stand-in sends them to Musher's own address.
    #[default]
    Direct,
    /// Nobody listens where the stand-in sends them.
    Pull,
    /// Through a channel of the stand-in's, as smee.io has them.
    Smee,
    /// Through `ssh -R`, which Musher keeps running.
    Command,
}

impl Way {
    /// Where the stand-in sends deliveries.
    fn webhook_url(self) -> String {
        let host = match self {
            Self::Direct => WEBHOOK_LISTEN,
            // The port of discard, where nobody listens.
            Self::Pull => "127.0.0.1:9",
            Self::Smee => return format!("http://{CHANNELS}/demo"),
            Self::Command => ssh::PUBLIC,
        };
        format!("http://{host}/api/webhook")
    }

    /// `[tunnel]` of `musher.toml`.
    fn section(self, files: &Files) -> String {
        let lines = match self {
            Self::Direct => return String::new(),
            Self::Pull => "kind = \"pull\"".to_owned(),
            Self::Smee => format!("kind = \"smee\"\nurl = \"{}\"", self.webhook_url()),
            Self::Command => {
                let command = ssh::client(&files.path("ssh"), WEBHOOK_LISTEN);
                format!("kind = \"command\"\ncommand = {command:?}")
            }
        };
        format!("\n[tunnel]\n{lines}\n")
    }
}

/// A rig's folder.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) dir: PathBuf,
}

impl Files {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn musher_config(&self) -> PathBuf {
        self.path("musher.toml")
    }

    pub(crate) fn inventory(&self) -> PathBuf {
        self.path("inventory.toml")
    }

    pub(crate) fn hub_config(&self) -> PathBuf {
        self.path("fakehub.toml")
    }

    /// Makes the App's key pair and the webhook's secret.
    pub(crate) fn write_secrets(&self) -> Result<()> {
        let private = self.path("gh-app.pem");
        // The file exists with its mode before the key is in it.
        write_secret(&private, "")?;
        openssl(&["genrsa", "-traditional", "-out"], &private)?;
        let public = self.path("gh-app.pub.pem");
        let input = private.to_string_lossy();
        openssl(&["rsa", "-in", &input, "-pubout", "-out"], &public)?;
        let mut random = [0; 20];
        std::io::Read::read_exact(
            &mut File::open("/dev/urandom").context("open /dev/urandom")?,
            &mut random,
        )
        .context("read random bytes")?;
        let hex = random.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        write_secret(&self.path("webhook-secret"), &hex)
    }

    pub(crate) fn write_hub_config(&self, runner: &Path, way: Way, lines: &str) -> Result<()> {
        let webhook_url = way.webhook_url();
        let runner = runner.display();
        let text = format!(
            r#"[api]
listen = "{HUB_API}"

[sled]
listen = "{HUB_SLEDS}"

[channel]
listen = "{CHANNELS}"

[runner]
path = "{runner}"
version = "{RUNNER_VERSION}"

[[app]]
app_id = {APP_ID}
public_key_path = "gh-app.pub.pem"
webhook_url = "{webhook_url}"
webhook_secret_path = "webhook-secret"
events = ["workflow_job", "workflow_run"]
permissions = {{ actions = "write", administration = "write", metadata = "read", organization_self_hosted_runners = "write" }}

[[app.installation]]
id = 1001
account = "octo-org"
repositories = ["demo"]

{lines}
"#
        );
        write(&self.hub_config(), &text)
    }

    pub(crate) fn write_musher_config(
        &self,
        page: &str,
        github: &Github,
        way: Way,
        deadlines: &Deadlines,
    ) -> Result<()> {
        let mut text = format!(
            r#"[server]
public_url = "{page}"
webhook_listen = "{WEBHOOK_LISTEN}"
admin_listen = "{ADMIN_LISTEN}"
sled_interface = "{bridge}"
sled_listen = "{SLED_LISTEN}"
state_dir = "state"

[dhcp]
mode = "server"
range = "10.77.0.50-10.77.0.200"
"#,
            bridge = musher_lab::BRIDGE
        );
        if let Github::Real(_) = github {
            text += &uplink::dhcp_lines();
        }
        text += &github.section();
        text += &way.section(self);
        if !deadlines.is_empty() {
            text += "\n[deadlines]\n";
        }
        for (key, seconds) in deadlines {
            let _ = writeln!(text, "{key} = {seconds}");
        }
        write(&self.musher_config(), &text)
    }

    pub(crate) fn write_inventory(
        &self,
        sleds: &[LabSled],
        images: &Path,
        config: &RigConfig,
    ) -> Result<()> {
        let (scope, labels, rootfs) = config.github.pool(images);
        let kind = if scope.contains('/') { "repo" } else { "org" };
        let labels: Vec<String> = labels.iter().map(|label| format!("\"{label}\"")).collect();
        let mut text = format!(
            r#"[[image]]
name = "runner"
kernel = "{images}/kernel/vmlinuz"
initramfs = "{images}/initramfs.img"
rootfs = "{rootfs}"
cmdline = "console=ttyS0"

[[pool]]
name = "linux-x64"
github = "main"
scope = {{ {kind} = "{scope}" }}
labels = [{labels}]
image = "runner"
{pool_lines}
"#,
            images = images.display(),
            rootfs = rootfs.display(),
            pool_lines = config.pool_lines,
            labels = labels.join(", "),
        );
        for sled in sleds {
            let LabSled { name, mac, .. } = sled;
            let power = match config.programmed.contains(name) {
                true => self.write_power_program(sled, &config.programs)?,
                false => format!(
                    "driver = \"ipmi\", address = \"{}\", username = \"{}\", \
                     password_path = \"{}\", cipher = 3",
                    sled.bmc_address,
                    sled.bmc_username,
                    sled.bmc_password_path.display()
                ),
            };
            let _ = write!(
                text,
                "\n[[sled]]\nname = \"{name}\"\npools = [\"linux-x64\"]\nmac = \"{mac}\"\n\
                 power = {{ {power} }}\n"
            );
        }
        write(&self.inventory(), &text)
    }

    pub(crate) fn power_program(&self, sled: &str) -> PathBuf {
        self.dir.join(format!("power-{sled}"))
    }

    /// A program that powers a sled by the contract of Musher's `command`
    /// driver, and the power settings that name it.
    fn write_power_program(&self, sled: &LabSled, programs: &Path) -> Result<String> {
        let path = self.power_program(&sled.name);
        let folder = sled
            .power_log_path
            .parent()
            .context("find a sled's files")?;
        let text = format!(
            r#"#!/bin/sh
# PROGRAM VERB SLED: powers a sled of the lab, past its BMC.
[ "$2" = "{name}" ] || exit 1
chassis() {{ '{lab}' chassis '{folder}' "$@"; }}
case $1 in
on) chassis set power 1 ;;
off) chassis set power 0 ;;
status)
    case $(chassis get power) in
    power:1) echo on ;;
    power:0) echo off ;;
    *) exit 69 ;;
    esac
    ;;
*) exit 64 ;;
esac
"#,
            name = sled.name,
            lab = programs.join("musher-lab").display(),
            folder = folder.display(),
        );
        write(&path, &text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("make {} a program", path.display()))?;
        let program = path.display();
        Ok(format!("driver = \"command\", program = [\"{program}\"]"))
    }
}

fn openssl(arguments: &[&str], out: &Path) -> Result<()> {
    let done = Command::new("openssl")
        .args(arguments)
        .arg(out)
        .stdin(Stdio::null())
        .output()
        .context("cannot run openssl; install the package openssl")?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "openssl {arguments:?}: {said}");
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

fn write_secret(path: &Path, text: &str) -> Result<()> {
    File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("write {}", path.display()))
}
