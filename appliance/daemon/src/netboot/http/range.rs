//! The `Range` header (RFC 9110 section 14), single ranges only. It never
//! refuses what it does not understand: the whole file is a legal answer.

/// What of a file goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    /// All of it (200).
    Whole,
    /// One part (206).
    Part {
        /// First octet.
        first: u64,
        /// Number of octets, at least one.
        length: u64,
    },
    /// Nothing of the range exists (416).
    Unsatisfiable,
}

impl Selection {
    /// Reads a `Range` value for a file of `total` octets.
    pub(super) fn of(header: Option<&str>, total: u64) -> Self {
        let Some((first, last)) = header
            .and_then(|value| value.strip_prefix("bytes="))
            .and_then(|range| range.split_once('-'))
        else {
            return Self::Whole;
        };
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
        };
        match (first, number(first), last, number(last)) {
            ("", _, _, Some(0)) => Self::Unsatisfiable,
            ("", _, _, Some(suffix)) => Self::part(total.saturating_sub(suffix), u64::MAX, total),
            (_, Some(first), "", _) => Self::part(first, u64::MAX, total),
            (_, Some(first), _, Some(last)) if first <= last => Self::part(first, last, total),
            // Several ranges, or no range at all.
            _ => Self::Whole,
        }
    }

    fn part(first: u64, last: u64, total: u64) -> Self {
        if first >= total {
            return Self::Unsatisfiable;
        }
        Self::Part {
            first,
            length: last.min(total - 1) - first + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        #[track_caller]
        fn check(header: &str, expect: Selection) {
            assert_eq!(Selection::of(Some(header), 100), expect, "{header}");
        }
        let part = |first, length| Selection::Part { first, length };
        check("bytes=0-9", part(0, 10));
        check("bytes=90-", part(90, 10));
        check("bytes=90-1000", part(90, 10));
        check("bytes=-5", part(95, 5));
        check("bytes=-500", part(0, 100));
        check("bytes=100-", Selection::Unsatisfiable);
        check("bytes=-0", Selection::Unsatisfiable);
        check("bytes=99999999999999999999999-", Selection::Unsatisfiable);
        check("bytes=9-5", Selection::Whole);
        check("bytes=0-1,5-6", Selection::Whole);
        check("bytes=+1-5", Selection::Whole);
        check("bytes=-", Selection::Whole);
        check("lines=1-2", Selection::Whole);
        assert_eq!(Selection::of(None, 100), Selection::Whole);
        assert_eq!(Selection::of(Some("bytes=0-"), 0), Selection::Unsatisfiable);
    }
}
