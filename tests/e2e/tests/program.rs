//! A sled that a program of the operator's powers, as one behind a PDU: the
//! `command` driver through a whole boot. Its lab is in a user namespace, as it
//! is for whoever is not root.

use std::fs;

use musher_demo::{PowerEvent, Rig};
use musher_e2e::{power_edges, rig_config, wait_for_end};
use musher_lab::{Firmware, Mode};
use serde_json::Value;

fn json(rig: &Rig, words: &[&str]) -> Value {
    let done = rig.musher(words).unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{words:?}: {said}");
    serde_json::from_slice(&done.stdout).unwrap()
}

#[test]
fn a_program_powers_a_sled() {
    let mut config = rig_config("program", vec![Firmware::Bios.into()]).unwrap();
    config.programmed = vec!["sled-01".to_owned()];
    config.mode = Mode::User;
    let rig = Rig::up(&config).unwrap();
    let job = rig.queue_job("by-program", "echo powered").unwrap();
    let done = wait_for_end(&rig, job.id).unwrap();
    assert_eq!(done.conclusion.as_deref(), Some("success"), "{done:?}");

    // Turned on once, by the program alone; the agent turned it off.
    let edges = power_edges(&rig, "sled-01").unwrap();
    let count = |event: &PowerEvent| edges.iter().filter(|edge| *edge == event).count();
    assert_eq!(count(&PowerEvent::CommandOn), 1, "{edges:?}");
    assert_eq!(count(&PowerEvent::Started), 1, "{edges:?}");
    // Nothing forced the netboot, and the receipt does not say so.
    let receipt = json(&rig, &["receipts", "show", "1", "--json"]);
    assert_eq!(receipt["assurance"], "claimed", "{receipt}");
    assert_eq!(receipt["energy"], Value::Null, "{receipt}");
    let status = ["sled", "power", "status", "sled-01", "--json"];
    assert_eq!(json(&rig, &status)["power"], "off");

    // A device that does not answer is no device that is off.
    let program = rig.power_program("sled-01");
    fs::write(
        &program,
        "#!/bin/sh\necho 'the outlet is gone' >&2\nexit 69\n",
    )
    .unwrap();
    let lost = json(&rig, &status);
    assert_eq!(lost["power"], "unknown", "{lost}");
    let why = lost["error"].as_str().unwrap();
    assert!(why.contains("the outlet is gone"), "{why}");
    rig.down().unwrap();
}
