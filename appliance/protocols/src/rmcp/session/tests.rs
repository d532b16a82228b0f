//! Whole sessions against a BMC in memory, and known answers of another
//! program.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::num::NonZeroU32;

use proptest::prelude::*;

use super::super::command::{BootFlags, ChassisControl, CompletionCode, Firmware};
use super::super::credentials::{BmcKey, Password, Username};
use super::super::handshake::RmcpStatus;
use super::super::suite::Privilege;
use super::super::test_bmc::{BMC_SESSION, GUID, NONCE, TestBmc};
use super::*;

fn config(suite: CipherSuite, password: &[u8]) -> Config {
    Config {
        username: Username::new("admin").unwrap(),
        password: Password::new(password).unwrap(),
        bmc_key: None,
        suite,
        privilege: Privilege::Administrator,
        lookup: NameLookup::NameOnly,
        timing: Timing {
            set_up_wait_ms: 1_000,
            command_wait_ms: 500,
            command_tries: 3,
        },
    }
}

fn entropy() -> Entropy {
    Entropy {
        console_session: NonZeroU32::new(0xa0a1_a2a3).unwrap(),
        nonce: core::array::from_fn(|index| index as u8),
        iv: core::array::from_fn(|index| 48 + index as u8),
    }
}

/// Carries datagrams both ways until nothing more moves.
fn converse(session: &mut Session, bmc: &mut TestBmc) -> Result<Progress, SessionError> {
    let mut last = Progress::Ignored;
    while let Some(datagram) = session.poll_transmit(0)? {
        if let Some(answer) = bmc.answer(&datagram) {
            last = session.handle(&answer)?;
        }
    }
    Ok(last)
}

fn open(suite: CipherSuite) -> (Session, TestBmc) {
    let mut session = Session::new(config(suite, b"secret"), entropy());
    let mut bmc = TestBmc::new(suite, b"secret");
    assert_eq!(converse(&mut session, &mut bmc), Ok(Progress::Active));
    assert!(session.is_active());
    (session, bmc)
}

fn ask(session: &mut Session, bmc: &mut TestBmc, command: Command) -> Progress {
    session.request(command, [5; 16]).unwrap();
    converse(session, bmc).unwrap()
}

#[test]
fn commands_reach_the_chassis() {
    for suite in [CipherSuite::Suite3, CipherSuite::Suite17] {
        let (mut session, mut bmc) = open(suite);
        let up = Command::ChassisControl(ChassisControl::PowerUp);
        assert_eq!(
            ask(&mut session, &mut bmc, up.clone()),
            Progress::Answered(Ok(Answer::Done))
        );
        assert!(bmc.power_on, "{suite}");
        let flags = BootFlags::pxe_once(Firmware::Uefi);
        let set = Command::SetBootFlags(flags);
        assert_eq!(
            ask(&mut session, &mut bmc, set),
            Progress::Answered(Ok(Answer::Done))
        );
        assert_eq!(bmc.boot_flags, [0xa0, 0x04, 0, 0, 0]);
        let read = ask(&mut session, &mut bmc, Command::GetBootFlags);
        assert_eq!(read, Progress::Answered(Ok(Answer::BootFlags(flags))));
        bmc.completion = 0xd5;
        let code = CompletionCode(0xd5);
        let refused = AnswerError::Refused {
            command: up.name(),
            code,
        };
        assert_eq!(
            ask(&mut session, &mut bmc, up.clone()),
            Progress::Answered(Err(refused))
        );
        bmc.completion = 0;
        ask(&mut session, &mut bmc, Command::CloseSession);
        let last = bmc.requests.last().unwrap();
        assert_eq!(*last, (0x06, 0x3c, BMC_SESSION.to_le_bytes().to_vec()));
        assert!(!session.is_active());
        let closed = session.request(up, [5; 16]);
        assert_eq!(closed, Err(SessionError::NotActive));
    }
}

