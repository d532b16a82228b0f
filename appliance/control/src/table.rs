//! A map that remembers which rows changed since the last commit, and keeps an
//! index of them that can never be forgotten: it follows every change.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
};
use core::ops::{Deref, DerefMut};

/// What is derived from a table's rows. Each row has an entry; when that
/// changes it is taken out and the new one put in, so an index is a function of
/// the rows alone.
pub(crate) trait Index<K: Copy, V> {
    /// What the index wants to know of a row.
    type Entry: PartialEq;
    /// The entry of a row.
    fn entry(row: &V) -> Self::Entry;
    /// Puts an entry in.
    fn add(&mut self, key: K, entry: Self::Entry);
    /// Takes an entry out that was put in just like this.
    fn remove(&mut self, key: K, entry: Self::Entry);
    /// A row changed, and its entry with it.
    fn change(&mut self, key: K, before: Self::Entry, after: Self::Entry) {
        self.remove(key, before);
        self.add(key, after);
    }
}

/// A table that is only ever asked by key.
impl<K: Copy, V> Index<K, V> for () {
    type Entry = ();
    fn entry(_row: &V) {}
    fn add(&mut self, _key: K, _entry: ()) {}
    fn remove(&mut self, _key: K, _entry: ()) {}
}

/// Rows by key, with the keys changed since [`Table::take_changed`].
#[derive(Clone, Debug)]
pub(crate) struct Table<K, V, X = ()> {
    rows: BTreeMap<K, Box<V>>,
    changed: BTreeSet<K>,
    index: X,
}

impl<K: Ord + Copy, V, X: Index<K, V>> Table<K, V, X> {
    pub(crate) fn new() -> Self
    where
        X: Default,
    {
        Self {
            rows: BTreeMap::new(),
            changed: BTreeSet::new(),
            index: X::default(),
        }
    }

    pub(crate) fn get(&self, key: K) -> Option<&V> {
        self.rows.get(&key).map(Box::as_ref)
    }

    /// The row, marked as changed: call it only to change the row.
    pub(crate) fn get_mut(&mut self, key: K) -> Option<RowMut<'_, K, V, X>> {
        if self.rows.contains_key(&key) {
            self.changed.insert(key);
        }
        self.derived_mut(key)
    }

    /// The row, for a change of fields that are not stored.
    pub(crate) fn derived_mut(&mut self, key: K) -> Option<RowMut<'_, K, V, X>> {
        let row = self.rows.get_mut(&key)?;
        Some(RowMut {
            key,
            before: Some(X::entry(row)),
            row,
            index: &mut self.index,
        })
    }

    pub(crate) fn insert(&mut self, key: K, row: V) {
        self.changed.insert(key);
        self.restore(key, row);
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        let row = self.rows.remove(&key)?;
        self.index.remove(key, X::entry(&row));
        self.changed.insert(key);
        Some(*row)
    }

    /// Puts back a row that is on disk already.
    pub(crate) fn restore(&mut self, key: K, row: V) {
        if let Some(before) = self.rows.remove(&key) {
            self.index.remove(key, X::entry(&before));
        }
        self.index.add(key, X::entry(&row));
        self.rows.insert(key, Box::new(row));
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (K, &V)> {
        self.rows.iter().map(|(key, row)| (*key, row.as_ref()))
    }

    pub(crate) fn keys(&self) -> impl DoubleEndedIterator<Item = K> + '_ {
        self.rows.keys().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// What is derived from the rows.
    pub(crate) const fn index(&self) -> &X {
        &self.index
    }

    /// The same, to take out what it noted.
    pub(crate) const fn index_mut(&mut self) -> &mut X {
        &mut self.index
    }

    /// The index that follows from the rows as they are.
    pub(crate) fn index_anew(&self) -> X
    where
        X: Default,
    {
        let mut index = X::default();
        for (key, row) in &self.rows {
            index.add(*key, X::entry(row));
        }
        index
    }

    pub(crate) fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    pub(crate) fn take_changed(&mut self) -> BTreeSet<K> {
        core::mem::take(&mut self.changed)
    }
}

/// A row being changed. The index learns of it when this is dropped.
pub(crate) struct RowMut<'a, K: Copy, V, X: Index<K, V>> {
    key: K,
    before: Option<X::Entry>,
    row: &'a mut V,
    index: &'a mut X,
}

impl<K: Copy, V, X: Index<K, V>> Deref for RowMut<'_, K, V, X> {
    type Target = V;
    fn deref(&self) -> &V {
        self.row
    }
}

impl<K: Copy, V, X: Index<K, V>> DerefMut for RowMut<'_, K, V, X> {
    fn deref_mut(&mut self) -> &mut V {
        self.row
    }
}

impl<K: Copy, V, X: Index<K, V>> Drop for RowMut<'_, K, V, X> {
    fn drop(&mut self) {
        let after = X::entry(self.row);
        if let Some(before) = self.before.take().filter(|before| *before != after) {
            self.index.change(self.key, before, after);
        }
    }
}
