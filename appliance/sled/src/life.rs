//! The whole life of a sled's boot, stage by stage. Each stage ends in the
//! next or in the power off; none is ever done twice, and nothing of an order
//! runs before every disk is wiped.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use messages::{AgentMessage, Assignment, BootPlan, DiskWipe, Instruction, Stage, WipeReport};

use crate::appliance::{Appliance, ApplianceError};
use crate::boot::{self, MountError};
use crate::cmdline::{Arguments, CmdlineError};
use crate::console::{chain, say};
use crate::hold;
use crate::image::{ImageError, Images};
use crate::inventory;
use crate::net::{self, NetError};
use crate::run::{self, RunError};
use crate::scratch::{self, ScratchError};
use crate::wipe::every::{self, EveryError};

/// How long the appliance may be away while nothing runs.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// How long it may be away when only the end is left to tell.
const LAST_PATIENCE: Duration = Duration::from_secs(10 * 60);
/// How long a failure is worth telling.
const FAILURE_PATIENCE: Duration = Duration::from_secs(60);
/// How often a held sled asks whether it is over.
const HOLD_SPACING: Duration = Duration::from_secs(5);
/// Polls are at least this far apart: normally the appliance holds them.
const POLL_SPACING: Duration = Duration::from_secs(1);

/// Why a boot ends without having done its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LifeError {
    /// A kernel file system is missing.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// `/proc/cmdline` cannot be read.
    #[error("cannot read the kernel command line")]
    ReadCmdline(#[source] io::Error),
    /// The kernel command line is not ours.
    #[error(transparent)]
    Cmdline(#[from] CmdlineError),
    /// No network.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The sled's parts cannot be listed.
    #[error("cannot list the sled's parts")]
    Inventory(#[source] io::Error),
    /// The appliance is lost, or refused us.
    #[error(transparent)]
    Appliance(#[from] ApplianceError),
    /// The appliance answered what does not belong here.
    #[error("the appliance's answer to {0} makes no sense")]
    Senseless(&'static str),
    /// The wipe failed.
    #[error("wipe failed")]
    Wipe(#[from] EveryError),
    /// A disk appeared after the wipe.
    #[error("disk {0} appeared after the wipe")]
    Latecomer(String),
    /// Scratch failed.
    #[error("scratch failed")]
    Scratch(#[from] ScratchError),
    /// The image failed.
    #[error("image failed")]
    Image(#[from] ImageError),
    /// The run failed.
    #[error("run failed")]
    Run(#[from] RunError),
}

impl LifeError {
    /// The stage to report, when the appliance can be told at all.
    const fn stage(&self) -> Option<Stage> {
        match self {
            Self::Mount(_)
            | Self::ReadCmdline(_)
            | Self::Cmdline(_)
            | Self::Net(_)
            | Self::Appliance(_)
            | Self::Run(RunError::Appliance(_)) => None,
            Self::Inventory(_) | Self::Senseless(_) => Some(Stage::Start),
            Self::Wipe(_) | Self::Latecomer(_) => Some(Stage::Wipe),
            Self::Scratch(_) => Some(Stage::Scratch),
            Self::Image(_) => Some(Stage::Image),
            Self::Run(RunError::Start(_) | RunError::Log(_)) => Some(Stage::Run),
        }
    }
}

/// Lives one boot; returns why to power off.
///
/// # Errors
/// What went wrong. The appliance has been told, if that was possible.
pub(crate) fn live() -> Result<String, LifeError> {
    boot::mount_all()?;
    let line = fs::read_to_string("/proc/cmdline").map_err(LifeError::ReadCmdline)?;
    let arguments = Arguments::parse(&line)?;
    say!("release {}", env!("CARGO_PKG_VERSION"));
    boot::load_modules();
    let resolver = net::bring_up()?;
    let mut appliance = Appliance::new(&arguments)?;
    let result = work(&mut appliance, resolver);
    if let Err(error) = &result
        && let Some(stage) = error.stage()
    {
        let reason = chain(error);
        say!("{reason}");
        let failed = AgentMessage::Failed { stage, reason };
        appliance.ask(failed, FAILURE_PATIENCE)?;
    }
    result
}

/// Everything that the appliance takes part in.
fn work(appliance: &mut Appliance, resolver: String) -> Result<String, LifeError> {
    let inventory = inventory::take().map_err(LifeError::Inventory)?;
    let plan = match appliance.ask(AgentMessage::Hello(inventory), PATIENCE)? {
        Instruction::Welcome(plan) => plan,
        Instruction::PowerOff { reason } => return Ok(reason),
        _ => return Err(LifeError::Senseless("hello")),
    };
    say!("this is {}, boot {}", plan.sled, plan.boot);

    let report = wipe()?;
    let disks = report.disks.clone();
    match appliance.ask(AgentMessage::Wiped(report), PATIENCE)? {
        Instruction::Continue | Instruction::Wait => {}
        Instruction::PowerOff { reason } => return Ok(reason),
        _ => return Err(LifeError::Senseless("the wipe report")),
    }

    let mut images = Images::new(resolver, plan.sled.clone());
    loop {
        let order = match poll(appliance)? {
            Next::Order(order) => order,
            Next::Hold => return Err(LifeError::Senseless("the poll for an order")),
            Next::Off(reason) => return Ok(reason),
        };
        if let Some(reason) = serve(appliance, &mut images, &plan, &disks, &order)? {
            return Ok(reason);
        }
    }
}

/// Wipes every disk and sets up scratch.
fn wipe() -> Result<WipeReport, LifeError> {
    let started = Instant::now();
    let disks = every::every_disk()?;
    let found = inventory::disks().map_err(LifeError::Inventory)?;
    let scratch = scratch::set_up(&found)?;
    let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    say!(
        "{} disks wiped, {} MiB of scratch, {elapsed_ms} ms",
        disks.len(),
        scratch.bytes >> 20
    );
    Ok(WipeReport {
        disks,
        scratch,
        elapsed_ms,
    })
}

enum Next {
    Order(Box<Assignment>),
    Hold,
    Off(String),
}

/// Polls until there is something to do. The appliance bounds how long.
fn poll(appliance: &mut Appliance) -> Result<Next, LifeError> {
    loop {
        let asked = Instant::now();
        match appliance.ask(AgentMessage::Poll, PATIENCE)? {
            Instruction::Order(order) => return Ok(Next::Order(Box::new(order.into()))),
            Instruction::OrderByToken(order) => return Ok(Next::Order(Box::new(order.into()))),
            Instruction::PowerOff { reason } => return Ok(Next::Off(reason)),
            Instruction::Hold => return Ok(Next::Hold),
            Instruction::Wait | Instruction::Discard | Instruction::Continue => {
                thread::sleep(POLL_SPACING.saturating_sub(asked.elapsed()));
            }
            Instruction::Welcome(_) => return Err(LifeError::Senseless("the poll")),
        }
    }
}

/// Stays on, because a person may want to look at this sled, until the
/// appliance says that it is over. Returns why.
fn held(appliance: &mut Appliance, plan: &BootPlan) -> Result<String, LifeError> {
    say!("staying on: the job may have failed, and somebody asked to look at it");
    let mut shells = hold::Shells::new(&plan.sled);
    loop {
        match poll(appliance)? {
            Next::Hold => {
                shells.keep();
                thread::sleep(HOLD_SPACING);
            }
            Next::Off(reason) => return Ok(reason),
            Next::Order(_) => return Err(LifeError::Senseless("the poll after a run")),
        }
    }
}

/// Serves one order; `None` when it was void and another may come.
///
/// The image is made ready before the order is accepted: accepting first
/// would save one round trip of a millisecond, and could start a runner that
/// became void during a long download. Accepted last, the appliance's word is
/// as fresh as it can be at the moment the runner starts.
fn serve(
    appliance: &mut Appliance,
    images: &mut Images,
    plan: &BootPlan,
    wiped: &[DiskWipe],
    order: &Assignment,
) -> Result<Option<String>, LifeError> {
    say!(
        "order for runner {}, image {}",
        order.runner_name,
        order.image.name
    );
    let root = images.prepare(appliance, &order.image, PATIENCE)?;
    if let Some(disk) = every::latecomers(wiped)?.first() {
        return Err(LifeError::Latecomer(disk.name.clone()));
    }
    let accepted = AgentMessage::Accepted {
        runner_name: order.runner_name.clone(),
    };
    match appliance.ask(accepted, PATIENCE)? {
        Instruction::Continue => {}
        Instruction::Discard => {
            say!("runner {} is void", order.runner_name);
            root.tear_down()?;
            return Ok(None);
        }
        Instruction::PowerOff { reason } => return Ok(Some(reason)),
        _ => return Err(LifeError::Senseless("the acceptance")),
    }
    say!("starting runner {}", order.runner_name);
    let end = run::run(appliance, order, &root.user, plan.log_limit_bytes)?;
    let reason = match appliance.ask(AgentMessage::Finished(end), LAST_PATIENCE)? {
        Instruction::PowerOff { reason } => reason,
        Instruction::Wait | Instruction::Hold => held(appliance, plan)?,
        _ => "the run is over".to_owned(),
    };
    Ok(Some(reason))
}
