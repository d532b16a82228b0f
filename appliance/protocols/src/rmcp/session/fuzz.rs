//! One entry for fuzzing everything that a BMC's bytes can reach.

use core::num::NonZeroU32;

use super::super::command::{
    Command, LanParameter, RestorePolicy, SYSTEM_INTERFACE, THIS_CHANNEL, UserId,
};
use super::super::credentials::{Password, Username};
use super::super::message::Message;
use super::super::serial::SerialLine;
use super::super::suite::{CipherSuite, Keys, Privilege};
use super::{Config, Entropy, NameLookup, Session, Timing};

/// Feeds `input` to a client session, as datagrams that each follow a length
/// byte, and each of them to the parsers behind the session's encryption,
/// which random bytes would never get past. Must not panic, whatever the
/// input; for `tests/fuzz`.
pub fn fuzz_session(input: &[u8]) {
    let (Ok(username), Ok(password)) = (Username::new("admin"), Password::new(b"secret")) else {
        return;
    };
    let suite = match input.first() {
        Some(first) if first & 1 == 1 => CipherSuite::Suite17,
        _ => CipherSuite::Suite3,
    };
    let keys = Keys::new(
        suite,
        suite.code(password.key(), &[b"session integrity key"]),
    );
    let config = Config {
        username,
        password,
        bmc_key: None,
        suite,
        privilege: Privilege::Operator,
        lookup: NameLookup::NameOnly,
        timing: Timing::default(),
    };
    let entropy = Entropy {
        console_session: NonZeroU32::MIN,
        nonce: [7; 16],
        iv: [9; 16],
    };
    let mut session = Session::new(config, entropy);
    let mut line = SerialLine::new(64);
    let mut rest = input;
    let mut now_ms = 0;
    while let Some((length, tail)) = rest.split_first() {
        let (datagram, tail) = tail
            .split_at_checked(usize::from(*length))
            .unwrap_or((tail, &[]));
        rest = tail;
        now_ms += 10;
        let _ = session.poll_transmit(now_ms);
        let _ = session.handle(datagram);
        let _ = line.handle(datagram);
        let _ = line.poll_transmit(now_ms);
        if let Some(plain) = keys.open(datagram) {
            parse_answer(&plain);
        }
        parse_answer(datagram);
    }
}

fn parse_answer(bytes: &[u8]) {
    let user = UserId::new(2);
    let commands = [
        Command::GetDeviceId,
        Command::GetChassisStatus,
        Command::SetRestorePolicy(RestorePolicy::StaysOff),
        Command::GetBootFlags,
        Command::GetSelInfo,
        Command::GetSelEntry(0),
        Command::ReserveSel,
        Command::GetSelErasure { reservation: 0 },
        Command::GetChannelInfo(THIS_CHANNEL),
        Command::GetChannelAccess(THIS_CHANNEL),
        Command::GetPowerReading,
        Command::ActivateSerial,
        Command::GetConfigurableCommands {
            channel: SYSTEM_INTERFACE,
            net_fn: 6,
        },
    ];
    let lan = LanParameter::ALL.map(|(parameter, _)| Command::GetLanParameter {
        channel: 1,
        parameter,
    });
    let users = user.into_iter().flat_map(|user| {
        [
            Command::GetUserName(user),
            Command::GetUserAccess { channel: 1, user },
        ]
    });
    for command in commands.into_iter().chain(lan).chain(users) {
        if let Ok(message) = Message::decode(bytes) {
            let _ = command.answer(&message);
        }
        // And with the checksums out of the way.
        let data = bytes;
        let (net_fn, number) = command.number();
        let message = Message {
            net_fn,
            sequence: 0,
            command: number,
            completion: 0,
            data,
        };
        let _ = command.answer(&message);
    }
}