/// Values computed with Python's hmac and hashlib and with pyca/cryptography's
/// AES, from the formulas of IPMI 13.28 to 13.32: user "admin", password
/// "secret", console session a0a1a2a3, BMC session 02000a0b, console nonce
/// 00 01 …, BMC nonce 10 11 …, GUID 20 21 …, role 14, IV 30 31 ….
struct KnownAnswers {
    suite: CipherSuite,
    rakp2: &'static str,
    rakp3: &'static str,
    rakp4: &'static str,
    set_privilege: &'static str,
    privilege_set: &'static str,
}

const KNOWN_ANSWERS: [KnownAnswers; 2] = [
    KnownAnswers {
        suite: CipherSuite::Suite3,
        rakp2: "f801c6310b8aa29550d02a4833f35026ce65f2e0",
        rakp3: "eb5778f62620ec5e2c050b2d9cd5186c80ff0503",
        rakp4: "c9bdb11e1c31e45041810bd0",
        set_privilege: "0600ff0706c00b0a0002010000002000303132333435363738393a3b3c3d3e3f\
                        a4b9f239cb05c9fb11a288228914ce36ffff0207e5c7388968bfecb87926a2b5",
        privilege_set: "0600ff0706c0a3a2a1a0010000002000404142434445464748494a4b4c4d4e4f\
                        1952d6b8294c3052846e0426b400e589ffff0207f0c93093da6d59b692c05370",
    },
    KnownAnswers {
        suite: CipherSuite::Suite17,
        rakp2: "053ac60567d60fbf638ef22280d82e9bcd906b27f71da5f40be1e6a0966b7092",
        rakp3: "35e3ebdabf40374b6c78fef8d3a13830e2b86bafbd4d316682af7bc201b8d589",
        rakp4: "40192e3300097b0bc0848fb893a8240a",
        set_privilege: "0600ff0706c00b0a0002010000002000303132333435363738393a3b3c3d3e3f\
                        fb9e19f81909f166f8d9d431a0365901ffff02076d50b3d53b9b0c34bfd05569\
                        4cd7aba3",
        privilege_set: "0600ff0706c0a3a2a1a0010000002000404142434445464748494a4b4c4d4e4f\
                        673aae8d8a7ec6cc99921be5527b86e2ffff02074b42161c61985162eb15db7c\
                        50084922",
    },
];

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    let (pairs, _) = hex.as_bytes().as_chunks::<2>();
    pairs
        .iter()
        .map(|[high, low]| digit(*high) << 4 | digit(*low))
        .collect()
}

#[test]
fn known_answers() {
    for known in KNOWN_ANSWERS {
        let mut session = Session::new(config(known.suite, b"secret"), entropy());
        let mut bmc = TestBmc::new(known.suite, b"secret");
        for _ in 0..2 {
            let datagram = session.poll_transmit(0).unwrap().unwrap();
            session.handle(&bmc.answer(&datagram).unwrap()).unwrap();
        }
        assert_eq!(session.stage(), Stage::Challenge);
        let head = [0xa3, 0, 0, 0, 0xa3, 0xa2, 0xa1, 0xa0];
        let rakp2 = [&head, NONCE.as_slice(), &GUID, &bytes(known.rakp2)].concat();
        let _rakp1 = session.poll_transmit(0).unwrap().unwrap();
        session
            .handle(&frame::outside(PayloadType::Rakp(2), &rakp2))
            .unwrap();
        let rakp3 = session.poll_transmit(0).unwrap().unwrap();
        assert_eq!(rakp3[24..], bytes(known.rakp3), "{}", known.suite);
        let rakp4 = [&head, bytes(known.rakp4).as_slice()].concat();
        session
            .handle(&frame::outside(PayloadType::Rakp(4), &rakp4))
            .unwrap();
        let set_privilege = session.poll_transmit(0).unwrap().unwrap();
        assert_eq!(set_privilege, bytes(known.set_privilege), "{}", known.suite);
        let progress = session.handle(&bytes(known.privilege_set));
        assert_eq!(progress, Ok(Progress::Active), "{}", known.suite);
    }
}

