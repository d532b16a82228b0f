//! Jobs: GitHub's word on them, which only ever moves forward.

use alloc::{collections::BTreeMap, format, sync::Arc, vec::Vec};
use core::cmp::Reverse;

use messages::{BootId, HubId, JobId, Millis, PoolId};

use crate::{
    DeliveryResult, Effect, Effects, JobAction, JobReport, Labels, Source, acceptance, boots,
    explain,
    index::{jobs::PoolQueue, outbox::Subject},
    orphans, outage, reruns, retention,
    rows::{Boot, BootStage, Conclusion, Job, JobState, Pending, Pool, Runner},
    runners, schedule,
    state::State,
};

/// Applies what GitHub says of a job. Events come out of order, twice or
/// never (actions/runner#4309), so a state is only ever raised.
pub(crate) fn report(
    state: &mut State,
    now: Millis,
    hub: HubId,
    source: Source,
    report: &JobReport,
    fx: &mut Effects,
) -> DeliveryResult {
    let id = report.id(hub);
    let known = state.jobs.get(id).is_some();
    let runs_here = boot_of_runner(state, hub, report);
    if !known {
        if report.action == JobAction::Waiting {
            return DeliveryResult::Ignored;
        }
        let pool = match report.group.as_deref() {
            None => known_match(state, hub, &report.repository, &report.labels),
            group => match_pool(state, hub, &report.repository, &report.labels, group),
        };
        let behest = acceptance::pool_of(state, hub, report);
        if pool.is_none() && behest.is_none() && runs_here.is_none() {
            audit_no_pool(state, hub, report, fx);
            return DeliveryResult::Ignored;
        }
        let asked_by = pool.or(behest);
        if runs_here.is_none() && is_stranger(state, asked_by, report) {
            audit_stranger(state, id, asked_by, report, fx);
            return DeliveryResult::Ignored;
        }
        if report.action == JobAction::Queued && state.jobs.index().queued >= state.limits.queue {
            return DeliveryResult::Full;
        }
        reruns::superseded(state, hub, report);
        insert(state, now, id, report, pool);
    }
    acceptance::job_reported(state, hub, report);
    if let Some(boot) = runs_here {
        runners::learn_id(state, boot, report);
        bind(state, now, id, boot);
        outage::got_through(state, u32::MAX, fx);
    }
    let outcome = match report.action {
        JobAction::Queued if !known => DeliveryResult::Queued,
        JobAction::Queued | JobAction::Waiting => DeliveryResult::Updated,
        JobAction::InProgress => {
            raise(state, now, id, JobState::InProgress, report, fx);
            DeliveryResult::Updated
        }
        JobAction::Completed => {
            raise(state, now, id, JobState::Completed, report, fx);
            DeliveryResult::Updated
        }
    };
    if source != Source::Tunnel {
        let detail = format!("job {id} learned from {source:?}");
        state.audit(fx, "audit.job.recovered", None, detail);
    }
    outcome
}

fn insert(state: &mut State, now: Millis, id: JobId, report: &JobReport, pool: Option<PoolId>) {
    let job = state.share_texts(Job {
        repository: report.repository.as_ref().into(),
        name: report.name.as_ref().into(),
        workflow: report.workflow.as_ref().into(),
        run_id: report.run_id,
        run_attempt: report.run_attempt,
        labels: report.labels.clone(),
        pool,
        state: JobState::Queued,
        delivered_at: now,
        completed_at: None,
        conclusion: None,
        boot: None,
        taken_by: None,
        serving: None,
    });
    state.jobs.insert(id, job);
    if let Some(pool) = pool {
        schedule::note_arrival(state, now, pool);
    }
}

