//! The floor under every durable answer: append 256 bytes, fdatasync, again,
//! to a file that grows, in the folder that holds the daemon's state.
//!
//! It is one thread that stores records made beforehand, one sync for each: no
//! sender shares its processors, and it receives, verifies, parses and orders
//! nothing. A log that stores deliveries does at least this for a sender who
//! waits for each answer; with several senders it may sync once for many, as
//! Musher does.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Bytes per write, about as many as one stored delivery has.
pub(crate) const RECORD: [u8; 256] = [0x5a; 256];

/// The name of this peer.
pub(crate) const NAME: &str = "write(256 B) + fdatasync loop";

/// Writes that were made durable, one after the other, per second.
///
/// # Errors
/// A disk that refuses.
pub(crate) fn durable_writes(dir: &Path, time: Duration) -> Result<f64> {
    let path = dir.join("append");
    let append = || -> std::io::Result<f64> {
        let mut file = File::create(&path)?;
        let start = Instant::now();
        let mut writes: u32 = 0;
        while start.elapsed() < time {
            file.write_all(&RECORD)?;
            file.sync_data()?;
            writes += 1;
        }
        Ok(f64::from(writes) / start.elapsed().as_secs_f64())
    };
    let rate = append().with_context(|| format!("write and sync {}", path.display()))?;
    fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
    Ok(rate)
}

/// How long three durable writes, one after the other, take at the 99th
/// percentile, in milliseconds.
///
/// # Errors
/// A disk that refuses.
pub(crate) fn three_syncs_p99_ms(dir: &Path) -> Result<f64> {
    const ROUNDS: usize = 1_000;
    let path = dir.join("append");
    let append = || -> std::io::Result<Vec<f64>> {
        let mut file = File::create(&path)?;
        let mut times = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let start = Instant::now();
            for _ in 0..3 {
                file.write_all(&RECORD)?;
                file.sync_data()?;
            }
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        Ok(times)
    };
    let times = append().with_context(|| format!("write and sync {}", path.display()))?;
    fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
    Ok(crate::acks::percentile(&times, 99))
}
