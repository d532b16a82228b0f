//! The first moments: kernel file systems and modules. A module that does not
//! load is told and passed over: the hardware it drives may not be there.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::system::{finit_module, uname};

use crate::console::say;

/// Module files in load order, one path per line, relative to
/// `/lib/modules/<release>`. The packer of the initramfs writes it.
const MODULE_LIST: &str = "/etc/musher/modules";

/// `MODULE_INIT_COMPRESSED_FILE` of linux/module.h: the kernel unpacks.
const COMPRESSED_FILE: i32 = 4;

/// A kernel file system that could not be mounted.
#[derive(Debug, thiserror::Error)]
#[error("cannot mount {kind} on {target}")]
pub(crate) struct MountError {
    kind: &'static str,
    target: String,
    source: io::Error,
}

/// A kernel file system and where it belongs.
pub(crate) struct Mount {
    /// File system type.
    pub(crate) kind: &'static str,
    /// Mount point.
    pub(crate) target: &'static str,
    /// Flags.
    pub(crate) flags: MountFlags,
    /// Options of the file system.
    pub(crate) data: Option<&'static CStr>,
}

const SAFE: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NOEXEC)
    .union(MountFlags::NODEV);

const MOUNTS: [Mount; 4] = [
    Mount {
        kind: "proc",
        target: "/proc",
        flags: SAFE,
        data: None,
    },
    Mount {
        kind: "sysfs",
        target: "/sys",
        flags: SAFE,
        data: None,
    },
    Mount {
        kind: "devtmpfs",
        target: "/dev",
        flags: MountFlags::NOSUID,
        data: None,
    },
    Mount {
        kind: "tmpfs",
        target: "/run",
        flags: SAFE,
        data: Some(c"mode=0755"),
    },
];

/// What a job finds in its root. `/sys` is read-only: nothing in it is a
/// boundary against root, but scripts take a writable one for a host.
pub(crate) const JOB_MOUNTS: [Mount; 6] = [
    Mount {
        kind: "proc",
        target: "/proc",
        flags: SAFE,
        data: None,
    },
    Mount {
        kind: "sysfs",
        target: "/sys",
        flags: SAFE.union(MountFlags::RDONLY),
        data: None,
    },
    Mount {
        kind: "devtmpfs",
        target: "/dev",
        flags: MountFlags::NOSUID,
        data: None,
    },
    Mount {
        kind: "devpts",
        target: "/dev/pts",
        flags: MountFlags::NOSUID.union(MountFlags::NOEXEC),
        data: Some(c"mode=0620,gid=5,ptmxmode=0666"),
    },
    Mount {
        kind: "tmpfs",
        target: "/dev/shm",
        flags: MountFlags::NOSUID.union(MountFlags::NODEV),
        data: Some(c"mode=1777"),
    },
    Mount {
        kind: "tmpfs",
        target: "/run",
        flags: MountFlags::NOSUID.union(MountFlags::NODEV),
        data: Some(c"mode=0755"),
    },
];

/// Mounts a kernel file system below `root`, making the mount point.
///
/// # Errors
/// The mount point cannot be made, or the kernel refuses.
pub(crate) fn mount_below(root: &Path, entry: &Mount) -> Result<(), MountError> {
    let target = root.join(entry.target.trim_start_matches('/'));
    fs::create_dir_all(&target)
        .and_then(|()| {
            Ok(mount(
                entry.kind,
                &target,
                entry.kind,
                entry.flags,
                entry.data,
            )?)
        })
        .map_err(|source| MountError {
            kind: entry.kind,
            target: target.display().to_string(),
            source,
        })
}

/// Mounts what the agent itself needs.
///
/// # Errors
/// The first file system that does not mount.
pub(crate) fn mount_all() -> Result<(), MountError> {
    MOUNTS
        .iter()
        .try_for_each(|entry| mount_below(Path::new("/"), entry))
}

/// Loads every listed module. Returning from the last one also means that the
/// kernel has probed the disks it found so far: `do_init_module` ends with
/// `async_synchronize_full` (kernel/module/main.c).
pub(crate) fn load_modules() {
    let release = uname().release().to_string_lossy().into_owned();
    let folder = PathBuf::from("/lib/modules").join(release);
    let list = match fs::read_to_string(MODULE_LIST) {
        Ok(list) => list,
        Err(error) => return say!("cannot read {MODULE_LIST}: {error}"),
    };
    let mut loaded = 0u32;
    for name in list.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match load(&folder.join(name)) {
            Ok(()) => loaded += 1,
            Err(error) => say!("cannot load module {name}: {error}"),
        }
    }
    say!("{loaded} modules loaded");
}

fn load(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    let packed = path.extension().is_some_and(|extension| extension != "ko");
    let flags = if packed { COMPRESSED_FILE } else { 0 };
    match finit_module(&file, &CString::default(), flags) {
        // Built in, or loaded already; or a driver whose device is not there.
        Ok(()) | Err(Errno::EXIST | Errno::NODEV) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
