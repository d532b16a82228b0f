//! New sleds prove themselves by a workflow that is dispatched for each of them,
//! before they serve anybody.

use musher_demo::{Rig, wait_for};
use musher_e2e::{JOB_LIMIT, rig_config, wait_for_end};
use musher_lab::Firmware;

/// It tells the sleds apart: the second one fails.
const WORKFLOW: &str = r#"
[[workflow]]
repo = "octo-org/demo"
file = "accept.yml"
labels = ["{{runner}}"]
inputs = ["runner", "sled"]
script = 'test "{{sled}}" = sled-01'
"#;

const ACCEPTANCE: &str = r#"
[pool.acceptance]
repository = "octo-org/demo"
workflow = "accept.yml"
ref = "main"
inputs = { runner = "{{label}}", sled = "{{sled.name}}" }
"#;

#[test]
fn a_run_that_cannot_begin_withholds_its_sled() {
    let mut config = rig_config("no-acceptance", vec![Firmware::Bios.into()]).unwrap();
    // Its runs end at once, and have no job.
    config.hub_lines = format!("{WORKFLOW}startup_failure = true\n");
    config.pool_lines = ACCEPTANCE.to_owned();
    let rig = Rig::up(&config).unwrap();
    let refused = wait_for("the verdict", JOB_LIMIT, || {
        let sled = rig.sleds()?.into_iter().next();
        Ok(sled.filter(|sled| sled.state == "Quarantined"))
    });
    let reason = refused.unwrap().reason.unwrap_or_default();
    assert!(
        reason.contains("acceptance run ended as failure")
            && reason.contains("/octo-org/demo/actions/runs/"),
        "{reason}"
    );
    assert!(!rig.is_on("sled-01"));
    assert_eq!(rig.hub_runners().unwrap(), Vec::<serde_json::Value>::new());
    assert_eq!(rig.verified_receipts().unwrap(), [1]);
    rig.down().unwrap();
}

#[test]
fn a_new_sled_proves_itself_before_it_serves() {
    let sleds = vec![Firmware::Bios.into(), Firmware::Bios.into()];
    let mut config = rig_config("acceptance", sleds).unwrap();
    config.hub_lines = WORKFLOW.to_owned();
    config.pool_lines = ACCEPTANCE.to_owned();
    let rig = Rig::up(&config).unwrap();
    // It waits all the while: no sled is in service yet.
    let job = rig.queue_job("ordinary", "echo done").unwrap();

    let done = wait_for_end(&rig, job.id).unwrap();
    assert_eq!(done.conclusion.as_deref(), Some("success"), "{done:?}");
    let boot = done.boot.unwrap();
    assert_eq!(boot.sled, "sled-01");

    let refused = wait_for("the verdict on sled-02", JOB_LIMIT, || {
        let sleds = rig.sleds()?;
        let sled = sleds.into_iter().find(|sled| sled.name == "sled-02");
        Ok(sled.filter(|sled| sled.state == "Quarantined"))
    });
    let reason = refused.unwrap().reason.unwrap_or_default();
    assert!(
        reason.contains("acceptance run ended as failure")
            && reason.contains("/octo-org/demo/actions/runs/"),
        "{reason}"
    );
    let jobs = rig.jobs().unwrap();
    let mut proofs: Vec<_> = jobs.iter().filter(|job| job.name == "accept").collect();
    proofs.sort_by_key(|job| job.boot.as_ref().map(|boot| boot.sled.clone()));
    let seen: Vec<_> = proofs
        .iter()
        .map(|job| {
            let boot = job.boot.as_ref();
            (
                boot.map(|boot| boot.sled.as_str()),
                job.conclusion.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (Some("sled-01"), Some("success")),
            (Some("sled-02"), Some("failure"))
        ]
    );
    let proved = proofs[0].boot.as_ref().unwrap();
    assert!(proved.id < boot.id, "it served after it had proved itself");

    // A person takes the other one all the same.
    for verb in ["release", "accept"] {
        let done = rig.musher(&["sled", verb, "sled-02"]).unwrap();
        assert!(done.status.success(), "{verb}: {done:?}");
    }
    wait_for("sled-02 in service", JOB_LIMIT, || {
        let sleds = rig.sleds()?;
        let sled = sleds.into_iter().find(|sled| sled.name == "sled-02");
        Ok(sled.filter(|sled| sled.state == "Off" && sled.reason.is_none()))
    })
    .unwrap();
    rig.verified_receipts().unwrap();
    rig.down().unwrap();
}
