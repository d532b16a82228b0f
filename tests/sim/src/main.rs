//! `sim`: runs seeded worlds and prints what broke.

use std::{
    process::{Command, ExitCode},
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    thread,
};

use anyhow::{Context, Result, bail};
use clap::Parser;
use musher_sim::{Options, run};

/// Simulated worlds around the control core. A seed repeats exactly.
#[derive(Parser)]
struct Arguments {
    /// Run this one seed.
    #[arg(long, conflicts_with = "seeds", required_unless_present = "seeds")]
    seed: Option<u64>,
    /// Run these seeds, FROM included, TO not.
    #[arg(long, value_name = "FROM..TO")]
    seeds: Option<String>,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Print everything that happens.
    #[arg(long)]
    trace: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let (from, to) = match (arguments.seed, &arguments.seeds) {
        (Some(seed), _) => (seed, seed + 1),
        (None, Some(range)) => parse_range(range)?,
        (None, None) => bail!("name a seed"),
    };
    let next = AtomicU64::new(from);
    let done = AtomicU64::new(0);
    let failed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= to {
                        return;
                    }
                    if !one(seed, arguments.trace) {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                    let count = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if count.is_multiple_of(1000) {
                        println!("{count} of {} worlds", to - from);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    println!("{} worlds, {failed} failed", to - from);
    Ok(ExitCode::from(u8::from(failed > 0)))
}

fn parse_range(range: &str) -> Result<(u64, u64)> {
    let (from, to) = range.split_once("..").context("a range is FROM..TO")?;
    let from = from.parse().context("FROM is not a number")?;
    let to = to.parse().context("TO is not a number")?;
    if from >= to {
        bail!("the range {range} is empty");
    }
    Ok((from, to))
}

fn one(seed: u64, trace: bool) -> bool {
    let options = Options {
        print: trace,
        ..Options::default()
    };
    match run(seed, &options) {
        Ok(summary) => {
            if trace {
                println!("seed {seed}: {summary:?}");
            }
            true
        }
        Err(failure) => {
            eprintln!("{failure}commit {}\n", commit());
            false
        }
    }
}

fn commit() -> String {
    Command::new("git")
        .args(["rev-parse", "--short", "HEAD"])
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned())
}
