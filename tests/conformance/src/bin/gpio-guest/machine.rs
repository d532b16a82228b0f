//! A machine behind a power button: a press while it is off turns it on; held
//! for 800 ms while it is on it goes off; a shorter press while it is on would
//! have asked its system to shut down, which is never wanted here.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::sim::{self, Sim};
use crate::{Outcome, seconds};

const FORCE: Duration = Duration::from_millis(800);
/// From the change until the sense line shows it: daemons are killed in this
/// time too.
const LAG: Duration = Duration::from_millis(500);

const GLANCE: Duration = Duration::from_millis(2);
/// A glance that took longer than this, in seconds.
const STALL: f64 = 0.02;

/// The machine, played by a thread.
pub(crate) struct Machine {
    pressed: Arc<AtomicBool>,
    misuses: Arc<AtomicU64>,
}

impl Machine {
    pub(crate) fn start(sim: &Sim) -> Outcome<Self> {
        let button = File::open(sim.attribute(sim::BUTTON, "value"))?;
        let rail = File::options()
            .write(true)
            .open(sim.attribute(sim::SENSE, "pull"))?;
        let machine = Self {
            pressed: Arc::default(),
            misuses: Arc::default(),
        };
        let (pressed, misuses) = (Arc::clone(&machine.pressed), Arc::clone(&machine.misuses));
        thread::spawn(move || play(&button, &rail, &pressed, &misuses));
        Ok(machine)
    }

    pub(crate) fn is_pressed(&self) -> bool {
        self.pressed.load(Ordering::Acquire)
    }

    /// Presses of a running machine that were too short to force it off.
    pub(crate) fn misuses(&self) -> u64 {
        self.misuses.load(Ordering::Acquire)
    }
}

fn play(button: &File, rail: &File, pressed: &AtomicBool, misuses: &AtomicU64) {
    let mut on = false;
    // When the press began, and whether the machine was on then.
    let mut press: Option<(Instant, bool)> = None;
    let mut changed: Option<Instant> = None;
    loop {
        let mut level = [b'1'];
        let _ = button.read_at(&mut level, 0);
        let down = level == *b"0";
        pressed.store(down, Ordering::Release);
        let was = on;
        match (press, down) {
            (None, true) => {
                press = Some((Instant::now(), on));
                on = true;
            }
            (Some((since, true)), true) if since.elapsed() >= FORCE => on = false,
            (Some((since, running)), false) => {
                if running && since.elapsed() < FORCE {
                    misuses.fetch_add(1, Ordering::AcqRel);
                }
                press = None;
            }
            (None, false) | (Some(_), true) => {}
        }
        if on != was {
            changed = Some(Instant::now());
        }
        if changed.is_some_and(|at| at.elapsed() >= LAG) {
            changed = None;
            let pull: &[u8] = if on { b"pull-up" } else { b"pull-down" };
            let _ = rail.write_at(pull, 0);
        }
        let before = seconds();
        sleep(GLANCE);
        let after = seconds();
        if after - before > STALL {
            // The emulated machine as a whole was not run by its host.
            println!("stall {before:.6} {after:.6}");
        }
    }
}
