//! Everything the core knows: stored rows, and indexes derived from them.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet, VecDeque},
    string::String,
    sync::Arc,
    vec::Vec,
};

use messages::{
    ApplianceId, BootId, CircuitId, DeliveryKey, Digest, EffectId, HubId, JobId, Millis, PoolId,
    SledId,
};
use serde::{Deserialize, Serialize};

use crate::{
    Acceptance, BmcFacts, Effects, Labels, Limits, acceptance,
    by_hand::Awaited,
    energy::Meter,
    index::{boots::BootIndex, jobs::JobIndex, outbox::OutboxIndex, sleds::SledIndex},
    interner::Interner,
    outage::Outage,
    persist::{self, Change, Delivery, LoadError, Row, TableId},
    reruns::Lost,
    rows::{Boot, Circuit, Hub, Job, Meta, Pending, Pool, Power, Sled},
    table::{Index, Table},
};

mod lookup;
mod outbox;

/// The state of one appliance.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) appliance: ApplianceId,
    pub(crate) limits: Limits,

    meta: Table<(), MetaRow>,
    pub(crate) hubs: Table<HubId, Hub>,
    pub(crate) pools: Table<PoolId, Pool>,
    pub(crate) circuits: Table<CircuitId, Circuit>,
    pub(crate) sleds: Table<SledId, Sled, SledIndex>,
    pub(crate) jobs: Table<JobId, Job, JobIndex>,
    pub(crate) boots: Table<BootId, Boot, BootIndex>,
    /// In the order they came: random keys would dirty a page each.
    pub(crate) deliveries: Table<(Millis, DeliveryKey), Delivery, DeliveryKeys>,
    pub(crate) outbox: Table<EffectId, Pending, OutboxIndex>,
    /// What sleds' controllers are set to, as adopted.
    pub(crate) facts: Table<SledId, BmcFacts>,
    /// What sleds owe before they are in service.
    pub(crate) acceptances: Table<SledId, Acceptance>,
    /// Receipts and signatures made since the last commit.
    pub(crate) appended: Vec<Change>,
    pub(crate) texts: Interner,

    // Volatile: starts anew after a restart.
    /// When each sled's power is read next.
    pub(crate) checks: Checks,
    /// When each boot's agent last spoke.
    pub(crate) heard: BTreeMap<BootId, Millis>,
    /// How often in a row the sled of a boot read as off while its agent should
    /// be there.
    pub(crate) read_off: BTreeMap<BootId, u32>,
    /// When the appliance started.
    pub(crate) started: Millis,
    /// When silent agents were last looked for.
    pub(crate) listened: Millis,
    /// When it was last noted that a sled asked to boot in vain.
    pub(crate) held: BTreeMap<SledId, Millis>,
    /// When each circuit last started a sled.
    pub(crate) last_start: BTreeMap<CircuitId, Millis>,
    /// When the last jobs came, in pools that keep sleds warm after demand.
    pub(crate) arrivals: BTreeMap<PoolId, VecDeque<Millis>>,
    /// How long boots of each pool held their sleds of late, in milliseconds.
    pub(crate) busy_ms: BTreeMap<PoolId, u64>,
    /// Which pool serves what, as long as the inventory stays the same.
    pub(crate) matches: BTreeMap<(HubId, Labels), BTreeMap<Box<str>, Option<PoolId>>>,
    /// Failures that sleds share.
    pub(crate) outage: Outage,
    /// Jobs that fit no pool, and why.
    pub(crate) unmatched: VecDeque<(JobId, String)>,
    /// Workflow runs that ended, how, and that no dispatch is known to have led
    /// to; the newest first.
    pub(crate) ended_runs: VecDeque<(HubId, u64, Box<str>)>,
    /// Pools to look at for another reason than their rows.
    pub(crate) due_pools: BTreeSet<PoolId>,
    /// A minting may be possible that was not.
    pub(crate) mint_due: bool,
    /// When the runner of each boot started, of those that did since we did.
    pub(crate) began: BTreeMap<BootId, Millis>,
    /// Boots that may have failed their jobs.
    pub(crate) lost: BTreeMap<BootId, Lost>,
    /// When the settings of each sled's controller are read next.
    pub(crate) facts_due: Checks,
    /// Sleds whose settings were asked for, and not told yet.
    pub(crate) unread: BTreeSet<SledId>,
    /// What boots drew so far.
    pub(crate) meters: BTreeMap<BootId, Meter>,
    /// Sleds that people turned off, until they read as off.
    pub(crate) by_hand: BTreeMap<SledId, Awaited>,
    /// When receipts that may leave were last looked for.
    pub(crate) retained: Option<Millis>,
}

/// When each sled's power is read next.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checks {
    times: BTreeMap<SledId, Millis>,
    order: BTreeSet<(Millis, SledId)>,
}

impl Checks {
    pub(crate) fn insert(&mut self, sled: SledId, at: Millis) {
        self.remove(&sled);
        self.times.insert(sled, at);
        self.order.insert((at, sled));
    }

