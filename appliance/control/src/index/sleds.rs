//! Sleds by what they are free for, and what they draw.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
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
    pub(crate) names: BTreeMap<String, SledId>,
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

fn is_free(sled: &Sled) -> bool {
    matches!(sled.power, Power::Off { .. }) && sled.is_in_service()
}

impl Index<SledId, Sled> for SledIndex {
    fn add(&mut self, id: SledId, sled: &Sled) {
        self.names.insert(sled.name.clone(), id);
        self.macs.insert((sled.mac, id));
        if sled.retired {
            self.retired.insert(id);
        }
        for pool in &sled.pools {
            self.dirty.insert(*pool);
            if sled.is_in_service() {
                count_up(&mut self.in_service, *pool);
            }
            if is_free(sled) {
                let free = (sled.failures, sled.last_boot, id);
                let set = self.free.entry((*pool, sled.circuit)).or_default();
                set.insert(free);
                count_up(&mut self.free_for, *pool);
            }
        }
        match (&sled.power, sled.circuit) {
            (Power::Off { since }, _) => {
                self.off_since.insert((*since, id));
            }
            (Power::Unknown { .. } | Power::Claimed { .. }, Some(circuit)) => {
                *self.drawn.entry(circuit).or_insert(0) += u64::from(sled.watts);
            }
            (Power::Unknown { .. } | Power::Claimed { .. }, None) => {}
        }
    }

    fn remove(&mut self, id: SledId, sled: &Sled) {
        self.names.remove(&sled.name);
        self.macs.remove(&(sled.mac, id));
        self.retired.remove(&id);
        for pool in &sled.pools {
            self.dirty.insert(*pool);
            if sled.is_in_service() {
                count_down(&mut self.in_service, pool);
            }
            if is_free(sled) {
                let key = (*pool, sled.circuit);
                if let Some(set) = self.free.get_mut(&key) {
                    set.remove(&(sled.failures, sled.last_boot, id));
                    if set.is_empty() {
                        self.free.remove(&key);
                    }
                }
                count_down(&mut self.free_for, pool);
            }
        }
        match (&sled.power, sled.circuit) {
            (Power::Off { since }, _) => {
                self.off_since.remove(&(*since, id));
            }
            (Power::Unknown { .. } | Power::Claimed { .. }, Some(circuit)) => {
                if let Some(watts) = self.drawn.get_mut(&circuit) {
                    *watts -= u64::from(sled.watts);
                }
            }
            (Power::Unknown { .. } | Power::Claimed { .. }, None) => {}
        }
    }
}
