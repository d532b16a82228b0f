//! Times, spans and counts as people read them.
//!
//! The script in `page.js` writes the same words again as time goes by, in
//! the viewer's own time zone; what stands here is what a reader without it
//! sees, in UTC.

use jiff::Timestamp;
use maud::{Markup, html};
use messages::Millis;

/// A span: `240 ms`, `3.2 s`, `42 s`, `3 min 12 s`, `2 h 05 min`, `3 d 4 h`.
pub(super) fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (minutes, hours) = (seconds / 60, seconds / 3_600);
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..10_000 => format!("{seconds}.{} s", ms % 1_000 / 100),
        10_000..60_000 => format!("{seconds} s"),
        60_000..3_600_000 => format!("{minutes} min {:02} s", seconds % 60),
        3_600_000..86_400_000 => format!("{hours} h {:02} min", minutes % 60),
        _ => format!("{} d {} h", hours / 24, hours % 24),
    }
}

/// A span without parts of a second, for what still goes on: `0 s`, `42 s`, …
pub(super) fn whole_span(ms: u64) -> String {
    match ms {
        0..60_000 => format!("{} s", ms / 1_000),
        _ => span(ms),
    }
}

/// How long something may take: `10 min`, `2 h`, else as [`whole_span`]. A
/// state is entered some moments beside the event that armed its deadline, so
/// parts of a second say nothing.
pub(super) fn limit(ms: u64) -> String {
    let ms = ms.saturating_add(500) / 1_000 * 1_000;
    if ms.is_multiple_of(60_000) && ms > 0 {
        let minutes = ms / 60_000;
        match (minutes / 60, minutes % 60) {
            (0, minutes) => format!("{minutes} min"),
            (hours, 0) => format!("{hours} h"),
            (hours, minutes) => format!("{hours} h {minutes:02} min"),
        }
    } else {
        whole_span(ms)
    }
}

/// A round span on the axis: `0`, `30 s`, `1:30`, `2 min`, `4 h`.
pub(super) fn tick(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0 => String::from("0"),
        1..60 => format!("{seconds} s"),
        60..3_600 if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        60..3_600 => format!("{}:{:02}", seconds / 60, seconds % 60),
        _ if seconds.is_multiple_of(86_400) => format!("{} d", seconds / 86_400),
        _ if seconds.is_multiple_of(3_600) => format!("{} h", seconds / 3_600),
        _ => format!("{}:{:02} h", seconds / 3_600, seconds / 60 % 60),
    }
}

/// `1 job`, `2 jobs`.
pub(super) fn count(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

/// A time of day.
pub(super) fn clock(at: Millis) -> Markup {
    element(at, "clock", |time| {
        time.strftime("%H:%M:%S UTC").to_string()
    })
}

/// How long ago it was.
pub(super) fn age(at: Millis, now: Millis) -> Markup {
    element(at, "age", |_| format!("{} ago", whole_span(now.since(at))))
}

/// How long it has been going on.
pub(super) fn since(at: Millis, now: Millis) -> Markup {
    element(at, "span", |_| whole_span(now.since(at)))
}

fn element(at: Millis, show: &str, text: impl FnOnce(Timestamp) -> String) -> Markup {
    let time = i64::try_from(at.0)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    html! {
        @if let Some(time) = time {
            time datetime=(time) data-at=(at) data-show=(show) { (text(time)) }
        } @else {
            "at an unknown time"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_at_a_glance() {
        let check = |ms, expect: &str| assert_eq!(span(ms), expect, "{ms} ms");
        check(0, "0 ms");
        check(999, "999 ms");
        check(3_240, "3.2 s");
        check(42_900, "42 s");
        check(192_000, "3 min 12 s");
        check(3_600_000 + 300_000, "1 h 05 min");
        check(90_000_000, "1 d 1 h");
        assert_eq!(whole_span(3_240), "3 s");
    }

    #[test]
    fn limits_are_round_where_they_can_be() {
        let check = |ms, expect: &str| assert_eq!(limit(ms), expect);
        check(0, "0 s");
        check(600_000, "10 min");
        check(600_076, "10 min");
        check(599_924, "10 min");
        check(7_200_000, "2 h");
        check(7_260_000, "2 h 01 min");
        check(601_000, "10 min 01 s");
    }

    #[test]
    fn ticks_are_short() {
        let check = |seconds: u64, expect: &str| assert_eq!(tick(seconds * 1_000), expect);
        check(0, "0");
        check(30, "30 s");
        check(90, "1:30");
        check(120, "2 min");
        check(5_400, "1:30 h");
        check(7_200, "2 h");
        check(172_800, "2 d");
    }

    #[test]
    fn impossible_times_are_not_invented() {
        let text = clock(Millis(u64::MAX)).into_string();
        assert_eq!(text, "at an unknown time");
        let text = clock(Millis(1_700_000_000_000)).into_string();
        assert!(
            text.contains(r#"datetime="2023-11-14T22:13:20Z""#),
            "{text}"
        );
        assert!(text.contains("22:13:20 UTC"), "{text}");
    }
}
