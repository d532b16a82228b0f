//! When a sled's draw of power is read: from its power-on for a boot until it
//! reads as off, and never as urgently as anything else is done.

use std::time::Duration;

use tokio::time::Instant;

use crate::power::{Driver, Watts};

/// Between two readings.
const RHYTHM: Duration = Duration::from_secs(10);
/// After one that gave nothing: many controllers do not measure, and those
/// that do may take a while after the power-on.
const PATIENCE: Duration = Duration::from_secs(60);

/// When the next reading is due.
#[derive(Default)]
pub(super) struct Metering {
    due: Option<Instant>,
}

impl Metering {
    /// A boot has the sled.
    pub(super) fn start(&mut self) {
        self.due = Some(Instant::now());
    }

    /// It is off.
    pub(super) fn stop(&mut self) {
        self.due = None;
    }

    /// `None` while nothing is to be read.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Reads once. A figure is worth no word when there is none: the commands
    /// of the sled say what is wrong with its controller.
    pub(super) async fn read(&mut self, driver: &mut Driver) -> Option<Watts> {
        let watts = driver.watts().await.ok().flatten();
        let pause = if watts.is_some() { RHYTHM } else { PATIENCE };
        self.due = Some(Instant::now() + pause);
        watts
    }
}
