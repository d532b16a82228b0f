//! A BMC that speaks Redfish (DMTF DSP0266): one system's power, its next
//! boot, its draw, and what the BMC says about itself.
//!
//! Asynchronous on the caller's task, over HTTP/1.1 with TLS that is pinned.
//! It sends no reset type that the BMC does not offer, none that toggles, and
//! reads back whatever it set. It decides nothing.

use std::time::Duration;

use protocols::rmcp::Firmware;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::error::{PowerError, Target};
use super::{BmcFacts, BootOverride, PowerReading, Switched, Watts};
use crate::github::Secret;
use document::{link, links, list, name, text, texts};
use service::{Document, Service};

mod document;
mod endpoint;
mod fault;
mod inventory;
mod link;
mod service;

pub use endpoint::{Endpoint, Fingerprint, Trust};
pub use fault::RedfishFault;

/// Pause between two looks at something that changes.
const PAUSE: Duration = Duration::from_millis(500);
/// How often boot settings are read back until they show.
const LOOKS: u32 = 4;

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedfishPatience {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For each operation as a whole, with all its requests.
    pub deadline: Duration,
}

impl Default for RedfishPatience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            // BMCs take seconds for a document; an operation needs up to six.
            deadline: Duration::from_secs(30),
        }
    }
}

/// How to reach a BMC.
#[derive(Clone, Debug)]
pub struct RedfishConfig {
    /// Where, and what makes it trusted.
    pub endpoint: Endpoint,
    /// Account on the BMC; one that may read and control power is enough.
    pub username: String,
    /// Its password.
    pub password: Secret,
    /// Which system, where the service has several: the last part of its path.
    pub system: Option<String>,
    /// How long to wait.
    pub patience: RedfishPatience,
}

/// The power state as Redfish says it (DSP2046, ComputerSystem.PowerState).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PowerState {
    On,
    Off,
    PoweringOn,
    PoweringOff,
    /// Paused, null, missing, or a word of another time.
    Other,
}

impl PowerState {
    fn of(system: &Value) -> Self {
        match text(system, "/PowerState").as_deref() {
            Some("On") => Self::On,
            Some("Off") => Self::Off,
            Some("PoweringOn") => Self::PoweringOn,
            Some("PoweringOff") => Self::PoweringOff,
            _ => Self::Other,
        }
    }

    /// Only Off is off: a machine on its way there has power.
    fn reading(self) -> PowerReading {
        match self {
            Self::On | Self::PoweringOn | Self::PoweringOff => PowerReading::On,
            Self::Off => PowerReading::Off,
            Self::Other => PowerReading::Unknown,
        }
    }
}

/// One system behind a BMC.
pub struct RedfishClient {
    service: Service,
    target: Target,
    system: Option<String>,
}

impl RedfishClient {
    /// A client that has sent nothing yet; `sled` is only for messages.
    #[must_use]
    pub fn new(config: RedfishConfig, sled: Option<String>) -> Self {
        let target = Target::new(format!("BMC {}", config.endpoint), sled);
        Self {
            service: Service::new(config),
            target,
            system: None,
        }
    }

    /// Whose power it is, for messages.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Whether the system has power.
    ///
    /// # Errors
    /// When the BMC does not say.
    pub async fn read(&mut self) -> Result<PowerReading, PowerError> {
        self.begin();
        let state = self.state().await;
        let state = state.map_err(|fault| self.error("read power", fault))?;
        Ok(state.reading())
    }

    /// Switches the system on, unless it is on.
    ///
    /// # Errors
    /// When the BMC does not answer, refuses, or offers no way.
    pub async fn power_on(&mut self) -> Result<Switched, PowerError> {
        self.begin();
        let done = self.switch(PowerState::On, &["On", "ForceOn"]).await;
        done.map_err(|fault| self.error("switch on", fault))
    }

    /// Switches the system off without asking it, unless it is off.
    ///
    /// # Errors
    /// When the BMC does not answer, refuses, or offers no way.
    pub async fn power_off(&mut self) -> Result<Switched, PowerError> {
        self.begin();
        let done = self.switch(PowerState::Off, &["ForceOff"]).await;
        done.map_err(|fault| self.error("switch off", fault))
    }

    /// Asks the system to power off, as its power button would; it may refuse.
    ///
    /// # Errors
    /// As [`RedfishClient::power_off`].
    pub async fn soft_off(&mut self) -> Result<Switched, PowerError> {
        self.begin();
        let done = self.switch(PowerState::Off, &["GracefulShutdown"]).await;
        done.map_err(|fault| self.error("ask for power off", fault))
    }

