//! `/metrics`: the appliance in Prometheus' text format, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! It turns what the status page shows, and sums over the history that is
//! kept, into text; it reads no state of its own and keeps none. History is
//! pruned, so those sums may fall: they are gauges, named `kept`. Labels are
//! names from the inventory and words from closed lists, never a repository,
//! a job's number or text from outside.
//!
//! The format is written here: the `prometheus-client` crate writes
//! OpenMetrics only, and the registries that it and others keep are for
//! counters that live in memory, of which there are none.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{Display, Write},
};

use control::{Conclusion, SledView, State, StatusView, Timeline};
use messages::{Millis, Outcome};

#[cfg(test)]
mod tests;

/// Media type of the answer.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What [`SledView::state`] says.
const SLED_STATES: [&str; 11] = [
    "Off",
    "PoweringOn",
    "Netbooting",
    "Wiping",
    "Ready",
    "Running",
    "Held",
    "PoweringOff",
    "Maintenance",
    "Quarantined",
    "Unknown",
];

/// Conclusions of GitHub's workflow jobs (GitHub Docs, REST API, "Workflow
/// jobs"), and `unknown` where it never said one.
const CONCLUSIONS: [&str; 9] = [
    "success",
    "failure",
    "neutral",
    "cancelled",
    "skipped",
    "timed_out",
    "action_required",
    "unknown",
    OTHER,
];

/// Any conclusion that is not known here.
const OTHER: &str = "other";

/// How boots end.
const OUTCOMES: [&str; 3] = ["ran", "unused", "failed"];

/// Stages of a boot, each from one time to another of its timeline.
const STAGES: [Stage; 5] = [
    (
        "power_on",
        |times| Some(times.claimed),
        |times| times.power_on,
    ),
    ("netboot", |times| times.power_on, |times| times.agent),
    ("wipe", |times| times.agent, |times| times.wiped),
    ("run", |times| times.running, |times| times.finished),
    ("power_off", |times| times.finished, |times| times.off),
];

type Stage = (
    &'static str,
    fn(&Timeline) -> Option<Millis>,
    fn(&Timeline) -> Option<Millis>,
);

/// Sums over the jobs and boots that are kept.
#[derive(Debug, Default)]
pub struct Kept {
    conclusions: BTreeMap<&'static str, u64>,
    outcomes: BTreeMap<&'static str, u64>,
    stages: BTreeMap<&'static str, Span>,
    /// By sled and meter, where a boot was measured.
    energy: BTreeMap<(String, &'static str), Drawn>,
    /// Names of the sleds that are withheld until a person acts, whatever their
    /// boot still does.
    quarantined: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Span {
    boots: u64,
    sum_ms: u64,
    longest_ms: u64,
}

#[derive(Debug, Default)]
struct Drawn {
    joules: u64,
    measured_ms: u64,
}

impl Kept {
    /// Of this state.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let mut kept = Self::default();
        for (_, job) in state.jobs() {
            if let Some(conclusion) = &job.conclusion {
                *kept.conclusions.entry(word(conclusion)).or_default() += 1;
            }
        }
        for (_, boot) in state.boots() {
            if let Some(outcome) = &boot.outcome {
                let outcome = match outcome {
                    Outcome::Ran => "ran",
                    Outcome::Unused { .. } => "unused",
                    Outcome::Failed { .. } => "failed",
                };
                *kept.outcomes.entry(outcome).or_default() += 1;
            }
            kept.add_stages(&boot.times);
            if let Some(energy) = &boot.energy {
                let sled = state.sled_name(boot.sled).unwrap_or("(gone)");
                let key = (sled.to_owned(), energy.meter.as_str());
                let drawn = kept.energy.entry(key).or_default();
                drawn.joules = drawn.joules.saturating_add(energy.joules);
                drawn.measured_ms = drawn.measured_ms.saturating_add(energy.measured_ms);
            }
        }
        let sleds = state.sleds().filter(|(_, sled)| sled.quarantine.is_some());
        kept.quarantined
            .extend(sleds.map(|(_, sled)| sled.name.to_string()));
        kept
    }

    fn add_stages(&mut self, times: &Timeline) {
        for (stage, from, until) in STAGES {
            if let (Some(from), Some(until)) = (from(times), until(times)) {
                let span = self.stages.entry(stage).or_default();
                let ms = until.since(from);
                span.boots += 1;
                span.sum_ms = span.sum_ms.saturating_add(ms);
                span.longest_ms = span.longest_ms.max(ms);
            }
        }
    }
}

fn word(conclusion: &Conclusion) -> &'static str {
    let said = match conclusion {
        Conclusion::Said(word) => word.as_ref(),
        Conclusion::Silent => "unknown",
    };
    let known = CONCLUSIONS.into_iter().find(|known| *known == said);
    known.unwrap_or(OTHER)
}

/// The whole answer. `view` needs no jobs.
#[must_use]
pub fn render(view: &StatusView, kept: &Kept) -> String {
    let mut text = Exposition::default();
    pools(&mut text, view);
    sleds(&mut text, view, kept);
    text.family("musher_receipts_total", "counter", "Receipts made.");
    text.sample(&[], view.receipts);
    history(&mut text, kept);
    text.0
}

