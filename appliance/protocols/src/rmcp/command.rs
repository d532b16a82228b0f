//! The commands that Musher gives a BMC, and what their answers mean.

use alloc::vec::Vec;
use core::fmt;

use super::credentials::Password;
use super::message::Message;
use super::suite::Privilege;

mod answer;
mod events;
mod request;
mod serial;
mod settings;
mod values;

pub use events::{SelEntry, SelInfo};
pub use serial::SerialChannel;
pub use settings::{
    ChannelAccess, ChannelInfo, CommandMask, LanParameter, LanValue, Medium, UserAccess, UserId,
    UserName,
};
pub use values::{
    BootDevice, BootFlags, ChassisStatus, CompletionCode, DeviceId, Firmware, PowerDraw,
    RestorePolicy, RestoreSupport,
};

/// IPMI table 28-14, boot option parameters.
const PARAMETER_CLEARING: u8 = 3;
const PARAMETER_ACKNOWLEDGE: u8 = 4;
const PARAMETER_BOOT_FLAGS: u8 = 5;

/// The channel that a request comes in by (IPMI table 6-1).
pub const THIS_CHANNEL: u8 = 0x0e;
/// The system interface, by which a sled's own root reaches its BMC (IPMI
/// table 6-1).
pub const SYSTEM_INTERFACE: u8 = 0x0f;

/// A request to a BMC. `Debug` and `Display` show no password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Get Device ID (IPMI 20.1).
    GetDeviceId,
    /// Get Chassis Status (IPMI 28.2).
    GetChassisStatus,
    /// Chassis Control (IPMI 28.3).
    ChassisControl(ChassisControl),
    /// Chassis Identify (IPMI 28.5): the identify light for so many seconds;
    /// 0 turns it off.
    Identify(u8),
    /// Set Power Restore Policy (IPMI 28.8). `Unknown` changes nothing and
    /// only asks what the chassis supports.
    SetRestorePolicy(RestorePolicy),
    /// Set System Boot Options, boot flags (IPMI 28.12, parameter 5).
    SetBootFlags(BootFlags),
    /// Set System Boot Options, parameter 3: the valid bit of the boot flags
    /// stays set when no power command follows within 60 s.
    KeepBootFlags,
    /// Set System Boot Options, parameter 4: the firmware has not yet handled
    /// the boot flags that follow.
    MarkBootFlagsUnread,
    /// Get System Boot Options, boot flags (IPMI 28.13).
    GetBootFlags,
    /// Get SEL Info (IPMI 31.2).
    GetSelInfo,
    /// Get SEL Entry (IPMI 31.5), whole, by record id; 0 is the first.
    GetSelEntry(u16),
    /// Reserve SEL (IPMI 31.4): what Clear SEL must name.
    ReserveSel,
    /// Clear SEL (IPMI 31.9): begin to erase.
    ClearSel {
        /// From [`Command::ReserveSel`].
        reservation: u16,
    },
    /// Clear SEL (IPMI 31.9): is it erased?
    GetSelErasure {
        /// From [`Command::ReserveSel`].
        reservation: u16,
    },
    /// Get Channel Info (IPMI 22.24).
    GetChannelInfo(u8),
    /// Get Channel Access (IPMI 22.23), the stored settings.
    GetChannelAccess(u8),
    /// Get User Access (IPMI 22.27).
    GetUserAccess {
        /// On which channel.
        channel: u8,
        /// Whose.
        user: UserId,
    },
    /// Get User Name (IPMI 22.29).
    GetUserName(UserId),
    /// Set User Password (IPMI 22.30), as 16 bytes where they do, else 20.
    SetUserPassword {
        /// Whose.
        user: UserId,
        /// The new one.
        password: Password,
    },
    /// Set User Password, operation "test password", in the same way.
    TestUserPassword {
        /// Whose.
        user: UserId,
        /// What it should be.
        password: Password,
    },
    /// Get LAN Configuration Parameters (IPMI 23.2).
    GetLanParameter {
        /// Of which channel.
        channel: u8,
        /// Which one.
        parameter: LanParameter,
    },
    /// Get Configurable Commands (IPMI 21.5): of the commands 00h-7Fh of a
    /// network function, those that can be disabled on a channel.
    GetConfigurableCommands {
        /// On which channel.
        channel: u8,
        /// Of which network function.
        net_fn: u8,
    },
    /// Get Command Enables (IPMI 21.8), commands 00h-7Fh.
    GetCommandEnables {
        /// On which channel.
        channel: u8,
        /// Of which network function.
        net_fn: u8,
    },
    /// Set Command Enables (IPMI 21.7), commands 00h-7Fh.
    SetCommandEnables {
        /// On which channel.
        channel: u8,
        /// Of which network function.
        net_fn: u8,
        /// What shall be enabled.
        enabled: CommandMask,
    },
    /// DCMI Get Power Reading (DCMI 1.5, 6.6.1).
    GetPowerReading,
    /// Activate Payload (IPMI 24.1): Serial-over-LAN, encrypted and
    /// authenticated.
    ActivateSerial,
    /// Deactivate Payload (IPMI 24.2): Serial-over-LAN.
    DeactivateSerial,
    /// Set Session Privilege Level (IPMI 22.18).
    SetPrivilege(Privilege),
    /// Close Session (IPMI 22.19), this one.
    CloseSession,
}

