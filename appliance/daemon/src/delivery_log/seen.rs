//! Deliveries that need not be read from the log any more: answered when they
//! were sent, or taken since. Forgetting one costs a request; the core knows
//! duplicates by itself.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Mutex, PoisonError},
};

use messages::DeliveryKey;

/// Most that are remembered: some days of a busy organisation. 48 bytes each.
const MOST: usize = 1 << 16;

/// A bounded set, shared by the ways in of one App.
#[derive(Debug, Default)]
pub struct Seen(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    keys: BTreeSet<DeliveryKey>,
    order: VecDeque<DeliveryKey>,
}

impl Seen {
    /// Notes a delivery; the oldest one makes room.
    pub fn insert(&self, key: DeliveryKey) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !inner.keys.insert(key) {
            return;
        }
        inner.order.push_back(key);
        if inner.order.len() > MOST
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.keys.remove(&oldest);
        }
    }

    /// Whether it was noted, and not forgotten since.
    #[must_use]
    pub fn contains(&self, key: DeliveryKey) -> bool {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.keys.contains(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room() {
        let seen = Seen::default();
        let most = u128::try_from(MOST).unwrap();
        (0..=most).for_each(|number| seen.insert(DeliveryKey(number)));
        seen.insert(DeliveryKey(most));
        assert!(!seen.contains(DeliveryKey(0)));
        assert!(seen.contains(DeliveryKey(1)));
        assert!(seen.contains(DeliveryKey(most)));
    }
}
