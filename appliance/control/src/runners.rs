//! Runners at GitHub: minted late, under fresh names, and never left behind.
//!
//! Minting is the one effect that is not idempotent. So each try has a name of
//! its own; a name whose minting has no answer is deleted before another is tried.

use alloc::{format, string::String, vec::Vec};

use messages::{BootId, Millis, RunnerId};

use crate::{
    Effect, Effects, GithubFailure, Labels,
    boots::{self, Off},
    rows::{Boot, BootStage, Runner},
    schedule,
    state::State,
};

/// Mints for every sled that is ready and has none under way.
pub(crate) fn mint_ready(state: &mut State, now: Millis, fx: &mut Effects) {
    let ready: Vec<BootId> = state
        .active_boots()
        .filter(|(_, boot)| {
            boot.stage == BootStage::Ready && boot.runner.is_none() && boot.times.power_on.is_some()
        })
        .map(|(id, _)| id)
        .collect();
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
        mint(state, now, id, 0);
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
    let try_number = boot.mints + 1;
    let name = format!("musher-{appliance}-{}-{id}-{try_number}", sled.name);
    // GitHub adds no label by itself to a JIT runner.
    let labels = Labels::new(pool.labels.iter().chain(["self-hosted"]));
    let effect = Effect::Mint {
        hub: pool.hub,
        scope: pool.scope.clone(),
        name: name.clone(),
        labels,
        boot: id,
    };
    if let Some(boot) = state.boots.get_mut(id) {
        boot.mints = try_number;
        boot.runner = Some(Runner { name, id: None });
    }
    state.push_effect(now.after(wait_ms), effect);
}

/// GitHub answered a minting, or did not.
pub(crate) fn minted(
    state: &mut State,
    now: Millis,
    id: BootId,
    name: &str,
    result: Result<RunnerId, GithubFailure>,
    fx: &mut Effects,
) {
    let Some(boot) = state.boots.get(id) else {
        return;
    };
    let wanted = boot.stage == BootStage::Ready
        && boot
            .runner
            .as_ref()
            .is_some_and(|runner| runner.name == name);
    let pool = boot.pool;
    match result {
        Ok(runner) if wanted => {
            if let Some(boot) = state.boots.get_mut(id) {
                boot.runner = Some(Runner {
                    name: name.into(),
                    id: Some(runner),
                });
            }
            schedule::clear_problem(state, pool);
            boots::enter(state, now, id, BootStage::Ordered);
            fx.wake.push(id);
            state.audit(
                fx,
                "audit.runner.minted",
                Some(id),
                format!("{name} is runner {runner}"),
            );
        }
        Ok(runner) => push_delete(state, now, id, name.into(), Some(runner)),
        Err(_) if !wanted => push_delete(state, now, id, name.into(), None),
        Err(GithubFailure::Refused(problem)) => {
            if let Some(boot) = state.boots.get_mut(id) {
                boot.runner = None;
            }
            schedule::block(state, now, pool, problem.clone(), fx);
            boots::call_off(
                state,
                now,
                id,
                &format!("GitHub refused a runner: {problem}"),
                fx,
            );
        }
        Err(failure) => {
            let (wait, why) = match failure {
                GithubFailure::Conflict => (0, String::from("the name was taken")),
                GithubFailure::RateLimited(ms) => (ms, format!("rate limited for {ms} ms")),
                GithubFailure::Unavailable(why) | GithubFailure::Refused(why) => {
                    // It may have been minted all the same.
                    push_delete(state, now, id, name.into(), None);
                    (0, why)
                }
            };
            let tries = state.boots.get(id).map_or(1, |boot| boot.mints);
            let wait = wait.max(state.limits.backoff(tries));
            state.audit(fx, "audit.runner.mint_failed", Some(id), why);
            mint(state, now, id, wait);
        }
    }
}

fn push_delete(state: &mut State, now: Millis, id: BootId, name: String, runner: Option<RunnerId>) {
    let Some(pool) = state
        .boots
        .get(id)
        .and_then(|boot| state.pools.get(boot.pool))
    else {
        return;
    };
    let effect = Effect::DeleteRunner {
        hub: pool.hub,
        scope: pool.scope.clone(),
        name,
        id: runner,
        boot: id,
    };
    let listed = state
        .outbox
        .iter()
        .any(|(_, pending)| pending.effect == effect);
    if !listed {
        state.push_effect(now, effect);
    }
}

/// Deletes the boot's runner, if it has one.
pub(crate) fn delete(state: &mut State, now: Millis, id: BootId) {
    let runner = state.boots.get(id).and_then(|boot| boot.runner.clone());
    if let Some(runner) = runner {
        push_delete(state, now, id, runner.name, runner.id);
    }
}

/// The boot ends: a minting under way is not wanted any more, and a runner
/// that GitHub would keep goes.
pub(crate) fn abandon(state: &mut State, now: Millis, id: BootId) {
    withdraw_mints(state, id);
    let Some(boot) = state.boots.get(id) else {
        return;
    };
    if !took_a_job(boot) {
        delete(state, now, id);
    }
}

/// An ephemeral runner that took a job is removed by GitHub itself.
const fn took_a_job(boot: &Boot) -> bool {
    boot.job.is_some() && boot.times.finished.is_some()
}

/// Takes the boot's minting out of the outbox. It may have been begun, so its
/// name is deleted by whoever calls this.
fn withdraw_mints(state: &mut State, id: BootId) {
    state.withdraw_effects(|effect| matches!(effect, Effect::Mint { boot, .. } if *boot == id));
}

/// A runner is gone from GitHub.
pub(crate) fn deleted(state: &mut State, now: Millis, id: BootId, fx: &mut Effects) {
    let Some(boot) = state.boots.get(id) else {
        return;
    };
    let idle = boot.stage == BootStage::Running && boot.job.is_none();
    if idle {
        boots::call_off(state, now, id, "GitHub gave its runner no job", fx);
    }
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
    mint(state, now, id, 0);
}

/// Forgets the boot's runner and deletes it at GitHub.
pub(crate) fn void_runner(state: &mut State, now: Millis, id: BootId) {
    delete(state, now, id);
    withdraw_mints(state, id);
    if let Some(boot) = state.boots.get_mut(id) {
        boot.runner = None;
        boot.times.order = None;
    }
    boots::enter(state, now, id, BootStage::Ready);
}
