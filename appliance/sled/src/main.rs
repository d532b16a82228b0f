//! `musher-sled`: PID 1 of a netbooted sled.
//!
//! It wipes the sled, runs one order and powers the sled off. It never
//! reboots and never boots a local disk: whatever goes wrong ends with the
//! power off. It starts shells on a sled that people asked to look at, and on
//! no other.

mod appliance;
mod boot;
mod cmdline;
mod console;
mod hold;
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

/// PID 1 is the agent. Any other process of this program is one that the agent
/// starts to become something else: the runner, or a shell.
fn main() -> ExitCode {
    if std::process::id() != 1 {
        let words: Vec<String> = std::env::args().skip(1).collect();
        return match words.split_first() {
            Some((command, words)) if command == run::launch::COMMAND => run::launch::main(words),
            Some((command, words)) if command == hold::COMMAND => hold::main(words),
            _ => {
                eprintln!("musher-sled is PID 1 of a netbooted sled; it is not started by hand");
                ExitCode::from(2)
            }
        };
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
