//! The appliance is killed once at every boundary of small worlds: after each
//! commit, each answer and each effect, before whatever would follow. Every
//! invariant holds in every one of them.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use musher_sim::{Boundary, Failure, Kept, Options, Summary, report, run};

/// Base worlds: one without any fault of its own, and some with faults that
/// make answers uncertain already.
const WORLDS: &str = "
    23 --faults none --sleds 1 --jobs 2 --minutes 15 --traffic trickle
    19 --faults none --sleds 3 --jobs 5 --minutes 15 --traffic trickle
    34 --faults none --heavy cancel,steal --sleds 2 --jobs 4 --minutes 15 --traffic trickle
    18 --faults none --heavy api,bmc --sleds 2 --jobs 3 --minutes 15 --traffic trickle
    2 --faults none --heavy lose,double,reorder --sleds 2 --jobs 3 --minutes 15 --traffic trickle
    2 --faults none --heavy hand,die,forge,rack --sleds 2 --jobs 4 --minutes 20 --traffic trickle
    19 --faults none --heavy operator,reboot,hang --sleds 3 --jobs 5 --minutes 15 --traffic burst
    20 --faults none --heavy busy,stale,unclean --sleds 2 --jobs 4 --minutes 15 --traffic trickle
    16 --faults none --heavy bmc-lies,bmc-out,clock --sleds 3 --jobs 4 --minutes 15 --traffic trickle
";

fn boundaries(summary: &Summary) -> Vec<Boundary> {
    let commits = (1..=summary.commits).map(Boundary::Commit);
    let answers = (1..=summary.answers).map(Boundary::Answer);
    let effects = (1..=summary.effects).map(Boundary::Effect);
    commits.chain(answers).chain(effects).collect()
}

#[test]
fn a_kill_at_every_boundary_harms_nothing() {
    let mut worlds = Vec::new();
    for base in Kept::list(WORLDS).expect("the worlds can be read") {
        let summary = run(base.seed, &base.options).expect("the base world holds");
        assert!(
            summary.runs > 0,
            "a world in which nothing runs shows nothing"
        );
        for at in boundaries(&summary) {
            let options = Options {
                crash_at: Some(at),
                ..base.options.clone()
            };
            worlds.push((base.seed, options));
        }
    }
    assert!(worlds.len() > 1500, "only {} boundaries", worlds.len());
    all_hold(&worlds);
}

fn all_hold(worlds: &[(u64, Options)]) {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut failures: Vec<(&Options, Box<Failure>)> = Vec::new();
        while let Some((seed, options)) = worlds.get(next.fetch_add(1, Ordering::Relaxed)) {
            match run(*seed, options) {
                Ok(summary) => assert_eq!(summary.crashes, 1, "{seed} {options}"),
                Err(failure) => failures.push((options, failure)),
            }
        }
        failures
    };
    let failures: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("a world does not panic"))
            .collect()
    });
    if let Some((options, failure)) = failures.first() {
        let text = report(options, failure);
        panic!(
            "{} of {} kills broke something, the first one:\n{text}",
            failures.len(),
            worlds.len()
        );
    }
}