    /// Sees to it that the system stays off when mains power comes back, and
    /// reads that back.
    ///
    /// # Errors
    /// When the BMC does not answer, refuses, lacks the setting or does not
    /// keep it.
    pub async fn keep_off_after_outage(&mut self) -> Result<(), PowerError> {
        self.begin();
        match self.set_restore_policy().await {
            Ok(Some(true)) => Ok(()),
            Ok(Some(false)) => Err(PowerError::NotKept {
                target: self.target.clone(),
                setting: "PowerRestorePolicy",
                wanted: "AlwaysOff",
                is: "something else",
            }),
            Ok(None) => Err(PowerError::Lacks {
                target: self.target.clone(),
                what: "a power-restore policy",
                why: "the BMC shows none over Redfish: set it to always off in the firmware's \
                      setup",
            }),
            Err(fault) => Err(self.error("set the power-restore policy", fault)),
        }
    }

    /// Makes the next boot a network boot and reads that back.
    /// `valid_bit_confirmed` then means: enabled, and for once, as asked.
    ///
    /// # Errors
    /// When the BMC does not answer or refuses.
    pub async fn set_boot_pxe(&mut self, firmware: Firmware) -> Result<BootOverride, PowerError> {
        self.begin();
        let set = self.set_boot(firmware).await;
        set.map_err(|fault| self.error("set network boot", fault))
    }

    /// What the machine draws; `None` where the BMC has no meter.
    ///
    /// # Errors
    /// When the BMC does not answer.
    pub async fn watts(&mut self) -> Result<Option<Watts>, PowerError> {
        self.begin();
        let watts = self.read_watts().await;
        watts.map_err(|fault| self.error("read the power meter", fault))
    }

    /// What the BMC says about itself and its system, for comparison between
    /// boots: accounts, network, boot order, firmware versions. What the BMC
    /// does not have is left out.
    ///
    /// # Errors
    /// When the BMC does not answer.
    pub async fn facts(&mut self) -> Result<BmcFacts, PowerError> {
        // Dozens of documents, some of which take a second.
        let deadline = self.service.config().patience.deadline;
        self.service.begin(deadline * 8);
        let facts = self.read_facts().await;
        facts.map_err(|fault| self.error("read accounts, network and versions", fault))
    }

    /// Ends the session. Without this the BMC keeps it until it expires.
    pub async fn close(&mut self) {
        self.service.close().await;
    }

    fn begin(&mut self) {
        let deadline = self.service.config().patience.deadline;
        self.service.begin(deadline);
    }

    fn error(&mut self, operation: &'static str, fault: RedfishFault) -> PowerError {
        // Whatever was learnt may be of a BMC that has restarted since.
        self.system = None;
        PowerError::Redfish {
            target: self.target.clone(),
            operation,
            fault,
        }
    }

    async fn system(&mut self) -> Result<(String, Document), RedfishFault> {
        let path = match &self.system {
            Some(path) => path.clone(),
            None => self.find_system().await?,
        };
        let document = self.service.get(&path).await?;
        self.system = Some(path.clone());
        Ok((path, document))
    }

    async fn find_system(&mut self) -> Result<String, RedfishFault> {
        let root = self.service.root().await?;
        let systems = link(&root, "/Systems")
            .ok_or_else(|| RedfishFault::garbage("the service root names no systems"))?;
        let members = links(&self.service.get(&systems).await?.value, "/Members");
        let names = || members.iter().map(|path| name(path)).collect::<Vec<_>>();
        let found = match &self.service.config().system {
            Some(wanted) => members.iter().find(|path| name(path) == wanted),
            None if members.len() == 1 => members.first(),
            None => None,
        };
        found.cloned().ok_or_else(|| RedfishFault::Unsupported {
            what: match &self.service.config().system {
                Some(wanted) => format!(
                    "the BMC has no system \"{wanted}\" but {:?}: correct `system`",
                    names()
                ),
                None if members.is_empty() => "the BMC shows no system: check the account's \
                                               privileges"
                    .to_owned(),
                None => format!(
                    "the BMC has several systems, {:?}: say which by `system`",
                    names()
                ),
            },
        })
    }

    async fn state(&mut self) -> Result<PowerState, RedfishFault> {
        Ok(PowerState::of(&self.system().await?.1.value))
    }

    async fn switch(
        &mut self,
        wanted: PowerState,
        types: &[&str],
    ) -> Result<Switched, RedfishFault> {
        let (_, mut document) = self.system().await?;
        // A machine on its way is not interrupted while there is time.
        let patience = self.service.deadline() - self.service.config().patience.deadline / 2;
        while matches!(
            PowerState::of(&document.value),
            PowerState::PoweringOn | PowerState::PoweringOff
        ) && Instant::now() + PAUSE < patience
        {
            sleep(PAUSE).await;
            document = self.system().await?.1;
        }
        if PowerState::of(&document.value) == wanted {
            return Ok(Switched::AlreadySo);
        }
        let (action, kind) = self.reset(&document.value, types).await?;
        match self
            .service
            .post(&action, &json!({ "ResetType": kind }))
            .await
        {
            // Some refuse to switch off what went off a moment ago.
            Err(refused @ RedfishFault::Refused { .. }) => {
                if self.state().await? == wanted {
                    Ok(Switched::AlreadySo)
                } else {
                    Err(refused)
                }
            }
            done => done.map(|()| Switched::Commanded),
        }
    }

