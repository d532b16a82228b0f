//! A job that is cancelled before a runner took it: its sled goes off, and
//! GitHub never hears of a runner.

use musher_demo::Rig;
use musher_e2e::{rig_config, wait_for_end, wait_for_stage};
use musher_lab::Firmware;

#[test]
fn cancelled_before_pickup() {
    let rig = Rig::up(&rig_config("cancel", vec![Firmware::Bios.into()]).unwrap()).unwrap();
    let job = rig.queue_job("is-cancelled", "echo never").unwrap();
    wait_for_stage(&rig, job.id, "Netbooting").unwrap();
    rig.cancel_job(job.id).unwrap();
    let done = wait_for_end(&rig, job.id).unwrap();
    assert_eq!(done.state, "cancelled");
    musher_demo::wait_for("the sled to be off", musher_e2e::JOB_LIMIT, || {
        let off = rig.sleds()?.iter().all(|sled| sled.state == "Off");
        Ok((off && !rig.is_on("sled-01")).then_some(()))
    })
    .unwrap();

    let at_github = rig.hub_job(job.id).unwrap();
    assert_eq!(at_github.conclusion.as_deref(), Some("cancelled"));
    assert_eq!(at_github.runner_name, None);
    assert_eq!(rig.hub_runners().unwrap(), Vec::<serde_json::Value>::new());
    let receipt: serde_json::Value = rig.musher_json(&["receipts", "show", "1"]).unwrap();
    assert_eq!(receipt["runner_name"], serde_json::Value::Null, "{receipt}");
    assert_eq!(rig.verified_receipts().unwrap(), [1]);
    rig.down().unwrap();
}
