//! Acceptance runs: a sled that is new or was repaired proves itself before it
//! serves anybody.
//!
//! Where a pool asks for it, every way (back) into service leads over a workflow
//! of the operator's choice. The sled is booted, its runner gets no label but a
//! fresh nonce, so that only the dispatched run can reach it, and the workflow is
//! dispatched once that runner listens. Success puts the sled into service; a run
//! that ends otherwise, or a boot that fails, withholds it. What GitHub or the
//! network failed is no fault of the sled: that is tried again.

use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt::Write as _;

use messages::{BootId, HubId, JobId, Millis, Outcome, PoolId, SledId};
use serde::{Deserialize, Serialize};

use crate::{
    DeliveryResult, DispatchedRun, Effect, Effects, GithubFailure, InventoryError, JobReport,
    Labels, RunReport, boots, placement,
    rows::{Boot, BootStage, Conclusion, JobState, Power},
    runners,
    state::State,
};

mod spec;

pub use spec::AcceptanceSpec;

/// What the one-time label of a runner begins with.
const LABEL: &str = "musher-accept-";

/// What a sled owes before it is in service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptance {
    /// The pool that asks for it.
    pub pool: PoolId,
    /// Since when.
    pub since: Millis,
    /// One-time part of the runner's label; it also names this try to people.
    pub nonce: [u8; 16],
    /// Tries begun.
    pub tries: u32,
    /// No other try before this time.
    pub not_before: Millis,
    /// Why the last try came to nothing, which was not the sled's fault.
    pub problem: Option<String>,
    /// The boot of the present try.
    pub boot: Option<BootId>,
    /// The job of the present try, once GitHub told of it.
    pub job: Option<JobId>,
    /// Page of that job at GitHub.
    pub page: Option<Box<str>>,
    /// A person's word, when it came while the boot was under way.
    pub judged: Option<bool>,
    /// GitHub's id of the present try's run, where it told one.
    pub run: Option<u64>,
    /// How that run ended, when it did before its job reached the sled.
    pub ended: Option<Box<str>>,
}

impl Acceptance {
    /// The nonce in hexadecimal digits.
    #[must_use]
    pub fn nonce(&self) -> String {
        self.nonce.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// The only label of its runner.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{LABEL}{}", self.nonce())
    }
}

/// A sled comes (back) into service: from now on it owes its pool's acceptance
/// run, where one of its pools asks for such.
pub(crate) fn owe(state: &mut State, now: Millis, id: SledId, fx: &mut Effects) {
    let Some(pool) = asking_pool(state, id) else {
        return reconsider(state, now, id, fx);
    };
    let before = state.acceptances.get(id);
    let row = Acceptance {
        pool,
        since: now,
        nonce: fx.random(),
        tries: 0,
        not_before: now,
        problem: None,
        boot: None,
        job: None,
        page: None,
        judged: None,
        run: None,
        ended: None,
    };
    // A try that is under way stays the one that counts.
    let row = match before {
        Some(before) if under_way(state, before) => Acceptance {
            since: now,
            ..before.clone()
        },
        Some(_) | None => row,
    };
    state.acceptances.insert(id, row);
    mark(state, id, true);
    state.audit_sled(fx, "audit.sled.acceptance_owed", id, String::new());
}

fn asking_pool(state: &State, id: SledId) -> Option<PoolId> {
    let asks = |pool: &&PoolId| {
        let pool = state.pools.get(**pool);
        pool.is_some_and(|pool| !pool.retired && pool.acceptance.is_some())
    };
    state.sleds.get(id)?.pools.iter().find(asks).copied()
}

/// Lets the sled's row say whether it owes a run.
fn mark(state: &mut State, id: SledId, owes: bool) {
    if let Some(mut sled) = state.sleds.derived_mut(id) {
        sled.owes_acceptance = owes;
    }
}

/// After loading: rows say again what follows from these.
pub(crate) fn derive(state: &mut State) {
    let owed: Vec<(SledId, Option<BootId>)> = state
        .acceptances
        .iter()
        .map(|(id, row)| (id, row.boot))
        .collect();
    for (id, boot) in owed {
        mark(state, id, true);
        let boot = boot.filter(|boot| {
            let row = state.boots.get(*boot);
            row.is_some_and(Boot::is_under_way)
        });
        if let Some(mut boot) = boot.and_then(|id| state.boots.derived_mut(id)) {
            boot.accepts = true;
        }
    }
}

