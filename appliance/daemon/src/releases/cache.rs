//! Release archives on this appliance: verified, few, and never the last of a
//! full disk.

use std::{
    fs::{self, File},
    io::{self, Read, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use sha2::{Digest as _, Sha256};

use super::Version;
use crate::{
    admin::hex,
    config::digest_file,
    github::{GithubClient, GithubError, RunnerDownload},
};

/// Archives kept, the newest.
const KEPT: usize = 2;
/// Largest archive: twice what the largest has so far.
const MOST_BYTES: u64 = 512 * 1024 * 1024;
/// What a download leaves free on the disk, for the database above all.
pub const LEAVE_BYTES: u64 = 512 * 1024 * 1024;
const PIECE: usize = 256 * 1024;

/// Where archives are kept.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
    leave_bytes: u64,
}

/// Why an archive is not here.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It was not sent.
    #[error(transparent)]
    Github(#[from] GithubError),
    /// GitHub tells no digest, so it cannot be verified.
    #[error("runner {0}: github tells no sha256 of its archive, so it is not fetched")]
    NoDigest(Version),
    /// It is not what GitHub's API said that it is.
    #[error(
        "runner {version}: the archive has the sha256 {has}, not {wanted} as github's api says: it is not kept"
    )]
    Digest {
        /// Which.
        version: Version,
        /// What came.
        has: String,
        /// What should have come.
        wanted: String,
    },
    /// It broke off.
    #[error("runner {version}: its archive broke off after {bytes} bytes: {source}")]
    Broken {
        /// Which.
        version: Version,
        /// What came until then.
        bytes: u64,
        /// What happened.
        source: io::Error,
    },
    /// The disk has too little room.
    #[error("runner {version}: its archive needs {needed} MiB beside the {left} MiB that are left free, and {} has {free} MiB: make room, or take it from github yourself", folder.display())]
    Room {
        /// Which.
        version: Version,
        /// MiB.
        needed: u64,
        /// MiB.
        left: u64,
        /// MiB.
        free: u64,
        /// Where.
        folder: PathBuf,
    },
    /// A file of the cache failed.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The appliance stops.
    #[error("not fetched: the appliance stops")]
    Stopped,
}

impl Cache {
    /// A cache in `folder`, which is made. A download leaves `leave_bytes` of its
    /// disk free.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn at(folder: &Path, leave_bytes: u64) -> Result<Self, CacheError> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(folder).map_err(at(folder))?;
        Ok(Self {
            leave_bytes,
            ..Self::of(folder)
        })
    }

    /// The cache in `folder`, which may not exist.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        Self {
            folder: folder.to_path_buf(),
            leave_bytes: LEAVE_BYTES,
        }
    }

    /// Where the archive of a version is or would be.
    #[must_use]
    pub fn archive(&self, version: Version) -> PathBuf {
        self.folder.join(version.archive())
    }

    /// Every archive, the newest first.
    #[must_use]
    pub fn archives(&self) -> Vec<PathBuf> {
        let versions = self.versions().into_iter();
        versions.map(|version| self.archive(version)).collect()
    }

    fn versions(&self) -> Vec<Version> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut all: Vec<Version> = entries
            .filter_map(|entry| Version::of_archive(entry.file_name().to_str()?))
            .collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        all
    }

    /// Sees that the archive of `version` is here and whole, fetches it if not,
    /// and lets older ones go. Blocks for as long as a download takes.
    ///
    /// # Errors
    /// [`CacheError`]: nothing of it is kept then.
    pub fn keep(
        &self,
        client: &GithubClient,
        version: Version,
        release: &RunnerDownload,
        stop: &AtomicBool,
    ) -> Result<(), CacheError> {
        let wanted = release.sha256.as_deref();
        let wanted = wanted.ok_or(CacheError::NoDigest(version))?;
        let path = self.archive(version);
        let here = match digest_file(&path) {
            Ok((digest, _)) => hex(&digest.0) == wanted,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(at(&path)(error)),
        };
        if here {
            return Ok(());
        }
        let part = self.folder.join(format!("{}.part", version.archive()));
        let fetched = self
            .fetch(client, version, (&release.url, wanted), (&part, stop))
            .and_then(|()| fs::rename(&part, &path).map_err(at(&path)));
        if fetched.is_err() {
            // It may never have been made.
            drop(fs::remove_file(&part));
        }
        fetched?;
        tracing::info!(%version, file = %path.display(), "the runner's archive is here, verified");
        for old in self.versions().into_iter().skip(KEPT) {
            let path = self.archive(old);
            fs::remove_file(&path).map_err(at(&path))?;
        }
        Ok(())
    }

    fn fetch(
        &self,
        client: &GithubClient,
        version: Version,
        (address, wanted): (&str, &str),
        (part, stop): (&Path, &AtomicBool),
    ) -> Result<(), CacheError> {
        let archive = client.open_archive(address, MOST_BYTES)?;
        self.has_room(version, archive.bytes.unwrap_or(MOST_BYTES))?;
        let mut file = File::create(part).map_err(at(part))?;
        let (mut body, mut hash) = (archive.body, Sha256::new());
        let (mut piece, mut bytes) = (vec![0; PIECE], 0);
        loop {
            if stop.load(Ordering::Relaxed) {
                return Err(CacheError::Stopped);
            }
            let read = match body.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(CacheError::Broken {
                        version,
                        bytes,
                        source,
                    });
                }
            };
            let piece = piece.get(..read).unwrap_or_default();
            hash.update(piece);
            file.write_all(piece).map_err(at(part))?;
            bytes += read as u64;
        }
        let has = hex(&hash.finalize());
        if has != wanted {
            return Err(CacheError::Digest {
                version,
                has,
                wanted: wanted.to_owned(),
            });
        }
        file.sync_all().map_err(at(part))
    }

    fn has_room(&self, version: Version, bytes: u64) -> Result<(), CacheError> {
        let disk = rustix::fs::statvfs(&self.folder);
        let disk = disk.map_err(|error| at(&self.folder)(error.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free >= bytes.saturating_add(self.leave_bytes) {
            return Ok(());
        }
        Err(CacheError::Room {
            version,
            needed: bytes.div_ceil(1 << 20),
            left: self.leave_bytes >> 20,
            free: free >> 20,
            folder: self.folder.clone(),
        })
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    let path = path.to_path_buf();
    move |source| CacheError::File { path, source }
}
