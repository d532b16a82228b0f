//! Takes a lab down when the process that brought it up is gone, in whatever
//! way it went. It acts on one lab and does nothing while its owner lives.

use std::io::Read as _;
use std::path::Path;

use anyhow::Result;

use crate::lab;

/// Waits until standard input ends, which the owner's death brings about, then
/// takes the lab down if it is still up.
///
/// # Errors
/// Those of taking it down.
pub fn run(dir: &Path) -> Result<()> {
    let mut byte = [0];
    while matches!(std::io::stdin().read(&mut byte), Ok(count) if count > 0) {}
    lab::take_down(dir)
}
