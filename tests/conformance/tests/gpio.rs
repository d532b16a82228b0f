//! Relay, button, sense and holder on lines of a real kernel: a guest of
//! Debian sid's kernel with `gpio-sim` and `i2c-stub` (`src/bin/gpio-guest`)
//! kills daemons, and the kernel's own trace tells which line was set when.
//! Another one powers or wakes a sled through its lines, which runs a job.

#[path = "gpio/guest.rs"]
mod guest;
#[path = "gpio/job.rs"]
mod job;

use guest::{Console, Daemon, boot};
use job::{JobEnd, Wiring};

const BUTTON: u32 = 0;
const RELAY: u32 = 2;
/// Of a press of the daemon's, in milliseconds.
const LENGTHS: [f64; 2] = [200.0, 1200.0];
/// How late a press may end, beyond the time for which the emulated machine as
/// a whole stood still.
const LATE_MS: f64 = 100.0;

/// Presses as (from, length), in ms of the guest. The button is pressed by a
/// low level.
fn presses(console: &Console) -> Vec<(f64, f64)> {
    let edges = console.edges(BUTTON, true);
    assert!(
        edges.len().is_multiple_of(2),
        "a press without end: {edges:?}"
    );
    let pair = |pair: &[(f64, bool)]| {
        let [(from, false), (to, true)] = pair else {
            panic!("no press and release: {pair:?}");
        };
        (*from, to - from)
    };
    edges.chunks(2).map(pair).collect()
}

fn check(daemon: Daemon, kills: usize, seed: &str) {
    let console = boot(daemon, kills, seed);
    assert_eq!(console.all("failed"), [] as [&str; 0]);

    check_second_holder(&console);
    check_relay(&console);
    check_presses(&console, kills);
    check_expander(&console);
    // Told to stop in a press, the holder ended it, answered, and left.
    assert_eq!(console.all("holder-exit"), ["Some(0)", "Some(0)"]);
    assert_eq!(console.all("answered"), ["true"]);
}

/// Nobody but the holder may have the lines.
fn check_second_holder(console: &Console) {
    let second = console.all("second");
    assert_eq!(second.len(), 2);
    assert!(second[0].contains("another holder runs"), "{second:?}");
    assert!(second[1].contains("line "), "{second:?}");
    assert!(
        second.iter().all(|said| said.starts_with("Some(1)")),
        "{second:?}"
    );
}

/// The relay: an edge for each change, none for a repeated or old wish.
fn check_relay(console: &Console) {
    let relay = console.all("relay");
    let starts = [
        "0 done high=false",
        "1 done high=true",
        "1 done high=true",
        "1 refused",
    ];
    for (said, start) in relay.iter().zip(starts) {
        assert!(said.starts_with(start), "{relay:?}");
    }
    assert!(
        relay[3].contains("claim 4") && relay[3].contains("claim 5"),
        "{relay:?}"
    );
    assert_eq!(relay_levels(console), [true, false]);
}

/// Every press that began has one of the lengths that were asked for, whoever
/// was killed in it; and each kill left the relay closed.
fn check_presses(console: &Console, kills: usize) {
    let killed: Vec<f64> = console
        .all("kill")
        .iter()
        .map(|line| {
            let (at, relay) = line.split_once(" relay ").unwrap();
            assert_eq!(relay, "1", "the relay opened at a kill");
            at.parse::<f64>().unwrap() * 1000.0
        })
        .collect();
    assert_eq!(killed.len(), kills);

    let presses = presses(console);
    let mut latest: f64 = 0.0;
    for (from, length) in &presses {
        let stalled = console.stalled(*from, from + length);
        let late = LENGTHS.iter().map(|wanted| length - wanted);
        let late = late
            .filter(|late| (-1.0..LATE_MS + stalled).contains(late))
            .min_by(f64::total_cmp);
        let late = late.unwrap_or_else(|| {
            panic!("a press at {from} ms took {length} ms, {stalled} ms of them standing still")
        });
        latest = latest.max(late);
    }
    let in_press = |at: &&f64| {
        presses
            .iter()
            .any(|(from, length)| (*from..from + length).contains(*at))
    };
    let in_presses = killed.iter().filter(in_press).count();
    println!(
        "{kills} kills, {in_presses} of them in a press; {} presses, at most {latest:.1} ms late",
        presses.len()
    );
    assert!(in_presses >= 1);
    assert!(presses.len() > kills / 4, "too few presses to mean much");
    assert_eq!(console.all("button"), ["1"]);
    assert_eq!(console.all("misuses"), ["0"]);
    assert!(
        console.all("error").is_empty(),
        "{:?}",
        console.all("error")
    );
}

