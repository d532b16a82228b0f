//! What GitHub answered: a status, a body, and the headers that mean
//! something to this client. Judges nothing.

use jiff::fmt::rfc2822::DateTimeParser;
use ureq::http::header::{DATE, ETAG, HeaderMap, LINK, RETRY_AFTER};
use zeroize::Zeroizing;

/// Longest entity tag that is kept.
const ETAG_BYTES: usize = 256;

/// An answer, whatever its status. The body may hold a secret.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Zeroizing<Vec<u8>>,
    pub(super) head: Head,
}

/// The headers that are looked at.
#[derive(Clone, Default)]
pub(super) struct Head {
    /// GitHub's clock, in Unix milliseconds.
    pub(super) date_ms: Option<u64>,
    pub(super) retry_after_s: Option<u64>,
    pub(super) rate_limit: Option<u64>,
    pub(super) rate_remaining: Option<u64>,
    /// When the rate limit resets, in Unix seconds.
    pub(super) rate_reset_s: Option<u64>,
    /// Names this very body, to ask whether it changed.
    pub(super) etag: Option<String>,
    /// Where the other pages of a list are (RFC 8288).
    pub(super) link: Option<String>,
}

impl Head {
    pub(super) fn read(headers: &HeaderMap) -> Self {
        Self {
            date_ms: date_ms(headers),
            retry_after_s: number(headers, RETRY_AFTER.as_str()),
            rate_limit: number(headers, "x-ratelimit-limit"),
            rate_remaining: number(headers, "x-ratelimit-remaining"),
            rate_reset_s: number(headers, "x-ratelimit-reset"),
            link: text(headers, LINK.as_str()),
            etag: text(headers, ETAG.as_str()).filter(|etag| etag.len() <= ETAG_BYTES),
        }
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.trim().to_owned())
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

/// RFC 9110 section 5.6.7: an IMF-fixdate reads as a date of RFC 2822.
fn date_ms(headers: &HeaderMap) -> Option<u64> {
    let time = DateTimeParser::new()
        .parse_timestamp(&text(headers, DATE.as_str())?)
        .ok()?;
    u64::try_from(time.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ureq::http::HeaderValue;

    #[test]
    fn dates() {
        #[track_caller]
        fn check(text: &str, expect: Option<u64>) {
            let mut headers = HeaderMap::new();
            headers.insert(DATE, HeaderValue::from_str(text).unwrap());
            assert_eq!(Head::read(&headers).date_ms, expect, "{text}");
        }
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777_000));
        check("yesterday", None);
        check("", None);
    }
}
