//! What is derived from the rows, so that no decision has to look at all of
//! them. Each index follows its own table (see [`crate::table`]); it knows no
//! other, no time and no policy.

pub(crate) mod boots;
pub(crate) mod jobs;
pub(crate) mod outbox;
pub(crate) mod sleds;

use alloc::collections::{BTreeMap, BTreeSet};

/// Lets `set` hold `key`, or not.
fn toggle<K: Ord>(set: &mut BTreeSet<K>, key: K, holds: bool) {
    if holds {
        set.insert(key);
    } else {
        set.remove(&key);
    }
}

/// One more of `key`.
fn count_up<K: Ord>(counts: &mut BTreeMap<K, usize>, key: K) {
    *counts.entry(key).or_insert(0) += 1;
}

/// One fewer of `key`; a count of none is not kept.
fn count_down<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
