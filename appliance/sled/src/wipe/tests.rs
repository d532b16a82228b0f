//! The wipe against disks that tell the truth, lie, refuse and break.

use super::*;

const DISK_BYTES: u64 = 8 << 20;
const SEED: u64 = 7;

/// What a fake disk does with a command that erases.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Command {
    /// Does it.
    Obey,
    /// Says it did.
    Lie,
    /// Does it, but for the last KiB.
    Partly,
    /// Refuses.
    Refuse,
}

struct Fake {
    data: Vec<u8>,
    discard: Command,
    zero_out: Command,
    read_only: bool,
    /// Loses every write.
    deaf: bool,
    /// Keeps what it once got, whatever is written after this many writes.
    stuck_after: Option<u32>,
    /// Reads fail from this byte on.
    bad_from: Option<u64>,
    writes: u32,
}

impl Fake {
    fn new(discard: Command, zero_out: Command) -> Self {
        let mut random = Random(1);
        let data = (0..DISK_BYTES / 8)
            .flat_map(|_| random.next().to_le_bytes())
            .collect();
        Self {
            data,
            discard,
            zero_out,
            read_only: false,
            deaf: false,
            stuck_after: None,
            bad_from: None,
            writes: 0,
        }
    }

    fn erase(&mut self, command: Command) -> io::Result<()> {
        let kept = match command {
            Command::Obey => 0,
            Command::Partly => 1024,
            Command::Lie => return Ok(()),
            Command::Refuse => return Err(io::ErrorKind::Unsupported.into()),
        };
        let end = self.data.len() - kept;
        self.data[..end].fill(0);
        Ok(())
    }
}

fn range(offset: u64, bytes: usize) -> std::ops::Range<usize> {
    let start = usize::try_from(offset).expect("a small disk");
    start..start + bytes
}

impl BlockDevice for Fake {
    fn bytes(&self) -> u64 {
        self.data.len() as u64
    }

    fn read(&mut self, offset: u64, block: &mut [u8]) -> io::Result<()> {
        if self.bad_from.is_some_and(|bad| offset >= bad) {
            return Err(io::Error::other("medium error"));
        }
        block.copy_from_slice(&self.data[range(offset, block.len())]);
        Ok(())
    }

    fn write(&mut self, offset: u64, block: &[u8]) -> io::Result<()> {
        if self.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.writes += 1;
        let stuck = self.stuck_after.is_some_and(|after| self.writes > after);
        if !self.deaf && !stuck {
            self.data[range(offset, block.len())].copy_from_slice(block);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&mut self) -> io::Result<()> {
        self.erase(self.discard)
    }

    fn zero_out(&mut self) -> io::Result<()> {
        self.erase(self.zero_out)
    }
}

#[test]
fn a_wipe_is_what_the_samples_bear_out() {
    use Command::{Lie, Obey, Partly, Refuse};
    #[track_caller]
    fn check(discard: Command, zero_out: Command, expect: WipeMethod) {
        let mut disk = Fake::new(discard, zero_out);
        let wiped = wipe(&mut disk, SEED).expect("a disk that can be written");
        assert_eq!((wiped.method, wiped.survivors), (expect, 0));
        assert!(wiped.samples > 512, "{}", wiped.samples);
        assert!(disk.data.iter().all(|byte| *byte == 0));
    }
    check(Obey, Refuse, WipeMethod::Discard);
    for discard in [Lie, Partly, Refuse] {
        // Whatever the kernel's zeroing does, writing zeros ends it.
        for zero_out in [Obey, Lie, Partly, Refuse] {
            check(discard, zero_out, WipeMethod::ZeroOut);
        }
    }
}

#[test]
fn a_disk_of_uneven_size_is_filled_to_its_last_byte() {
    let mut disk = Fake::new(Command::Lie, Command::Refuse);
    disk.data.truncate(5 * 1024 * 1024 + 1536);
    assert_eq!(wipe(&mut disk, SEED).expect("wiped").survivors, 0);
    assert!(disk.data.iter().all(|byte| *byte == 0));
}

#[test]
fn an_erased_disk_stays_quiet_after_a_discard_that_fills_with_ones() {
    // Never written flash reads as 0xff before and after.
    assert!(!Samples::is_old(&[0xff; BLOCK], &[0xff; BLOCK]));
    assert!(!Samples::is_old(&[1; BLOCK], &[0; BLOCK]));
    let mut old = vec![0; BLOCK];
    old[700] = 1;
    let mut new = vec![0xff; BLOCK];
    assert!(!Samples::is_old(&old, &new));
    new[512..1024].copy_from_slice(&old[512..1024]);
    assert!(Samples::is_old(&old, &new), "one surviving sector counts");
}

#[test]
fn survivors_of_every_method_are_counted() {
    let mut disk = Fake::new(Command::Lie, Command::Lie);
    let marks = {
        let mut probe = Fake::new(Command::Obey, Command::Obey);
        wipe(&mut probe, SEED).expect("wiped");
        probe.writes
    };
    // The markers land, the zeros do not.
    disk.stuck_after = Some(marks);
    let wiped = wipe(&mut disk, SEED).expect("a disk that takes writes");
    assert_eq!(wiped.method, WipeMethod::ZeroOut);
    assert_eq!(wiped.survivors, wiped.samples);
}

#[test]
fn disks_that_cannot_be_wiped_are_errors() {
    #[track_caller]
    fn check(change: fn(&mut Fake), expect: &str) {
        let mut disk = Fake::new(Command::Obey, Command::Obey);
        change(&mut disk);
        let error = wipe(&mut disk, SEED).expect_err("an unwipeable disk");
        assert!(error.to_string().starts_with(expect), "{error}");
    }
    check(|disk| disk.read_only = true, "cannot write at byte 0");
    check(|disk| disk.deaf = true, "disk does not hold the marker");
    check(
        |disk| disk.bad_from = Some(4 << 20),
        "cannot read the sample",
    );
    check(|disk| disk.data.truncate(1024), "disk of 1024 bytes");
}

#[test]
fn markers_differ_between_blocks_and_boots() {
    let samples = |seed| Samples::choose(DISK_BYTES, seed).expect("large enough");
    assert_ne!(samples(1).marker(0), samples(1).marker(1));
    assert_ne!(samples(1).marker(0), samples(2).marker(0));
    assert_eq!(samples(1).marker(0).len(), BLOCK);
}

#[test]
fn neighbours_are_written_at_once() {
    let check = |numbers: &[u64], expect: &[(u64, u64)]| {
        assert_eq!(runs(&numbers.iter().copied().collect()), expect);
    };
    check(&[], &[]);
    check(&[0, 1, 2, 5, 7, 8], &[(0, 3), (5, 1), (7, 2)]);
}
