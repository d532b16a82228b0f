//! `musher serve` in front of the BMC: what it does by itself, and what people
//! ask of it. No machine ever boots here.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use musher_bmc::Server;
use musher_conformance::python_tool;
use musher_e2e::{Request, Standalone, exchange, program, secret, workflow_job};
use serde_json::{Value, json};

use super::served::{adopted, run, sled, view, wait};
use super::{PASSWORD, bmc};

const TOKEN: &str = "ghs_0123456789abcdefABCDEFGHIJKLMNOPQRST";

pub(crate) fn started(server: &Server) -> Standalone {
    started_with(server, "")
}

/// With further lines of `musher.toml`.
pub(crate) fn started_with(server: &Server, lines: &str) -> Standalone {
    let mut musher = Standalone::new().unwrap();
    let config = musher.dir().join("musher.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}\n{lines}\n")).unwrap();
    let password = std::str::from_utf8(PASSWORD).unwrap();
    secret(&musher.dir().join("bmc-01"), password).unwrap();
    let inventory = musher.dir().join("inventory.toml");
    let text = std::fs::read_to_string(&inventory).unwrap();
    let address = server.address();
    let sled = format!(
        r#"
[[sled]]
name = "sled-01"
pools = ["linux-x64"]
mac = "52:54:00:77:00:01"

[sled.power]
driver = "ipmi"
address = "{address}"
username = "admin"
password_path = "bmc-01"
cipher = 3
console = true
restrict_host_interface = true
"#
    );
    std::fs::write(&inventory, text + &sled).unwrap();
    let checked = run(
        &musher,
        &[
            "check-config",
            "musher.toml",
            "--inventory",
            "inventory.toml",
        ],
    );
    assert!(
        checked.contains("power.cipher 3 authenticates with SHA-1"),
        "{checked}"
    );
    musher.start().unwrap();
    musher
}

pub(crate) fn queue_job(musher: &Standalone) {
    let body = workflow_job("queued", 1, &["self-hosted", "linux", "x64"]);
    let id = "72d3162e-cc78-11e3-81ab-000000000001";
    let request = Request::delivery(Standalone::SECRET, id, "workflow_job", body);
    assert_eq!(exchange(musher.webhook(), &request).unwrap().status, 200);
}

/// Samples of `/metrics` as `[name, labels, value]`, as Prometheus' own parser
/// for Python reads them.
fn metrics(musher: &Standalone) -> Vec<Value> {
    const PARSE: &str = "import json, sys
from prometheus_client.parser import text_fd_to_metric_families as parse
print(json.dumps([[s.name, s.labels, s.value] for f in parse(sys.stdin) for s in f.samples]))";
    let page = musher.dir().join("metrics");
    let fetched = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--insecure"])
        .arg("--output")
        .arg(&page)
        .args(["--write-out", "%{content_type}"])
        .arg(format!("https://{}/metrics", musher.admin()))
        .output()
        .expect("curl is missing: install the package curl");
    let said = String::from_utf8_lossy(&fetched.stdout);
    assert_eq!(
        said, "text/plain; version=0.0.4; charset=utf-8",
        "{fetched:?}"
    );
    let parsed = Command::new(python_tool("prometheus-client==0.26.0", "python"))
        .args(["-c", PARSE])
        .stdin(File::open(page).unwrap())
        .output()
        .unwrap();
    assert!(parsed.status.success(), "{parsed:?}");
    serde_json::from_slice(&parsed.stdout).unwrap()
}

