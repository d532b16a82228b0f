//! Worlds that must hold: some hundred fresh seeds and every seed that once broke.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use musher_sim::{Failure, Kept, Options, report, run};

const WORLDS: u64 = 300;

fn all_hold(worlds: &[Kept]) {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut failures: Vec<(&Kept, Box<Failure>)> = Vec::new();
        while let Some(world) = worlds.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(failure) = run(world.seed, &world.options) {
                failures.push((world, failure));
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
