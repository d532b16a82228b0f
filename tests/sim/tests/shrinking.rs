//! A broken world shrinks, and what is printed of it breaks again.

use musher_sim::{Defect, FaultSet, Kept, Options, run, shrink};

fn check(defect: Defect, invariant: &str) {
    let options = Options {
        defect: Some(defect),
        ..Options::default()
    };
    let failure = (0..200)
        .filter_map(|seed| run(seed, &options).err())
        .find(|failure| failure.violation.invariant == invariant)
        .expect("some world shows the defect");
    let shrunk = shrink(&options, &failure);
    let (before, after) = (&failure.shape, &shrunk.failure.shape);
    assert!(after.sleds <= before.sleds && after.jobs <= before.jobs);
    assert!(after.minutes <= before.minutes && after.faults.0.is_subset(&before.faults.0));
    assert_ne!(before, after, "nothing was left out");

    let line = format!("{} {} # found", shrunk.failure.seed, shrunk.options);
    let kept = Kept::list(&line).expect("what is printed can be read");
    let again = run(kept[0].seed, &kept[0].options).expect_err("it breaks again");
    assert_eq!(again.violation, shrunk.failure.violation);
}

#[test]
fn a_world_that_any_job_breaks_becomes_tiny() {
    check(Defect::ForgedWipe, "order-needs-wipe");
}

#[test]
fn a_world_that_needs_a_fault_keeps_it() {
    check(Defect::AnswerBeforeCommit, "acknowledged-is-kept");
}

#[test]
fn faults_are_written_as_they_are_read() {
    for text in ["none", "crash", "crash,bmc-out"] {
        let set: FaultSet = text.parse().expect("a known text");
        assert_eq!(set.to_string(), text);
    }
    assert!("crash,unknown".parse::<FaultSet>().is_err());
}
