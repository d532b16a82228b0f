//! A map that remembers which rows changed since the last commit.

use alloc::collections::{BTreeMap, BTreeSet, btree_map};

/// Rows by key, with the keys changed since [`Table::take_changed`].
#[derive(Clone, Debug)]
pub(crate) struct Table<K, V> {
    rows: BTreeMap<K, V>,
    changed: BTreeSet<K>,
}

impl<K: Ord + Copy, V> Table<K, V> {
    pub(crate) const fn new() -> Self {
        Self {
            rows: BTreeMap::new(),
            changed: BTreeSet::new(),
        }
    }

    pub(crate) fn get(&self, key: K) -> Option<&V> {
        self.rows.get(&key)
    }

    /// The row, marked as changed: call it only to change the row.
    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let row = self.rows.get_mut(&key)?;
        self.changed.insert(key);
        Some(row)
    }

    pub(crate) fn insert(&mut self, key: K, row: V) {
        self.rows.insert(key, row);
        self.changed.insert(key);
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        let row = self.rows.remove(&key)?;
        self.changed.insert(key);
        Some(row)
    }

    /// Puts back a row that is on disk already.
    pub(crate) fn restore(&mut self, key: K, row: V) {
        self.rows.insert(key, row);
    }

    pub(crate) fn iter(&self) -> btree_map::Iter<'_, K, V> {
        self.rows.iter()
    }

    pub(crate) fn keys(&self) -> impl DoubleEndedIterator<Item = K> + '_ {
        self.rows.keys().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    pub(crate) fn take_changed(&mut self) -> BTreeSet<K> {
        core::mem::take(&mut self.changed)
    }
}
