//! What a BMC is set to, read over the network, for comparison between boots.

use protocols::rmcp::{
    Answer, BootDevice, BootFlags, ChannelAccess, Command, CompletionCode, LanParameter,
    RestorePolicy, SYSTEM_INTERFACE, THIS_CHANNEL, UserAccess, UserId,
};

use super::IpmiClient;
use super::settings::GUARDED;
use crate::power::BmcFacts;
use crate::power::PowerError;

impl IpmiClient {
    /// Reads users, LAN, boot override, restore policy, firmware and which
    /// commands the sled's own system may give. What a BMC refuses is noted as
    /// refused, so that a change of that shows too.
    ///
    /// # Errors
    /// When the BMC does not answer.
    pub async fn facts(&mut self) -> Result<BmcFacts, PowerError> {
        let mut facts = BmcFacts::default();
        let channel = match self.ask(&Command::GetChannelInfo(THIS_CHANNEL)).await? {
            Ok(Answer::ChannelInfo(info)) => info.number,
            _ => THIS_CHANNEL,
        };
        facts.note("lan.channel", channel);
        self.note_identity(&mut facts).await?;
        self.note_boot(&mut facts).await?;
        for (parameter, name) in LanParameter::ALL {
            let command = Command::GetLanParameter { channel, parameter };
            let value = match self.ask(&command).await? {
                Ok(Answer::Lan(value)) => value.to_string(),
                other => unread(other),
            };
            facts.note(format!("lan.{name}"), value);
        }
        for (channel, name) in [(channel, "lan.access"), (SYSTEM_INTERFACE, "host.access")] {
            let value = match self.ask(&Command::GetChannelAccess(channel)).await? {
                Ok(Answer::ChannelAccess(access)) => access_text(access),
                other => unread(other),
            };
            facts.note(name, value);
        }
        for guarded in GUARDED {
            let command = Command::GetCommandEnables {
                channel: SYSTEM_INTERFACE,
                net_fn: guarded.net_fn,
            };
            let enables = match self.ask(&command).await? {
                Ok(Answer::Commands(mask)) if mask.has(guarded.command) => "open".to_owned(),
                Ok(Answer::Commands(_)) => "restricted".to_owned(),
                other => unread(other),
            };
            facts.note(format!("host.{}", guarded.name), enables);
        }
        self.note_users(&mut facts, channel).await?;
        Ok(facts)
    }

    async fn note_identity(&mut self, facts: &mut BmcFacts) -> Result<(), PowerError> {
        match self.ask(&Command::GetDeviceId).await? {
            Ok(Answer::DeviceId(id)) => {
                let (major, minor) = id.firmware;
                facts.note("bmc.firmware", format_args!("{major}.{minor:02x}"));
                facts.note("bmc.manufacturer", id.manufacturer);
                facts.note("bmc.product", id.product);
                let (device, revision) = id.device;
                facts.note("bmc.device", format_args!("{device:#04x} rev {revision}"));
            }
            other => facts.note("bmc.firmware", unread(other)),
        }
        Ok(())
    }

    async fn note_boot(&mut self, facts: &mut BmcFacts) -> Result<(), PowerError> {
        let policy = match self.ask(&Command::GetChassisStatus).await? {
            Ok(Answer::ChassisStatus(status)) => policy_name(status.restore_policy).to_owned(),
            other => unread(other),
        };
        facts.note("power.after-outage", policy);
        // An override for one boot is ours, and set anew before each.
        let boot = match self.ask(&Command::GetBootFlags).await? {
            Ok(Answer::BootFlags(flags)) => boot_text(flags).to_owned(),
            other => unread(other),
        };
        facts.note("boot.always", boot);
        Ok(())
    }

    async fn note_users(&mut self, facts: &mut BmcFacts, channel: u8) -> Result<(), PowerError> {
        let mut most = 1;
        for number in 1..=63 {
            let Some(user) = UserId::new(number).filter(|_| number <= most) else {
                break;
            };
            let access = match self.ask(&Command::GetUserAccess { channel, user }).await? {
                Ok(Answer::UserAccess(access)) => {
                    most = access.most_users;
                    user_text(access)
                }
                other => unread(other),
            };
            // An empty place has no name, which some BMCs call an error.
            let name = match self.ask(&Command::GetUserName(user)).await? {
                Ok(Answer::UserName(name)) => name.to_string(),
                _ => String::new(),
            };
            facts.note(
                format!("user.{number:02}"),
                format_args!("\"{name}\" {access}"),
            );
        }
        Ok(())
    }

    /// The answer, or why there is none; an error only when the BMC is gone.
    pub(super) async fn ask(
        &mut self,
        command: &Command,
    ) -> Result<Result<Answer, Option<CompletionCode>>, PowerError> {
        let deadline = self.deadline();
        match self.perform(command, deadline).await {
            Ok(answer) => Ok(Ok(answer)),
            Err(error @ PowerError::Refused { .. }) => Ok(Err(error.code())),
            Err(PowerError::Malformed { .. }) => Ok(Err(None)),
            Err(error) => Err(error),
        }
    }
}

fn unread(answer: Result<Answer, Option<CompletionCode>>) -> String {
    match answer {
        Err(Some(code)) => format!("refused: {code}"),
        Err(None) | Ok(_) => "unreadable".to_owned(),
    }
}

pub(super) fn policy_name(policy: RestorePolicy) -> &'static str {
    match policy {
        RestorePolicy::StaysOff => "stays off",
        RestorePolicy::Restores => "as before",
        RestorePolicy::PowersUp => "powers up",
        RestorePolicy::Unknown => "unknown",
    }
}

fn boot_text(flags: BootFlags) -> &'static str {
    match flags.device {
        _ if !flags.valid || !flags.persistent => "no override",
        BootDevice::None => "no override",
        BootDevice::Pxe => "network",
        BootDevice::Disk => "disk",
        BootDevice::Setup => "firmware set-up",
        BootDevice::Other(_) => "another device",
    }
}

fn access_text(access: ChannelAccess) -> String {
    let mode = match access.mode {
        0 => "disabled",
        1 => "before boot",
        2 => "always",
        _ => "shared",
    };
    format!("{mode}, up to {}", privilege_name(access.privilege))
}

fn user_text(access: UserAccess) -> String {
    let enabled = match access.enabled {
        Some(true) => "enabled",
        Some(false) => "disabled",
        None => "enablement unknown",
    };
    let messaging = match access.messaging {
        true => "sessions",
        false => "no sessions",
    };
    let privilege = privilege_name(access.privilege);
    format!("{enabled}, {messaging}, {privilege}")
}

/// IPMI table 22-32.
fn privilege_name(privilege: u8) -> &'static str {
    match privilege {
        1 => "callback",
        2 => "user",
        3 => "operator",
        4 => "administrator",
        5 => "manufacturer",
        15 => "no access",
        _ => "reserved",
    }
}