/// The inventory changed: what no pool asks for any more is not owed.
pub(crate) fn inventory_changed(state: &mut State, now: Millis, fx: &mut Effects) {
    let owed: Vec<SledId> = state.acceptances.keys().collect();
    for id in owed {
        reconsider(state, now, id, fx);
    }
}

/// What no pool asks for any more is not owed, and what another one asks for is
/// owed to that. A try that is under way goes on to its end first.
fn reconsider(state: &mut State, now: Millis, id: SledId, fx: &mut Effects) {
    let asking = asking_pool(state, id);
    let idle = |row: &&Acceptance| !under_way(state, row);
    let Some(pool) = state.acceptances.get(id).filter(idle).map(|row| row.pool) else {
        return;
    };
    match asking {
        None => settle(state, now, id, "no pool asks for it any more", fx),
        Some(asking) if asking != pool => {
            if let Some(mut row) = state.acceptances.get_mut(id) {
                row.pool = asking;
            }
        }
        Some(_) => {}
    }
}

fn under_way(state: &State, row: &Acceptance) -> bool {
    let boot = row.boot.and_then(|boot| state.boots.get(boot));
    boot.is_some_and(|boot| boot.stage != BootStage::Ended)
}

/// Begins the tries that are due and possible.
pub(crate) fn tick(state: &mut State, now: Millis, fx: &mut Effects) {
    let due: Vec<SledId> = state
        .acceptances
        .iter()
        .filter(|(_, row)| row.boot.is_none() && row.not_before <= now)
        .map(|(id, _)| id)
        .collect();
    for id in due {
        if may_begin(state, now, id) {
            begin(state, now, id, fx);
        }
    }
}

fn may_begin(state: &State, now: Millis, id: SledId) -> bool {
    let (Some(sled), Some(row)) = (state.sleds.get(id), state.acceptances.get(id)) else {
        return false;
    };
    let free = matches!(sled.power, Power::Off { .. }) && sled.may_boot();
    let asked = state
        .pools
        .get(row.pool)
        .is_some_and(|pool| pool.acceptance.is_some());
    free && asked && placement::start_of(state, now, row.pool, id).is_none()
}

fn begin(state: &mut State, now: Millis, id: SledId, fx: &mut Effects) {
    let nonce = fx.random();
    let Some(mut row) = state.acceptances.get_mut(id) else {
        return;
    };
    row.nonce = nonce;
    row.tries = row.tries.saturating_add(1);
    row.job = None;
    row.page = None;
    row.judged = None;
    row.run = None;
    row.ended = None;
    let (pool, tries) = (row.pool, row.tries);
    drop(row);
    if let Some(boot) = boots::claim(state, now, id, pool, None, fx)
        && let Some(mut row) = state.acceptances.get_mut(id)
    {
        row.boot = Some(boot);
    }
    state.audit_sled(
        fx,
        "audit.sled.acceptance_begun",
        id,
        format!("try {tries}"),
    );
}

/// Whom the runner of an acceptance boot serves: its repository, its label.
pub(crate) fn runner_of(state: &State, boot: BootId) -> Option<(&str, Labels)> {
    let row = of_boot(state, boot)?.1;
    let spec = state.pools.get(row.pool)?.acceptance.as_ref()?;
    Some((&spec.repository, Labels::new([row.label().as_str()])))
}

fn of_boot(state: &State, boot: BootId) -> Option<(SledId, &Acceptance)> {
    let sled = state.boots.get(boot).filter(|row| row.accepts)?.sled;
    let row = state.acceptances.get(sled)?;
    (row.boot == Some(boot)).then_some((sled, row))
}

/// The runner of a boot listens: its workflow is dispatched.
pub(crate) fn runner_listens(state: &mut State, now: Millis, boot: BootId) {
    let Some((id, row)) = of_boot(state, boot) else {
        return;
    };
    let (Some(sled), Some(pool)) = (state.sleds.get(id), state.pools.get(row.pool)) else {
        return;
    };
    let Some(spec) = &pool.acceptance else {
        return;
    };
    let value = |name: &str| match name {
        "sled.name" => sled.name.to_string(),
        "sled.mac" => sled.mac.to_string(),
        "pool.name" => pool.name.clone(),
        "label" => row.label(),
        _ => row.nonce(),
    };
    let effect = Effect::DispatchWorkflow {
        hub: pool.hub,
        boot,
        repository: spec.repository.clone(),
        workflow: spec.workflow.clone(),
        reference: spec.reference.clone(),
        inputs: spec.filled(value),
    };
    state.push_effect(now, effect);
}

