//! The commands that Musher gives a BMC, and what their answers mean.

use alloc::vec::Vec;
use core::fmt;

use super::message::Message;
use super::suite::Privilege;

mod values;

pub use values::{
    BootDevice, BootFlags, ChassisStatus, CompletionCode, DeviceId, Firmware, RestorePolicy,
};

/// IPMI table 5-1, network functions.
const CHASSIS: u8 = 0x00;
const APPLICATION: u8 = 0x06;
/// IPMI table 28-14, boot option parameters.
const PARAMETER_CLEARING: u8 = 3;
const PARAMETER_ACKNOWLEDGE: u8 = 4;
const PARAMETER_BOOT_FLAGS: u8 = 5;

/// A request to a BMC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Get Device ID (IPMI 20.1).
    GetDeviceId,
    /// Get Chassis Status (IPMI 28.2).
    GetChassisStatus,
    /// Chassis Control (IPMI 28.3).
    ChassisControl(ChassisControl),
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
}

/// The answer to a command that the BMC carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done; nothing more to say.
    Done,
    /// To [`Command::GetDeviceId`].
    DeviceId(DeviceId),
    /// To [`Command::GetChassisStatus`].
    ChassisStatus(ChassisStatus),
    /// To [`Command::GetBootFlags`].
    BootFlags(BootFlags),
}

/// A command that was not carried out, or whose answer makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The BMC refused.
    #[error("{command} was refused: {code}")]
    Refused {
        /// What was asked.
        command: Command,
        /// Why not.
        code: CompletionCode,
    },
    /// The answer is authentic, but shorter than IPMI says or about
    /// something else.
    #[error("the answer to {command} is malformed")]
    Malformed {
        /// What was asked.
        command: Command,
    },
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GetDeviceId => "get device id",
            Self::GetChassisStatus => "get chassis status",
            Self::ChassisControl(ChassisControl::PowerDown) => "chassis power down",
            Self::ChassisControl(ChassisControl::PowerUp) => "chassis power up",
            Self::ChassisControl(ChassisControl::PowerCycle) => "chassis power cycle",
            Self::ChassisControl(ChassisControl::HardReset) => "chassis hard reset",
            Self::SetBootFlags(_) => "set boot flags",
            Self::KeepBootFlags => "keep boot flags valid",
            Self::MarkBootFlagsUnread => "mark boot flags unread",
            Self::GetBootFlags => "get boot flags",
            Self::SetPrivilege(_) => "set session privilege level",
            Self::CloseSession => "close session",
        })
    }
}

