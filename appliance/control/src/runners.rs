//! Runners at GitHub: minted late, under fresh names, and never left behind.
//!
//! Minting is the one effect that is not idempotent. So each try has a name of
//! its own; a name whose minting has no answer is deleted before another is tried.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use messages::{BootId, Millis, PoolId, RunnerId};

use crate::{
    Effect, Effects, GithubFailure, JobReport, Labels, MintScope, Pending, acceptance,
    boots::{self, Off},
    holds,
    index::outbox::Subject,
    orphans::runner_prefix,
    rows::{Boot, BootStage, Runner, Scope},
    schedule,
    state::State,
};

/// Mints for every sled that is ready, has none under way, and left none
/// behind: a name whose minting or deleting is unsettled comes first.
pub(crate) fn mint_ready(state: &mut State, now: Millis, fx: &mut Effects) {
    let settled = |id: &BootId| {
        state
            .effects_about(Subject::Boot(*id))
            .all(|(_, pending)| pending.again)
    };
    let to_mint = &state.boots.index().to_mint;
    let ready: Vec<BootId> = to_mint.iter().copied().filter(settled).collect();
    for id in ready {
        let Some(boot) = state.boots.get(id) else {
            continue;
        };
        let Some(pool) = state.pools.get(boot.pool) else {
            continue;
        };
        let grade = boot.assurance();
        if grade < pool.min_assurance {
            let reason = format!(
                "its boot is graded {}, and pool {} asks for {}",
                grade.as_str(),
                pool.name,
                pool.min_assurance.as_str()
            );
            boots::fail(state, now, id, reason, Off::Asked, fx);
            continue;
        }
        let wait = match boot.mints {
            0 => 0,
            tried => state.limits.backoff(tried),
        };
        mint(state, now, id, wait);
    }
}

/// Asks for a runner under a fresh name, `wait_ms` from now.
fn mint(state: &mut State, now: Millis, id: BootId, wait_ms: u64) {
    let appliance = state.appliance;
    let Some(boot) = state.boots.get(id) else {
        return;
    };
    let Some(pool) = state.pools.get(boot.pool) else {
        return;
    };
    let Some(sled) = state.sleds.get(boot.sled) else {
        return;
    };
    let proof = acceptance::runner_of(state, id);
    let served = boot.repository.as_deref();
    let served = proof.as_ref().map(|(repository, _)| *repository).or(served);
    let scope = match (pool.policy.mint_scope, served) {
        (MintScope::Repository, Some(repository)) => Scope::Repo(repository.to_string()),
        (MintScope::Repository, None) | (MintScope::Pool, _) => pool.scope.clone(),
    };
    let try_number = boot.mints + 1;
    let prefix = runner_prefix(appliance);
    let name = format!("{prefix}{}-{id}-{try_number}", sled.name);
    // GitHub adds no label by itself to a JIT runner.
    let labels = proof.map_or_else(
        || Labels::new(pool.labels.iter().chain(["self-hosted"])),
        |(_, label)| label,
    );
    let effect = Effect::Mint {
        hub: pool.hub,
        scope: scope.clone(),
        name: name.clone(),
        labels,
        boot: id,
    };
    let runner = Runner {
        name,
        id: None,
        hub: pool.hub,
        scope,
    };
    if let Some(mut boot) = state.boots.get_mut(id) {
        boot.mints = try_number;
        boot.runner = Some(runner);
    }
    state.push_effect(now.after(wait_ms), effect);
}

/// GitHub answered a minting, or did not. Its boot may be over, even forgotten:
/// what was registered is deleted all the same.
pub(crate) fn minted(
    state: &mut State,
    now: Millis,
    id: BootId,
    runner: Runner,
    result: Result<Option<RunnerId>, GithubFailure>,
    fx: &mut Effects,
) {
    let waiting = state
        .boots
        .get(id)
        .filter(|boot| boot.stage == BootStage::Ready && boot.has_runner(&runner.name))
        .map(|boot| (boot.pool, boot.mints));
    match (result, waiting) {
        (Ok(number), Some((pool, _))) => {
            let detail = number.map_or_else(
                || format!("{} will register itself", runner.name),
                |number| format!("{} is runner {number}", runner.name),
            );
            if let Some(mut boot) = state.boots.get_mut(id) {
                boot.runner = Some(Runner {
                    id: number,
                    ..runner
                });
            }
            schedule::clear_problem(state, pool);
            boots::enter(state, now, id, BootStage::Ordered);
            fx.wake.push(id);
            state.audit(fx, "audit.runner.minted", Some(id), detail);
        }
        (Ok(number), None) => {
            let runner = Runner {
                id: number,
                ..runner
            };
            push_delete(state, now, id, runner);
        }
        (Err(failure), waiting) => mint_failed(state, now, id, runner, failure, waiting, fx),
    }
}

/// GitHub names the id of a runner that registered itself.
pub(crate) fn learn_id(state: &mut State, id: BootId, report: &JobReport) {
    let unknown = state
        .boots
        .get(id)
        .and_then(|boot| boot.runner.as_ref())
        .is_some_and(|runner| runner.id.is_none());
    if unknown
        && let Some(mut boot) = state.boots.get_mut(id)
        && let Some(runner) = &mut boot.runner
    {
        runner.id = report.runner.as_ref().map(|(number, _)| *number);
    }
}

