//! Invariants over committed states. What must hold of the world at the very
//! moment of an act is checked where the act happens, in `world`.

use std::collections::{BTreeMap, BTreeSet};

use control::{BootStage, Change, Inventory, JobState, PoolSpec, Power, State, TableId};
use messages::{
    BootId, DeliveryKey, Digest, Generation, HubId, JobId, Millis, ReceiptRecord, SignedReceipt,
    SledId, decode,
};

use crate::{
    engine::Engine,
    github::{Github, Progress},
    machine::{Machine, index_of},
};

mod disk;
mod sharing;

pub(crate) use disk::{chain_on_disk, round_trip};
use sharing::Sharing;

/// A broken invariant: its name and what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Name, as in the crate's description.
    pub invariant: &'static str,
    /// What was seen.
    pub detail: String,
}

/// A violation.
pub(crate) fn broken(invariant: &'static str, detail: impl Into<String>) -> Violation {
    Violation {
        invariant,
        detail: detail.into(),
    }
}

/// What the checks remember from commit to commit.
#[derive(Debug)]
pub(crate) struct Checks {
    commits: u64,
    /// Everything is compared with the disk once in so many commits.
    whole_each: u64,
    /// How far each job was, and when it came: one that left may come anew.
    jobs: BTreeMap<JobId, (Millis, JobState)>,
    /// Numbers of jobs whose rows were removed.
    left: BTreeSet<u64>,
    ended: BTreeSet<BootId>,
    /// The newest boot of each sled, and the generation of its claim.
    generations: BTreeMap<SledId, (BootId, Generation)>,
    /// Whose power-off was given up once: a sled that nobody could use.
    given_up: BTreeSet<BootId>,
    /// Boots whose agents are listened to.
    heard: BTreeSet<BootId>,
    last_receipt: (u64, Digest),
    applied: BTreeMap<DeliveryKey, u32>,
    sharing: Sharing,
}

/// A reading comes at most this long after it was taken, in milliseconds.
const LATE_MS: u64 = 2 * 60_000;

/// An agent that spoke this recently, heard or not, outweighs its BMC, in
/// milliseconds: the core waits longer than that, because words get lost.
const SILENCE_MS: u64 = 60_000;

/// Jobs up to which each commit looks at all of them.
const FEW_JOBS: usize = 200;

type Checked = Result<(), Violation>;

impl Checks {
    /// For a world of this size.
    pub(crate) fn new(sleds: u64) -> Self {
        Self {
            commits: 0,
            whole_each: 64 + 4 * sleds,
            jobs: BTreeMap::new(),
            left: BTreeSet::new(),
            ended: BTreeSet::new(),
            generations: BTreeMap::new(),
            given_up: BTreeSet::new(),
            heard: BTreeSet::new(),
            last_receipt: (0, Digest([0; 32])),
            applied: BTreeMap::new(),
            sharing: Sharing::default(),
        }
    }

    /// A delivery was applied, and that is on disk.
    ///
    /// # Errors
    /// `delivery-applied-once`.
    pub(crate) fn applied(&mut self, key: DeliveryKey) -> Checked {
        let count = self.applied.entry(key).or_insert(0);
        *count += 1;
        if *count > 1 {
            return Err(broken(
                "delivery-applied-once",
                format!("{key:?} was applied {count} times"),
            ));
        }
        Ok(())
    }

    /// After each commit, at the true time and what the appliance takes for it.
    ///
    /// # Errors
    /// The first invariant that is broken.
    pub(crate) fn committed(
        &mut self,
        engine: &Engine,
        changes: &[Change],
        machines: &mut [Machine],
        inventory: &Inventory,
        (now, told): (u64, Millis),
    ) -> Checked {
        let Some(state) = engine.state.as_ref() else {
            return Ok(());
        };
        self.commits += 1;
        let whole = self.commits.is_multiple_of(self.whole_each);
        let changed = |table| changes.iter().any(|row| row.table == table);
        if changed(TableId::Sleds) || changed(TableId::Boots) {
            claims(state)?;
            self.generations_rise(state)?;
            reasons(state)?;
            let given_up = state.boots().filter(|(_, boot)| boot.is_given_up());
            self.given_up.extend(given_up.map(|(id, _)| id));
            caps(state, &inventory.pools, &self.given_up)?;
            self.proved_off(state, changes, machines, now)?;
        }
        if [
            TableId::Sleds,
            TableId::Boots,
            TableId::Jobs,
            TableId::Pools,
        ]
        .into_iter()
        .any(changed)
        {
            self.sharing.committed(state, inventory, now, told)?;
        }
        // What left by its age may come again as if it were new.
        for gone in changes.iter().filter(|row| row.value.is_none()) {
            if let (TableId::Jobs, Some(job)) = (gone.table, job_of(&gone.key)) {
                self.jobs.remove(&job);
                self.left.insert(job.number);
            }
        }
        if whole || (self.jobs.len() < FEW_JOBS && changed(TableId::Jobs)) {
            self.forward_only(state)?;
        }
        self.receipts(state, changes)?;
        if whole {
            round_trip(engine, state)?;
        }
        Ok(())
    }

