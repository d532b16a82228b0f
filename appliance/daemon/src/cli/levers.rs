//! Commands that act on sleds and pools, as the core's levers.

use clap::{Args, Subcommand};
use control::Lever;

use super::Reach;

/// Act on one sled.
#[derive(Args)]
pub(super) struct SledCommand {
    #[command(subcommand)]
    pub(super) lever: SledLever,
}

/// Act on one pool.
#[derive(Args)]
pub(super) struct PoolCommand {
    #[command(subcommand)]
    pub(super) lever: PoolLever,
}

#[derive(Args)]
pub(super) struct Target {
    /// Its name in the inventory
    name: String,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Subcommand)]
pub(super) enum SledLever {
    /// Put a quarantined sled back into service
    Release(Target),
    /// Withhold a sled; a boot that runs on it goes on to its end
    Quarantine {
        /// Why, for whoever looks
        #[arg(long, default_value = "withheld by hand")]
        reason: String,
        #[command(flatten)]
        target: Target,
    },
    /// Let a sled end the job it runs, and give it no other
    Drain(Target),
    /// Drain a sled that you are about to work on
    Maintain {
        /// What for, for whoever looks
        #[arg(long, default_value = "maintenance")]
        reason: String,
        #[command(flatten)]
        target: Target,
    },
    /// Put a drained or maintained sled back into service
    Resume(Target),
    /// End the boot of a sled that runs no job; its job is served elsewhere
    CancelClaim(Target),
}

#[derive(Subcommand)]
pub(super) enum PoolLever {
    /// Start nothing for a pool; what runs goes on
    Pause {
        /// Why, for whoever looks
        #[arg(long, default_value = "paused by hand")]
        reason: String,
        #[command(flatten)]
        target: Target,
    },
    /// Let a paused pool go on
    Resume(Target),
}

impl From<SledLever> for (Lever, Reach) {
    fn from(lever: SledLever) -> Self {
        match lever {
            SledLever::Release(Target { name: sled, reach }) => (Lever::Release { sled }, reach),
            SledLever::Quarantine {
                reason,
                target: Target { name: sled, reach },
            } => (Lever::Quarantine { sled, reason }, reach),
            SledLever::Drain(Target { name: sled, reach }) => (Lever::Drain { sled }, reach),
            SledLever::Maintain {
                reason,
                target: Target { name: sled, reach },
            } => (Lever::Maintain { sled, reason }, reach),
            SledLever::Resume(Target { name: sled, reach }) => (Lever::Resume { sled }, reach),
            SledLever::CancelClaim(Target { name: sled, reach }) => {
                (Lever::CancelClaim { sled }, reach)
            }
        }
    }
}

impl From<PoolLever> for (Lever, Reach) {
    fn from(lever: PoolLever) -> Self {
        match lever {
            PoolLever::Pause {
                reason,
                target: Target { name: pool, reach },
            } => (Lever::PausePool { pool, reason }, reach),
            PoolLever::Resume(Target { name: pool, reach }) => (Lever::ResumePool { pool }, reach),
        }
    }
}
