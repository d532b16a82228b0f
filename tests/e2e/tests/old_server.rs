//! A GitHub Enterprise Server without just-in-time runners: the runner registers
//! itself, by a token, for one job.

use musher_demo::Rig;
use musher_e2e::{rig_config, wait_for_end};
use musher_lab::Firmware;

#[test]
fn a_runner_registers_itself() {
    let mut config = rig_config("old-server", vec![Firmware::Bios.into()]).unwrap();
    config.hub_lines = "[limits]\nserver_release = \"3.9.2\"".to_owned();
    let rig = Rig::up(&config).unwrap();
    let job = rig.queue_job("alone", "env | grep -c INPUT_").unwrap();
    let done = wait_for_end(&rig, job.id).unwrap();
    // `grep` finds nothing of it in the job's environment, and fails.
    assert_eq!(done.conclusion.as_deref(), Some("failure"), "{done:?}");
    let boot = done.boot.unwrap();
    assert_eq!(boot.job, Some(job.id), "GitHub's word binds it by its name");
    rig.verified_receipts().unwrap();
    let log = rig.musher_log();
    assert!(log.contains("has no just-in-time runners"), "{log}");
    let said = rig.dir().join(format!("state/logs/boot-{}.log", boot.id));
    let said = std::fs::read_to_string(said).unwrap();
    assert!(said.contains("Runner successfully added"), "{said}");
    rig.down().unwrap();
}
