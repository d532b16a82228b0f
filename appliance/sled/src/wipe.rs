//! Wiping one disk, and proving it by samples. Pure but for the
//! [`BlockDevice`] it is given: randomness comes as a seed.
//!
//! A disk is not believed. Markers of this boot are written and read back
//! first; then the whole device is discarded; then every sample is read
//! again. QEMU's `discard=ignore`, and real disks with broken TRIM, take the
//! discard and keep the data: they are zeroed by the kernel, and when even
//! that leaves samples, by plain writes over every block.
//!
//! It never wipes a part of a disk, and never reports a wipe that the samples
//! do not bear out.

pub(crate) mod device;
pub(crate) mod every;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;

use messages::WipeMethod;

/// Unit of sampling, and of alignment for direct IO.
pub(crate) const BLOCK: usize = 4096;
const BLOCK_BYTES: u64 = BLOCK as u64;
/// Smallest piece of a marker that may not survive.
const SECTOR: usize = 512;
/// Marked in full at either end: partition tables, superblocks, RAID metadata.
const EDGE_BYTES: u64 = 1 << 20;
/// Random blocks that get a marker.
const MARKERS: u32 = 64;
/// Random blocks whose own contents must not read back.
const WITNESSES: u32 = 64;
/// Written at once when zeros are written by hand.
const FILL_BYTES: usize = 4 << 20;

/// A whole block device.
pub(crate) trait BlockDevice {
    /// Size in bytes.
    fn bytes(&self) -> u64;
    /// Reads from the medium, not from a cache.
    fn read(&mut self, offset: u64, block: &mut [u8]) -> io::Result<()>;
    /// Writes; [`Self::flush`] makes it durable.
    fn write(&mut self, offset: u64, block: &[u8]) -> io::Result<()>;
    /// Makes writes durable and drops whatever the kernel has cached.
    fn flush(&mut self) -> io::Result<()>;
    /// Discards the whole device.
    fn discard(&mut self) -> io::Result<()>;
    /// Lets the kernel zero the whole device.
    fn zero_out(&mut self) -> io::Result<()>;
}

/// What a wipe did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wiped {
    /// The method that the samples bear out, or the last one tried.
    pub(crate) method: WipeMethod,
    /// Blocks looked at.
    pub(crate) samples: u32,
    /// Blocks that still held old data in the end.
    pub(crate) survivors: u32,
}

/// Why a disk could not be wiped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WipeError {
    /// Too small to sample.
    #[error("disk of {0} bytes is too small to sample")]
    Small(u64),
    /// A read failed.
    #[error("cannot read the sample at byte {offset}")]
    Read {
        /// Where.
        offset: u64,
        /// The disk's answer.
        source: io::Error,
    },
    /// A write failed: the disk is read-only or broken.
    #[error("cannot write at byte {offset}: a disk that cannot be wiped must leave the sled")]
    Write {
        /// Where.
        offset: u64,
        /// The disk's answer.
        source: io::Error,
    },
    /// A flush failed.
    #[error("cannot flush the disk")]
    Flush(#[source] io::Error),
    /// A write was accepted and lost.
    #[error("disk does not hold the marker written at byte {0}")]
    Deaf(u64),
}

/// Wipes `device`. `seed` makes this boot's markers and picks the samples.
///
/// # Errors
/// The disk cannot be sampled or written. Data that survives every method is
/// no error but [`Wiped::survivors`].
pub(crate) fn wipe(device: &mut dyn BlockDevice, seed: u64) -> Result<Wiped, WipeError> {
    let mut samples = Samples::choose(device.bytes(), seed)?;
    samples.witness(device)?;
    samples.mark(device)?;

    if device.discard().is_ok() {
        device.flush().map_err(WipeError::Flush)?;
        if samples.survivors(device, Samples::is_old)? == 0 {
            return Ok(samples.wiped(WipeMethod::Discard, 0));
        }
    }
    // An error here is not the end: writing by hand needs no command.
    if device.zero_out().is_ok() {
        device.flush().map_err(WipeError::Flush)?;
        if samples.survivors(device, Samples::is_not_zero)? == 0 {
            return Ok(samples.wiped(WipeMethod::ZeroOut, 0));
        }
    }
    fill(device)?;
    device.flush().map_err(WipeError::Flush)?;
    let survivors = samples.survivors(device, Samples::is_not_zero)?;
    Ok(samples.wiped(WipeMethod::ZeroOut, survivors))
}

/// Writes zeros over every byte.
fn fill(device: &mut dyn BlockDevice) -> Result<(), WipeError> {
    let zeros = vec![0; FILL_BYTES];
    let mut offset = 0;
    while offset < device.bytes() {
        let left = usize::try_from(device.bytes() - offset).unwrap_or(usize::MAX);
        let piece = zeros.get(..left).unwrap_or(&zeros);
        device
            .write(offset, piece)
            .map_err(|source| WipeError::Write { offset, source })?;
        offset += piece.len() as u64;
    }
    Ok(())
}

