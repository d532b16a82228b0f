//! `musher-demo` shows the whole chain on one machine: QEMU sleds, a GitHub
//! stand-in, Musher between them, and a few jobs that run to their receipts.

mod accept_real;
mod progress;
mod show;
mod summary;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use accept_real::AcceptReal;
use clap::{Args, Parser, Subcommand, ValueEnum};
use musher_demo::forward;

/// Jobs from a GitHub stand-in, each on a freshly netbooted and wiped sled.
#[derive(Parser)]
#[command(name = "musher-demo", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    show: Show,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args)]
struct Show {
    /// How many sleds, BIOS and UEFI in turn.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=50))]
    sleds: u8,
    /// How many jobs.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    jobs: u16,
    /// How deliveries come in.
    #[arg(long, value_enum, default_value_t = Tunnel::Direct)]
    tunnel: Tunnel,
    /// Leave everything running to look at.
    #[arg(long)]
    keep: bool,
    /// Where everything is written. Emptied first.
    #[arg(long, default_value = "target/demo")]
    dir: PathBuf,
}

/// `[tunnel]` kind of the demo's Musher.
#[derive(Clone, Copy, ValueEnum)]
enum Tunnel {
    /// The stand-in reaches Musher.
    Direct,
    /// Nobody listens: Musher reads the stand-in's delivery log.
    Pull,
    /// Through a channel, as smee.io has them.
    Smee,
    /// Through `ssh -R` to an sshd on loopback.
    Command,
}

#[derive(Subcommand)]
enum Command {
    /// Take down what a demo with --keep left running.
    Down {
        /// Where the demo was.
        #[arg(long, default_value = "target/demo")]
        dir: PathBuf,
    },
    /// The same chain against GitHub itself, with GitHub's runner.
    AcceptReal(Box<AcceptReal>),
    /// Pass connections on into a lab.
    #[command(hide = true)]
    Forward { lab: PathBuf, target: String },
    /// Join standard input to an address.
    #[command(hide = true)]
    Connect { target: String },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.command {
        None => show::run(&arguments.show),
        Some(Command::Down { dir }) => show::down(dir).map(|()| true),
        Some(Command::AcceptReal(wish)) => accept_real::run(wish),
        Some(Command::Forward { lab, target }) => forward::run(lab, target).map(|()| true),
        Some(Command::Connect { target }) => forward::connect(target).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("musher-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}
