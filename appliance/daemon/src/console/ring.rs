//! A bounded ring on disk, of two files: when the newer is half of the bound
//! long, it takes the older one's place. What is oldest goes first, nothing is
//! moved, and a crash loses at most the last write.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// One ring.
#[derive(Debug)]
pub struct Ring {
    path: PathBuf,
    most_bytes: u64,
}

impl Ring {
    /// The ring whose newer file is `path`, of at most `most_bytes` in all. It
    /// goes on where it ended.
    #[must_use]
    pub fn new(path: PathBuf, most_bytes: u64) -> Self {
        Self { path, most_bytes }
    }

    /// Adds bytes. Of more than half the bound at once, only the end is kept.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let half = usize::try_from(self.most_bytes / 2).unwrap_or(usize::MAX);
        let bytes = bytes
            .get(bytes.len().saturating_sub(half)..)
            .unwrap_or(bytes);
        let length = fs::metadata(&self.path).map_or(0, |meta| meta.len());
        if length + bytes.len() as u64 > self.most_bytes / 2 && length > 0 {
            fs::rename(&self.path, older(&self.path))?;
        }
        let mut options = OpenOptions::new();
        let mut file = options
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.path)?;
        file.write_all(bytes)
    }
}

/// What the ring at `path` holds, oldest first.
///
/// # Errors
/// When there is none, or it cannot be read.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = match fs::read(older(path)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut file = File::open(path)?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The older file of the ring at `path`.
pub(crate) fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_bytes_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("boot-1.console");
        let ring = Ring::new(path.clone(), 20);
        let check = |add: &[u8], expect: &[u8]| {
            ring.append(add).unwrap();
            assert_eq!(read(&path).unwrap(), expect, "after {add:?}");
        };
        check(b"01234", b"01234");
        check(b"56789", b"0123456789");
        check(b"abcde", b"0123456789abcde");
        check(b"fghijk", b"abcdefghijk");
        check(b"a line of more than ten bytes", b"fghijk ten bytes");
    }
}