/// GitHub answered a dispatch, or did not. One without an answer may have
/// happened, and is not repeated: a second run would wait for a runner that is
/// never there again.
pub(crate) fn dispatched(
    state: &mut State,
    now: Millis,
    boot: BootId,
    result: Result<Option<DispatchedRun>, GithubFailure>,
    fx: &mut Effects,
) {
    let problem = match result {
        Ok(run) => {
            let page = run.as_ref().and_then(|run| run.page.as_deref());
            let page = String::from(page.unwrap_or_default());
            state.audit(fx, "audit.acceptance.dispatched", Some(boot), page);
            if let Some(run) = run {
                led_to(state, now, boot, run);
            }
            return;
        }
        Err(GithubFailure::Unavailable(why)) => {
            let why = format!("{why}; whether its run was dispatched is not known");
            state.audit(fx, "audit.acceptance.dispatched", Some(boot), why);
            return;
        }
        Err(GithubFailure::RateLimited(ms)) => format!("rate limited for {} s", ms / 1000),
        Err(GithubFailure::Refused(why)) => why,
        Err(GithubFailure::Conflict) => String::from("conflict"),
    };
    let waits = state
        .boots
        .get(boot)
        .is_some_and(|row| row.is_under_way() && row.job.is_none());
    if waits {
        let reason = format!("GitHub did not dispatch its acceptance run: {problem}");
        boots::call_off(state, now, boot, &reason, fx);
    }
}

/// The run that the dispatch for a boot led to.
fn led_to(state: &mut State, now: Millis, boot: BootId, run: DispatchedRun) {
    let Some(id) = of_boot(state, boot).map(|(id, _)| id) else {
        return;
    };
    let pool = state.acceptances.get_mut(id).map(|mut row| {
        row.run = Some(run.id);
        row.page = row.page.take().or(run.page);
        row.pool
    });
    let hub = pool
        .and_then(|pool| state.pools.get(pool))
        .map(|pool| pool.hub);
    let mut ended = state.ended_runs.iter();
    let ended = ended.find(|(of, number, _)| Some(*of) == hub && *number == run.id);
    if let Some(word) = ended.map(|(_, _, word)| word.clone()) {
        run_ended(state, now, id, word);
    }
}

/// After a restart: dispatches that may have been begun have no outcome any
/// more. Their runners wait for a job all the same, for as long as any does.
pub(crate) fn void_dispatches(state: &mut State) {
    let dispatches =
        state.effects_that(|pending| matches!(pending.effect, Effect::DispatchWorkflow { .. }));
    for id in dispatches {
        state.outbox.remove(id);
    }
}

/// The pool at whose behest a job was dispatched, when it is the job of a try.
pub(crate) fn pool_of(state: &State, hub: HubId, report: &JobReport) -> Option<PoolId> {
    let id = sled_of(state, hub, report)?;
    state.acceptances.get(id).map(|row| row.pool)
}

/// The sled whose one-time label a job asks for.
fn sled_of(state: &State, hub: HubId, report: &JobReport) -> Option<SledId> {
    let label = report
        .labels
        .iter()
        .find(|label| label.starts_with(LABEL))?;
    let asked = state.acceptances.iter().find(|(_, row)| {
        row.boot.is_some()
            && row.label() == label
            && state.pools.get(row.pool).is_some_and(|pool| {
                let from = pool.acceptance.as_ref();
                pool.hub == hub
                    && from.is_some_and(|spec| {
                        spec.repository.eq_ignore_ascii_case(&report.repository)
                    })
            })
    });
    asked.map(|(id, _)| id)
}

/// GitHub spoke of a job: if it is the one of a try, that is noted.
pub(crate) fn job_reported(state: &mut State, hub: HubId, report: &JobReport) {
    let Some(id) = sled_of(state, hub, report) else {
        return;
    };
    if let Some(mut row) = state.acceptances.get_mut(id) {
        row.job.get_or_insert(report.id(hub));
        if row.page.is_none() {
            row.page = report.page.clone();
        }
    }
}

