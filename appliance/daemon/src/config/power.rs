//! `power = { driver = … }` of a sled.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use zeroize::Zeroizing;

use super::gpio::{LazyLines, WireButton, WireRelay};
use super::{Config, ConfigError, read_secret};
use crate::github::Secret;
use crate::power::gpio::held::HeldConfig;
use crate::power::redfish::{Endpoint, Fingerprint, RedfishConfig, RedfishPatience, Trust};

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
        password: Zeroizing<Vec<u8>>,
        /// Cipher suite, 3 or 17.
        cipher: u8,
    },
    /// A relay or button behind a line of this machine.
    Held {
        /// Where the lines' holder listens.
        socket: PathBuf,
        /// Which lines.
        held: HeldConfig,
    },
    /// A BMC that speaks Redfish.
    Redfish(RedfishConfig),
}

/// The keys of each driver.
#[derive(Deserialize)]
#[serde(tag = "driver", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum WirePower {
    Ipmi(WireIpmi),
    Relay(WireRelay),
    Button(WireButton),
    Redfish(WireRedfish),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireIpmi {
    address: String,
    username: String,
    password_path: PathBuf,
    cipher: Option<u8>,
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

/// Whose power settings are checked.
pub(super) struct Place<'a> {
    pub(super) config: &'a Config,
    /// The file that is named in messages.
    pub(super) file: &'a Path,
    /// The folder that paths are relative to.
    pub(super) base: &'a Path,
    /// The sled, as messages name it.
    pub(super) key: &'a str,
    pub(super) lines: &'a LazyLines,
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
            WirePower::Relay(wire) => self.check_relay(wire),
            WirePower::Button(wire) => self.check_button(wire),
            WirePower::Redfish(wire) => self.check_redfish(wire),
        }
    }

    fn check_ipmi(&self, wire: WireIpmi) -> Result<DriverConfig, ConfigError> {
        let cipher = wire.cipher.unwrap_or(17);
        if cipher != 3 && cipher != 17 {
            let message = format!(
                "power.cipher {cipher} is refused: 17 is the default, 3 is for old BMCs, all others are weak"
            );
            return Err(self.wrong(message));
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
            cipher,
        })
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

    fn password(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
        let key = format!("{} power.password_path", self.key);
        read_secret(self.file, &key, &self.base.join(path))
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
