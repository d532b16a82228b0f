//! Our Redfish client in front of sushy-tools' emulator, and in front of a
//! small strict stand-in with the quirks of real BMCs.

#[path = "redfish/lies.rs"]
mod lies;
#[path = "redfish/serve.rs"]
mod serve;
#[path = "shared/served.rs"]
mod served;
#[path = "redfish/standin.rs"]
mod standin;
#[path = "redfish/sushy.rs"]
mod sushy;
#[path = "redfish/trust.rs"]
mod trust;

use std::time::{Duration, Instant};

use musher::github::Secret;
use musher::power::{
    BootOverride, PowerError, PowerErrorKind, PowerReading, RedfishClient, Switched,
};
use protocols::rmcp::Firmware;
use standin::{Lie, PASSWORD, Quirks, SYSTEM, Standin, Tag};

const CONFIRMED: BootOverride = BootOverride {
    confirmed: true,
    valid_bit_confirmed: true,
    efi_bit_confirmed: true,
};

/// An error's kind, that it names sled, address and operation, and a part of
/// the way out.
#[track_caller]
fn check_error(error: &PowerError, bmc: &Standin, kind: PowerErrorKind, parts: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    let address = bmc.address.to_string();
    let fixed = ["sled sled-01, BMC http", &address, "cannot "];
    for part in fixed.iter().chain(parts) {
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    }
    assert!(!format!("{error:?}{text}").contains(PASSWORD), "{text}");
}

#[tokio::test]
async fn power_and_boot_over_one_session() {
    let bmc = Standin::start(Quirks::default());
    let mut ours = bmc.client();
    assert_eq!(ours.read().await.unwrap(), PowerReading::Off);
    assert_eq!(ours.power_off().await.unwrap(), Switched::AlreadySo);
    assert_eq!(ours.set_boot_pxe(Firmware::Bios).await.unwrap(), CONFIRMED);
    assert_eq!(bmc.state().boot["BootSourceOverrideMode"], "Legacy");
    assert_eq!(ours.power_on().await.unwrap(), Switched::Commanded);
    assert_eq!(ours.power_on().await.unwrap(), Switched::AlreadySo);
    assert_eq!(ours.read().await.unwrap(), PowerReading::On);
    assert_eq!(ours.power_off().await.unwrap(), Switched::Commanded);
    ours.close().await;
    let state = bmc.state();
    assert_eq!(state.resets, ["On", "ForceOff"]);
    assert_eq!(state.logins, 1);
    let last = state.seen.last().unwrap();
    assert_eq!(last, "DELETE /redfish/v1/SessionService/Sessions/1");
}

#[tokio::test]
async fn the_meter_and_the_facts() {
    let bmc = Standin::start(Quirks::default());
    let mut ours = bmc.client();
    let watts = ours.watts().await.unwrap().unwrap();
    assert_eq!((watts.now, watts.meter.as_str()), (88, "redfish"));
    let before = ours.facts().await.unwrap();
    let seen: Vec<String> = before
        .iter()
        .map(|(name, is)| format!("{name} = {is}"))
        .collect();
    let expect = [
        "account.1.Enabled = true",
        "account.1.RoleId = Operator",
        "account.1.UserName = musher",
        "firmware.BIOS.Name = BIOS",
        "firmware.BIOS.Version = 2.1",
        "manager.1.FirmwareVersion = 7.0",
        "manager.1.lan.1.DHCPv4.DHCPEnabled = false",
        "manager.1.lan.1.MACAddress = 52:54:00:00:00:01",
        "manager.1.protocol.IPMI.Port = 623",
        "manager.1.protocol.IPMI.ProtocolEnabled = true",
        "system.BiosVersion = 2.1",
        "system.Boot.BootOrder = [\"Boot0001\",\"Boot0000\"]",
        "system.Model = Stand-in",
        "system.PowerRestorePolicy = LastState",
        "system.SerialNumber = S1",
    ];
    assert_eq!(seen, expect);
    // What we do to a sled for each boot is no fact.
    ours.set_boot_pxe(Firmware::Uefi).await.unwrap();
    ours.power_on().await.unwrap();
    assert_eq!(ours.facts().await.unwrap(), before);
    bmc.state().boot["BootOrder"] = serde_json::json!(["Boot0000"]);
    let drift = before.drift(&ours.facts().await.unwrap());
    let told: Vec<String> = drift.iter().map(ToString::to_string).collect();
    let expect = "system.Boot.BootOrder: was [\"Boot0001\",\"Boot0000\"], is [\"Boot0000\"]";
    assert_eq!(told, [expect]);
}

