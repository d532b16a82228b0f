//! A history of thousands of jobs, replayed through a bad way in: what the
//! shells that make up for it are to the world, and what came of it.

use std::fmt;

/// A history to replay.
#[derive(Clone, Copy, Debug)]
pub struct Replay {
    /// Its seed.
    pub seed: u64,
    /// Jobs.
    pub jobs: u64,
    /// Sleds.
    pub sleds: u64,
    /// Milliseconds between two sweeps of what is queued or runs at GitHub.
    pub sweep_ms: u64,
}

/// One attempt at a delivery, in GitHub's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The attempt's number.
    pub id: u64,
    /// The delivery's GUID, the same for each attempt.
    pub guid: u128,
    /// When the attempt began, in Unix milliseconds.
    pub delivered_at_ms: u64,
    /// The receiver's HTTP status.
    pub status_code: u16,
    /// The payload's action.
    pub action: &'static str,
}

/// A page of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPage {
    /// Newest first.
    pub entries: Vec<LogEntry>,
    /// Where the older ones are.
    pub next: Option<String>,
}

/// How the daemon reads GitHub's log, without its IO and its clock: these are
/// played by the world.
pub trait LogReader {
    /// Milliseconds between two looks at the newest entries.
    fn pace_ms(&self) -> u64;
    /// First and longest wait after a failure, in milliseconds.
    fn backoff_ms(&self) -> (u64, u64);
    /// Payloads that are fetched at once.
    fn at_once(&self) -> usize;
    /// The newest entries are due.
    fn begin(&mut self);
    /// The page to read next, where there is one: at a cursor, or the newest.
    fn next_page(&mut self) -> Option<Option<String>>;
    /// Attempts on a page that have to be fetched, in this order.
    fn wanted(&mut self, page: &LogPage) -> Vec<u64>;
    /// The core has a delivery.
    fn taken(&mut self, guid: u128);
    /// All that was wanted of a page is taken.
    fn settled(&mut self, page: &LogPage);
}

/// How long deliveries that were lost stayed unknown: from when each would
/// have come to when the core had it, by whatever way, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repairs {
    /// Ascending.
    pub waits_ms: Vec<u64>,
    /// Those that the core never had.
    pub open: u64,
}

impl Repairs {
    /// A wait that this share of them, in thousandths, does not exceed.
    #[must_use]
    pub fn quantile_ms(&self, permille: usize) -> u64 {
        let rank = (self.waits_ms.len() * permille).div_ceil(1000);
        let wait = self.waits_ms.get(rank.saturating_sub(1));
        wait.copied().unwrap_or(0)
    }
}

/// What came of a replayed history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// Jobs.
    pub jobs: u64,
    /// Those whose script ran to its end once, on a sled of ours.
    pub ran_once: u64,
    /// Those that people cancelled.
    pub cancelled: u64,
    /// Those that a foreign runner took.
    pub stolen: u64,
    /// Those that GitHub gave up after a day.
    pub expired: u64,
    /// Numbers of those that are in no class and did not run exactly once, or
    /// are in one and ran twice.
    pub wrong: Vec<u64>,
    /// Runners left at GitHub.
    pub registered: u64,
    /// Runners started.
    pub runs: u64,
    /// Sleds turned on.
    pub edges: u64,
    /// Virtual time, in milliseconds.
    pub elapsed_ms: u64,
    /// Deliveries that GitHub made.
    pub deliveries: u64,
    /// Those that came twice.
    pub doubled: u64,
    /// Those that came late, after newer ones.
    pub reordered: u64,
    /// Those that were lost while the tunnel was up, and how long.
    pub lost: Repairs,
    /// Of these, those that GitHub's log does not hold either.
    pub in_no_log: u64,
    /// Those that came while the tunnel was down, and how long they stayed unknown.
    pub in_outage: Repairs,
    /// Calls of GitHub's API by who reads the log and sweeps.
    pub calls: u64,
    /// Those whose answers were lost.
    pub calls_lost: u64,
}

impl ReplayReport {
    /// Jobs in the listed classes, in thousandths.
    #[must_use]
    pub fn classed_permille(&self) -> u64 {
        (self.cancelled + self.stolen + self.expired) * 1000 / self.jobs.max(1)
    }
}

impl fmt::Display for ReplayReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: String| writeln!(f, "{name:<38}{value:>10}");
        let minutes = self.elapsed_ms / 60_000;
        row(
            "virtual time",
            format!("{}:{:02} h", minutes / 60, minutes % 60),
        )?;
        for (name, count) in [
            ("jobs", self.jobs),
            ("  ran exactly once", self.ran_once),
            ("  cancelled", self.cancelled),
            ("  stolen by a foreign runner", self.stolen),
            ("  expired at GitHub", self.expired),
            ("  anything else", self.wrong.len() as u64),
            ("runners started", self.runs),
            ("sleds turned on", self.edges),
            ("runners left at GitHub", self.registered),
            ("deliveries", self.deliveries),
            ("  twice", self.doubled),
            ("  late", self.reordered),
            ("  lost", self.lost.waits_ms.len() as u64 + self.lost.open),
            ("    and in no log", self.in_no_log),
            (
                "  while the tunnel was down",
                self.in_outage.waits_ms.len() as u64 + self.in_outage.open,
            ),
            ("calls to read the log and to sweep", self.calls),
            ("  whose answers were lost", self.calls_lost),
        ] {
            row(name, count.to_string())?;
        }
        for (name, repairs) in [
            ("repair of a lost delivery", &self.lost),
            ("repair of one of the outage", &self.in_outage),
        ] {
            for (quantile, permille) in [("p50", 500), ("p99", 990), ("most", 1000)] {
                let seconds = repairs.quantile_ms(permille) / 1000;
                row(&format!("{name}, {quantile}"), format!("{seconds} s"))?;
            }
            row(&format!("{name}, never"), repairs.open.to_string())?;
        }
        Ok(())
    }
}