#[test]
fn failures_are_told_apart() {
    type Change = fn(&mut Config, &mut TestBmc);
    let check = |change: Change, expect: SessionError| {
        let suite = CipherSuite::Suite3;
        let mut config = config(suite, b"secret");
        let mut bmc = TestBmc::new(suite, b"secret");
        change(&mut config, &mut bmc);
        let mut session = Session::new(config, entropy());
        assert_eq!(converse(&mut session, &mut bmc), Err(expect));
        assert_eq!(session.stage(), Stage::Closed);
    };
    let suite = CipherSuite::Suite3;
    let wrong = |status: u8| SessionError::WrongPassword {
        status: Some(RmcpStatus(status)),
    };
    let name = SessionError::UnauthorizedName {
        status: RmcpStatus(0x0d),
    };
    let level = SessionError::PrivilegeRefused {
        privilege: Privilege::Administrator,
    };
    let algorithms = |status: Option<u8>| {
        let status = status.map(RmcpStatus);
        SessionError::UnsupportedSuite { suite, status }
    };
    check(|_, bmc| bmc.offers_ipmi2 = false, SessionError::NoIpmi2);
    check(|_, bmc| bmc.refuse[0] = 0x11, algorithms(Some(0x11)));
    check(|_, bmc| bmc.suite = CipherSuite::Suite17, algorithms(None));
    check(|_, bmc| bmc.refuse[0] = 0x09, level);
    let (stage, status) = (Stage::OpenSession, RmcpStatus(0x01));
    check(
        |_, bmc| bmc.refuse[0] = 0x01,
        SessionError::Refused { stage, status },
    );
    check(|_, bmc| bmc.refuse[1] = 0x0d, name);
    check(|_, bmc| bmc.refuse[1] = 0x0a, level);
    check(|_, bmc| bmc.refuse[1] = 0x12, wrong(0x12));
    check(
        |config, _| config.password = Password::new(b"other").unwrap(),
        SessionError::WrongPassword { status: None },
    );
    check(|_, bmc| bmc.refuse[2] = 0x0f, wrong(0x0f));
    check(
        |_, bmc| bmc.bmc_key = Some(BmcKey::new(b"another key").unwrap()),
        SessionError::WrongBmcKey,
    );
    check(|_, bmc| bmc.completion = 0x81, level);
    let code = CompletionCode::NODE_BUSY;
    check(
        |_, bmc| bmc.completion = 0xc0,
        SessionError::BmcBusy { code },
    );
}

#[test]
fn two_key_login() {
    let suite = CipherSuite::Suite17;
    let mut config = config(suite, b"secret");
    let mut bmc = TestBmc::new(suite, b"secret");
    config.bmc_key = Some(BmcKey::new(b"another key").unwrap());
    bmc.bmc_key = config.bmc_key.clone();
    let mut session = Session::new(config, entropy());
    assert_eq!(converse(&mut session, &mut bmc), Ok(Progress::Active));
}

#[test]
fn odd_bmcs_open_sessions() {
    type Change = fn(&mut TestBmc);
    let oddities: [(&str, Change); 2] = [
        ("open-session-privilege", |bmc| {
            bmc.hashes_open_session = true;
        }),
        ("long-rakp2", |bmc| bmc.extra_bytes = 12),
    ];
    for (name, change) in oddities {
        for suite in [CipherSuite::Suite3, CipherSuite::Suite17] {
            let mut session = Session::new(config(suite, b"secret"), entropy());
            let mut bmc = TestBmc::new(suite, b"secret");
            change(&mut bmc);
            let outcome = converse(&mut session, &mut bmc);
            assert_eq!(outcome, Ok(Progress::Active), "{name} {suite}");
            let read = ask(&mut session, &mut bmc, Command::GetChassisStatus);
            assert!(matches!(read, Progress::Answered(Ok(_))), "{name} {suite}");
            // And they let nobody in who does not know the password.
            let mut session = Session::new(config(suite, b"other"), entropy());
            let error = converse(&mut session, &mut bmc).unwrap_err();
            assert_eq!(
                error,
                SessionError::WrongPassword { status: None },
                "{name}"
            );
        }
    }
}

