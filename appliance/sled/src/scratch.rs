//! Scratch space: ext4 on dm-crypt, with a key that exists only in this
//! boot's memory. Nothing written here can be read once the power is off.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::process::{Command, Stdio};

use messages::{Disk, Scratch};
use ring::rand::{SecureRandom, SystemRandom};
use rustix::mount::{MountFlags, mount};
use zeroize::Zeroizing;

use crate::ioctls;

/// Where scratch is mounted.
pub(crate) const SCRATCH: &str = "/scratch";

const CIPHER: &str = "aes-xts-plain64";
const MAPPING: &str = "musher-scratch";
/// XTS takes two AES-256 keys.
const KEY_BYTES: usize = 64;
/// What ext4 is made with: no journal, no room to grow.
const FEATURES: &str = "none,sparse_super,large_file,filetype,dir_index,ext_attr,extent,\
                        huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize";
/// dm-crypt works in units of this many sectors of 512 bytes: 4 KiB costs far
/// less than 512 bytes, and ext4 never writes less.
const UNIT_SECTORS: u64 = 8;

/// Why there is no scratch space.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScratchError {
    /// No randomness for the key.
    #[error("cannot make a key for scratch")]
    Key,
    /// dm-crypt could not be set up.
    #[error("cannot set up dm-crypt on {disk}")]
    Crypt {
        /// The disk.
        disk: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// mke2fs did not start.
    #[error("cannot run /sbin/mke2fs")]
    MakeStart(#[source] io::Error),
    /// mke2fs failed.
    #[error("mke2fs failed ({status}): {said}")]
    Make {
        /// How it ended.
        status: std::process::ExitStatus,
        /// Its last words.
        said: String,
    },
    /// Scratch could not be mounted.
    #[error("cannot mount {SCRATCH}")]
    Mount(#[source] io::Error),
}

/// Sets up scratch on the largest of `disks`, or in memory when there is none.
///
/// # Errors
/// See [`ScratchError`]: a disk that fails is no reason to fall back to memory.
pub(crate) fn set_up(disks: &[Disk]) -> Result<Scratch, ScratchError> {
    fs::create_dir_all(SCRATCH).map_err(ScratchError::Mount)?;
    let largest = disks.iter().max_by_key(|disk| disk.bytes);
    let (cipher, disk) = match largest {
        Some(disk) => {
            let device = encrypt(disk)?;
            make_file_system(&device)?;
            // Nothing here outlives the boot, so nothing is flushed for it.
            let data = c"nobarrier,noinit_itable";
            mount(device, SCRATCH, "ext4", MountFlags::NOATIME, data)
                .map_err(|error| ScratchError::Mount(error.into()))?;
            (CIPHER, Some(disk.name.clone()))
        }
        None => {
            let data = c"mode=0755,size=75%";
            mount("tmpfs", SCRATCH, "tmpfs", MountFlags::NOATIME, data)
                .map_err(|error| ScratchError::Mount(error.into()))?;
            ("none", None)
        }
    };
    let space = rustix::fs::statvfs(SCRATCH).map_err(|error| ScratchError::Mount(error.into()))?;
    Ok(Scratch {
        cipher: cipher.to_owned(),
        disk,
        bytes: space.f_blocks.saturating_mul(space.f_frsize),
    })
}

fn encrypt(disk: &Disk) -> Result<String, ScratchError> {
    let mut key = Zeroizing::new([0u8; KEY_BYTES]);
    SystemRandom::new()
        .fill(key.as_mut_slice())
        .map_err(|_| ScratchError::Key)?;
    let parameters = table(key.as_slice(), &disk.name);
    let sectors = disk.bytes / 512 / UNIT_SECTORS * UNIT_SECTORS;
    let minor = File::options()
        .read(true)
        .write(true)
        .open("/dev/mapper/control")
        .and_then(|control| ioctls::create_crypt(&control, MAPPING, sectors, &parameters))
        .map_err(|source| ScratchError::Crypt {
            disk: disk.name.clone(),
            source,
        })?;
    Ok(format!("/dev/dm-{minor}"))
}

/// A dm-crypt table line (Documentation/admin-guide/device-mapper/dm-crypt.rst).
fn table(key: &[u8], disk: &str) -> Zeroizing<String> {
    // Reserved in full, so that growth leaves no copy of the key behind.
    let mut line = Zeroizing::new(String::with_capacity(512));
    line.push_str(CIPHER);
    line.push(' ');
    for byte in key {
        let _ = write!(line, "{byte:02x}");
    }
    let _ = write!(line, " 0 /dev/{disk} 0 2 sector_size:4096 iv_large_sectors");
    line
}

fn make_file_system(device: &str) -> Result<(), ScratchError> {
    let output = Command::new("/sbin/mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-m", "0"])
        // A journal protects what outlives a crash; nothing does. The disk was
        // discarded a moment ago, and inode tables are zeroed as they are used.
        // Features are named in full: there may be no mke2fs.conf to name them,
        // and without metadata_csum every inode table is written.
        .args(["-O", FEATURES])
        .args(["-E", "lazy_itable_init=1,nodiscard"])
        .arg(device)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .map_err(ScratchError::MakeStart)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(ScratchError::Make {
        status: output.status,
        said: said.chars().take(300).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_the_whole_key_and_fits() {
        let line = table(&[0xa5; KEY_BYTES], "nvme0n1");
        assert!(line.starts_with("aes-xts-plain64 a5a5"));
        assert!(line.ends_with(" 0 /dev/nvme0n1 0 2 sector_size:4096 iv_large_sectors"));
        assert_eq!(line.matches("a5").count(), KEY_BYTES);
        assert!(line.len() < 512);
    }
}
