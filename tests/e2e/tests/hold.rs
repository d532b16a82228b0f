//! A sled whose job failed stays on for a person, who finds a root shell on its
//! console, and goes off when the hold is lifted.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;

use musher_demo::{Rig, wait_for};
use musher_e2e::{JOB_LIMIT, rig_config, wait_for_end, wait_for_stage};
use musher_lab::Firmware;

#[test]
fn a_failed_job_can_be_looked_at() {
    let rig = Rig::up(&rig_config("hold", vec![Firmware::Bios.into()]).unwrap()).unwrap();
    let asked = rig
        .musher(&["sled", "hold", "sled-01", "--for", "1h"])
        .unwrap();
    assert!(asked.status.success(), "{asked:?}");
    let script = "echo left-by-the-job > /home/runner/left; exit 3";
    let job = rig.queue_job("fails", script).unwrap();
    wait_for_stage(&rig, job.id, "Held").unwrap();

    let sled = rig.lab_sleds().remove(0);
    let says = |text: &str| {
        wait_for(&format!("{text} on the console"), JOB_LIMIT, || {
            let said = fs::read(&sled.console_path)?;
            let said = String::from_utf8_lossy(&said).into_owned();
            Ok(said.contains(text).then_some(()))
        })
    };
    says("sled-01 is held: its job failed").unwrap();
    assert_eq!(rig.hub_runners().unwrap(), Vec::<serde_json::Value>::new());
    assert_eq!(rig.job(job.id).unwrap().unwrap().state, "failed");
    let mut console = UnixStream::connect(&sled.console_socket_path).unwrap();
    console
        .write_all(b"echo \"user $(id -u) finds $(cat /home/runner/left)\"\r")
        .unwrap();
    says("user 0 finds left-by-the-job").unwrap();
    // Who leaves the shell finds another one.
    console.write_all(b"exit\r").unwrap();
    wait_for("a second shell", JOB_LIMIT, || {
        let said = fs::read(&sled.console_path)?;
        let greetings = String::from_utf8_lossy(&said).matches("is held:").count();
        Ok((greetings == 2).then_some(()))
    })
    .unwrap();
    assert!(rig.is_on("sled-01"));

    let lifted = rig.musher(&["sled", "unhold", "sled-01"]).unwrap();
    assert!(lifted.status.success(), "{lifted:?}");
    let done = wait_for_end(&rig, job.id).unwrap();
    assert_eq!(done.state, "failed");
    assert!(!rig.is_on("sled-01"));
    assert_eq!(rig.verified_receipts().unwrap(), [1]);
    rig.down().unwrap();
}
