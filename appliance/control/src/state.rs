//! Everything the core knows: stored rows, and indexes derived from them.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};

use messages::{
    AgentKey, ApplianceId, BootId, DeliveryKey, Digest, EffectId, HubId, JobId, Mac, Millis,
    PoolId, SledId, TicketToken,
};
use serde::{Deserialize, Serialize};

use crate::{
    Effect, Effects, Limits,
    persist::{self, Change, Delivery, LoadError, TableId},
    rows::{Boot, BootStage, Hub, Job, JobState, Meta, Pending, Pool, Power, Sled},
    table::Table,
};

/// The state of one appliance.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) appliance: ApplianceId,
    pub(crate) limits: Limits,

    meta: Table<(), MetaRow>,
    pub(crate) hubs: Table<HubId, Hub>,
    pub(crate) pools: Table<PoolId, Pool>,
    pub(crate) sleds: Table<SledId, Sled>,
    pub(crate) jobs: Table<JobId, Job>,
    pub(crate) boots: Table<BootId, Boot>,
    /// In the order they came: random keys would dirty a page each.
    pub(crate) deliveries: Table<(Millis, DeliveryKey), Delivery>,
    pub(crate) outbox: Table<EffectId, Pending>,
    /// Receipts and signatures made since the last commit.
    pub(crate) appended: Vec<Change>,

    // Derived, rebuilt by `load`.
    pub(crate) tickets: BTreeMap<TicketToken, BootId>,
    pub(crate) macs: BTreeMap<Mac, SledId>,
    /// Waiting jobs of each pool in the order they came.
    pub(crate) queue: BTreeMap<PoolId, BTreeSet<(Millis, JobId)>>,
    pub(crate) queued: usize,
    pub(crate) delivery_keys: BTreeSet<DeliveryKey>,
    pub(crate) ended_jobs: BTreeSet<(Millis, JobId)>,
    pub(crate) ended_boots: BTreeSet<BootId>,

    // Volatile: starts empty after a restart.
    /// When each sled's power is read next.
    pub(crate) checks: BTreeMap<SledId, Millis>,
    /// When each boot's agent last spoke.
    pub(crate) heard: BTreeMap<BootId, Millis>,
    /// When it was last noted that a sled asked to boot in vain.
    pub(crate) held: BTreeMap<SledId, Millis>,
    /// Something changed that may let the scheduler act.
    pub(crate) schedule_due: bool,
}

/// The meta row also names its appliance, so that a copied state directory
/// is noticed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MetaRow {
    pub(crate) appliance: ApplianceId,
    pub(crate) meta: Meta,
}

impl State {
    /// An appliance that never ran before.
    #[must_use]
    pub fn new(appliance: ApplianceId, limits: Limits) -> Self {
        let mut state = Self::empty(appliance, limits);
        let meta = Meta {
            next_boot: BootId(1),
            next_effect: 1,
            next_hub: 1,
            next_pool: 1,
            next_sled: 1,
            receipts: 0,
            last_receipt: Digest([0; 32]),
        };
        state.meta.insert((), MetaRow { appliance, meta });
        state
    }

    fn empty(appliance: ApplianceId, limits: Limits) -> Self {
        Self {
            appliance,
            limits,
            meta: Table::new(),
            hubs: Table::new(),
            pools: Table::new(),
            sleds: Table::new(),
            jobs: Table::new(),
            boots: Table::new(),
            deliveries: Table::new(),
            outbox: Table::new(),
            appended: Vec::new(),
            tickets: BTreeMap::new(),
            macs: BTreeMap::new(),
            queue: BTreeMap::new(),
            queued: 0,
            delivery_keys: BTreeSet::new(),
            ended_jobs: BTreeSet::new(),
            ended_boots: BTreeSet::new(),
            checks: BTreeMap::new(),
            heard: BTreeMap::new(),
            held: BTreeMap::new(),
            schedule_due: true,
        }
    }

