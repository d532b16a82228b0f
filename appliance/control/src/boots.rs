//! Boots: from the claim of a sled to the proof that it is off.
//!
//! ```text
//! claim ─► PoweringOn ─► Netbooting ─► Wiping ─► Ready ─► Ordered ─► Running
//!              │             │            │        │         │          │
//!              └─────────────┴────────────┴────────┴─────────┴──────────┴─► PoweringOff ─► Ended
//! ```
//! The way forward is walked by evidence (`outcomes`, `netboot`, `agents`,
//! `runners`); every way out ends in `PoweringOff`, and only `power` ends that.

use alloc::{format, string::String, vec::Vec};

use messages::{BootId, JobId, Millis, Outcome, PoolId, SledId, TicketToken};

use crate::{
    Effect, Effects, StageTimes, acceptance, by_hand, drift, energy, holds,
    index::outbox::Subject,
    jobs, outage, power, receipts, reruns, retention,
    rows::{Boot, BootStage, Power, Timeline, Withheld},
    runners, schedule,
    state::State,
};

/// How often silent agents are looked for, in milliseconds.
const LISTEN_MS: u64 = 10_000;

/// How a boot that must end is to be turned off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Off {
    /// Its agent does it, and is cut only when it does not.
    Asked,
    /// Nobody is there to do it, or nobody to trust.
    Cut,
}

/// Grants a sled to a pool's demand, or lets it prove itself.
pub(crate) fn claim(
    state: &mut State,
    now: Millis,
    sled_id: SledId,
    pool_id: PoolId,
    for_job: Option<JobId>,
    fx: &mut Effects,
) -> Option<BootId> {
    let pool = state.pools.get(pool_id)?;
    let image = pool.image.clone();
    let id = state.meta().next_boot;
    let mut sled = state.sleds.get_mut(sled_id)?;
    sled.generation.0 += 1;
    sled.power = Power::Claimed { boot: id };
    sled.last_boot = Some(id);
    let (generation, circuit) = (sled.generation, sled.circuit);
    let accepts = sled.owes_acceptance;
    drop(sled);
    state.count(|meta| meta.next_boot = BootId(id.0 + 1));
    if let Some(circuit) = circuit {
        state.last_start.insert(circuit, now);
    }
    let ticket = TicketToken(fx.random());
    let boot = Boot {
        sled: sled_id,
        generation,
        pool: pool_id,
        image,
        for_job: None,
        stage: BootStage::PoweringOn,
        deadline: Millis(u64::MAX),
        ticket,
        key: None,
        times: Timeline {
            claimed: now,
            ..Timeline::default()
        },
        power_edge: false,
        replayed: false,
        override_confirmed: false,
        runner: None,
        mints: 0,
        job: None,
        inventory: None,
        wipe: None,
        end: None,
        outcome: None,
        power_cut: false,
        receipt: None,
        energy: None,
        repository: None,
        circuit,
        accepts,
    };
    state.boots.insert(id, boot);
    enter(state, now, id, BootStage::PoweringOn);
    if let Some(job) = for_job {
        schedule::pair(state, now, id, job);
    }
    state.push_effect(
        now,
        Effect::PowerOn {
            sled: sled_id,
            boot: id,
            generation,
        },
    );
    outage::probe(state, now, fx);
    state.audit(
        fx,
        "audit.sled.claim",
        Some(id),
        format!("generation {generation}"),
    );
    Some(id)
}

/// Moves a boot to its next stage and arms that stage's deadline.
pub(crate) fn enter(state: &mut State, now: Millis, id: BootId, stage: BootStage) {
    let deadline = now.after(stage_ms(state, now, id, &stage));
    if let Some(mut boot) = state.boots.get_mut(id) {
        boot.stage = stage;
        boot.deadline = deadline;
    }
}

/// How long a stage may take, in milliseconds.
pub(crate) fn stage_ms(state: &State, now: Millis, id: BootId, stage: &BootStage) -> u64 {
    let limits = &state.limits;
    match stage {
        BootStage::PoweringOn => learned(state, id, |times| &times.power_on, limits.power_on_ms),
        BootStage::Netbooting => learned(state, id, |times| &times.netboot, limits.netboot_ms),
        BootStage::Wiping => learned(state, id, |times| &times.wipe, limits.wipe_ms),
        BootStage::Ready => match state.boots.get(id) {
            Some(boot) if boot.is_spare() => warm_ms(state, boot),
            _ => limits.ready_ms,
        },
        BootStage::Ordered => limits.accept_ms,
        BootStage::Running => {
            let has_job = state.boots.get(id).is_some_and(|boot| boot.job.is_some());
            if has_job {
                run_ms(state, id)
            } else {
                limits.idle_ms
            }
        }
        BootStage::Held => holds::stage_ms(state, now, id),
        BootStage::PoweringOff { cuts: 0 } => limits.power_off_ms,
        BootStage::PoweringOff { .. } => limits.cut_ms,
        BootStage::Ended => u64::MAX,
    }
}

