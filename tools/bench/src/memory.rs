//! Resident memory, idle and after 100,000 deliveries, of fresh processes.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::acks::OURS;
use crate::daemon::Daemon;
use crate::deliveries::{Maker, Receiver};
use crate::peer::{self, Peer};
use crate::program::Program;
use crate::summary::{Goal, Row};
use crate::{Bench, load};

/// Jobs per sender and step: each is delivered twice.
const JOBS: usize = 50;
const SENDERS: usize = 20;
/// Steps until 100,000 deliveries are sent.
const STEPS: usize = 50;
/// After the start and after the load, before memory is read.
const SETTLE: Duration = Duration::from_secs(3);
const MOST_MIB: f64 = 32.0;

/// `memory-idle` and `memory-100k`.
pub(crate) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let dir = bench.folder("memory")?;
    let ours = Daemon::start(&bench.musher()?, &dir)?;
    let (idle, full) = measure("ours", ours.program, OURS, ours.address)?;
    let theirs = Peer::start(&dir)?;
    let (peer_idle, peer_full) =
        measure(peer::NAME, theirs.program, peer::RECEIVER, theirs.address)?;
    let goal = Goal::OursAtMost(MOST_MIB);
    Ok(vec![
        Row::new("memory-idle", (idle, peer_idle, "MiB"), peer::NAME, goal),
        Row::new("memory-100k", (full, peer_full, "MiB"), peer::NAME, goal),
    ])
}

fn measure(
    name: &str,
    mut program: Program,
    receiver: Receiver,
    address: SocketAddr,
) -> Result<(f64, f64)> {
    thread::sleep(SETTLE);
    let idle = program.resident_mib()?;
    println!("  {name} idle: {idle:.1} MiB");
    let mut maker = Maker::new();
    for step in 1..=STEPS {
        load::send(address, maker.make(receiver, SENDERS, JOBS))?;
        program.alive()?;
        if step % 10 == 0 {
            let sent = step * SENDERS * JOBS * 2;
            println!("  {name} after {sent}: {:.1} MiB", program.resident_mib()?);
        }
    }
    thread::sleep(SETTLE);
    let full = program.resident_mib()?;
    println!("  {name} at rest again: {full:.1} MiB");
    Ok((idle, full))
}
