//! `power = { driver = … }` of a sled.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use messages::Mac;
use serde::Deserialize;

use super::gpio::{LazyLines, WireButton, WireRelay, WireSense};
use super::inventory::SledPower;
use super::{Config, ConfigError, SecretBytes, read_secret};
use crate::console::SerialDevice;
use crate::github::Secret;
use crate::power::gpio::held::{HeldConfig, HeldKind};
use crate::power::redfish::{Endpoint, Fingerprint, RedfishConfig, RedfishPatience, Trust};
use crate::power::sense::Active;
use crate::power::wol::PORT;
use crate::power::{CommandConfig, PasswordFile, WakeConfig};

/// A power driver's settings.
#[derive(Debug)]
pub enum DriverConfig {
    /// A BMC that speaks IPMI 2.0.
    Ipmi {
        /// Where it listens.
        address: SocketAddr,
        /// User.
        username: String,
        /// Its password.
        password: SecretBytes,
        /// Where that is from.
        password_file: PasswordFile,
        /// Cipher suite, 3 or 17.
        cipher: u8,
        /// Record the sled's serial line.
        console: bool,
        /// Take from the sled's own system what could turn its BMC against us.
        restrict_host_interface: bool,
    },
    /// A BMC that speaks Redfish.
    Redfish(RedfishConfig),
    /// What no BMC stands behind.
    Plain(PlainConfig),
    /// A magic packet, and what reads and cuts power.
    Wake {
        /// The packet.
        wake: WakeConfig,
        /// The rest.
        off: PlainConfig,
    },
}

/// Settings of a driver that no BMC stands behind.
#[derive(Debug)]
pub enum PlainConfig {
    /// A program of the operator's.
    Command(CommandConfig),
    /// A relay or button behind a line of this machine.
    Held {
        /// Where the lines' holder listens.
        socket: PathBuf,
        /// Which lines.
        held: HeldConfig,
    },
    /// A sense line alone, of a machine that is woken.
    Sense {
        /// Where the lines' holder listens.
        socket: PathBuf,
        /// Which line, and its level for "has power".
        line: (String, Active),
    },
}

impl DriverConfig {
    /// The names of the lines of this machine that it uses.
    pub(super) fn lines(&self) -> Vec<&str> {
        let plain = match self {
            Self::Ipmi { .. } | Self::Redfish(_) => return Vec::new(),
            Self::Plain(plain) | Self::Wake { off: plain, .. } => plain,
        };
        match plain {
            PlainConfig::Command(_) => Vec::new(),
            PlainConfig::Held { held, .. } => {
                let sense = held.sense.as_ref().map(|(name, _)| name.as_str());
                [Some(held.line.as_str()), sense]
                    .into_iter()
                    .flatten()
                    .collect()
            }
            PlainConfig::Sense { line, .. } => vec![line.0.as_str()],
        }
    }

    /// What it switches, where another sled's driver could name the same, as
    /// messages name it.
    fn machine(&self) -> Option<String> {
        match self {
            Self::Ipmi { address, .. } => Some(format!("address {address}")),
            Self::Redfish(redfish) => {
                let system = redfish.system.as_deref();
                let system = system.map(|system| format!(" system {system}"));
                let url = &redfish.endpoint;
                Some(format!("url {url:?}{}", system.unwrap_or_default()))
            }
            Self::Wake { wake, .. } => Some(format!("mac {}", wake.mac)),
            Self::Plain(_) => None,
        }
    }
}