    pub(crate) fn all_at(at: Millis, sleds: impl Iterator<Item = SledId>) -> Self {
        let mut checks = Self::default();
        sleds.for_each(|sled| checks.insert(sled, at));
        checks
    }

    pub(crate) fn remove(&mut self, sled: &SledId) {
        if let Some(at) = self.times.remove(sled) {
            self.order.remove(&(at, *sled));
        }
    }

    pub(crate) fn due(&self, now: Millis) -> impl Iterator<Item = SledId> {
        self.order
            .range(..=(now, SledId(u32::MAX)))
            .map(|(_, sled)| *sled)
    }
}

/// Delivery ids, whenever they came.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeliveryKeys(BTreeSet<DeliveryKey>);

impl DeliveryKeys {
    pub(crate) fn contains(&self, key: DeliveryKey) -> bool {
        self.0.contains(&key)
    }
}

impl Index<(Millis, DeliveryKey), Delivery> for DeliveryKeys {
    type Entry = ();

    fn entry(_row: &Delivery) {}

    fn add(&mut self, (_, key): (Millis, DeliveryKey), _entry: ()) {
        self.0.insert(key);
    }

    fn remove(&mut self, (_, key): (Millis, DeliveryKey), _entry: ()) {
        self.0.remove(&key);
    }
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
            next_circuit: 1,
            first_receipt: 1,
            exported: 0,
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
            circuits: Table::new(),
            sleds: Table::new(),
            jobs: Table::new(),
            boots: Table::new(),
            deliveries: Table::new(),
            outbox: Table::new(),
            facts: Table::new(),
            acceptances: Table::new(),
            appended: Vec::new(),
            texts: Interner::default(),
            checks: Checks::default(),
            heard: BTreeMap::new(),
            read_off: BTreeMap::new(),
            started: Millis(0),
            listened: Millis(0),
            held: BTreeMap::new(),
            last_start: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            busy_ms: BTreeMap::new(),
            matches: BTreeMap::new(),
            outage: Outage::default(),
            unmatched: VecDeque::new(),
            ended_runs: VecDeque::new(),
            due_pools: BTreeSet::new(),
            mint_due: true,
            meters: BTreeMap::new(),
            by_hand: BTreeMap::new(),
            facts_due: Checks::default(),
            unread: BTreeSet::new(),
            began: BTreeMap::new(),
            lost: BTreeMap::new(),
            retained: None,
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
                TableId::Meta => restore(&mut state.meta, table, key, value)?,
                TableId::Hubs => restore(&mut state.hubs, table, key, value)?,
                TableId::Pools => restore(&mut state.pools, table, key, value)?,
                TableId::Circuits => restore(&mut state.circuits, table, key, value)?,
                TableId::Sleds => restore(&mut state.sleds, table, key, value)?,
                TableId::Jobs => state.restore_job(table, key, value)?,
                TableId::Boots => restore(&mut state.boots, table, key, value)?,
                TableId::Deliveries => restore(&mut state.deliveries, table, key, value)?,
                TableId::Outbox => restore(&mut state.outbox, table, key, value)?,
                TableId::Facts => restore(&mut state.facts, table, key, value)?,
                TableId::Acceptances => restore(&mut state.acceptances, table, key, value)?,
                TableId::Receipts | TableId::Signatures => {}
            }
        }
        let Some(row) = state.meta.get(()) else {
            return Ok(Self::new(appliance, limits));
        };
        if row.appliance != appliance {
            return Err(LoadError::Foreign(row.appliance));
        }
        state.derive();
        Ok(state)
    }

    /// The same rows, with what `before` knew besides them: for a state that is
    /// loaded again while the appliance runs, because a commit failed. What was
    /// heard and seen stays true whatever could be stored.
    #[must_use]
    pub fn remembering(self, before: &Self) -> Self {
        Self {
            heard: before.heard.clone(),
            read_off: before.read_off.clone(),
            started: before.started,
            listened: before.listened,
            held: before.held.clone(),
            last_start: before.last_start.clone(),
            arrivals: before.arrivals.clone(),
            busy_ms: before.busy_ms.clone(),
            unmatched: before.unmatched.clone(),
            ended_runs: before.ended_runs.clone(),
            outage: before.outage.clone(),
            began: before.began.clone(),
            lost: before.lost.clone(),
            meters: before.meters.clone(),
            by_hand: before.by_hand.clone(),
            // What was found wrong may be what could not be stored.
            facts_due: Checks::all_at(Millis(0), self.sleds.keys()),
            unread: self.sleds.keys().collect(),
            retained: before.retained,
            ..self
        }
    }

    fn restore_job(&mut self, table: TableId, key: &[u8], value: &[u8]) -> Result<(), LoadError> {
        let (id, job) = persist::read(table, key, value)?;
        let job = self.share_texts(job);
        self.jobs.restore(id, job);
        Ok(())
    }

    /// Lets a job's texts share the memory of equal ones.
    pub(crate) fn share_texts(&mut self, job: Job) -> Job {
        Job {
            repository: self.texts.share(job.repository),
            name: self.texts.share(job.name),
            workflow: self.texts.share(job.workflow),
            labels: job.labels.shared(&mut self.texts),
            ..job
        }
    }

    /// Fills in what rows of one table take from another.
    fn derive(&mut self) {
        acceptance::derive(self);
        let sleds: Vec<SledId> = self.sleds.keys().collect();
        for id in sleds {
            self.checks.insert(id, Millis(1));
        }
        let active: Vec<BootId> = self.boots.index().active.iter().copied().collect();
        for id in active {
            let Some(boot) = self.boots.get(id) else {
                continue;
            };
            let serves = boot.is_supply() || boot.may_have_run();
            let serves = boot.for_job.filter(|_| serves);
            let circuit = self.sleds.get(boot.sled).and_then(|sled| sled.circuit);
            let job = boot.job.or(boot.for_job);
            let repository = job
                .and_then(|job| self.jobs.get(job))
                .map(|job| Arc::clone(&job.repository));
            let under_way = boot.is_under_way();
            if under_way && let Some(mut boot) = self.boots.derived_mut(id) {
                boot.circuit = circuit;
                boot.repository = repository;
            }
            if let Some(mut job) = serves.and_then(|job| self.jobs.derived_mut(job)) {
                job.serving = Some(id);
            }
        }
    }

    /// Everything that changed since the last call, to be committed as one
    /// transaction before anything is answered or done.
    pub fn drain_changes(&mut self) -> Vec<Change> {
        let mut changes = core::mem::take(&mut self.appended);
        persist::drain(&mut self.meta, TableId::Meta, &mut changes);
        persist::drain(&mut self.hubs, TableId::Hubs, &mut changes);
        persist::drain(&mut self.pools, TableId::Pools, &mut changes);
        persist::drain(&mut self.circuits, TableId::Circuits, &mut changes);
        persist::drain(&mut self.sleds, TableId::Sleds, &mut changes);
        persist::drain(&mut self.jobs, TableId::Jobs, &mut changes);
        persist::drain(&mut self.boots, TableId::Boots, &mut changes);
        persist::drain(&mut self.deliveries, TableId::Deliveries, &mut changes);
        persist::drain(&mut self.outbox, TableId::Outbox, &mut changes);
        persist::drain(&mut self.facts, TableId::Facts, &mut changes);
        persist::drain(&mut self.acceptances, TableId::Acceptances, &mut changes);
        changes
    }

    /// Boots that are not ended, with their ids.
    pub(crate) fn active_boots(&self) -> impl Iterator<Item = (BootId, &Boot)> {
        let active = &self.boots.index().active;
        active
            .iter()
            .filter_map(|id| self.boots.get(*id).map(|row| (*id, row)))
    }

    pub(crate) fn meta(&self) -> &Meta {
        &self
            .meta
            .get(())
            .expect("the meta row exists from the start")
            .meta
    }

    /// Changes the counters.
    pub(crate) fn count<T>(&mut self, change: impl FnOnce(&mut Meta) -> T) -> T {
        let mut row = self
            .meta
            .get_mut(())
            .expect("the meta row exists from the start");
        change(&mut row.meta)
    }

    /// Drops pools and sleds that left the inventory and that nothing needs.
    pub(crate) fn forget_retired(&mut self) {
        let retired = self.sleds.index().retired.iter().copied();
        let sleds: Vec<SledId> = retired
            .filter(|id| {
                let sled = self.sleds.get(*id);
                sled.is_some_and(|sled| !matches!(sled.power, Power::Claimed { .. }))
            })
            .collect();
        for id in sleds {
            self.sleds.remove(id);
            self.checks.remove(&id);
            self.held.remove(&id);
            self.by_hand.remove(&id);
            self.facts.remove(id);
            self.acceptances.remove(id);
            self.facts_due.remove(&id);
            self.unread.remove(&id);
        }
        let retired = |pool: &Pool| pool.retired;
        if !self.pools.iter().any(|(_, pool)| retired(pool)) {
            return;
        }
        let named: BTreeSet<PoolId> = self.boots.iter().map(|(_, boot)| boot.pool).collect();
        let pools: Vec<PoolId> = self
            .pools
            .iter()
            .filter(|(id, pool)| retired(pool) && !named.contains(id))
            .map(|(id, _)| id)
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
            .map(|sled| sled.name.as_ref().into());
        let job = row.and_then(|boot| boot.job.or(boot.for_job));
        fx.audit.push(crate::Audit {
            name,
            sled,
            boot,
            job,
            detail,
        });
    }

    /// Records `name` in the audit log, about a sled without its boot.
    pub(crate) fn audit_sled(
        &self,
        fx: &mut Effects,
        name: &'static str,
        id: SledId,
        detail: String,
    ) {
        fx.audit.push(crate::Audit {
            name,
            sled: self.sled_name(id).map(Into::into),
            boot: None,
            job: None,
            detail,
        });
    }
}

fn restore<K: persist::Key, V: Row, X: Index<K, V>>(
    table: &mut Table<K, V, X>,
    id: TableId,
    key: &[u8],
    value: &[u8],
) -> Result<(), LoadError> {
    let (key, row) = persist::read(id, key, value)?;
    table.restore(key, row);
    Ok(())
}