fn mint_failed(
    state: &mut State,
    now: Millis,
    id: BootId,
    runner: Runner,
    failure: GithubFailure,
    waiting: Option<(PoolId, u32)>,
    fx: &mut Effects,
) {
    // It may have been minted all the same; and a name that is taken can only
    // be a leftover of our own, because our id is part of it.
    if matches!(
        failure,
        GithubFailure::Unavailable(_) | GithubFailure::Conflict
    ) {
        push_delete(state, now, id, runner);
    }
    let Some((pool, tries)) = waiting else {
        return;
    };
    if let Some(mut boot) = state.boots.get_mut(id) {
        boot.runner = None;
    }
    match failure {
        GithubFailure::Refused(problem) => {
            schedule::block(state, now, pool, problem.clone(), fx);
            let reason = format!("GitHub refused a runner: {problem}");
            boots::call_off(state, now, id, &reason, fx);
        }
        GithubFailure::RateLimited(ms) => {
            let why = format!("rate limited for {ms} ms");
            state.audit(fx, "audit.runner.mint_failed", Some(id), why);
            mint(state, now, id, ms.max(state.limits.backoff(tries)));
        }
        // `mint_ready` mints again once the delete is settled.
        GithubFailure::Conflict => {
            let why = String::from("the name was taken");
            state.audit(fx, "audit.runner.mint_failed", Some(id), why);
        }
        GithubFailure::Unavailable(why) => {
            state.audit(fx, "audit.runner.mint_failed", Some(id), why);
        }
    }
}

/// Deletes a runner at GitHub, unless that is under way.
pub(crate) fn push_delete(state: &mut State, now: Millis, id: BootId, runner: Runner) {
    let effect = Effect::DeleteRunner {
        hub: runner.hub,
        scope: runner.scope,
        name: runner.name,
        id: runner.id,
        boot: id,
    };
    let listed = state
        .effects_about(Subject::Boot(id))
        .any(|(_, pending)| pending.effect == effect && !pending.again);
    if !listed {
        state.push_effect(now, effect);
    }
}

/// Deletes the boot's runner, if it has one that was registered. One whose
/// minting is under way is deleted by the outcome of that: a delete sent now
/// could come to GitHub before the minting does, and find nothing.
pub(crate) fn delete(state: &mut State, now: Millis, id: BootId) {
    let Some(runner) = state.boots.get(id).and_then(|boot| boot.runner.clone()) else {
        return;
    };
    let name = runner.name.clone();
    let minting =
        |pending: &Pending| matches!(&pending.effect, Effect::Mint { name: of, .. } if *of == name);
    let due = state
        .effects_about(Subject::Boot(id))
        .find(|(_, pending)| minting(pending))
        .map(|(_, pending)| pending.due);
    match due {
        None => push_delete(state, now, id, runner),
        Some(due) if due <= now => {}
        // Not begun yet, so never: there is nothing to delete.
        Some(_) => {
            state.withdraw_effects(
                Subject::Boot(id),
                |effect| matches!(effect, Effect::Mint { name: of, .. } if *of == name),
            );
            if let Some(mut boot) = state.boots.get_mut(id) {
                boot.runner = None;
            }
        }
    }
}

/// The boot ends: a runner that GitHub would keep goes.
pub(crate) fn abandon(state: &mut State, now: Millis, id: BootId) {
    if state.boots.get(id).is_some_and(|boot| !took_a_job(boot)) {
        delete(state, now, id);
    }
}

/// An ephemeral runner that took a job is removed by GitHub itself.
const fn took_a_job(boot: &Boot) -> bool {
    boot.job.is_some() && boot.times.finished.is_some()
}

/// After a restart: mintings that may have been begun have no outcome any
/// more. Their names are deleted; each boot mints under a fresh one.
pub(crate) fn void_mintings(state: &mut State, now: Millis) {
    let mintings = state.effects_that(|pending| matches!(pending.effect, Effect::Mint { .. }));
    for pending in mintings
        .into_iter()
        .filter_map(|id| state.outbox.remove(id))
        .collect::<Vec<_>>()
    {
        if let Effect::Mint {
            hub,
            scope,
            name,
            boot,
            ..
        } = pending.effect
        {
            let runner = Runner {
                name,
                id: None,
                hub,
                scope,
            };
            push_delete(state, now, boot, runner);
        }
    }
}

/// A runner is gone from GitHub.
pub(crate) fn deleted(state: &mut State, now: Millis, id: BootId, name: &str, fx: &mut Effects) {
    // A boot may wait for this to mint again.
    state.mint_due = true;
    let Some(boot) = state.boots.get(id) else {
        return;
    };
    let idle = boot.stage == BootStage::Running && boot.job.is_none() && boot.has_runner(name);
    if idle {
        boots::call_off(state, now, id, "GitHub gave its runner no job", fx);
    }
    holds::runner_gone(state, now, id, fx);
}

/// The order's secret is lost (we restarted): that runner is void, and the
/// agent has not started it, because it had no answer to its acceptance.
pub(crate) fn order_lost(state: &mut State, now: Millis, id: BootId, fx: &mut Effects) {
    let void = state
        .boots
        .get(id)
        .is_some_and(|boot| boot.stage == BootStage::Ordered);
    if !void {
        return;
    }
    void_runner(state, now, id);
    state.audit(
        fx,
        "audit.runner.void",
        Some(id),
        String::from("its config is lost; another is minted"),
    );
}

/// Forgets the boot's runner and deletes it at GitHub; another is minted after
/// that.
pub(crate) fn void_runner(state: &mut State, now: Millis, id: BootId) {
    delete(state, now, id);
    if let Some(mut boot) = state.boots.get_mut(id) {
        boot.runner = None;
        boot.times.order = None;
    }
    boots::enter(state, now, id, BootStage::Ready);
}
