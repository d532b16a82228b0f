//! Why a job is where it is, for people: the answer of the rules that schedule
//! it, in words.

use alloc::{format, string::String};

use messages::{JobId, Millis};
use serde::Serialize;

use crate::{
    acceptance, boots,
    placement::Hindrance,
    rows::{Boot, Job, JobState},
    schedule,
    state::State,
};

/// Why a job is where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// GitHub's number.
    pub job: u64,
    /// One word for programs, such as `all-busy`.
    pub reason: &'static str,
    /// The same for people, with the way out where there is one.
    pub text: String,
    /// Pool that serves it.
    pub pool: Option<String>,
    /// Waiting jobs of its pool that are likely to start before it.
    pub ahead: Option<usize>,
    /// When it is likely to start, from how long sleds of its pool were busy of
    /// late; absent when nothing is known yet.
    pub expected_start: Option<Millis>,
}

/// Jobs of which it is remembered why no pool fits them.
const UNMATCHED: usize = 256;

/// Remembers why a job fits no pool, until others push it out.
pub(crate) fn note_unmatched(state: &mut State, id: JobId, why: String) {
    state.unmatched.retain(|(known, _)| *known != id);
    if state.unmatched.len() >= UNMATCHED {
        state.unmatched.pop_front();
    }
    state.unmatched.push_back((id, why));
}

impl State {
    /// Why the job with GitHub's `number` is where it is.
    #[must_use]
    pub fn explain(&self, now: Millis, number: u64) -> Option<Explanation> {
        let Some((id, job)) = self.job_by_number(number) else {
            let (_, why) = self.unmatched.iter().find(|(id, _)| id.number == number)?;
            return Some(plain(number, "no-pool-fits", why.clone()));
        };
        Some(explain(self, now, id, job))
    }
}

fn plain(job: u64, reason: &'static str, text: String) -> Explanation {
    Explanation {
        job,
        reason,
        text,
        pool: None,
        ahead: None,
        expected_start: None,
    }
}

fn explain(state: &State, now: Millis, id: JobId, job: &Job) -> Explanation {
    let pool = job.pool.and_then(|pool| state.pools.get(pool));
    let mut said = match (job.state, pool) {
        (JobState::Completed, _) => plain(id.number, "ended", String::from("it has ended")),
        (JobState::InProgress, _) => plain(id.number, "running", running(job)),
        (JobState::Queued, None) => {
            let (reason, text) = without_pool(state, id);
            plain(id.number, reason, text)
        }
        (JobState::Queued, Some(_)) => waiting(state, now, id, job),
    };
    said.pool = pool.map(|pool| pool.name.clone());
    said
}

/// Why a job that waits has no pool.
pub(crate) fn without_pool(state: &State, id: JobId) -> (&'static str, String) {
    let proved = acceptance::sled_of_job(state, id).and_then(|sled| state.sled_name(sled));
    match proved {
        Some(sled) => (
            "acceptance",
            format!("sled {sled} proves itself by it, and takes it as soon as its runner listens"),
        ),
        None => (
            "no-pool-fits",
            String::from("no pool fits it any more since the inventory changed"),
        ),
    }
}

fn running(job: &Job) -> String {
    match &job.taken_by {
        Some(name) => format!("it runs on {name}, which is not ours"),
        None => String::from("it runs on a sled"),
    }
}

fn waiting(state: &State, now: Millis, id: JobId, job: &Job) -> Explanation {
    if let Some((boot_id, boot)) = job
        .serving
        .and_then(|boot| Some((boot, state.boots.get(boot)?)))
    {
        if boot.may_have_run() {
            let text = format!("boot {boot_id} ended, and GitHub is asked whether it ran this job");
            return plain(id.number, "asking", text);
        }
        let text = starting(state, now, boot);
        return plain(id.number, "starting", format!("boot {boot_id}: {text}"));
    }
    let mut said = match schedule::hindrance(state, now, job) {
        None => plain(
            id.number,
            "starting",
            String::from("a sled is free and is being claimed"),
        ),
        Some(hindrance) => {
            let (reason, text) = words(state, now, job, &hindrance);
            plain(id.number, reason, text)
        }
    };
    if let Some(text) = assurance(state, job) {
        said = plain(id.number, "assurance", format!("{}; {text}", said.text));
    }
    let ahead = schedule::ahead(state, id, job);
    said.ahead = Some(ahead);
    said.expected_start = job
        .pool
        .and_then(|pool| schedule::expected_start(state, now, pool, ahead));
    said
}