/// GitHub spoke of a run. That of a try whose job never reached its sled decides:
/// a workflow that cannot begin has no job at all.
pub(crate) fn run_reported(
    state: &mut State,
    now: Millis,
    hub: HubId,
    report: &RunReport,
) -> DeliveryResult {
    // One that succeeded had its job, of which word is still to come.
    let word = report.conclusion.clone();
    let Some(word) = word.filter(|word| word.as_ref() != "success") else {
        return DeliveryResult::Ignored;
    };
    let asks = |row: &Acceptance| {
        let pool = state.pools.get(row.pool).filter(|pool| pool.hub == hub);
        let spec = pool.and_then(|pool| pool.acceptance.as_ref());
        spec.is_some_and(|spec| spec.repository.eq_ignore_ascii_case(&report.repository))
    };
    let (mut known, mut may_be_named) = (None, false);
    for (id, row) in state.acceptances.iter().filter(|(_, row)| asks(row)) {
        if row.run == Some(report.run_id) {
            known = Some(id);
        }
        may_be_named |= row.boot.is_some() && row.run.is_none();
    }
    if let Some(id) = known {
        return run_ended(state, now, id, word);
    }
    // The answer to its dispatch may come behind it.
    if may_be_named {
        state.ended_runs.truncate(ENDED_RUNS - 1);
        state.ended_runs.push_front((hub, report.run_id, word));
    }
    DeliveryResult::Ignored
}

/// Runs that ended and that no try is known to have led to: so many are kept.
const ENDED_RUNS: usize = 32;

/// The run of a try ended as `word`.
fn run_ended(state: &mut State, now: Millis, id: SledId, word: Box<str>) -> DeliveryResult {
    let boot = state.acceptances.get(id).and_then(|row| row.boot);
    let waits = |boot: &Boot| boot.is_under_way() && boot.job.is_none();
    let Some(boot) = boot.filter(|boot| state.boots.get(*boot).is_some_and(waits)) else {
        return DeliveryResult::Ignored;
    };
    if let Some(mut row) = state.acceptances.get_mut(id) {
        row.ended = Some(word);
    }
    // Word of its job may come behind this one: GitHub says whether its runner
    // has any, and its boot ends when that is gone.
    runners::delete(state, now, boot);
    DeliveryResult::Updated
}

/// A boot ended, or GitHub told how a job ended: judges the try that waited for
/// both.
pub(crate) fn judge(state: &mut State, now: Millis, id: SledId, fx: &mut Effects) {
    let Some(row) = state.acceptances.get(id) else {
        return;
    };
    let Some(boot_id) = row.boot else { return };
    let boot = state.boots.get(boot_id);
    if boot.is_some_and(|boot| boot.stage != BootStage::Ended) {
        return;
    }
    let (judged, ended) = (row.judged, row.ended.clone());
    let job = boot.and_then(|boot| boot.job).or(row.job);
    let served = job.and_then(|job| state.jobs.get(job));
    let here = served.is_some_and(|job| job.boot == Some(boot_id));
    match (judged, boot.and_then(|boot| boot.outcome.clone()), served) {
        (Some(passed), _, _) => by_hand(state, now, id, passed, fx),
        // Its result is still to come: GitHub is asked if it stays silent.
        (None, Some(Outcome::Ran | Outcome::Unused { .. }), Some(job))
            if here && job.state != JobState::Completed => {}
        (None, Some(Outcome::Ran | Outcome::Unused { .. }), Some(job)) if here => {
            match &job.conclusion {
                Some(Conclusion::Said(word)) if word.as_ref() == "success" => {
                    settle(state, now, id, "its run succeeded", fx);
                }
                Some(Conclusion::Said(word)) => {
                    let reason = format!("its acceptance run ended as {word}");
                    refuse(state, now, id, reason, fx);
                }
                Some(Conclusion::Silent) | None => {
                    let reason = "GitHub never told how its acceptance run ended";
                    refuse(state, now, id, reason.into(), fx);
                }
            }
        }
        (None, Some(Outcome::Failed { reason }), _) if state.outage.next_probe().is_none() => {
            refuse(
                state,
                now,
                id,
                format!("its acceptance boot failed: {reason}"),
                fx,
            );
        }
        (None, _, _) if ended.is_some() => {
            let word = ended.unwrap_or_default();
            let reason =
                format!("its acceptance run ended as {word}, and no job of it came to the sled");
            refuse(state, now, id, reason, fx);
        }
        (None, Some(Outcome::Unused { reason } | Outcome::Failed { reason }), _) => {
            try_again(state, now, id, reason, fx);
        }
        (None, Some(Outcome::Ran) | None, _) => {
            let problem = "its runner got no acceptance run";
            try_again(state, now, id, problem.into(), fx);
        }
    }
}

/// The acceptance whose try this boot or job is of.
pub(crate) fn job_ended(state: &mut State, now: Millis, job: JobId, fx: &mut Effects) {
    let of_job = |(_, row): &(SledId, &Acceptance)| {
        let boot = row.boot.and_then(|boot| state.boots.get(boot));
        row.job == Some(job) || boot.is_some_and(|boot| boot.job == Some(job))
    };
    let sled = state.acceptances.iter().find(of_job).map(|(id, _)| id);
    if let Some(id) = sled {
        judge(state, now, id, fx);
    }
}

