//! Commands as request bytes.

use alloc::vec::Vec;

use super::{
    ChassisControl, Command, PARAMETER_ACKNOWLEDGE, PARAMETER_BOOT_FLAGS, PARAMETER_CLEARING,
    RestorePolicy,
};

/// IPMI table 5-1, network functions.
const CHASSIS: u8 = 0x00;
const APPLICATION: u8 = 0x06;
const STORAGE: u8 = 0x0a;
const TRANSPORT: u8 = 0x0c;
const GROUP_EXTENSION: u8 = 0x2c;

/// DCMI 1.5, 6.1: the group that its commands name.
pub(super) const GROUP_DCMI: u8 = 0xdc;
/// DCMI 1.5, table 6-16: system power statistics.
const SYSTEM_POWER: u8 = 0x01;

/// IPMI table 24-2: payload type and instance of Serial-over-LAN.
const SERIAL_PAYLOAD: [u8; 2] = [0x01, 0x01];
/// IPMI table 24-2: encrypted, authenticated, and alerts on the serial line
/// are deferred while we have it.
const SERIAL_OPTIONS: [u8; 4] = [0xc4, 0, 0, 0];

/// Bit 7 of the user id: the password has 20 bytes (IPMI table 22-34).
const LONG_PASSWORD: u8 = 0x80;
/// What fits without that bit.
const SHORT_PASSWORD_BYTES: usize = 16;

pub(super) fn number(command: &Command) -> (u8, u8) {
    match command {
        Command::GetDeviceId => (APPLICATION, 0x01),
        Command::GetChassisStatus => (CHASSIS, 0x01),
        Command::ChassisControl(_) => (CHASSIS, 0x02),
        Command::Identify(_) => (CHASSIS, 0x04),
        Command::SetRestorePolicy(_) => (CHASSIS, 0x06),
        Command::SetBootFlags(_) | Command::KeepBootFlags | Command::MarkBootFlagsUnread => {
            (CHASSIS, 0x08)
        }
        Command::GetBootFlags => (CHASSIS, 0x09),
        Command::GetSelInfo => (STORAGE, 0x40),
        Command::ReserveSel => (STORAGE, 0x42),
        Command::GetSelEntry(_) => (STORAGE, 0x43),
        Command::ClearSel { .. } | Command::GetSelErasure { .. } => (STORAGE, 0x47),
        Command::GetChannelAccess(_) => (APPLICATION, 0x41),
        Command::GetChannelInfo(_) => (APPLICATION, 0x42),
        Command::GetUserAccess { .. } => (APPLICATION, 0x44),
        Command::GetUserName(_) => (APPLICATION, 0x46),
        Command::SetUserPassword { .. } | Command::TestUserPassword { .. } => (APPLICATION, 0x47),
        Command::GetLanParameter { .. } => (TRANSPORT, 0x02),
        Command::GetConfigurableCommands { .. } => (APPLICATION, 0x0c),
        Command::SetCommandEnables { .. } => (APPLICATION, 0x60),
        Command::GetCommandEnables { .. } => (APPLICATION, 0x61),
        Command::GetPowerReading => (GROUP_EXTENSION, 0x02),
        Command::ActivateSerial => (APPLICATION, 0x48),
        Command::DeactivateSerial => (APPLICATION, 0x49),
        Command::SetPrivilege(_) => (APPLICATION, 0x3b),
        Command::CloseSession => (APPLICATION, 0x3c),
    }
}

