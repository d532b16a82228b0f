//! `traces`: jobs of three models on the real control core in virtual time,
//! beside two policies that need no scheduler: first in, first out over all,
//! and a fixed share of the sleds for each repository. A table on the
//! terminal, and `traces.svg`.
//!
//! One rack of 40 sleds serves one pool of 30 repositories. A sled needs 45 s
//! from power on to its agent's hello; every job needs a boot of its own. All
//! repositories have the same weight, there are no caps, and runners are
//! registered at repositories (`mint_scope = "repo"`), so that shares bind. The
//! other two policies get the same jobs, sleds and times: what a boot costs
//! before and after a job is first measured on the core with a single sled.
//!
//! - **Wait** of a job: from its creation at GitHub until a runner has it, in
//!   seconds. The least is about one boot.
//! - **Light repositories**: the half of the repositories with the least work.
//! - **Jain's fairness index** (Jain, Chiu, Hawe: "A quantitative measure of
//!   fairness and discrimination for resource allocation in shared computer
//!   systems", DEC-TR-301, 1984): (Σx)² / (n Σx²) over the n repositories; 1 is
//!   fair, 1/n is all for one. As there, x is what a repository got over what
//!   it should have got. Got: the sled-seconds that its jobs ran. Should have
//!   got: at each moment the sleds that run jobs are shared out max-min fairly
//!   among the repositories with jobs that wait or run, none getting more than
//!   it has jobs; summed over time. A repository whose jobs waited while
//!   another ran more than its share has x below the other's.
//!
//! Every sequence of jobs follows from a seed; two runs give the same figures.

mod measures;
mod models;
mod plot;
mod policies;

use anyhow::{Context as _, Result, ensure};

use crate::Bench;
use crate::summary::{Goal, Row};
use crate::world::{START_MS, Timing, World, fleet};
use measures::Measures;
use models::{LABELS, MODELS, Model, ORGANIZATION, Trace};
use policies::Overhead;

/// Sleds of the rack.
const SLEDS: usize = 40;
/// Seed of the jobs.
const SEED: u64 = 20_261_121;
/// A trace that is not served by then never will be: 30 days.
const LIMIT_MS: u64 = 30 * 24 * 3_600_000;

const TIMING: Timing = Timing {
    turn: 20,
    answer: 150,
    boot: 45_000,
    wipe: 3_000,
    pick_up: 2_000,
    delivery: 500,
    power_off: 3_000,
};

/// The policies, in the order of table and plot.
const POLICIES: [&str; 3] = ["Musher", "first in, first out", "fixed split"];

/// One model and what each policy made of it.
struct Comparison {
    model: &'static Model,
    measures: [Measures; 3],
}

/// `traces`.
pub(crate) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let overhead = measure_overhead()?;
    println!(
        "  one boot takes {:.1} s before its job and {:.1} s after it",
        seconds(overhead.before_ms),
        seconds(overhead.after_ms)
    );
    let mut comparisons = Vec::new();
    for model in &MODELS {
        comparisons.push(compare(model, overhead)?);
    }
    print!("{}", table(&comparisons));
    let path = bench.out.join("traces.svg");
    std::fs::write(&path, plot::draw(&comparisons))
        .with_context(|| format!("write {}", path.display()))?;
    println!("  plot: {}", path.display());
    Ok(comparisons.iter().flat_map(rows).collect())
}

fn compare(model: &'static Model, overhead: Overhead) -> Result<Comparison> {
    let trace = Trace::new(model, SEED);
    println!(
        "  {}: {} jobs in {} h, {:.0} % of what {SLEDS} sleds can do",
        model.name,
        trace.jobs.len(),
        model.hours,
        trace.load(SLEDS, overhead) * 100.0
    );
    let ours = on_control(&trace, SLEDS)?;
    let fifo = policies::first_come(&trace, SLEDS, overhead);
    let split = policies::fixed_split(&trace, SLEDS, overhead);
    Ok(Comparison {
        model,
        measures: [ours, fifo, split].map(|starts| Measures::new(&trace, &starts)),
    })
}