/// One bit of one bank, level before direction, then nothing, not by repeated
/// or old orders and not by a new holder.
fn check_expander(console: &Console) {
    let (before, after) = ("ff ff ff ff", "ff fd ff fd");
    assert_eq!(console.all("registers"), [before, after, after, after]);
    let expander = console.all("expander");
    assert_eq!(expander[..2], ["done high=false driven=true"; 2]);
    assert!(expander[2].starts_with("refused"), "{expander:?}");
}

#[test]
fn drivers_are_killed_and_no_line_moves() {
    check(Daemon::Driver, 6, "short");
}

#[test]
#[ignore = "two minutes; part of test-full"]
fn fifty_drivers_are_killed_and_no_line_moves() {
    check(Daemon::Driver, 50, "long");
}

#[test]
#[ignore = "four minutes; part of test-full"]
fn fifty_daemons_are_killed_and_no_line_moves() {
    check(Daemon::Whole, 50, "whole");
}

#[test]
#[ignore = "two emulated machines for most of a minute; part of test-full"]
fn a_sled_behind_a_relay_runs_a_job() {
    let end = job::run(Wiring::Relay);
    check_job(&end);
    // The kernel saw one edge up and one down, and the machine followed.
    assert_eq!(relay_levels(&end.console), [true, false]);
    let power = &end.power_log;
    assert_eq!(count(power, "set power 0"), 1, "{power}");
    // It turned itself off; its relay was opened after that.
    let line = |word: &str| power.lines().position(|line| line.contains(word));
    assert!(line("exited") < line("set power 0"), "{power}");
}

/// The relay closed and the machine slept on, until the packet came; it turned
/// itself off behind the closed relay, and that was the proof.
#[test]
#[ignore = "two emulated machines for most of a minute; part of test-full"]
fn a_sled_that_a_packet_wakes_runs_a_job() {
    let end = job::run(Wiring::Woken);
    check_job(&end);
    assert_eq!(relay_levels(&end.console), [true]);
    assert_eq!(count(&end.power_log, "set power 0"), 0, "{}", end.power_log);
}

fn relay_levels(console: &Console) -> Vec<bool> {
    let edges = console.edges(RELAY, false);
    edges.iter().map(|(_, level)| *level).collect()
}

fn count(log: &str, word: &str) -> usize {
    log.lines().filter(|line| line.contains(word)).count()
}

/// The job ran, once, in one power-on of the machine.
fn check_job(end: &JobEnd) {
    assert_eq!(end.console.all("failed"), [] as [&str; 0]);
    assert_eq!(end.hub_job["conclusion"], "success", "{}", end.hub_job);
    let jobs = end.said("jobs");
    let jobs = jobs.as_array().unwrap();
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    assert_eq!(jobs[0]["conclusion"], "success", "{jobs:?}");
    assert_eq!(jobs[0]["boot"]["receipt"], 1, "{jobs:?}");

    let power = &end.power_log;
    for word in ["started", "exited", "set power 1"] {
        assert_eq!(count(power, word), 1, "{word}: {power}");
    }
    let receipts = end.said("receipts");
    assert_eq!(receipts["ok"], true, "{receipts}");
    assert_eq!(receipts["receipts"], serde_json::json!([1]), "{receipts}");
}