pub(super) fn data(command: &Command, bmc_session: u32) -> Vec<u8> {
    match command {
        Command::GetDeviceId
        | Command::GetChassisStatus
        | Command::GetSelInfo
        | Command::ReserveSel => Vec::new(),
        Command::ChassisControl(control) => [control_number(*control)].to_vec(),
        Command::Identify(seconds) => [*seconds].to_vec(),
        Command::SetRestorePolicy(policy) => [policy_number(*policy)].to_vec(),
        Command::SetBootFlags(flags) => {
            let mut data = [PARAMETER_BOOT_FLAGS].to_vec();
            data.extend_from_slice(&flags.encode());
            data
        }
        // Bit 3: don't clear the valid bit after 60 s without a power
        // command. The other bits stay clear: a button, a watchdog or a
        // reset that is not ours shall drop the override.
        Command::KeepBootFlags => [PARAMETER_CLEARING, 0x08].to_vec(),
        // Write mask and value: "BIOS has not handled boot info" (bit 0).
        Command::MarkBootFlagsUnread => [PARAMETER_ACKNOWLEDGE, 0x01, 0x01].to_vec(),
        Command::GetBootFlags => [PARAMETER_BOOT_FLAGS, 0, 0].to_vec(),
        // No reservation is needed for a whole record (IPMI 31.5).
        Command::GetSelEntry(record) => {
            let [low, high] = record.to_le_bytes();
            [0, 0, low, high, 0, 0xff].to_vec()
        }
        Command::ClearSel { reservation } => clear(*reservation, 0xaa),
        Command::GetSelErasure { reservation } => clear(*reservation, 0x00),
        Command::GetChannelInfo(channel) => [*channel].to_vec(),
        // Bits 7-6: 01 are the stored settings.
        Command::GetChannelAccess(channel) => [*channel, 0x40].to_vec(),
        Command::GetUserAccess { channel, user } => [*channel, user.0].to_vec(),
        Command::GetUserName(user) => [user.0].to_vec(),
        Command::SetUserPassword { user, password } => password_data(user.0, 2, password.key()),
        Command::TestUserPassword { user, password } => password_data(user.0, 3, password.key()),
        // No set and no block selector.
        Command::GetLanParameter { channel, parameter } => {
            [*channel, parameter.number(), 0, 0].to_vec()
        }
        // Operation 00: commands 00h-7Fh; logical unit 0.
        Command::GetConfigurableCommands { channel, net_fn }
        | Command::GetCommandEnables { channel, net_fn } => [*channel, *net_fn, 0].to_vec(),
        Command::SetCommandEnables {
            channel,
            net_fn,
            enabled,
        } => {
            let mut data = [*channel, *net_fn, 0].to_vec();
            data.extend_from_slice(&enabled.0);
            data
        }
        Command::GetPowerReading => [GROUP_DCMI, SYSTEM_POWER, 0, 0].to_vec(),
        Command::ActivateSerial => [SERIAL_PAYLOAD.as_slice(), &SERIAL_OPTIONS].concat(),
        Command::DeactivateSerial => [SERIAL_PAYLOAD.as_slice(), &[0; 4]].concat(),
        Command::SetPrivilege(privilege) => [privilege.number()].to_vec(),
        Command::CloseSession => bmc_session.to_le_bytes().to_vec(),
    }
}

fn control_number(control: ChassisControl) -> u8 {
    match control {
        ChassisControl::PowerDown => 0,
        ChassisControl::PowerUp => 1,
        ChassisControl::PowerCycle => 2,
        ChassisControl::HardReset => 3,
        ChassisControl::SoftShutdown => 5,
    }
}

/// IPMI table 28-8.
fn policy_number(policy: RestorePolicy) -> u8 {
    match policy {
        RestorePolicy::StaysOff => 0,
        RestorePolicy::Restores => 1,
        RestorePolicy::PowersUp => 2,
        RestorePolicy::Unknown => 3,
    }
}

fn clear(reservation: u16, operation: u8) -> Vec<u8> {
    let [low, high] = reservation.to_le_bytes();
    [low, high, b'C', b'L', b'R', operation].to_vec()
}

/// IPMI 22.30: a password of 16 bytes or less may be sent as 16, which is all
/// that some BMCs take.
fn password_data(user: u8, operation: u8, key: &[u8]) -> Vec<u8> {
    let (number, field) = match key.split_at_checked(SHORT_PASSWORD_BYTES) {
        Some((short, rest)) if rest.iter().all(|byte| *byte == 0) => (user, short),
        _ => (user | LONG_PASSWORD, key),
    };
    let mut data = Vec::with_capacity(2 + field.len());
    data.extend_from_slice(&[number, operation]);
    data.extend_from_slice(field);
    data
}
