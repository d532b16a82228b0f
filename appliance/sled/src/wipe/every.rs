//! Wiping every disk of the sled at once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use messages::{Disk, DiskWipe, WipeClass};
use ring::rand::{SecureRandom, SystemRandom};

use super::device::Device;
use super::{WipeError, Wiped, wipe};
use crate::console::say;
use crate::inventory;

/// The list of disks must stay the same for this long before it is believed:
/// USB disks appear late.
const SETTLED: Duration = Duration::from_millis(300);
/// Disks that appear during a wipe are wiped too, this often.
const MAX_ROUNDS: u32 = 5;

/// Why the sled is not wiped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EveryError {
    /// The disks cannot be listed.
    #[error("cannot list the disks")]
    List(#[source] io::Error),
    /// No randomness for the markers.
    #[error("cannot make markers")]
    Markers,
    /// Something was stacked on a disk: not in this boot, so a surprise.
    #[error("disk {0} is held by another device")]
    Held(String),
    /// A disk cannot be opened.
    #[error("cannot open disk {name} for wiping")]
    Open {
        /// The disk.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A disk cannot be wiped.
    #[error("cannot wipe disk {name}")]
    Wipe {
        /// The disk.
        name: String,
        /// Why.
        source: WipeError,
    },
    /// Old data survived.
    #[error("disk {name}: {survivors} of {samples} samples survived every method")]
    Survivors {
        /// The disk.
        name: String,
        /// Samples that survived.
        survivors: u32,
        /// Samples in all.
        samples: u32,
    },
    /// New disks kept appearing.
    #[error("new disks kept appearing during the wipe")]
    Unsettled,
}

/// Wipes every disk, those that appear meanwhile included.
///
/// # Errors
/// The first disk that is not wiped; the others are wiped all the same.
pub(crate) fn every_disk() -> Result<Vec<DiskWipe>, EveryError> {
    let mut wiped: Vec<DiskWipe> = Vec::new();
    for _ in 0..MAX_ROUNDS {
        let fresh = unwiped(&settled()?, &wiped);
        if fresh.is_empty() {
            return Ok(wiped);
        }
        let results: Vec<_> = thread::scope(|scope| {
            let started: Vec<_> = fresh
                .iter()
                .map(|disk| scope.spawn(move || one_disk(disk)))
                .collect();
            // A panic in a thread has powered the sled off already.
            started
                .into_iter()
                .filter_map(|thread| thread.join().ok())
                .collect()
        });
        for result in results {
            wiped.push(result?);
        }
    }
    Err(EveryError::Unsettled)
}

/// Disks that are there now and are not in `wiped`.
///
/// # Errors
/// The disks cannot be listed.
pub(crate) fn latecomers(wiped: &[DiskWipe]) -> Result<Vec<Disk>, EveryError> {
    Ok(unwiped(
        &inventory::disks().map_err(EveryError::List)?,
        wiped,
    ))
}

fn unwiped(disks: &[Disk], wiped: &[DiskWipe]) -> Vec<Disk> {
    let known = |disk: &Disk| {
        wiped.iter().any(|done| {
            (&done.name, &done.serial, done.bytes) == (&disk.name, &disk.serial, disk.bytes)
        })
    };
    disks.iter().filter(|disk| !known(disk)).cloned().collect()
}

fn settled() -> Result<Vec<Disk>, EveryError> {
    let mut disks = inventory::disks().map_err(EveryError::List)?;
    for _ in 0..MAX_ROUNDS {
        thread::sleep(SETTLED);
        let again = inventory::disks().map_err(EveryError::List)?;
        if again == disks {
            return Ok(disks);
        }
        disks = again;
    }
    Err(EveryError::Unsettled)
}

fn one_disk(disk: &Disk) -> Result<DiskWipe, EveryError> {
    let started = Instant::now();
    let name = || disk.name.clone();
    if is_held(&PathBuf::from("/sys/block").join(&disk.name)) {
        return Err(EveryError::Held(name()));
    }
    let mut seed = [0; 8];
    SystemRandom::new()
        .fill(&mut seed)
        .map_err(|_| EveryError::Markers)?;
    let path = Path::new("/dev").join(&disk.name);
    let mut device = Device::open(&path).map_err(|source| EveryError::Open {
        name: name(),
        source,
    })?;
    let Wiped {
        method,
        samples,
        survivors,
    } = wipe(&mut device, u64::from_le_bytes(seed)).map_err(|source| EveryError::Wipe {
        name: name(),
        source,
    })?;
    let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    say!(
        "disk {}: {method:?}, {survivors} of {samples} samples survived, {elapsed_ms} ms",
        disk.name
    );
    if survivors > 0 {
        return Err(EveryError::Survivors {
            name: name(),
            survivors,
            samples,
        });
    }
    Ok(DiskWipe {
        name: name(),
        model: disk.model.clone(),
        serial: disk.serial.clone(),
        bytes: disk.bytes,
        method,
        // Through the ordinary interface only: no more than Clear.
        class: WipeClass::Clear,
        samples,
        survivors,
        elapsed_ms,
    })
}

/// Whether md, LVM, dm or the like sits on a disk or on one of its partitions.
fn is_held(folder: &Path) -> bool {
    let occupied = |folder: &Path| {
        fs::read_dir(folder.join("holders")).is_ok_and(|mut holders| holders.next().is_some())
    };
    let partitions = fs::read_dir(folder).into_iter().flatten().flatten();
    occupied(folder) || partitions.into_iter().any(|entry| occupied(&entry.path()))
}
