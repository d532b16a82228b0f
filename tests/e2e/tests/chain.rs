//! The demo as a person runs it, with BIOS and UEFI sleds in turn.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use musher_e2e::{good_summary, program};

#[test]
fn three_jobs_on_two_sleds() {
    chain(2, 3);
}

#[test]
#[ignore = "four emulated sleds at once take minutes: part of test-full"]
fn twelve_jobs_on_four_sleds() {
    chain(4, 12);
}

/// `--keep` leaves a page to look at, which nothing but `down` ends.
#[test]
#[ignore = "a rack of its own: part of test-full"]
fn kept_until_it_is_taken_down() {
    let dir = folder("kept");
    let shown = dir.to_string_lossy();
    let keep = ["--sleds", "1", "--jobs", "1", "--keep", "--dir", &*shown];
    let demo = |words: &[&str]| run(program("musher-demo").unwrap(), words);
    let down = || demo(&["down", "--dir", &shown]);
    // Also where this test fails.
    let _guard = Guard(&down);
    let done = demo(&keep);
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{said}");
    good_summary(&dir).unwrap();
    let page = said.lines().find_map(|line| {
        let rest = line.strip_prefix("still running: ")?;
        rest.split(';').next()
    });
    let page = page.unwrap_or_else(|| panic!("no page: {said}"));
    let looked = || run("curl", &["--silent", "--insecure", "--fail", page]);
    let seen = String::from_utf8(looked().stdout).unwrap();
    assert!(seen.contains("demo-1"), "{seen}");

    let again = demo(&keep);
    let said = String::from_utf8(again.stderr).unwrap();
    assert_eq!(again.status.code(), Some(1), "{said}");
    assert!(said.contains("demo-down"), "{said}");
    assert!(looked().status.success());

    assert!(down().status.success());
    assert!(!looked().status.success(), "the page is still there");
    let files = shown.as_bytes();
    let of_demo = |line: &Vec<u8>| line.windows(files.len()).any(|part| part == files);
    let left: Vec<_> = command_lines().into_iter().filter(of_demo).collect();
    assert!(left.is_empty(), "programs of the demo are left: {left:?}");
}

struct Guard<'a>(&'a dyn Fn() -> Output);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn chain(sled_count: usize, job_count: usize) {
    let dir = folder(&format!("chain-{sled_count}-{job_count}"));
    let (sleds, jobs) = (sled_count.to_string(), job_count.to_string());
    let status = Command::new(program("musher-demo").unwrap())
        .args(["--sleds", &sleds, "--jobs", &jobs, "--dir"])
        .arg(&dir)
        .status()
        .unwrap();
    let jobs = good_summary(&dir).unwrap();
    assert!(status.success(), "{jobs:?}");
    assert_eq!(jobs.len(), job_count);
    let sleds: BTreeSet<_> = jobs.iter().filter_map(|job| job["sled"].as_str()).collect();
    assert_eq!(sleds.len(), sled_count, "{jobs:?}");
    // All the while the newest runner was looked for, and is here, verified.
    let kept = dir.join("state/runners/main/actions-runner-linux-x64-2.335.0.tar.gz");
    let offered = dir.join("../../images/runner.tar.gz");
    assert_eq!(fs::read(kept).unwrap(), fs::read(offered).unwrap());
}

fn folder(name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    target.canonicalize().unwrap().join("e2e").join(name)
}

fn run(program: impl AsRef<std::ffi::OsStr>, words: &[&str]) -> Output {
    let done = Command::new(&program)
        .args(words)
        .stdin(Stdio::null())
        .output();
    done.unwrap_or_else(|error| panic!("run {:?}: {error}", program.as_ref()))
}

/// Of every process on this machine.
fn command_lines() -> Vec<Vec<u8>> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let lines = all.map(|entry| fs::read(entry.path().join("cmdline")));
    lines.flatten().collect()
}
