//! Histories: what is committed, one transaction after another, and what a
//! database must hold after each.

use std::collections::BTreeMap;

use control::{Change, TableId};

use super::disk::Random;
use crate::store::{Store, StoreError};

/// Every row, those of receipts too.
pub(super) type Contents = BTreeMap<(TableId, Vec<u8>), Vec<u8>>;

/// Transactions, in order.
pub(super) struct History {
    pub(super) commits: Vec<Vec<Change>>,
    /// What is there before the first, and after each.
    pub(super) contents: Vec<Contents>,
}

impl History {
    pub(super) fn of(commits: Vec<Vec<Change>>) -> Self {
        let mut now = Contents::new();
        let mut contents = vec![now.clone()];
        for changes in &commits {
            for change in changes {
                let key = (change.table, change.key.clone());
                match &change.value {
                    Some(value) => now.insert(key, value.clone()),
                    None => now.remove(&key),
                };
            }
            contents.push(now.clone());
        }
        Self { commits, contents }
    }

    /// Rows of every table and of many sizes come, change and go.
    pub(super) fn of_many_tables(commits: usize, longest: usize, seed: u64) -> Self {
        let mut random = Random(seed);
        let commits = (0..commits).map(|number| {
            let count = 1 + random.below(12);
            let mut changes: Vec<Change> = (0..count)
                .flat_map(|_| synthetic(&mut random, longest))
                .collect();
            // No two states are the same, so that a mix shows.
            changes.push(Change {
                table: TableId::Meta,
                key: Vec::new(),
                value: Some(number.to_be_bytes().to_vec()),
            });
            changes
        });
        Self::of(commits.collect())
    }

    /// A transaction that makes the file grow, between two small ones.
    pub(super) fn that_grows() -> Self {
        let row = |key: u64, length| Change {
            table: TableId::Jobs,
            key: key.to_be_bytes().to_vec(),
            value: Some(vec![key as u8; length]),
        };
        Self::of(vec![
            vec![row(0, 10)],
            (1..40).map(|key| row(key, 60_000)).collect(),
            vec![row(0, 20), row(1, 10)],
        ])
    }
}

fn synthetic(random: &mut Random, longest: usize) -> Vec<Change> {
    let table = TableId::ALL[random.below(TableId::ALL.len())];
    let key = (random.below(40) as u64).to_be_bytes().to_vec();
    let filling = random.below(256) as u8;
    let row = |table, length| Change {
        table,
        key: key.clone(),
        value: Some(vec![filling; length]),
    };
    let length = random.below(longest);
    match table {
        // These are only ever added, and a signature has its receipt.
        TableId::Receipts => vec![row(table, length)],
        TableId::Signatures => vec![row(TableId::Receipts, length), row(table, 64)],
        _ if random.below(4) == 0 => vec![Change {
            table,
            key,
            value: None,
        }],
        _ => vec![row(table, length)],
    }
}

/// Reads back everything, through what the daemon reads with.
pub(super) fn contents(store: &Store) -> Result<Contents, StoreError> {
    let mut contents: Contents = store
        .load()?
        .into_iter()
        .map(|(table, key, value)| ((table, key), value))
        .collect();
    for (sequence, receipt) in store.receipts(0, usize::MAX)? {
        let key = sequence.to_be_bytes().to_vec();
        contents.insert((TableId::Receipts, key.clone()), receipt.body);
        if let Some(signature) = receipt.signature {
            contents.insert((TableId::Signatures, key), signature.0.to_vec());
        }
    }
    Ok(contents)
}