#[test]
fn serial_packets_are_taken_once_activated() {
    let (mut session, mut bmc) = open(CipherSuite::Suite17);
    let kind = PayloadType::SerialOverLan;
    let early = bmc.seal_as(kind, b"\x01\0\0\0boot");
    assert_eq!(session.handle(&early), Ok(Progress::Ignored));
    assert_eq!(session.last_drop, Some(DropReason::Unexpected));
    assert_eq!(
        session.serial(&[0, 1, 4, 0], [5; 16]),
        Err(SessionError::NotActive)
    );
    let Progress::Answered(Ok(Answer::Serial(channel))) =
        ask(&mut session, &mut bmc, Command::ActivateSerial)
    else {
        panic!("no serial channel");
    };
    assert_eq!((channel.inbound_bytes, channel.port), (64, 623));
    let packet = bmc.seal_as(kind, b"\x01\0\0\0boot");
    let payload = b"\x01\0\0\0boot".to_vec();
    assert_eq!(session.handle(&packet), Ok(Progress::Serial(payload)));
    assert_eq!(
        session.handle(&packet),
        Ok(Progress::Ignored),
        "a replayed packet"
    );
    let sent = session.serial(&[0, 1, 4, 0], [5; 16]).unwrap();
    assert_eq!(bmc.serial(&sent), [0, 1, 4, 0]);
    ask(&mut session, &mut bmc, Command::DeactivateSerial);
    let late = bmc.seal_as(kind, b"\x02\0\0\0late");
    assert_eq!(session.handle(&late), Ok(Progress::Ignored));
}

#[test]
fn a_wrong_password_frees_the_session_at_the_bmc() {
    let suite = CipherSuite::Suite3;
    let mut session = Session::new(config(suite, b"other"), entropy());
    let mut bmc = TestBmc::new(suite, b"secret");
    converse(&mut session, &mut bmc).unwrap_err();
    let farewell = session.poll_transmit(0).unwrap().unwrap();
    // RAKP 3 with status 0f and no code (IPMI table 13-13).
    assert_eq!(farewell[16..], [0xa3, 0x0f, 0, 0, 0x0b, 0x0a, 0x00, 0x02]);
    assert_eq!(session.poll_transmit(0), Ok(None));
}

#[test]
fn set_up_is_sent_once_and_commands_again() {
    let mut session = Session::new(config(CipherSuite::Suite3, b"secret"), entropy());
    assert!(session.poll_transmit(0).unwrap().is_some());
    assert_eq!(session.deadline_ms(), Some(1_000));
    assert_eq!(session.poll_transmit(999), Ok(None));
    let silent = SessionError::NoAnswer {
        stage: Stage::Probe,
        tries: 1,
    };
    assert_eq!(session.poll_transmit(1_000), Err(silent));

    let (mut session, mut bmc) = open(CipherSuite::Suite3);
    session.request(Command::GetChassisStatus, [5; 16]).unwrap();
    assert_eq!(
        session.request(Command::GetDeviceId, [5; 16]),
        Err(SessionError::Busy)
    );
    let mut answers = Vec::new();
    for now_ms in [0, 500, 1_500] {
        let datagram = session.poll_transmit(now_ms).unwrap().unwrap();
        assert_eq!(session.poll_transmit(now_ms + 499), Ok(None), "{now_ms}");
        answers.push(bmc.answer(&datagram).unwrap());
    }
    assert_eq!(
        bmc.seen,
        [1, 2, 3, 4],
        "each try has its own sequence number"
    );
    let late = session.handle(&answers[0]).unwrap();
    assert!(matches!(
        late,
        Progress::Answered(Ok(Answer::ChassisStatus(_)))
    ));
    assert_eq!(session.handle(&answers[1]), Ok(Progress::Ignored));
    session.request(Command::GetDeviceId, [5; 16]).unwrap();
    assert_eq!(
        session.handle(&answers[2]),
        Ok(Progress::Ignored),
        "another command's answer"
    );

    let (mut session, _) = open(CipherSuite::Suite3);
    let cycle = Command::ChassisControl(ChassisControl::PowerCycle);
    session.request(cycle, [5; 16]).unwrap();
    assert!(session.poll_transmit(0).unwrap().is_some());
    let silent = SessionError::NoAnswer {
        stage: Stage::Command,
        tries: 1,
    };
    assert_eq!(
        session.poll_transmit(500),
        Err(silent),
        "a cycle is never sent twice"
    );
}

