//! Sleds behind lines of this machine.

use super::*;
use crate::power::button::PressLengths;
use crate::power::gpio::held::HeldKind;
use crate::power::sense::Active;

const LINES: &str = r#"
[[line]]
name = "pwr-01"
use = "button"
active = "low"
chip = "gpiochip0"
offset = 17

[[line]]
name = "sense-01"
use = "sense"
chip = "gpiochip0"
offset = 27

[[line]]
name = "relay-02"
use = "relay"
chip = "gpiochip0"
offset = 22

[[line]]
name = "relay-03"
use = "relay"
latching = true
i2c_bus = "/dev/i2c-1"
address = 0x20
pin = 0
"#;

const BUTTON: &str =
    r#"{ driver = "button", line = "pwr-01", sense = "sense-01", press_ms = 300 }"#;

/// The result for a sled with this `power`.
fn load(power: &str) -> Result<LoadedInventory, ConfigError> {
    let folder = Folder::new();
    folder.write("lines.toml", LINES);
    let start = INVENTORY.find("power =").unwrap();
    let inventory = format!("{}power = {power}\n", &INVENTORY[..start]);
    let config = format!("{CONFIG}\n[gpio]\nlines = \"lines.toml\"\nsocket = \"gpio.sock\"\n");
    folder.load(&config, &inventory)
}

#[test]
fn a_button_with_sense_is_read() {
    let loaded = load(BUTTON).unwrap();
    assert_eq!(loaded.warnings, [] as [&str; 0]);
    let DriverConfig::Plain(PlainConfig::Held { socket, held }) = &loaded.power[0].driver else {
        panic!("no held line");
    };
    assert!(socket.is_absolute() && socket.ends_with("gpio.sock"));
    assert_eq!((held.line.as_str(), held.active), ("pwr-01", Active::Low));
    assert_eq!(held.sense, Some(("sense-01".to_owned(), Active::High)));
    let lengths = PressLengths {
        on_ms: 300,
        off_ms: 6000,
    };
    assert_eq!(held.kind, HeldKind::Button(lengths));
}

/// Wake-on-LAN with this `off`.
fn woken(off: &str) -> String {
    format!("{{ driver = \"wol\", off = {off} }}")
}

#[test]
fn a_machine_that_is_woken_has_its_supply_behind_a_relay() {
    let off = r#"{ driver = "relay", line = "relay-03", sense = "sense-01" }"#;
    let loaded = load(&woken(off)).unwrap();
    assert_eq!(loaded.warnings, [] as [&str; 0]);
    let DriverConfig::Wake {
        off: PlainConfig::Held { held, .. },
        ..
    } = &loaded.power[0].driver
    else {
        panic!("no held line");
    };
    assert_eq!(
        (held.line.as_str(), held.kind),
        ("relay-03", HeldKind::Supply)
    );
    assert_eq!(held.sense, Some(("sense-01".to_owned(), Active::High)));
}

#[test]
fn a_machine_that_is_woken_may_have_a_sense_line_alone() {
    let sense = r#"{ driver = "sense", line = "sense-01" }"#;
    let loaded = load(&woken(sense)).unwrap();
    let [warning] = loaded.warnings.as_slice() else {
        panic!("{:?}", loaded.warnings);
    };
    for part in ["sled-01", "cuts no power", "quarantined"] {
        assert!(warning.contains(part), "{warning} lacks {part}");
    }
    let DriverConfig::Wake {
        off: PlainConfig::Sense { socket, line },
        ..
    } = &loaded.power[0].driver
    else {
        panic!("no sense line");
    };
    assert!(socket.is_absolute() && socket.ends_with("gpio.sock"));
    assert_eq!(line, &("sense-01".to_owned(), Active::High));

    let check = |power: &str, parts: &[&str]| {
        let error = load(power).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    };
    check(sense, &["sled-01", "only sees", "wol"]);
    let relay = sense.replace("sense-01", "relay-03");
    check(&woken(&relay), &["power.line", "is a relay", "not a sense"]);
    let more = sense.replace(" }", ", settle_ms = 9 }");
    check(&woken(&more), &["inventory.toml:19:", "settle_ms"]);
    let button = r#"{ driver = "relay", line = "pwr-01", sense = "sense-01" }"#;
    check(&woken(button), &["pwr-01", "is a button", "not a relay"]);
}

