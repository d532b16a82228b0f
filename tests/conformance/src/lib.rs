//! Independent peers against our protocol servers and clients: what the tests
//! share. A peer that is missing is a failure, never a skip.

use std::fs::{self, File};
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

/// A program of a Python package from PyPI, named with its version as pip
/// does, in a virtual environment of its own below `target`.
///
/// Installs it once; several tests may ask at the same time.
///
/// # Panics
/// Python cannot make virtual environments, or PyPI cannot be reached.
#[must_use]
pub fn python_tool(package: &str, program: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let home = root.join("target/tools").join(package.replace("==", "-"));
    fs::create_dir_all(&home).expect("the folder is made");
    let lock = File::create(home.join(".lock")).expect("the lock is made");
    lock.lock().expect("the lock is taken");
    let done = home.join(".done");
    if !done.exists() {
        let run = |command: &mut Command, hint: &str| {
            let status = command.status().unwrap_or_else(|_| panic!("{hint}"));
            assert!(status.success(), "{hint}");
        };
        let hint = "python3 -m venv failed: install the package python3-venv";
        let mut venv = Command::new("python3");
        run(
            venv.args(["-m", "venv", "--clear"]).arg(home.join("venv")),
            hint,
        );
        let mut pip = Command::new(home.join("venv/bin/pip"));
        let hint = format!("pip cannot install {package}");
        run(pip.args(["install", "--quiet", package]), &hint);
        File::create(done).expect("the mark is made");
    }
    home.join("venv/bin").join(program)
}