    /// The state that committed rows stand for; a new one when there are none.
    ///
    /// # Errors
    /// When a row is damaged or from a newer release. Nothing is guessed.
    pub fn load(
        appliance: ApplianceId,
        limits: Limits,
        rows: impl IntoIterator<Item = (TableId, Vec<u8>, Vec<u8>)>,
    ) -> Result<Self, LoadError> {
        let mut state = Self::empty(appliance, limits.clone());
        for (table, key, value) in rows {
            let (key, value) = (key.as_slice(), value.as_slice());
            match table {
                TableId::Meta => persist::restore(&mut state.meta, table, key, value)?,
                TableId::Hubs => persist::restore(&mut state.hubs, table, key, value)?,
                TableId::Pools => persist::restore(&mut state.pools, table, key, value)?,
                TableId::Sleds => persist::restore(&mut state.sleds, table, key, value)?,
                TableId::Jobs => persist::restore(&mut state.jobs, table, key, value)?,
                TableId::Boots => persist::restore(&mut state.boots, table, key, value)?,
                TableId::Deliveries => persist::restore(&mut state.deliveries, table, key, value)?,
                TableId::Outbox => persist::restore(&mut state.outbox, table, key, value)?,
                TableId::Receipts | TableId::Signatures => {}
            }
        }
        let Some(row) = state.meta.get(()) else {
            return Ok(Self::new(appliance, limits));
        };
        if row.appliance != appliance {
            return Err(LoadError::Foreign(row.appliance));
        }
        state.rebuild_indexes();
        Ok(state)
    }

    fn rebuild_indexes(&mut self) {
        self.index_macs();
        for (id, boot) in self.boots.iter() {
            self.tickets.insert(boot.ticket, *id);
            if boot.stage == BootStage::Ended {
                self.ended_boots.insert(*id);
            }
        }
        for (id, job) in self.jobs.iter() {
            match (job.state, job.pool) {
                (JobState::Queued, Some(pool)) => {
                    self.queue
                        .entry(pool)
                        .or_default()
                        .insert((job.delivered_at, *id));
                    self.queued += 1;
                }
                (JobState::Completed, _) => {
                    self.ended_jobs
                        .insert((job.completed_at.unwrap_or(job.delivered_at), *id));
                }
                (JobState::Queued | JobState::InProgress, _) => {}
            }
        }
        self.delivery_keys = self.deliveries.keys().map(|(_, key)| key).collect();
    }

    pub(crate) fn index_macs(&mut self) {
        self.macs = self
            .sleds
            .iter()
            .map(|(id, sled)| (sled.mac, *id))
            .collect();
    }

    /// Everything that changed since the last call, to be committed as one
    /// transaction before anything is answered or done.
    pub fn drain_changes(&mut self) -> Vec<Change> {
        let mut changes = core::mem::take(&mut self.appended);
        persist::drain(&mut self.meta, TableId::Meta, &mut changes);
        persist::drain(&mut self.hubs, TableId::Hubs, &mut changes);
        persist::drain(&mut self.pools, TableId::Pools, &mut changes);
        persist::drain(&mut self.sleds, TableId::Sleds, &mut changes);
        persist::drain(&mut self.jobs, TableId::Jobs, &mut changes);
        persist::drain(&mut self.boots, TableId::Boots, &mut changes);
        persist::drain(&mut self.deliveries, TableId::Deliveries, &mut changes);
        persist::drain(&mut self.outbox, TableId::Outbox, &mut changes);
        changes
    }

    /// Effects whose time has come, in order. They stay listed until their
    /// outcome is stepped: the caller knows which ones it has begun.
    pub fn due_effects(&self, now: Millis) -> impl Iterator<Item = (EffectId, &Effect)> {
        self.outbox
            .iter()
            .filter(move |(_, pending)| pending.due <= now)
            .map(|(id, pending)| (*id, &pending.effect))
    }

    /// When a [`Event::Tick`](crate::Event::Tick) or an effect is due next. It
    /// lies in the past while an effect that is due has no outcome, so a loop
    /// that waits for it uses [`State::next_wake_after`].
    #[must_use]
    pub fn next_wake(&self) -> Option<Millis> {
        self.wakes().min()
    }

