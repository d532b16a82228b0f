//! `sim`: runs seeded worlds, prints what broke and draws what happened.

use std::{
    num::NonZero,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::{Context, Result, bail};
use clap::Parser;
use musher_sim::{Failure, Options, draw_day, report, report_briefly, run, run_recorded};

/// Failures that are shrunk; the rest are told as they are.
const SHRUNK: usize = 3;

/// Simulated worlds around the control core. A seed repeats exactly.
#[derive(Parser)]
struct Arguments {
    /// Run this one seed.
    #[arg(long, conflicts_with = "seeds", required_unless_present = "seeds")]
    seed: Option<u64>,
    /// Run these seeds, FROM included, TO not.
    #[arg(long, value_name = "FROM..TO")]
    seeds: Option<String>,
    /// Threads; as many as there are processors, unless given.
    #[arg(long)]
    threads: Option<usize>,
    /// End at the first world that breaks.
    #[arg(long)]
    stop: bool,
    /// Tell what broke, without looking for a smaller world.
    #[arg(long)]
    brief: bool,
    /// Print everything that happens.
    #[arg(long)]
    trace: bool,
    /// Draw the first 24 hours of the seed's world into this SVG file.
    #[arg(long, value_name = "FILE", requires = "seed")]
    day: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    match (&arguments.day, arguments.seed, &arguments.seeds) {
        (Some(file), Some(seed), _) => day(seed, &arguments.options, file),
        (None, Some(seed), _) => one(seed, &arguments),
        (None, None, Some(range)) => many(parse_range(range)?, &arguments),
        (_, None, _) => bail!("name a seed"),
    }
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

fn one(seed: u64, arguments: &Arguments) -> Result<ExitCode> {
    let options = Options {
        print: arguments.trace,
        ..arguments.options.clone()
    };
    match run(seed, &options) {
        Ok(summary) => {
            println!("seed {seed} holds: {summary:?}");
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => {
            eprint!("{}", report(&options, &failure));
            Ok(ExitCode::FAILURE)
        }
    }
}

fn many((from, to): (u64, u64), arguments: &Arguments) -> Result<ExitCode> {
    let next = AtomicU64::new(from);
    let done = AtomicU64::new(0);
    let stopped = AtomicBool::new(false);
    let failed = AtomicUsize::new(0);
    let printing = Mutex::new(());
    let tell = |failure: &Failure| {
        let count = failed.fetch_add(1, Ordering::Relaxed);
        let text = if count < SHRUNK && !arguments.brief {
            report(&arguments.options, failure)
        } else {
            report_briefly(&arguments.options, failure)
        };
        let _whole = printing.lock().unwrap_or_else(PoisonError::into_inner);
        eprintln!("{text}");
    };
    let work = || {
        while !stopped.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= to {
                return;
            }
            if let Err(failure) = run(seed, &arguments.options) {
                // Whoever comes second while the first is shrunk stays silent.
                if !arguments.stop || !stopped.swap(true, Ordering::Relaxed) {
                    tell(&failure);
                }
            }
            let count = done.fetch_add(1, Ordering::Relaxed) + 1;
            if count.is_multiple_of(1000) {
                println!("{count} of {} worlds", to - from);
            }
        }
    };
    let processors = thread::available_parallelism().map_or(2, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..arguments.threads.unwrap_or(processors).max(1) {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner();
    println!("{} worlds, {failed} failed", done.into_inner());
    Ok(ExitCode::from(u8::from(failed > 0)))
}

fn day(seed: u64, options: &Options, file: &PathBuf) -> Result<ExitCode> {
    let options = Options {
        record: true,
        ..options.clone()
    };
    let (summary, record) = match run_recorded(seed, &options) {
        Ok((summary, Some(record))) => (summary, record),
        Ok((_, None)) => bail!("seed {seed} was not recorded"),
        Err(failure) => {
            eprint!("{}", report(&options, &failure));
            return Ok(ExitCode::FAILURE);
        }
    };
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    std::fs::write(file, draw_day(seed, &record))
        .with_context(|| format!("cannot write {}", file.display()))?;
    println!(
        "{}: {} jobs, {} boots, {} crashes",
        file.display(),
        summary.jobs,
        summary.receipts,
        summary.crashes
    );
    Ok(ExitCode::SUCCESS)
}
