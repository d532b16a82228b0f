//! What a lab writes down, so that its BMCs, its warden and later commands
//! find it again. Passwords stay in files of their own.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::acceleration::Accelerator;
use crate::config::{DiskBus, Firmware};
use crate::namespace::Namespace;
use crate::process::{Process, now_ms, replace_file};

/// One lab, in `lab.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LabRecord {
    pub(crate) namespace: Namespace,
    pub(crate) accelerator: Accelerator,
    pub(crate) sleds: Vec<SledRecord>,
}

impl LabRecord {
    pub(crate) fn path(dir: &Path) -> PathBuf {
        dir.join("lab.json")
    }

    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let path = Self::path(dir);
        let text = fs::read_to_string(&path)
            .with_context(|| format!("there is no lab in {}", dir.display()))?;
        serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).context("encode the lab's record")?;
        replace_file(&Self::path(dir), &text, 0o644)
    }
}

/// One sled, in `sled-NN/sled.json`: all that starting its machine takes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SledRecord {
    pub(crate) name: String,
    pub(crate) number: u8,
    pub(crate) mac: String,
    pub(crate) tap: String,
    pub(crate) firmware: Firmware,
    pub(crate) memory_mib: u32,
    pub(crate) cpus: u32,
    pub(crate) disk: DiskBus,
    pub(crate) accelerator: Accelerator,
    pub(crate) extra_arguments: Vec<String>,
    pub(crate) bmc_port: u16,
    pub(crate) bmc_username: String,
}

/// What others need to know of a sled, for instance to write an inventory.
#[derive(Clone, Debug, Serialize)]
pub struct LabSled {
    /// `sled-01`, `sled-02`, …
    pub name: String,
    /// Its MAC address, lower case with colons.
    pub mac: String,
    /// Its firmware.
    pub firmware: Firmware,
    /// Its BMC's `address:port`, reachable inside the namespace only. The BMC
    /// speaks IPMI 2.0 with cipher suites 0, 1 and 3.
    pub bmc_address: String,
    /// The BMC's user, with administrator rights.
    pub bmc_username: String,
    /// The file (mode 0600) with that user's password, without a newline.
    pub bmc_password_path: PathBuf,
    /// The raw image of its disk.
    pub disk_path: PathBuf,
    /// What its serial console wrote, over all boots.
    pub console_path: PathBuf,
    /// The socket of that console while the machine is on: what is written to
    /// it is typed there.
    pub console_socket_path: PathBuf,
    /// Commands that its BMC gave and what QEMU did, one per line:
    /// `MILLISECONDS set power 1`, `… started`, `… exited …`.
    pub power_log_path: PathBuf,
}

/// The files of one sled.
#[derive(Clone, Debug)]
pub(crate) struct SledDir(pub(crate) PathBuf);

impl SledDir {
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn record(&self) -> Result<SledRecord> {
        let path = self.file("sled.json");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))
    }

    /// The machine, if it runs.
    pub(crate) fn machine(&self) -> Option<Process> {
        Process::read(&self.file("qemu.pid")).filter(|process| process.is_alive())
    }

    /// Present once the lab is being taken down: nothing may start any more.
    pub(crate) fn closed(&self) -> PathBuf {
        self.file("closed")
    }

    /// Appends one line to the power log. A line is one write in append mode,
    /// so lines of several processes never mix.
    pub(crate) fn log_power(&self, what: &str) -> Result<()> {
        let line = format!("{} {what}\n", now_ms());
        let path = self.file("power.log");
        File::options()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .with_context(|| format!("append to {}", path.display()))
    }

    /// Takes a lock that lasts as long as the value.
    pub(crate) fn lock(&self, name: &str) -> Result<File> {
        let path = self.file(name);
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        file.lock()
            .with_context(|| format!("lock {}", path.display()))?;
        Ok(file)
    }

    /// What others need to know.
    pub(crate) fn describe(&self, record: &SledRecord) -> LabSled {
        LabSled {
            name: record.name.clone(),
            mac: record.mac.clone(),
            firmware: record.firmware,
            bmc_address: format!("127.0.0.1:{}", record.bmc_port),
            bmc_username: record.bmc_username.clone(),
            bmc_password_path: self.file("bmc-password"),
            disk_path: self.file("disk.raw"),
            console_path: self.file("console.log"),
            console_socket_path: self.file("console.sock"),
            power_log_path: self.file("power.log"),
        }
    }
}
