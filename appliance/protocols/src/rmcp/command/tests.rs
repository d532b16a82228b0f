//! Request and response bytes. Where `ipmitool -vv` or `ipmi-raw` sends the
//! same command, the bytes are theirs.

use alloc::vec;

use super::*;

fn answer(command: &Command, completion: u8, data: &[u8]) -> Result<Answer, AnswerError> {
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
            answer(&Command::GetBootFlags, 0, &data),
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
        let name = command.name();
        let expect = expect.ok_or(AnswerError::Malformed { command: name });
        assert_eq!(answer(&command, 0, data), expect, "{command} {data:02x?}");
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
        chassis.clone(),
        &[0x01, 0, 0],
        status(true, false, RestorePolicy::StaysOff),
    );
    check(
        chassis.clone(),
        &[0x48, 0, 0, 9],
        status(false, true, RestorePolicy::PowersUp),
    );
    check(
        chassis.clone(),
        &[0x60, 0, 0],
        status(false, false, RestorePolicy::Unknown),
    );
    check(chassis, &[0x01, 0], None);
    check(Command::GetBootFlags, &[1, 3, 0x80, 4], None);
    check(Command::GetBootFlags, &[1, 5, 0x80], None);
    check(Command::GetBootFlags, &[], None);
    check(Command::GetDeviceId, &[0; 10], None);
    let level = Command::SetPrivilege(Privilege::Operator);
    check(level.clone(), &[3], Some(Answer::Done));
    check(level.clone(), &[4], Some(Answer::Done));
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
    let error = answer(&command, 0xd4, &[]).unwrap_err();
    let text = alloc::string::ToString::to_string(&error);
    assert_eq!(
        text,
        "chassis power up was refused: insufficient privilege (0xd4)"
    );
}

