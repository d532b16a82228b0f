//! Deliveries acknowledged per second, durable ones on our side, beside a
//! peer: in turns, so that whatever else the machine does hits both.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use crate::daemon::{self, Daemon};
use crate::deliveries::{Maker, Receiver};
use crate::peer::{self, Peer};
use crate::program::Program;
use crate::summary::{Goal, Row};
use crate::{Bench, disk, least, load};

/// Turns of each side; their median counts. Short and many: stalls of a disk
/// that others use as well then hit few of them.
const ROUNDS: usize = 15;
/// About how long a turn takes.
const TURN: Duration = Duration::from_secs(1);
/// Deliveries of the turn that warms up and finds the rate.
const WARM_UP: usize = 1_000;
/// Most deliveries per turn: they are made beforehand and kept in memory.
const MOST: usize = 40_000;

/// What our receiver answers.
pub(crate) const OURS: Receiver = Receiver {
    path: daemon::PATH,
    queued: br#"{"result":"queued"}"#,
    completed: br#"{"result":"updated"}"#,
};

/// `ack-1`.
pub(crate) fn one_sender(bench: &Bench) -> Result<Vec<Row>> {
    beside_disk(bench, "ack-1", 1, Goal::RatioAtLeast(0.7))
}

/// `ack-1-least`: the same beside the least receiver on the same server and
/// database, which shows what the disk and they leave to reach.
pub(crate) fn one_sender_beside_least(bench: &Bench) -> Result<Vec<Row>> {
    const NAME: &str = "ack-1-least";
    let dir = bench.folder(NAME)?;
    let theirs = least::start(&dir)?;
    let theirs = (theirs, least::RECEIVER, least::NAME);
    beside_receiver(bench, (NAME, 1, Goal::Shown), theirs)
}

/// `ack-64`: more than one commit at a time would allow, because one
/// transaction serves many senders.
pub(crate) fn many_senders(bench: &Bench) -> Result<Vec<Row>> {
    beside_disk(bench, "ack-64", 64, Goal::RatioAtLeast(2.0))
}

fn beside_disk(bench: &Bench, name: &str, senders: usize, goal: Goal) -> Result<Vec<Row>> {
    let dir = bench.folder(name)?;
    let Daemon {
        program, address, ..
    } = Daemon::start(&bench.musher()?, &dir)?;
    let mut ours = Side::new(program, OURS, senders);
    ours.turn(address)?;
    let row = in_turns(
        name,
        disk::NAME,
        goal,
        || ours.turn(address),
        || disk::durable_writes(&dir, TURN),
    )?;
    Ok(vec![row])
}

/// `ack-64-webhook`.
pub(crate) fn beside_webhook(bench: &Bench) -> Result<Vec<Row>> {
    const NAME: &str = "ack-64-webhook";
    let dir = bench.folder(NAME)?;
    let Peer { program, address } = Peer::start(&dir)?;
    let theirs = ((program, address), peer::RECEIVER, peer::NAME);
    beside_receiver(bench, (NAME, 64, Goal::RatioAtLeast(3.0)), theirs)
}

/// Beside another receiver, with as many senders each.
fn beside_receiver(
    bench: &Bench,
    (name, senders, goal): (&str, usize, Goal),
    ((program, theirs_at), receiver, peer_name): ((Program, SocketAddr), Receiver, &str),
) -> Result<Vec<Row>> {
    let dir = bench.work.join(name);
    let mut theirs = Side::new(program, receiver, senders);
    let Daemon {
        program, address, ..
    } = Daemon::start(&bench.musher()?, &dir)?;
    let mut ours = Side::new(program, OURS, senders);
    ours.turn(address)?;
    theirs.turn(theirs_at)?;
    let row = in_turns(
        name,
        peer_name,
        goal,
        || ours.turn(address),
        || theirs.turn(theirs_at),
    )?;
    Ok(vec![row])
}

/// A receiver under load.
struct Side {
    program: Program,
    receiver: Receiver,
    senders: usize,
    maker: Maker,
    /// Per second, from the turn before.
    rate: Option<f64>,
}

impl Side {
    fn new(program: Program, receiver: Receiver, senders: usize) -> Self {
        Self {
            program,
            receiver,
            senders,
            maker: Maker::new(),
            rate: None,
        }
    }

    /// One turn: acknowledged deliveries per second.
    fn turn(&mut self, address: SocketAddr) -> Result<f64> {
        let wanted = match self.rate {
            None => WARM_UP,
            // At most some 10^5: exact.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            Some(rate) => ((rate * TURN.as_secs_f64()) as usize).min(MOST),
        };
        let jobs = (wanted / 2 / self.senders).max(1);
        let requests = self.maker.make(self.receiver, self.senders, jobs);
        let count = u32::try_from(jobs * 2 * self.senders).unwrap_or(u32::MAX);
        let took = load::send(address, requests)?;
        self.program.alive()?;
        let rate = f64::from(count) / took.as_secs_f64();
        self.rate = Some(rate);
        Ok(rate)
    }
}

fn in_turns(
    name: &str,
    peer_name: &str,
    goal: Goal,
    mut ours: impl FnMut() -> Result<f64>,
    mut peer: impl FnMut() -> Result<f64>,
) -> Result<Row> {
    let (mut our_rates, mut peer_rates) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        our_rates.push(ours()?);
        peer_rates.push(peer()?);
        if let (Some(ours), Some(peer)) = (our_rates.last(), peer_rates.last()) {
            println!("  round {round} of {ROUNDS}: ours {ours:.0}/s, {peer_name} {peer:.0}/s");
        }
    }
    let figures = (
        median(&mut our_rates),
        median(&mut peer_rates),
        "per second",
    );
    Ok(Row::new(name, figures, peer_name, goal))
}

/// The value that `percent` of a hundred sorted values do not exceed (nearest
/// rank).
pub(crate) fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
}

/// The middle value of an odd number of them.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