#[tokio::test]
async fn the_restore_policy_is_set_and_read_back() {
    let bmc = Standin::start(Quirks::default());
    bmc.client().keep_off_after_outage().await.unwrap();
    assert_eq!(bmc.state().restore, Some("AlwaysOff".to_owned()));
    bmc.state().restore = None;
    let error = bmc.client().keep_off_after_outage().await.unwrap_err();
    assert_eq!(error.kind(), PowerErrorKind::Unsupported, "{error}");
    let bmc = Standin::start(Quirks {
        reverts_boot: true,
        ..Quirks::default()
    });
    let error = bmc.client().keep_off_after_outage().await.unwrap_err();
    assert!(matches!(error, PowerError::NotKept { .. }), "{error}");
}

#[tokio::test]
async fn a_system_is_asked_to_power_off() {
    let bmc = Standin::start(Quirks::default());
    assert_eq!(bmc.client().soft_off().await.unwrap(), Switched::AlreadySo);
    bmc.state().power = "On";
    assert_eq!(bmc.client().soft_off().await.unwrap(), Switched::Commanded);
    assert_eq!(bmc.state().resets, ["GracefulShutdown"]);
}

#[tokio::test]
async fn reset_types_are_those_that_are_offered() {
    let check = async |quirks: Quirks, expect: &[&str]| {
        let bmc = Standin::start(quirks);
        let mut ours = bmc.client();
        ours.power_on().await.unwrap();
        ours.power_off().await.unwrap();
        assert_eq!(bmc.state().resets, expect);
    };
    let offers = |types: &[&'static str]| Some(types.to_vec());
    let quirks = Quirks::default();
    let force = offers(&["ForceOff", "ForceOn"]);
    check(
        Quirks {
            offers: force,
            ..quirks.clone()
        },
        &["ForceOn", "ForceOff"],
    )
    .await;
    check(
        Quirks {
            action_info: true,
            ..quirks.clone()
        },
        &["On", "ForceOff"],
    )
    .await;
    check(
        Quirks {
            offers: None,
            ..quirks.clone()
        },
        &["On", "ForceOff"],
    )
    .await;

    // A button that toggles is no way, nor is asking the job's system.
    let button = offers(&["PushPowerButton", "GracefulShutdown"]);
    let bmc = Standin::start(Quirks {
        offers: button,
        ..quirks
    });
    let mut ours = bmc.client();
    let error = ours.power_on().await.unwrap_err();
    let parts = [
        "switch on",
        "On or ForceOn",
        "PushPowerButton",
        "another power driver",
    ];
    check_error(&error, &bmc, PowerErrorKind::Unsupported, &parts);
    bmc.state().power = "On";
    let error = ours.power_off().await.unwrap_err();
    check_error(&error, &bmc, PowerErrorKind::Unsupported, &["ForceOff"]);
    assert!(bmc.state().resets.is_empty());
}

#[tokio::test]
async fn a_refusal_is_told_in_the_words_of_the_bmc() {
    let bmc = Standin::start(Quirks {
        refuses_off_when_off: true,
        lie: Lie::Says("On"),
        ..Quirks::default()
    });
    let error = bmc.client().power_off().await.unwrap_err();
    check_error(
        &error,
        &bmc,
        PowerErrorKind::Refused,
        &["409", "It is off."],
    );
}

#[tokio::test]
async fn boot_settings_are_graded_by_what_is_read_back() {
    let check = async |quirks: Quirks, expect: BootOverride| {
        let bmc = Standin::start(quirks);
        let seen = bmc.client().set_boot_pxe(Firmware::Bios).await.unwrap();
        assert_eq!(seen, expect);
    };
    let quirks = Quirks::default();
    check(
        Quirks {
            reverts_boot: true,
            ..quirks.clone()
        },
        BootOverride::UNCONFIRMED,
    )
    .await;
    let fixed = BootOverride {
        efi_bit_confirmed: false,
        ..CONFIRMED
    };
    check(
        Quirks {
            fixed_mode: true,
            ..quirks.clone()
        },
        fixed,
    )
    .await;
    for tag in [Tag::Weak, Tag::Strong] {
        check(
            Quirks {
                wants_tag: Some(tag),
                ..quirks.clone()
            },
            CONFIRMED,
        )
        .await;
    }
    // A BMC that knows no PXE is told to boot over HTTP.
    let bmc = Standin::start(quirks);
    bmc.state().boot["BootSourceOverrideTarget@Redfish.AllowableValues"] =
        serde_json::json!(["None", "UefiHttp"]);
    assert_eq!(
        bmc.client().set_boot_pxe(Firmware::Uefi).await.unwrap(),
        CONFIRMED
    );
    assert_eq!(bmc.state().boot["BootSourceOverrideTarget"], "UefiHttp");
}

#[tokio::test]
async fn an_expired_session_is_renewed() {
    let bmc = Standin::start(Quirks {
        session_requests: 3,
        ..Quirks::default()
    });
    let mut ours = bmc.client();
    for _ in 0..4 {
        ours.power_on().await.unwrap();
        ours.power_off().await.unwrap();
    }
    let state = bmc.state();
    assert!(state.logins > 2, "{}", state.logins);
    assert_eq!(state.resets, ["On", "ForceOff"].repeat(4));
}

#[tokio::test]
async fn a_wrong_password_is_tried_once() {
    for basic_only in [false, true] {
        let bmc = Standin::start(Quirks {
            basic_only,
            ..Quirks::default()
        });
        let mut config = bmc.config(None);
        config.password = Secret::new("guess".to_owned());
        let mut ours = RedfishClient::new(config, Some("sled-01".to_owned()));
        for _ in 0..3 {
            let error = ours.read().await.unwrap_err();
            check_error(
                &error,
                &bmc,
                PowerErrorKind::WrongPassword,
                &["`password_path`"],
            );
        }
        assert_eq!(bmc.state().failed_logins, 1);
        assert_eq!(bmc.client().read().await.unwrap(), PowerReading::Off);
    }
}

#[tokio::test]
async fn a_busy_bmc_is_asked_again() {
    let busy = |busy, retry_after| Quirks {
        busy,
        retry_after,
        ..Quirks::default()
    };
    let bmc = Standin::start(busy(3, "0"));
    assert_eq!(bmc.client().read().await.unwrap(), PowerReading::Off);
    let bmc = Standin::start(busy(u32::MAX, "0"));
    let error = bmc.client().read().await.unwrap_err();
    check_error(
        &error,
        &bmc,
        PowerErrorKind::Busy,
        &["busy (HTTP status 503) 4 times"],
    );
    // Longer than the operation may take: said at once.
    let bmc = Standin::start(busy(1, "3600"));
    let start = Instant::now();
    let error = bmc.client().read().await.unwrap_err();
    check_error(&error, &bmc, PowerErrorKind::Busy, &["1 times"]);
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn slowness_ends_by_the_deadline() {
    let bmc = Standin::start(Quirks {
        slow: Duration::from_secs(20),
        ..Quirks::default()
    });
    let mut config = bmc.config(None);
    config.patience.deadline = Duration::from_millis(300);
    let mut ours = RedfishClient::new(config, Some("sled-01".to_owned()));
    let start = Instant::now();
    let error = ours.read().await.unwrap_err();
    check_error(
        &error,
        &bmc,
        PowerErrorKind::Dead,
        &["within 300 ms", "overloaded"],
    );
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn hostile_answers_are_bounded_and_named() {
    let check = async |quirks: Quirks, parts: &[&str]| {
        let bmc = Standin::start(quirks);
        let error = bmc.client().read().await.unwrap_err();
        check_error(&error, &bmc, PowerErrorKind::Garbage, parts);
    };
    let raw = |raw: &'static [u8]| Quirks {
        raw: Some(raw),
        ..Quirks::default()
    };
    let quirks = Quirks {
        endless: true,
        ..Quirks::default()
    };
    check(quirks, &["larger than 1048576 bytes"]).await;
    check(raw(b"SSH-2.0-OpenSSH_9.2\r\n"), &["not HTTP"]).await;
    check(
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{,}"),
        &[SYSTEM, "JSON"],
    )
    .await;
    check(
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"),
        &["no JSON object"],
    )
    .await;
    let deep: &'static [u8] = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{}",
        "[".repeat(100_000)
    )
    .leak()
    .as_bytes();
    check(raw(deep), &["JSON"]).await;
    let head: &'static [u8] = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(1_000_000))
        .leak()
        .as_bytes();
    check(raw(head), &["not HTTP"]).await;
    // A state of another time is no state, and no error.
    let odd: &'static [u8] =
        b"HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n{\"PowerState\":\"Maybe\"}";
    let bmc = Standin::start(raw(odd));
    assert_eq!(bmc.client().read().await.unwrap(), PowerReading::Unknown);
}

#[tokio::test]
async fn one_of_several_systems_must_be_named() {
    let systems = vec!["1", "2"];
    let bmc = Standin::start(Quirks {
        systems,
        ..Quirks::default()
    });
    let error = bmc.client().read().await.unwrap_err();
    check_error(
        &error,
        &bmc,
        PowerErrorKind::Unsupported,
        &["[\"1\", \"2\"]", "`system`"],
    );
    let named = |system: &str| {
        let mut config = bmc.config(None);
        config.system = Some(system.to_owned());
        RedfishClient::new(config, Some("sled-01".to_owned()))
    };
    assert_eq!(named("1").read().await.unwrap(), PowerReading::Off);
    let error = named("3").read().await.unwrap_err();
    check_error(
        &error,
        &bmc,
        PowerErrorKind::Unsupported,
        &["no system \"3\""],
    );
}