    /// After each start, of what was loaded.
    ///
    /// # Errors
    /// The first invariant that is broken.
    pub(crate) fn started(&mut self, state: &State, github: &Github) -> Checked {
        claims(state)?;
        self.forward_only(state)?;
        self.acknowledged(state, github)
    }

    /// `acknowledged-is-kept`. A job that is over may have left by its number or
    /// its age.
    ///
    /// # Errors
    /// When a job that was acknowledged is forgotten.
    pub(crate) fn acknowledged(&self, state: &State, github: &Github) -> Checked {
        let known: BTreeSet<u64> = state.jobs().map(|(id, _)| id.number).collect();
        for job in github.jobs.values() {
            let left = job.progress == Progress::Completed && self.left.contains(&job.number);
            if job.acknowledged && !left && !known.contains(&job.number) {
                return Err(broken(
                    "acknowledged-is-kept",
                    format!("job {} was acknowledged and is forgotten", job.number),
                ));
            }
        }
        Ok(())
    }

    /// `generation-rises`: the claims of a sled are told apart by numbers that rise.
    fn generations_rise(&mut self, state: &State) -> Checked {
        for (id, boot) in state.boots() {
            let now = (id, boot.generation);
            let before = *self.generations.entry(boot.sled).or_insert(now);
            if id > before.0 && boot.generation <= before.1 {
                return Err(broken(
                    "generation-rises",
                    format!("boot {id} is claim {}, after claim {}", now.1, before.1),
                ));
            }
            if id > before.0 {
                self.generations.insert(boot.sled, now);
            }
        }
        Ok(())
    }

    fn forward_only(&mut self, state: &State) -> Checked {
        let before = std::mem::take(&mut self.jobs);
        for (id, job) in state.jobs() {
            let before = before.get(&id);
            let went_back = |(came, before): &(Millis, JobState)| {
                *came == job.delivered_at && *before > job.state
            };
            if before.is_some_and(went_back) {
                return Err(broken(
                    "job-forward-only",
                    format!("job {id} went from {before:?} to {:?}", job.state),
                ));
            }
            self.jobs.insert(id, (job.delivered_at, job.state));
        }
        Ok(())
    }

    /// `off-is-proved`. A BMC that lies can be seen through in one way only: the
    /// agent of a boot that goes on goes on speaking.
    fn proved_off(
        &mut self,
        state: &State,
        changes: &[Change],
        machines: &mut [Machine],
        now: u64,
    ) -> Checked {
        let changed = changes
            .iter()
            .filter(|row| row.table == TableId::Boots)
            .filter_map(|row| {
                Some(BootId(u64::from_be_bytes(
                    row.key.as_slice().try_into().ok()?,
                )))
            });
        for id in changed {
            let Some(boot) = state.boot(id) else {
                // It ended and left in one commit, being the oldest of many.
                self.ended.insert(id);
                continue;
            };
            let heard = matches!(
                boot.stage,
                BootStage::Wiping | BootStage::Ready | BootStage::Ordered | BootStage::Running
            );
            let was_heard = match heard {
                true => !self.heard.insert(id),
                false => self.heard.remove(&id),
            };
            if boot.stage != BootStage::Ended || !self.ended.insert(id) {
                continue;
            }
            let machine = state
                .sled_name(boot.sled)
                .and_then(index_of)
                .and_then(|index| machines.get_mut(index));
            if machine.as_ref().is_some_and(|it| it.closed && !it.is_on()) {
                let detail = format!("boot {id} ended, but its relay is closed");
                return Err(broken("off-is-proved", detail));
            }
            let Some(machine) = machine.filter(|machine| machine.is_on() && !machine.by_hand)
            else {
                continue;
            };
            let lies = machine
                .lied_at
                .is_some_and(|lied_at| now - lied_at < LATE_MS);
            let speaks = was_heard && now - machine.spoke_at < SILENCE_MS;
            if !lies || speaks {
                return Err(broken(
                    "off-is-proved",
                    format!(
                        "boot {id} ended, but its sled is on (its BMC lies: {lies}, its agent speaks: {speaks})"
                    ),
                ));
            }
            machine.given_up = true;
        }
        Ok(())
    }

