//! A sled that is new proves itself by a workflow that is dispatched on it alone:
//! one that passes then serves jobs, one that fails is withheld with the page of
//! its run.

use std::collections::BTreeMap;

use musher_demo::{Rig, SledView};
use musher_e2e::{JOB_LIMIT, rig_config, wait_for_end};
use musher_lab::Firmware;
use serde_json::Value;

/// Dispatching needs Actions write; nothing else of a pool does.
const HUB: &str = r#"[app.permissions]
actions = "write"
administration = "write"
metadata = "read"
organization_self_hosted_runners = "write"

[[workflow]]
repo = "octo-org/demo"
file = "accept.yml"
labels = ["{{runner}}"]
inputs = ["sled", "runner"]
script = "echo proving {{sled}}; test {{sled}} = sled-01"
"#;

const POOL: &str = r#"[pool.acceptance]
repository = "octo-org/demo"
workflow = "accept.yml"
ref = "main"
inputs = { sled = "{{sled.name}}", runner = "{{label}}" }
"#;

/// Labels of the jobs that GitHub told of, by number.
fn labels(rig: &Rig) -> BTreeMap<u64, Vec<String>> {
    let told = rig.hub_deliveries().unwrap();
    let jobs = told
        .iter()
        .map(|entry| &entry["request"]["payload"]["workflow_job"]);
    jobs.filter_map(|job| {
        let labels = serde_json::from_value(job["labels"].clone()).ok()?;
        Some((job["id"].as_u64()?, labels))
    })
    .collect()
}

#[test]
fn a_new_sled_proves_itself_first() {
    let sleds = vec![Firmware::Bios.into(), Firmware::Bios.into()];
    let mut config = rig_config("acceptance", sleds).unwrap();
    config.hub_lines = HUB.to_owned();
    config.pool_lines = POOL.to_owned();
    let rig = Rig::up(&config).unwrap();
    // It waits: nothing is in service yet.
    let waiting = rig.queue_job("ordinary", "echo served").unwrap();

    let done = wait_for_end(&rig, waiting.id).unwrap();
    assert_eq!(done.conclusion.as_deref(), Some("success"), "{done:?}");
    let served = done.boot.unwrap();
    assert_eq!(served.sled, "sled-01", "the one that passed");

    let withheld = musher_demo::wait_for("sled-02 to be withheld", JOB_LIMIT, || {
        let sleds: Vec<SledView> = rig.sleds()?;
        let withheld = |sled: &SledView| sled.name == "sled-02" && sled.state == "Quarantined";
        Ok(sleds.into_iter().find(withheld))
    })
    .unwrap();
    let reason = withheld.reason.unwrap();
    assert!(
        reason.contains("https://github.com/octo-org/demo/actions/runs/"),
        "the page of its run: {reason}"
    );

    let labels = labels(&rig);
    let dispatched: Vec<(&u64, &Vec<String>)> =
        labels.iter().filter(|(id, _)| **id != waiting.id).collect();
    assert_eq!(dispatched.len(), 2, "one run for each sled: {labels:?}");
    let mut said = Vec::new();
    for (id, labels) in dispatched {
        let [label] = labels.as_slice() else {
            panic!("one label, made for this run alone: {labels:?}");
        };
        assert!(label.starts_with("musher-accept-"), "{label}");
        let job = rig.hub_job(*id).unwrap();
        let end = (job.log.join("\n"), job.conclusion.unwrap_or_default());
        said.push(end);
    }
    said.sort();
    let expect = [
        ("proving sled-01", "success"),
        ("proving sled-02", "failure"),
    ];
    for ((log, conclusion), (words, end)) in said.iter().zip(expect) {
        assert!(log.contains(words), "{said:?}");
        assert_eq!(conclusion, end, "{said:?}");
    }
    // The job came in a boot of its own: a run proves a sled, it warms none.
    let receipts = rig.verified_receipts().unwrap();
    assert_eq!(receipts, [1, 2, 3]);
    let sleds: Vec<Value> = rig.musher_json(&["sleds"]).unwrap();
    let owes = |name: &str| {
        let sled = sleds.iter().find(|sled| sled["name"] == name);
        !sled.expect("known")["acceptance"].is_null()
    };
    assert!(!owes("sled-01"), "{sleds:?}");
    assert_eq!(rig.hub_runners().unwrap(), Vec::<Value>::new());
    rig.down().unwrap();
}