#[test]
fn forged_packets_are_dropped_and_counted() {
    let (mut session, mut bmc) = open(CipherSuite::Suite3);
    session.request(Command::GetChassisStatus, [5; 16]).unwrap();
    let datagram = session.poll_transmit(0).unwrap().unwrap();
    let good = bmc.answer(&datagram).unwrap();
    let mut check = |datagram: &[u8], expect: DropReason| {
        assert_eq!(session.handle(datagram), Ok(Progress::Ignored), "{expect}");
        assert_eq!(session.last_drop, Some(expect));
    };
    let changed = |at: usize, bit: u8| {
        let mut bytes = good.clone();
        bytes[at] ^= bit;
        bytes
    };
    check(&changed(good.len() - 1, 1), DropReason::WrongCode);
    check(&good[..good.len() - 1], DropReason::WrongCode);
    check(&changed(12, 2), DropReason::WrongCode);
    check(&changed(40, 1), DropReason::WrongCode);
    check(&changed(6, 1), DropReason::ForeignSession);
    check(&changed(5, 0x80), DropReason::Unprotected);
    let truncated = frame::DecodeError::Truncated("integrity trailer");
    check(&good[..50], DropReason::Datagram(truncated));
    check(
        b"HTTP/1.1 400 Bad Request",
        DropReason::Datagram(frame::DecodeError::NotRmcp),
    );
    let answered = session.handle(&good).unwrap();
    assert!(
        matches!(answered, Progress::Answered(Ok(_))),
        "{answered:?}"
    );
    session.request(Command::GetChassisStatus, [5; 16]).unwrap();
    session.handle(&good).unwrap();
    assert_eq!(session.last_drop, Some(DropReason::Replayed));
}

#[test]
fn garbage_is_bounded_and_named() {
    let mut session = Session::new(config(CipherSuite::Suite3, b"secret"), entropy());
    session.poll_transmit(0).unwrap();
    for _ in 0..MAX_DROPPED {
        assert_eq!(session.handle(b"nonsense"), Ok(Progress::Ignored));
    }
    let error = session.handle(b"nonsense").unwrap_err();
    let text = "33 unusable answers to capabilities probe, the last one because: \
                the datagram has no RMCP header";
    assert_eq!(error.to_string(), text);

    let mut session = Session::new(config(CipherSuite::Suite3, b"secret"), entropy());
    session.poll_transmit(0).unwrap();
    session.handle(b"nonsense").unwrap();
    let error = session.poll_transmit(1_000).unwrap_err();
    assert!(
        matches!(error, SessionError::Garbage { dropped: 1, .. }),
        "{error}"
    );
}

/// Which datagram of an exchange to damage, and how.
fn damage() -> impl Strategy<Value = (usize, usize, u8, Option<usize>)> {
    (
        0..7usize,
        0..128usize,
        any::<u8>(),
        proptest::option::of(0..128usize),
    )
}

mod mutants;

proptest! {
    #[test]
    fn damaged_exchanges_are_survived((which, at, bits, cut) in damage(), strong: bool) {
        let suite = if strong { CipherSuite::Suite17 } else { CipherSuite::Suite3 };
        let mut session = Session::new(config(suite, b"secret"), entropy());
        let mut bmc = TestBmc::new(suite, b"secret");
        for turn in 0..7 {
            if session.is_active() {
                let _ = session.request(Command::GetChassisStatus, [5; 16]);
            }
            let Ok(Some(datagram)) = session.poll_transmit(0) else { break };
            let Some(mut answer) = bmc.answer(&datagram) else { break };
            if turn == which {
                if let Some(byte) = answer.get_mut(at) {
                    *byte ^= bits;
                }
                answer.truncate(cut.unwrap_or(usize::MAX));
            }
            let _ = session.handle(&answer);
        }
    }

    #[test]
    fn any_bytes_are_survived(input in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = frame::decode(&input);
        fuzz_session(&input);
    }
}
