//! Demand and supply: how many boots each pool owes, and which sleds do them.
//!
//! A JIT runner is not bound to a job: GitHub gives it any queued job that
//! fits. So jobs are counted, not paired: a pool needs as many boots on their
//! way as jobs are waiting. Each boot stands for one waiting job all the same,
//! so that shares and caps can be kept and people can be told what happens;
//! when GitHub decides otherwise the boots and jobs are re-sorted here.
//!
//! Only pools whose jobs, boots or sleds changed are looked at.

use alloc::{collections::BTreeSet, format, string::String, sync::Arc, vec::Vec};

use messages::{BootId, JobId, Millis, PoolId};

use crate::{
    Effects, MintScope, boots,
    index::boots::Share,
    placement::{self, Hindrance},
    rows::{Boot, BootStage, Job, Pool, Scope},
    runners,
    state::State,
};

/// Rounds in one step: calling one boot off may free what another pool waits
/// for. What is left then waits for the next event, a second at most.
const ROUNDS: usize = 4;

/// Sorts waiting jobs and boots on their way, starts boots where demand
/// exceeds supply, calls them off where it is the other way round, and mints
/// for sleds that are ready.
pub(crate) fn run(state: &mut State, now: Millis, fx: &mut Effects) {
    for _ in 0..ROUNDS {
        let due = take_due(state);
        if due.is_empty() && !take_mint_due(state) {
            return;
        }
        for pool in &due {
            pair_spares(state, now, *pool);
            call_off_surplus(state, now, *pool, fx);
        }
        start(state, now, &due, fx);
        runners::mint_ready(state, now, fx);
    }
}

/// Pools to look at again whatever their rows say, because time passed.
pub(crate) fn time_passed(state: &mut State, now: Millis) {
    unblock(state, now);
    let waiting = state.jobs.index().pools();
    let waiting: Vec<PoolId> = waiting
        .filter(|(id, queue)| queue.unserved > 0 && state.sleds.index().free_count(*id) > 0)
        .map(|(id, _)| id)
        .collect();
    state.due_pools.extend(waiting);
    let warm: Vec<PoolId> = state
        .pools
        .iter()
        .filter(|(_, pool)| pool.policy.warm != crate::WarmPolicy::default())
        .map(|(id, _)| id)
        .collect();
    state.due_pools.extend(warm);
}

fn take_due(state: &mut State) -> BTreeSet<PoolId> {
    let mut due = core::mem::take(&mut state.due_pools);
    due.append(&mut state.jobs.index_mut().dirty);
    due.append(&mut state.boots.index_mut().dirty);
    due.append(&mut state.sleds.index_mut().dirty);
    due
}

fn take_mint_due(state: &mut State) -> bool {
    let noted = core::mem::take(&mut state.boots.index_mut().mint_due);
    core::mem::take(&mut state.mint_due) | noted
}

/// Puts repositories in the order of their turns after what they use changed.
fn reshare(state: &mut State) {
    let mut changed = core::mem::take(&mut state.jobs.index_mut().reshared);
    changed.append(&mut state.boots.index_mut().reshared);
    for share in changed {
        let Some(pool) = state.pools.get(share.0) else {
            continue;
        };
        let turn = turn(pool, &share, state.boots.index().usage(&share));
        state.jobs.index_mut().set_share(&share, turn);
    }
}

/// The share of a repository that is at its cap.
const AT_CAP: u64 = u64::MAX;

/// What a repository would use with one sled more, over its weight: who has
/// least for its weight is next.
fn turn(pool: &Pool, share: &Share, usage: usize) -> u64 {
    let cap = pool.policy.max_per_repository;
    if cap.is_some_and(|cap| usage >= cap as usize) {
        return AT_CAP;
    }
    let weight = u64::from(pool.policy.weight(&share.1));
    ((usage as u64 + 1) << 16) / weight
}

/// The job whose turn it is, of those that no boot was started for.
fn next_job(state: &State, pool: PoolId) -> Option<JobId> {
    let (_, job) = state.jobs.index().pool(pool)?.next(AT_CAP)?;
    Some(job)
}

/// Whether GitHub can give this boot's runner a job of `repository`.
fn may_serve(pool: &Pool, boot: &Boot, repository: &str) -> bool {
    match (pool.policy.mint_scope, &boot.runner) {
        (MintScope::Repository, Some(runner)) => runner.scope.covers(repository),
        (MintScope::Repository, None) | (MintScope::Pool, _) => true,
    }
}