/// The blocks that are looked at, in numbers of blocks.
struct Samples {
    seed: u64,
    marked: BTreeSet<u64>,
    witnesses: BTreeSet<u64>,
    /// Old contents of `witnesses`, in their order.
    contents: Vec<u8>,
}

impl Samples {
    fn choose(bytes: u64, seed: u64) -> Result<Self, WipeError> {
        let blocks = bytes / BLOCK_BYTES;
        if blocks == 0 {
            return Err(WipeError::Small(bytes));
        }
        let edge = (EDGE_BYTES / BLOCK_BYTES).min(blocks);
        let mut marked: BTreeSet<u64> = (0..edge).chain(blocks - edge..blocks).collect();
        let mut random = Random(seed);
        marked.extend((0..MARKERS).map(|_| random.next() % blocks));
        let witnesses = (0..WITNESSES)
            .map(|_| random.next() % blocks)
            .filter(|block| !marked.contains(block))
            .collect();
        Ok(Self {
            seed,
            marked,
            witnesses,
            contents: Vec::new(),
        })
    }

    /// Keeps what the witnesses hold before anything is written.
    fn witness(&mut self, device: &mut dyn BlockDevice) -> Result<(), WipeError> {
        let mut block = vec![0; BLOCK];
        for number in &self.witnesses {
            read(device, *number, &mut block)?;
            self.contents.extend_from_slice(&block);
        }
        Ok(())
    }

    /// Writes the markers and makes sure that they are there.
    fn mark(&self, device: &mut dyn BlockDevice) -> Result<(), WipeError> {
        for (first, count) in runs(&self.marked) {
            let offset = first * BLOCK_BYTES;
            let bytes: Vec<u8> = (first..first + count)
                .flat_map(|number| self.marker(number))
                .collect();
            device
                .write(offset, &bytes)
                .map_err(|source| WipeError::Write { offset, source })?;
        }
        device.flush().map_err(WipeError::Flush)?;
        let mut block = vec![0; BLOCK];
        for number in &self.marked {
            read(device, *number, &mut block)?;
            if block != self.marker(*number) {
                return Err(WipeError::Deaf(number * BLOCK_BYTES));
            }
        }
        Ok(())
    }

    /// The marker of a block: no two sectors of a boot are alike.
    fn marker(&self, number: u64) -> Vec<u8> {
        let mut random = Random(self.seed ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93));
        (0..BLOCK / 8)
            .flat_map(|_| random.next().to_le_bytes())
            .collect()
    }

    /// Reads every sample and counts those of which `judge` says, given old
    /// and new contents, that they survived.
    fn survivors(
        &self,
        device: &mut dyn BlockDevice,
        judge: fn(&[u8], &[u8]) -> bool,
    ) -> Result<u32, WipeError> {
        let mut survivors = 0;
        let mut block = vec![0; BLOCK];
        for number in &self.marked {
            read(device, *number, &mut block)?;
            survivors += u32::from(judge(&self.marker(*number), &block));
        }
        for (number, old) in self.witnesses.iter().zip(self.contents.chunks(BLOCK)) {
            read(device, *number, &mut block)?;
            survivors += u32::from(judge(old, &block));
        }
        Ok(survivors)
    }

    /// Whether any sector still holds what it held. A discarded block need
    /// not read as zeros; and a sector of one repeated byte, such as an erased
    /// one, may read alike before and after without telling anything.
    fn is_old(old: &[u8], new: &[u8]) -> bool {
        let uniform = |sector: &[u8]| sector.iter().all(|byte| Some(byte) == sector.first());
        old.chunks(SECTOR)
            .zip(new.chunks(SECTOR))
            .any(|(old, new)| old == new && !uniform(old))
    }

    /// Whether a block that was zeroed is not zero.
    fn is_not_zero(_old: &[u8], new: &[u8]) -> bool {
        new.iter().any(|byte| *byte != 0)
    }

    fn wiped(&self, method: WipeMethod, survivors: u32) -> Wiped {
        let samples = self.marked.len() + self.witnesses.len();
        Wiped {
            method,
            samples: u32::try_from(samples).unwrap_or(u32::MAX),
            survivors,
        }
    }
}

fn read(device: &mut dyn BlockDevice, number: u64, block: &mut [u8]) -> Result<(), WipeError> {
    let offset = number * BLOCK_BYTES;
    device
        .read(offset, block)
        .map_err(|source| WipeError::Read { offset, source })
}

/// Runs of consecutive numbers as (first, count).
fn runs(numbers: &BTreeSet<u64>) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((first, count)) if *first + *count == *number => *count += 1,
            _ => runs.push((*number, 1)),
        }
    }
    runs
}

/// SplitMix64 (Steele, Lea, Flood 2014): markers must differ between boots and
/// blocks; they are no secret.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }
}
