//! Wipe receipts: one signed record per boot, chained by hash.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    ApplianceId, BootId, Digest, Generation, Inventory, Mac, Millis, RunEnd, RunnerId,
    SignatureBytes, WipeReport, encode,
};

/// How sure we are that a boot was ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Assurance {
    /// The agent said so, no more.
    Claimed,
    /// The boot override was set out of band and read back, and the sled's
    /// boot requests were seen in the right order after our power-on.
    NetbootForced,
    /// A TPM 2 quote over the boot's nonce, by the key adopted with the sled.
    Attested,
}

impl Assurance {
    /// The word used in configuration and on the page.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::NetbootForced => "netboot-forced",
            Self::Attested => "attested",
        }
    }
}

/// The job that ran in a boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRef {
    /// GitHub's job id.
    pub number: u64,
    /// `owner/name`.
    pub repository: String,
    /// Name of the job.
    pub name: String,
    /// GitHub's conclusion, when it said one before the receipt was made.
    pub conclusion: Option<String>,
}

/// What the appliance itself saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// The sled was off and our power-on turned it on, at this time.
    pub power_on_at: Option<Millis>,
    /// Network boot was set out of band for this boot and read back.
    pub boot_override_confirmed: bool,
    /// First DHCP request after power-on.
    pub dhcp_at: Option<Millis>,
    /// First fetch of the kernel with this boot's ticket.
    pub kernel_at: Option<Millis>,
    /// The ticket was redeemed.
    pub hello_at: Option<Millis>,
    /// The wipe report arrived.
    pub wiped_at: Option<Millis>,
    /// The order was handed over.
    pub order_at: Option<Millis>,
    /// The sled's power was read as off.
    pub off_at: Option<Millis>,
    /// We had to cut the power.
    pub power_cut: bool,
    /// SHA-256 of the kernel that was offered.
    pub kernel_digest: Digest,
    /// SHA-256 of the initramfs that was offered.
    pub initramfs_digest: Digest,
    /// SHA-256 of the runner image in the order.
    pub image_digest: Digest,
}

/// What the agent told us. A root job could forge what comes after its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// The sled's parts.
    pub inventory: Option<Inventory>,
    /// The wipe.
    pub wipe: Option<WipeReport>,
    /// The end of the run.
    pub end: Option<RunEnd>,
}

/// How a boot ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Its runner ran and ended.
    Ran,
    /// Called off before a runner started.
    Unused {
        /// Why.
        reason: String,
    },
    /// It failed.
    Failed {
        /// Why.
        reason: String,
    },
}

/// The body of a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Place in the chain, from 1.
    pub sequence: u64,
    /// Chain hash of the receipt before; zeros for the first.
    pub previous: Digest,
    /// Who made it.
    pub appliance: ApplianceId,
    /// When it was made.
    pub made_at: Millis,
    /// The sled's name.
    pub sled: String,
    /// The sled's network card.
    pub mac: Mac,
    /// The boot.
    pub boot: BootId,
    /// The claim it served.
    pub generation: Generation,
    /// The pool's name.
    pub pool: String,
    /// The grade.
    pub assurance: Assurance,
    /// How the boot ended.
    pub outcome: Outcome,
    /// The runner that was registered, when one was.
    pub runner_name: Option<String>,
    /// GitHub's id of it.
    pub runner_id: Option<RunnerId>,
    /// The job that GitHub bound to the runner.
    pub job: Option<JobRef>,
    /// What we saw.
    pub observed: Observed,
    /// What we were told.
    pub reported: Reported,
}

/// What a boot drew, as its sled's own controller measured it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Energy {
    /// Joules, over the time that was measured.
    pub joules: u64,
    /// Milliseconds of the boot between readings that are close enough: what it
    /// drew in the rest is not known.
    pub measured_ms: u64,
    /// Who measured.
    pub meter: PowerMeter,
}

/// Where a reading of power is from. Append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PowerMeter {
    /// DCMI, of a BMC that is spoken to by IPMI.
    Dcmi,
    /// Redfish.
    Redfish,
}

impl PowerMeter {
    /// The word for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dcmi => "dcmi",
            Self::Redfish => "redfish",
        }
    }
}

/// Versions of the body. Append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReceiptRecord {
    /// First release.
    V1(Receipt),
    /// No receipt: the chain begins anew.
    Epoch(Epoch),
    /// A receipt of a boot whose power was measured.
    Metered(Receipt, Energy),
}

/// A record in the chain that says where it now begins, so that whoever verifies
/// it sees a gap and what it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// Place in the chain.
    pub sequence: u64,
    /// Chain hash of the record before.
    pub previous: Digest,
    /// Who made it.
    pub appliance: ApplianceId,
    /// When it was made.
    pub made_at: Millis,
    /// Why records are missing.
    pub cause: EpochCause,
    /// The oldest record that is kept.
    pub first: u64,
    /// Chain hash of the one before that.
    pub before: Digest,
}

/// Why records of a chain are missing. Append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EpochCause {
    /// They were exported, and then left by age or number.
    Retention,
}

impl ReceiptRecord {
    /// The receipt, where it is one.
    #[must_use]
    pub const fn receipt(&self) -> Option<&Receipt> {
        match self {
            Self::V1(receipt) | Self::Metered(receipt, _) => Some(receipt),
            Self::Epoch(_) => None,
        }
    }

    /// What its boot drew, where that was measured.
    #[must_use]
    pub const fn energy(&self) -> Option<Energy> {
        match self {
            Self::Metered(_, energy) => Some(*energy),
            Self::V1(_) | Self::Epoch(_) => None,
        }
    }

    /// The bytes that are hashed, signed and kept.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }
}

/// A receipt as it is kept and exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedReceipt {
    /// An encoded [`ReceiptRecord`].
    pub body: Vec<u8>,
    /// Ed25519 over [`SignedReceipt::signed_bytes`]; `None` for the moment
    /// between the commit of the body and that of its signature.
    pub signature: Option<SignatureBytes>,
}

impl SignedReceipt {
    /// The chain hash of a body: what the next receipt names as `previous`.
    #[must_use]
    pub fn chain_hash(body: &[u8]) -> Digest {
        let mut hash = Sha256::new();
        hash.update(b"musher receipt v1\0");
        hash.update(body);
        Digest(hash.finalize().into())
    }

    /// What the signature covers.
    #[must_use]
    pub fn signed_bytes(body: &[u8]) -> Vec<u8> {
        Self::signed_hash(&Self::chain_hash(body))
    }

    /// What the signature covers, from the body's chain hash.
    #[must_use]
    pub fn signed_hash(chain_hash: &Digest) -> Vec<u8> {
        let mut bytes = b"musher receipt signature v1\0".to_vec();
        bytes.extend_from_slice(&chain_hash.0);
        bytes
    }
}
