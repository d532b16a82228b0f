//! Where a database lies. It makes and opens databases; it reads no row.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use redb::{Builder, Database, DatabaseError, StorageError};
use rustix::fs::{Advice, fadvise};

/// A file, or in tests a disk that fails.
pub(super) trait Medium: Send + Sync {
    /// For messages.
    fn name(&self) -> String;

    /// Makes an empty database where there is none.
    fn prepare(&self, builder: &Builder) -> Result<(), DatabaseError>;

    /// Opens the database as it is on disk. What the system remembers of an
    /// earlier, failed sync does not count.
    fn open(&self, builder: &Builder) -> Result<Database, DatabaseError>;
}

/// A database in a file.
pub(super) struct DatabaseFile(PathBuf);

impl DatabaseFile {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_path_buf())
    }

    /// A name that no other process uses, in the same folder.
    fn unfinished(&self) -> PathBuf {
        let mut name = OsString::from(&self.0);
        name.push(format!(".{}.new", std::process::id()));
        PathBuf::from(name)
    }

    fn folder(&self) -> &Path {
        match self.0.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }
}

impl Medium for DatabaseFile {
    fn name(&self) -> String {
        self.0.display().to_string()
    }

    /// The file gets its name when it is a database, whole and on disk. A power
    /// cut while redb makes one leaves a file that redb never opens again.
    fn prepare(&self, builder: &Builder) -> Result<(), DatabaseError> {
        if self.0.try_exists().map_err(disk)? {
            return Ok(());
        }
        let unfinished = self.unfinished();
        remove(&unfinished).map_err(disk)?;
        drop(builder.create(&unfinished)?);
        let named = File::open(&unfinished)
            .and_then(|file| file.sync_all())
            .and_then(|()| match fs::hard_link(&unfinished, &self.0) {
                // Another process was faster; whose lock holds is seen next.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
                linked => linked,
            });
        remove(&unfinished).and(named).map_err(disk)?;
        File::open(self.folder())
            .and_then(|folder| folder.sync_all())
            .map_err(disk)
    }

    fn open(&self, builder: &Builder) -> Result<Database, DatabaseError> {
        forget_cached(&self.0).map_err(disk)?;
        builder.open(&self.0)
    }
}

/// Makes the kernel read the file from disk again. When a sync fails, Linux
/// marks the pages clean that it could not write and reports that once: later
/// syncs succeed, and reads show bytes that are not on disk (fsync(2), NOTES;
/// "PostgreSQL's handling of fsync() errors is unsafe", LWN 752063).
fn forget_cached(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    // Only clean pages are dropped. Whether this sync fails does not matter:
    // what it could not write is dropped too.
    drop(file.sync_data());
    fadvise(&file, 0, None, Advice::DontNeed)?;
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn disk(error: io::Error) -> DatabaseError {
    DatabaseError::Storage(StorageError::Io(error))
}
