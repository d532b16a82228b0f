//! Records what sleds say on their serial lines, one bounded ring per boot.
//!
//! It keeps trying: a BMC that is gone, or a line that somebody else reads, is
//! said once and asked again later. Secrets are blotted out before anything is
//! written. It decides nothing, and no boot waits for it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use messages::BootId;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::boot_logs::{console_path, forget_old_logs};
use crate::power::{ConsoleSource, IpmiConsole};

mod device;
mod redact;
mod ring;

pub use device::SerialDevice;
pub use redact::Redactor;
pub(crate) use ring::older;
pub use ring::{Ring, read};

/// Kept of each boot's console, in bytes.
pub const CONSOLE_BYTES: u64 = 1 << 20;
/// Pause before a line that ended, or could not be opened, is tried again.
const PAUSE: Duration = Duration::from_secs(30);
/// What may be half a secret is held back so long at most.
const QUIET: Duration = Duration::from_secs(1);

/// Where a sled's serial line comes in.
pub enum Source {
    /// At its BMC (Serial over LAN).
    Bmc(Box<ConsoleSource>),
    /// At a device of this machine.
    Device(SerialDevice),
}

enum Line {
    Bmc(Box<IpmiConsole>),
    Device(device::DeviceLine),
}

impl Source {
    async fn open(&self) -> Result<Line, String> {
        match self {
            Self::Bmc(source) => match source.open().await {
                Ok(console) => Ok(Line::Bmc(Box::new(console))),
                Err(error) => Err(error.to_string()),
            },
            Self::Device(device) => device
                .open()
                .map(Line::Device)
                .map_err(|error| format!("{}: {error}", device.path.display())),
        }
    }
}

impl Line {
    /// The next bytes; none when it has ended. May be dropped at any time.
    async fn read(&mut self) -> Result<Vec<u8>, String> {
        match self {
            Self::Bmc(console) => console.read().await.map_err(|error| error.to_string()),
            Self::Device(line) => line.read().await.map_err(|error| error.to_string()),
        }
    }

    async fn close(self) {
        match self {
            Self::Bmc(console) => console.close().await,
            Self::Device(line) => drop(line),
        }
    }
}

/// Records one sled's console until no boot can follow.
pub async fn record(
    sled: String,
    source: Source,
    logs: PathBuf,
    mut boots: watch::Receiver<Option<BootId>>,
) {
    let mut complained = false;
    loop {
        // Nothing is opened before there is a boot to record.
        if boots.wait_for(Option::is_some).await.is_err() {
            return;
        }
        let ended = match source.open().await {
            Ok(console) => {
                complained = false;
                follow(console, &logs, &mut boots).await
            }
            Err(why) => Some(why),
        };
        let Some(why) = ended else { return };
        if !std::mem::replace(&mut complained, true) {
            tracing::warn!(sled, why, "the sled's console is not recorded; trying on");
        }
        // Again after a while, or for the next boot.
        if let Ok(Err(_)) = timeout(PAUSE, boots.changed()).await {
            return;
        }
    }
}

/// Writes what an open line says into the ring of the boot at that time.
/// `None` when the appliance stops, or else why the line ended.
async fn follow(
    mut console: Line,
    logs: &Path,
    boots: &mut watch::Receiver<Option<BootId>>,
) -> Option<String> {
    let mut current: Option<(BootId, Ring)> = None;
    let mut redactor = Redactor::default();
    let ended = loop {
        let boot = *boots.borrow_and_update();
        if let Some(boot) = boot
            && current.as_ref().is_none_or(|(known, _)| *known != boot)
        {
            write(&mut current, redactor.finish()).await;
            current = Some((boot, begin(logs.to_owned(), boot).await));
        }
        let said = tokio::select! {
            changed = boots.changed() => match changed {
                Ok(()) => continue,
                Err(_) => break None,
            },
            said = timeout(QUIET, console.read()) => said,
        };
        let clear = match said {
            Ok(Ok(bytes)) if bytes.is_empty() => break Some("the other side ended it".to_owned()),
            Ok(Ok(bytes)) => redactor.push(&bytes),
            Ok(Err(why)) => break Some(why),
            Err(_) => redactor.finish(),
        };
        write(&mut current, clear).await;
    };
    write(&mut current, redactor.finish()).await;
    console.close().await;
    ended
}

/// The ring of a boot that begins; there is room for it.
async fn begin(logs: PathBuf, boot: BootId) -> Ring {
    let ring = Ring::new(console_path(&logs, boot), CONSOLE_BYTES);
    let forgotten = tokio::task::spawn_blocking(move || forget_old_logs(&logs, boot)).await;
    if let Ok(Err(error)) = forgotten {
        tracing::warn!(%boot, %error, "old logs cannot be removed");
    }
    ring
}

async fn write(current: &mut Option<(BootId, Ring)>, bytes: Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let Some((boot, ring)) = current.take() else {
        return;
    };
    let written = tokio::task::spawn_blocking(move || {
        let outcome = ring.append(&bytes);
        (ring, outcome)
    });
    if let Ok((ring, outcome)) = written.await {
        if let Err(error) = outcome {
            tracing::warn!(%boot, %error, "a part of the console cannot be kept");
        }
        *current = Some((boot, ring));
    }
}
