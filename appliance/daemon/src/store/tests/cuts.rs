//! Power is cut after each operation on the disk. What is found then is what
//! was committed by then: all of it, whole, and nothing else but perhaps the
//! one transaction that was under way.

use std::{fs, sync::Arc};

use control::State;

use super::{
    disk::{Change, Cuts, Disk},
    history::{Contents, History, contents},
    rack,
};
use crate::store::Store;

/// A history as it reached a disk.
struct Run {
    /// The disk before its first change.
    image: Vec<u8>,
    log: Vec<Change>,
    /// How many changes there were when each commit had returned.
    returned: Vec<usize>,
}

/// Commits a history, opens the store again at times, and closes it.
fn run(history: &History) -> Run {
    let disk = Disk::of(Vec::new());
    // A new database has its name only when it is whole: no cut is before.
    drop(Store::on(Arc::new(disk.clone())).unwrap());
    let image = disk.synced();
    disk.keep_log();
    let before = disk.changes();
    let store = Store::on(Arc::new(disk.clone())).unwrap();
    let mut returned = Vec::new();
    for (number, changes) in history.commits.iter().enumerate() {
        store.commit(changes).unwrap();
        returned.push(disk.changes() - before);
        if number % 5 == 3 {
            store.reopen().unwrap();
        }
    }
    drop(store);
    Run {
        image,
        log: disk.take_log(),
        returned,
    }
}

/// Cuts the power `seeds` times at each change and lets `open` look at what is
/// left. Returns how often.
fn cut(history: &History, seeds: u64, open: impl Fn(Vec<u8>) -> Contents) -> u64 {
    let run = run(history);
    let mut cuts = Cuts::of(run.image);
    let mut tried = 0;
    for at in 0..=run.log.len() {
        // A commit that has returned by now is there.
        let returned = run.returned.iter().filter(|end| **end <= at).count();
        for seed in 0..seeds {
            let seed = seed << 32 | at as u64;
            let found = open(cuts.image(seed));
            let next = history.contents.get(returned + 1);
            assert!(
                found == history.contents[returned] || Some(&found) == next,
                "cut after change {at} of {}, seed {seed:#x}: {returned} commits had returned",
                run.log.len(),
            );
            tried += 1;
        }
        if let Some(change) = run.log.get(at) {
            cuts.pass(change);
        }
    }
    tried
}

/// Opens what a cut left, and commits to it once more.
fn open_and_go_on(image: Vec<u8>) -> Contents {
    let disk = Disk::of(image);
    let store = Store::on(Arc::new(disk.clone())).unwrap();
    let found = contents(&store).unwrap();
    let more = History::of_many_tables(1, 3_000, 9);
    store.commit(&more.commits[0]).unwrap();
    let after = contents(&store).unwrap();
    // Nothing unsynced is needed for it.
    let again = Store::on(Arc::new(Disk::of(disk.synced()))).unwrap();
    assert!(contents(&again).unwrap() == after);
    found
}

#[test]
fn a_cut_leaves_whole_transactions() {
    let history = History::of_many_tables(14, 3_000, 1);
    let tried = cut(&history, 24, |image| {
        contents(&Store::on(Arc::new(Disk::of(image))).unwrap()).unwrap()
    });
    assert!(tried > 2_000, "{tried} cuts");
    cut(&history, 2, open_and_go_on);
}

#[test]
fn a_cut_while_the_file_grows_leaves_whole_transactions() {
    cut(&History::that_grows(), 3, open_and_go_on);
}

#[test]
fn a_cut_in_a_file_leaves_whole_transactions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("musher.redb");
    let history = History::of_many_tables(6, 3_000, 2);
    cut(&history, 2, |image| {
        fs::write(&path, image).unwrap();
        contents(&Store::open(&path).unwrap()).unwrap()
    });
}

/// The rows of the core itself: whatever is found makes a state.
#[test]
fn a_cut_leaves_a_state() {
    let history = History::of(rack::commits());
    cut(&history, 2, |image| {
        let store = Store::on(Arc::new(Disk::of(image))).unwrap();
        let rows = store.load().unwrap();
        let state = State::load(rack::APPLIANCE, rack::limits(), rows).unwrap();
        let found = contents(&store).unwrap();
        let receipts = found
            .keys()
            .filter(|(table, _)| *table == control::TableId::Receipts);
        assert_eq!(state.receipt_head().0, receipts.count() as u64);
        found
    });
}
