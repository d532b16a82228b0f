//! The demo as a person runs it: three jobs on two sleds, one BIOS, one UEFI.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use musher_e2e::program;
use serde_json::Value;

const STEPS: [&str; 12] = [
    "delivered",
    "claimed",
    "power_on",
    "dhcp",
    "kernel",
    "agent",
    "wiped",
    "ready",
    "order",
    "running",
    "finished",
    "off",
];

#[test]
fn three_jobs_on_two_sleds() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/e2e/chain");
    let status = Command::new(program("musher-demo").unwrap())
        .args(["--sleds", "2", "--jobs", "3", "--dir"])
        .arg(&dir)
        .status()
        .unwrap();
    let text = std::fs::read_to_string(dir.join("summary.json")).unwrap();
    assert!(status.success(), "{text}");
    let summary: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(summary["ok"], true, "{text}");
    let jobs = summary["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), 3);
    let mut boots = BTreeSet::new();
    let mut sleds = BTreeSet::new();
    for job in jobs {
        assert_eq!(job["result"], "success", "{job}");
        assert!(job["receipt"].is_u64(), "{job}");
        assert!(boots.insert(job["boot"].as_u64().unwrap()), "{text}");
        sleds.insert(job["sled"].as_str().unwrap());
        let times: Vec<u64> = STEPS
            .iter()
            .map(|step| job["timeline"][step].as_u64().unwrap())
            .collect();
        assert!(times.is_sorted(), "{job}");
    }
    assert_eq!(sleds.len(), 2, "{text}");
}
