//! A real disk for the wipe: direct IO, so that what is read comes from the
//! disk and not from the page cache.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

use super::{BLOCK, BlockDevice};
use crate::ioctls;

/// Largest piece of one transfer, in bytes.
const PIECE: usize = 1 << 20;

/// An open disk.
pub(crate) struct Device {
    file: File,
    bytes: u64,
    buffer: Aligned,
}

impl Device {
    /// Opens a disk for itself alone.
    ///
    /// # Errors
    /// The disk is in use, read-only or gone.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        // open(2): O_EXCL on a block device fails with EBUSY when it is in
        // use, for example mounted or part of an array.
        let flags = OFlags::DIRECT | OFlags::EXCL | OFlags::CLOEXEC;
        let file = File::options()
            .read(true)
            .write(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path)?;
        let bytes = ioctls::device_bytes(&file)?;
        Ok(Self {
            file,
            bytes,
            buffer: Aligned::new(),
        })
    }
}

impl BlockDevice for Device {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read(&mut self, offset: u64, block: &mut [u8]) -> io::Result<()> {
        let buffer = self.buffer.get(block.len())?;
        self.file.read_exact_at(buffer, offset)?;
        block.copy_from_slice(buffer);
        Ok(())
    }

    fn write(&mut self, mut offset: u64, block: &[u8]) -> io::Result<()> {
        for piece in block.chunks(PIECE) {
            let buffer = self.buffer.get(piece.len())?;
            buffer.copy_from_slice(piece);
            self.file.write_all_at(buffer, offset)?;
            offset += piece.len() as u64;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        ioctls::drop_buffers(&self.file)
    }

    fn discard(&mut self) -> io::Result<()> {
        ioctls::discard(&self.file, 0, self.bytes)
    }

    fn zero_out(&mut self) -> io::Result<()> {
        ioctls::zero_out(&self.file, 0, self.bytes)
    }
}

/// Memory that direct IO accepts on every disk: aligned to [`BLOCK`].
struct Aligned {
    bytes: Vec<u8>,
    start: usize,
}

impl Aligned {
    fn new() -> Self {
        let bytes = vec![0; PIECE + BLOCK];
        let start = bytes.as_ptr().align_offset(BLOCK);
        Self { bytes, start }
    }

    fn get(&mut self, length: usize) -> io::Result<&mut [u8]> {
        self.bytes
            .get_mut(self.start..)
            .and_then(|aligned| aligned.get_mut(..length))
            .ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_bounded() {
        let mut buffer = Aligned::new();
        let slice = buffer.get(PIECE).expect("the largest piece");
        assert_eq!(slice.as_ptr().align_offset(BLOCK), 0);
        assert!(buffer.get(PIECE + BLOCK + 1).is_err());
    }
}