    fn receipts(&mut self, state: &State, changes: &[Change]) -> Checked {
        for change in changes.iter().filter(|row| row.table == TableId::Receipts) {
            let body = change.value.clone().unwrap_or_default();
            let Ok(ReceiptRecord::V1(receipt) | ReceiptRecord::Metered(receipt, _)) = decode(&body)
            else {
                return Err(broken("receipt-chain", "a receipt cannot be read"));
            };
            let (sequence, head) = self.last_receipt;
            if receipt.sequence != sequence + 1 || receipt.previous != head {
                return Err(broken(
                    "receipt-chain",
                    format!("receipt {} does not follow {sequence}", receipt.sequence),
                ));
            }
            if !self.ended.contains(&receipt.boot) {
                return Err(broken("receipt-chain", "a receipt of a boot that goes on"));
            }
            self.last_receipt = (receipt.sequence, SignedReceipt::chain_hash(&body));
        }
        if self.last_receipt.0 != self.ended.len() as u64
            || state.receipt_head() != self.last_receipt
        {
            return Err(broken(
                "receipt-chain",
                format!(
                    "{} receipts for {} ended boots",
                    self.last_receipt.0,
                    self.ended.len()
                ),
            ));
        }
        Ok(())
    }
}

/// The job whose row has this key.
fn job_of(key: &[u8]) -> Option<JobId> {
    let (hub, number) = key.split_at_checked(2)?;
    Some(JobId {
        hub: HubId(u16::from_be_bytes(hub.try_into().ok()?)),
        number: u64::from_be_bytes(number.try_into().ok()?),
    })
}

/// `one-claim-per-sled`.
fn claims(state: &State) -> Checked {
    let mut claimed = BTreeMap::new();
    for (id, sled) in state.sleds() {
        if let Power::Claimed { boot } = sled.power {
            let fits = state.boot(boot).is_some_and(|row| {
                row.sled == id && row.generation == sled.generation && row.stage != BootStage::Ended
            });
            if !fits || claimed.insert(boot, id).is_some() {
                return Err(broken(
                    "one-claim-per-sled",
                    format!(
                        "sled {} is claimed by boot {boot} that is not its own",
                        sled.name
                    ),
                ));
            }
        }
    }
    for (id, boot) in state.boots() {
        if boot.stage != BootStage::Ended && claimed.get(&id) != Some(&boot.sled) {
            return Err(broken(
                "one-claim-per-sled",
                format!("boot {id} goes on without a claim"),
            ));
        }
    }
    Ok(())
}

/// `caps-hold`. Each pool has a kernel of its own by which its boots are told.
/// The cap of a repository binds only where runners are minted for it alone.
fn caps(state: &State, pools: &[PoolSpec], given_up: &BTreeSet<BootId>) -> Checked {
    for pool in pools {
        let policy = &pool.policy;
        let held = state.boots().filter(|(id, boot)| {
            boot.stage != BootStage::Ended
                && !given_up.contains(id)
                && boot.image.kernel == pool.image.kernel
        });
        if let Some(cap) = policy.max_sleds {
            let held = held.count();
            if held > cap as usize {
                return Err(broken(
                    "caps-hold",
                    format!("pool {} holds {held} sleds of {cap}", pool.name),
                ));
            }
        }
    }
    Ok(())
}

/// `quarantine-has-reason`.
fn reasons(state: &State) -> Checked {
    for (_, sled) in state.sleds() {
        let said = sled.quarantine.as_ref().map(|row| row.reason.trim());
        let unknown = match &sled.power {
            Power::Unknown { reason, .. } => Some(reason.trim()),
            Power::Off { .. } | Power::Claimed { .. } => None,
        };
        if said == Some("") || unknown == Some("") {
            return Err(broken(
                "quarantine-has-reason",
                format!("sled {} is withheld and nobody is told why", sled.name),
            ));
        }
    }
    Ok(())
}
