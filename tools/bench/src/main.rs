//! `musher-bench` measures the shipped binary, and the control core alone,
//! beside named peers, in one run on one machine, and writes the figures to `target/bench/summary.json`.
//!
//! | benchmark | ours | peer | goal |
//! | --- | --- | --- | --- |
//! | `ack-1` | deliveries acknowledged per second, one sender | bare write + fdatasync loop on the same filesystem | ≥ 0.7 |
//! | `ack-1-least` | the same | the least receiver on hyper and redb, see `least` | shown |
//! | `ack-64` | the same, 64 senders | the same loop | ≥ 2 |
//! | `ack-64-webhook` | the same, 64 senders | Debian's `webhook`, 64 senders | ≥ 3 |
//! | `netboot` | power on to the agent's address, through BIOS netboot | direct `-kernel -initrd` boot of the same payload on the same machine | shown |
//! | `memory-idle` | resident memory after the start | `webhook` after its start | ≤ 32 MiB |
//! | `memory-100k` | resident memory after 100,000 deliveries | `webhook` after as many | ≤ 32 MiB |
//! | `binary-size` | the static binary | `webhook`'s binary, dynamically linked | ≤ 8 MB |
//! | `control-events` | events per second on one thread, 10,000 sleds, 1,000,000 queued jobs | `BTreeMap` and `VecDeque` queue, deliveries only, that decides nothing | ≥ 200,000 per second |
//! | `control-growth` | cost per event with 10^6 queued jobs | the same with 10^2 | ≤ 3, as log n |
//! | `control-memory` | live bytes per queued job | its kept fields as JSON text | ≤ 300 bytes |
//! | `control-reload-snapshot` | that state as rows | its jobs to text by `serde_json` | ≤ 2 s |
//! | `control-reload` | that state from rows | its jobs from text by `serde_json` | ≤ 2 s |
//! | `warm-path` | a warm sled's order after a durable delivery, 99th percentile, 500 sleds, 1,000 deliveries/s, without GitHub's API time | three bare write + fdatasync | ≤ 20 ms |
//! | `api-webhook` | calls of GitHub's API per job, 60 jobs a minute, deliveries by webhook | the call that registers a runner | ≤ 3 calls |
//! | `api-pull` | the same, 30 jobs a minute, deliveries from GitHub's log alone | the same | ≤ 8 calls |
//! | `log-ingest` | deliveries taken in per second from a log of 100,000 | what GitHub's hourly limit of 5,000 calls allows | shown |
//! | `log-ingest-memory` | the daemon's resident memory when they are in | before the first | ≤ 32 MiB |
//! | `power-sweep` | power read from 256 BMCs, cipher suite 17, no session before | FreeIPMI's `ipmipower` on the same BMCs | ≤ 1 |
//! | `power-sweep-memory` | most resident memory of that process | `ipmipower`'s | ≤ 1/2 |
//! | `power-status` | power read on a warm session | `ipmitool`, which opens one | ≤ 1/5 |
//! | `traces-MODEL-jain` | Jain's fairness index of a model of traffic, see `traces` | first in, first out | shown |
//! | `traces-MODEL-light-p95` | wait of the lighter half of the repositories, 95th percentile | first in, first out | shown |
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
mod allocation;
mod api;
mod control;
mod cpu;
mod daemon;
mod deliveries;
mod disk;
mod ingest;
mod least;
mod load;
mod memory;
mod netboot;
mod peer;
mod power;
mod program;
mod rack;
mod random;
mod size;
mod summary;
mod traces;
mod warm;
mod world;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use crate::summary::{Row, Summary};

/// Benchmarks in the order of the table. `memory`, `control-reload` and
/// `log-ingest` give two rows each.
const BENCHMARKS: [(&str, Run); 18] = [
    ("ack-1", acks::one_sender),
    ("ack-1-least", acks::one_sender_beside_least),
    ("ack-64", acks::many_senders),
    ("ack-64-webhook", acks::beside_webhook),
    ("netboot", netboot::run),
    ("memory", memory::run),
    ("binary-size", size::run),
    ("control-events", control::events),
    ("control-growth", control::growth),
    ("control-memory", control::memory),
    ("control-reload", control::reload),
    ("warm-path", warm::run),
    ("api-webhook", api::by_webhook),
    ("api-pull", api::by_pull),
    ("log-ingest", ingest::run),
    ("power-sweep", power::sweep),
    ("power-status", power::status),
    ("traces", traces::run),
];

#[global_allocator]
static ALLOCATOR: allocation::Counting = allocation::Counting;

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
    /// For `power-sweep` itself: read the BMCs of this list.
    #[arg(long, hide = true)]
    sweep: Option<PathBuf>,
    /// For `ack-1-least` itself: be the peer at this address.
    #[arg(long, hide = true)]
    least: Option<SocketAddr>,
}

/// What every benchmark is given.
struct Bench {
    /// Where the binary to measure should be.
    musher: PathBuf,
    /// The checkout's build folder.
    target: PathBuf,
    /// Where the summary and plots are written.
    out: PathBuf,
    /// Where benchmarks write, on the disk that is measured.
    work: PathBuf,
}

impl Bench {
    /// The binary to measure.
    fn musher(&self) -> Result<PathBuf> {
        let path = self.musher.canonicalize();
        path.with_context(|| {
            let path = self.musher.display();
            format!("{path} is not built; run `./tools/just build`")
        })
    }

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
    if let Some(list) = &arguments.sweep {
        return power::sweep_of(list);
    }
    if let Some(address) = arguments.least {
        return least::serve(address);
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    std::fs::create_dir_all(&target).with_context(|| format!("make {}", target.display()))?;
    let target = target.canonicalize().context("find the build folder")?;
    let musher = arguments
        .musher
        .clone()
        .unwrap_or_else(|| target.join("x86_64-unknown-linux-musl/release/musher"));
    let dir = arguments
        .dir
        .clone()
        .unwrap_or_else(|| target.join("bench"));
    let work = dir.join("work");
    std::fs::create_dir_all(&work).with_context(|| format!("make {}", work.display()))?;
    let bench = Bench {
        musher,
        target,
        out: dir.clone(),
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
