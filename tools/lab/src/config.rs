//! What a lab should look like. It holds wishes only, never state.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::{Acceleration, Mode};

/// The most sleds one lab holds: the last byte of a MAC numbers them.
pub(crate) const MOST_SLEDS: usize = 200;

/// What a sled's machine starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// SeaBIOS and the iPXE option ROM that QEMU ships.
    Bios,
    /// OVMF and its own PXE client; variables persist per sled.
    Uefi,
}

/// How a sled's disk is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum DiskBus {
    /// virtio-blk.
    Virtio,
    /// NVMe.
    Nvme,
}

/// One sled to be made.
#[derive(Clone, Debug)]
pub struct SledConfig {
    /// Its firmware.
    pub firmware: Firmware,
    /// Its memory.
    pub memory_mib: u32,
    /// Its virtual processors.
    pub cpus: u32,
    /// How its disk is attached.
    pub disk: DiskBus,
    /// The size of its disk, a sparse raw file that outlives the lab.
    pub disk_mib: u64,
    /// Further QEMU arguments, behind the lab's own.
    pub extra_arguments: Vec<String>,
}

impl From<Firmware> for SledConfig {
    fn from(firmware: Firmware) -> Self {
        Self {
            firmware,
            memory_mib: 512,
            cpus: 1,
            disk: DiskBus::Virtio,
            disk_mib: 512,
            extra_arguments: Vec::new(),
        }
    }
}

/// A lab to be brought up.
#[derive(Clone, Debug)]
pub struct LabConfig {
    /// Where its files live; made when absent. Disks found here are kept.
    pub dir: PathBuf,
    /// The sleds, numbered from 1.
    pub sleds: Vec<SledConfig>,
    /// How the network namespace is made.
    pub mode: Mode,
    /// How QEMU runs guests.
    pub acceleration: Acceleration,
    /// The kernel that the KVM probe boots; without one, KVM is not used.
    pub probe_kernel: Option<PathBuf>,
    /// The `musher-lab` binary that BMCs call; found beside the running
    /// program when `None`.
    pub lab_binary: Option<PathBuf>,
    /// Whether the lab outlives the [`crate::Lab`] value and this process.
    pub keep: bool,
}

impl LabConfig {
    /// A lab without sleds, with every other choice left to the lab.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            sleds: Vec::new(),
            mode: Mode::Auto,
            acceleration: Acceleration::Auto,
            probe_kernel: None,
            lab_binary: None,
            keep: false,
        }
    }
}