fn pools(text: &mut Exposition, view: &StatusView) {
    text.family("musher_queued_jobs", "gauge", "Jobs that wait.");
    text.sample(&[], view.queued);
    text.family(
        "musher_pool_queued_jobs",
        "gauge",
        "Jobs that wait for a pool.",
    );
    for pool in &view.pools {
        text.sample(&[("pool", &pool.name)], pool.queued);
    }
    text.family(
        "musher_pool_used_sleds",
        "gauge",
        "Sleds that a pool uses now.",
    );
    for pool in &view.pools {
        text.sample(&[("pool", &pool.name)], pool.used);
    }
    text.family(
        "musher_pool_blocked",
        "gauge",
        "1 if a pool starts nothing: GitHub refused, or a person paused it.",
    );
    for pool in &view.pools {
        let blocked = u8::from(pool.problem.is_some());
        text.sample(&[("pool", &pool.name)], blocked);
    }
    text.family(
        "musher_pool_sleds",
        "gauge",
        "Sleds that serve a pool, by state; one may serve several.",
    );
    for pool in &view.pools {
        let serves = |sled: &&SledView| sled.pools.contains(&pool.name);
        for state in SLED_STATES {
            let sleds = view.sleds.iter().filter(serves);
            let count = sleds.filter(|sled| sled.state == state).count();
            text.sample(&[("pool", &pool.name), ("state", state)], count);
        }
    }
}

fn sleds(text: &mut Exposition, view: &StatusView, kept: &Kept) {
    text.family("musher_sleds", "gauge", "Sleds by state.");
    for state in SLED_STATES {
        let count = view.sleds.iter().filter(|sled| sled.state == state).count();
        text.sample(&[("state", state)], count);
    }
    text.family(
        "musher_sled_failures",
        "gauge",
        "Failed boots of a sled in a row.",
    );
    for sled in &view.sleds {
        text.sample(&[("sled", &sled.name)], sled.failures);
    }
    text.family(
        "musher_sled_power_problem",
        "gauge",
        "1 if a sled's power driver complained last.",
    );
    for sled in &view.sleds {
        let problem = u8::from(sled.power_problem.is_some());
        text.sample(&[("sled", &sled.name)], problem);
    }
    text.family(
        "musher_sled_quarantined",
        "gauge",
        "1 if a sled is quarantined.",
    );
    for sled in &view.sleds {
        let quarantined = u8::from(kept.quarantined.contains(&sled.name));
        text.sample(&[("sled", &sled.name)], quarantined);
    }
}

fn history(text: &mut Exposition, kept: &Kept) {
    text.family(
        "musher_kept_jobs",
        "gauge",
        "Jobs that ended and are kept, by GitHub's conclusion.",
    );
    for conclusion in CONCLUSIONS {
        let jobs = kept.conclusions.get(conclusion).copied();
        text.sample(&[("conclusion", conclusion)], jobs.unwrap_or_default());
    }
    text.family("musher_kept_boots", "gauge", "Boots kept, by outcome.");
    for outcome in OUTCOMES {
        let boots = kept.outcomes.get(outcome).copied();
        text.sample(&[("outcome", outcome)], boots.unwrap_or_default());
    }
    text.family(
        "musher_kept_boot_stage_mean_seconds",
        "gauge",
        "How long a stage took in the boots kept, on average.",
    );
    for (stage, span) in &kept.stages {
        let mean_ms = span.sum_ms / span.boots.max(1);
        text.sample(&[("stage", stage)], Seconds(mean_ms));
    }
    text.family(
        "musher_kept_boot_stage_longest_seconds",
        "gauge",
        "How long a stage took at most in the boots kept.",
    );
    for (stage, span) in &kept.stages {
        text.sample(&[("stage", stage)], Seconds(span.longest_ms));
    }
    text.family(
        "musher_kept_energy_joules",
        "gauge",
        "What a sled's boots that are kept drew, by who measured.",
    );
    for ((sled, meter), drawn) in &kept.energy {
        text.sample(&[("sled", sled), ("meter", meter)], drawn.joules);
    }
    text.family(
        "musher_kept_energy_measured_seconds",
        "gauge",
        "For how long those joules were measured.",
    );
    for ((sled, meter), drawn) in &kept.energy {
        let measured = Seconds(drawn.measured_ms);
        text.sample(&[("sled", sled), ("meter", meter)], measured);
    }
}

/// Milliseconds, written as seconds.
struct Seconds(u64);

impl Display for Seconds {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// The text, and the name of the family that samples now belong to.
#[derive(Default)]
struct Exposition(String, &'static str);

impl Exposition {
    /// Begins a family. `help` is ours: it has nothing to escape.
    fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.1 = name;
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(self.1);
        for (index, (label, text)) in labels.iter().enumerate() {
            let open = if index == 0 { '{' } else { ',' };
            self.line(format_args!("{open}{label}=\""));
            for letter in text.chars() {
                match letter {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    other => self.0.push(other),
                }
            }
            self.0.push('"');
        }
        let close = if labels.is_empty() { "" } else { "}" };
        self.line(format_args!("{close} {value}\n"));
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        let written = self.0.write_fmt(text);
        debug_assert!(written.is_ok(), "a string takes everything");
    }
}
