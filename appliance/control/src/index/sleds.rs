//! Sleds by what they are free for, and what they draw.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use messages::{BootId, CircuitId, Mac, Millis, PoolId, SledId};

use super::{count_down, count_up};
use crate::{
    rows::{Power, Sled},
    table::Index,
};

/// In the order they are taken: fewest failures in a row, then the one whose
/// last boot is longest ago.
pub(crate) type Free = (u32, Option<BootId>, SledId);

/// Derived from the sleds.
#[derive(Clone, Debug, Default)]
pub(crate) struct SledIndex {
    pub(crate) names: BTreeMap<Arc<str>, SledId>,
    macs: BTreeSet<(Mac, SledId)>,
    /// Off and in service, by pool and circuit.
    free: BTreeMap<(PoolId, Option<CircuitId>), BTreeSet<Free>>,
    /// How many are free for a pool.
    free_for: BTreeMap<PoolId, usize>,
    /// How many serve a pool, free or not.
    in_service: BTreeMap<PoolId, usize>,
    /// Since when each sled is off.
    pub(crate) off_since: BTreeSet<(Millis, SledId)>,
    /// Watts of the sleds that are not proved off.
    drawn: BTreeMap<CircuitId, u64>,
    /// Left the inventory.
    pub(crate) retired: BTreeSet<SledId>,
    /// Pools whose free sleds changed.
    pub(crate) dirty: BTreeSet<PoolId>,
}

impl SledIndex {
    pub(crate) fn by_mac(&self, mac: Mac) -> Option<SledId> {
        self.macs
            .range((mac, SledId(0))..=(mac, SledId(u32::MAX)))
            .next_back()
            .map(|(_, id)| *id)
    }

    /// The free sleds of a pool, in order within each circuit.
    pub(crate) fn free_by_circuit(
        &self,
        pool: PoolId,
    ) -> impl Iterator<Item = (Option<CircuitId>, &BTreeSet<Free>)> {
        self.free
            .range((pool, None)..=(pool, Some(CircuitId(u16::MAX))))
            .map(|((_, circuit), free)| (*circuit, free))
    }

    pub(crate) fn free_count(&self, pool: PoolId) -> usize {
        self.free_for.get(&pool).copied().unwrap_or(0)
    }

    pub(crate) fn in_service_count(&self, pool: PoolId) -> usize {
        self.in_service.get(&pool).copied().unwrap_or(0)
    }

    /// Watts that a circuit may be giving now.
    pub(crate) fn drawn(&self, circuit: CircuitId) -> u64 {
        self.drawn.get(&circuit).copied().unwrap_or(0)
    }
}

/// What the index wants to know of a sled.
#[derive(PartialEq)]
pub(crate) struct SledEntry {
    name: Arc<str>,
    mac: Mac,
    pools: Arc<[PoolId]>,
    circuit: Option<CircuitId>,
    watts: u32,
    retired: bool,
    in_service: bool,
    /// Since when it is off; otherwise it may draw current.
    off_since: Option<Millis>,
    failures: u32,
    last_boot: Option<BootId>,
}

impl SledEntry {
    const fn free(&self, id: SledId) -> Option<Free> {
        if self.in_service && self.off_since.is_some() {
            Some((self.failures, self.last_boot, id))
        } else {
            None
        }
    }

    fn draws(&self) -> Option<(CircuitId, u64)> {
        let circuit = self.circuit.filter(|_| self.off_since.is_none())?;
        Some((circuit, u64::from(self.watts)))
    }
}

impl SledIndex {
    fn put_free(&mut self, id: SledId, sled: &SledEntry) {
        let Some(free) = sled.free(id) else { return };
        for pool in sled.pools.iter() {
            let set = self.free.entry((*pool, sled.circuit)).or_default();
            set.insert(free);
            count_up(&mut self.free_for, *pool);
        }
    }

    fn take_free(&mut self, id: SledId, sled: &SledEntry) {
        let Some(free) = sled.free(id) else { return };
        for pool in sled.pools.iter() {
            let key = (*pool, sled.circuit);
            if let Some(set) = self.free.get_mut(&key) {
                set.remove(&free);
                if set.is_empty() {
                    self.free.remove(&key);
                }
            }
            count_down(&mut self.free_for, pool);
        }
    }

    /// Whether it is off, and what it draws otherwise.
    fn put_power(&mut self, id: SledId, sled: &SledEntry) {
        if let Some(since) = sled.off_since {
            self.off_since.insert((since, id));
        }
        if let Some((circuit, watts)) = sled.draws() {
            *self.drawn.entry(circuit).or_insert(0) += watts;
        }
    }

    fn take_power(&mut self, id: SledId, sled: &SledEntry) {
        if let Some(since) = sled.off_since {
            self.off_since.remove(&(since, id));
        }
        if let Some((circuit, watts)) = sled.draws()
            && let Some(drawn) = self.drawn.get_mut(&circuit)
        {
            *drawn -= watts;
        }
    }

    /// What follows from the rows, without what it noted on the way.
    pub(crate) fn derived(&self) -> Self {
        let mut derived = self.clone();
        derived.dirty.clear();
        derived.drawn.retain(|_, watts| *watts > 0);
        derived
    }
}

impl Index<SledId, Sled> for SledIndex {
    type Entry = SledEntry;

    fn entry(sled: &Sled) -> SledEntry {
        SledEntry {
            name: Arc::clone(&sled.name),
            mac: sled.mac,
            pools: Arc::clone(&sled.pools),
            circuit: sled.circuit,
            watts: sled.watts,
            retired: sled.retired,
            in_service: sled.is_in_service(),
            off_since: match sled.power {
                Power::Off { since } => Some(since),
                Power::Unknown { .. } | Power::Claimed { .. } => None,
            },
            failures: sled.failures,
            last_boot: sled.last_boot,
        }
    }

    fn add(&mut self, id: SledId, sled: SledEntry) {
        self.macs.insert((sled.mac, id));
        if sled.retired {
            self.retired.insert(id);
        }
        for pool in sled.pools.iter() {
            self.dirty.insert(*pool);
            if sled.in_service {
                count_up(&mut self.in_service, *pool);
            }
        }
        self.put_free(id, &sled);
        self.put_power(id, &sled);
        self.names.insert(sled.name, id);
    }

    fn remove(&mut self, id: SledId, sled: SledEntry) {
        self.names.remove(&sled.name);
        self.macs.remove(&(sled.mac, id));
        self.retired.remove(&id);
        for pool in sled.pools.iter() {
            self.dirty.insert(*pool);
            if sled.in_service {
                count_down(&mut self.in_service, pool);
            }
        }
        self.take_free(id, &sled);
        self.take_power(id, &sled);
    }

    /// Only what differs: most changes are of power alone.
    fn change(&mut self, id: SledId, before: SledEntry, after: SledEntry) {
        let same_place = before.name == after.name
            && before.mac == after.mac
            && before.pools == after.pools
            && before.retired == after.retired
            && before.in_service == after.in_service;
        if !same_place {
            self.remove(id, before);
            self.add(id, after);
            return;
        }
        self.dirty.extend(after.pools.iter());
        self.take_free(id, &before);
        self.put_free(id, &after);
        self.take_power(id, &before);
        self.put_power(id, &after);
    }
}
