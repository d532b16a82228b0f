//! What is kept of each boot beside its receipt: its runner's log and its
//! console, as files of a folder that must never fill the disk.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use messages::BootId;

/// Logs of this many boots are kept: as many as boots are.
const MAX_LOGS: usize = 1_000;

/// All logs together are no larger than this and the newest one.
const MAX_LOG_BYTES: u64 = 1 << 30;

/// What is kept of a boot: the runner's log, and the console's ring.
const LOG_KINDS: [&str; 3] = ["log", "console", "console.1"];

/// Where a boot's runner log is kept.
#[must_use]
pub fn log_path(logs: &Path, boot: BootId) -> PathBuf {
    logs.join(format!("boot-{boot}.log"))
}

/// Where a boot's console is kept; a second file may stand beside it.
#[must_use]
pub fn console_path(logs: &Path, boot: BootId) -> PathBuf {
    logs.join(format!("boot-{boot}.console"))
}

/// Removes the oldest logs, so that those of many boots never fill the disk
/// that the database is on. `newest` is about to be written.
///
/// # Errors
/// When the folder cannot be read, or a file not removed. One that is gone
/// already is none: others may be at it too.
pub fn forget_old_logs(logs: &Path, newest: BootId) -> io::Result<()> {
    let mut kept: BTreeMap<BootId, Vec<(PathBuf, u64)>> = BTreeMap::new();
    for entry in std::fs::read_dir(logs)? {
        let entry = entry?;
        let name = entry.file_name();
        let boot = name
            .to_str()
            .and_then(|name| name.strip_prefix("boot-")?.split_once('.'))
            .filter(|(_, kind)| LOG_KINDS.contains(kind))
            .and_then(|(id, _)| id.parse::<BootId>().ok());
        if let Some(boot) = boot.filter(|boot| *boot != newest)
            && let Some(meta) = unless_gone(entry.metadata())?
        {
            let files = kept.entry(boot).or_default();
            files.push((entry.path(), meta.len()));
        }
    }
    let mut bytes: u64 = kept.values().flatten().map(|(_, length)| length).sum();
    while kept.len() >= MAX_LOGS || bytes > MAX_LOG_BYTES {
        let Some((_, files)) = kept.pop_first() else {
            break;
        };
        for (path, length) in files {
            unless_gone(std::fs::remove_file(path))?;
            bytes -= length;
        }
    }
    Ok(())
}

fn unless_gone<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_logs_go_first() {
        let folder = tempfile::tempdir().unwrap();
        let (logs, count) = (folder.path(), MAX_LOGS as u64);
        for boot in 1..=count {
            std::fs::write(log_path(logs, BootId(boot)), "x").unwrap();
        }
        std::fs::write(logs.join("notes.txt"), "not ours").unwrap();
        // Its first piece may come twice.
        forget_old_logs(logs, BootId(count)).unwrap();
        assert!(log_path(logs, BootId(1)).exists());
        forget_old_logs(logs, BootId(count + 1)).unwrap();
        assert!(!log_path(logs, BootId(1)).exists());
        assert!(log_path(logs, BootId(2)).exists());
        assert!(logs.join("notes.txt").exists());
        // Sparse, so that it costs nothing.
        let large = std::fs::File::create(log_path(logs, BootId(count))).unwrap();
        large.set_len(MAX_LOG_BYTES + 1).unwrap();
        forget_old_logs(logs, BootId(count + 2)).unwrap();
        assert_eq!(std::fs::read_dir(logs).unwrap().count(), 1);
    }
}
