//! A sled that never netboots: its job is tried again on another one.

use musher_demo::Rig;
use musher_e2e::{rig_config, wait_for_end};
use musher_lab::Firmware;

#[test]
fn a_sled_that_never_boots() {
    let mut config =
        rig_config("retry", vec![Firmware::Bios.into(), Firmware::Bios.into()]).unwrap();
    config.miswired = vec!["sled-01".to_owned()];
    // Far more than a BIOS sled takes, far less than the default.
    config.deadlines = vec![("netboot_s", 75), ("power_off_s", 5)];
    let rig = Rig::up(&config).unwrap();
    // Two jobs, so that both sleds are claimed.
    let jobs = ["one", "two"].map(|name| rig.queue_job(name, "echo done").unwrap());
    for job in jobs {
        let done = wait_for_end(&rig, job.id).unwrap();
        assert_eq!(done.conclusion.as_deref(), Some("success"), "{done:?}");
        assert_eq!(done.boot.unwrap().sled, "sled-02");
    }
    let sleds = rig.sleds().unwrap();
    let broken = sleds.iter().find(|sled| sled.name == "sled-01").unwrap();
    assert!(broken.failures > 0, "{broken:?}");
    rig.verified_receipts().unwrap();
    rig.down().unwrap();
}
