//! Many worlds on two threads. A world does not know of the others.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use crate::{Failure, Kept, Summary, run};

/// Runs every world of a list, and tells how each one went, in no order.
///
/// # Panics
/// When a world panics.
#[must_use]
pub fn run_all(worlds: &[Kept]) -> Vec<(&Kept, Result<Summary, Box<Failure>>)> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(world) = worlds.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((world, run(world.seed, &world.options)));
        }
        done
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("a world does not panic"))
            .collect()
    })
}
