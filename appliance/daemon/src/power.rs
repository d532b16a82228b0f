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
pub mod redfish;
pub mod relay;
pub mod sense;
pub mod switch;
mod truth;
pub mod wol;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use command::{CommandConfig, CommandDriver};
pub use control::{BmcFacts, Drift};
pub use error::{PowerError, PowerErrorKind, Target};
pub use ipmi::{
    ConsoleSource, HostInterface, IpmiClient, IpmiConfig, IpmiConsole, Patience, Settled,
};
pub use manage::Watts;
pub use password_file::{PasswordFile, PasswordFileError};
use protocols::rmcp::Firmware;
pub use redfish::{RedfishClient, RedfishConfig, RedfishFault};
pub use switch::Switched;
use switch::{ErrorKind, Power, PowerSwitch, Sensed};
pub use truth::{Checked, Means, Proof};
pub use wol::{WakeConfig, WakeDriver};

/// No local switch takes longer: a press of another claim is waited for, its
/// effect too, then comes our own press and its effect.
const SWITCH_DEADLINE: Duration = Duration::from_secs(90);

/// Whether a sled has power, as far as its driver can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerReading {
    /// Seen on.
    On,
    /// Seen off.
    Off,
    /// The driver has no way to see.
    Unknown,
}

impl fmt::Display for PowerReading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Unknown => "unknown",
        })
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
    /// A program of the operator's.
    Command(Box<CommandDriver>),
    /// A magic packet, and a program for the rest.
    Wake(Box<WakeDriver>),
    /// A switch on this machine.
    Local(LocalSwitch),
}

/// A blocking switch, called on a thread where blocking is allowed.
pub struct LocalSwitch {
    target: Target,
    off_time: Duration,
    generation: u64,
    switch: Arc<Mutex<dyn Erased>>,
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

    /// The driver for a local switch; `off_time` is how long a cycle stays off.
    #[must_use]
    pub fn local<S>(switch: S, sled: Option<String>, off_time: Duration) -> Self
    where
        S: PowerSwitch + Send + 'static,
    {
        let (target, switch) = (Target::switch(sled), Arc::new(Mutex::new(switch)));
        Self::Local(LocalSwitch {
            target,
            off_time,
            generation: 0,
            switch,
        })
    }

    /// Whose power it is, for messages.
    #[must_use]
    pub fn target(&self) -> Target {
        match self {
            Self::Ipmi(client) => client.target().clone(),
            Self::Redfish(client) => client.target().clone(),
            Self::Command(command) => command.target().clone(),
            Self::Wake(wake) => wake.target().clone(),
            Self::Local(local) => local.target.clone(),
        }
    }

    /// How its word is checked.
    #[must_use]
    pub fn proof(&self) -> Proof {
        let usual = Proof::default();
        match self {
            Self::Ipmi(_) | Self::Redfish(_) | Self::Command(_) | Self::Wake(_) => usual,
            // A second press of a button could undo the first.
            Self::Local(local) => Proof {
                commands: 1,
                off_time: local.off_time,
                ..usual
            },
        }
    }

    /// Commands from now on are those of this claim: a switch that outlives
    /// this process refuses older ones.
    pub fn claim(&mut self, generation: u64) {
        if let Self::Local(local) = self {
            local.generation = generation;
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
            Self::Command(command) => command.read().await,
            Self::Wake(wake) => wake.read().await,
            Self::Local(local) => local.read().await,
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
            Self::Command(command) => command.set(Power::On).await,
            Self::Wake(wake) => wake.set(Power::On).await,
            Self::Local(local) => local.set(Power::On).await,
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
            Self::Command(command) => command.set(Power::Off).await,
            Self::Wake(wake) => wake.set(Power::Off).await,
            Self::Local(local) => local.set(Power::Off).await,
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
            Self::Command(_) | Self::Wake(_) | Self::Local(_) => Ok(BootOverride::UNCONFIRMED),
        }
    }

    /// Gives back what a BMC holds for us. Power stays as it is.
    pub async fn close(&mut self) {
        match self {
            Self::Ipmi(client) => client.close().await,
            Self::Redfish(client) => client.close().await,
            Self::Command(_) | Self::Wake(_) | Self::Local(_) => {}
        }
    }
}

impl LocalSwitch {
    async fn read(&self) -> Result<PowerReading, PowerError> {
        let sensed = self
            .blocking("sense power", |switch| switch.sense())
            .await?;
        Ok(match sensed {
            Sensed::On => PowerReading::On,
            Sensed::Off => PowerReading::Off,
            Sensed::Unknown => PowerReading::Unknown,
        })
    }

    async fn set(&self, power: Power) -> Result<Switched, PowerError> {
        let generation = self.generation;
        self.blocking("set power", move |switch| {
            switch.claim(generation);
            switch.set_power(power)
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        what: &'static str,
        call: impl FnOnce(&mut dyn Erased) -> Result<T, SwitchFault> + Send + 'static,
    ) -> Result<T, PowerError> {
        let switch = Arc::clone(&self.switch);
        let task = tokio::task::spawn_blocking(move || {
            // A panic inside of a pin driver leaves `commanded` unknown or
            // right, never wrong, so the lock may be used again.
            call(&mut *switch.lock().unwrap_or_else(PoisonError::into_inner))
        });
        let fault = match tokio::time::timeout(SWITCH_DEADLINE, task).await {
            Ok(Ok(Ok(value))) => return Ok(value),
            Ok(Ok(Err(fault))) => fault,
            Ok(Err(_)) => SwitchFault::other("the pin driver panicked"),
            Err(_) => SwitchFault::other("the pin driver did not return in time"),
        };
        let SwitchFault { kind, detail } = fault;
        Err(PowerError::Switch {
            target: self.target.clone(),
            what,
            kind,
            detail,
        })
    }
}

/// [`PowerSwitch`] without its error type.
trait Erased: Send {
    fn set_power(&mut self, power: Power) -> Result<Switched, SwitchFault>;
    fn sense(&mut self) -> Result<Sensed, SwitchFault>;
    fn claim(&mut self, generation: u64);
}

struct SwitchFault {
    kind: ErrorKind,
    detail: String,
}

impl SwitchFault {
    fn other(detail: &str) -> Self {
        Self {
            kind: ErrorKind::Other,
            detail: detail.to_owned(),
        }
    }

    fn of(error: &impl switch::Error) -> Self {
        Self {
            kind: error.kind(),
            detail: error.detail(),
        }
    }
}

impl<S: PowerSwitch + Send> Erased for S {
    fn set_power(&mut self, power: Power) -> Result<Switched, SwitchFault> {
        PowerSwitch::set_power(self, power).map_err(|error| SwitchFault::of(&error))
    }

    fn sense(&mut self) -> Result<Sensed, SwitchFault> {
        PowerSwitch::sense(self).map_err(|error| SwitchFault::of(&error))
    }

    fn claim(&mut self, generation: u64) {
        PowerSwitch::claim(self, generation);
    }
}

#[cfg(test)]
mod tests;