    /// The reset action, and the first of `types` that it offers.
    async fn reset<'a>(
        &mut self,
        system: &Value,
        types: &[&'a str],
    ) -> Result<(String, &'a str), RedfishFault> {
        let missing = |what: String| RedfishFault::Unsupported { what };
        let action = system.pointer("/Actions/#ComputerSystem.Reset");
        let action = action.unwrap_or(&Value::Null);
        let target = text(action, "/target").and_then(|path| document::path(&path));
        let target = target.ok_or_else(|| {
            missing(
                "the BMC offers no reset action: give its account the privilege to control \
                     power"
                    .to_owned(),
            )
        })?;
        let mut offered = texts(action, "/ResetType@Redfish.AllowableValues");
        // DSP0266 7.11.3: the values may stand in a document of their own.
        if offered.is_none()
            && let Some(path) = text(action, "/@Redfish.ActionInfo")
            && let Some(path) = document::path(&path)
        {
            let info = self.service.get(&path).await?.value;
            let parameters = list(&info, "/Parameters");
            let reset = parameters
                .into_iter()
                .find(|parameter| text(parameter, "/Name").as_deref() == Some("ResetType"));
            offered = reset.and_then(|reset| texts(reset, "/AllowableValues"));
        }
        let kind = match &offered {
            // Naming them is optional.
            None => types.first(),
            Some(offered) => types
                .iter()
                .find(|kind| offered.iter().any(|offer| offer == *kind)),
        };
        let kind = kind.ok_or_else(|| {
            missing(format!(
                "the BMC offers no reset type {} but {:?}: update its firmware or use another \
                 power driver",
                types.join(" or "),
                offered.unwrap_or_default()
            ))
        })?;
        Ok((target, *kind))
    }

    /// DSP2046, ComputerSystem.PowerRestorePolicy. Whether it was kept; `None`
    /// where there is none.
    async fn set_restore_policy(&mut self) -> Result<Option<bool>, RedfishFault> {
        let (path, Document { value, tag }) = self.system().await?;
        let is_off =
            |value: &Value| text(value, "/PowerRestorePolicy").map(|policy| policy == "AlwaysOff");
        match is_off(&value) {
            None => return Ok(None),
            Some(true) => return Ok(Some(true)),
            Some(false) => {}
        }
        let body = json!({ "PowerRestorePolicy": "AlwaysOff" });
        self.service.patch(&path, &body, tag).await?;
        Ok(is_off(&self.service.get(&path).await?.value))
    }

    async fn set_boot(&mut self, firmware: Firmware) -> Result<BootOverride, RedfishFault> {
        let (path, Document { value, tag }) = self.system().await?;
        let allowed = texts(
            &value,
            "/Boot/BootSourceOverrideTarget@Redfish.AllowableValues",
        );
        let is_allowed = |target: &str| {
            allowed
                .as_ref()
                .is_none_or(|allowed| allowed.iter().any(|other| other == target))
        };
        let target = match firmware {
            Firmware::Uefi if !is_allowed("Pxe") && is_allowed("UefiHttp") => "UefiHttp",
            Firmware::Uefi | Firmware::Bios => "Pxe",
        };
        let mode = match firmware {
            Firmware::Uefi => "UEFI",
            Firmware::Bios => "Legacy",
        };
        let mut boot = json!({
            "BootSourceOverrideEnabled": "Once",
            "BootSourceOverrideTarget": target,
        });
        let with_mode = value.pointer("/Boot/BootSourceOverrideMode").is_some();
        if let Some(boot) = boot.as_object_mut()
            && with_mode
        {
            boot.insert("BootSourceOverrideMode".to_owned(), json!(mode));
        }
        let mut body = json!({ "Boot": boot });
        let mut set = self.service.patch(&path, &body, tag).await;
        // Some show a mode that they do not let anybody change.
        if with_mode
            && matches!(
                &set,
                Err(RedfishFault::Refused {
                    status: 400..=422,
                    ..
                })
            )
        {
            if let Some(boot) = body.pointer_mut("/Boot").and_then(Value::as_object_mut) {
                boot.remove("BootSourceOverrideMode");
            }
            let tag = self.service.get(&path).await?.tag;
            set = self.service.patch(&path, &body, tag).await;
        }
        set?;
        let mut seen = BootOverride::UNCONFIRMED;
        for look in 1..=LOOKS {
            let value = self.service.get(&path).await?.value;
            let boot = |key: &str| text(&value, &format!("/Boot/BootSourceOverride{key}"));
            let enabled = boot("Enabled");
            seen = BootOverride {
                confirmed: boot("Target").as_deref() == Some(target)
                    && matches!(enabled.as_deref(), Some("Once" | "Continuous")),
                valid_bit_confirmed: enabled.as_deref() == Some("Once"),
                efi_bit_confirmed: boot("Mode").as_deref() == Some(mode),
            };
            if seen.confirmed || look == LOOKS {
                break;
            }
            sleep(PAUSE).await;
        }
        Ok(seen)
    }
}