/// Raises a job to `to`; a lower or equal state changes nothing.
fn raise(
    state: &mut State,
    now: Millis,
    id: JobId,
    to: JobState,
    report: &JobReport,
    fx: &mut Effects,
) {
    let Some(job) = state.jobs.get(id) else {
        return;
    };
    if job.state >= to {
        return;
    }
    schedule::release_boot(state, now, id);
    let Some(mut job) = state.jobs.get_mut(id) else {
        return;
    };
    // `finish` raises to the last state.
    if to == JobState::InProgress {
        job.state = to;
    }
    if let (None, Some((_, name))) = (job.boot, &report.runner) {
        job.taken_by = Some(name.clone());
    }
    let boot = job.boot;
    drop(job);
    let active = boot
        .and_then(|boot| state.boots.get(boot))
        .is_some_and(Boot::is_under_way);
    if to == JobState::InProgress && !active {
        // No boot's end will make us ask, and GitHub may never tell.
        look_up(state, now, id, ASK_AGAIN_MS);
    }
    if to == JobState::Completed {
        let word = report
            .conclusion
            .clone()
            .unwrap_or_else(|| "unknown".into());
        finish(state, now, id, Conclusion::Said(word), fx);
        reruns::job_ended(state, now, id, report.ran_ms, fx);
    }
}

/// The job is over: remembers when, and lets its boot know.
pub(crate) fn finish(
    state: &mut State,
    now: Millis,
    id: JobId,
    conclusion: Conclusion,
    fx: &mut Effects,
) {
    let ended = |job: &Job| job.state == JobState::Completed;
    if state.jobs.get(id).is_none_or(ended) {
        return;
    }
    schedule::release_boot(state, now, id);
    let Some(mut job) = state.jobs.get_mut(id) else {
        return;
    };
    job.state = JobState::Completed;
    job.completed_at = Some(now);
    job.conclusion = Some(conclusion);
    let boot = job.boot;
    drop(job);
    state.withdraw_effects(Subject::Job(id), |effect| {
        matches!(effect, Effect::LookUpJob { .. })
    });
    if let Some(boot) = boot {
        boots::job_completed(state, now, boot, fx);
    }
    acceptance::job_ended(state, now, id, fx);
    forget_ended(state, now);
}

/// Ended jobs beyond the bounds leave, oldest first. One whose boot goes on
/// stays for its receipt; there are no more of those than sleds.
pub(crate) fn forget_ended(state: &mut State, now: Millis) {
    let ended = state.jobs.index().ended.iter().copied();
    let old = retention::leaving(ended, state.limits.history, retention::since(state, now));
    let goes_on = |id: &JobId| {
        let boot = state.jobs.get(*id).and_then(|job| job.boot);
        let boot = boot.and_then(|boot| state.boots.get(boot));
        boot.is_some_and(|boot| boot.stage != BootStage::Ended)
    };
    let old: Vec<JobId> = old.into_iter().filter(|id| !goes_on(id)).collect();
    for id in old {
        state.jobs.remove(id);
    }
}

/// The boot whose runner GitHub names. The id binds, because names can be null;
/// but ids are unique within one scope only, so the App, the scope and the name
/// (where one is told) must not contradict it.
fn boot_of_runner(state: &State, hub: HubId, report: &JobReport) -> Option<BootId> {
    let (runner_id, name) = report.runner.as_ref()?;
    let fits = |runner: &Runner| {
        runner.id == Some(*runner_id)
            && runner.hub == hub
            && runner.scope.covers(&report.repository)
            && (name.is_empty() || runner.name.as_str() == name.as_ref())
    };
    let mut by_id = state.boots.index().of_runner(*runner_id);
    by_id
        .find(|id| {
            let boot = state.boots.get(*id);
            let runner = boot.and_then(|boot| boot.runner.as_ref());
            runner.is_some_and(fits)
        })
        .or_else(|| boot_of_unnumbered(state, hub, report))
}

/// The boot whose runner registered itself, so that GitHub told us no id.
fn boot_of_unnumbered(state: &State, hub: HubId, report: &JobReport) -> Option<BootId> {
    let (_, name) = report.runner.as_ref()?;
    let id = orphans::boot_of(state.appliance, name)?;
    let boot = state.boots.get(id)?;
    let runner = boot.runner.as_ref()?;
    let fits = boot.stage == BootStage::Running
        && runner.id.is_none()
        && runner.hub == hub
        && runner.scope.covers(&report.repository)
        && runner.name.as_str() == name.as_ref();
    fits.then_some(id)
}

