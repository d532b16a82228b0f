//! The value of `X-Hub-Signature-256` in the first line, then a body: accepted
//! exactly when it is the body's HMAC-SHA256.
#![no_main]

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use libfuzzer_sys::fuzz_target;
use protocols::webhook::verify;
use sha2::Sha256;

const SECRET: &[u8] = b"It's a Secret to Everybody";

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    let header = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let body = parts.next().unwrap_or_default();
    let accepted = verify(SECRET, body, &header).is_ok();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).expect("any key length serves");
    mac.update(body);
    let mut right = "sha256=".to_owned();
    for byte in mac.finalize().into_bytes() {
        let _ = write!(right, "{byte:02x}");
    }
    let given = header.trim_ascii();
    let same = given.starts_with("sha256=") && given.eq_ignore_ascii_case(&right);
    assert_eq!(accepted, same);
    assert!(verify(b"", body, &header).is_err());
});
