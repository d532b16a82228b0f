//! What an agent is told to run.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::Digest;

/// Text that must not be seen: zeroed when dropped, hidden from `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Secret(String);

impl Secret {
    /// Takes the text into custody.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one place that uses it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A runner root filesystem, named by what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRef {
    /// Name in the inventory, for people.
    pub name: String,
    /// SHA-256 of the squashfs file; the agent verifies it before it mounts.
    pub digest: Digest,
    /// Size of the file in bytes.
    pub bytes: u64,
}

/// One job's worth of work for one boot. Never stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The runner's name at GitHub, fresh for each minting.
    pub runner_name: String,
    /// GitHub's `encoded_jit_config`, single use.
    pub jit_config: Secret,
    /// What the runner runs in.
    pub image: ImageRef,
    /// The agent ends the run after this many seconds.
    pub max_runtime_s: u64,
}
