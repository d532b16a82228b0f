//! A disk that fails, by a seed: it loses what was not synced when the power
//! is cut, tears writes, fills up, and forgets what a failed sync held.

use std::{
    fmt, io,
    sync::{Arc, Mutex, MutexGuard},
};

use redb::{Builder, Database, DatabaseError, StorageBackend};

use crate::store::medium::Medium;

/// The unit that a disk writes whole, in bytes; file systems write pages.
const SECTOR: usize = 512;
const PAGE: usize = 4096;

/// SplitMix64 (Steele et al., "Fast splittable pseudorandom number
/// generators"): every number comes from the seed.
#[derive(Clone, Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}

/// A change of the disk.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
    Sync,
}

/// Which operations fail, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Changes: no space left.
    NoRoom,
    /// Changes: input/output error.
    Broken,
    /// Reads: input/output error.
    Unreadable,
}

/// Operations from number `at` on that fail, `count` of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) failure: Failure,
    pub(super) at: usize,
    pub(super) count: usize,
}

impl Fault {
    fn strikes(&self, number: usize) -> bool {
        (self.at..self.at + self.count).contains(&number)
    }

    fn error(&self) -> io::Error {
        io::Error::from_raw_os_error(match self.failure {
            Failure::NoRoom => rustix::io::Errno::NOSPC.raw_os_error(),
            Failure::Broken | Failure::Unreadable => rustix::io::Errno::IO.raw_os_error(),
        })
    }
}

struct Inner {
    /// What reads return: the system's cache.
    cached: Vec<u8>,
    /// What a power cut leaves for sure.
    synced: Vec<u8>,
    /// A sync failed, so the cache holds what the disk never will.
    stale: bool,
    /// Changes since the last sync.
    waiting: Vec<Change>,
    /// Every change, in order, when it is kept.
    log: Option<Vec<Change>>,
    changes: usize,
    reads: usize,
    fault: Option<Fault>,
    random: Random,
}

/// Clones share the disk.
#[derive(Clone)]
pub(super) struct Disk(Arc<Mutex<Inner>>);

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").finish_non_exhaustive()
    }
}

impl Disk {
    /// A disk with these bytes on it, all synced.
    pub(super) fn of(image: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            cached: image.clone(),
            synced: image,
            stale: false,
            waiting: Vec::new(),
            log: None,
            changes: 0,
            reads: 0,
            fault: None,
            random: Random(0),
        })))
    }

    /// Keeps every change from now on, for [`Cuts`].
    pub(super) fn keep_log(&self) {
        self.inner().log = Some(Vec::new());
    }

    pub(super) fn take_log(&self) -> Vec<Change> {
        self.inner().log.take().unwrap_or_default()
    }

    /// Operations so far fail no more; those of `fault` will, counted from now.
    pub(super) fn fail(&self, fault: Fault, seed: u64) {
        let mut inner = self.inner();
        (inner.changes, inner.reads) = (0, 0);
        inner.fault = Some(fault);
        inner.random = Random(seed);
    }

    /// Changes so far, those that failed too.
    pub(super) fn changes(&self) -> usize {
        self.inner().changes
    }

    /// Reads so far, those that failed too.
    pub(super) fn reads(&self) -> usize {
        self.inner().reads
    }

    /// What a cut of power leaves when nothing unsynced survives it.
    pub(super) fn synced(&self) -> Vec<u8> {
        self.inner().synced.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let mut guard = self.inner();
        let inner = &mut *guard;
        let number = inner.changes;
        inner.changes += 1;
        if let Some(fault) = inner.fault
            && fault.failure != Failure::Unreadable
            && fault.strikes(number)
        {
            inner.fail(change);
            return Err(fault.error());
        }
        if let Some(log) = &mut inner.log {
            log.push(change.clone());
        }
        match change {
            Change::Sync => {
                for change in std::mem::take(&mut inner.waiting) {
                    apply(&mut inner.synced, &change);
                }
            }
            change => {
                apply(&mut inner.cached, &change);
                inner.waiting.push(change);
            }
        }
        Ok(())
    }
}