/// GitHub gave this job to this boot's runner, whichever job it was started for.
fn bind(state: &mut State, now: Millis, id: JobId, boot_id: BootId) {
    let Some(boot) = state.boots.get(boot_id) else {
        return;
    };
    if boot.job.is_some() {
        return;
    }
    let meant_for = boot.for_job.filter(|meant| *meant != id);
    let started_for_it = state
        .jobs
        .get(id)
        .and_then(|job| job.serving)
        .filter(|other| *other != boot_id);
    schedule::release_boot(state, now, id);
    if let Some(meant) = meant_for {
        schedule::release_boot(state, now, meant);
    }
    let Some(mut job) = state.jobs.get_mut(id) else {
        return;
    };
    job.boot = Some(boot_id);
    job.taken_by = None;
    let repository = Arc::clone(&job.repository);
    drop(job);
    let Some(mut boot) = state.boots.get_mut(boot_id) else {
        return;
    };
    boot.job = Some(id);
    boot.for_job = Some(id);
    boot.repository = Some(repository).filter(|_| boot.is_under_way());
    let running = boot.stage == BootStage::Running;
    drop(boot);
    // It has work now: the idle deadline becomes that of a run.
    if running {
        boots::enter(state, now, boot_id, BootStage::Running);
    }
    // Jobs swap: whoever was started for this one now stands for the other.
    if let (Some(other), Some(meant)) = (started_for_it, meant_for) {
        let waits = |job: &Job| job.state == JobState::Queued && job.serving.is_none();
        let both = state.jobs.get(meant).is_some_and(waits)
            && state.boots.get(other).is_some_and(Boot::is_spare);
        if both {
            schedule::pair(state, now, other, meant);
        }
    }
}

/// Answers of [`match_pool`] that are kept: many jobs ask the same.
const MATCHES: usize = 65_536;

/// [`match_pool`], remembered until the inventory changes.
fn known_match(state: &mut State, hub: HubId, repository: &str, labels: &Labels) -> Option<PoolId> {
    let asked = (hub, labels.clone());
    let known = state.matches.get(&asked).and_then(|of| of.get(repository));
    if let Some(known) = known {
        return *known;
    }
    let pool = match_pool(state, hub, repository, labels, None);
    if state.matches.values().map(BTreeMap::len).sum::<usize>() >= MATCHES {
        state.matches.clear();
    }
    let of = state.matches.entry(asked).or_default();
    of.insert(repository.into(), pool);
    pool
}

/// The pool that serves a job: scope covers the repository, and labels hold the
/// job's. A pool that the job names by a label goes first, then one of the
/// runner group that GitHub names, the fewest labels, the highest priority, the
/// default one. A job that asks for nothing but `self-hosted` goes to a default
/// pool before all others.
///
/// A job that asks for a runner group alone comes without labels, and is served
/// by pools of a group only: of the named one, or else by those that are the
/// default, because GitHub rarely names the group of a job that waits.
fn match_pool(
    state: &State,
    hub: HubId,
    repository: &str,
    labels: &Labels,
    group: Option<&str>,
) -> Option<PoolId> {
    let in_group = |pool: &Pool| {
        let names = pool.group.as_deref().zip(group);
        names.is_some_and(|(own, asked)| own.eq_ignore_ascii_case(asked))
    };
    let serves = |pool: &Pool| match group {
        _ if !labels.is_empty() => pool.labels.serve(labels),
        Some(_) => in_group(pool),
        None => pool.group.is_some() && pool.policy.default,
    };
    state
        .pools
        .iter()
        .filter(|(_, pool)| !pool.retired && pool.hub == hub && pool.scope.covers(repository))
        .filter(|(_, pool)| serves(pool))
        .min_by_key(|(_, pool)| {
            let named = labels.iter().any(|label| label == pool.name);
            let anything = labels.iter().all(|label| label == "self-hosted");
            (
                !named,
                !in_group(pool),
                anything && !pool.policy.default,
                pool.labels.len(),
                Reverse(pool.policy.priority),
                !pool.policy.default,
                &pool.name,
            )
        })
        .map(|(id, _)| id)
}