/// Why a boot failed whose runner was still there at the end of its time.
const RAN_TOO_LONG: &str = "the runner did not end in time";

/// Boots of a sled that its deadlines are learned from.
const LEARN_FROM: usize = 20;

/// Fewest boots that say anything.
const LEARN_AFTER: usize = 5;

/// What a stage may take, over the longest that it took of late.
const SLACK: u64 = 3;

/// Least time that a learned deadline leaves, in milliseconds.
const LEAST_MS: u64 = 60_000;

/// How long a stage may take on this sled: a multiple of the longest of its
/// last good boots, never more than the limit.
fn learned(state: &State, id: BootId, of: impl Fn(&StageTimes) -> &Vec<u32>, limit_ms: u64) -> u64 {
    let sled = state
        .boots
        .get(id)
        .and_then(|boot| state.sleds.get(boot.sled));
    let times = sled.map(|sled| of(&sled.times));
    let longest = times
        .filter(|times| times.len() >= LEARN_AFTER)
        .and_then(|times| times.iter().max());
    longest.map_or(limit_ms, |longest| {
        (u64::from(*longest) * SLACK).max(LEAST_MS).min(limit_ms)
    })
}

/// Notes what the stages of a good boot took.
fn note_times(times: &mut StageTimes, boot: &Timeline) {
    for (stage, from, to) in [
        (&mut times.power_on, Some(boot.claimed), boot.power_on),
        (&mut times.netboot, boot.power_on, boot.agent),
        (&mut times.wipe, boot.agent, boot.wiped),
    ] {
        let took = from.zip(to).map(|(from, to)| u32::try_from(to.since(from)));
        stage.extend(took.and_then(Result::ok));
        let surplus = stage.len().saturating_sub(LEARN_FROM);
        stage.drain(..surplus);
    }
}

/// How long a wiped sled may wait for a job: its image and its proof age.
fn warm_ms(state: &State, boot: &Boot) -> u64 {
    let pool = state.pools.get(boot.pool);
    pool.map_or(state.limits.ready_ms, |pool| pool.policy.warm.max_age_ms)
}

/// Longest run of a boot's job: the agent ends it at the pool's limit, so the
/// appliance waits a little longer than that.
fn run_ms(state: &State, id: BootId) -> u64 {
    let pool = state
        .boots
        .get(id)
        .and_then(|boot| state.pools.get(boot.pool));
    let run_s = pool.map_or(6 * 3600, |pool| pool.max_runtime_s);
    run_s
        .saturating_mul(1000)
        .saturating_add(state.limits.finish_ms)
}

/// What a boot is doing, after its sled's name.
pub(crate) const fn doing(stage: &BootStage) -> &'static str {
    match stage {
        BootStage::PoweringOn => "is being powered on",
        BootStage::Netbooting => "boots over the network",
        BootStage::Wiping => "wipes its disks",
        BootStage::Ready => "is wiped and waits for a runner from GitHub",
        BootStage::Ordered => "fetches its image",
        BootStage::Running => "runs a runner that waits for a job",
        BootStage::Held => "is held for people to look at",
        BootStage::PoweringOff { .. } => "powers off",
        BootStage::Ended => "is off",
    }
}

/// How far a boot has come, for choosing which one to call off.
pub(crate) const fn progress(boot: &Boot) -> u32 {
    stage_progress(&boot.stage)
}

/// How far a boot in this stage has come.
pub(crate) const fn stage_progress(stage: &BootStage) -> u32 {
    match stage {
        BootStage::PoweringOn => 0,
        BootStage::Netbooting => 1,
        BootStage::Wiping => 2,
        BootStage::Ready => 3,
        BootStage::Ordered => 4,
        BootStage::Running => 5,
        BootStage::Held => 6,
        BootStage::PoweringOff { .. } => 7,
        BootStage::Ended => 8,
    }
}

