//! The file of a BMC's password while that password changes.
//!
//! The new password lies beside the old one from before the BMC is told until
//! it has proved that it took it. So there is no moment at which a crash
//! leaves a BMC whose password is in no file.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// An IPMI password has 20 bytes at most; there may be a line end.
const MOST_BYTES: u64 = 64;

/// Where a BMC's password is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordFile {
    path: PathBuf,
    shared: bool,
}

/// Why a password could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot {operation} {}: {source}: the user of `musher serve` must be able to write that file \
     and its folder",
    path.display()
)]
pub struct PasswordFileError {
    /// What was tried.
    operation: &'static str,
    /// Of which file.
    path: PathBuf,
    /// What the kernel said.
    source: io::Error,
}

impl PasswordFile {
    /// The file `path`, which exists. A link is followed, so that the file is
    /// replaced and not the link.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf()),
            shared: false,
        }
    }

    /// Where it is, all links followed.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes that other BMCs have their password from this file too.
    pub fn share(&mut self) {
        self.shared = true;
    }

    /// Whether it is other BMCs' file too.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// Where the next password lies until the BMC has proved it.
    #[must_use]
    pub fn next(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".next");
        name.into()
    }

    /// Writes `password` beside the old one, as private as that is. It is on
    /// disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written, or one is there already.
    pub(super) fn offer(&self, password: &[u8]) -> Result<(), PasswordFileError> {
        let write = || {
            let old = fs::metadata(&self.path)?;
            let mut options = OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(self.next())?;
            file.write_all(password)?;
            file.write_all(b"\n")?;
            let new = file.metadata()?;
            if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
                fchown(&file, Some(old.uid()), Some(old.gid()))?;
            }
            file.set_permissions(Permissions::from_mode(old.mode() & 0o700))?;
            file.sync_all()?;
            self.sync_folder()
        };
        write().map_err(|source| self.failed("write the next password for", source))
    }

    /// The password that was offered and neither taken nor withdrawn, if any;
    /// it may be cut short by a crash, and is then none that a BMC was told.
    ///
    /// # Errors
    /// When it cannot be read, or others could have written it.
    pub(super) fn offered(&self) -> Result<Option<Zeroizing<Vec<u8>>>, PasswordFileError> {
        let next = self.next();
        let read = || {
            let meta = fs::symlink_metadata(&next)?;
            if !meta.is_file() || meta.mode() & 0o077 != 0 {
                return Err(io::Error::other("it is no file of its owner's alone"));
            }
            let mut bytes = Zeroizing::new(Vec::with_capacity(MOST_BYTES as usize));
            File::open(&next)?
                .take(MOST_BYTES)
                .read_to_end(&mut bytes)?;
            if bytes.last() == Some(&b'\n') {
                bytes.pop();
            }
            Ok(bytes)
        };
        match read() {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.failed("read the next password for", source)),
        }
    }

    /// Puts the offered password in the old one's place.
    ///
    /// # Errors
    /// When that cannot be done; both files are then as they were.
    pub(super) fn take(&self) -> Result<(), PasswordFileError> {
        let replace = || {
            fs::rename(self.next(), &self.path)?;
            self.sync_folder()
        };
        replace().map_err(|source| self.failed("replace", source))
    }

    /// Drops the offered password.
    ///
    /// # Errors
    /// When that cannot be done.
    pub(super) fn withdraw(&self) -> Result<(), PasswordFileError> {
        let remove = || {
            fs::remove_file(self.next())?;
            self.sync_folder()
        };
        remove().map_err(|source| self.failed("remove the next password for", source))
    }

    fn sync_folder(&self) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or_else(|| Path::new("/"));
        File::open(folder)?.sync_all()
    }

    pub(super) fn failed(&self, operation: &'static str, source: io::Error) -> PasswordFileError {
        PasswordFileError {
            operation,
            path: self.path.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, PasswordFile) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bmc-01");
        fs::write(&path, "old\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("bmc-01", &link).unwrap();
        (dir, PasswordFile::new(&link))
    }

    #[test]
    fn a_new_password_takes_the_old_ones_place_and_mode() {
        let (dir, file) = folder();
        assert!(file.offered().unwrap().is_none());
        file.offer(b"new").unwrap();
        assert_eq!(file.offered().unwrap().unwrap().as_slice(), b"new");
        // Until then, the old one stands.
        assert_eq!(fs::read(file.path()).unwrap(), b"old\n");
        let error = file.offer(b"newer").unwrap_err().to_string();
        assert!(error.contains("bmc-01: File exists"), "{error}");
        file.take().unwrap();
        assert_eq!(fs::read(file.path()).unwrap(), b"new\n");
        assert_eq!(fs::metadata(file.path()).unwrap().mode() & 0o777, 0o400);
        assert!(dir.path().join("link").is_symlink());
        assert!(file.offered().unwrap().is_none());
        file.offer(b"newest").unwrap();
        file.withdraw().unwrap();
        assert!(file.offered().unwrap().is_none());
    }

    #[test]
    fn what_others_could_have_written_is_not_tried() {
        let (_dir, file) = folder();
        file.offer(b"new").unwrap();
        fs::set_permissions(file.next(), Permissions::from_mode(0o620)).unwrap();
        let error = file.offered().unwrap_err().to_string();
        assert!(error.contains("of its owner's alone"), "{error}");
        fs::remove_file(file.next()).unwrap();
        std::os::unix::fs::symlink(file.path(), file.next()).unwrap();
        file.offered().unwrap_err();
        fs::remove_file(file.next()).unwrap();
        fs::create_dir(file.next()).unwrap();
        file.offered().unwrap_err();
    }
}
