//! Independent peers against our protocol servers and clients: what the tests
//! share. A peer that is missing is a failure, never a skip.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder `node_modules/@octokit`, with the packages that
/// `octokit/package-lock.json` pins: GitHub's own descriptions and examples.
///
/// Installs them once. Several test programs may ask at the same time, and
/// `npm ci` begins by removing everything: hence the lock.
///
/// # Panics
/// npm is missing, or cannot fetch the packages.
#[must_use]
pub fn octokit() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("octokit");
    let lock = File::create(folder.join(".npm-ci.lock")).expect("the lock is made");
    lock.lock().expect("the lock is taken");
    let packages = folder.join("node_modules/@octokit");
    if !folder.join("node_modules/.package-lock.json").exists() {
        let status = Command::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(&folder)
            .status()
            .expect("npm is missing: install the packages nodejs and npm");
        assert!(status.success(), "npm ci failed in {}", folder.display());
    }
    packages
}