impl Inner {
    /// A change that fails may be done in part.
    fn fail(&mut self, change: Change) {
        match change {
            Change::Write { offset, mut bytes } => {
                bytes.truncate(self.random.below(bytes.len() + 1));
                let part = Change::Write { offset, bytes };
                apply(&mut self.cached, &part);
                self.waiting.push(part);
            }
            Change::Length(_) => {}
            // What did not reach the disk is not tried again, yet still read.
            Change::Sync => {
                let waiting = std::mem::take(&mut self.waiting);
                self.synced = survivors(&self.synced, &waiting, &mut self.random);
                self.stale = true;
            }
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.inner().cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut inner = self.inner();
        let number = inner.reads;
        inner.reads += 1;
        if let Some(fault) = inner.fault
            && fault.failure == Failure::Unreadable
            && fault.strikes(number)
        {
            return Err(fault.error());
        }
        let offset = usize::try_from(offset).unwrap();
        let bytes = inner.cached.get(offset..offset + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Change::Length(usize::try_from(len).unwrap()))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(Change::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Change::Write {
            offset: usize::try_from(offset).unwrap(),
            bytes: data.to_vec(),
        })
    }
}

impl Medium for Disk {
    fn name(&self) -> String {
        "on a disk that fails".to_owned()
    }

    fn prepare(&self, builder: &Builder) -> Result<(), DatabaseError> {
        if self.inner().cached.is_empty() {
            drop(builder.create_with_backend(self.clone())?);
        }
        Ok(())
    }

    fn open(&self, builder: &Builder) -> Result<Database, DatabaseError> {
        // As the file does: what is still waiting is written, and the cache
        // holds nothing else that the disk does not.
        drop(self.change(Change::Sync));
        {
            let mut inner = self.inner();
            if std::mem::take(&mut inner.stale) {
                inner.cached = inner.synced.clone();
            }
        }
        builder.create_with_backend(self.clone())
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { offset, bytes: new } => {
            let end = offset + new.len();
            if end > bytes.len() {
                bytes.resize(end, 0);
            }
            bytes[*offset..end].copy_from_slice(new);
        }
        Change::Length(length) => bytes.resize(*length, 0),
        Change::Sync => {}
    }
}

/// What is on disk when these changes were not synced: of each write any of
/// its sectors or pages, whole or torn, whatever was written after it. Lengths
/// are of one inode, so those come in order.
fn survivors(synced: &[u8], waiting: &[Change], random: &mut Random) -> Vec<u8> {
    let unit = [SECTOR, PAGE][random.below(2)];
    // From "nothing survives" to "everything does".
    let quarters = random.below(5);
    let lengths: Vec<usize> = waiting
        .iter()
        .filter_map(|change| match change {
            Change::Length(length) => Some(*length),
            Change::Write { .. } | Change::Sync => None,
        })
        .collect();
    let reached = random.below(lengths.len() + 1);
    let mut image = synced.to_vec();
    for length in &lengths[..reached] {
        image.resize(*length, 0);
    }
    for change in waiting {
        let Change::Write { offset, bytes } = change else {
            continue;
        };
        let mut at = 0;
        while at < bytes.len() {
            let end = bytes.len().min((offset + at) / unit * unit + unit - offset);
            let torn = random.below(8) == 0;
            let kept = match random.below(4) < quarters {
                true if torn => at + random.below(end - at),
                true => end,
                false => at,
            };
            // What was written beyond the length that reached the disk is lost.
            let kept = kept.min(image.len().saturating_sub(*offset)).max(at);
            if kept > at {
                image[offset + at..offset + kept].copy_from_slice(&bytes[at..kept]);
            }
            at = end;
        }
    }
    image
}

/// Cuts the power after each change of a log in turn.
pub(super) struct Cuts {
    synced: Vec<u8>,
    waiting: Vec<Change>,
}

impl Cuts {
    /// From a disk with these bytes.
    pub(super) const fn of(image: Vec<u8>) -> Self {
        Self {
            synced: image,
            waiting: Vec::new(),
        }
    }

    /// Lets one more change happen.
    pub(super) fn pass(&mut self, change: &Change) {
        if matches!(change, Change::Sync) {
            for change in std::mem::take(&mut self.waiting) {
                apply(&mut self.synced, &change);
            }
        } else {
            self.waiting.push(change.clone());
        }
    }

    /// The disk after a cut now, by a seed.
    pub(super) fn image(&self, seed: u64) -> Vec<u8> {
        survivors(&self.synced, &self.waiting, &mut Random(seed))
    }
}