#[test]
fn policy_readings_and_console() {
    let server = bmc(|chassis| chassis.policy = 2);
    let mut musher = started(&server);
    wait("the policy", || server.with(|bmc| bmc.chassis.policy) == 0);
    assert!(!musher.log().unwrap().contains("after an outage"));
    let one: Value =
        serde_json::from_str(&sled(&musher, &["power", "status", "sled-01", "--json"])).unwrap();
    assert_eq!(
        (&one["power"], &one["watts"]),
        (&"off".into(), &150.into()),
        "{one}"
    );
    assert_eq!(one["watts_source"], "dcmi");
    let host = &one["host_interface"];
    assert_eq!(
        host["restricted"].as_array().map(Vec::len),
        Some(7),
        "{one}"
    );
    let plain = sled(&musher, &["power", "status", "sled-01"]);
    assert!(
        plain.contains("its BMC takes no command from the sled"),
        "{plain}"
    );
    let sweep = sled(&musher, &["power", "sweep"]);
    assert!(sweep.contains("sled-01  off    150"), "{sweep}");
    sled(&musher, &["identify", "sled-01", "--for", "9"]);
    assert_eq!(server.with(|bmc| bmc.chassis.identify_s), Some(9));
    let bmc_command = |words: &[&str]| {
        let words = [&["bmc"], words, &["--config", "musher.toml"]].concat();
        run(&musher, &words)
    };
    server.with(|bmc| {
        // 2026-01-02T03:04:05Z: sensor 0x31 of type 8 fell below a limit.
        let event = b"\x07\x00\x02\xa5\x35\x57\x69\x20\0\x04\x08\x31\x01\x50\x12\x34";
        bmc.chassis.events.push(*event);
    });
    let events = bmc_command(&["events", "sled-01"]);
    let expect = "2026-01-02T03:04:05Z  sensor 49 of type 0x08: event 0x01 on (50 12 34)";
    assert!(events.contains(expect), "{events}");
    assert_eq!(bmc_command(&["clear-events", "sled-01"]), "done\n");
    assert!(server.with(|bmc| bmc.chassis.events.is_empty()));
    assert!(musher.log().unwrap().contains("audit.bmc.events_cleared"));

    queue_job(&musher);
    wait("power on", || server.with(|bmc| bmc.chassis.on));
    let say = |text: &str| {
        server.with(|bmc| {
            let output = &mut bmc.chassis.serial_output;
            output.extend_from_slice(text.as_bytes());
        });
    };
    say(&format!("booting\r\ntoken={TOKEN}\r\nlogin: "));
    let console = || {
        let words = ["sled", "console", "sled-01", "--config", "musher.toml"];
        let done = musher.run(&words).unwrap();
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    wait("the console", || console().contains("login: "));
    let said = console();
    assert!(said.contains("booting\r\ntoken=[redacted]\r\n"), "{said}");
    assert!(!said.contains(TOKEN));
    let mut live = Command::new("timeout")
        .arg("60")
        .arg(program("musher").unwrap())
        .args(["sled", "console", "sled-01", "--follow"])
        .args(["--config", "musher.toml"])
        .current_dir(musher.dir())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(live.stdout.take().unwrap()).lines();
    let mut shows = |text: &str| lines.any(|line| line.unwrap().contains(text));
    assert!(shows("token=[redacted]"), "what was said before");
    say("root\r\nwelcome\r\n");
    assert!(shows("welcome"), "what is said now");
    live.kill().unwrap();
    live.wait().unwrap();
    let of_job = ["job", "console", "1", "--config", "musher.toml"];
    let of_job = run(&musher, &of_job);
    assert!(of_job.starts_with(said.as_str()), "{of_job}");

    // After a restart nothing is toggled, and the console goes on.
    let orders = server.with(|bmc| bmc.chassis.orders.clone());
    musher.kill().unwrap();
    // Its sessions end by themselves after a minute; a BMC that restarts
    // has forgotten them.
    server.with(|bmc| bmc.restart());
    musher.start().unwrap();
    say("after the restart\r\n");
    let console = || {
        let words = ["sled", "console", "sled-01", "--config", "musher.toml"];
        let done = musher.run(&words).unwrap();
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    wait("the console", || console().contains("after the restart"));
    assert!(
        console().contains("booting"),
        "what was said before is kept"
    );
    assert_eq!(server.with(|bmc| bmc.chassis.orders.clone()), orders);
}

#[test]
fn a_rotated_password_is_told_to_nobody() {
    let server = bmc(|_| {});
    let mut musher = started(&server);
    let status = |musher: &Standalone| {
        let words = ["power", "status", "sled-01", "--json"];
        serde_json::from_str::<Value>(&sled(musher, &words)).unwrap()
    };
    let said = run(
        &musher,
        &[
            "bmc",
            "rotate-password",
            "sled-01",
            "--config",
            "musher.toml",
        ],
    );
    assert_eq!(said, "done\n");
    let file = musher.dir().join("bmc-01");
    let password = || {
        std::fs::read_to_string(&file)
            .unwrap()
            .trim_end()
            .to_owned()
    };
    let rotated = password();
    let at_bmc = || server.with(|bmc| bmc.chassis.users[1].password);
    assert_eq!(
        (at_bmc().as_slice(), rotated.len()),
        (rotated.as_bytes(), 20)
    );
    assert_eq!(status(&musher)["power"], "off");
    assert!(!musher.log().unwrap().contains(&rotated));

    // Killed after the BMC was told, and before the file was replaced.
    musher.kill().unwrap();
    let lost = "another one for test";
    server.with(|bmc| {
        bmc.restart();
        bmc.chassis.users[1]
            .password
            .copy_from_slice(lost.as_bytes());
    });
    secret(&musher.dir().join("bmc-01.next"), lost).unwrap();
    musher.start().unwrap();
    assert_eq!(status(&musher)["power"], "off");
    assert_eq!(password(), lost);
    let log = musher.log().unwrap();
    assert!(log.contains("the new one is in its file now"), "{log}");
    assert!(!log.contains(lost));
}

#[test]
fn people_turn_a_sled_on_and_off() {
    let server = bmc(|_| {});
    let musher = started(&server);
    let on = || server.with(|bmc| bmc.chassis.on);
    // It could be given a job at any moment.
    let refused = musher
        .run(&["sled", "power", "on", "sled-01", "--config", "musher.toml"])
        .unwrap();
    assert!(!refused.status.success());
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("sled-01"), "{why}");
    sled(&musher, &["drain", "sled-01"]);
    sled(&musher, &["power", "on", "sled-01"]);
    wait("power on", on);
    sled(&musher, &["power", "cycle", "sled-01"]);
    let orders = || server.with(|bmc| bmc.chassis.orders.clone());
    wait("a cycle", || orders() == ["on", "off", "on"]);
    sled(&musher, &["power", "off", "sled-01"]);
    wait("power off", || orders() == ["on", "off", "on", "off"]);
    assert!(!on());
    // It was given nothing to boot.
    assert_eq!(server.with(|bmc| bmc.chassis.boot_flags), [0; 5]);
}

#[test]
fn what_a_bmc_does_not_let_us_set_is_said() {
    let server = bmc(|chassis| {
        chassis.quirks.keeps_policy = true;
        chassis.quirks.no_firewall = true;
    });
    let musher = started(&server);
    adopted(&musher);
    let log = musher.log().unwrap();
    assert!(log.contains("may start by itself after an outage"), "{log}");
    assert!(
        log.contains("can still give its BMC these commands"),
        "{log}"
    );
    let plain = sled(&musher, &["power", "status", "sled-01"]);
    assert!(
        plain.contains("takes from the sled: set-channel-access, "),
        "{plain}"
    );
}

#[test]
fn a_bmc_that_changed_between_boots_is_withheld() {
    let server = bmc(|_| {});
    let musher = started(&server);
    adopted(&musher);
    queue_job(&musher);
    wait("power on", || server.with(|bmc| bmc.chassis.on));
    wait("two readings of the meter", || {
        server.with(|bmc| bmc.chassis.watts_read >= 2)
    });
    // What a job with root can do in-band, and what it cannot hide.
    server.with(|bmc| {
        let evil = musher_bmc::User::administrator("evil", b"x");
        bmc.chassis.users.push(evil);
    });
    sled(&musher, &["cancel-claim", "sled-01"]);
    wait("the quarantine", || view(&musher)["state"] == "Quarantined");
    let reason = view(&musher)["reason"].as_str().unwrap().to_owned();
    let expect = "user.03: was \"\" enablement unknown, no sessions, no access, \
                  is \"evil\" enabled, sessions, administrator";
    assert!(reason.contains(expect), "{reason}");
    assert!(!server.with(|bmc| bmc.chassis.on));
    let receipt = ["receipts", "show", "1", "--json", "--config", "musher.toml"];
    let receipt: Value = serde_json::from_str(&run(&musher, &receipt)).unwrap();
    let energy = &receipt["energy"];
    assert_eq!(energy["meter"], "dcmi", "{receipt}");
    let (joules, ms) = (energy["joules"].as_u64(), energy["measured_ms"].as_u64());
    assert_eq!(joules, ms.map(|ms| 150 * ms / 1000), "{energy}");
    let labels = json!({ "sled": "sled-01", "meter": "dcmi" });
    let metrics = metrics(&musher);
    let sample = |name: &str, labels: &Value| {
        let one = |sample: &&Value| sample[0] == name && &sample[1] == labels;
        let value = metrics.iter().find(one).map(|sample| &sample[2]);
        value.and_then(Value::as_f64)
    };
    let drawn = sample("musher_kept_energy_joules", &labels);
    assert_eq!(drawn, joules.map(|joules| joules as f64), "{metrics:?}");
    let quarantined = sample("musher_sled_quarantined", &json!({ "sled": "sled-01" }));
    assert_eq!(quarantined, Some(1.0), "{metrics:?}");
    // It is not put right by releasing it; the boot waits.
    let orders = || server.with(|bmc| bmc.chassis.orders.clone());
    sled(&musher, &["release", "sled-01"]);
    wait("the quarantine", || view(&musher)["state"] == "Quarantined");
    assert_eq!(orders(), ["on", "off"]);
    sled(&musher, &["readopt", "sled-01"]);
    wait("the next boot", || orders() == ["on", "off", "on"]);
}

/// Another network card and another BMC: the sled's last boot is still its own.
#[test]
fn replaced_parts_leave_the_sled_what_it_is() {
    let (old, new) = (bmc(|_| {}), bmc(|chassis| chassis.firmware = (3, 1)));
    let mut musher = started(&old);
    adopted(&musher);
    queue_job(&musher);
    wait("power on", || old.with(|bmc| bmc.chassis.on));
    sled(&musher, &["maintain", "sled-01"]);
    wait("power off", || view(&musher)["state"] == "Maintenance");
    assert!(!old.with(|bmc| bmc.chassis.on));
    let boot = view(&musher)["boot"]["id"].clone();
    assert!(boot.is_number(), "{boot}");

    musher.kill().unwrap();
    let inventory = musher.dir().join("inventory.toml");
    let text = std::fs::read_to_string(&inventory).unwrap();
    let text = text
        .replace("52:54:00:77:00:01", "52:54:00:77:00:99")
        .replace(&old.address().to_string(), &new.address().to_string());
    std::fs::write(&inventory, text).unwrap();
    musher.start().unwrap();
    assert_eq!(view(&musher)["mac"], "52:54:00:77:00:99");
    assert_eq!(view(&musher)["boot"]["id"], boot);
    wait("the difference", || {
        let reason = view(&musher)["reason"].to_string();
        reason.contains("bmc.firmware: was 2.17, is 3.01")
    });
    sled(&musher, &["readopt", "sled-01"]);
    wait("its adoption", || view(&musher)["state"] == "Maintenance");
    sled(&musher, &["resume", "sled-01"]);
    wait("the next boot", || new.with(|bmc| bmc.chassis.on));
    assert_ne!(view(&musher)["boot"]["id"], boot);
}