/// What Chassis Control does (IPMI table 28-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChassisControl {
    /// Off at once, without asking the operating system.
    PowerDown,
    /// On.
    PowerUp,
    /// Off, a pause that the BMC chooses, on.
    PowerCycle,
    /// Reset line, power stays on.
    HardReset,
    /// The power button as ACPI sees it: the operating system decides.
    SoftShutdown,
}

/// The answer to a command that the BMC carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done; nothing more to say.
    Done,
    /// To [`Command::GetDeviceId`].
    DeviceId(DeviceId),
    /// To [`Command::GetChassisStatus`].
    ChassisStatus(ChassisStatus),
    /// To [`Command::SetRestorePolicy`].
    RestoreSupport(RestoreSupport),
    /// To [`Command::GetBootFlags`].
    BootFlags(BootFlags),
    /// To [`Command::GetSelInfo`].
    SelInfo(SelInfo),
    /// To [`Command::GetSelEntry`].
    SelEntry(SelEntry),
    /// To [`Command::ReserveSel`].
    Reservation(u16),
    /// To [`Command::ClearSel`] and [`Command::GetSelErasure`]: it is erased.
    SelErased(bool),
    /// To [`Command::GetChannelInfo`].
    ChannelInfo(ChannelInfo),
    /// To [`Command::GetChannelAccess`].
    ChannelAccess(ChannelAccess),
    /// To [`Command::GetUserAccess`].
    UserAccess(UserAccess),
    /// To [`Command::GetUserName`].
    UserName(UserName),
    /// To [`Command::GetLanParameter`].
    Lan(LanValue),
    /// To [`Command::GetConfigurableCommands`] and
    /// [`Command::GetCommandEnables`].
    Commands(CommandMask),
    /// To [`Command::GetPowerReading`].
    PowerDraw(PowerDraw),
    /// To [`Command::ActivateSerial`].
    Serial(SerialChannel),
}

/// A command that was not carried out, or whose answer makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The BMC refused.
    #[error("{command} was refused: {code}")]
    Refused {
        /// [`Command::name`] of what was asked.
        command: &'static str,
        /// Why not.
        code: CompletionCode,
    },
    /// The answer is authentic, but shorter than IPMI says or about
    /// something else.
    #[error("the answer to {command} is malformed")]
    Malformed {
        /// [`Command::name`] of what was asked.
        command: &'static str,
    },
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Command {
    /// What it is called, without what it carries.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::GetDeviceId => "get device id",
            Self::GetChassisStatus => "get chassis status",
            Self::ChassisControl(ChassisControl::PowerDown) => "chassis power down",
            Self::ChassisControl(ChassisControl::PowerUp) => "chassis power up",
            Self::ChassisControl(ChassisControl::PowerCycle) => "chassis power cycle",
            Self::ChassisControl(ChassisControl::HardReset) => "chassis hard reset",
            Self::ChassisControl(ChassisControl::SoftShutdown) => "chassis soft shutdown",
            Self::Identify(_) => "chassis identify",
            Self::SetRestorePolicy(_) => "set power restore policy",
            Self::SetBootFlags(_) => "set boot flags",
            Self::KeepBootFlags => "keep boot flags valid",
            Self::MarkBootFlagsUnread => "mark boot flags unread",
            Self::GetBootFlags => "get boot flags",
            Self::GetSelInfo => "get event log info",
            Self::GetSelEntry(_) => "get event log entry",
            Self::ReserveSel => "reserve event log",
            Self::ClearSel { .. } => "clear event log",
            Self::GetSelErasure { .. } => "get event log erasure",
            Self::GetChannelInfo(_) => "get channel info",
            Self::GetChannelAccess(_) => "get channel access",
            Self::GetUserAccess { .. } => "get user access",
            Self::GetUserName(_) => "get user name",
            Self::SetUserPassword { .. } => "set user password",
            Self::TestUserPassword { .. } => "test user password",
            Self::GetLanParameter { .. } => "get LAN parameter",
            Self::GetConfigurableCommands { .. } => "get configurable commands",
            Self::GetCommandEnables { .. } => "get command enables",
            Self::SetCommandEnables { .. } => "set command enables",
            Self::GetPowerReading => "get power reading",
            Self::ActivateSerial => "activate serial over LAN",
            Self::DeactivateSerial => "deactivate serial over LAN",
            Self::SetPrivilege(_) => "set session privilege level",
            Self::CloseSession => "close session",
        }
    }

    /// Whether carrying the command out twice is the same as once. Others are
    /// never sent again when their answer is missing.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        !matches!(
            self,
            Self::ChassisControl(
                ChassisControl::PowerCycle
                    | ChassisControl::HardReset
                    | ChassisControl::SoftShutdown
            )
            // The second one would find the first one's payload in its way.
            | Self::ActivateSerial
            // What was logged in between would be lost unseen.
            | Self::ClearSel { .. }
        )
    }

    /// What `message` says in answer to this command.
    pub(super) fn answer(&self, message: &Message<'_>) -> Result<Answer, AnswerError> {
        let command = self.name();
        let code = CompletionCode(message.completion);
        if code != CompletionCode::OK {
            return Err(AnswerError::Refused { command, code });
        }
        answer::decode(self, message.data).ok_or(AnswerError::Malformed { command })
    }

    /// Network function and command number.
    pub(super) fn number(&self) -> (u8, u8) {
        request::number(self)
    }

    /// Request data; `bmc_session` is the id that Close Session names.
    pub(super) fn data(&self, bmc_session: u32) -> Vec<u8> {
        request::data(self, bmc_session)
    }
}

#[cfg(test)]
pub(super) mod tests;
