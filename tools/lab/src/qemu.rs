//! The QEMU command line of a sled. It decides nothing at run time: the same
//! record and boot device give the same arguments.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::config::{DiskBus, Firmware};
use crate::record::SledRecord;

/// The emulator.
pub(crate) const PROGRAM: &str = "qemu-system-x86_64";
/// OVMF as Debian and Ubuntu install it (package ovmf).
pub(crate) const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const OVMF_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// What the machine tries first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// The network card.
    Network,
    /// The local disk, as the BMC's boot override may ask.
    Disk,
}

/// Everything that makes the machine but for its boot source. Paths are
/// relative to the sled's directory, in which QEMU runs.
pub(crate) fn machine_arguments(sled: &SledRecord, first: First) -> Vec<String> {
    let (network_index, disk_index) = match first {
        First::Network => (1, 2),
        First::Disk => (2, 1),
    };
    let mut list = Arguments::default();
    list.add(
        "-name",
        format!("{},process=musher-{}", sled.name, sled.name),
    );
    list.add("-machine", "q35,graphics=off");
    list.0.extend(
        sled.accelerator
            .arguments()
            .iter()
            .map(|word| (*word).to_owned()),
    );
    list.add("-m", sled.memory_mib.to_string());
    list.add("-smp", sled.cpus.to_string());
    list.0.push("-nodefaults".to_owned());
    list.add("-display", "none");
    // A guest that restarts itself ends here instead: one boot per power-on.
    list.0.push("-no-reboot".to_owned());
    list.add(
        "-chardev",
        "socket,id=console,path=console.sock,server=on,wait=off,logfile=console.log,logappend=on",
    );
    list.add("-serial", "chardev:console");
    list.add("-qmp", "unix:qmp.sock,server=on,wait=off");
    list.add(
        "-netdev",
        format!("tap,id=net,ifname={},script=no,downscript=no", sled.tap),
    );
    // With its ROM taken away the card is left to OVMF's own PXE client.
    let rom = if sled.firmware == Firmware::Uefi {
        ",romfile="
    } else {
        ""
    };
    list.add(
        "-device",
        format!(
            "virtio-net-pci,netdev=net,mac={},bootindex={network_index}{rom}",
            sled.mac
        ),
    );
    list.add(
        "-drive",
        "if=none,id=disk,file=disk.raw,format=raw,discard=unmap,detect-zeroes=off",
    );
    let bus = match sled.disk {
        DiskBus::Virtio => "virtio-blk-pci",
        DiskBus::Nvme => "nvme",
    };
    list.add(
        "-device",
        format!(
            "{bus},drive=disk,serial=musher-disk-{:02},bootindex={disk_index}",
            sled.number
        ),
    );
    list.add("-device", "virtio-rng-pci");
    if sled.firmware == Firmware::Uefi {
        list.add(
            "-drive",
            format!("if=pflash,format=raw,unit=0,readonly=on,file={OVMF_CODE}"),
        );
        list.add("-drive", "if=pflash,format=raw,unit=1,file=uefi-vars.fd");
    }
    list.0.extend(sled.extra_arguments.iter().cloned());
    list.0
}

/// The command that starts the machine, to be run inside the namespace.
pub(crate) fn command(dir: &Path, sled: &SledRecord, first: First) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(machine_arguments(sled, first))
        .current_dir(dir);
    command
}

/// Gives a UEFI sled variables of its own, once: they persist like a disk.
pub(crate) fn prepare_firmware(dir: &Path, firmware: Firmware) -> Result<()> {
    let variables = dir.join("uefi-vars.fd");
    if firmware == Firmware::Uefi && !variables.exists() {
        std::fs::copy(OVMF_VARIABLES, &variables)
            .with_context(|| format!("copy {OVMF_VARIABLES}; install the package ovmf"))?;
    }
    Ok(())
}

#[derive(Default)]
struct Arguments(Vec<String>);

impl Arguments {
    fn add(&mut self, option: &str, value: impl Into<String>) {
        self.0.push(option.to_owned());
        self.0.push(value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::{First, machine_arguments};
    use crate::acceleration::Accelerator;
    use crate::config::{DiskBus, Firmware};
    use crate::record::SledRecord;

    fn sled(firmware: Firmware) -> SledRecord {
        SledRecord {
            name: "sled-03".into(),
            number: 3,
            mac: "52:54:00:77:00:03".into(),
            tap: "tap03".into(),
            firmware,
            memory_mib: 512,
            cpus: 1,
            disk: DiskBus::Nvme,
            accelerator: Accelerator::Tcg,
            extra_arguments: vec!["-S".into()],
            bmc_port: 9003,
            bmc_username: "musher".into(),
        }
    }

    #[test]
    fn boot_order_and_rom_follow_firmware_and_override() {
        let check = |firmware, first, expect: &[&str], absent: &str| {
            let line = machine_arguments(&sled(firmware), first).join(" ");
            for part in expect {
                assert!(line.contains(part), "{part} is not in {line}");
            }
            assert!(!line.contains(absent), "{absent} is in {line}");
        };
        let bios = [
            "mac=52:54:00:77:00:03,bootindex=1 ",
            "nvme,drive=disk",
            "accel tcg",
        ];
        check(Firmware::Bios, First::Network, &bios, "pflash");
        check(
            Firmware::Bios,
            First::Disk,
            &["disk-03,bootindex=1", "bootindex=2"],
            "romfile",
        );
        check(
            Firmware::Uefi,
            First::Network,
            &["bootindex=1,romfile=", "unit=1", "-S"],
            "kvm",
        );
    }
}
