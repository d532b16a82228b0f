//! The demo as a person runs it, with BIOS and UEFI sleds in turn.

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
    chain(2, 3);
}

#[test]
#[ignore = "four emulated sleds at once take minutes: part of test-full"]
fn twelve_jobs_on_four_sleds() {
    chain(4, 12);
}

fn chain(sled_count: usize, job_count: usize) {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/e2e");
    let dir = target.join(format!("chain-{sled_count}-{job_count}"));
    let status = Command::new(program("musher-demo").unwrap())
        .args(["--sleds", &sled_count.to_string()])
        .args(["--jobs", &job_count.to_string(), "--dir"])
        .arg(&dir)
        .status()
        .unwrap();
    let text = std::fs::read_to_string(dir.join("summary.json")).unwrap();
    assert!(status.success(), "{text}");
    let summary: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(summary["ok"], true, "{text}");
    let jobs = summary["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), job_count);
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
    assert_eq!(sleds.len(), sled_count, "{text}");
    // All the while the newest runner was looked for, and is here, verified.
    let kept = dir.join("state/runners/main/actions-runner-linux-x64-2.335.0.tar.gz");
    let offered = target.join("../images/runner.tar.gz");
    assert_eq!(
        std::fs::read(kept).unwrap(),
        std::fs::read(offered).unwrap()
    );
}
