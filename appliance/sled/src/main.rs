//! `musher-sled`: PID 1 of a netbooted sled.
//!
//! It wipes the sled, runs one order and powers the sled off. It never
//! reboots, never starts a shell and never boots a local disk: whatever goes
//! wrong ends with the power off.

mod appliance;
mod boot;
mod cmdline;
mod console;
mod image;
mod inventory;
mod ioctls;
mod life;
mod net;
mod power;
mod run;
mod scratch;
mod wipe;

use std::process::ExitCode;

/// PID 1 is the agent. Any other process of this program is the launcher,
/// which the agent starts to become the runner.
fn main() -> ExitCode {
    if std::process::id() != 1 {
        return run::launch::main(std::env::args().skip(1));
    }
    std::panic::set_hook(Box::new(|info| {
        console::line(format_args!("{info}"));
        power::off("the agent failed, see above");
    }));
    let reason = match life::live() {
        Ok(reason) => reason,
        Err(error) => console::chain(&error),
    };
    power::off(&reason)
}