    /// The first time after `last`, the time of the last tick, at which a tick
    /// or an effect is due. What was due by then was ticked and begun.
    #[must_use]
    pub fn next_wake_after(&self, last: Millis) -> Option<Millis> {
        self.wakes().filter(|at| *at > last).min()
    }

    fn wakes(&self) -> impl Iterator<Item = Millis> {
        let effects = self.outbox.iter().map(|(_, pending)| pending.due);
        let checks = self.checks.values().copied();
        let unchecked = self.sleds.keys().filter(|id| !self.checks.contains_key(id));
        let deadlines = self.active_boots().map(|(_, boot)| boot.deadline);
        let blocked = self.pools.iter().filter_map(|(_, pool)| pool.blocked_until);
        let dwell = self.sleds.iter().filter_map(|(_, sled)| match sled.power {
            Power::Off { since } => Some(since.after(self.limits.off_dwell_ms)),
            Power::Unknown { .. } | Power::Claimed { .. } => None,
        });
        let dwell = dwell.filter(|_| self.queued > 0);
        effects
            .chain(checks)
            .chain(unchecked.map(|_| Millis(1)))
            .chain(deadlines)
            .chain(blocked)
            .chain(dwell)
            .filter(|at| at.0 != u64::MAX)
    }

    /// Boots that are not ended, with their ids.
    pub(crate) fn active_boots(&self) -> impl Iterator<Item = (BootId, &Boot)> {
        self.sleds.iter().filter_map(|(_, sled)| match sled.power {
            Power::Claimed { boot } => self.boots.get(boot).map(|row| (boot, row)),
            Power::Off { .. } | Power::Unknown { .. } => None,
        })
    }

    pub(crate) fn meta(&self) -> &Meta {
        &self
            .meta
            .get(())
            .expect("the meta row exists from the start")
            .meta
    }

    pub(crate) fn meta_mut(&mut self) -> &mut Meta {
        &mut self
            .meta
            .get_mut(())
            .expect("the meta row exists from the start")
            .meta
    }

    /// Puts an effect into the outbox, due at `due`.
    pub(crate) fn push_effect(&mut self, due: Millis, effect: Effect) -> EffectId {
        let meta = self.meta_mut();
        let id = EffectId(meta.next_effect);
        meta.next_effect += 1;
        self.outbox.insert(
            id,
            Pending {
                effect,
                due,
                attempts: 0,
                again: false,
            },
        );
        id
    }

    /// Takes effects out of the outbox that are not wanted any more.
    pub(crate) fn withdraw_effects(&mut self, unwanted: impl Fn(&Effect) -> bool) -> Vec<Pending> {
        let ids: Vec<EffectId> = self
            .outbox
            .iter()
            .filter(|(_, pending)| unwanted(&pending.effect))
            .map(|(id, _)| *id)
            .collect();
        ids.into_iter()
            .filter_map(|id| self.outbox.remove(id))
            .collect()
    }

    pub(crate) fn hub_by_name(&self, name: &str) -> Option<HubId> {
        self.hubs
            .iter()
            .find(|(_, hub)| hub.name == name)
            .map(|(id, _)| *id)
    }

    pub(crate) fn pool_by_name(&self, name: &str) -> Option<PoolId> {
        self.pools
            .iter()
            .find(|(_, pool)| pool.name == name && !pool.retired)
            .map(|(id, _)| *id)
    }

    pub(crate) fn sled_by_name(&self, name: &str) -> Option<SledId> {
        self.sleds
            .iter()
            .find(|(_, sled)| sled.name == name)
            .map(|(id, _)| *id)
    }

    /// Drops pools and sleds that left the inventory and that nothing needs.
    pub(crate) fn forget_retired(&mut self) {
        let sleds: Vec<SledId> = self
            .sleds
            .iter()
            .filter(|(_, sled)| sled.retired && !matches!(sled.power, Power::Claimed { .. }))
            .map(|(id, _)| *id)
            .collect();
        for id in sleds {
            self.sleds.remove(id);
            self.checks.remove(&id);
            self.held.remove(&id);
        }
        self.index_macs();
        let named: BTreeSet<PoolId> = self.boots.iter().map(|(_, boot)| boot.pool).collect();
        let pools: Vec<PoolId> = self
            .pools
            .iter()
            .filter(|(id, pool)| pool.retired && !named.contains(id))
            .map(|(id, _)| *id)
            .collect();
        for id in pools {
            self.pools.remove(id);
        }
    }

