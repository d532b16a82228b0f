//! Receipts as exported files bring them: signed, or the body alone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use messages::{ReceiptRecord, SignedReceipt, decode, encode};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(signed) = decode::<SignedReceipt>(bytes) {
        assert_eq!(decode(&encode(&signed)).as_ref(), Ok(&signed));
        record(&signed.body);
    }
    record(bytes);
});

fn record(bytes: &[u8]) {
    if let Ok(record) = decode::<ReceiptRecord>(bytes) {
        let written = record.to_bytes();
        assert_eq!(decode(&written).as_ref(), Ok(&record));
        let _ = SignedReceipt::signed_bytes(&written);
    }
}
