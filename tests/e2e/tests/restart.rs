//! `kill -9` of Musher while a sled boots, wipes and runs: after a restart the
//! job completes, once, and the BMC is told nothing that it need not be told.

use std::time::Duration;

use musher_demo::{PowerEvent, Rig};
use musher_e2e::{power_edges, rig_config, wait_for_end, wait_for_stage};
use musher_lab::{Firmware, SledConfig};

/// A disk on which making scratch takes a few seconds, so that the wipe is
/// long enough to be met.
const DISK_MIB: u64 = 8 * 1024;

fn killed_while(stage: &str, firmware: Firmware) {
    let sled = SledConfig {
        disk_mib: DISK_MIB,
        ..firmware.into()
    };
    let name = format!("restart-{stage}-{firmware:?}").to_lowercase();
    let mut rig = Rig::up(&rig_config(&name, vec![sled]).unwrap()).unwrap();
    let job = rig.queue_job("goes-on", "echo once; sleep 12").unwrap();
    let before = wait_for_stage(&rig, job.id, stage).unwrap();
    rig.kill_musher().unwrap();
    // Long enough for the sled to call in vain.
    std::thread::sleep(Duration::from_secs(3));
    rig.start_musher().unwrap();
    let after = wait_for_end(&rig, job.id).unwrap();

    assert_eq!(after.conclusion.as_deref(), Some("success"), "{after:?}");
    let boot = |view: &musher_demo::JobView| view.boot.as_ref().map(|boot| boot.id);
    assert_eq!(
        boot(&after),
        boot(&before),
        "the job was tried a second time"
    );
    let at_github = rig.hub_job(job.id).unwrap();
    let once = at_github
        .log
        .iter()
        .filter(|line| line.contains("once"))
        .count();
    assert_eq!(once, 1, "{:?}", at_github.log);
    assert_eq!(rig.verified_receipts().unwrap(), [1]);
    // On by one command, off by the sled itself.
    let edges = power_edges(&rig, "sled-01").unwrap();
    let expect = [
        PowerEvent::CommandOn,
        PowerEvent::Started,
        PowerEvent::Exited,
    ];
    assert_eq!(edges, expect, "the BMC was told something unintended");
    rig.down().unwrap();
}

#[test]
fn killed_while_the_sled_netboots() {
    killed_while("Netbooting", Firmware::Bios);
}

#[test]
fn killed_while_the_sled_wipes() {
    killed_while("Wiping", Firmware::Bios);
}

#[test]
fn killed_while_the_job_runs() {
    killed_while("Running", Firmware::Bios);
}

#[test]
#[ignore = "the same three under UEFI take four minutes: part of test-full"]
fn killed_under_uefi() {
    for stage in ["Netbooting", "Wiping", "Running"] {
        killed_while(stage, Firmware::Uefi);
    }
}