/// Every command, with its request bytes behind network function and number,
/// and an answer that makes sense to it.
pub(in super::super) fn table() -> Vec<(Command, &'static [u8], &'static [u8])> {
    let user = UserId::new(2).unwrap();
    let password = Password::new(b"a new password").unwrap();
    let lan = |parameter| Command::GetLanParameter {
        channel: 1,
        parameter,
    };
    let control = Command::ChassisControl;
    vec![
        (
            Command::GetDeviceId,
            &[6, 1],
            b"\x20\x81\x09\x08\x02\x9f\x91\x12\x00\x02\x0f",
        ),
        (Command::GetChassisStatus, &[0, 1], &[0x01, 0, 0]),
        (control(ChassisControl::PowerDown), &[0, 2, 0], &[]),
        (control(ChassisControl::PowerUp), &[0, 2, 1], &[]),
        (control(ChassisControl::PowerCycle), &[0, 2, 2], &[]),
        (control(ChassisControl::HardReset), &[0, 2, 3], &[]),
        (control(ChassisControl::SoftShutdown), &[0, 2, 5], &[]),
        (Command::Identify(15), &[0, 4, 15], &[]),
        (
            Command::SetRestorePolicy(RestorePolicy::StaysOff),
            &[0, 6, 0],
            &[7],
        ),
        (
            Command::SetBootFlags(BootFlags::pxe_once(Firmware::Uefi)),
            &[0, 8, 5, 0xa0, 4, 0, 0, 0],
            &[],
        ),
        (Command::KeepBootFlags, &[0, 8, 3, 8], &[]),
        (Command::MarkBootFlagsUnread, &[0, 8, 4, 1, 1], &[]),
        (Command::GetBootFlags, &[0, 9, 5, 0, 0], &[1, 5, 0xa0, 4, 0]),
        (
            Command::GetSelInfo,
            &[0x0a, 0x40],
            &[0x51, 3, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0x82],
        ),
        (
            Command::GetSelEntry(0x0102),
            &[0x0a, 0x43, 0, 0, 2, 1, 0, 0xff],
            b"\xff\xff\x02\x01\x02\0\0\0\x5f\x20\0\x04\x08\x31\x6f\x01\xff\xff",
        ),
        (Command::ReserveSel, &[0x0a, 0x42], &[0x34, 0x12]),
        (
            Command::ClearSel {
                reservation: 0x1234,
            },
            b"\x0a\x47\x34\x12CLR\xaa",
            &[0],
        ),
        (
            Command::GetSelErasure {
                reservation: 0x1234,
            },
            b"\x0a\x47\x34\x12CLR\0",
            &[1],
        ),
        (
            Command::GetChannelInfo(THIS_CHANNEL),
            &[6, 0x42, 0x0e],
            &[1, 4, 1, 0x80, 0xf2, 0x1b, 0, 0, 0],
        ),
        (
            Command::GetChannelAccess(1),
            &[6, 0x41, 1, 0x40],
            &[0x02, 0x04],
        ),
        (
            Command::GetUserAccess { channel: 1, user },
            &[6, 0x44, 1, 2],
            &[0x0a, 0x42, 1, 0x34],
        ),
        (
            Command::GetUserName(user),
            &[6, 0x46, 2],
            b"admin\0\0\0\0\0\0\0\0\0\0\0",
        ),
        (
            Command::SetUserPassword {
                user,
                password: password.clone(),
            },
            b"\x06\x47\x02\x02a new password\0\0",
            &[],
        ),
        (
            Command::SetUserPassword {
                user,
                password: Password::new(b"twenty letters long!").unwrap(),
            },
            b"\x06\x47\x82\x02twenty letters long!",
            &[],
        ),
        (
            Command::TestUserPassword { user, password },
            b"\x06\x47\x02\x03a new password\0\0",
            &[],
        ),
        (
            lan(LanParameter::Address),
            &[0x0c, 2, 1, 3, 0, 0],
            &[0x11, 10, 78, 0, 11],
        ),
        (
            lan(LanParameter::AddressSource),
            &[0x0c, 2, 1, 4, 0, 0],
            &[0x11, 1],
        ),
        (
            lan(LanParameter::Mac),
            &[0x0c, 2, 1, 5, 0, 0],
            &[0x11, 0, 1, 2, 3, 4, 5],
        ),
        (
            lan(LanParameter::Vlan),
            &[0x0c, 2, 1, 20, 0, 0],
            &[0x11, 0x01, 0x81],
        ),
        (
            lan(LanParameter::CipherPrivileges),
            &[0x0c, 2, 1, 24, 0, 0],
            &[0x11, 0, 0, 0x40, 0, 0, 0, 0, 0, 0x40],
        ),
        (
            Command::GetConfigurableCommands {
                channel: SYSTEM_INTERFACE,
                net_fn: 6,
            },
            &[6, 0x0c, 15, 6, 0],
            &[0xff; 16],
        ),
        (
            Command::GetCommandEnables {
                channel: SYSTEM_INTERFACE,
                net_fn: 6,
            },
            &[6, 0x61, 15, 6, 0],
            &[0xff; 16],
        ),
        (
            Command::SetCommandEnables {
                channel: SYSTEM_INTERFACE,
                net_fn: 6,
                enabled: CommandMask([0xff; 16]).without(0x47),
            },
            b"\x06\x60\x0f\x06\0\xff\xff\xff\xff\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff",
            &[],
        ),
        (
            Command::GetPowerReading,
            &[0x2c, 2, 0xdc, 1, 0, 0],
            b"\xdc\x96\0\x50\0\x2c\x01\xa0\0\0\0\0\0\xe8\x03\0\0\x40",
        ),
        (
            Command::ActivateSerial,
            &[6, 0x48, 1, 1, 0xc4, 0, 0, 0],
            &[0, 0, 0, 0, 0xff, 0, 0xe0, 0, 0x6f, 2, 0xff, 0xff],
        ),
        (Command::DeactivateSerial, &[6, 0x49, 1, 1, 0, 0, 0, 0], &[]),
        (
            Command::SetPrivilege(Privilege::Administrator),
            &[6, 0x3b, 4],
            &[4],
        ),
        (Command::CloseSession, &[6, 0x3c, 4, 3, 2, 1], &[]),
    ]
}

