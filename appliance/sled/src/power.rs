//! The end of every boot. Never a reboot: a sled that restarts by itself
//! would leave the state the appliance believes it is in.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use rustix::system::{RebootCommand, reboot};

use crate::console::say;
use crate::net;

/// Ends every other process, takes the links down and powers off.
///
/// Does not return. When the firmware cannot power off, the kernel halts, and
/// the appliance cuts the power.
pub(crate) fn off(reason: &str) -> ! {
    say!("powering off: {reason}");
    if std::process::id() != 1 {
        // Someone runs the agent by hand; that machine is not ours to stop.
        std::process::exit(1);
    }
    kill_everything();
    // Guests that power off with the link up hang in virtio_net now and then.
    net::all_links_down();
    // File systems are not synced: nothing on this sled outlives the boot.
    if let Err(error) = reboot(RebootCommand::PowerOff) {
        say!("cannot power off: {error}");
    }
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Kills every process but the agent. kill(2): process group -1 is everyone,
/// except init and the caller.
pub(crate) fn kill_everything() {
    if std::process::id() == 1 {
        let _ = kill_process_group(Pid::INIT, Signal::KILL);
    }
}
