//! The wall clock, from the appliance's `Date` header. A sled's own clock may
//! be wrong or absent, and a job's TLS needs it. The header came over the
//! pinned connection, so it is as good as the appliance's own clock.

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

use crate::console::say;

/// A clock that is off by less is left alone: the header counts whole seconds.
const TOLERANCE_S: u64 = 2;

/// Sets the clock by a `Date` header's value.
pub(super) fn set_clock(date: Option<&str>) {
    let Some(seconds) = date.and_then(seconds) else {
        return say!("the appliance told no time; the clock stays as it is");
    };
    if clock_gettime(ClockId::Realtime).tv_sec.abs_diff(seconds) < TOLERANCE_S {
        return;
    }
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    match clock_settime(ClockId::Realtime, time) {
        Ok(()) => say!("clock set to {}", date.unwrap_or_default()),
        Err(error) => say!("cannot set the clock: {error}"),
    }
}

/// Seconds since the Unix epoch of an IMF-fixdate (RFC 9110, 5.6.7), the only
/// form that a server may send: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn seconds(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut words = text.split_once(", ")?.1.split(' ');
    let day: i64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)?;
    let month = i64::try_from(month + 1).ok()?;
    let year: i64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(str::parse::<i64>);
    let (hour, minute, second) = (
        clock.next()?.ok()?,
        clock.next()?.ok()?,
        clock.next()?.ok()?,
    );
    let valid = words.next() == Some("GMT")
        && (1..=31).contains(&day)
        && (1970..=9999).contains(&year)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    valid.then_some(days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days since the epoch: Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `days_from_civil`, for years from 1970.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year / 400;
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let check = |text: &str, expect: Option<i64>| assert_eq!(seconds(text), expect, "{text}");
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777));
        check("Thu, 01 Jan 1970 00:00:00 GMT", Some(0));
        check("Thu, 29 Feb 2024 23:59:59 GMT", Some(1_709_251_199));
        check("Fri, 01 Jan 2100 00:00:00 GMT", Some(4_102_444_800));
        for bad in [
            "",
            "06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 ovD 1994 08:49:37 GMT",
            "Sun, 40 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 99999 08:49:37 GMT",
        ] {
            check(bad, None);
        }
    }
}