/// Whether the job's code may be anybody's, and its pool was not told to run it.
fn is_stranger(state: &State, pool: Option<PoolId>, report: &JobReport) -> bool {
    let admits = |pool: &Pool| pool.admits_public(&report.repository);
    report.public
        && !pool
            .and_then(|pool| state.pools.get(pool))
            .is_some_and(admits)
}

/// Whoever runs a public repository's workflows here should know why they wait.
fn audit_stranger(
    state: &mut State,
    id: JobId,
    pool: Option<PoolId>,
    report: &JobReport,
    fx: &mut Effects,
) {
    let pool = pool.and_then(|pool| state.pools.get(pool));
    let detail = format!(
        "job {} of {}: the repository is public, so anyone's pull request could run on a sled; if that is meant, name it in `public` of pool {}",
        report.number,
        report.repository,
        pool.map_or("(none)", |pool| pool.name.as_str())
    );
    explain::note_unmatched(state, id, detail.clone());
    fx.audit.push(crate::Audit {
        name: "audit.job.public_refused",
        sled: None,
        boot: None,
        job: Some(id),
        detail,
    });
}

/// A job that asks for `self-hosted` and fits nothing is somebody's mistake;
/// any other is GitHub's own (`ubuntu-latest`, …) and is passed over silently.
fn audit_no_pool(state: &mut State, hub: HubId, report: &JobReport, fx: &mut Effects) {
    if !report.labels.iter().any(|label| label == "self-hosted") {
        return;
    }
    let nearest = state
        .pools
        .iter()
        .map(|(_, pool)| pool)
        .filter(|pool| !pool.retired && pool.hub == hub)
        .map(|pool| (missing_count(pool, report), pool))
        .min_by_key(|(missing, _)| *missing);
    let detail = match nearest {
        None => format!(
            "job {} of {}: no pool uses this App",
            report.number, report.repository
        ),
        Some((_, pool)) if !pool.scope.covers(&report.repository) => format!(
            "job {} of {}: pool {} registers at {}, which does not cover it",
            report.number, report.repository, pool.name, pool.scope
        ),
        Some((_, pool)) => format!(
            "job {} of {}: nearest pool {} lacks label {}",
            report.number,
            report.repository,
            pool.name,
            pool.labels
                .missing(&report.labels)
                .unwrap_or("(the job names none)")
        ),
    };
    let id = report.id(hub);
    let job = Some(id);
    explain::note_unmatched(state, id, detail.clone());
    fx.audit.push(crate::Audit {
        name: "audit.job.no_pool_match",
        sled: None,
        boot: None,
        job,
        detail,
    });
}

fn missing_count(pool: &Pool, report: &JobReport) -> usize {
    report
        .labels
        .iter()
        .filter(|label| !pool.labels.iter().any(|own| own == *label))
        .count()
}

/// After the inventory changed: waiting jobs go to the pool that serves them now.
pub(crate) fn rematch(state: &mut State, now: Millis) {
    let waiting: Vec<JobId> = state
        .jobs
        .iter()
        .filter(|(_, job)| job.state == JobState::Queued)
        .map(|(id, _)| id)
        .collect();
    for id in waiting {
        let Some(job) = state.jobs.get(id) else {
            continue;
        };
        let before = job.pool;
        // Which group a job without labels asked for was told once at most.
        let group = before
            .filter(|_| job.labels.is_empty())
            .and_then(|pool| state.pools.get(pool)?.group.as_deref());
        let after = match_pool(state, id.hub, &job.repository, &job.labels, group);
        if before != after {
            schedule::release_boot(state, now, id);
            if let Some(mut job) = state.jobs.get_mut(id) {
                job.pool = after;
            }
            // Nobody counts it any more: GitHub says when it is over.
            if after.is_none() {
                look_up(state, now, id, 0);
            }
        }
    }
}

