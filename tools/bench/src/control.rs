//! The control core alone: in process, on one thread, in virtual time, with
//! the deliveries, answers of drivers and words of agents that a busy site
//! makes. Changes are drained to rows and due effects are looked for as the
//! daemon's engine does it; nothing is stored.
//!
//! Rates are of the thread's processor time, best of several turns: what
//! others do on the machine is not ours. The mix is that of the steady state,
//! where every job that starts is followed by a new one, and for each tenth a
//! waiting one is cancelled and followed: per job run, three deliveries and
//! some fourteen questions, answers and words between the claim of its sled
//! and the proof that it is off, and the readings and ticks of all sleds.
//! Agents send no log here; that would be many more events that change little.

mod floor;

use anyhow::{Result, ensure};
use control::{Event, JobAction, State};

use crate::Bench;
use crate::allocation::live_bytes;
use crate::cpu::CpuTime;
use crate::summary::{Goal, Row};
use crate::world::demand::{Demand, Steady};
use crate::world::{Spent, Timing, World, delivery, fleet};

/// Sleds of every row.
const SLEDS: usize = 10_000;
/// Waiting jobs of every row but `control-growth`.
const JOBS: u64 = 1_000_000;
/// Turns of measurement; the best one counts.
const ROUNDS: usize = 7;
/// Processor time of each.
const ROUND_NS: u64 = 1_000_000_000;
/// Most processor time until every sled is at work.
const WARM_UP_NS: u64 = 60_000_000_000;

/// Everything answers at the next turn, and turns are short, so that the
/// queue's length is all that differs between the steps of `control-growth`:
/// with real boot times, a short queue would leave most sleds off.
const AT_ONCE: Timing = Timing {
    turn: 50,
    answer: 1,
    boot: 2,
    wipe: 1,
    pick_up: 1,
    delivery: 1,
    power_off: 1,
};

/// Some 850 events to a turn. The daemon's engine takes whatever waits, up to
/// 1,024, into one transaction; at such rates its turns are full, because a
/// disk does a few thousand transactions per second at most.
const FULL_TURNS: Timing = Timing {
    turn: 700,
    ..AT_ONCE
};

/// `control-events`.
pub(crate) fn events(_: &Bench) -> Result<Vec<Row>> {
    let mut world = busy_world(JOBS, SLEDS, FULL_TURNS)?;
    let ours = 1e9 / best_round(&mut world);
    let peer = floor::per_second(JOBS);
    println!(
        "  ours {ours:.0} events/s, {} {peer:.0} deliveries/s",
        floor::NAME
    );
    let figures = (ours, peer, "per second");
    let goal = Goal::OursAtLeast(200_000.0);
    Ok(vec![Row::new("control-events", figures, floor::NAME, goal)])
}

/// `control-growth`: log(10^6) / log(10^2) is 3.
pub(crate) fn growth(_: &Bench) -> Result<Vec<Row>> {
    let mut costs = Vec::new();
    for exponent in 2..=6 {
        let jobs = 10u64.pow(exponent);
        let mut world = busy_world(jobs, SLEDS, AT_ONCE)?;
        let cost = best_round(&mut world) / 1_000.0;
        println!("  10^{exponent} queued jobs: {cost:.3} us per event");
        costs.push(cost);
    }
    let (Some(first), Some(last)) = (costs.first(), costs.last()) else {
        return Ok(Vec::new());
    };
    let figures = (*last, *first, "us per event");
    let peer = "itself with 10^2 in place of 10^6 queued jobs";
    let goal = Goal::RatioAtMost(3.0);
    Ok(vec![Row::new("control-growth", figures, peer, goal)])
}

/// `control-memory`.
pub(crate) fn memory(_: &Bench) -> Result<Vec<Row>> {
    let mut demand = Steady::new();
    let mut json = 0;
    let (state, bytes) = live_bytes(|| {
        let mut world = World::new(Steady::new(), AT_ONCE, true);
        world.declare(fleet::steady(0));
        let mut state = world.into_state();
        fill(&mut state, &mut demand, JOBS);
        state
    });
    let (empty, before) = live_bytes(|| {
        let mut world = World::new(Steady::new(), AT_ONCE, true);
        world.declare(fleet::steady(0));
        world.into_state()
    });
    let queued = state.status(messages::Millis(0), 0).queued;
    ensure!(queued as u64 == JOBS, "{queued} jobs wait, not {JOBS}");
    drop((state, empty));
    const SAMPLE: u64 = 10_000;
    for number in Steady::new().take(SAMPLE) {
        json += as_json(&demand, number).len();
    }
    let ours = ratio(bytes - before, JOBS);
    let peer = ratio(i64::try_from(json)?, SAMPLE);
    println!("  {ours:.1} live bytes per queued job; its kept fields as JSON: {peer:.1} bytes");
    let figures = (ours, peer, "bytes");
    let peer = "the kept fields of one job as JSON text";
    let goal = Goal::OursAtMost(300.0);
    Ok(vec![Row::new("control-memory", figures, peer, goal)])
}

