//! A chain that was made here, and what is done to it.

use messages::{
    ApplianceId, Assurance, BootId, Epoch, EpochCause, Generation, Millis, Observed, Outcome,
    Reported, SignatureBytes,
};
use ring::signature::{Ed25519KeyPair, KeyPair};

use super::*;
use crate::admin::{ReceiptExport, hex};

fn receipt(sequence: u64, previous: Digest) -> Receipt {
    Receipt {
        sequence,
        previous,
        appliance: ApplianceId([1; 4]),
        made_at: Millis(sequence),
        sled: "sled-01".into(),
        mac: "52:54:00:77:00:01".parse().unwrap(),
        boot: BootId(10 + sequence),
        generation: Generation(sequence),
        pool: "linux".into(),
        assurance: Assurance::Claimed,
        outcome: Outcome::Ran,
        runner_name: None,
        runner_id: None,
        job: None,
        observed: Observed {
            power_on_at: None,
            boot_override_confirmed: false,
            dhcp_at: None,
            kernel_at: None,
            hello_at: None,
            wiped_at: None,
            order_at: None,
            off_at: None,
            power_cut: false,
            kernel_digest: Digest([0; 32]),
            initramfs_digest: Digest([0; 32]),
            image_digest: Digest([0; 32]),
        },
        reported: Reported::default(),
    }
}

/// A chain of three; `edit` may change each receipt before it is signed.
fn chain(edit: impl Fn(&mut Receipt)) -> ReceiptsExport {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let mut previous = Digest([0; 32]);
    let mut receipts = Vec::new();
    for sequence in 1..=3 {
        let mut receipt = receipt(sequence, previous);
        edit(&mut receipt);
        let body = ReceiptRecord::V1(receipt).to_bytes();
        previous = SignedReceipt::chain_hash(&body);
        let signature = pair.sign(&SignedReceipt::signed_bytes(&body));
        let signature = SignatureBytes(signature.as_ref().try_into().unwrap());
        receipts.push(ReceiptExport {
            sequence,
            body: hex(&body),
            signature: Some(hex(&signature.0)),
        });
    }
    let key = hex(pair.public_key().as_ref());
    ReceiptsExport { key, receipts }
}

/// A chain of five whose first two left: the fourth record says so, unless
/// `edit` makes it say something else.
fn shortened(edit: impl Fn(&mut Epoch)) -> ReceiptsExport {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let mut export = chain(|_| {});
    let hash_of = |entry: &ReceiptExport| SignedReceipt::chain_hash(&unhex(&entry.body).unwrap());
    let [_, second, third] = export.receipts.as_slice() else {
        panic!("a chain of three")
    };
    let mut epoch = Epoch {
        sequence: 4,
        previous: hash_of(third),
        appliance: ApplianceId([1; 4]),
        made_at: Millis(4),
        cause: EpochCause::Retention,
        first: 3,
        before: hash_of(second),
    };
    edit(&mut epoch);
    let mut append = |record: ReceiptRecord, sequence: u64| {
        let body = record.to_bytes();
        let signature = pair.sign(&SignedReceipt::signed_bytes(&body));
        export.receipts.push(ReceiptExport {
            sequence,
            body: hex(&body),
            signature: Some(hex(signature.as_ref())),
        });
        SignedReceipt::chain_hash(&body)
    };
    let previous = append(ReceiptRecord::Epoch(epoch), 4);
    append(ReceiptRecord::V1(receipt(5, previous)), 5);
    export
}

#[test]
fn a_gap_is_no_fault_where_an_epoch_record_says_so() {
    check(&shortened(|_| {}), Ok(5));
    let without_first = |mut export: ReceiptsExport, count: usize| {
        export.receipts.drain(..count);
        export
    };
    check(&without_first(shortened(|_| {}), 2), Ok(3));
    // One more or one less is missing than it says.
    check(
        &without_first(shortened(|_| {}), 1),
        Err(ReceiptError::Headless(2)),
    );
    check(
        &without_first(shortened(|_| {}), 3),
        Err(ReceiptError::Headless(4)),
    );
    // Others were there than it says.
    let lies = |epoch: &mut Epoch| epoch.before = Digest([9; 32]);
    check(&shortened(lies), Err(ReceiptError::Epoch(4)));
    check(
        &without_first(shortened(lies), 2),
        Err(ReceiptError::Headless(3)),
    );
    // Nothing says so.
    check(
        &without_first(chain(|_| {}), 1),
        Err(ReceiptError::Headless(2)),
    );
    // The receipts alone, without the word on the chain.
    assert_eq!(read(&shortened(|_| {})).unwrap().len(), 4);
}

fn check(export: &ReceiptsExport, expect: Result<usize, ReceiptError>) {
    let found = verify(export, &export.key).map(|verified| verified.len());
    assert_eq!(found, expect);
}

#[test]
fn a_chain_verifies_and_each_change_shows() {
    check(&chain(|_| {}), Ok(3));

    let mut missing = chain(|_| {});
    missing.receipts.remove(1);
    check(
        &missing,
        Err(ReceiptError::Gap {
            expected: 2,
            found: 3,
        }),
    );

    let mut changed = chain(|_| {});
    changed.receipts[0].body = chain(|receipt| receipt.sled = "other".into()).receipts[0]
        .body
        .clone();
    check(&changed, Err(ReceiptError::Signature(1)));

    // A receipt that is signed anew does not fit the one after it.
    let mut rewritten = chain(|_| {});
    rewritten.receipts[0] = chain(|receipt| receipt.sled = "other".into())
        .receipts
        .remove(0);
    check(&rewritten, Err(ReceiptError::Chain(2)));

    let mut unsigned = chain(|_| {});
    unsigned.receipts[2].signature = None;
    check(&unsigned, Err(ReceiptError::Unsigned(3)));

    let twice = chain(|receipt| receipt.boot = BootId(1));
    check(&twice, Err(ReceiptError::SecondOfBoot(2)));

    let mixed = chain(|receipt| {
        if receipt.sequence == 3 {
            receipt.appliance = ApplianceId([2; 4]);
        }
    });
    check(&mixed, Err(ReceiptError::Foreign(3)));

    let mut broken = chain(|_| {});
    broken.receipts[1].body.truncate(40);
    check(&broken, Err(ReceiptError::Body(2)));

    let other = chain(|_| {});
    let foreign_key = hex(&[9; 32]);
    let found = verify(&other, &foreign_key).map(|verified| verified.len());
    assert_eq!(found, Err(ReceiptError::Signature(1)));
}