/// The sled that proves itself by this job.
pub(crate) fn sled_of_job(state: &State, job: JobId) -> Option<SledId> {
    let mut owed = state.acceptances.iter();
    owed.find(|(_, row)| row.job == Some(job)).map(|(id, _)| id)
}

/// What a sled that is off waits for, for people.
pub(crate) fn words(state: &State, now: Millis, id: SledId) -> Option<String> {
    let row = state.acceptances.get(id)?;
    let pool = state.pools.get(row.pool)?;
    let because = match (&row.problem, row.not_before > now) {
        (Some(problem), true) => format!(
            "; the last one came to nothing ({problem}), the next is tried in {} s",
            row.not_before.since(now).div_ceil(1000)
        ),
        (Some(problem), false) => format!("; the last one came to nothing ({problem})"),
        (None, _) => String::new(),
    };
    let page = row.page.as_ref();
    let page = page.map_or_else(String::new, |page| format!(" ({page})"));
    Some(format!(
        "it owes pool {} an acceptance run{page} before it serves{because}",
        pool.name
    ))
}

/// The sled is in service.
fn settle(state: &mut State, now: Millis, id: SledId, why: &str, fx: &mut Effects) {
    state.acceptances.remove(id);
    mark(state, id, false);
    state.checks.insert(id, now);
    state.audit_sled(fx, "audit.sled.accepted", id, why.to_string());
}

/// The sled is withheld; once it is released it owes another run.
fn refuse(state: &mut State, now: Millis, id: SledId, reason: String, fx: &mut Effects) {
    let page = state.acceptances.get(id).and_then(|row| row.page.clone());
    let page = page.map_or_else(String::new, |page| format!(" ({page})"));
    if let Some(mut row) = state.acceptances.get_mut(id) {
        row.boot = None;
    }
    let reason = format!("{reason}{page}: mend it, then release it for another run");
    boots::quarantine(state, now, id, reason, fx);
}

/// Longest wait between two tries, in milliseconds.
const LONGEST_MS: u64 = 60 * 60_000;

fn try_again(state: &mut State, now: Millis, id: SledId, problem: String, fx: &mut Effects) {
    let Some(mut row) = state.acceptances.get_mut(id) else {
        return;
    };
    let wait = 60_000u64.saturating_mul(1 << row.tries.min(6));
    row.not_before = now.after(wait.min(LONGEST_MS));
    row.problem = Some(problem);
    row.boot = None;
    drop(row);
    reconsider(state, now, id, fx);
}

/// A person judges what a sled owes, named by the sled or by the nonce of the
/// present try.
///
/// # Errors
/// When nothing is owed under that name, or the sled is withheld. Nothing was
/// changed.
pub(crate) fn accept(
    state: &mut State,
    now: Millis,
    name: &str,
    passed: bool,
    fx: &mut Effects,
) -> Result<(), InventoryError> {
    let named = state.sled_by_name(name);
    let owed = state
        .acceptances
        .iter()
        .find(|(id, row)| named == Some(*id) || row.nonce() == name);
    let Some((id, row)) = owed else {
        return Err(InventoryError::NoAcceptance(name.into()));
    };
    let boot = row.boot.filter(|_| under_way(state, row));
    let withheld = state.sleds.get(id).filter(|sled| sled.quarantine.is_some());
    if let (None, Some(sled), true) = (boot, withheld, passed) {
        return Err(InventoryError::Quarantined(sled.name.to_string()));
    }
    let Some(boot) = boot else {
        by_hand(state, now, id, passed, fx);
        return Ok(());
    };
    // It goes on to its end: its runner has no label but its own.
    if let Some(mut row) = state.acceptances.get_mut(id) {
        row.judged = Some(passed);
    }
    let waits = state
        .boots
        .get(boot)
        .is_some_and(|row| row.is_on_its_way() && row.stage != BootStage::Running);
    if waits {
        boots::call_off(state, now, boot, "a person judged its acceptance", fx);
    }
    Ok(())
}

fn by_hand(state: &mut State, now: Millis, id: SledId, passed: bool, fx: &mut Effects) {
    if passed {
        settle(state, now, id, "a person accepted it", fx);
    } else {
        refuse(state, now, id, "a person did not accept it".into(), fx);
    }
}
