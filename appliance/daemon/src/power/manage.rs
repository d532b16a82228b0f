//! What a driver may be able to do beside switching power. A driver that
//! cannot says so; nothing is made up.

use messages::PowerMeter;
use protocols::rmcp::SelEntry;
use tokio::time::Instant;

use super::BmcFacts;
use super::ipmi::{ConsoleSource, HostInterface, IpmiConsole, Settled};
use super::{Driver, PowerError, Switched};

/// A measured draw of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watts {
    /// Now, in watts.
    pub now: u32,
    /// Who measured.
    pub meter: PowerMeter,
}

/// Why a driver cannot.
const NO_BMC: &str = "its power driver has no way to do that";
const NO_IPMI: &str = "Musher reads it over IPMI only: look at the BMC's own page";

impl Driver {
    /// Asks the sled's system to power off, as its power button would; it may
    /// refuse. A sled that is off is left alone.
    ///
    /// # Errors
    /// When it cannot be asked, or the driver has no way to.
    pub async fn soft_off(&mut self) -> Result<Switched, PowerError> {
        match self {
            Self::Ipmi(client) => client.soft_off().await,
            Self::Redfish(client) => client.soft_off().await,
            _ => Err(self.lacks("a soft power off", NO_BMC)),
        }
    }

    /// Lights the identify light for so many seconds; 0 turns it off.
    ///
    /// # Errors
    /// When it cannot be lit, or there is none.
    pub async fn identify(&mut self, for_s: u8) -> Result<(), PowerError> {
        match self {
            Self::Ipmi(client) => client.identify(for_s).await,
            _ => Err(self.lacks("an identify light", NO_BMC)),
        }
    }

    /// Sees to it that the sled stays off when mains power comes back, and
    /// reads that back. A driver without a management controller has no such
    /// setting: what happens then is up to its hardware.
    ///
    /// # Errors
    /// When the controller cannot be asked, refuses, or does not keep it.
    pub async fn keep_off_after_outage(&mut self) -> Result<(), PowerError> {
        match self {
            Self::Ipmi(client) => client.keep_off_after_outage().await,
            Self::Redfish(client) => client.keep_off_after_outage().await,
            _ => Ok(()),
        }
    }

    /// Takes from the sled's own system the commands that could turn its
    /// controller against us, and reads back what came of it; `None` where
    /// that is not wanted, or there is nothing that knows such commands.
    ///
    /// # Errors
    /// When the controller cannot be asked, or refuses the privilege.
    pub async fn restrict_host_interface(&mut self) -> Result<Option<HostInterface>, PowerError> {
        match self {
            Self::Ipmi(client) if client.wants_restriction() => {
                client.restrict_host_interface().await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Which of these commands the sled's own system can give now; `None`
    /// where it is not wanted that it cannot.
    ///
    /// # Errors
    /// When the controller cannot be asked.
    pub async fn host_interface(&mut self) -> Result<Option<HostInterface>, PowerError> {
        match self {
            Self::Ipmi(client) if client.wants_restriction() => {
                client.host_interface().await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// What the sled draws, as its own controller measures it; `None` where
    /// nothing measures.
    ///
    /// # Errors
    /// When the controller cannot be asked.
    pub async fn watts(&mut self) -> Result<Option<Watts>, PowerError> {
        match self {
            Self::Ipmi(client) => client.watts().await,
            Self::Redfish(client) => client.watts().await,
            _ => Ok(None),
        }
    }

    /// What the sled's controller is set to; `None` where there is none.
    ///
    /// # Errors
    /// When the controller cannot be asked.
    pub async fn facts(&mut self) -> Result<Option<BmcFacts>, PowerError> {
        match self {
            Self::Ipmi(client) => client.facts().await.map(Some),
            Self::Redfish(client) => client.facts().await.map(Some),
            _ => Ok(None),
        }
    }

    /// The entries of the controller's event log, oldest first.
    ///
    /// # Errors
    /// When it cannot be asked, or there is none.
    pub async fn events(&mut self) -> Result<Vec<SelEntry>, PowerError> {
        match self {
            Self::Ipmi(client) => client.events().await,
            _ => Err(self.lacks("an event log", NO_IPMI)),
        }
    }

    /// Erases the controller's event log.
    ///
    /// # Errors
    /// When it cannot be asked, refuses, or there is none.
    pub async fn clear_events(&mut self) -> Result<(), PowerError> {
        match self {
            Self::Ipmi(client) => client.clear_events().await,
            _ => Err(self.lacks("an event log", NO_IPMI)),
        }
    }

    /// Gives our user of the controller a new random password, proves it and
    /// puts it in the place of the old one in its file.
    ///
    /// # Errors
    /// As [`IpmiClient::rotate_password`](super::IpmiClient::rotate_password),
    /// or the driver has no password that it could change.
    pub async fn rotate_password(&mut self) -> Result<(), PowerError> {
        match self {
            Self::Ipmi(client) => client.rotate_password().await,
            Self::Redfish(_) => {
                let why = "Musher changes passwords over IPMI only: change it at the BMC, then in \
                           its file, and restart Musher";
                Err(self.lacks("a change of its password", why))
            }
            _ => Err(self.lacks("a change of its password", NO_BMC)),
        }
    }

    /// Finds out which password the controller has when a change of it was cut
    /// short. Asks nobody anything when none was.
    ///
    /// # Errors
    /// As [`IpmiClient::settle_password`](super::IpmiClient::settle_password).
    pub async fn settle_password(&mut self) -> Result<Settled, PowerError> {
        match self {
            Self::Ipmi(client) => client.settle_password().await,
            _ => Ok(Settled::Kept),
        }
    }

    /// The sled's serial line, in a session of its own, so that power can be
    /// read meanwhile.
    ///
    /// # Errors
    /// When it cannot be opened, or there is none.
    pub async fn console(&self) -> Result<IpmiConsole, PowerError> {
        match self {
            Self::Ipmi(client) => client.console().await,
            _ => Err(self.lacks("a console", NO_BMC)),
        }
    }

    /// Where the sled's serial line is read from, if it shall be recorded.
    #[must_use]
    pub fn console_source(&self) -> Option<ConsoleSource> {
        match self {
            Self::Ipmi(client) => client.console_source(),
            _ => None,
        }
    }

    /// Whether there is a management controller.
    #[must_use]
    pub fn has_controller(&self) -> bool {
        matches!(self, Self::Ipmi(_) | Self::Redfish(_))
    }

    /// When [`Driver::keep_warm`] should be called; `None` when there is
    /// nothing to keep.
    #[must_use]
    pub fn keep_warm_at(&self) -> Option<Instant> {
        match self {
            Self::Ipmi(client) => client.keep_warm_at(),
            _ => None,
        }
    }

    /// Uses the controller's session, so that it stays open.
    pub async fn keep_warm(&mut self) {
        if let Self::Ipmi(client) = self {
            client.keep_warm().await;
        }
    }

    fn lacks(&self, what: &'static str, why: &'static str) -> PowerError {
        PowerError::Lacks {
            target: self.target(),
            what,
            why,
        }
    }
}
