//! Operations on the disk fail. Nothing panics, what was refused may be tried
//! again, and what was committed stays, even through a cut of power afterwards.

use std::sync::Arc;

use super::{
    disk::{Disk, Failure, Fault},
    history::{History, contents},
};
use crate::store::{Store, StoreError};

/// How often a store is opened again before its disk must be well.
const TRIES: usize = 64;

/// Opens it again as the engine does, until it can be read.
fn recover(store: &Store, which: &str) {
    let well = (0..TRIES).any(|_| store.reopen().and_then(|()| contents(store)).is_ok());
    assert!(well, "{which}: it does not recover");
}

/// Commits the whole history to a disk with this fault. Each transaction is
/// tried until it is stored.
fn commit_all(history: &History, disk: &Disk, fault: Fault, seed: u64) {
    let which = format!("{fault:?}, seed {seed:#x}");
    let store = Store::on(Arc::new(disk.clone())).unwrap();
    disk.fail(fault, seed);
    for (number, changes) in history.commits.iter().enumerate() {
        let (before, after) = (&history.contents[number], &history.contents[number + 1]);
        if let Err(error) = store.commit(changes) {
            assert!(matches!(error, StoreError::Transaction { .. }), "{error}");
            recover(&store, &which);
            let found = contents(&store).unwrap();
            assert!(found == *before || found == *after, "{which}: {number}");
            if found == *before {
                store.commit(changes).unwrap_or_else(|_| {
                    recover(&store, &which);
                    store.commit(changes).unwrap();
                });
            }
        }
        // Reads fail as well, and are only late.
        if number % 4 == 1 && store.reopen().is_err() {
            recover(&store, &which);
        }
        let found = contents(&store).unwrap_or_else(|_| {
            recover(&store, &which);
            contents(&store).unwrap()
        });
        assert!(found == *after, "{which}: {number}");
        // Power could be cut now.
        let left = Store::on(Arc::new(Disk::of(disk.synced()))).unwrap();
        assert!(contents(&left).unwrap() == *after, "{which}: {number}");
    }
}

fn check(failure: Failure, operations: impl Fn(&Disk) -> usize, counts: &[usize]) {
    let history = History::of_many_tables(8, 3_000, 3);
    let never = Fault {
        failure,
        at: usize::MAX / 2,
        count: 0,
    };
    let disk = Disk::of(Vec::new());
    commit_all(&history, &disk, never, 0);
    let all = operations(&disk);
    assert!(all > 20, "{all} operations");
    for at in 0..all {
        for &count in counts {
            let fault = Fault { failure, at, count };
            let seed = (count as u64) << 32 | at as u64;
            commit_all(&history, &Disk::of(Vec::new()), fault, seed);
        }
    }
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    check(Failure::NoRoom, Disk::changes, &[1, 9]);
}

#[test]
fn a_disk_that_cannot_write_loses_nothing_that_was_committed() {
    check(Failure::Broken, Disk::changes, &[1, 2]);
}

#[test]
fn a_disk_that_cannot_be_read_for_a_while_is_read_later() {
    check(Failure::Unreadable, Disk::reads, &[1, 5]);
}
