//! The appliance is killed once at every boundary of small worlds: after each
//! commit, each answer and each effect, before whatever would follow. Every
//! invariant holds in every one of them.

use musher_sim::{Boundary, Failure, Kept, Options, Summary, report, run, run_all};

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
            worlds.push(Kept {
                seed: base.seed,
                options,
            });
        }
    }
    assert!(worlds.len() > 1500, "only {} boundaries", worlds.len());
    all_hold(&worlds);
}

fn all_hold(worlds: &[Kept]) {
    let mut failures: Vec<(&Options, Box<Failure>)> = Vec::new();
    for (Kept { seed, options }, done) in run_all(worlds) {
        match done {
            Ok(summary) => assert_eq!(summary.crashes, 1, "{seed} {options}"),
            Err(failure) => failures.push((options, failure)),
        }
    }
    if let Some((options, failure)) = failures.first() {
        let text = report(options, failure);
        panic!(
            "{} of {} kills broke something, the first one:\n{text}",
            failures.len(),
            worlds.len()
        );
    }
}
