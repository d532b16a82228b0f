//! Lines for whoever watches the sled's console. Nothing secret is ever
//! written here, and a console that fails never stops the agent.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::Write as _;

use rustix::time::{ClockId, clock_gettime};

/// Writes one line, stamped with the seconds since the kernel started.
macro_rules! say {
    ($($argument:tt)*) => { $crate::console::line(format_args!($($argument)*)) };
}
pub(crate) use say;

/// What [`say`] expands to.
pub(crate) fn line(message: fmt::Arguments<'_>) {
    let up = uptime_ms();
    // One write: kernel messages would cut into several.
    let text = format!(
        "[{:5}.{:03}] musher-sled: {message}\n",
        up / 1000,
        up % 1000
    );
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Milliseconds since the kernel started.
pub(crate) fn uptime_ms() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds
        .saturating_mul(1000)
        .saturating_add(nanoseconds / 1_000_000)
}

/// An error with all its causes, on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
