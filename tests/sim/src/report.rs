//! What is printed when a world breaks: everything that somebody needs to see
//! it break again.

use std::{fmt::Write as _, process::Command};

use crate::{
    options::Options,
    shrink::{Shrunk, shrink},
    world::Failure,
};

/// Tells of a failure, and of the smallest world that fails the same way.
#[must_use]
pub fn report(options: &Options, failure: &Failure) -> String {
    let Shrunk {
        options: small,
        failure: smallest,
        tries,
    } = shrink(options, failure);
    let mut text = smallest.to_string();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "commit {}", commit());
    let _ = writeln!(text, "found by:  {}", replay(failure.seed, options));
    let _ = writeln!(text, "shrunk to: {}", replay(smallest.seed, &small));
    let _ = writeln!(
        text,
        "           ({tries} worlds tried; to keep it, add to tests/sim/seeds.txt:)\n{} {small} # {}",
        smallest.seed, failure.violation.invariant
    );
    text
}

/// Tells of a failure as it is.
#[must_use]
pub fn report_briefly(options: &Options, failure: &Failure) -> String {
    format!(
        "{failure}commit {}\nfound by:  {}\n",
        commit(),
        replay(failure.seed, options)
    )
}

fn replay(seed: u64, options: &Options) -> String {
    format!("./tools/just sim {seed} {options}")
        .trim_end()
        .to_owned()
}

/// The commit that is checked out, and whether something was changed since.
fn commit() -> String {
    let git = |words: &[&str]| {
        let output = Command::new("git").args(words).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let Some(hash) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => hash,
        Some(_) | None => format!("{hash}, with changes that are not committed"),
    }
}
