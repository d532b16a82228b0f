//! Databases of other releases: those of earlier ones are read, those of later
//! ones are refused with the way out.

use std::{env, fs, path::Path, path::PathBuf};

use control::{BootStage, Change, Effect, JobState, LoadError, Power, State, TableId};
use messages::{HubId, Millis, ReceiptRecord, SignedReceipt, decode};
use redb::{Database, TableDefinition};
use ring::signature::{ED25519, KeyPair, UnparsedPublicKey};

use super::{in_file, rack};
use crate::store::{Store, StoreError};

/// Names the file that [`write_a_database_of_this_release`] makes.
const WRITE_TO: &str = "MUSHER_DATABASE";

/// One database per release, oldest first.
const RELEASES: [&str; 1] = ["0.1.0-9f8bf29"];

fn load(store: &Store) -> Result<State, StoreError> {
    let rows = store.load()?;
    Ok(State::load(rack::APPLIANCE, rack::limits(), rows)?)
}

/// The rack's day on disk, in this folder.
fn written(folder: &Path) -> Store {
    let store = in_file(folder);
    for changes in rack::commits() {
        store.commit(&changes).unwrap();
    }
    store.set_local("inventory.text", b"[[pool]]\n").unwrap();
    store
}

/// What [`rack::commits`] says is there at the end of the day.
fn check_day(store: &Store) {
    let state = load(store).unwrap();
    let hubs = [HubId(1), HubId(2)].map(|id| state.hub_name(id).map(str::to_owned));
    assert_eq!(hubs, [Some("main".to_owned()), Some("second".to_owned())]);

    let sleds: Vec<_> = state.sleds().map(|(_, sled)| sled.clone()).collect();
    let names: Vec<&str> = sleds.iter().map(|sled| sled.name.as_ref()).collect();
    assert_eq!(names, ["sled-00", "sled-01", "sled-02", "sled-03"]);
    // However a release keeps it, a person's reason is there.
    let withheld = sleds
        .iter()
        .filter(|sled| format!("{sled:?}").contains("its fan is loud"));
    let withheld: Vec<&str> = withheld.map(|sled| sled.name.as_ref()).collect();
    assert_eq!(withheld, ["sled-02"]);
    let claimed = sleds
        .iter()
        .filter(|sled| matches!(sled.power, Power::Claimed { .. }));
    assert_eq!(claimed.count(), 2);

    let mut jobs: Vec<_> = state
        .jobs()
        .map(|(id, job)| (id.number, job.state))
        .collect();
    jobs.sort_unstable();
    assert_eq!(
        jobs,
        [
            (1, JobState::Completed),
            (2, JobState::Completed),
            (3, JobState::InProgress),
            (4, JobState::Queued),
            (5, JobState::Queued),
        ]
    );
    let stages: Vec<_> = state
        .boots()
        .map(|(_, boot)| (boot.stage.clone(), boot.receipt))
        .collect();
    assert_eq!(
        stages,
        [
            (BootStage::Ended, Some(1)),
            (BootStage::Ended, Some(2)),
            (BootStage::Running, None),
            (BootStage::Netbooting, None),
        ]
    );
    let unsigned = state
        .due_effects(Millis(u64::MAX))
        .filter(|(_, effect)| matches!(effect, Effect::SignReceipt { sequence: 2, .. }));
    assert_eq!(unsigned.count(), 1);
    check_receipts(store, &state);
    let inventory = store.local("inventory.text").unwrap();
    assert_eq!(inventory.as_deref(), Some(&b"[[pool]]\n"[..]));
}

fn check_receipts(store: &Store, state: &State) {
    let receipts = store.receipts(1, 10).unwrap();
    let [(1, first), (2, second)] = receipts.as_slice() else {
        panic!("{receipts:?}");
    };
    let key = UnparsedPublicKey::new(&ED25519, rack::signer().public_key().as_ref().to_vec());
    let signature = first.signature.as_ref().expect("it is signed");
    key.verify(&SignedReceipt::signed_bytes(&first.body), &signature.0)
        .unwrap();
    assert_eq!(second.signature, None);
    let ReceiptRecord::V1(receipt) = decode(&second.body).unwrap() else {
        panic!("it is a receipt")
    };
    assert_eq!(receipt.previous, SignedReceipt::chain_hash(&first.body));
    let head = (2, SignedReceipt::chain_hash(&second.body));
    assert_eq!(state.receipt_head(), head);
}

fn corpus(release: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus/store");
    folder.join(format!("{release}.redb"))
}

#[test]
fn databases_of_earlier_releases_are_read_and_written() {
    for release in RELEASES {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("musher.redb");
        fs::copy(corpus(release), &copy).unwrap();
        check_day(&Store::open(&copy).unwrap());
        // Opened again, and with a new row.
        let store = Store::open(&copy).unwrap();
        store.set_local("release", release.as_bytes()).unwrap();
        store.reopen().unwrap();
        check_day(&store);
    }
}

#[test]
fn this_release_reads_what_it_wrote() {
    let folder = tempfile::tempdir().unwrap();
    check_day(&written(folder.path()));
}

/// A row in a version that this release does not know.
#[test]
fn rows_of_a_later_release_are_refused_by_their_table() {
    for table in TableId::ALL.into_iter().filter(|id| id.is_loaded()) {
        let folder = tempfile::tempdir().unwrap();
        let store = written(folder.path());
        let rows = store.load().unwrap();
        let Some((_, key, mut value)) = rows.into_iter().find(|row| row.0 == table) else {
            continue;
        };
        // The version comes first.
        value[0] = 0x7f;
        let newer = Change {
            table,
            key,
            value: Some(value),
        };
        store.commit(&[newer]).unwrap();
        let error = load(&store).unwrap_err();
        let message = error.to_string();
        assert!(
            matches!(error, StoreError::Load(LoadError::Row { table: found, .. }) if found == table.name()),
            "{message}"
        );
        for part in [table.name(), "newer release", "restore a backup"] {
            assert!(message.contains(part), "{part:?} in {message:?}");
        }
    }
}

/// A table that this release does not know: it would be kept, but grow old.
#[test]
fn tables_of_a_later_release_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(written(folder.path()));
    let path = folder.path().join("musher.redb");
    let database = Database::open(&path).unwrap();
    let write = database.begin_write().unwrap();
    let table = TableDefinition::<u64, &[u8]>::new("of-a-later-release");
    drop(write.open_table(table).unwrap());
    write.commit().unwrap();
    drop(database);
    let error = load(&Store::open(&path).unwrap()).unwrap_err();
    let message = error.to_string();
    assert!(
        matches!(&error, StoreError::Newer { table, .. } if table == "of-a-later-release"),
        "{message}"
    );
    for part in [path.to_str().unwrap(), "newer", "restore a backup"] {
        assert!(message.contains(part), "{part:?} in {message:?}");
    }
}

/// For each release once: see `tests/corpus/store/README.md`.
#[test]
#[ignore = "makes the database that later releases are tested with"]
fn write_a_database_of_this_release() {
    let path = PathBuf::from(env::var_os(WRITE_TO).expect("MUSHER_DATABASE names a new file"));
    assert!(!path.exists(), "{} is there already", path.display());
    let folder = tempfile::tempdir().unwrap();
    drop(written(folder.path()));
    let made = folder.path().join("musher.redb");
    let mut database = Database::open(&made).unwrap();
    while database.compact().unwrap() {}
    drop(database);
    check_day(&in_file(folder.path()));
    fs::copy(&made, &path).unwrap();
}