    /// Records `name` in the audit log.
    pub(crate) fn audit(
        &self,
        fx: &mut Effects,
        name: &'static str,
        boot: Option<BootId>,
        detail: String,
    ) {
        let row = boot.and_then(|id| self.boots.get(id));
        let sled = row
            .and_then(|boot| self.sleds.get(boot.sled))
            .map(|sled| sled.name.clone());
        let job = row.and_then(|boot| boot.job.or(boot.for_job));
        fx.audit.push(crate::Audit {
            name,
            sled,
            boot,
            job,
            detail,
        });
    }

    /// The name of a configured App.
    #[must_use]
    pub fn hub_name(&self, id: HubId) -> Option<&str> {
        self.hubs.get(id).map(|hub| hub.name.as_str())
    }

    /// The number of a configured App.
    #[must_use]
    pub fn hub_id(&self, name: &str) -> Option<HubId> {
        self.hub_by_name(name)
    }

    /// The number of a sled.
    #[must_use]
    pub fn sled_id(&self, name: &str) -> Option<SledId> {
        self.sled_by_name(name)
    }

    /// The name of a sled.
    #[must_use]
    pub fn sled_name(&self, id: SledId) -> Option<&str> {
        self.sleds.get(id).map(|sled| sled.name.as_str())
    }

    /// The newest claim of a sled. Drivers refuse effects of older ones.
    #[must_use]
    pub fn generation(&self, id: SledId) -> Option<messages::Generation> {
        self.sleds.get(id).map(|sled| sled.generation)
    }

    /// The network card of the sled that a boot ticket was made for.
    #[must_use]
    pub fn ticket_mac(&self, ticket: TicketToken) -> Option<Mac> {
        let boot = self.boots.get(*self.tickets.get(&ticket)?)?;
        self.sleds.get(boot.sled).map(|sled| sled.mac)
    }

    /// Whether this key redeemed this boot ticket.
    #[must_use]
    pub fn redeemed_by(&self, ticket: TicketToken, key: AgentKey) -> bool {
        let boot = self.tickets.get(&ticket).and_then(|id| self.boots.get(*id));
        boot.is_some_and(|boot| boot.key == Some(key))
    }

    /// Whether an effect still waits for its outcome.
    #[must_use]
    pub fn is_pending(&self, id: EffectId) -> bool {
        self.outbox.get(id).is_some()
    }

    /// The firmware that a sled's agent reported last.
    #[must_use]
    pub fn firmware(&self, id: SledId) -> Option<messages::Firmware> {
        let newest = self.boots.iter().rev().filter(|(_, boot)| boot.sled == id);
        newest
            .filter_map(|(_, boot)| boot.inventory.as_ref())
            .map(|seen| seen.firmware)
            .next()
    }

    /// Sleds and boots for invariant checks in simulation.
    pub fn sleds(&self) -> impl Iterator<Item = (SledId, &Sled)> {
        self.sleds.iter().map(|(id, sled)| (*id, sled))
    }

    /// Boots kept, oldest first.
    pub fn boots(&self) -> impl Iterator<Item = (BootId, &Boot)> {
        self.boots.iter().map(|(id, boot)| (*id, boot))
    }

    /// Jobs kept.
    pub fn jobs(&self) -> impl Iterator<Item = (JobId, &Job)> {
        self.jobs.iter().map(|(id, job)| (*id, job))
    }

    /// A boot.
    #[must_use]
    pub fn boot(&self, id: BootId) -> Option<&Boot> {
        self.boots.get(id)
    }

    /// How many receipts there are, and the chain hash of the last.
    #[must_use]
    pub fn receipt_head(&self) -> (u64, Digest) {
        (self.meta().receipts, self.meta().last_receipt)
    }
}
