//! Checks a chain of exported receipts, with nothing taken on trust but the
//! public key.

use std::collections::BTreeSet;

use messages::{
    ApplianceId, Digest, Energy, Outcome, Receipt, ReceiptRecord, SignedReceipt, decode,
};
use serde_json::{Value, json};

use crate::admin::{ReceiptExport, ReceiptsExport};

/// What a check found.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Not hex, or of the wrong length.
    #[error("receipt {0}: it is not well-formed hex")]
    Hex(u64),
    /// The public key is none.
    #[error("the public key is not 32 bytes in hex")]
    Key,
    /// The body is no receipt.
    #[error("receipt {0}: its body cannot be read")]
    Body(u64),
    /// A receipt is missing or was added.
    #[error("receipt {found}: receipt {expected} was expected: the chain has a gap")]
    Gap {
        /// The number that comes next in the chain.
        expected: u64,
        /// The number that was found.
        found: u64,
    },
    /// It does not follow the one before.
    #[error("receipt {0}: it does not follow the receipt before it: one of them was changed")]
    Chain(u64),
    /// Made by another appliance than the ones before.
    #[error("receipt {0}: another appliance made it: two chains were mixed")]
    Foreign(u64),
    /// The chain begins later than at its start, and no epoch record says so.
    #[error(
        "receipt {0} is the first, and no epoch record in the chain says that it begins there: receipts were removed"
    )]
    Headless(u64),
    /// An epoch record contradicts the chain.
    #[error("epoch record {0}: the receipts before it are others than it says")]
    Epoch(u64),
    /// Its boot has a receipt already.
    #[error("receipt {0}: its boot has a receipt already")]
    SecondOfBoot(u64),
    /// The signature does not fit.
    #[error("receipt {0}: its signature does not fit")]
    Signature(u64),
    /// Not signed.
    #[error("receipt {0}: it is not signed (yet)")]
    Unsigned(u64),
}

/// A receipt whose signature and place in the chain were checked.
#[derive(Debug)]
pub struct Verified {
    /// What is kept there: a receipt, or a word on the chain itself.
    pub record: ReceiptRecord,
    /// Its chain hash.
    pub hash: Digest,
}

impl Verified {
    /// Place in the chain.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        head(&self.record).sequence
    }
}

/// What every record of the chain says of itself.
struct Head {
    sequence: u64,
    previous: Digest,
    appliance: ApplianceId,
}

const fn head(record: &ReceiptRecord) -> Head {
    match record {
        ReceiptRecord::V1(receipt) | ReceiptRecord::Metered(receipt, _) => Head {
            sequence: receipt.sequence,
            previous: receipt.previous,
            appliance: receipt.appliance,
        },
        ReceiptRecord::Epoch(epoch) => Head {
            sequence: epoch.sequence,
            previous: epoch.previous,
            appliance: epoch.appliance,
        },
    }
}

/// Reads bytes in hex.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16);
    pairs
        .iter()
        .map(|[high, low]| u8::try_from(nibble(*high)? << 4 | nibble(*low)?).ok())
        .collect()
}

/// Verifies a chain from its start by the public key in hex. Where receipts left
/// by age or number, an epoch record later in the chain must say so.
///
/// # Errors
/// At the first receipt that is wrong.
pub fn verify(export: &ReceiptsExport, key: &str) -> Result<Vec<Verified>, ReceiptError> {
    let key = unhex(key)
        .filter(|key| key.len() == 32)
        .ok_or(ReceiptError::Key)?;
    let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, key);
    let (mut last, mut hash) = (0, Digest([0; 32]));
    let mut boots = BTreeSet::new();
    let mut appliance = None;
    let mut verified: Vec<Verified> = Vec::with_capacity(export.receipts.len());
    // Where the chain begins, and what stood before: to be confirmed.
    let mut beginning = None;
    for entry in &export.receipts {
        let sequence = entry.sequence;
        let body = unhex(&entry.body).ok_or(ReceiptError::Hex(sequence))?;
        let record = decode(&body).map_err(|_| ReceiptError::Body(sequence))?;
        let said = head(&record);
        if verified.is_empty() && said.sequence > 1 {
            (last, hash) = (said.sequence - 1, said.previous);
            beginning = Some((said.sequence, said.previous));
        }
        if said.sequence != last + 1 || sequence != said.sequence {
            return Err(ReceiptError::Gap {
                expected: last + 1,
                found: sequence,
            });
        }
        if said.previous != hash {
            return Err(ReceiptError::Chain(sequence));
        }
        if *appliance.get_or_insert(said.appliance) != said.appliance {
            return Err(ReceiptError::Foreign(sequence));
        }
        match &record {
            ReceiptRecord::V1(receipt) | ReceiptRecord::Metered(receipt, _)
                if !boots.insert(receipt.boot) =>
            {
                return Err(ReceiptError::SecondOfBoot(sequence));
            }
            ReceiptRecord::V1(_) | ReceiptRecord::Metered(..) => {}
            ReceiptRecord::Epoch(epoch) => {
                let stood = verified.iter().find(|v| v.sequence() + 1 == epoch.first);
                if stood.is_some_and(|stood| stood.hash != epoch.before) {
                    return Err(ReceiptError::Epoch(sequence));
                }
                if beginning == Some((epoch.first, epoch.before)) {
                    beginning = None;
                }
            }
        }
        let signature = entry
            .signature
            .as_deref()
            .ok_or(ReceiptError::Unsigned(sequence))?;
        let signature = unhex(signature).ok_or(ReceiptError::Hex(sequence))?;
        key.verify(&SignedReceipt::signed_bytes(&body), &signature)
            .map_err(|_| ReceiptError::Signature(sequence))?;
        hash = SignedReceipt::chain_hash(&body);
        last = sequence;
        verified.push(Verified { record, hash });
    }
    match beginning {
        Some((first, _)) => Err(ReceiptError::Headless(first)),
        None => Ok(verified),
    }
}

