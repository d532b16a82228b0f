//! What the sled is made of, read from sysfs and procfs. Only real disks are
//! listed: memory disks, loops and mappings have no device behind them.

use std::fs;
use std::io;
use std::path::Path;

use messages::{Disk, Firmware, Inventory};

use crate::console::uptime_ms;

/// Longest text of a disk or board that is reported, in bytes.
const MAX_TEXT_BYTES: usize = 64;

/// The whole sled.
///
/// # Errors
/// `/sys/block` cannot be read.
pub(crate) fn take() -> io::Result<Inventory> {
    let uname = rustix::system::uname();
    let efi = Path::new("/sys/firmware/efi").exists();
    Ok(Inventory {
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: uname.release().to_string_lossy().into_owned(),
        firmware: if efi { Firmware::Uefi } else { Firmware::Bios },
        cpus: std::thread::available_parallelism()
            .ok()
            .and_then(|count| u32::try_from(count.get()).ok())
            .unwrap_or(1),
        memory_mib: memory_mib(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
        product: text(Path::new("/sys/class/dmi/id/product_name")),
        disks: disks()?,
        uptime_ms: uptime_ms(),
    })
}

fn memory_mib(meminfo: &str) -> u64 {
    meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib / 1024)
}

/// Every local disk, by name.
///
/// # Errors
/// `/sys/block` cannot be read.
pub(crate) fn disks() -> io::Result<Vec<Disk>> {
    let mut disks = Vec::new();
    for entry in fs::read_dir("/sys/block")? {
        let entry = entry?;
        let (name, folder) = (entry.file_name(), entry.path());
        if let Some(name) = name.to_str()
            && is_disk(name, &folder)
        {
            disks.extend(disk(name, &folder));
        }
    }
    disks.sort_by(|a: &Disk, b: &Disk| a.name.cmp(&b.name));
    Ok(disks)
}

fn is_disk(name: &str, folder: &Path) -> bool {
    // Optical and floppy drives hold nothing that a job could leave behind in
    // the sled itself. A hidden device is one path of a multipath NVMe disk,
    // which is listed under its own name.
    let drive = name.starts_with("sr") || name.starts_with("fd");
    folder.join("device").exists() && !drive && text(&folder.join("hidden")) != "1"
}

fn disk(name: &str, folder: &Path) -> Option<Disk> {
    let sectors: u64 = text(&folder.join("size")).parse().ok()?;
    // A card reader without a card.
    if sectors == 0 {
        return None;
    }
    let serial = ["serial", "device/serial", "device/vpd_pg80"]
        .iter()
        .map(|file| text(&folder.join(file)))
        .find(|serial| !serial.is_empty());
    Some(Disk {
        name: name.to_owned(),
        model: text(&folder.join("device/model")),
        serial: serial.unwrap_or_default(),
        // sysfs counts in sectors of 512 bytes, whatever the disk has.
        bytes: sectors.saturating_mul(512),
    })
}

/// A sysfs attribute: printable ASCII only, empty when there is none. Disks
/// are not trusted to tell sane text, and SCSI page 80h begins with a header.
pub(crate) fn text(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let printable = bytes
        .iter()
        .filter(|byte| byte.is_ascii_graphic() || **byte == b' ')
        .take(MAX_TEXT_BYTES)
        .map(|byte| char::from(*byte));
    printable.collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_mib() {
        let check = |text: &str, expect: u64| assert_eq!(memory_mib(text), expect, "{text}");
        check("MemTotal:        2048000 kB\nMemFree: 1 kB\n", 2000);
        check("MemFree: 1 kB\n", 0);
        check("MemTotal: many\n", 0);
    }
}
