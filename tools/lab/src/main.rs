//! `musher-lab` brings up, shows and takes down racks of QEMU sleds; the BMC
//! simulators call it as their chassis program. The work is in the library.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand};
use musher_lab::{
    Acceleration, DirectBoot, DiskBus, Firmware, Lab, LabConfig, Mode, SledConfig, chassis,
    direct_boot, keeper, take_down, warden,
};

/// QEMU sleds behind simulated BMCs on a bridge of their own.
#[derive(Parser)]
#[command(name = "musher-lab", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring a lab up and hold it until ctrl-c, or leave it up with --keep.
    Up(Up),
    /// Take the lab in a directory down.
    Down {
        /// The lab's directory.
        #[arg(long)]
        dir: PathBuf,
    },
    /// Show the sleds of a lab.
    Status {
        /// The lab's directory.
        #[arg(long)]
        dir: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run a program inside a lab's network.
    Exec {
        /// The lab's directory.
        #[arg(long)]
        dir: PathBuf,
        /// The program and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Boot a kernel directly in QEMU and print how long a text took to show.
    DirectBoot(Direct),
    /// Carry out one chassis command; BMC simulators call this.
    #[command(hide = true)]
    Chassis {
        dir: PathBuf,
        #[arg(trailing_var_arg = true)]
        words: Vec<String>,
    },
    /// Stay beside one machine until it ends.
    #[command(hide = true)]
    Keeper { dir: PathBuf, device: String },
    /// Take a lab down when standard input ends.
    #[command(hide = true)]
    Warden { dir: PathBuf },
}

#[derive(Args)]
struct Up {
    /// How many sleds.
    #[arg(long, default_value_t = 2)]
    sleds: usize,
    /// Firmware per sled, repeated when there are more sleds.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "bios,uefi")]
    firmware: Vec<Firmware>,
    /// Where the lab's files live.
    #[arg(long)]
    dir: PathBuf,
    /// Leave the lab up and return.
    #[arg(long)]
    keep: bool,
    /// How the network namespace is made.
    #[arg(long, value_enum, default_value_t = Mode::Auto)]
    mode: Mode,
    /// How QEMU runs guests.
    #[arg(long, value_enum, default_value_t = Acceleration::Auto)]
    acceleration: Acceleration,
    /// The kernel that the KVM probe boots; without one, guests run under TCG.
    #[arg(long)]
    kernel: Option<PathBuf>,
    /// Memory per sled, MiB.
    #[arg(long, default_value_t = 512)]
    memory: u32,
    /// Disk size per sled, MiB.
    #[arg(long, default_value_t = 512)]
    disk_size: u64,
    /// How disks are attached.
    #[arg(long, value_enum, default_value_t = DiskBus::Virtio)]
    disk: DiskBus,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Direct {
    /// The kernel image.
    #[arg(long)]
    kernel: PathBuf,
    /// The initramfs.
    #[arg(long)]
    initramfs: PathBuf,
    /// The kernel command line.
    #[arg(long, default_value = "console=ttyS0 quiet panic=-1")]
    append: String,
    /// The text on the console to wait for.
    #[arg(long)]
    until: String,
    /// Seconds to wait for it.
    #[arg(long, default_value_t = 120)]
    timeout: u64,
    /// Memory, MiB.
    #[arg(long, default_value_t = 512)]
    memory: u32,
    /// A lab's directory: boot on the hardware of one of its sleds, inside it.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The number of that sled.
    #[arg(long, default_value_t = 1)]
    sled: u8,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Up(wish) => up(&wish),
        Command::Down { dir } => take_down(&dir),
        Command::Status { dir, json } => Lab::open(&dir).and_then(|lab| show(&lab, json)),
        Command::Exec { dir, words } => return exec(&dir, &words),
        Command::DirectBoot(wish) => direct(&wish),
        Command::Chassis { dir, words } => chassis::run(&dir, &words),
        Command::Keeper { dir, device } => keeper::run(&dir, &device),
        Command::Warden { dir } => warden::run(&dir),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("musher-lab: {error:#}");
    ExitCode::FAILURE
}

fn up(wish: &Up) -> Result<()> {
    ensure!(!wish.firmware.is_empty(), "name at least one firmware");
    let mut config = LabConfig::new(&wish.dir);
    config.sleds = wish
        .firmware
        .iter()
        .cycle()
        .take(wish.sleds)
        .map(|firmware| SledConfig {
            memory_mib: wish.memory,
            disk: wish.disk,
            disk_mib: wish.disk_size,
            ..(*firmware).into()
        })
        .collect();
    config.mode = wish.mode;
    config.acceleration = wish.acceleration;
    config.probe_kernel.clone_from(&wish.kernel);
    config.keep = wish.keep;
    let lab = Lab::up(&config)?;
    show(&lab, wish.json)?;
    if wish.keep {
        return Ok(());
    }
    eprintln!("ctrl-c takes the lab down");
    wait_for_signal()?;
    lab.down()
}

/// Returns on an interrupt or a request to terminate.
fn wait_for_signal() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("start waiting for signals")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("wait for SIGINT")?;
        tokio::select! {
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        }
    })
}

fn show(lab: &Lab, json: bool) -> Result<()> {
    let status = lab.status();
    if json {
        println!(
            "{}",
            serde_json::to_string_pretty(&status).context("encode the status")?
        );
        return Ok(());
    }
    println!(
        "{}: {}",
        lab.dir().display(),
        if lab.has_kvm() { "kvm" } else { "tcg" }
    );
    for now in status {
        let power = if now.on { "on" } else { "off" };
        let sled = now.sled;
        println!(
            "{}  {}  {:?}  {power}  bmc {} user {} password in {}",
            sled.name,
            sled.mac,
            sled.firmware,
            sled.bmc_address,
            sled.bmc_username,
            sled.bmc_password_path.display()
        );
    }
    Ok(())
}

fn exec(dir: &std::path::Path, words: &[String]) -> ExitCode {
    let run = || {
        let (program, arguments) = words.split_first().context("name a program")?;
        let lab = Lab::open(dir)?;
        lab.command(program)
            .args(arguments)
            .status()
            .with_context(|| format!("run {program}"))
    };
    match run() {
        Ok(status) => ExitCode::from(
            status
                .code()
                .and_then(|code| code.try_into().ok())
                .unwrap_or(1),
        ),
        Err(error) => fail(&error),
    }
}

fn direct(wish: &Direct) -> Result<()> {
    let boot = DirectBoot {
        kernel: wish.kernel.clone(),
        initramfs: wish.initramfs.clone(),
        command_line: wish.append.clone(),
        until: wish.until.clone(),
        limit: Duration::from_secs(wish.timeout),
    };
    let report = match &wish.dir {
        Some(dir) => Lab::open(dir)?.direct_boot(wish.sled, &boot)?,
        None => direct_boot(&boot, wish.memory)?,
    };
    if wish.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&report).context("encode the report")?
        );
    } else {
        println!("{:?} after {} ms", wish.until, report.until_ms);
    }
    Ok(())
}
