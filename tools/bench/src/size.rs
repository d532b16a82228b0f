//! The size of the binary that ships.

use anyhow::{Context as _, Result};

use crate::summary::{Goal, Row};
use crate::{Bench, peer};

const MOST_MB: f64 = 8.0;

/// `binary-size`, in units of 1,000,000 bytes.
pub(crate) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let megabytes = |path: &std::path::Path| -> Result<f64> {
        let meta = std::fs::metadata(path).with_context(|| format!("find {}", path.display()))?;
        #[allow(clippy::cast_precision_loss)] // far below 2^52 bytes
        Ok(meta.len() as f64 / 1e6)
    };
    let ours = megabytes(&bench.musher()?)?;
    let peer = megabytes(std::path::Path::new(peer::BINARY))
        .context("is the package webhook installed?")?;
    println!("  {}: {ours:.2} MB", bench.musher.display());
    let figures = (ours, peer, "MB");
    Ok(vec![Row::new(
        "binary-size",
        figures,
        peer::NAME,
        Goal::OursAtMost(MOST_MB),
    )])
}