/// When each job of a trace starts on the real core.
fn on_control(trace: &Trace, sleds: usize) -> Result<Vec<u64>> {
    let mut world = World::new(trace.clone(), TIMING, true);
    world.declare(fleet::one_pool(ORGANIZATION, &LABELS, sleds));
    world.started = Some(Vec::new());
    for (index, job) in trace.jobs.iter().enumerate() {
        world.create(Trace::number(index), START_MS + job.created_ms);
    }
    let mut starts = vec![0; trace.jobs.len()];
    let mut left = starts.len();
    while left > 0 {
        world.turn();
        for (number, at) in world.started.iter_mut().flat_map(std::mem::take) {
            if let Some(start) = Trace::index(number).and_then(|index| starts.get_mut(index)) {
                ensure!(*start == 0, "job {number} started twice");
                *start = at - START_MS;
                left -= 1;
            }
        }
        ensure!(
            world.now_ms() < START_MS + LIMIT_MS,
            "{left} jobs were not served"
        );
    }
    ensure!(world.cut == 0, "power was cut under {} jobs", world.cut);
    Ok(starts)
}

/// What a boot costs on the core, from a rack of one sled.
fn measure_overhead() -> Result<Overhead> {
    const JOBS: usize = 20;
    const RUN_MS: u64 = 100_000;
    const FAR_MS: u64 = 600_000;
    let alone = Trace::even(JOBS, FAR_MS, RUN_MS);
    let waits = on_control(&alone, 1)?;
    let waits = waits.iter().zip(&alone.jobs);
    let before: u64 = waits.map(|(start, job)| start - job.created_ms).sum();
    let before_ms = before / JOBS as u64;
    let together = on_control(&Trace::even(JOBS, 0, RUN_MS), 1)?;
    let last = together.iter().max().copied().unwrap_or_default();
    let first = together.iter().min().copied().unwrap_or_default();
    let cycle = (last - first) / (JOBS as u64 - 1);
    Ok(Overhead {
        before_ms,
        after_ms: cycle.saturating_sub(RUN_MS + before_ms),
    })
}

fn table(comparisons: &[Comparison]) -> String {
    let mut out = format!(
        "\n  {:<13}{:<21}{:>9}{:>9}{:>9}{:>11}{:>8}\n",
        "model", "policy", "wait p50", "p95", "p99", "light p95", "Jain"
    );
    for comparison in comparisons {
        for (policy, measures) in POLICIES.iter().zip(&comparison.measures) {
            let light = measures::percentile(&measures.light_waits_ms, 95);
            let [p50, p95, p99] =
                [50, 95, 99].map(|percent| measures::percentile(&measures.waits_ms, percent));
            out += &format!(
                "  {:<13}{policy:<21}{:>7.0} s{:>7.0} s{:>7.0} s{:>9.0} s{:>8.3}\n",
                comparison.model.name,
                seconds(p50),
                seconds(p95),
                seconds(p99),
                seconds(light),
                measures.jain
            );
        }
    }
    out + "\n"
}

/// Ours beside first in, first out.
fn rows(comparison: &Comparison) -> [Row; 2] {
    let [ours, fifo, _] = &comparison.measures;
    let row = |what: &str, ours, peer, unit| {
        let name = format!("traces-{}-{what}", comparison.model.name);
        Row::new(&name, (ours, peer, unit), POLICIES[1], Goal::Shown)
    };
    let light = |measures: &Measures| seconds(measures::percentile(&measures.light_waits_ms, 95));
    [
        row("jain", ours.jain, fifo.jain, "Jain index"),
        row("light-p95", light(ours), light(fifo), "s"),
    ]
}

#[allow(clippy::cast_precision_loss)] // far below 2^52
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1e3
}
