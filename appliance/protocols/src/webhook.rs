//! The signature of a GitHub webhook delivery: `X-Hub-Signature-256`.
//!
//! Checks the raw bytes of a body against the shared secret, in constant
//! time. It never parses the body, and never tells how a signature differs
//! from the right one.
//!
//! Source: GitHub Docs, "Validating webhook deliveries".

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The prefix that names the algorithm in the header's value.
const PREFIX: &str = "sha256=";

/// Bytes in an HMAC-SHA256 tag.
const TAG_BYTES: usize = 32;

/// Why a delivery's signature was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No signature came: GitHub sends none when the hook has no secret.
    #[error("delivery is not signed: set the webhook's secret in the app's settings at github")]
    Missing,
    /// The header is not `sha256=` and 64 hexadecimal digits.
    #[error("delivery's signature is malformed: expected sha256= and 64 hexadecimal digits")]
    Malformed,
    /// The body was signed with another secret, or changed on its way.
    #[error(
        "delivery's signature does not match: the webhook's secret at github and the one \
         configured here differ, or something on the way changed the body"
    )]
    Mismatch,
}

/// Checks that `body`, the bytes as received, was signed with `secret`.
///
/// `header` is the value of `X-Hub-Signature-256`; pass an empty string when
/// the header is absent. The comparison takes the same time whatever the
/// difference. An empty secret signs nothing: every signature mismatches.
///
/// # Errors
/// [`SignatureError`], by what is wrong with the header.
pub fn verify(secret: &[u8], body: &[u8], header: &str) -> Result<(), SignatureError> {
    let header = header.trim_ascii();
    if header.is_empty() {
        return Err(SignatureError::Missing);
    }
    let digits = header
        .strip_prefix(PREFIX)
        .ok_or(SignatureError::Malformed)?;
    let tag = decode_tag(digits.as_bytes()).ok_or(SignatureError::Malformed)?;
    if secret.is_empty() {
        return Err(SignatureError::Mismatch);
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|_| SignatureError::Mismatch)?;
    mac.update(body);
    mac.verify_slice(&tag).map_err(|_| SignatureError::Mismatch)
}

fn decode_tag(digits: &[u8]) -> Option<[u8; TAG_BYTES]> {
    if digits.len() != TAG_BYTES * 2 {
        return None;
    }
    let mut tag = [0; TAG_BYTES];
    for (byte, pair) in tag.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(tag)
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        b'A'..=b'F' => Some(character - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GitHub's own published example.
    const SECRET: &[u8] = b"It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    const HEADER: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    #[track_caller]
    fn check(secret: &[u8], body: &[u8], header: &str, expect: Result<(), SignatureError>) {
        assert_eq!(verify(secret, body, header), expect, "header {header:?}");
    }

    #[test]
    fn accepts_the_published_example() {
        check(SECRET, BODY, HEADER, Ok(()));
        check(SECRET, BODY, &alloc::format!(" {HEADER}\t"), Ok(()));
        let upper = alloc::format!("{PREFIX}{}", HEADER[PREFIX.len()..].to_ascii_uppercase());
        check(SECRET, BODY, &upper, Ok(()));
    }

    #[test]
    fn refuses_what_was_not_signed_so() {
        check(
            b"another secret",
            BODY,
            HEADER,
            Err(SignatureError::Mismatch),
        );
        check(
            SECRET,
            b"Hello, World?",
            HEADER,
            Err(SignatureError::Mismatch),
        );
        check(SECRET, b"", HEADER, Err(SignatureError::Mismatch));
        let last_bit = HEADER.replace("3e17", "3e16");
        check(SECRET, BODY, &last_bit, Err(SignatureError::Mismatch));
    }

    #[test]
    fn an_empty_secret_signs_nothing() {
        // HMAC-SHA256 of "Hello, World!" under an empty key.
        let header = "sha256=2bbcfa9524f3218c7a34b30e6936f8b1a4516cb097f1a85a1c7d98b5977ec769";
        check(b"", BODY, header, Err(SignatureError::Mismatch));
    }

    #[test]
    fn tells_missing_from_malformed() {
        check(SECRET, BODY, "", Err(SignatureError::Missing));
        check(SECRET, BODY, "  ", Err(SignatureError::Missing));
        let malformed = [
            "sha256=",
            "sha1=757107ea0eb2509fc211221cce984b8a37570b6d",
            &HEADER[PREFIX.len()..],
            &HEADER[..HEADER.len() - 1],
            &alloc::format!("{HEADER}0"),
            &HEADER.replace("7571", "75zz"),
            &HEADER.replace("7571", "75é"),
            "sha256=\u{0}",
        ];
        for header in malformed {
            check(SECRET, BODY, header, Err(SignatureError::Malformed));
        }
    }
}
