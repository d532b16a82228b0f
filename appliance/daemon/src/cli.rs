//! The command line. Exit codes: 0 done, 1 failed, 2 usage or invalid
//! configuration.

use std::{
    io::{IsTerminal, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use control::Lever;
use serde_json::Value;
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::{
    admin::ReceiptsExport,
    config::{ConfigError, load_config, load_inventory},
    power::gpio::{self, lines},
    receipts,
    serve::{boot_programs, client_config, serve},
};

mod bmc;
mod client;
mod github;
mod levers;
mod table;

use levers::{PoolCommand, SledAction, SledCommand, SledPower, Target};

use client::{Client, socket_path};

/// Receipts asked for at once.
const PAGE: usize = 500;

/// Gives every GitHub Actions job a whole, freshly wiped machine.
#[derive(Parser)]
#[command(name = "musher", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Where a command finds the running appliance.
#[derive(clap::Args)]
struct Reach {
    /// Configuration whose state_dir holds the control socket
    #[arg(long, default_value = "/etc/musher/musher.toml")]
    config: PathBuf,
    /// Control socket, instead of the configuration's
    #[arg(long)]
    socket: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Run the appliance
    Serve {
        /// Configuration
        #[arg(long)]
        config: PathBuf,
        /// Inventory, applied when it changed since it was last applied
        #[arg(long)]
        inventory: Option<PathBuf>,
    },
    /// Check a configuration without running it
    CheckConfig {
        /// Configuration
        file: PathBuf,
        /// Inventory to check with it
        #[arg(long)]
        inventory: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Own the machine's GPIO lines, over restarts of the appliance's daemon
    GpioHold {
        /// Which name is which line
        #[arg(long, default_value = lines::DEFAULT_FILE)]
        lines: PathBuf,
        /// Where the daemon finds the holder
        #[arg(long, default_value = lines::DEFAULT_SOCKET)]
        socket: PathBuf,
    },
    /// Show the whole appliance
    Status {
        #[command(flatten)]
        reach: Reach,
    },
    /// Show jobs, newest first
    Jobs {
        /// How many at most
        #[arg(long, default_value_t = 50)]
        limit: usize,
        #[command(flatten)]
        reach: Reach,
    },
    /// Show sleds
    Sleds {
        #[command(flatten)]
        reach: Reach,
    },
    /// Act on one sled
    Sled(SledCommand),
    /// Act on a sled's management controller
    #[command(subcommand)]
    Bmc(bmc::BmcCommand),
    /// Show pools
    Pools {
        #[command(flatten)]
        reach: Reach,
    },
    /// Act on one pool
    Pool(PoolCommand),
    /// Look into one job
    #[command(subcommand)]
    Job(JobCommand),
    /// Show and verify wipe receipts
    #[command(subcommand)]
    Receipts(ReceiptsCommand),
    /// Look at and act on what GitHub knows, set an App up, find its faults
    #[command(subcommand)]
    Github(github::GithubCommand),
}

#[derive(Subcommand)]
enum JobCommand {
    /// Say why a job is where it is
    Explain {
        /// GitHub's number of the job
        id: u64,
        #[command(flatten)]
        reach: Reach,
    },
    /// Show what its sled's console said in the boot that served it
    Console {
        /// GitHub's number of the job
        id: u64,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Subcommand)]
enum ReceiptsCommand {
    /// List receipts
    List {
        #[command(flatten)]
        reach: Reach,
    },
    /// Show one receipt in full
    Show {
        /// Its number
        number: u64,
        #[command(flatten)]
        reach: Reach,
    },
    /// Verify signatures and the chain from its start
    Verify {
        /// Public key in hex that you noted down before, instead of the
        /// appliance's own word
        #[arg(long)]
        key: Option<String>,
        /// Head of the chain that you noted down before: it must still be there
        #[arg(long)]
        head: Option<String>,
        /// An exported file (`receipts export`), instead of the appliance
        #[arg(long)]
        file: Option<PathBuf>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Verify all receipts and write them to a new file; from then on old ones
    /// may leave the appliance, where [retention] says so
    Export {
        /// The file, which must not exist
        file: PathBuf,
        #[command(flatten)]
        reach: Reach,
    },
}

/// Runs the command that the process was called with.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("musher: {error:#}");
            if error.downcast_ref::<ConfigError>().is_some() {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve { config, inventory } => {
            start_logging();
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .max_blocking_threads(16)
                .enable_all()
                .build()?;
            runtime.block_on(serve(&config, inventory.as_deref()))
        }
        Command::CheckConfig {
            file,
            inventory,
            json,
        } => check_config(file, inventory, json),
        Command::GpioHold { lines, socket } => {
            start_logging();
            gpio::serve::run(&lines, &socket)
        }
        Command::Status { reach } => show(&reach, "/api/v1/status", table::status),
        Command::Jobs { limit, reach } => {
            show(&reach, &format!("/api/v1/jobs?limit={limit}"), table::jobs)
        }
        Command::Sleds { reach } => show(&reach, "/api/v1/sleds", table::sleds),
        Command::Sled(SledCommand { action }) => sled(action),
        Command::Bmc(command) => bmc::run(command),
        Command::Pools { reach } => show(&reach, "/api/v1/pools", table::pools),
        Command::Pool(PoolCommand { lever }) => pull(lever.into()),
        Command::Job(JobCommand::Explain { id, reach }) => show(
            &reach,
            &format!("/api/v1/jobs/{id}/explain"),
            table::explanation,
        ),
        Command::Job(JobCommand::Console { id, reach }) => {
            console(&reach, &format!("/api/v1/jobs/{id}/console"))
        }
        Command::Receipts(command) => receipts_command(command),
        Command::Github(command) => github::run(command),
    }
}

/// Lines for people on a terminal, JSON otherwise. `MUSHER_LOG` filters, such
/// as `info,musher::netboot=debug`.
fn start_logging() {
    let wanted = std::env::var("MUSHER_LOG").ok();
    let targets = wanted.and_then(|text| text.parse::<Targets>().ok());
    let targets = targets.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry();
    if std::io::stderr().is_terminal() {
        registry.with(lines.with_filter(targets)).init();
    } else {
        let json = lines.json().flatten_event(true);
        registry.with(json.with_filter(targets)).init();
    }
}

fn check_config(file: PathBuf, inventory: Option<PathBuf>, json: bool) -> anyhow::Result<()> {
    let config = load_config(&file)?;
    for github in &config.github {
        crate::github::GithubClient::check(&client_config(&config, github)?)
            .map_err(|error| ConfigError::value(&file, "github", error.to_string()))?;
    }
    if config.server.sled_interface.is_some() {
        boot_programs(&config)?;
    }
    let checked = inventory
        .map(|inventory| load_inventory(&config, &inventory))
        .transpose()?;
    let (pools, sleds, warnings) = checked.map_or_else(Default::default, |checked| {
        let inventory = checked.inventory;
        (
            inventory.pools.len(),
            inventory.sleds.len(),
            checked.warnings,
        )
    });
    if json {
        let report = serde_json::json!({
            "ok": true, "pools": pools, "sleds": sleds, "warnings": warnings,
        });
        println!("{report}");
    } else {
        for warning in &warnings {
            println!("warning: {warning}");
        }
        println!("{}: ok ({pools} pools, {sleds} sleds)", file.display());
    }
    Ok(())
}

fn client(reach: &Reach) -> anyhow::Result<Client> {
    let socket = match &reach.socket {
        Some(socket) => socket.clone(),
        None => socket_path(&reach.config)?,
    };
    Client::new(socket)
}

fn show(reach: &Reach, path: &str, render: fn(&Value) -> String) -> anyhow::Result<()> {
    print(reach, &client(reach)?.get(path)?, render)
}

fn print(reach: &Reach, value: &Value, render: fn(&Value) -> String) -> anyhow::Result<()> {
    if reach.json {
        println!("{}", serde_json::to_string_pretty(value)?);
    } else {
        print!("{}", render(value));
    }
    Ok(())
}

fn sled(action: SledAction) -> anyhow::Result<()> {
    match action {
        SledAction::Lever(lever) => pull(lever.into()),
        SledAction::Power(SledPower::Lever(lever)) => pull(lever.into()),
        SledAction::Power(SledPower::Status(Target { name, reach })) => show(
            &reach,
            &format!("/api/v1/sleds/{name}/power"),
            table::power_of_one,
        ),
        SledAction::Power(SledPower::Sweep { reach }) => {
            show(&reach, "/api/v1/power", table::power)
        }
        SledAction::Identify {
            for_s,
            target: Target { name, reach },
        } => {
            let path = format!("/api/v1/sleds/{name}/identify?for={for_s}");
            done(&reach, &client(&reach)?.post(&path, String::new())?);
            Ok(())
        }
        SledAction::Console {
            follow,
            target: Target { name, reach },
        } => {
            let follow = u8::from(follow);
            console(
                &reach,
                &format!("/api/v1/sleds/{name}/console?follow={follow}"),
            )
        }
    }
}

/// Shows what a sled said, which must not steer the terminal.
fn console(reach: &Reach, path: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let tame = out.is_terminal();
    client(reach)?.follow(path, |bytes| {
        match tame {
            true => out.write_all(&table::tame(bytes))?,
            false => out.write_all(bytes)?,
        }
        out.flush()
    })
}

fn pull((lever, reach): (Lever, Reach)) -> anyhow::Result<()> {
    let value = client(&reach)?.post("/api/v1/levers", serde_json::to_string(&lever)?)?;
    done(&reach, &value);
    Ok(())
}

fn done(reach: &Reach, value: &Value) {
    if reach.json {
        println!("{value}");
    } else {
        println!("done");
    }
}

/// Every receipt that the appliance keeps.
fn fetch_receipts(reach: &Reach) -> anyhow::Result<ReceiptsExport> {
    let client = client(reach)?;
    let mut all: Option<ReceiptsExport> = None;
    loop {
        let from = all
            .as_ref()
            .and_then(|all| all.receipts.last())
            .map_or(1, |r| r.sequence + 1);
        let value = client.get(&format!("/api/v1/receipts?from={from}&limit={PAGE}"))?;
        let page: ReceiptsExport = serde_json::from_value(value)?;
        let last = page.receipts.len() < PAGE;
        match &mut all {
            Some(all) => all.receipts.extend(page.receipts),
            None => all = Some(page),
        }
        if last {
            break;
        }
    }
    all.ok_or_else(|| anyhow::anyhow!("the appliance gave no receipts"))
}

/// Writes every receipt to a new file, on disk when this returns, and tells the
/// appliance that there is a copy. Only a chain that verifies is a copy.
fn export_receipts(file: &std::path::Path, reach: &Reach) -> anyhow::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};

    let export = fetch_receipts(reach)?;
    // The last one may not be signed yet: it goes with the next export.
    let signed = export.receipts.iter().take_while(|r| r.signature.is_some());
    let export = ReceiptsExport {
        receipts: signed.cloned().collect(),
        ..export
    };
    let verified = receipts::verify(&export, &export.key)?;
    let head = verified.last();
    let through = head.map_or(0, receipts::Verified::sequence);
    let mut written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .with_context(|| format!("create {}", file.display()))?;
    let write = |written: &mut std::fs::File| -> anyhow::Result<()> {
        serde_json::to_writer(&*written, &export)?;
        written.flush()?;
        Ok(written.sync_all()?)
    };
    write(&mut written).with_context(|| format!("write {}", file.display()))?;
    let lever = Lever::ReceiptsExported { through };
    client(reach)?.post("/api/v1/levers", serde_json::to_string(&lever)?)?;
    let head = head.map(|head| head.hash.to_string());
    let count = verified.len();
    if reach.json {
        let report = serde_json::json!({ "receipts": count, "through": through, "head": head });
        println!("{report}");
    } else {
        println!(
            "{count} receipts, up to number {through}, in {}",
            file.display()
        );
        println!("key  {}", export.key);
        println!("head {}", head.as_deref().unwrap_or("none"));
    }
    Ok(())
}

/// Verifies a file, or what the appliance keeps. The newest receipt is signed
/// a moment after it is made: the appliance is given that moment.
fn verify_receipts(
    key: Option<String>,
    file: Option<&std::path::Path>,
    reach: &Reach,
) -> anyhow::Result<(String, Vec<receipts::Verified>)> {
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(3);
    loop {
        let export = match file {
            Some(file) => serde_json::from_slice(&std::fs::read(file)?)?,
            None => fetch_receipts(reach)?,
        };
        let key = key.clone().unwrap_or_else(|| export.key.clone());
        match receipts::verify(&export, &key) {
            Ok(verified) => return Ok((key, verified)),
            Err(receipts::ReceiptError::Unsigned(_))
                if file.is_none() && std::time::Instant::now() < patience =>
            {
                std::thread::sleep(std::time::Duration::from_millis(200));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn receipts_command(command: ReceiptsCommand) -> anyhow::Result<()> {
    match command {
        ReceiptsCommand::List { reach } => {
            let export = fetch_receipts(&reach)?;
            if reach.json {
                println!("{}", serde_json::to_string_pretty(&export)?);
            } else {
                print!("{}", table::receipts(&receipts::read(&export)?));
            }
        }
        ReceiptsCommand::Show { number, reach } => {
            let export = fetch_receipts(&reach)?;
            let (receipt, energy) = receipts::read(&export)?
                .into_iter()
                .find(|(receipt, _)| receipt.sequence == number)
                .ok_or_else(|| anyhow::anyhow!("there is no receipt {number}"))?;
            let plain = receipts::plain(&receipt, energy);
            if reach.json {
                println!("{}", serde_json::to_string_pretty(&plain)?);
            } else {
                print!("{}", table::receipt(&plain));
            }
        }
        ReceiptsCommand::Export { file, reach } => export_receipts(&file, &reach)?,
        ReceiptsCommand::Verify {
            key,
            head: noted,
            file,
            reach,
        } => {
            let own_word = key.is_none();
            let (key, verified) = verify_receipts(key, file.as_deref(), &reach)?;
            if let Some(noted) = noted
                && !verified
                    .iter()
                    .any(|v| v.hash.to_string() == noted.to_lowercase())
            {
                anyhow::bail!(
                    "the chain does not hold head {noted}: it was cut or rewritten since you noted it"
                );
            }
            let head = verified.last().map(|last| last.hash.to_string());
            if reach.json {
                let numbers: Vec<u64> = verified.iter().map(receipts::Verified::sequence).collect();
                let report = serde_json::json!({
                    "ok": true, "key": key, "receipts": numbers, "head": head,
                });
                println!("{report}");
            } else {
                println!(
                    "{} receipts, each signed and following the one before",
                    verified.len()
                );
                println!(
                    "key  {key}{}",
                    if own_word {
                        " (the appliance's own word)"
                    } else {
                        ""
                    }
                );
                println!("head {}", head.as_deref().unwrap_or("none"));
            }
        }
    }
    Ok(())
}