/// A stage took too long.
pub(crate) fn deadline_missed(state: &mut State, now: Millis, id: BootId, fx: &mut Effects) {
    let Some(boot) = state.boots.get(id) else {
        return;
    };
    let has_job = boot.job.is_some();
    match boot.stage.clone() {
        BootStage::PoweringOn => fail(
            state,
            now,
            id,
            "power on could not be proved in time",
            Off::Cut,
            fx,
        ),
        BootStage::Netbooting => fail(state, now, id, netboot_evidence(state, id), Off::Cut, fx),
        BootStage::Wiping => fail(state, now, id, "the wipe did not end in time", Off::Cut, fx),
        BootStage::Ready if boot.is_spare() => {
            call_off(state, now, id, "it was warm for too long", fx);
        }
        BootStage::Ready => call_off(state, now, id, "no runner could be registered in time", fx),
        BootStage::Ordered => {
            fail(
                state,
                now,
                id,
                "the agent did not accept its order in time",
                Off::Cut,
                fx,
            );
        }
        BootStage::Running if has_job => {
            fail(state, now, id, RAN_TOO_LONG, Off::Cut, fx);
        }
        BootStage::Running if ran_too_long(state, now, id) => {
            fail(state, now, id, RAN_TOO_LONG, Off::Cut, fx);
        }
        // Started, and GitHub names no job: ask it before anything is cut.
        BootStage::Running => {
            enter(state, now, id, BootStage::Running);
            runners::delete(state, now, id);
        }
        BootStage::Held => holds::end(state, now, id, fx),
        BootStage::PoweringOff { cuts } => power::cut_again(state, now, id, cuts, fx),
        BootStage::Ended => {}
    }
}

/// Ends boots whose agents went silent in a run. Agents speak every few
/// seconds, and stop their runner and power off when nobody answers them for
/// an hour: whatever still draws power after that serves nobody.
pub(crate) fn miss_silent_agents(state: &mut State, now: Millis, fx: &mut Effects) {
    if now.since(state.listened) < LISTEN_MS {
        return;
    }
    state.listened = now;
    let running: Vec<BootId> = state.boots.index().running.iter().copied().collect();
    for id in running {
        // After a restart the silence is counted anew.
        let heard = *state.heard.entry(id).or_insert(now);
        if now.since(heard) < state.limits.silent_agent_ms {
            continue;
        }
        if holds::is_held(state, id) {
            holds::end(state, now, id, fx);
        } else {
            let reason = "its agent was not heard for too long";
            fail(state, now, id, reason, Off::Cut, fx);
        }
    }
}

fn ran_too_long(state: &State, now: Millis, id: BootId) -> bool {
    let started = state.boots.get(id).and_then(|boot| boot.times.running);
    // The clock may have jumped while we were away; the agent keeps the limit
    // by its own.
    started.is_some_and(|started| now.since(started.max(state.started)) > run_ms(state, id))
}

/// What was seen of a netboot that never reached its agent.
fn netboot_evidence(state: &State, id: BootId) -> &'static str {
    let times = state.boots.get(id).map(|boot| &boot.times);
    match times.map(|times| (times.dhcp.is_some(), times.kernel.is_some())) {
        Some((false, _)) => {
            "no DHCP request came: is network boot first in its boot order, and the cable in the sled network?"
        }
        Some((true, false)) => "it asked for an address, but never fetched its kernel",
        Some((true, true)) => "it fetched its kernel, but its agent never spoke",
        None => "it never reached its agent",
    }
}

/// Ends a boot that is not needed. Not the sled's fault.
pub(crate) fn call_off(state: &mut State, now: Millis, id: BootId, reason: &str, fx: &mut Effects) {
    let Some(boot) = state.boots.get(id) else {
        return;
    };
    let off = if boot.key.is_some() {
        Off::Asked
    } else {
        Off::Cut
    };
    let outcome = Outcome::Unused {
        reason: reason.into(),
    };
    state.audit(fx, "audit.boot.called_off", Some(id), reason.into());
    begin_power_off(state, now, id, outcome, off, fx);
}

/// Ends a boot that failed, and counts it against the sled.
pub(crate) fn fail(
    state: &mut State,
    now: Millis,
    id: BootId,
    reason: impl Into<String>,
    off: Off,
    fx: &mut Effects,
) {
    let reason = reason.into();
    let Some(boot) = state.boots.get(id) else {
        return;
    };
    let sled_id = boot.sled;
    state.audit(fx, "audit.boot.failed", Some(id), reason.clone());
    let stage = boot.stage.clone();
    let counts = outage::failed(state, now, sled_id, &stage, fx);
    let mut failures = 0;
    if counts && let Some(mut sled) = state.sleds.get_mut(sled_id) {
        sled.failures = sled.failures.saturating_add(1);
        failures = sled.failures;
    }
    begin_power_off(
        state,
        now,
        id,
        Outcome::Failed {
            reason: reason.clone(),
        },
        off,
        fx,
    );
    reruns::boot_fails(state, now, id, fx);
    if failures >= state.limits.failures {
        let why = format!("{failures} boots in a row failed, the last one because: {reason}");
        quarantine(state, now, sled_id, why, fx);
    }
}

