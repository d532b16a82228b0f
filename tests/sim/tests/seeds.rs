//! Worlds that must hold: some hundred fresh seeds and every seed that once broke.

use musher_sim::{Failure, Kept, Options, report, run, run_all};

const WORLDS: u64 = 300;

fn all_hold(worlds: &[Kept]) {
    let failures: Vec<(&Kept, Box<Failure>)> = run_all(worlds)
        .into_iter()
        .filter_map(|(world, done)| Some((world, done.err()?)))
        .collect();
    if let Some((world, failure)) = failures.first() {
        let text = report(&world.options, failure);
        panic!("{} worlds broke, the first one:\n{text}", failures.len());
    }
}

#[test]
fn fresh_worlds_hold() {
    let worlds: Vec<Kept> = (0..WORLDS)
        .map(|seed| Kept {
            seed,
            options: Options::default(),
        })
        .collect();
    all_hold(&worlds);
}

#[test]
fn worlds_that_once_broke_hold() {
    let worlds = Kept::list(include_str!("../seeds.txt")).expect("the list can be read");
    assert!(!worlds.is_empty());
    all_hold(&worlds);
}

#[test]
fn a_seed_repeats_exactly() {
    for seed in 0..20 {
        assert_eq!(
            run(seed, &Options::default()).ok(),
            run(seed, &Options::default()).ok()
        );
    }
}
