//! Worlds that must hold: a thousand fresh seeds and every seed that once broke.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use musher_sim::{Options, run};

const WORLDS: u64 = 1000;

fn all_hold(seeds: &[u64]) {
    let next = AtomicU64::new(0);
    let failures: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut failures = Vec::new();
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(seed) = usize::try_from(index).ok().and_then(|i| seeds.get(i))
                        else {
                            return failures;
                        };
                        if let Err(failure) = run(*seed, &Options::default()) {
                            failures.push(failure.to_string());
                        }
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("a world does not panic"))
            .collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_thousand_worlds_hold() {
    let seeds: Vec<u64> = (0..WORLDS).collect();
    all_hold(&seeds);
}

#[test]
fn worlds_that_once_broke_hold() {
    let seeds: Vec<u64> = include_str!("../seeds.txt")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let number = line.split_whitespace().next().unwrap_or_default();
            number.parse().expect("a line starts with a seed")
        })
        .collect();
    assert!(!seeds.is_empty());
    all_hold(&seeds);
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
