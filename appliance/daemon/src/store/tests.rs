//! The store over files, and over disks that fail.

mod cuts;
mod disk;
mod failures;
mod history;
mod rack;
mod releases;

use std::{fs, path::Path};

use messages::{ApplianceId, Epoch, EpochCause};

use super::*;
use history::{History, contents};

/// The store over a file in this folder.
fn in_file(folder: &Path) -> Store {
    Store::open(&folder.join("musher.redb")).unwrap()
}

#[test]
fn a_database_is_opened_again_with_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_file(folder.path());
    let clone = store.clone();
    store.set_local("key", b"value").unwrap();
    store.reopen().unwrap();
    assert_eq!(clone.local("key").unwrap().as_deref(), Some(&b"value"[..]));
    // While it cannot be opened it refuses, and it can come back.
    drop(store.database.write().unwrap().take());
    assert!(matches!(clone.local("key"), Err(StoreError::Closed { .. })));
    clone.reopen().unwrap();
    assert!(store.local("key").unwrap().is_some());
}

/// What any medium must do when it does not fail.
#[test]
fn what_was_committed_is_there_however_often_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let disk = disk::Disk::of(Vec::new());
    let check = |open: &dyn Fn() -> Store| {
        let history = History::of_many_tables(24, 5_000, 1);
        let mut store = open();
        for (number, changes) in history.commits.iter().enumerate() {
            store.commit(changes).unwrap();
            match number % 3 {
                0 => {}
                1 => store.reopen().unwrap(),
                _ => {
                    drop(store);
                    store = open();
                }
            }
            let found = contents(&store).unwrap();
            assert!(found == history.contents[number + 1], "commit {number}");
        }
        store.commit(&[]).unwrap();
        assert!(contents(&store).unwrap() == history.contents[24]);
    };
    check(&|| in_file(folder.path()));
    check(&|| Store::on(Arc::new(disk.clone())).unwrap());
}

/// A database has its name when it is one: see [`DatabaseFile`].
#[test]
fn a_database_whose_making_was_cut_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let remains = |name: &str| fs::write(folder.path().join(name), [0; 8192]).unwrap();
    remains(&format!("musher.redb.{}.new", std::process::id()));
    let store = in_file(folder.path());
    store.set_local("key", b"value").unwrap();
    let names = fs::read_dir(folder.path()).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["musher.redb"]);
}

/// A state directory that lost its file is not taken for a new one while the
/// daemon runs.
#[test]
fn a_database_that_is_gone_is_not_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_file(folder.path());
    store.set_local("key", b"value").unwrap();
    let (path, aside) = (
        folder.path().join("musher.redb"),
        folder.path().join("aside"),
    );
    fs::rename(&path, &aside).unwrap();
    assert!(matches!(store.reopen(), Err(StoreError::Open { .. })));
    assert!(!path.exists());
    fs::rename(&aside, &path).unwrap();
    store.reopen().unwrap();
    assert!(store.local("key").unwrap().is_some());
}

/// Records 3 to 12, made at 30, 40, … 120.
fn aged(store: &Store, made_before: u64, surplus: u64, at_most: u64) -> Option<u64> {
    let asked = AgedReceipts {
        first: 3,
        made_before: Millis(made_before),
        surplus,
        at_most,
    };
    let found = store.aged_receipts(&asked).unwrap();
    found.map(|(through, hash)| {
        let (_, receipt) = store.receipts(through, 1).unwrap().remove(0);
        assert_eq!(hash, SignedReceipt::chain_hash(&receipt.body));
        through
    })
}

#[test]
fn the_last_receipt_that_may_leave_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_file(folder.path());
    assert_eq!(aged(&store, 1000, 0, 12), None, "there is none");
    let record = |sequence: u64| Change {
        table: TableId::Receipts,
        key: sequence.to_be_bytes().to_vec(),
        value: Some(
            ReceiptRecord::Epoch(Epoch {
                sequence,
                previous: Digest([0; 32]),
                appliance: ApplianceId([1; 4]),
                made_at: Millis(sequence * 10),
                cause: EpochCause::Retention,
                first: 1,
                before: Digest([0; 32]),
            })
            .to_bytes(),
        ),
    };
    store
        .commit(&(3..=12).map(record).collect::<Vec<_>>())
        .unwrap();
    let check = |made_before, surplus, at_most, expect: Option<u64>| {
        let found = aged(&store, made_before, surplus, at_most);
        assert_eq!(found, expect, "{made_before} {surplus} {at_most}");
    };
    check(0, 0, 12, None);
    check(30, 0, 12, None);
    check(31, 0, 12, Some(3));
    check(75, 0, 12, Some(7));
    check(1000, 0, 12, Some(12));
    check(1000, 0, 5, Some(5));
    check(0, 9, 12, Some(9));
    check(0, 9, 6, Some(6));
    check(0, 2, 12, None);
    check(75, 4, 12, Some(7));
}