impl Command {
    /// Whether carrying the command out twice is the same as once. Others are
    /// never sent again when their answer is missing.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        !matches!(
            self,
            Self::ChassisControl(ChassisControl::PowerCycle | ChassisControl::HardReset)
        )
    }

    /// Network function and command number.
    pub(super) fn number(&self) -> (u8, u8) {
        match self {
            Self::GetDeviceId => (APPLICATION, 0x01),
            Self::GetChassisStatus => (CHASSIS, 0x01),
            Self::ChassisControl(_) => (CHASSIS, 0x02),
            Self::SetBootFlags(_) | Self::KeepBootFlags | Self::MarkBootFlagsUnread => {
                (CHASSIS, 0x08)
            }
            Self::GetBootFlags => (CHASSIS, 0x09),
            Self::SetPrivilege(_) => (APPLICATION, 0x3b),
            Self::CloseSession => (APPLICATION, 0x3c),
        }
    }

    /// Request data; `bmc_session` is the id that Close Session names.
    pub(super) fn data(&self, bmc_session: u32) -> Vec<u8> {
        match self {
            Self::GetDeviceId | Self::GetChassisStatus => Vec::new(),
            Self::ChassisControl(control) => [match control {
                ChassisControl::PowerDown => 0,
                ChassisControl::PowerUp => 1,
                ChassisControl::PowerCycle => 2,
                ChassisControl::HardReset => 3,
            }]
            .to_vec(),
            Self::SetBootFlags(flags) => {
                let mut data = [PARAMETER_BOOT_FLAGS].to_vec();
                data.extend_from_slice(&flags.encode());
                data
            }
            // Bit 3: don't clear the valid bit after 60 s without a power
            // command. The other bits stay clear: a button, a watchdog or a
            // reset that is not ours shall drop the override.
            Self::KeepBootFlags => [PARAMETER_CLEARING, 0x08].to_vec(),
            // Write mask and value: "BIOS has not handled boot info" (bit 0).
            Self::MarkBootFlagsUnread => [PARAMETER_ACKNOWLEDGE, 0x01, 0x01].to_vec(),
            Self::GetBootFlags => [PARAMETER_BOOT_FLAGS, 0, 0].to_vec(),
            Self::SetPrivilege(privilege) => [privilege.number()].to_vec(),
            Self::CloseSession => bmc_session.to_le_bytes().to_vec(),
        }
    }

    /// What `message` says in answer to this command.
    pub(super) fn answer(&self, message: &Message<'_>) -> Result<Answer, AnswerError> {
        let code = CompletionCode(message.completion);
        if code != CompletionCode::OK {
            return Err(AnswerError::Refused {
                command: *self,
                code,
            });
        }
        let answer = match self {
            Self::GetDeviceId => DeviceId::decode(message.data).map(Answer::DeviceId),
            Self::GetChassisStatus => {
                ChassisStatus::decode(message.data).map(Answer::ChassisStatus)
            }
            Self::GetBootFlags => BootFlags::decode(message.data).map(Answer::BootFlags),
            Self::ChassisControl(_)
            | Self::SetBootFlags(_)
            | Self::KeepBootFlags
            | Self::MarkBootFlagsUnread
            | Self::CloseSession => Some(Answer::Done),
            // IPMI table 22-23: the answer holds the level that was set.
            Self::SetPrivilege(wanted) => match *message.data {
                [level, ..] if level & 0x0f >= wanted.number() => Some(Answer::Done),
                _ => None,
            },
        };
        answer.ok_or(AnswerError::Malformed { command: *self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(command: Command, completion: u8, data: &[u8]) -> Result<Answer, AnswerError> {
        let (net_fn, number) = command.number();
        command.answer(&Message {
            net_fn,
            sequence: 0,
            command: number,
            completion,
            data,
        })
    }

    #[test]
    fn boot_flags_round_trip() {
        let check = |flags: BootFlags, bytes: [u8; 5]| {
            assert_eq!(flags.encode(), bytes, "{flags:?}");
            let mut data = [1, PARAMETER_BOOT_FLAGS].to_vec();
            data.extend_from_slice(&bytes);
            let expect = Ok(Answer::BootFlags(flags));
            assert_eq!(
                answer(Command::GetBootFlags, 0, &data),
                expect,
                "{bytes:02x?}"
            );
        };
        // The values of IPMI table 28-14, as `ipmitool chassis bootdev pxe`
        // and `… options=efiboot` write them.
        check(BootFlags::pxe_once(Firmware::Bios), [0x80, 0x04, 0, 0, 0]);
        check(BootFlags::pxe_once(Firmware::Uefi), [0xa0, 0x04, 0, 0, 0]);
        let other = BootFlags {
            valid: false,
            persistent: true,
            firmware: Firmware::Bios,
            device: BootDevice::Other(0x0f),
        };
        check(other, [0x40, 0x3c, 0, 0, 0]);
    }

    #[test]
    fn answers_are_checked() {
        let check = |command: Command, data: &[u8], expect: Option<Answer>| {
            let expect = expect.ok_or(AnswerError::Malformed { command });
            assert_eq!(answer(command, 0, data), expect, "{command} {data:02x?}");
        };
        let status = |power_on, power_fault, restore_policy| {
            Some(Answer::ChassisStatus(ChassisStatus {
                power_on,
                power_fault,
                restore_policy,
            }))
        };
        let chassis = Command::GetChassisStatus;
        check(
            chassis,
            &[0x01, 0, 0],
            status(true, false, RestorePolicy::StaysOff),
        );
        check(
            chassis,
            &[0x48, 0, 0, 9],
            status(false, true, RestorePolicy::PowersUp),
        );
        check(
            chassis,
            &[0x60, 0, 0],
            status(false, false, RestorePolicy::Unknown),
        );
        check(chassis, &[0x01, 0], None);
        check(Command::GetBootFlags, &[1, 3, 0x80, 4], None);
        check(Command::GetBootFlags, &[1, 5, 0x80], None);
        check(Command::GetBootFlags, &[], None);
        check(Command::GetDeviceId, &[0; 10], None);
        let level = Command::SetPrivilege(Privilege::Operator);
        check(level, &[3], Some(Answer::Done));
        check(level, &[4], Some(Answer::Done));
        check(level, &[2], None);
        let id = DeviceId {
            device: (0x20, 1),
            firmware: (9, 0x08),
            ipmi_version: 0x02,
            manufacturer: 0x1291,
            product: 0x0f02,
        };
        let bytes = [
            0x20, 0x81, 0x09, 0x08, 0x02, 0x9f, 0x91, 0x12, 0x00, 0x02, 0x0f,
        ];
        check(Command::GetDeviceId, &bytes, Some(Answer::DeviceId(id)));
    }

    #[test]
    fn refusals_name_the_code() {
        let command = Command::ChassisControl(ChassisControl::PowerUp);
        let error = answer(command, 0xd4, &[]).unwrap_err();
        let text = alloc::string::ToString::to_string(&error);
        assert_eq!(
            text,
            "chassis power up was refused: insufficient privilege (0xd4)"
        );
    }
}
