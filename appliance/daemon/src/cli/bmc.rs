//! `musher bmc …`: what a sled's management controller keeps beside its power.

use std::time::Duration;

use clap::Subcommand;

use super::levers::Target;
use super::{client, done, print, table};

/// Longest wait: a BMC with many users is asked for each, one with a full
/// event log for each entry.
const PATIENCE: Duration = Duration::from_secs(300);

/// Act on a sled's management controller.
#[derive(Subcommand)]
pub(super) enum BmcCommand {
    /// Give Musher's user of the BMC a new random password: it is proved, put
    /// into the file of `password_path`, and told to nobody
    RotatePassword(Target),
    /// Show the BMC's event log, oldest first, by the BMC's own clock
    Events(Target),
    /// Erase the BMC's event log
    ClearEvents(Target),
}

pub(super) fn run(command: BmcCommand) -> anyhow::Result<()> {
    match command {
        BmcCommand::RotatePassword(target) => act(&target, "password"),
        BmcCommand::ClearEvents(target) => act(&target, "clear-events"),
        BmcCommand::Events(Target { name, reach }) => {
            let path = format!("/api/v1/sleds/{name}/events");
            let value = client(&reach)?.get_within(&path, PATIENCE)?;
            print(&reach, &value, table::events)
        }
    }
}

fn act(Target { name, reach }: &Target, what: &str) -> anyhow::Result<()> {
    let path = format!("/api/v1/sleds/{name}/{what}");
    done(reach, &client(reach)?.post_within(&path, PATIENCE)?);
    Ok(())
}
