//! Numbers, secrets, digests and time stamps. The only place that asks for
//! randomness; it never reads a clock.

use sha2::{Digest, Sha256};

/// `N` random bytes from the operating system.
///
/// # Panics
/// When the system has no randomness, which a program cannot mend.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has no random bytes");
    bytes
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// A random GUID in the form of RFC 9562 version 4.
#[must_use]
pub fn guid() -> String {
    let bytes: [u8; 16] = random();
    let text = hex(&bytes);
    let variant = ["8", "9", "a", "b"][usize::from(bytes[8] & 3)];
    format!(
        "{}-{}-4{}-{variant}{}-{}",
        &text[..8],
        &text[8..12],
        &text[13..16],
        &text[17..20],
        &text[20..]
    )
}

/// RFC 3339 in UTC with whole seconds, as GitHub writes times.
#[must_use]
pub fn timestamp(unix_ms: i64) -> String {
    jiff::Timestamp::from_second(unix_ms.div_euclid(1_000))
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_string()
}

/// An HTTP date (RFC 9110, section 5.6.7).
#[must_use]
pub fn http_date(unix_ms: i64) -> String {
    let time = jiff::Timestamp::from_second(unix_ms.div_euclid(1_000))
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&time)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_seconds_in_utc() {
        assert_eq!(timestamp(1_700_000_000_999), "2023-11-14T22:13:20Z");
        assert_eq!(timestamp(0), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn guid_has_the_form_of_version_4() {
        let guid = guid();
        assert_eq!(guid.len(), 36);
        assert_eq!(guid.as_bytes().get(14), Some(&b'4'));
    }
}