/// Why no boot is good enough for the job's pool, where none of late was.
fn assurance(state: &State, job: &Job) -> Option<String> {
    let id = job.pool?;
    let pool = state.pools.get(id)?;
    let serves = state
        .sleds
        .iter()
        .filter(|(_, sled)| sled.pools.contains(&id));
    let grades = serves.filter_map(|(_, sled)| {
        let boot = state.boots.get(sled.last_boot?)?;
        boot.times.wiped?;
        Some(boot.assurance())
    });
    let best = grades.max().filter(|best| *best < pool.min_assurance)?;
    Some(format!(
        "its sleds' last boots were graded {} at best, and pool {} asks for {}: see `musher receipts show` for what was not seen",
        best.as_str(),
        pool.name,
        pool.min_assurance.as_str()
    ))
}

/// How far a boot is and how long its stage may still take.
fn starting(state: &State, now: Millis, boot: &Boot) -> String {
    let sled = state.sled_name(boot.sled).unwrap_or("(gone)");
    let left = boot.deadline.since(now) / 1000;
    let stage = boots::doing(&boot.stage);
    format!("sled {sled} {stage}, for at most {left} s more")
}

/// What keeps a job waiting, as a word and as a sentence.
pub(crate) fn words(
    state: &State,
    now: Millis,
    job: &Job,
    hindrance: &Hindrance,
) -> (&'static str, String) {
    let pool = job.pool.and_then(|pool| state.pools.get(pool));
    let name = pool.map_or("(gone)", |pool| pool.name.as_str());
    let seconds = |until: &Millis| until.since(now).div_ceil(1000);
    match hindrance {
        Hindrance::Retired => ("pool-gone", format!("pool {name} left the inventory")),
        Hindrance::Paused(pause) => (
            "paused",
            format!("pool {name} is paused ({}): resume it", pause.reason),
        ),
        Hindrance::Blocked { until, problem } => (
            "github-refused",
            format!(
                "GitHub refused pool {name}: {problem}; tried again in {} s",
                seconds(until)
            ),
        ),
        Hindrance::PoolCap(cap) => (
            "pool-cap",
            format!("pool {name} uses as many sleds as it may: {cap}"),
        ),
        Hindrance::RepositoryCap(cap) => (
            "repository-cap",
            format!(
                "{} uses as many sleds of pool {name} as it may: {cap}",
                job.repository
            ),
        ),
        Hindrance::NoneInService => ("no-sled", none_in_service(state, job, name)),
        Hindrance::AllBusy => ("all-busy", format!("every sled of pool {name} is busy")),
        Hindrance::KeptFor(other) => (
            "kept",
            format!("the free sleds of pool {name} are kept for pool {other}"),
        ),
        Hindrance::Dwell(until) => (
            "dwell",
            format!("a sled stays off for {} s more", seconds(until)),
        ),
        Hindrance::Unread => (
            "bmc-check",
            String::from("the BMC of a free sled is asked whether its settings are what they were"),
        ),
        Hindrance::Watts { circuit, watts } => (
            "power-budget",
            format!("circuit {circuit} gives no more than {watts} W"),
        ),
        Hindrance::Starts { circuit, starts } => (
            "power-budget",
            format!("circuit {circuit} starts {starts} sleds already"),
        ),
        Hindrance::Outage(until) => (
            "outage",
            format!(
                "sleds failed one after the other and none got through: the next is tried in {} s; look at the sled network, the BMCs' network and GitHub",
                seconds(until)
            ),
        ),
        Hindrance::Stagger(until) => (
            "power-budget",
            format!("its circuit may start a sled in {} s", seconds(until)),
        ),
    }
}

fn none_in_service(state: &State, job: &Job, pool: &str) -> String {
    let serves = |pools: &[_]| job.pool.is_some_and(|pool| pools.contains(&pool));
    let withheld = state.sleds.iter().filter(|(_, sled)| serves(&sled.pools));
    match withheld.count() {
        0 => format!("pool {pool} has no sleds: add one to the inventory"),
        1 => format!("the only sled of pool {pool} is withheld: see `musher sleds`"),
        count => format!("all {count} sleds of pool {pool} are withheld: see `musher sleds`"),
    }
}
