//! `musher-bench` measures the shipped binary beside named peers, in one run
//! on one machine, and writes the figures to `target/bench/summary.json`.
//!
//! | benchmark | ours | peer | goal |
//! | --- | --- | --- | --- |
//! | `ack-1` | deliveries acknowledged per second, one sender | bare write + fdatasync loop on the same filesystem | ≥ 0.7 |
//! | `ack-64` | the same, 64 senders | the same loop | ≥ 2 |
//! | `ack-64-webhook` | the same, 64 senders | Debian's `webhook`, 64 senders | ≥ 3 |
//! | `netboot` | power on to the agent's address, through BIOS netboot | direct `-kernel -initrd` boot of the same payload on the same machine | shown |
//! | `memory-idle` | resident memory after the start | `webhook` after its start | ≤ 32 MiB |
//! | `memory-100k` | resident memory after 100,000 deliveries | `webhook` after as many | ≤ 32 MiB |
//! | `binary-size` | the static binary | `webhook`'s binary, dynamically linked | ≤ 8 MB |
//!
//! # Reading the summary
//!
//! The file is a list of `{name, ours, peer, peer_name, unit, ratio, goal, met}`.
//! `ratio` is always `ours / peer`, and `unit` is that of `ours` and `peer`;
//! whether more is better shows in the goal. A goal without a unit (`>= 0.7`)
//! is about `ratio`, one with a unit (`<= 32 MiB`) about `ours`, and `shown`
//! asks for the figure alone. Naming a benchmark replaces its row and leaves
//! the others as they are.
//!
//! The exit code tells whether everything could be measured, not whether goals
//! were met: a busy machine misses goals. A wrong answer is never counted, it
//! ends the run.

mod acks;
mod daemon;
mod deliveries;
mod disk;
mod load;
mod memory;
mod netboot;
mod peer;
mod program;
mod size;
mod summary;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use crate::summary::{Row, Summary};

/// Benchmarks in the order of the table. `memory` gives two rows.
const BENCHMARKS: [(&str, Run); 6] = [
    ("ack-1", acks::one_sender),
    ("ack-64", acks::many_senders),
    ("ack-64-webhook", acks::beside_webhook),
    ("netboot", netboot::run),
    ("memory", memory::run),
    ("binary-size", size::run),
];

type Run = fn(&Bench) -> Result<Vec<Row>>;

/// Measures Musher beside named peers, in one run on one machine.
#[derive(Parser)]
#[command(name = "musher-bench", version)]
struct Arguments {
    /// The benchmark of this name, or all whose names begin with it; without
    /// one, every benchmark.
    name: Option<String>,
    /// The binary to measure: the static one that ships.
    #[arg(long)]
    musher: Option<PathBuf>,
    /// Where the summary and everything else is written.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// What every benchmark is given.
struct Bench {
    /// The binary to measure.
    musher: PathBuf,
    /// The checkout's build folder.
    target: PathBuf,
    /// Where benchmarks write, on the disk that is measured.
    work: PathBuf,
}

impl Bench {
    /// A fresh folder of this name.
    fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.work.join(name);
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove {}", folder.display()));
            }
            Ok(()) | Err(_) => {}
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(folder)
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("musher-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    std::fs::create_dir_all(&target).with_context(|| format!("make {}", target.display()))?;
    let target = target.canonicalize().context("find the build folder")?;
    let musher = arguments
        .musher
        .clone()
        .unwrap_or_else(|| target.join("x86_64-unknown-linux-musl/release/musher"));
    ensure!(
        musher.is_file(),
        "{} is not built; run `./tools/just build`",
        musher.display()
    );
    let dir = arguments
        .dir
        .clone()
        .unwrap_or_else(|| target.join("bench"));
    let work = dir.join("work");
    std::fs::create_dir_all(&work).with_context(|| format!("make {}", work.display()))?;
    let bench = Bench {
        musher: musher.canonicalize().context("find the binary")?,
        target,
        work: work.canonicalize().context("find the bench folder")?,
    };
    let wanted = arguments.name.as_deref().unwrap_or_default();
    let exact = BENCHMARKS.iter().any(|(name, _)| *name == wanted);
    let chosen: Vec<_> = BENCHMARKS
        .into_iter()
        .filter(|(name, _)| match exact {
            true => *name == wanted,
            // `ack` names several, `memory-idle` a row of one.
            false => name.starts_with(wanted) || wanted.starts_with(&format!("{name}-")),
        })
        .collect();
    ensure!(
        !chosen.is_empty(),
        "there is no benchmark {wanted}; there are {}",
        BENCHMARKS.map(|(name, _)| name).join(", ")
    );
    let mut summary = Summary::open(&dir.join("summary.json"))?;
    for (name, measure) in chosen {
        println!("{name}:");
        let rows = measure(&bench).with_context(|| format!("benchmark {name}"))?;
        summary.replace(rows)?;
    }
    print!("\n{}", summary.table());
    println!("summary: {}", dir.join("summary.json").display());
    Ok(())
}
