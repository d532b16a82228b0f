//! What an agent says of the wipe it did. All of it is *reported*, not observed.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

/// How a disk was wiped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WipeMethod {
    /// The whole device was discarded, and the samples read back as not ours.
    Discard,
    /// Discard left data behind (or is missing), so zeros were written over
    /// the whole device.
    ZeroOut,
}

/// Class of the wipe in the words of NIST SP 800-88r2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum WipeClass {
    /// Protects against reading through the ordinary interface.
    Clear,
    /// Protects against laboratory methods.
    Purge,
}

/// One disk's wipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskWipe {
    /// Kernel name, such as `nvme0n1`.
    pub name: String,
    /// Model as the disk tells it.
    pub model: String,
    /// Serial number as the disk tells it.
    pub serial: String,
    /// Size in bytes.
    pub bytes: u64,
    /// What was done in the end.
    pub method: WipeMethod,
    /// How strong that is.
    pub class: WipeClass,
    /// Markers written before the wipe and looked for after it.
    pub samples: u32,
    /// Markers that were still there after the final method: 0, or the wipe failed.
    pub survivors: u32,
    /// Milliseconds it took.
    pub elapsed_ms: u64,
}

/// Where jobs may write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scratch {
    /// dm-crypt cipher, such as `aes-xts-plain64`; the key is in RAM only.
    pub cipher: String,
    /// Disk it lies on, or `None` when the sled has no disk and it is RAM.
    pub disk: Option<String>,
    /// Size in bytes.
    pub bytes: u64,
}

/// The wipe of one boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WipeReport {
    /// Every local disk found.
    pub disks: Vec<DiskWipe>,
    /// The scratch space made after the wipe.
    pub scratch: Scratch,
    /// Milliseconds for all of it.
    pub elapsed_ms: u64,
}

impl WipeReport {
    /// Whether every disk was sampled and no marker survived.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.disks
            .iter()
            .all(|disk| disk.samples > 0 && disk.survivors == 0)
    }
}
