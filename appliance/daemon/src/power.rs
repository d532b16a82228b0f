//! Power of sleds: one driver per sled, the same few questions to each.
//!
//! What was *commanded*, what is *sensed* and what is *unknown* are different
//! things here and stay so: a driver never reports a state that it only
//! assumes. It switches nothing when it is made or dropped, and it decides
//! nothing: when to switch is `control`'s business.

pub mod button;
pub mod command;
mod error;
pub mod gpio;
pub mod ipmi;
mod manage;
mod password_file;
pub mod plain;
pub mod redfish;
pub mod relay;
pub mod sense;
pub mod switch;
mod truth;
pub mod wol;

use std::fmt;

pub use command::{CommandConfig, CommandDriver};
pub use control::{BmcFacts, Drift};
pub use error::{PowerError, PowerErrorKind, Target};
pub use ipmi::{
    ConsoleSource, HostInterface, IpmiClient, IpmiConfig, IpmiConsole, Patience, Settled,
};
pub use manage::Watts;
pub use password_file::{PasswordFile, PasswordFileError};
pub use plain::Plain;
use protocols::rmcp::Firmware;
pub use redfish::{RedfishClient, RedfishConfig, RedfishFault};
use switch::Power;
pub use switch::Switched;
pub use truth::{Checked, Means, Proof};
pub use wol::{WakeConfig, WakeDriver};

/// Whether a sled has power, as far as its driver can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerReading {
    /// Seen on.
    On,
    /// Seen off.
    Off,
    /// Seen without power, but its relay is closed: it may start by itself.
    Dark,
    /// The driver has no way to see.
    Unknown,
}

impl PowerReading {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Dark => "dark",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for PowerReading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known of a forced network boot after it was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootOverride {
    /// Read back: the forced device is PXE.
    pub confirmed: bool,
    /// Read back: the flags are marked valid (IPMI), or enabled for once
    /// (Redfish). Some BMCs lose that on the way back though they act on it.
    pub valid_bit_confirmed: bool,
    /// Read back: the kind of firmware is the one asked for. Some BMCs lose
    /// that bit as well.
    pub efi_bit_confirmed: bool,
}

impl BootOverride {
    /// Nothing was read back.
    pub const UNCONFIRMED: Self = Self {
        confirmed: false,
        valid_bit_confirmed: false,
        efi_bit_confirmed: false,
    };
}

/// The power driver of one sled.
pub enum Driver {
    /// A BMC that speaks IPMI 2.0.
    Ipmi(Box<IpmiClient>),
    /// A BMC that speaks Redfish.
    Redfish(Box<RedfishClient>),
    /// What no BMC stands behind.
    Plain(Plain),
    /// A magic packet, and what no BMC stands behind for the rest.
    Wake(Box<WakeDriver>),
}

impl Driver {
    /// The driver for a BMC; `sled` is only for messages. Sends nothing yet.
    #[must_use]
    pub fn ipmi(config: IpmiConfig, sled: Option<String>) -> Self {
        Self::Ipmi(Box::new(IpmiClient::new(config, sled)))
    }

    /// The driver for a Redfish service; `sled` is only for messages. Sends
    /// nothing yet.
    #[must_use]
    pub fn redfish(config: RedfishConfig, sled: Option<String>) -> Self {
        Self::Redfish(Box::new(RedfishClient::new(config, sled)))
    }

    /// Whose power it is, for messages.
    #[must_use]
    pub fn target(&self) -> Target {
        match self {
            Self::Ipmi(client) => client.target().clone(),
            Self::Redfish(client) => client.target().clone(),
            Self::Plain(plain) => plain.target().clone(),
            Self::Wake(wake) => wake.target().clone(),
        }
    }

    /// How its word is checked.
    #[must_use]
    pub fn proof(&self) -> Proof {
        match self {
            Self::Ipmi(_) | Self::Redfish(_) => Proof::default(),
            Self::Plain(plain) => plain.proof(),
            Self::Wake(wake) => wake.proof(),
        }
    }

    /// Commands from now on are those of this claim: a switch that outlives
    /// this process refuses older ones.
    pub fn claim(&mut self, generation: u64) {
        match self {
            Self::Ipmi(_) | Self::Redfish(_) => {}
            Self::Plain(plain) => plain.claim(generation),
            Self::Wake(wake) => wake.claim(generation),
        }
    }

    /// Whether the sled has power.
    ///
    /// # Errors
    /// When the driver cannot find out.
    pub async fn read(&mut self) -> Result<PowerReading, PowerError> {
        match self {
            Self::Ipmi(client) => client.read().await,
            Self::Redfish(client) => client.read().await,
            Self::Plain(plain) => plain.read().await,
            Self::Wake(wake) => wake.read().await,
        }
    }

    /// Switches the sled on, unless it is on.
    ///
    /// # Errors
    /// When it could not be switched, or nobody knows whether it was.
    pub async fn power_on(&mut self) -> Result<Switched, PowerError> {
        match self {
            Self::Ipmi(client) => client.power_on().await,
            Self::Redfish(client) => client.power_on().await,
            Self::Plain(plain) => plain.set(Power::On).await,
            Self::Wake(wake) => wake.set(Power::On).await,
        }
    }

    /// Switches the sled off without asking its system, unless it is off.
    ///
    /// # Errors
    /// When it could not be switched, or nobody knows whether it was.
    pub async fn power_off(&mut self) -> Result<Switched, PowerError> {
        match self {
            Self::Ipmi(client) => client.power_off().await,
            Self::Redfish(client) => client.power_off().await,
            Self::Plain(plain) => plain.set(Power::Off).await,
            Self::Wake(wake) => wake.set(Power::Off).await,
        }
    }

    /// Makes the next boot a network boot, and reads that back. What is no BMC
    /// has no such means: it confirms nothing, which is no error.
    ///
    /// # Errors
    /// When the BMC cannot be asked, or refuses.
    pub async fn set_boot_pxe(&mut self, firmware: Firmware) -> Result<BootOverride, PowerError> {
        match self {
            Self::Ipmi(client) => client.set_boot_pxe(firmware).await,
            Self::Redfish(client) => client.set_boot_pxe(firmware).await,
            Self::Plain(_) | Self::Wake(_) => Ok(BootOverride::UNCONFIRMED),
        }
    }

    /// Gives back what a BMC holds for us. Power stays as it is.
    pub async fn close(&mut self) {
        match self {
            Self::Ipmi(client) => client.close().await,
            Self::Redfish(client) => client.close().await,
            Self::Plain(_) | Self::Wake(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