/// Nothing more is wanted of this boot but to be off.
pub(crate) fn begin_power_off(
    state: &mut State,
    now: Millis,
    id: BootId,
    outcome: Outcome,
    off: Off,
    fx: &mut Effects,
) {
    let Some(boot) = state.boots.get(id) else {
        return;
    };
    if matches!(boot.stage, BootStage::PoweringOff { .. } | BootStage::Ended) {
        return;
    }
    let sled = boot.sled;
    // A power-on under way may still turn it on after its agent turned it off:
    // a power-off behind it in the driver's queue settles that.
    let turning_on = !state
        .withdraw_effects(
            Subject::Sled(sled),
            |effect| matches!(effect, Effect::PowerOn { boot, .. } if *boot == id),
        )
        .is_empty();
    runners::abandon(state, now, id);
    if let Some(mut boot) = state.boots.get_mut(id) {
        boot.outcome = Some(outcome);
        boot.repository = None;
        boot.circuit = None;
        boot.accepts = false;
    }
    enter(state, now, id, BootStage::PoweringOff { cuts: 0 });
    if !state.boots.get(id).is_some_and(Boot::may_have_run) {
        schedule::release_job(state, id);
    }
    state
        .checks
        .insert(sled, now.after(state.limits.off_poll_ms));
    if off == Off::Cut || turning_on {
        power::cut(state, now, id, fx);
    }
    jobs::boot_ended(state, now, id);
    fx.wake.push(id);
}

/// Withholds a sled. Its boot, if it has one, goes on to its end by itself.
pub(crate) fn quarantine(
    state: &mut State,
    now: Millis,
    id: SledId,
    reason: String,
    fx: &mut Effects,
) {
    let Some(mut sled) = state.sleds.get_mut(id) else {
        return;
    };
    if sled.quarantine.is_some() {
        return;
    }
    sled.quarantine = Some(Withheld {
        since: now,
        reason: reason.clone(),
    });
    drop(sled);
    state.audit_sled(fx, "audit.sled.quarantine", id, reason);
}

/// GitHub says the boot's job is over: its runner has a little time to end.
pub(crate) fn job_completed(state: &mut State, now: Millis, id: BootId, fx: &mut Effects) {
    holds::job_ended(state, now, id, fx);
    let deadline = now.after(state.limits.finish_ms);
    let running = state
        .boots
        .get(id)
        .is_some_and(|boot| boot.stage == BootStage::Running);
    if running && let Some(mut boot) = state.boots.get_mut(id) {
        boot.deadline = boot.deadline.min(deadline);
    }
}

/// Power is proved off: makes the receipt and frees the sled.
pub(crate) fn end(state: &mut State, now: Millis, id: BootId, fx: &mut Effects) {
    let Some(mut boot) = state.boots.get_mut(id) else {
        return;
    };
    boot.stage = BootStage::Ended;
    boot.times.off = Some(now);
    boot.deadline = Millis(u64::MAX);
    let sled_id = boot.sled;
    let ran = matches!(boot.outcome, Some(Outcome::Ran));
    let (pool, held_ms) = (boot.pool, now.since(boot.times.claimed));
    let generation = boot.generation;
    let times = ran.then(|| boot.times.clone());
    drop(boot);
    schedule::release_job(state, id);
    if ran {
        outage::got_through(state, u32::MAX, fx);
        schedule::note_busy(state, pool, held_ms);
    }
    if let Some(mut sled) = state.sleds.get_mut(sled_id) {
        sled.power = Power::Off { since: now };
        sled.power_problem = None;
        if let Some(times) = times {
            sled.failures = 0;
            note_times(&mut sled.times, &times);
        }
    }
    state.withdraw_effects(Subject::Sled(sled_id), |effect| {
        matches!(effect, Effect::PowerOff { sled, generation: of } if *sled == sled_id && *of == generation)
    });
    state.heard.remove(&id);
    state.began.remove(&id);
    state.read_off.remove(&id);
    state
        .checks
        .insert(sled_id, now.after(state.limits.power_poll_ms));
    if let Some(energy) = energy::take(state, id)
        && let Some(mut boot) = state.boots.get_mut(id)
    {
        boot.energy = Some(energy);
    }
    by_hand::read_off(state, now, sled_id);
    drift::ask(state, now, sled_id, fx);
    receipts::make(state, now, id, fx);
    jobs::boot_ended(state, now, id);
    acceptance::judge(state, now, sled_id, fx);
    forget_ended(state, now);
    state.forget_retired();
    state.audit(fx, "audit.sled.off", Some(id), String::from("proved off"));
}

/// Ended boots beyond the bounds leave, oldest first. Their receipts stay.
pub(crate) fn forget_ended(state: &mut State, now: Millis) {
    let ended = state.boots.index().ended.iter().copied();
    for id in retention::leaving(ended, state.limits.history, retention::since(state, now)) {
        state.boots.remove(id);
    }
}