/// `control-reload-snapshot` and `control-reload`.
pub(crate) fn reload(_: &Bench) -> Result<Vec<Row>> {
    // Nothing is drained while it fills and warms up: at its end every row
    // has changed.
    let mut world = World::new(Steady::new(), AT_ONCE, false);
    prepare(&mut world, JOBS, SLEDS);
    warm_up(&mut world);
    let state = world.into_state();
    let (mut drains, mut loads) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let mut state = state.clone();
        let start = CpuTime::now();
        let changes = state.drain_changes();
        drains.push(start.elapsed_s());
        let queued = state.status(messages::Millis(0), 0).queued;
        drop(state);
        let rows: Vec<_> = changes
            .into_iter()
            .filter(|change| change.table.is_loaded())
            .filter_map(|change| Some((change.table, change.key, change.value?)))
            .collect();
        let count = rows.len();
        let start = CpuTime::now();
        let (appliance, limits) = World::<Steady>::identity();
        let loaded = State::load(appliance, limits, rows)?;
        loads.push(start.elapsed_s());
        let again = loaded.status(messages::Millis(0), 0).queued;
        ensure!(
            again == queued,
            "{again} of {queued} jobs wait after a reload"
        );
        println!(
            "  {count} rows: drained in {:.2} s, loaded in {:.2} s",
            drains.last().unwrap_or(&0.0),
            loads.last().unwrap_or(&0.0)
        );
    }
    drop(state);
    let demand = Steady::new();
    let numbers = Steady::new().take(JOBS);
    let jobs: Vec<_> = numbers.map(|number| json_value(&demand, number)).collect();
    let start = CpuTime::now();
    let text = serde_json::to_vec(&jobs)?;
    let encoded = start.elapsed_s();
    drop(jobs);
    let start = CpuTime::now();
    let jobs: Vec<KeptJob> = serde_json::from_slice(&text)?;
    let decoded = start.elapsed_s();
    ensure!(jobs.len() as u64 == JOBS, "JSON lost a job");
    let goal = Goal::OursAtMost(2.0);
    let row = |name, ours, peer, of| Row::new(name, (ours, peer, "s"), of, goal);
    Ok(vec![
        row(
            "control-reload-snapshot",
            least(&drains),
            encoded,
            "serde_json, the jobs alone to text",
        ),
        row(
            "control-reload",
            least(&loads),
            decoded,
            "serde_json, the jobs alone from text",
        ),
    ])
}

/// A world in its steady state.
fn busy_world(jobs: u64, sleds: usize, timing: Timing) -> Result<World<Steady>> {
    let mut world = World::new(Steady::new(), timing, true);
    prepare(&mut world, jobs, sleds);
    warm_up(&mut world);
    let (waiting, running) = world.jobs();
    println!("  {waiting} jobs wait, {running} of {sleds} sleds run one");
    ensure!(world.cut == 0, "power was cut under {} jobs", world.cut);
    Ok(world)
}

/// Jobs first, then sleds: so no time goes into matching jobs that are there
/// to wait.
fn prepare(world: &mut World<Steady>, jobs: u64, sleds: usize) {
    world.declare(fleet::steady(0));
    let now = world.now_ms();
    for number in world.demand.take(jobs) {
        world.create(number, now);
    }
    while world.has_undelivered() {
        world.turn();
    }
    world.declare(fleet::steady(sleds));
    world.replaced = true;
}

/// Until nearly every sled runs a job.
fn warm_up(world: &mut World<Steady>) {
    let mut spent = 0;
    while spent < WARM_UP_NS && world.jobs().1 < world.sled_count() * 95 / 100 {
        spent += world.turn().cpu_ns;
    }
}

/// Nanoseconds per event, in the best of several rounds.
fn best_round(world: &mut World<Steady>) -> f64 {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let mut sum = Spent::default();
        while sum.cpu_ns < ROUND_NS {
            let turn = world.turn();
            sum.cpu_ns += turn.cpu_ns;
            sum.events += turn.events;
        }
        rounds.push(ratio(
            i64::try_from(sum.cpu_ns).unwrap_or(i64::MAX),
            sum.events,
        ));
    }
    least(&rounds)
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

#[allow(clippy::cast_precision_loss)] // far below 2^52
fn ratio(sum: i64, count: u64) -> f64 {
    sum as f64 / count as f64
}

/// Steps as many deliveries of new jobs, in batches, with nothing beside them
/// in memory.
fn fill(state: &mut State, demand: &mut Steady, jobs: u64) {
    let now = messages::Millis(crate::world::START_MS);
    for number in demand.take(jobs) {
        let event = delivery(demand.report(number, JobAction::Queued, None));
        let mut fx = control::Effects::new([0; 32]);
        control::step(state, now.after(number % 1_000), event, &mut fx);
        if number % 1_000 == 999 {
            let mut fx = control::Effects::new([0; 32]);
            control::step(state, now.after(1_000), Event::Tick, &mut fx);
            drop(state.drain_changes());
        }
    }
    drop(state.drain_changes());
}

/// What the core keeps of a waiting job.
#[derive(serde::Serialize, serde::Deserialize)]
struct KeptJob {
    id: u64,
    repository: String,
    name: String,
    workflow: String,
    run_id: u64,
    run_attempt: u32,
    labels: Vec<String>,
    status: String,
    queued_at: u64,
}

fn json_value(demand: &Steady, number: u64) -> KeptJob {
    let report = demand.report(number, JobAction::Queued, None);
    KeptJob {
        id: report.number,
        repository: report.repository.into(),
        name: report.name.into(),
        workflow: report.workflow.into(),
        run_id: report.run_id,
        run_attempt: report.run_attempt,
        labels: report.labels.iter().map(str::to_owned).collect(),
        status: "queued".to_owned(),
        queued_at: crate::world::START_MS,
    }
}

fn as_json(demand: &Steady, number: u64) -> String {
    serde_json::to_string(&json_value(demand, number)).unwrap_or_default()
}