/// The receipts of an export, unverified, without what is said of the chain, and
/// what their boots drew.
///
/// # Errors
/// When one cannot be read.
pub fn read(export: &ReceiptsExport) -> Result<Vec<(Receipt, Option<Energy>)>, ReceiptError> {
    export
        .receipts
        .iter()
        .filter_map(|entry| record(entry).transpose())
        .collect()
}

fn record(entry: &ReceiptExport) -> Result<Option<(Receipt, Option<Energy>)>, ReceiptError> {
    let body = unhex(&entry.body).ok_or(ReceiptError::Hex(entry.sequence))?;
    let record: ReceiptRecord = decode(&body).map_err(|_| ReceiptError::Body(entry.sequence))?;
    let energy = record.energy();
    Ok(record.receipt().map(|receipt| (receipt.clone(), energy)))
}

/// How the boot ended, in one word.
#[must_use]
pub const fn outcome(receipt: &Receipt) -> &'static str {
    match receipt.outcome {
        Outcome::Ran => "ran",
        Outcome::Unused { .. } => "unused",
        Outcome::Failed { .. } => "failed",
    }
}

/// A receipt in words and numbers that need no explanation.
#[must_use]
pub fn plain(receipt: &Receipt, energy: Option<Energy>) -> Value {
    let observed = &receipt.observed;
    json!({
        "sequence": receipt.sequence,
        "previous": receipt.previous.to_string(),
        "appliance": receipt.appliance.to_string(),
        "made_at": receipt.made_at,
        "sled": receipt.sled,
        "mac": receipt.mac.to_string(),
        "boot": receipt.boot,
        "generation": receipt.generation,
        "pool": receipt.pool,
        "assurance": receipt.assurance.as_str(),
        "outcome": outcome(receipt),
        "reason": match &receipt.outcome {
            Outcome::Ran => Value::Null,
            Outcome::Unused { reason } | Outcome::Failed { reason } => reason.as_str().into(),
        },
        "runner_name": receipt.runner_name,
        "runner_id": receipt.runner_id,
        "job": receipt.job.as_ref().map(|job| json!({
            "id": job.number,
            "repository": job.repository,
            "name": job.name,
            "conclusion": job.conclusion,
        })),
        "observed": {
            "power_on_at": observed.power_on_at,
            "boot_override_confirmed": observed.boot_override_confirmed,
            "dhcp_at": observed.dhcp_at,
            "kernel_at": observed.kernel_at,
            "hello_at": observed.hello_at,
            "wiped_at": observed.wiped_at,
            "order_at": observed.order_at,
            "off_at": observed.off_at,
            "power_cut": observed.power_cut,
            "kernel_digest": observed.kernel_digest.to_string(),
            "initramfs_digest": observed.initramfs_digest.to_string(),
            "image_digest": observed.image_digest.to_string(),
        },
        "energy": energy.map(|energy| json!({
            "joules": energy.joules,
            "measured_ms": energy.measured_ms,
            "meter": energy.meter.as_str(),
        })),
        "reported": {
            "inventory": receipt.reported.inventory,
            "wipe": receipt.reported.wipe,
            "end": receipt.reported.end,
        },
    })
}

#[cfg(test)]
mod tests;
