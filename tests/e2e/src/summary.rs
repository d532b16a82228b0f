//! `summary.json`, as whoever reads it is promised it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// Steps of a job's timeline, in the order in which they happen.
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

/// The jobs of a summary that says that all is well: each succeeded on a boot
/// of its own, has a receipt, and a whole timeline of the last hour in Unix
/// milliseconds.
///
/// # Errors
/// No such summary; the message holds all of it.
pub fn good_summary(dir: &Path) -> Result<Vec<Value>> {
    let path = dir.join("summary.json");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    checked(&text).with_context(|| format!("{}: {text}", path.display()))
}

fn checked(text: &str) -> Result<Vec<Value>> {
    let summary: Value = serde_json::from_str(text)?;
    ensure!(summary["ok"] == true, "it is not ok");
    let jobs = summary["jobs"].as_array().context("no list of jobs")?;
    let mut boots = BTreeSet::new();
    for job in jobs {
        let named = job["id"].is_u64() && job["sled"].is_string();
        ensure!(named && job["receipt"].is_u64(), "no id, sled or receipt");
        ensure!(job["result"] == "success", "a job failed");
        let boot = job["boot"].as_u64().context("no boot")?;
        ensure!(boots.insert(boot), "two jobs on boot {boot}");
        let timeline = job["timeline"].as_object().context("no timeline")?;
        let names: BTreeSet<&str> = timeline.keys().map(String::as_str).collect();
        ensure!(names == STEPS.into(), "other steps");
        let times = STEPS.map(|step| timeline[step].as_u64());
        let times: Option<Vec<u64>> = times.into_iter().collect();
        let times = times.context("a step without its time")?;
        ensure!(times.is_sorted(), "steps out of order");
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let past = Duration::from_secs(60 * 60);
        let range = (now - past).as_millis()..=now.as_millis();
        let of_now = |at: &u64| range.contains(&u128::from(*at));
        ensure!(times.iter().all(of_now), "no milliseconds of this hour");
    }
    Ok(jobs.clone())
}
