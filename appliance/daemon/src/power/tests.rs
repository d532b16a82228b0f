//! Local switches through [`Driver`], and what the errors tell a person.

use std::io;
use std::time::Duration;

use embedded_hal_mock::eh1::MockError;
use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};
use protocols::rmcp::{
    AnswerError, ChassisControl, CipherSuite, Command, CompletionCode, DecodeError, DropReason,
    RmcpStatus, SessionError, Stage,
};

use super::relay::Relay;
use super::sense::{Active, NoSense, SensePin};
use super::switch::PowerSwitch;
use super::*;

fn local<S: PowerSwitch + Send + 'static>(switch: S) -> Driver {
    Driver::Plain(Plain::local(
        switch,
        Some("sled-01".to_owned()),
        Duration::ZERO,
    ))
}

#[tokio::test]
async fn a_relay_without_sense_says_unknown() {
    let mut pin = Mock::new(&[Transaction::set(State::High)]);
    let mut driver = local(Relay::new(pin.clone(), Active::High, NoSense));
    assert_eq!(driver.read().await.unwrap(), PowerReading::Unknown);
    assert_eq!(driver.power_on().await.unwrap(), Switched::Commanded);
    assert_eq!(driver.power_on().await.unwrap(), Switched::AlreadySo);
    assert_eq!(driver.read().await.unwrap(), PowerReading::Unknown);
    let none = BootOverride::UNCONFIRMED;
    assert_eq!(driver.set_boot_pxe(Firmware::Uefi).await.unwrap(), none);
    driver.close().await;
    drop(driver);
    pin.done();
}

#[tokio::test]
async fn a_relay_cycles_with_two_edges() {
    let edges = [State::High, State::Low, State::High].map(Transaction::set);
    let mut pin = Mock::new(&edges);
    let mut driver = local(Relay::new(pin.clone(), Active::High, NoSense));
    driver.power_on().await.unwrap();
    let mut driver = Checked::new(driver);
    driver.cycle().await.unwrap();
    drop(driver);
    pin.done();
}

#[tokio::test]
async fn a_broken_line_names_the_sled() {
    let error = MockError::Io(io::ErrorKind::BrokenPipe);
    let mut sense = Mock::new(&[Transaction::get(State::High).with_error(error)]);
    let mut pin = Mock::new(&[]);
    let line = SensePin::new(sense.clone(), Active::High);
    let mut driver = local(Relay::new(pin.clone(), Active::High, line));
    let error = driver.read().await.unwrap_err();
    assert_eq!(error.kind(), PowerErrorKind::Local);
    let text = error.to_string();
    let start = "sled sled-01, local switch: cannot sense power: the sense line cannot be read";
    assert!(text.starts_with(start), "{text}");
    sense.done();
    pin.done();
}

#[test]
fn ends_of_sessions_have_kinds() {
    let address = "10.78.0.11:623".parse().unwrap();
    let check = |why: SessionError, kind: PowerErrorKind, part: &str| {
        let target = Target::bmc(address, Some("sled-01".to_owned()));
        let error = PowerError::from_session(target, why, 4);
        assert_eq!(error.kind(), kind, "{error}");
        let text = error.to_string();
        assert!(
            text.starts_with("sled sled-01, BMC 10.78.0.11:623: "),
            "{text}"
        );
        assert!(text.contains(part), "{text}");
    };
    use PowerErrorKind as Kind;
    let suite = CipherSuite::Suite17;
    let status = RmcpStatus(0x0d);
    let last = DropReason::Datagram(DecodeError::NotRmcp);
    let stage = Stage::Probe;
    check(
        SessionError::WrongPassword { status: None },
        Kind::WrongPassword,
        "`username`",
    );
    check(
        SessionError::UnauthorizedName { status },
        Kind::WrongPassword,
        "user name",
    );
    check(SessionError::WrongBmcKey, Kind::WrongPassword, "Kg");
    check(
        SessionError::NoAnswer { stage, tries: 1 },
        Kind::Dead,
        "in 4 tries",
    );
    check(
        SessionError::Garbage {
            stage,
            dropped: 9,
            last,
        },
        Kind::Garbage,
        "9 answers",
    );
    let missing = SessionError::UnsupportedSuite {
        suite,
        status: None,
    };
    check(missing, Kind::Unsupported, "cipher suite 17");
    check(SessionError::NoIpmi2, Kind::Unsupported, "enable it");
    check(
        SessionError::Refused { stage, status },
        Kind::Refused,
        "unauthorized name",
    );
}

#[test]
fn refusals_name_command_and_code() {
    let command = Command::ChassisControl(ChassisControl::PowerUp);
    let why = AnswerError::Refused {
        command: command.name(),
        code: CompletionCode(0xd4),
    };
    let target = Target::bmc("[fe80::1]:623".parse().unwrap(), None);
    let error = PowerError::from_answer(target, why);
    assert_eq!(error.kind(), PowerErrorKind::Refused);
    let text = "BMC [fe80::1]:623: chassis power up was refused: insufficient privilege (0xd4)";
    assert!(error.to_string().starts_with(text), "{error}");
}

#[tokio::test]
async fn drivers_may_move_between_threads() {
    let is_send =
        |future: &(dyn Future<Output = Result<(), PowerError>> + Send)| size_of_val(future) > 0;
    let address = "127.0.0.1:623".parse().unwrap();
    let config = IpmiConfig::new(address, "admin", b"secret", CipherSuite::Suite17).unwrap();
    let mut driver = Checked::new(Driver::ipmi(config, None));
    assert!(is_send(&driver.cycle()));
}