/// Boots on their way without a job stand for waiting jobs, in their turns.
fn pair_spares(state: &mut State, now: Millis, pool_id: PoolId) {
    loop {
        reshare(state);
        let Some((job, boot)) = next_pair(state, pool_id) else {
            return;
        };
        pair(state, now, boot, job);
    }
}

fn next_pair(state: &State, pool_id: PoolId) -> Option<(JobId, BootId)> {
    let pool = state.pools.get(pool_id)?;
    let next = next_job(state, pool_id);
    let spares = || {
        let spares = state.boots.index().spare_of(pool_id);
        spares.filter_map(|id| Some((id, state.boots.get(id)?)))
    };
    let serves = |boot: &Boot, job: JobId| {
        let job = state.jobs.get(job);
        job.is_some_and(|job| may_serve(pool, boot, &job.repository))
    };
    let in_turn = next.and_then(|job| {
        let (boot, _) = spares().find(|(_, boot)| serves(boot, job))?;
        Some((job, boot))
    });
    // A runner of a repository serves it out of its turn rather than nobody.
    in_turn.or_else(|| {
        spares().find_map(|(id, boot)| Some((next_job_for(state, pool_id, pool, boot)?, id)))
    })
}

/// The oldest job of the one repository that this boot's runner serves.
fn next_job_for(state: &State, pool_id: PoolId, pool: &Pool, boot: &Boot) -> Option<JobId> {
    match (pool.policy.mint_scope, boot.runner.as_ref()?) {
        (MintScope::Repository, runner) => match &runner.scope {
            Scope::Repo(repository) => {
                let queue = state.jobs.index().pool(pool_id)?;
                queue.next_of(repository, AT_CAP)
            }
            Scope::Org(_) | Scope::Enterprise(_) => None,
        },
        (MintScope::Pool, _) => None,
    }
}

/// From now on this boot is on its way for this job.
pub(crate) fn pair(state: &mut State, now: Millis, boot_id: BootId, job_id: JobId) {
    let Some(mut job) = state.jobs.derived_mut(job_id) else {
        return;
    };
    job.serving = Some(boot_id);
    let repository = job.repository.clone();
    drop(job);
    let Some(mut boot) = state.boots.get_mut(boot_id) else {
        return;
    };
    boot.for_job = Some(job_id);
    boot.repository = Some(repository);
    let ready = boot.stage == BootStage::Ready;
    drop(boot);
    if ready {
        boots::enter(state, now, boot_id, BootStage::Ready);
    }
}

/// The job does not need the boot that was started for it.
pub(crate) fn release_boot(state: &mut State, now: Millis, job_id: JobId) {
    let Some(boot_id) = state.jobs.get(job_id).and_then(|job| job.serving) else {
        return;
    };
    if let Some(mut job) = state.jobs.derived_mut(job_id) {
        job.serving = None;
    }
    let Some(mut boot) = state.boots.get_mut(boot_id) else {
        return;
    };
    if boot.job.is_some() || boot.for_job != Some(job_id) {
        return;
    }
    boot.for_job = None;
    boot.repository = None;
    let ready = boot.stage == BootStage::Ready;
    drop(boot);
    if ready {
        boots::enter(state, now, boot_id, BootStage::Ready);
    }
}

/// The boot will not serve the job it was started for. It remembers which one
/// that was.
pub(crate) fn release_job(state: &mut State, boot_id: BootId) {
    let job_id = state.boots.get(boot_id).and_then(|boot| boot.for_job);
    let served = |job: &Job| job.serving == Some(boot_id);
    let Some(job_id) = job_id.filter(|id| state.jobs.get(*id).is_some_and(served)) else {
        return;
    };
    if let Some(mut job) = state.jobs.derived_mut(job_id) {
        job.serving = None;
    }
}

