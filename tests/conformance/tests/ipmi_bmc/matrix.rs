//! BMCs that lie, and what Musher does: a sled whose power is not known gets
//! nothing, one whose BMC contradicts itself is withheld with both readings, and
//! nothing is ever turned on for it. What the driver gets to see is in `lies`.

use std::time::Instant;

use musher_bmc::{Manner, Server};
use musher_e2e::Standalone;
use serde_json::Value;

use super::bmc;
use super::serve::{queue_job, started_with};
use super::served::{adopted, run, sled, view, wait};

/// The appliance, with further lines of `musher.toml`, and a job for its sled.
fn with_a_job(server: &Server, lines: &str) -> Standalone {
    let musher = started_with(server, lines);
    adopted(&musher);
    queue_job(&musher);
    musher
}

/// The sled is on; its boot is called off, before a BMC of another manner.
fn call_off_before(server: &Server, musher: &Standalone, manner: Manner) {
    wait("power on", || server.with(|bmc| bmc.chassis.on));
    server.with(|bmc| bmc.chassis.manner = manner);
    sled(musher, &["cancel-claim", "sled-01"]);
}

/// Waits until the sled is withheld, and tells why.
fn withheld(musher: &Standalone) -> String {
    wait("the quarantine", || view(musher)["state"] == "Quarantined");
    view(musher)["reason"].as_str().unwrap().to_owned()
}

/// The reason names what was commanded and both readings.
fn check(reason: &str, told: &str, first_and_last: &str) {
    let parts = [
        "its power contradicts itself",
        &format!("told to switch {told} 2 times"),
        first_and_last,
        "release it",
    ];
    for part in parts {
        assert!(reason.contains(part), "{reason} lacks {part}");
    }
}

fn orders(server: &Server) -> Vec<&'static str> {
    server.with(|bmc| bmc.chassis.orders.clone())
}

fn job(musher: &Standalone) -> Value {
    let jobs = run(musher, &["jobs", "--json", "--config", "musher.toml"]);
    serde_json::from_str::<Value>(&jobs).unwrap()[0].take()
}

#[test]
#[ignore = "waits for real seconds of a lie: part of test-full"]
fn says_on_when_off() {
    let server = bmc(|chassis| chassis.manner = Manner::SaysOn);
    let musher = with_a_job(&server, "");
    wait("that its power is not known", || {
        let reason = view(&musher)["reason"].to_string();
        reason.contains("it is on, but Musher did not turn it on")
    });
    assert_eq!(view(&musher)["state"], "Unknown");
    assert_eq!(job(&musher)["state"], "queued");
    assert_eq!(orders(&server), [] as [&str; 0]);
    // As the reason says.
    sled(&musher, &["power", "off", "sled-01"]);
    check(&withheld(&musher), "off", "reads on, then on");
    assert!(!orders(&server).contains(&"on"));
}

#[test]
#[ignore = "waits for real seconds of a lie: part of test-full"]
fn says_off_when_on() {
    let server = bmc(|chassis| chassis.manner = Manner::SaysOff);
    let musher = with_a_job(&server, "");
    check(&withheld(&musher), "on", "reads off, then off");
    // It did turn on; its job waits for another sled.
    assert!(server.with(|bmc| bmc.chassis.on));
    wait("the job to wait", || job(&musher)["state"] == "queued");
}

#[test]
#[ignore = "waits for real seconds of a lie: part of test-full"]
fn accepts_on_and_ignores_it() {
    let server = bmc(|chassis| chassis.manner = Manner::Ignores);
    let musher = with_a_job(&server, "");
    check(&withheld(&musher), "on", "reads off, then off");
    assert!(!server.with(|bmc| bmc.chassis.on));
    wait("the job to wait", || job(&musher)["state"] == "queued");
}

#[test]
#[ignore = "waits for real seconds of a lie: part of test-full"]
fn accepts_off_and_ignores_it() {
    let server = bmc(|_| {});
    let musher = with_a_job(&server, "");
    call_off_before(&server, &musher, Manner::Ignores);
    // It is withheld while its boot waits for a proof of off.
    let told = || view(&musher)["reason"].to_string();
    wait("the quarantine", || told().contains("contradicts itself"));
    check(&told(), "off", "reads on, then on");
    assert_eq!(view(&musher)["state"], "PoweringOff");
    let orders = orders(&server);
    assert_eq!(orders[0], "on");
    assert!(
        orders[1..].iter().all(|order| *order == "off"),
        "{orders:?}"
    );
}

/// Silence is neither on nor off: the boot does not end, and the sled gets no
/// other. Once its BMC is back and it is seen off, it does.
#[test]
#[ignore = "waits for a BMC that is dead: part of test-full"]
fn dies_in_a_session() {
    let server = bmc(|_| {});
    let musher = with_a_job(&server, "[deadlines]\noff_dwell_s = 0\npower_off_s = 1");
    // After the privilege level of the next session, at most.
    call_off_before(&server, &musher, Manner::DiesAfter(1));
    wait("silence", || {
        let problem = view(&musher)["power_problem"].to_string();
        problem.contains("no answer to")
    });
    assert_eq!(view(&musher)["state"], "PoweringOff");
    let receipts = ["receipts", "list", "--json", "--config", "musher.toml"];
    let list: Value = serde_json::from_str(&run(&musher, &receipts)).unwrap();
    assert_eq!(list["receipts"], serde_json::json!([]), "{list}");
    server.with(|bmc| {
        bmc.restart();
        bmc.chassis.manner = Manner::Honest;
    });
    // It is turned off, proved off, and serves the job that waited.
    wait("the next boot", || {
        let orders = orders(&server);
        orders.iter().filter(|order| **order == "on").count() == 2
    });
    assert_eq!(orders(&server), ["on", "off", "on"]);
}

#[test]
#[ignore = "waits for real seconds of a lie: part of test-full"]
fn flips_after_5_s() {
    let server = bmc(|_| {});
    // Longer than the lie takes, as supplies need to drain.
    let musher = with_a_job(&server, "[deadlines]\noff_dwell_s = 10");
    call_off_before(&server, &musher, Manner::FlipsAfter(5_000));
    let off = || server.with(|bmc| bmc.chassis.orders.contains(&"off"));
    wait("power off", off);
    // The job waits, so the sled is wanted again.
    let told = Instant::now();
    let reason = || {
        view(&musher)["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    wait("the quarantine", || reason().contains("contradicts itself"));
    let (after, reason) = (told.elapsed(), reason());
    assert!(reason.contains("read off, and "), "{reason}");
    assert!(reason.contains(" ms later on"), "{reason}");
    // Not before the lie, and while it can still be told from a person's hand.
    assert!((4..=45).contains(&after.as_secs()), "{after:?}: {reason}");
    // It is never turned on again. Where the next boot found it out, that boot
    // ends as every boot does, by an off.
    let orders = server.with(|bmc| bmc.chassis.orders.clone());
    let (before, since) = orders.split_at(2);
    assert_eq!(before, ["on", "off"], "{reason}");
    assert!(since.iter().all(|order| *order == "off"), "{orders:?}");
}
