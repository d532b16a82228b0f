//! Answers from response bytes.

use super::{
    Answer, BootFlags, ChannelAccess, ChannelInfo, ChassisStatus, Command, CommandMask, DeviceId,
    LanValue, PowerDraw, RestoreSupport, SelEntry, SelInfo, SerialChannel, UserAccess, UserName,
};

/// What `data` says in answer to `command`; `None` when it makes no sense.
pub(super) fn decode(command: &Command, data: &[u8]) -> Option<Answer> {
    match command {
        Command::GetDeviceId => DeviceId::decode(data).map(Answer::DeviceId),
        Command::GetChassisStatus => ChassisStatus::decode(data).map(Answer::ChassisStatus),
        Command::SetRestorePolicy(_) => RestoreSupport::decode(data).map(Answer::RestoreSupport),
        Command::GetBootFlags => BootFlags::decode(data).map(Answer::BootFlags),
        Command::GetSelInfo => SelInfo::decode(data).map(Answer::SelInfo),
        Command::GetSelEntry(_) => SelEntry::decode(data).map(Answer::SelEntry),
        Command::ReserveSel => match *data {
            [low, high, ..] => Some(Answer::Reservation(u16::from_le_bytes([low, high]))),
            _ => None,
        },
        // IPMI table 31-9: erasure progress, 1 is completed.
        Command::ClearSel { .. } | Command::GetSelErasure { .. } => data
            .first()
            .map(|progress| Answer::SelErased(progress & 0x0f == 1)),
        Command::GetChannelInfo(_) => ChannelInfo::decode(data).map(Answer::ChannelInfo),
        Command::GetChannelAccess(_) => ChannelAccess::decode(data).map(Answer::ChannelAccess),
        Command::GetUserAccess { .. } => UserAccess::decode(data).map(Answer::UserAccess),
        Command::GetUserName(_) => UserName::decode(data).map(Answer::UserName),
        Command::GetLanParameter { parameter, .. } => {
            LanValue::decode(*parameter, data).map(Answer::Lan)
        }
        Command::GetConfigurableCommands { .. } | Command::GetCommandEnables { .. } => data
            .first_chunk()
            .map(|mask| Answer::Commands(CommandMask(*mask))),
        Command::GetPowerReading => PowerDraw::decode(data).map(Answer::PowerDraw),
        Command::ActivateSerial => SerialChannel::decode(data).map(Answer::Serial),
        // IPMI table 22-23: the answer holds the level that was set.
        Command::SetPrivilege(wanted) => match *data {
            [level, ..] if level & 0x0f >= wanted.number() => Some(Answer::Done),
            _ => None,
        },
        Command::ChassisControl(_)
        | Command::Identify(_)
        | Command::SetBootFlags(_)
        | Command::KeepBootFlags
        | Command::MarkBootFlagsUnread
        | Command::SetUserPassword { .. }
        | Command::TestUserPassword { .. }
        | Command::SetCommandEnables { .. }
        | Command::DeactivateSerial
        | Command::CloseSession => Some(Answer::Done),
    }
}