/// Calls off boots that nobody needs: of all that may be, the ones that have
/// come least far. One whose agent accepted an order is left alone: GitHub may
/// have given it a job that we do not know of yet.
fn call_off_surplus(state: &mut State, now: Millis, pool_id: PoolId, fx: &mut Effects) {
    let keep = warm_target(state, now, pool_id);
    let spares: Vec<BootId> = state.boots.index().spare_of(pool_id).collect();
    let warm = |id: &&BootId| {
        state
            .boots
            .get(**id)
            .is_some_and(|boot| boot.runner.is_none())
    };
    let kept: BTreeSet<BootId> = spares.iter().filter(warm).take(keep).copied().collect();
    for spare in spares.into_iter().filter(|id| !kept.contains(id)) {
        // It may have been called off in place of one before it.
        if !state.boots.get(spare).is_some_and(Boot::is_spare) {
            continue;
        }
        let mut idle = state.boots.index().idle_of(pool_id);
        let Some(least) = idle.find(|id| !kept.contains(id)) else {
            return;
        };
        drop(idle);
        if least != spare && !hand_over(state, now, pool_id, least, spare) {
            // It serves another scope: the spare goes itself, if it may.
            if state.boots.index().idle_of(pool_id).any(|id| id == spare) {
                boots::call_off(state, now, spare, NOT_NEEDED, fx);
            }
            continue;
        }
        boots::call_off(state, now, least, NOT_NEEDED, fx);
    }
}

const NOT_NEEDED: &str = "no job waits for it any more";

/// Lets the boot that has come further serve the other one's job.
fn hand_over(state: &mut State, now: Millis, pool: PoolId, from: BootId, to: BootId) -> bool {
    let Some(job_id) = state.boots.get(from).and_then(|boot| boot.for_job) else {
        return true;
    };
    let fits = || {
        let repository = &state.jobs.get(job_id)?.repository;
        Some(may_serve(
            state.pools.get(pool)?,
            state.boots.get(to)?,
            repository,
        ))
    };
    if fits() != Some(true) {
        return false;
    }
    release_boot(state, now, job_id);
    pair(state, now, to, job_id);
    true
}

/// Claims sleds for waiting jobs, then for warmth. Among pools that share
/// sleds the one with the highest priority goes first, then the one that uses
/// least of what serves it.
fn start(state: &mut State, now: Millis, due: &BTreeSet<PoolId>, fx: &mut Effects) {
    let candidate = |state: &State, pool: PoolId| {
        let free = state.sleds.index().free_count(pool) > 0;
        (free && next_job(state, pool).is_some()).then(|| rank(state, now, pool))
    };
    reshare(state);
    let mut open: BTreeSet<_> = due
        .iter()
        .filter_map(|pool| candidate(state, *pool))
        .collect();
    let mut seen = due.clone();
    while let Some(next) = open.pop_first() {
        let pool = next.3;
        if let (Ok(sled), Some(job)) = (placement::place(state, now, pool), next_job(state, pool)) {
            // What kept another pool of this sled from its turn may have ended
            // just now, without its rows changing: it goes first all the same.
            let pools = state.sleds.get(sled).map(|sled| sled.pools.clone());
            let others = pools.iter().flat_map(|pools| pools.iter());
            let others = others.filter(|other| seen.insert(**other));
            open.extend(others.filter_map(|other| candidate(state, *other)));
            if open.first().is_some_and(|first| *first < next) {
                open.insert(next);
                continue;
            }
            boots::claim(state, now, sled, pool, Some(job), fx);
            reshare(state);
            open.extend(candidate(state, pool));
        }
    }
    for pool in due {
        let wanted = warm_target(state, now, *pool);
        let index = state.boots.index();
        let spares = index.spare_of(*pool).count();
        for _ in spares..wanted {
            match placement::place(state, now, *pool) {
                Ok(sled) => {
                    boots::claim(state, now, sled, *pool, None, fx);
                }
                Err(_) => break,
            }
        }
    }
}

/// The order among pools: higher priority, least use of its sleds, oldest job.
fn rank(state: &State, now: Millis, id: PoolId) -> (i64, u64, Millis, PoolId) {
    let oldest = state
        .jobs
        .index()
        .pool(id)
        .and_then(|queue| queue.oldest())
        .unwrap_or(now);
    let priority = state
        .pools
        .get(id)
        .map_or(0, |pool| pool.policy.priority_now(oldest, now));
    let sleds = state.sleds.index().in_service_count(id).max(1) as u64;
    let used = ((state.boots.index().held(id) as u64) << 16) / sleds;
    (-priority, used, oldest, id)
}

/// How many sleds of a pool are to be wiped and waiting without a job.
pub(crate) fn warm_target(state: &State, now: Millis, id: PoolId) -> usize {
    let Some(pool) = state.pools.get(id) else {
        return 0;
    };
    if pool.retired || pool.paused.is_some() || placement::is_blocked(pool, now) {
        return 0;
    }
    let warm = &pool.policy.warm;
    let came = state.arrivals.get(&id).map_or(0, |times| {
        let recent = |at: &&Millis| now.since(**at) < warm.idle_ms;
        times.iter().filter(recent).count()
    });
    warm.count_at(now) as usize + came.min(warm.follow as usize)
}

