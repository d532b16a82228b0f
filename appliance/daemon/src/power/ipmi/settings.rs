//! What is changed at a BMC beside power: the identify light, what happens
//! after an outage, and what its own sled may tell it.

use messages::PowerMeter;
use protocols::rmcp::{Answer, Command, CompletionCode, RestorePolicy, SYSTEM_INTERFACE};
use serde::Serialize;

use super::facts::policy_name;
use super::{IpmiClient, Target};
use crate::power::PowerError;
use crate::power::manage::Watts;

/// A command that a sled's own system should not give its BMC.
pub(super) struct Guarded {
    pub(super) name: &'static str,
    pub(super) net_fn: u8,
    pub(super) command: u8,
}

/// What a job with root could turn the BMC against us with, as far as IPMI
/// numbers it (appendix G). Boot options stay open: firmware acknowledges
/// them. The manufacturers' own commands, firmware updates among them, are
/// not in IPMI's firewall.
pub(super) const GUARDED: [Guarded; 7] = [
    guarded("set-channel-access", 0x06, 0x40),
    guarded("set-user-access", 0x06, 0x43),
    guarded("set-user-name", 0x06, 0x45),
    guarded("set-user-password", 0x06, 0x47),
    // Or it could open the others again.
    guarded("set-command-enables", 0x06, 0x60),
    guarded("set-power-restore-policy", 0x00, 0x06),
    guarded("set-lan-parameters", 0x0c, 0x01),
];

const fn guarded(name: &'static str, net_fn: u8, command: u8) -> Guarded {
    Guarded {
        name,
        net_fn,
        command,
    }
}

/// What restricting the host interface came to, read back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HostInterface {
    /// Commands that the sled's own system cannot give any more.
    pub restricted: Vec<&'static str>,
    /// Commands that it still can. All of them where the BMC lacks IPMI's
    /// firmware firewall: then its own page may have a switch ("lockdown",
    /// "KCS control", "host interface").
    pub open: Vec<&'static str>,
}

impl IpmiClient {
    /// Lights the identify light for so many seconds; 0 turns it off.
    ///
    /// # Errors
    /// When the BMC does not answer or refuses.
    pub async fn identify(&mut self, for_s: u8) -> Result<(), PowerError> {
        let deadline = self.deadline();
        self.perform(&Command::Identify(for_s), deadline)
            .await
            .map(drop)
    }

    /// Sees to it that the chassis stays off when mains power comes back.
    ///
    /// # Errors
    /// When the BMC does not answer or refuses; [`PowerError::NotKept`] when
    /// it reads otherwise afterwards.
    pub async fn keep_off_after_outage(&mut self) -> Result<(), PowerError> {
        let wanted = RestorePolicy::StaysOff;
        if self.restore_policy().await? == wanted {
            return Ok(());
        }
        let deadline = self.deadline();
        self.perform(&Command::SetRestorePolicy(wanted), deadline)
            .await?;
        match self.restore_policy().await? {
            is if is == wanted => Ok(()),
            is => Err(PowerError::NotKept {
                target: self.target.clone(),
                setting: "the power restore policy",
                wanted: policy_name(wanted),
                is: policy_name(is),
            }),
        }
    }

    async fn restore_policy(&mut self) -> Result<RestorePolicy, PowerError> {
        let deadline = self.deadline();
        match self.perform(&Command::GetChassisStatus, deadline).await? {
            Answer::ChassisStatus(status) => Ok(status.restore_policy),
            _ => Ok(RestorePolicy::Unknown),
        }
    }

    /// What the machine draws, by DCMI; `None` when the BMC cannot or does
    /// not measure.
    ///
    /// # Errors
    /// When the BMC does not answer.
    pub async fn watts(&mut self) -> Result<Option<Watts>, PowerError> {
        match self.ask(&Command::GetPowerReading).await? {
            Ok(Answer::PowerDraw(draw)) if draw.active => Ok(Some(Watts {
                now: draw.now_w.into(),
                meter: PowerMeter::Dcmi,
            })),
            _ => Ok(None),
        }
    }

    /// Takes from the sled's own system the commands that could turn its BMC
    /// against us, as far as the BMC has IPMI's firmware firewall (IPMI 21),
    /// and reads that back. Needs the administrator privilege.
    ///
    /// # Errors
    /// When the BMC does not answer, or refuses the privilege.
    pub async fn restrict_host_interface(&mut self) -> Result<HostInterface, PowerError> {
        let mut admin = self.as_administrator();
        let outcome = admin.restrict().await;
        admin.close().await;
        outcome
    }

    /// Which commands the sled's own system can give now.
    ///
    /// # Errors
    /// When the BMC does not answer.
    pub async fn host_interface(&mut self) -> Result<HostInterface, PowerError> {
        let channel = SYSTEM_INTERFACE;
        let mut outcome = HostInterface::default();
        for guarded in &GUARDED {
            let net_fn = guarded.net_fn;
            let read = Command::GetCommandEnables { channel, net_fn };
            match self.ask(&read).await? {
                Ok(Answer::Commands(mask)) if !mask.has(guarded.command) => {
                    outcome.restricted.push(guarded.name);
                }
                _ => outcome.open.push(guarded.name),
            }
        }
        Ok(outcome)
    }

    /// Whether the sled's own system shall be restricted.
    pub(in crate::power) fn wants_restriction(&self) -> bool {
        self.config.restrict_host_interface
    }

    async fn restrict(&mut self) -> Result<HostInterface, PowerError> {
        let channel = SYSTEM_INTERFACE;
        for guarded in &GUARDED {
            let (net_fn, command) = (guarded.net_fn, guarded.command);
            let configurable = Command::GetConfigurableCommands { channel, net_fn };
            let can = match self.ask(&configurable).await? {
                Ok(Answer::Commands(mask)) => mask.has(command),
                _ => false,
            };
            let read = Command::GetCommandEnables { channel, net_fn };
            if let (true, Ok(Answer::Commands(mask))) = (can, self.ask(&read).await?)
                && mask.has(command)
            {
                let set = Command::SetCommandEnables {
                    channel,
                    net_fn,
                    enabled: mask.without(command),
                };
                if let Err(Some(CompletionCode::INSUFFICIENT_PRIVILEGE)) = self.ask(&set).await? {
                    return Err(self.odd("the firmware firewall"));
                }
            }
        }
        self.host_interface().await
    }

    /// Whose BMC it is, for messages.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// An answer of another kind than the question: it cannot be, as answers
    /// are decoded by their command.
    pub(super) fn odd(&self, what: &'static str) -> PowerError {
        PowerError::Lacks {
            target: self.target.clone(),
            what,
            why: "the BMC does not give it to us",
        }
    }
}
