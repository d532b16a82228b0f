//! Commands that act on sleds and pools, as the core's levers.

use std::str::FromStr;

use clap::{Args, Subcommand};
use control::{Lever, PowerAction};

use super::Reach;

/// Act on one sled.
#[derive(Args)]
pub(super) struct SledCommand {
    #[command(subcommand)]
    pub(super) action: SledAction,
}

/// What to do with one sled.
#[derive(Subcommand)]
pub(super) enum SledAction {
    #[command(flatten)]
    Lever(SledLever),
    /// Turn a sled on or off by hand, or read its power
    #[command(subcommand)]
    Power(SledPower),
    /// Light a sled's identify light
    Identify {
        /// For how many seconds; 0 turns it off
        #[arg(long = "for", value_name = "SECONDS", default_value_t = 15)]
        for_s: u8,
        #[command(flatten)]
        target: Target,
    },
    /// Show what a sled's console said in its newest boot
    Console {
        /// Go on with what it says from now on
        #[arg(long)]
        follow: bool,
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Subcommand)]
pub(super) enum SledPower {
    #[command(flatten)]
    Lever(PowerLever),
    /// Read one sled's power from its driver, now
    Status(Target),
    /// Read the power of all sleds at once
    Sweep {
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Subcommand)]
pub(super) enum PowerLever {
    /// Turn on a sled that is out of service (drained, maintained or
    /// quarantined); it is given nothing to boot
    On(Target),
    /// Turn a sled off, without asking its operating system
    Off(Cut),
    /// Turn off a sled that is out of service, wait until that is proved, and
    /// turn it on again
    Cycle(Cut),
}

#[derive(Args)]
pub(super) struct Cut {
    /// Also where its runner may have a job, which then fails
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    target: Target,
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
    pub(super) name: String,
    #[command(flatten)]
    pub(super) reach: Reach,
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
    /// Take what a sled's BMC is set to now as what it should be, after you
    /// changed it or replaced the BMC, and put the sled back into service
    Readopt(Target),
    /// If a job of the sled fails within this time, keep the sled on until then
    Hold {
        /// How long, such as 90m or 4h; a week at most
        #[arg(long = "for", value_name = "TIME", default_value = "4h")]
        span: Span,
        #[command(flatten)]
        target: Target,
    },
    /// Lift a hold; a sled that is held powers off
    Unhold(Target),
    /// Judge by hand a sled that owes an acceptance run: into service with it. A
    /// quarantined one is released first, and accepted then
    Accept {
        /// Withhold it instead
        #[arg(long)]
        failed: bool,
        #[command(flatten)]
        target: Target,
    },
}

/// A time span in seconds, as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span(u64);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("\"{text}\" is no time: write a number and s, m, h or d, such as 90m");
        let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 24 * 3600)];
        let (number, scale) = units
            .into_iter()
            .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)))
            .ok_or_else(wrong)?;
        let number: u64 = number.parse().map_err(|_| wrong())?;
        match number.checked_mul(scale) {
            Some(seconds @ 1..) => Ok(Self(seconds)),
            Some(0) | None => Err(wrong()),
        }
    }
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
            SledLever::Readopt(Target { name: sled, reach }) => (Lever::Readopt { sled }, reach),
            SledLever::Hold {
                span: Span(seconds),
                target: Target { name: sled, reach },
            } => (Lever::Hold { sled, seconds }, reach),
            SledLever::Unhold(Target { name: sled, reach }) => (Lever::Unhold { sled }, reach),
            SledLever::Accept {
                failed,
                target:
                    Target {
                        name: acceptance,
                        reach,
                    },
            } => {
                let passed = !failed;
                (Lever::Accept { acceptance, passed }, reach)
            }
        }
    }
}

impl From<PowerLever> for (Lever, Reach) {
    fn from(lever: PowerLever) -> Self {
        let (action, force, target) = match lever {
            PowerLever::On(target) => (PowerAction::On, false, target),
            PowerLever::Off(Cut { force, target }) => (PowerAction::Off, force, target),
            PowerLever::Cycle(Cut { force, target }) => (PowerAction::Cycle, force, target),
        };
        let Target { name: sled, reach } = target;
        let lever = Lever::Power {
            sled,
            action,
            force,
        };
        (lever, reach)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_numbers_with_a_unit() {
        let check = |text: &str, expect: Option<u64>| {
            assert_eq!(text.parse().ok(), expect.map(Span), "{text}");
        };
        check("45s", Some(45));
        check("90m", Some(5400));
        check("4h", Some(14_400));
        check("7d", Some(604_800));
        for wrong in [
            "",
            "4",
            "h",
            "0h",
            "-1h",
            "4hh",
            "1.5h",
            "4 h",
            "999999999999999999d",
        ] {
            check(wrong, None);
        }
    }
}