#[test]
fn requests_and_answers_of_every_command() {
    for (command, request, data) in table() {
        let (net_fn, number) = command.number();
        let bytes = [&[net_fn, number], command.data(0x0102_0304).as_slice()].concat();
        assert_eq!(bytes, request, "{command}");
        let said = answer(&command, 0, data);
        assert!(said.is_ok(), "{command}: {said:?}");
        if said != Ok(Answer::Done) {
            let cut = answer(&command, 0, &data[..data.len() - 1]);
            let optional = [Command::GetBootFlags];
            assert!(
                cut.is_err() || cut == said || optional.contains(&command),
                "{command}: {cut:?}"
            );
            assert!(answer(&command, 0, &[]).is_err(), "{command} without data");
        }
        let refused = answer(&command, 0xc1, data).unwrap_err();
        let code = CompletionCode::INVALID_COMMAND;
        let command = command.name();
        assert_eq!(refused, AnswerError::Refused { command, code });
    }
}

#[test]
fn values_are_read() {
    let check = |command: Command, data: &[u8], expect: Answer| {
        assert_eq!(answer(&command, 0, data), Ok(expect), "{command}");
    };
    let user = UserId::new(2).unwrap();
    check(
        Command::GetUserAccess { channel: 1, user },
        &[0x0a, 0x83, 1, 0x14],
        Answer::UserAccess(UserAccess {
            most_users: 10,
            enabled_users: 3,
            enabled: Some(false),
            messaging: true,
            privilege: 4,
        }),
    );
    // As ipmi-raw 0 2c 2 dc 1 0 0 shows it: 150 W, 80 to 300, mean 160, 1 s.
    check(
        Command::GetPowerReading,
        b"\xdc\x96\0\x50\0\x2c\x01\xa0\0\0\0\0\0\xe8\x03\0\0\x40",
        Answer::PowerDraw(PowerDraw {
            now_w: 150,
            least_w: 80,
            most_w: 300,
            mean_w: 160,
            period_ms: 1_000,
            active: true,
        }),
    );
    let lan = |parameter, data: &[u8], expect: &str| {
        let value = LanValue::decode(parameter, data).unwrap();
        assert_eq!(alloc::string::ToString::to_string(&value), expect);
    };
    lan(
        LanParameter::Netmask,
        &[0x11, 255, 255, 0, 0],
        "255.255.0.0",
    );
    lan(LanParameter::AddressSource, &[0x11, 2], "dhcp");
    lan(
        LanParameter::Mac,
        &[0x11, 0, 1, 2, 3, 4, 0xfe],
        "00:01:02:03:04:fe",
    );
    lan(LanParameter::Vlan, &[0x11, 0x01, 0x81], "257");
    lan(LanParameter::Vlan, &[0x11, 0x01, 0x01], "none");
    let entry = b"\x02\0\x01\0\x02\0\0\0\x5f\x20\0\x04\x08\x31\xef\x01\xff\xff";
    let entry = SelEntry::decode(entry).unwrap();
    assert_eq!(
        (entry.id, entry.next, entry.time_s()),
        (1, Some(2), Some(0x5f00_0000))
    );
    let text = alloc::string::ToString::to_string(&entry);
    assert_eq!(text, "sensor 49 of type 0x08: event 0x6f off (01 ff ff)");
}

#[test]
fn passwords_are_not_shown() {
    for (command, ..) in table() {
        let shown = alloc::format!("{command} {command:?}");
        assert!(!shown.contains("a new password"), "{shown}");
    }
}

#[test]
fn users_have_numbers() {
    let check = |number: u8, expect: bool| assert_eq!(UserId::new(number).is_some(), expect);
    check(0, false);
    check(1, true);
    check(63, true);
    check(64, false);
}