/// The keys of each driver.
#[derive(Deserialize)]
#[serde(tag = "driver", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum WirePower {
    Ipmi(WireIpmi),
    Relay(WireRelay),
    Button(WireButton),
    Redfish(WireRedfish),
    Command(WireCommand),
    Wol(WireWol),
    Sense(WireSense),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireIpmi {
    address: String,
    username: String,
    password_path: PathBuf,
    cipher: Option<u8>,
    console: Option<bool>,
    restrict_host_interface: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireCommand {
    program: Vec<String>,
    deadline_s: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireWol {
    mac: Option<String>,
    broadcast: Option<String>,
    off: Option<Box<WirePower>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireRedfish {
    url: String,
    username: String,
    password_path: PathBuf,
    certificate_sha256: Option<String>,
    ca_file: Option<PathBuf>,
    system: Option<String>,
}

/// A serial device that a sled speaks on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireConsole {
    device: PathBuf,
    baud: Option<u32>,
}

/// No BMC stands for two sleds: one would be turned on, and proved off, by the
/// other's.
pub(super) fn check_each_machine_once(file: &Path, sleds: &[SledPower]) -> Result<(), ConfigError> {
    let mut users: BTreeMap<String, &str> = BTreeMap::new();
    for SledPower { sled, driver, .. } in sleds {
        let Some(machine) = driver.machine() else {
            continue;
        };
        if let Some(other) = users.get(&machine) {
            let message = format!(
                "power.{machine} is that of \"{other}\" too, which would be switched in its place: mend one of them"
            );
            return Err(ConfigError::value(
                file,
                format!("sled \"{sled}\""),
                message,
            ));
        }
        users.insert(machine, sled);
    }
    Ok(())
}

/// Notes which passwords are those of several sleds: they are not changed for
/// one of them.
pub(super) fn mark_shared(power: &mut [SledPower], files: &[PasswordFile]) {
    for sled in power {
        if let DriverConfig::Ipmi { password_file, .. } = &mut sled.driver
            && files.iter().filter(|file| *file == password_file).count() > 1
        {
            password_file.share();
        }
    }
}

/// Whose power settings are checked.
pub(super) struct Place<'a> {
    pub(super) config: &'a Config,
    /// The file that is named in messages.
    pub(super) file: &'a Path,
    /// The folder that paths are relative to.
    pub(super) base: &'a Path,
    /// The sled, as messages name it.
    pub(super) key: &'a str,
    pub(super) mac: Mac,
    pub(super) lines: &'a LazyLines,
    /// The files that passwords were read from, one per sled.
    pub(super) password_files: &'a RefCell<Vec<PasswordFile>>,
    /// What may be so, but is better known.
    pub(super) warnings: &'a RefCell<Vec<String>>,
}

impl Place<'_> {
    /// Checks the settings of any driver.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub(super) fn check(&self, wire: WirePower) -> Result<DriverConfig, ConfigError> {
        match wire {
            WirePower::Ipmi(wire) => self.check_ipmi(wire),
            WirePower::Relay(wire) => self
                .check_relay(wire, HeldKind::Relay)
                .map(DriverConfig::Plain),
            WirePower::Button(wire) => self.check_button(wire).map(DriverConfig::Plain),
            WirePower::Redfish(wire) => self.check_redfish(wire),
            WirePower::Command(wire) => self.check_command(wire).map(DriverConfig::Plain),
            WirePower::Wol(wire) => self.check_wol(wire),
            WirePower::Sense(_) => {
                let message = "power.driver \"sense\" only sees: it is for the `off` of { driver = \"wol\", … }; a button or a relay has its sense line as `sense`";
                Err(self.wrong(message))
            }
        }
    }

    /// Checks the device that the sled speaks on, beside its `driver` and the
    /// `other` sleds.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub(super) fn check_console(
        &self,
        wire: WireConsole,
        driver: &DriverConfig,
        others: &[SledPower],
    ) -> Result<SerialDevice, ConfigError> {
        let shown = wire.device.display();
        if !wire.device.is_absolute() {
            let message = format!("console.device \"{shown}\" is not absolute: name it by /dev/…");
            return Err(self.wrong(message));
        }
        if matches!(driver, DriverConfig::Ipmi { console: true, .. }) {
            let message = "console.device and power.console are both set: keep one";
            return Err(self.wrong(message));
        }
        let is_same = |sled: &&SledPower| {
            let device = sled.console.as_ref();
            device.is_some_and(|device| device.path == wire.device)
        };
        if let Some(other) = others.iter().find(is_same) {
            let message = format!("console.device {shown} is that of {} too", other.sled);
            return Err(self.wrong(message));
        }
        let baud = wire.baud.unwrap_or(115_200);
        if !(300..=4_000_000).contains(&baud) {
            return Err(self.wrong("console.baud must be 300 to 4000000"));
        }
        Ok(SerialDevice {
            path: wire.device,
            baud,
        })
    }

    fn check_ipmi(&self, wire: WireIpmi) -> Result<DriverConfig, ConfigError> {
        let cipher = wire.cipher.unwrap_or(17);
        if cipher != 3 && cipher != 17 {
            let message = format!(
                "power.cipher {cipher} is refused: 17 is the default, 3 is for old BMCs, all others are weak"
            );
            return Err(self.wrong(message));
        }
        if cipher == 3 {
            let weak = "power.cipher 3 authenticates with SHA-1: use 17 where the BMC has it";
            self.warn(weak.to_owned());
        }
        let with_port = if wire.address.contains(':') {
            wire.address.clone()
        } else {
            format!("{}:623", wire.address)
        };
        let address: SocketAddr = with_port.parse().map_err(|_| {
            self.wrong(format!(
                "power.address \"{}\" is not ADDRESS or ADDRESS:PORT",
                wire.address
            ))
        })?;
        self.check_outside_dhcp("power.address", address.ip())?;
        let password = self.password(&wire.password_path)?;
        if let Err(error) = protocols::rmcp::Username::new(&wire.username) {
            return Err(self.wrong(format!("power.username cannot be used: {error}")));
        }
        if password.is_empty() || password.len() > 20 {
            let message = "power.password_path names a password that is not 1 to 20 bytes long: IPMI 2.0 allows no other";
            return Err(self.wrong(message));
        }
        Ok(DriverConfig::Ipmi {
            address,
            username: wire.username,
            password,
            password_file: PasswordFile::new(&self.base.join(&wire.password_path)),
            cipher,
            console: wire.console.unwrap_or(false),
            restrict_host_interface: wire.restrict_host_interface.unwrap_or(false),
        })
    }

    fn check_command(&self, wire: WireCommand) -> Result<PlainConfig, ConfigError> {
        let mut arguments = wire.program;
        if arguments.is_empty() || arguments.iter().any(|text| text.contains('\0')) {
            let message = "power.program is empty: give the program and its arguments, such as [\"/usr/local/bin/pdu\", \"--outlet\", \"4\"]";
            return Err(self.wrong(message));
        }
        let program = PathBuf::from(arguments.remove(0));
        let shown = program.display();
        if !program.is_absolute() {
            return Err(self.wrong(format!(
                "power.program \"{shown}\" is not absolute: it is searched for nowhere"
            )));
        }
        let meta = std::fs::metadata(&program).map_err(|error| {
            self.wrong(format!(
                "power.program {shown} cannot be looked at: {error}"
            ))
        })?;
        let mode = meta.permissions().mode();
        if !meta.is_file() || mode & 0o111 == 0 {
            return Err(self.wrong(format!(
                "power.program {shown} is no program: run `chmod 0755 {shown}`"
            )));
        }
        if mode & 0o002 != 0 {
            return Err(self.wrong(format!(
                "power.program {shown} can be changed by anybody: run `chmod o-w {shown}`"
            )));
        }
        let deadline_s = wire.deadline_s.unwrap_or(10);
        if !(1..=60).contains(&deadline_s) {
            return Err(self.wrong("power.deadline_s must be 1 to 60"));
        }
        Ok(PlainConfig::Command(CommandConfig {
            program,
            arguments,
            deadline: Duration::from_secs(deadline_s),
        }))
    }

    fn check_wol(&self, wire: WireWol) -> Result<DriverConfig, ConfigError> {
        let off = match wire.off.map(|off| *off) {
            Some(WirePower::Command(off)) => self.check_command(off)?,
            Some(WirePower::Relay(off)) => self.check_relay(off, HeldKind::Supply)?,
            Some(WirePower::Sense(off)) => self.check_sense(&off)?,
            Some(WirePower::Ipmi(_) | WirePower::Redfish(_) | WirePower::Button(_)) => {
                let message = "power.off is a driver that turns the machine on too: use it alone, without wol";
                return Err(self.wrong(message));
            }
            Some(WirePower::Wol(_)) | None => {
                let message = "power.off must be { driver = \"command\", … }, \"relay\" or \"sense\": Wake-on-LAN only turns on, and a sled that nobody can prove off gets no job";
                return Err(self.wrong(message));
            }
        };
        let mac = match wire.mac {
            None => self.mac,
            Some(text) => text.parse().map_err(|_| {
                self.wrong(format!(
                    "power.mac \"{text}\" is not six bytes such as 52:54:00:77:00:01"
                ))
            })?,
        };
        let broadcast = match (
            wire.broadcast,
            self.config.server.sled_listen,
            &self.config.dhcp,
        ) {
            (Some(text), _, _) => {
                let with_port = if text.contains(':') {
                    text.clone()
                } else {
                    format!("{text}:{PORT}")
                };
                with_port.parse().map_err(|_| {
                    self.wrong(format!(
                        "power.broadcast \"{text}\" is not ADDRESS or ADDRESS:PORT"
                    ))
                })?
            }
            // The sleds' network, so that the packet leaves on its interface.
            (None, Some(listen), Some(dhcp)) => {
                SocketAddrV4::new(*listen.ip() | !dhcp.netmask, PORT)
            }
            (None, _, _) => {
                let message = "power.broadcast is missing: set it to the broadcast address of the sled's network, such as 10.77.0.255";
                return Err(self.wrong(message));
            }
        };
        let wake = WakeConfig { mac, broadcast };
        Ok(DriverConfig::Wake { wake, off })
    }

    fn check_redfish(&self, wire: WireRedfish) -> Result<DriverConfig, ConfigError> {
        let authorities = wire.ca_file.map(|path| self.base.join(path));
        let trust = match (&wire.certificate_sha256, &authorities) {
            (Some(text), None) => {
                let pin = Fingerprint::parse(text).ok_or_else(|| {
                    self.wrong("power.certificate_sha256 is not 64 hexadecimal digits")
                })?;
                Some(Trust::Pin(pin))
            }
            (None, Some(path)) => Some(Trust::Authorities(path)),
            (None, None) => None,
            (Some(_), Some(_)) => {
                let message = "power.certificate_sha256 and power.ca_file are both set: keep one";
                return Err(self.wrong(message));
            }
        };
        let endpoint = Endpoint::new(&wire.url, trust)
            .map_err(|(key, why)| self.wrong(format!("power.{key}: {why}")))?;
        if let Some(address) = endpoint.address() {
            self.check_outside_dhcp("power.url", address)?;
        }
        let name = &wire.username;
        if name.is_empty() || name.contains(|c: char| c == ':' || c.is_control()) {
            let message = "power.username is empty, or holds a colon or control character";
            return Err(self.wrong(message));
        }
        let password = self.password(&wire.password_path)?;
        let password = match std::str::from_utf8(&password) {
            Ok(text) if !text.is_empty() => Secret::new(text.to_owned()),
            _ => {
                let message = "power.password_path names a password that is empty or no UTF-8 text";
                return Err(self.wrong(message));
            }
        };
        Ok(DriverConfig::Redfish(RedfishConfig {
            endpoint,
            username: wire.username,
            password,
            system: wire.system,
            patience: RedfishPatience::default(),
        }))
    }

    fn password(&self, path: &Path) -> Result<SecretBytes, ConfigError> {
        let key = format!("{} power.password_path", self.key);
        let path = self.base.join(path);
        let password = read_secret(self.file, &key, &path)?;
        self.password_files
            .borrow_mut()
            .push(PasswordFile::new(&path));
        Ok(password)
    }

    /// A BMC's address must be none that a sled could be given.
    fn check_outside_dhcp(&self, key: &str, address: IpAddr) -> Result<(), ConfigError> {
        if let (Some(dhcp), IpAddr::V4(bmc)) = (&self.config.dhcp, address)
            && (dhcp.first..=dhcp.last).contains(&bmc)
        {
            return Err(self.wrong(format!(
                "{key} {bmc} overlaps dhcp.range {}-{}: a sled could be given the BMC's address; move one of them",
                dhcp.first, dhcp.last
            )));
        }
        Ok(())
    }

    pub(super) fn wrong(&self, message: impl Into<String>) -> ConfigError {
        ConfigError::value(self.file, self.key, message)
    }

    pub(super) fn warn(&self, message: String) {
        let warning = self.wrong(message).to_string();
        self.warnings.borrow_mut().push(warning);
    }
}
