//! Thousands of jobs through a bad way in: 5 % of deliveries are lost, 5 %
//! come twice, 20 % late, 1 % of GitHub's answers are lost, and the tunnel is
//! down for an hour. GitHub's log is read as the daemon reads it: what is
//! asked for, in which order and at which pace is its own code.
//!
//! A repair is counted from the moment at which the delivery would have come
//! to the moment at which the core has committed what it says.

use std::time::Duration;

use messages::DeliveryKey;
use musher::{
    config::{SWEEP_S, Way},
    delivery_log::{AT_ONCE, Passes, Seen, wanted},
    github::{Cursor, LogEntry, LogPage},
    reader::BACKOFF,
};
use musher_sim::{LogReader, Options, Replay, ReplayReport, replay, report_briefly};

/// What GitHub keeps reaches back beyond the start of the history.
const START_MS: u64 = 0;

/// The daemon's reader.
struct Reader {
    passes: Passes,
    seen: Seen,
}

fn in_daemons_words(page: &musher_sim::LogPage) -> LogPage {
    let entry = |entry: &musher_sim::LogEntry| LogEntry {
        id: entry.id,
        guid: guid(entry.guid),
        delivered_at_ms: entry.delivered_at_ms,
        redelivery: false,
        status_code: entry.status_code,
        status: String::new(),
        event: "workflow_job".to_owned(),
        action: Some(entry.action.to_owned()),
    };
    LogPage {
        entries: page.entries.iter().map(entry).collect(),
        next: page.next.as_deref().map(Cursor::from),
    }
}

/// A GUID as GitHub writes it.
fn guid(number: u128) -> String {
    let digits = format!("{number:032x}");
    let (a, b, c, d, e) = (
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..],
    );
    format!("{a}-{b}-{c}-{d}-{e}")
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).expect("a short time")
}

impl LogReader for Reader {
    fn pace_ms(&self) -> u64 {
        1000 * Way::Direct.poll_s()
    }

    fn backoff_ms(&self) -> (u64, u64) {
        (ms(BACKOFF.0), ms(BACKOFF.1))
    }

    fn at_once(&self) -> usize {
        AT_ONCE
    }

    fn begin(&mut self) {
        self.passes.begin();
    }

    fn next_page(&mut self) -> Option<Option<String>> {
        let page = self.passes.next_page()?;
        Some(page.map(|at| at.as_str().to_owned()))
    }

    fn wanted(&mut self, page: &musher_sim::LogPage) -> Vec<u64> {
        let page = in_daemons_words(page);
        let wanted = wanted(&page, self.passes.floor_ms(), &self.seen, true);
        wanted.into_iter().map(|entry| entry.id).collect()
    }

    fn taken(&mut self, guid: u128) {
        self.seen.insert(DeliveryKey(guid));
    }

    fn settled(&mut self, page: &musher_sim::LogPage) {
        self.passes.settled(&in_daemons_words(page));
    }
}

fn reader() -> Box<dyn LogReader> {
    Box::new(Reader {
        passes: Passes::since(START_MS),
        seen: Seen::default(),
    })
}

#[track_caller]
fn live(spec: &Replay, reader: fn() -> Box<dyn LogReader>) -> ReplayReport {
    match replay(spec, reader) {
        Ok(told) => told,
        Err(failure) => panic!("{}", report_briefly(&Options::default(), &failure)),
    }
}

#[track_caller]
fn check(jobs: u64, sleds: u64) {
    let spec = Replay {
        seed: 1,
        jobs,
        sleds,
        sweep_ms: 1000 * SWEEP_S,
    };
    let told = live(&spec, reader);
    println!("\n{told}");
    assert_eq!(told.jobs, jobs);
    assert!(told.wrong.is_empty(), "jobs {:?}", told.wrong);
    assert!(told.classed_permille() <= 10, "too many are in a class");
    assert_eq!(told.registered, 0, "runners are left at GitHub");
    assert_eq!(told.lost.open, 0, "deliveries stayed unknown");
    assert_eq!(told.in_outage.open, 0, "deliveries stayed unknown");
    assert!(
        told.lost.quantile_ms(990) <= 180_000,
        "repairs take too long"
    );
    assert!(
        told.in_outage.quantile_ms(990) <= 180_000,
        "repairs take too long"
    );
    // The history was as bad as it claims to be.
    let rate = |count: u64, of: u64| count * 1000 / of;
    let lost = told.lost.waits_ms.len() as u64;
    let in_outage = told.in_outage.waits_ms.len() as u64;
    assert!((35..=60).contains(&rate(lost, told.deliveries - in_outage)));
    assert!((35..=60).contains(&rate(told.doubled, told.deliveries)));
    assert!((170..=210).contains(&rate(told.reordered, told.deliveries)));
    assert!((5..=15).contains(&rate(told.calls_lost, told.calls)));
    assert!(in_outage > 0);
}

#[test]
fn a_thousand_jobs_run_once() {
    check(1000, 15);
}

/// Nobody reads the log or sweeps: the figures tell.
#[test]
fn a_log_that_nobody_reads_shows() {
    struct Idle;
    impl LogReader for Idle {
        fn pace_ms(&self) -> u64 {
            60_000
        }
        fn backoff_ms(&self) -> (u64, u64) {
            (1000, 1000)
        }
        fn at_once(&self) -> usize {
            1
        }
        fn begin(&mut self) {}
        fn next_page(&mut self) -> Option<Option<String>> {
            None
        }
        fn wanted(&mut self, _: &musher_sim::LogPage) -> Vec<u64> {
            Vec::new()
        }
        fn taken(&mut self, _: u128) {}
        fn settled(&mut self, _: &musher_sim::LogPage) {}
    }
    let spec = Replay {
        seed: 1,
        jobs: 200,
        sleds: 15,
        sweep_ms: 1 << 40,
    };
    let told = live(&spec, || Box::new(Idle));
    assert!(told.expired > 0 && told.classed_permille() > 10, "{told}");
    assert!(told.in_outage.quantile_ms(990) > 180_000, "{told}");
}

/// `just replay`: a minute.
#[test]
#[ignore = "takes a minute"]
fn ten_thousand_jobs_run_once() {
    check(10_000, 120);
}
