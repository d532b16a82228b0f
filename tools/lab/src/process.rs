//! Knows processes by number and start time, so that a number used again is
//! never taken for the process it once was. It signals only what it is told.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal};

/// One process of this boot of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    number: i32,
    started_ticks: u64,
}

impl Process {
    /// The process with this number, if it lives.
    pub(crate) fn find(number: u32) -> Option<Self> {
        let number = i32::try_from(number).ok()?;
        let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
        let (state, started_ticks) = parse_stat(&stat)?;
        (state != 'Z' && state != 'X').then_some(Self {
            number,
            started_ticks,
        })
    }

    /// Whether it lives still.
    pub(crate) fn is_alive(self) -> bool {
        u32::try_from(self.number).ok().and_then(Self::find) == Some(self)
    }

    /// Kills it, if it lives still.
    pub(crate) fn kill(self) {
        if self.is_alive()
            && let Some(pid) = Pid::from_raw(self.number)
        {
            // It may end between the look and the signal: then there is
            // nothing left to do.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }

    /// The form kept in files: number, space, start time.
    pub(crate) fn to_text(self) -> String {
        format!("{} {}\n", self.number, self.started_ticks)
    }

    /// Reads [`Self::to_text`] back; `None` when the file is absent or holds
    /// something else.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        let (number, ticks) = text.trim().split_once(' ')?;
        Some(Self {
            number: number.parse().ok()?,
            started_ticks: ticks.parse().ok()?,
        })
    }

    /// Its start time in clock ticks since the machine booted.
    pub(crate) fn started(self) -> u64 {
        self.started_ticks
    }

    /// Its number.
    pub(crate) fn number(self) -> i32 {
        self.number
    }
}

/// State (field 3) and start time (field 22) of /proc/PID/stat, see
/// `proc_pid_stat(5)`. The name in field 2 may hold spaces and parentheses.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis())
}

/// Asks `done` every few milliseconds until it says true or time is up.
pub(crate) fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if done() {
            return true;
        }
        if start.elapsed() >= limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Writes a file so that a reader sees the old or the whole new one.
pub(crate) fn replace_file(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let _ = fs::remove_file(&beside);
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&beside, path))
        .with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{Process, parse_stat};

    #[test]
    fn reads_state_and_start_time() {
        let check = |stat: &str, expect| assert_eq!(parse_stat(stat), expect, "{stat}");
        let tail = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        check(&format!("7 (a) b) S {tail}"), Some(('S', 4242)));
        check(&format!("7 (q) Z {tail}"), Some(('Z', 4242)));
        check("7 (q) S 1 2", None);
        check("", None);
    }

    #[test]
    fn a_reused_number_is_another_process() {
        let me = Process::find(std::process::id()).unwrap();
        assert!(me.is_alive());
        assert!(
            !Process {
                started_ticks: me.started_ticks + 1,
                ..me
            }
            .is_alive()
        );
    }
}
