//! Demand and supply: how many boots each pool owes, and which sleds do them.
//!
//! A JIT runner is not bound to a job: GitHub gives it any queued job that
//! fits. So jobs are counted, not paired: a pool needs as many boots on their
//! way as jobs are waiting.

use alloc::{format, string::String, vec::Vec};

use messages::{BootId, JobId, Millis, PoolId, SledId};

use crate::{
    Effects, boots,
    rows::{BootStage, Power},
    runners,
    state::State,
};

/// Starts boots where demand exceeds supply, calls them off where it is the
/// other way round, and mints for sleds that are ready.
pub(crate) fn run(state: &mut State, now: Millis, fx: &mut Effects) {
    let pools: Vec<PoolId> = state.pools.keys().collect();
    for pool in pools {
        let demand = state
            .queue
            .get(&pool)
            .map_or(0, alloc::collections::BTreeSet::len);
        let supply = supply(state, pool);
        if supply.len() > demand {
            call_off(state, now, &supply, supply.len() - demand, fx);
        } else if demand > supply.len() && !is_blocked(state, now, pool) {
            start(state, now, pool, demand - supply.len(), fx);
        }
    }
    runners::mint_ready(state, now, fx);
}

fn is_blocked(state: &State, now: Millis, pool: PoolId) -> bool {
    state
        .pools
        .get(pool)
        .is_none_or(|pool| pool.retired || pool.blocked_until.is_some_and(|until| until > now))
}

fn supply(state: &State, pool: PoolId) -> Vec<BootId> {
    state
        .active_boots()
        .filter(|(_, boot)| boot.pool == pool && boot.is_supply())
        .map(|(id, _)| id)
        .collect()
}

/// Calls off the boots that have come least far. One whose agent accepted an
/// order is left alone: GitHub may have given it a job that we do not know of yet.
fn call_off(state: &mut State, now: Millis, supply: &[BootId], surplus: usize, fx: &mut Effects) {
    let mut idle: Vec<BootId> = supply
        .iter()
        .copied()
        .filter(|id| {
            state.boots.get(*id).is_some_and(|boot| match boot.stage {
                BootStage::PoweringOn
                | BootStage::Netbooting
                | BootStage::Wiping
                | BootStage::Ready
                | BootStage::Ordered => true,
                BootStage::Running | BootStage::PoweringOff { .. } | BootStage::Ended => false,
            })
        })
        .collect();
    idle.sort_by_key(|id| {
        let progress = state.boots.get(*id).map_or(0, boots::progress);
        (progress, core::cmp::Reverse(*id))
    });
    for id in idle.into_iter().take(surplus) {
        boots::call_off(state, now, id, "no job waits for it any more", fx);
    }
}

/// Claims up to `wanted` sleds: the ones with fewest failures first, then the
/// one that was used longest ago.
fn start(state: &mut State, now: Millis, pool: PoolId, wanted: usize, fx: &mut Effects) {
    let mut free: Vec<(u32, Millis, SledId)> = state
        .sleds
        .iter()
        .filter_map(|(id, sled)| {
            let Power::Off { since } = sled.power else {
                return None;
            };
            let fits = sled.pools.contains(&pool)
                && sled.quarantine.is_none()
                && !sled.retired
                && since.after(state.limits.off_dwell_ms) <= now;
            let used = sled
                .last_boot
                .and_then(|boot| state.boots.get(boot))
                .map_or(Millis(0), |boot| boot.times.claimed);
            fits.then_some((sled.failures, used, *id))
        })
        .collect();
    free.sort_unstable();
    // The backlog may be long; what it costs is bounded by the free sleds.
    free.truncate(wanted);
    if free.is_empty() {
        return;
    }
    let mut unserved = unserved_jobs(state, pool, free.len()).into_iter();
    for (_, _, sled) in free {
        boots::claim(state, now, sled, pool, unserved.next(), fx);
    }
}

/// Waiting jobs that no boot was started for, oldest first.
fn unserved_jobs(state: &State, pool: PoolId, wanted: usize) -> Vec<JobId> {
    let served: alloc::collections::BTreeSet<JobId> = state
        .active_boots()
        .filter(|(_, boot)| boot.is_supply())
        .filter_map(|(_, boot)| boot.for_job)
        .collect();
    state
        .queue
        .get(&pool)
        .into_iter()
        .flatten()
        .map(|(_, id)| *id)
        .filter(|id| !served.contains(id))
        .take(wanted)
        .collect()
}

/// GitHub refused to register a runner for this pool: a person must change
/// something, so try again only now and then.
pub(crate) fn block(
    state: &mut State,
    now: Millis,
    pool: PoolId,
    problem: String,
    fx: &mut Effects,
) {
    let Some(row) = state.pools.get_mut(pool) else {
        return;
    };
    // Sleds that are refused together count once.
    if row.blocked_until.is_none_or(|until| until <= now) {
        row.refusals = row.refusals.saturating_add(1);
    }
    let wait = 30_000u64.saturating_mul(1 << row.refusals.min(6));
    row.blocked_until = Some(now.after(wait));
    let detail = format!("pool {}: {problem}", row.name);
    row.problem = Some(problem);
    state.audit(fx, "audit.pool.blocked", None, detail);
}

/// GitHub registered a runner for this pool: whatever it refused before is mended.
pub(crate) fn clear_problem(state: &mut State, pool: PoolId) {
    let troubled = state
        .pools
        .get(pool)
        .is_some_and(|pool| pool.refusals > 0 || pool.problem.is_some());
    if troubled && let Some(pool) = state.pools.get_mut(pool) {
        pool.refusals = 0;
        pool.blocked_until = None;
        pool.problem = None;
    }
}

/// Lets pools try again whose wait is over.
pub(crate) fn unblock(state: &mut State, now: Millis) {
    let over: Vec<PoolId> = state
        .pools
        .iter()
        .filter(|(_, pool)| pool.blocked_until.is_some_and(|until| until <= now))
        .map(|(id, _)| *id)
        .collect();
    for id in over {
        if let Some(pool) = state.pools.get_mut(id) {
            pool.blocked_until = None;
        }
        state.schedule_due = true;
    }
}
