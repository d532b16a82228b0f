//! A sled that somebody turns on by hand: it asks to boot, has no boot ticket,
//! and gets neither a kernel nor its local disk. A job waits until the sled was
//! proved off, and then gets a boot of its own.

use std::fs;
use std::process::Command;

use musher_demo::{Rig, wait_for};
use musher_e2e::{JOB_LIMIT, program, rig_config, wait_for_end};
use musher_lab::Firmware;

#[test]
fn turned_on_by_hand_it_is_held() {
    let rig = Rig::up(&rig_config("unarmed", vec![Firmware::Bios.into()]).unwrap()).unwrap();
    let sled = rig.lab_sleds().remove(0);
    let lab = program("musher-lab").unwrap();
    let pressed = Command::new(&lab)
        .args(["exec", "--dir"])
        .arg(rig.dir().join("lab"))
        .arg(&lab)
        .arg("chassis")
        .arg(sled.power_log_path.parent().unwrap())
        .args(["set", "power", "1"])
        .status();
    assert!(pressed.unwrap().success());

    wait_for("the hold", JOB_LIMIT, || {
        let held = rig.musher_log().contains("audit.sled.held");
        Ok(held.then_some(()))
    })
    .unwrap();
    wait_for("Musher to see it", JOB_LIMIT, || {
        let unknown = rig.sleds()?.iter().all(|sled| sled.state == "Unknown");
        Ok(unknown.then_some(()))
    })
    .unwrap();
    wait_for("its screen", JOB_LIMIT, || {
        let said = fs::read(&sled.console_path)?;
        let said = String::from_utf8_lossy(&said).into_owned();
        Ok(said.contains("is held and will not boot").then_some(()))
    })
    .unwrap();
    let job = rig.queue_job("waits", "echo served").unwrap();
    let waits = wait_for("the job", JOB_LIMIT, || rig.job(job.id)).unwrap();
    assert_eq!(
        (waits.state.as_str(), waits.boot.is_none()),
        ("queued", true)
    );

    let off = rig.musher(&["sled", "power", "off", "sled-01"]).unwrap();
    assert!(off.status.success(), "{off:?}");
    let done = wait_for_end(&rig, job.id).unwrap();
    assert_eq!(done.conclusion.as_deref(), Some("success"), "{done:?}");
    let said = String::from_utf8_lossy(&fs::read(&sled.console_path).unwrap()).into_owned();
    let kernels = said.matches("Linux version").count();
    assert_eq!(kernels, 1, "a kernel for each ticket, and there was one");
    assert_eq!(rig.verified_receipts().unwrap(), [1]);
    rig.down().unwrap();
}
