//! A sled that waits for a job: booted, wiped and unknown to GitHub, even over
//! a crash of the appliance; it serves the next job in the boot it waits in.

use musher_demo::{Rig, SledView};
use musher_e2e::{JOB_LIMIT, rig_config, wait_for_end};
use musher_lab::Firmware;

fn wait_for_state(rig: &Rig, state: &str) -> SledView {
    let what = format!("sled-01 to be {state}");
    musher_demo::wait_for(&what, JOB_LIMIT, || {
        let sled = rig.sleds()?.into_iter().next();
        Ok(sled.filter(|sled| sled.state == state))
    })
    .unwrap()
}

fn boot_of(sled: &SledView) -> u64 {
    sled.boot.as_ref().expect("it has a boot").id
}

#[test]
fn a_warm_sled_serves_the_next_job() {
    let mut config = rig_config("warm", vec![Firmware::Bios.into()]).unwrap();
    config.pool_lines = "warm = { count = 1 }".to_owned();
    let mut rig = Rig::up(&config).unwrap();
    let warm = boot_of(&wait_for_state(&rig, "Ready"));
    assert_eq!(rig.hub_runners().unwrap(), Vec::<serde_json::Value>::new());
    rig.kill_musher().unwrap();
    rig.start_musher().unwrap();
    assert_eq!(boot_of(&wait_for_state(&rig, "Ready")), warm);

    let job = rig.queue_job("is-warm", "echo warm").unwrap();
    let done = wait_for_end(&rig, job.id).unwrap();
    let boot = done.boot.expect("it ran in a boot");
    assert_eq!((done.state.as_str(), boot.id), ("completed", warm));

    // The next boot waits again, until its sled is drained.
    assert_ne!(boot_of(&wait_for_state(&rig, "Ready")), warm);
    let drained = rig.musher(&["sled", "drain", "sled-01"]).unwrap();
    assert!(drained.status.success(), "{drained:?}");
    musher_demo::wait_for("the sled to be off", JOB_LIMIT, || {
        let off = rig.sleds()?.iter().all(|sled| sled.state == "Off");
        Ok((off && !rig.is_on("sled-01")).then_some(()))
    })
    .unwrap();
    assert_eq!(rig.verified_receipts().unwrap(), [1, 2]);
    rig.down().unwrap();
}