/// A boot ended, or goes off (which a dead BMC may keep for ever). If GitHub
/// is silent about the job it was for, ask.
pub(crate) fn boot_ended(state: &mut State, now: Millis, boot_id: BootId) {
    let Some(boot) = state.boots.get(boot_id) else {
        return;
    };
    let Some(id) = boot.job.or(boot.for_job) else {
        return;
    };
    let (ran, waits) = (boot.times.running.is_some(), boot.may_have_run());
    let Some(job) = state.jobs.get(id) else {
        return;
    };
    let silent = match job.state {
        JobState::Completed => false,
        JobState::InProgress => job.boot == Some(boot_id),
        JobState::Queued => ran,
    };
    if silent {
        // No other sled is given to a job that waits for the answer.
        let wait_ms = if waits { 0 } else { state.limits.silence_ms };
        look_up(state, now, id, wait_ms);
    }
}

/// Asks GitHub how a job stands, `wait_ms` from now; once, however many ask.
pub(crate) fn look_up(state: &mut State, now: Millis, id: JobId, wait_ms: u64) {
    let asked = |pending: &Pending| matches!(pending.effect, Effect::LookUpJob { .. });
    if state
        .effects_about(Subject::Job(id))
        .any(|(_, pending)| asked(pending))
    {
        return;
    }
    let Some(job) = state.jobs.get(id) else {
        return;
    };
    let effect = Effect::LookUpJob {
        job: id,
        repository: job.repository.as_ref().into(),
    };
    state.push_effect(now.after(wait_ms), effect);
}

/// GitHub was asked about a job and it has not ended. Nothing else may ever
/// tell (actions/runner#4309), so it is asked again where no boot of ours
/// will: a job that runs elsewhere, or whose boot is over.
pub(crate) fn ask_again(state: &mut State, now: Millis, id: JobId) {
    let serving = state.jobs.get(id).and_then(|job| job.serving);
    let serving = serving.and_then(|boot| state.boots.get(boot));
    if serving.is_some_and(Boot::may_have_run) {
        // The runner that ended had another job.
        schedule::release_boot(state, now, id);
    }
    let Some(job) = state.jobs.get(id) else {
        return;
    };
    let served = job
        .boot
        .and_then(|boot| state.boots.get(boot))
        .is_some_and(Boot::is_under_way);
    let wait_ms = match job.state {
        JobState::Completed => return,
        JobState::InProgress if served => return,
        JobState::InProgress if job.boot.is_some() => ASK_AGAIN_MS,
        // Many may run elsewhere, and nothing here waits for them.
        JobState::InProgress => ASK_ELSEWHERE_MS,
        JobState::Queued if job.pool.is_none() => ASK_ELSEWHERE_MS,
        JobState::Queued if now.since(job.delivered_at) < STALE_MS => return,
        JobState::Queued => STALE_MS / 24,
    };
    look_up(state, now, id, wait_ms);
}

/// Between two questions about a job that no sled of ours waits for.
const ASK_ELSEWHERE_MS: u64 = 2 * 60 * 60 * 1000;

/// Between two questions about a job whose boot is over.
const ASK_AGAIN_MS: u64 = 10 * 60 * 1000;

/// GitHub ends a job that nobody took for this long (its usage limits: 24
/// hours), so one that still waits here has ended without our hearing of it.
const STALE_MS: u64 = 24 * 60 * 60 * 1000;

/// How many stale jobs of one pool are asked for at once.
const STALE_AT_ONCE: usize = 16;

/// Asks about jobs that wait for longer than GitHub lets them.
pub(crate) fn ask_stale(state: &mut State, now: Millis) {
    let before = Millis(now.0.saturating_sub(STALE_MS));
    let of_pool = |queue: &'_ PoolQueue| -> Vec<JobId> {
        let repositories = queue.waiting_since(before);
        let jobs = repositories.flat_map(|repository| {
            queue.unserved_of(repository).take_while(|id| {
                let job = state.jobs.get(*id);
                job.is_some_and(|job| job.delivered_at <= before)
            })
        });
        jobs.take(STALE_AT_ONCE).collect()
    };
    let pools = state.jobs.index().pools();
    let stale: Vec<JobId> = pools.flat_map(|(_, queue)| of_pool(queue)).collect();
    for id in stale {
        look_up(state, now, id, 0);
    }
}

/// The boot by which people see how far a job is.
pub(crate) fn serving_boot(state: &State, id: JobId) -> Option<BootId> {
    let job = state.jobs.get(id)?;
    job.boot.or(job.serving)
}