/// Notes that a job came, for pools that keep sleds warm after demand.
pub(crate) fn note_arrival(state: &mut State, now: Millis, id: PoolId) {
    let follow = state
        .pools
        .get(id)
        .map_or(0, |pool| pool.policy.warm.follow as usize);
    if follow == 0 {
        return;
    }
    let times = state.arrivals.entry(id).or_default();
    times.push_back(now);
    while times.len() > follow {
        times.pop_front();
    }
}

/// Why no boot is started for a waiting job now, by the very rules that would
/// start one. `None` when nothing stands in its way.
pub(crate) fn hindrance(state: &State, now: Millis, job: &Job) -> Option<Hindrance> {
    let pool_id = job.pool?;
    let pool = state.pools.get(pool_id)?;
    let share = (pool_id, job.repository.clone());
    let found = placement::place(state, now, pool_id).err();
    if found.as_ref().is_some_and(Hindrance::is_about_pool) {
        return found;
    }
    if turn(pool, &share, state.boots.index().usage(&share)) == AT_CAP {
        return Some(Hindrance::RepositoryCap(
            pool.policy.max_per_repository.unwrap_or(0),
        ));
    }
    found
}

/// Waiting jobs that are likely to start before this one, if nothing else comes.
pub(crate) fn ahead(state: &State, id: JobId, job: &Job) -> usize {
    let Some(pool_id) = job.pool else {
        return 0;
    };
    let (Some(pool), Some(queue)) = (state.pools.get(pool_id), state.jobs.index().pool(pool_id))
    else {
        return 0;
    };
    let usage = |repository: &Arc<str>| {
        let share = (pool_id, Arc::clone(repository));
        state.boots.index().usage(&share) as u64
    };
    let own = queue
        .unserved_of(&job.repository)
        .take_while(|other| *other != id);
    let own = own.count();
    let weight = u64::from(pool.policy.weight(&job.repository));
    let turn = ((usage(&job.repository) + own as u64 + 1) << 16) / weight;
    let others = queue
        .repositories()
        .filter(|(repository, _)| **repository != job.repository)
        .map(|(repository, waiting)| {
            let weight = u64::from(pool.policy.weight(repository));
            let before = (turn.saturating_mul(weight) >> 16).saturating_sub(usage(repository));
            waiting.min(usize::try_from(before).unwrap_or(usize::MAX))
        });
    own + others.sum::<usize>()
}

/// When a job with so many `ahead` of it is likely to start: sleds come free
/// as fast as they were taken of late.
pub(crate) fn expected_start(
    state: &State,
    now: Millis,
    pool: PoolId,
    ahead: usize,
) -> Option<Millis> {
    let busy_ms = *state.busy_ms.get(&pool)?;
    let sleds = state.sleds.index().in_service_count(pool).max(1) as u64;
    Some(now.after(busy_ms.saturating_mul(ahead as u64 + 1) / sleds))
}

/// Notes how long a boot held its sled: a mean in which the last eight weigh most.
pub(crate) fn note_busy(state: &mut State, pool: PoolId, ms: u64) {
    let mean = state.busy_ms.entry(pool).or_insert(ms);
    *mean = (*mean * 7 + ms) / 8;
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
    let Some(mut row) = state.pools.get_mut(pool) else {
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
    drop(row);
    state.audit(fx, "audit.pool.blocked", None, detail);
}

/// GitHub registered a runner for this pool: whatever it refused before is mended.
pub(crate) fn clear_problem(state: &mut State, pool: PoolId) {
    let troubled = state
        .pools
        .get(pool)
        .is_some_and(|pool| pool.refusals > 0 || pool.problem.is_some());
    if troubled && let Some(mut row) = state.pools.get_mut(pool) {
        row.refusals = 0;
        row.blocked_until = None;
        row.problem = None;
        drop(row);
        state.due_pools.insert(pool);
    }
}

/// Lets pools try again whose wait is over.
fn unblock(state: &mut State, now: Millis) {
    let over: Vec<PoolId> = state
        .pools
        .iter()
        .filter(|(_, pool)| pool.blocked_until.is_some_and(|until| until <= now))
        .map(|(id, _)| id)
        .collect();
    for id in over {
        if let Some(mut pool) = state.pools.get_mut(id) {
            pool.blocked_until = None;
        }
        state.due_pools.insert(id);
    }
}
