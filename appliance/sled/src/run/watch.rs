//! The runner's life: reaping as PID 1 must, and ending it in time.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use messages::RunExit;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, wait};

use super::Shared;
use crate::console::say;
use crate::power;

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(30);
/// SIGKILL is repeated this often, for processes that were just being made.
const REPEAT: Duration = Duration::from_secs(1);
const REPEATS: u32 = 10;
/// A runner that was told to stop has ended, or never will, after this.
pub(super) const LONGEST_END: Duration = Duration::from_secs(60);

/// Reaps every child and orphan from now on, on a thread of its own, and tells
/// how the runner ended. Whatever the runner left running is killed then.
pub(super) fn reap(runner: u32, shared: Arc<Shared>) {
    thread::spawn(move || {
        loop {
            match wait(WaitOptions::empty()) {
                Ok(Some((pid, status)))
                    if u32::try_from(pid.as_raw_nonzero().get()) == Ok(runner) =>
                {
                    let ended = exit(status);
                    say!("the runner ended: {ended:?}");
                    shared.update(|state| state.ended = Some((ended, Instant::now())));
                    power::kill_everything();
                }
                Ok(_) | Err(Errno::INTR) => {}
                // ECHILD: nobody is left.
                Err(_) => return,
            }
        }
    });
}

fn exit(status: WaitStatus) -> RunExit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => RunExit::Code(code),
        (None, Some(signal)) => RunExit::Signal(signal),
        (None, None) => RunExit::Signal(0),
    }
}

/// Ends the runner after `limit`, or when a stop is asked for: first politely,
/// then with everything that runs.
pub(super) fn limit(runner: u32, limit: Duration, shared: Arc<Shared>) {
    thread::spawn(move || {
        let mut state = shared.wait(limit, |state| state.stop || state.ended.is_some());
        if state.ended.is_some() {
            return;
        }
        state.timed_out = !state.stop;
        drop(state);
        say!("ending the runner");
        if let Some(group) = i32::try_from(runner).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::TERM);
        }
        if has_ended(&shared, GRACE) {
            return;
        }
        say!("the runner did not end by itself; killing it");
        for _ in 0..REPEATS {
            power::kill_everything();
            if has_ended(&shared, REPEAT) {
                return;
            }
        }
    });
}

fn has_ended(shared: &Shared, within: Duration) -> bool {
    shared
        .wait(within, |state| state.ended.is_some())
        .ended
        .is_some()
}