#[test]
fn what_proves_nothing_or_drops_is_said() {
    let check = |power: &str, parts: &[&str]| {
        let warnings = load(power).unwrap().warnings;
        assert_eq!(warnings.len(), parts.len(), "{warnings:?}");
        for (warning, part) in warnings.iter().zip(parts) {
            assert!(warning.contains("sled-01"), "{warning}");
            assert!(warning.contains(part), "{warning} lacks {part}");
        }
    };
    let blind = r#"{ driver = "button", line = "pwr-01" }"#;
    check(blind, &["a button alone proves nothing"]);
    let plain = r#"{ driver = "relay", line = "relay-02" }"#;
    check(plain, &["is a plain relay", "a relay alone proves nothing"]);
    let sensed = r#"{ driver = "relay", line = "relay-02", sense = "sense-01" }"#;
    check(sensed, &["say latching = true in"]);
    let latching = r#"{ driver = "relay", line = "relay-03", sense = "sense-01" }"#;
    check(latching, &[]);
}

#[test]
fn wrong_lines_are_refused() {
    let check = |old: &str, new: &str, parts: &[&str]| {
        assert!(BUTTON.contains(old), "{old}");
        let error = load(&BUTTON.replacen(old, new, 1)).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    };
    check(
        "\"pwr-01\"",
        "\"pwr-09\"",
        &["pwr-09", "lines.toml", "[[line]]"],
    );
    check(
        "\"pwr-01\"",
        "\"relay-02\"",
        &["relay-02", "is a relay", "not a button"],
    );
    check(
        "\"sense-01\"",
        "\"relay-02\"",
        &["power.sense", "not a sense"],
    );
    check("300", "0", &["power.press_ms 0", "power.force_ms"]);
    check("300", "7000", &["power.press_ms 7000"]);
    check("300", "300, force_ms = 60000", &["15000"]);
    check("300", "300, settle_ms = 0", &["settle_ms"]);
    check("300", "300, color = 1", &["inventory.toml:19:", "color"]);
    check("button", "relay", &["press_ms"]);
}

#[test]
fn a_line_serves_one_sled() {
    let folder = Folder::new();
    folder.write("lines.toml", LINES);
    let sled = &INVENTORY[INVENTORY.find("[[sled]]").unwrap()..];
    let start = sled.find("power =").unwrap();
    let first = format!("{}power = {BUTTON}\n", &sled[..start]);
    let second = first
        .replace("sled-01", "sled-02")
        .replace("00:01\"", "00:02\"")
        .replace("button", "relay")
        .replace("pwr-01", "relay-03")
        .replace(", press_ms = 300", "");
    let third = first
        .replace("sled-01", "sled-02")
        .replace("00:01\"", "00:02\"")
        .replace(BUTTON, &woken(r#"{ driver = "sense", line = "sense-01" }"#));
    let pools = &INVENTORY[..INVENTORY.find("[[sled]]").unwrap()];
    let config = format!("{CONFIG}\n[gpio]\nlines = \"lines.toml\"\n");
    for other in [second, third] {
        let inventory = format!("{pools}{first}{other}");
        let error = folder.load(&config, &inventory).unwrap_err().to_string();
        for part in ["sense-01", "sled-01", "sled-02", "lines of its own"] {
            assert!(error.contains(part), "{error}");
        }
    }
}

#[test]
fn a_missing_line_map_is_named() {
    let folder = Folder::new();
    let start = INVENTORY.find("power =").unwrap();
    let inventory = format!("{}power = {BUTTON}\n", &INVENTORY[..start]);
    let config = format!("{CONFIG}\n[gpio]\nlines = \"gone.toml\"\n");
    let error = folder.load(&config, &inventory).unwrap_err().to_string();
    assert!(error.contains("gone.toml: cannot be read"), "{error}");
}
