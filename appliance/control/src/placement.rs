//! Which sled a pool gets next, or what stands in the way. Starting a boot and
//! explaining why none is started ask the same question here.

use alloc::string::String;

use messages::{CircuitId, Millis, PoolId, SledId};

use crate::{
    drift,
    index::sleds::Free,
    rows::{Pool, Power, Sled, Withheld},
    state::State,
};

/// Why no sled can be had now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hindrance {
    /// The pool left the inventory.
    Retired,
    /// A person paused the pool.
    Paused(Withheld),
    /// GitHub refused the pool.
    Blocked {
        /// Until when nothing is tried.
        until: Millis,
        /// What it said.
        problem: String,
    },
    /// The pool uses as many sleds as it may.
    PoolCap(u32),
    /// The repository uses as many sleds as it may.
    RepositoryCap(u32),
    /// No sled serves the pool, or none that is in service.
    NoneInService,
    /// None is free.
    AllBusy,
    /// The free ones are kept for this pool.
    KeptFor(String),
    /// The free ones must stay off for a moment.
    Dwell(Millis),
    /// The settings of its BMC are not read yet since its last boot.
    Unread,
    /// The circuit gives no more watts.
    Watts {
        /// Its name.
        circuit: String,
        /// Its bound.
        watts: u32,
    },
    /// So many sleds of the circuit start already.
    Starts {
        /// Its name.
        circuit: String,
        /// Its bound.
        starts: u32,
    },
    /// The circuit started one a moment ago.
    Stagger(Millis),
    /// Sleds fail one after the other, so they are tried one at a time.
    Outage(Millis),
}

impl Hindrance {
    /// Whether it holds for every job of the pool, whoever's turn it is.
    pub(crate) const fn is_about_pool(&self) -> bool {
        matches!(
            self,
            Self::Retired | Self::Paused(_) | Self::Blocked { .. } | Self::NoneInService
        )
    }
}

/// Whether GitHub refused the pool a short time ago.
pub(crate) fn is_blocked(pool: &Pool, now: Millis) -> bool {
    pool.blocked_until.is_some_and(|until| until > now)
}

/// The sled that the pool gets next: fewest failures in a row first, then the
/// one whose last boot is longest ago.
pub(crate) fn place(state: &State, now: Millis, id: PoolId) -> Result<SledId, Hindrance> {
    let Some(pool) = state.pools.get(id).filter(|pool| !pool.retired) else {
        return Err(Hindrance::Retired);
    };
    if let Some(why) = pool_hindrance(state, now, id, pool) {
        return Err(why);
    }
    let sleds = state.sleds.index();
    if sleds.in_service_count(id) == 0 {
        return Err(Hindrance::NoneInService);
    }
    let mut best: Option<Free> = None;
    let mut hindrance = Hindrance::AllBusy;
    for (circuit, free) in sleds.free_by_circuit(id) {
        if let Some(why) = circuit.and_then(|circuit| start_hindrance(state, now, circuit)) {
            hindrance = why;
            continue;
        }
        for entry in free
            .iter()
            .take_while(|entry| best.is_none_or(|best| **entry < best))
        {
            match sled_hindrance(state, now, id, entry.2) {
                None => {
                    best = Some(*entry);
                    break;
                }
                Some(why) => hindrance = why,
            }
        }
    }
    best.map(|(_, _, sled)| sled).ok_or(hindrance)
}

/// Why a pool starts nothing now, whichever sled it is.
fn pool_hindrance(state: &State, now: Millis, id: PoolId, pool: &Pool) -> Option<Hindrance> {
    if let Some(pause) = &pool.paused {
        return Some(Hindrance::Paused(pause.clone()));
    }
    if let Some(until) = pool.blocked_until.filter(|until| *until > now) {
        let problem = pool.problem.clone().unwrap_or_default();
        return Some(Hindrance::Blocked { until, problem });
    }
    if let Some(until) = state.outage.next_probe().filter(|until| *until > now) {
        return Some(Hindrance::Outage(until));
    }
    let cap = pool.policy.max_sleds?;
    let held = state.boots.index().held(id);
    (held >= cap as usize).then_some(Hindrance::PoolCap(cap))
}

/// Why this very sled, which owes the pool an acceptance run, is not started
/// now.
pub(crate) fn start_of(state: &State, now: Millis, pool: PoolId, id: SledId) -> Option<Hindrance> {
    let row = state.pools.get(pool)?;
    let circuit = state.sleds.get(id)?.circuit;
    pool_hindrance(state, now, pool, row)
        .or_else(|| start_hindrance(state, now, circuit?))
        .or_else(|| sled_hindrance(state, now, pool, id))
}

/// Why a circuit starts no sled now, whichever one it is.
fn start_hindrance(state: &State, now: Millis, id: CircuitId) -> Option<Hindrance> {
    let circuit = state.circuits.get(id)?;
    if circuit.starts > 0 && state.boots.index().starting(id) >= circuit.starts as usize {
        return Some(Hindrance::Starts {
            circuit: circuit.name.clone(),
            starts: circuit.starts,
        });
    }
    let next = state.last_start.get(&id)?.after(circuit.stagger_ms);
    (next > now).then_some(Hindrance::Stagger(next))
}

/// Why a free sled is not started now.
fn sled_hindrance(state: &State, now: Millis, pool: PoolId, id: SledId) -> Option<Hindrance> {
    let sled = state.sleds.get(id)?;
    if let Power::Off { since } = sled.power {
        let until = since.after(state.limits.off_dwell_ms);
        if until > now {
            return Some(Hindrance::Dwell(until));
        }
    }
    if let Some(unread) = drift::hindrance(state, id) {
        return Some(unread);
    }
    if let Some((circuit, watts)) = sled
        .circuit
        .and_then(|id| Some((id, state.circuits.get(id)?)))
        .filter(|(_, circuit)| circuit.watts > 0)
        .filter(|(id, circuit)| {
            state.sleds.index().drawn(*id) + u64::from(sled.watts) > u64::from(circuit.watts)
        })
        .map(|(_, circuit)| (circuit.name.clone(), circuit.watts))
    {
        return Some(Hindrance::Watts { circuit, watts });
    }
    kept_for(state, pool, sled).map(|pool| Hindrance::KeptFor(pool.name.clone()))
}

/// Another pool of the sled that would then have fewer than are kept for it.
fn kept_for<'a>(state: &'a State, pool: PoolId, sled: &Sled) -> Option<&'a Pool> {
    sled.pools
        .iter()
        .filter(|other| **other != pool)
        .filter_map(|other| Some((*other, state.pools.get(*other)?)))
        .filter(|(_, row)| !row.retired)
        .find(|(other, row)| {
            let owed =
                (row.policy.min_sleds as usize).saturating_sub(state.boots.index().held(*other));
            owed > 0 && state.sleds.index().free_count(*other) <= owed
        })
        .map(|(_, row)| row)
}
