//! Brings a lab up, finds one again, and takes it down.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use crate::acceleration::{self, Accelerator};
use crate::config::{LabConfig, MOST_SLEDS, SledConfig};
use crate::direct::{self, DirectBoot, DirectBootReport};
use crate::namespace::Namespace;
use crate::process::wait_until;
use crate::record::{LabRecord, LabSled, SledDir, SledRecord};
use crate::{APPLIANCE_ADDRESS, BRIDGE, bmc, chassis, qemu};

const BMC_USERNAME: &str = "musher";
const FIRST_BMC_PORT: u16 = 9001;
/// How long processes of the lab get to end by themselves after their sleds.
const GRACE: Duration = Duration::from_millis(500);

/// A rack that is up. Dropping it takes it down, unless it was brought up to
/// be kept or was only [opened](Self::open).
#[derive(Debug)]
pub struct Lab {
    dir: PathBuf,
    record: LabRecord,
    warden: Option<Child>,
    simulators: Vec<Child>,
    owned: bool,
}

/// What is true of one sled now.
#[derive(Clone, Debug, Serialize)]
pub struct SledStatus {
    /// The sled.
    #[serde(flatten)]
    pub sled: LabSled,
    /// Whether its machine runs.
    pub on: bool,
}

impl Lab {
    /// Brings a lab up: namespace, bridge, taps, and a BMC per sled. All sleds
    /// are off.
    ///
    /// # Errors
    /// A lab that is up in this directory already, a missing program, or no
    /// right to make a namespace. What was made until then is taken down.
    pub fn up(config: &LabConfig) -> Result<Self> {
        ensure!(
            config.sleds.len() <= MOST_SLEDS,
            "a lab holds {MOST_SLEDS} sleds at most"
        );
        fs::create_dir_all(&config.dir)
            .with_context(|| format!("make directory {}", config.dir.display()))?;
        let dir = config
            .dir
            .canonicalize()
            .context("find the lab's directory")?;
        if let Ok(before) = LabRecord::read(&dir) {
            ensure!(
                !before.namespace.exists(),
                "a lab is up in {0}; `musher-lab down --dir {0}` takes it down",
                dir.display()
            );
        }
        let lab_binary = find_lab_binary(config.lab_binary.as_deref())?;
        let kernel = config.probe_kernel.as_deref();
        let accelerator = acceleration::choose(config.acceleration, kernel, &dir)?;
        let sleds: Vec<_> = (1..=u8::MAX)
            .zip(&config.sleds)
            .map(|(number, sled)| sled_record(number, sled, accelerator))
            .collect();
        let namespace = Namespace::create(config.mode)?;
        let record = LabRecord {
            namespace,
            accelerator,
            sleds,
        };
        // From here on dropping the value cleans up.
        let mut lab = Self {
            dir,
            record,
            warden: None,
            simulators: Vec::new(),
            owned: true,
        };
        lab.record.write(&lab.dir)?;
        if !config.keep {
            lab.warden = Some(start_warden(&lab_binary, &lab.dir)?);
        }
        lab.record
            .namespace
            .configure(&network(&lab.record.sleds))?;
        for (sled, wish) in lab.record.sleds.clone().iter().zip(&config.sleds) {
            let folder = lab.folder(sled);
            prepare_sled(&folder, sled, wish.disk_mib)?;
            bmc::prepare(&lab_binary, &folder, sled)?;
            let simulator = bmc::start(&lab.record.namespace, &folder, sled)?;
            lab.simulators.push(simulator);
        }
        lab.owned = !config.keep;
        Ok(lab)
    }

    /// Finds a lab that is up; dropping the value leaves it up.
    ///
    /// # Errors
    /// No lab in this directory, or one that is no longer up.
    pub fn open(dir: &Path) -> Result<Self> {
        let record = LabRecord::read(dir)?;
        let dir = dir.canonicalize().context("find the lab's directory")?;
        ensure!(
            record.namespace.exists(),
            "the lab in {} is down",
            dir.display()
        );
        Ok(Self {
            dir,
            record,
            warden: None,
            simulators: Vec::new(),
            owned: false,
        })
    }

    /// A command that runs `program` inside the lab's network, where the
    /// appliance's address and the BMCs are. The spawned child is the program
    /// itself, so killing the child kills it. It ends with the lab.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.record.namespace.command(program)
    }

    /// The sleds, in order of their numbers.
    pub fn sleds(&self) -> Vec<LabSled> {
        self.record
            .sleds
            .iter()
            .map(|sled| self.folder(sled).describe(sled))
            .collect()
    }

    /// What is true of each sled now.
    pub fn status(&self) -> Vec<SledStatus> {
        self.record
            .sleds
            .iter()
            .map(|sled| {
                let folder = self.folder(sled);
                SledStatus {
                    sled: folder.describe(sled),
                    on: folder.machine().is_some(),
                }
            })
            .collect()
    }

    /// Whether guests run under KVM.
    pub fn has_kvm(&self) -> bool {
        self.record.accelerator == Accelerator::Kvm
    }

    /// The lab's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Boots a kernel directly on the hardware of one sled (numbered from 1),
    /// past firmware and network: the floor that netboot is measured against.
    ///
    /// # Errors
    /// A sled that is on or absent, QEMU that does not start, or a guest that
    /// does not print the awaited text in time.
    pub fn direct_boot(&self, number: u8, boot: &DirectBoot) -> Result<DirectBootReport> {
        let sled = self
            .record
            .sleds
            .iter()
            .find(|sled| sled.number == number)
            .with_context(|| format!("the lab has no sled {number}"))?;
        let folder = self.folder(sled);
        let _alone = folder.lock("chassis.lock")?;
        ensure!(folder.machine().is_none(), "{} is on", sled.name);
        let mut command = self.command(qemu::PROGRAM);
        command.current_dir(&folder.0);
        direct::run(command, &direct::sled_arguments(sled), boot)
    }

    /// Takes the lab down now and says what failed, if anything did.
    ///
    /// # Errors
    /// A process that does not end, or a namespace that cannot be deleted.
    pub fn down(mut self) -> Result<()> {
        self.owned = false;
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let done = take_down(&self.dir);
        for mut simulator in self.simulators.drain(..) {
            let _ = simulator.wait();
        }
        if let Some(mut warden) = self.warden.take() {
            drop(warden.stdin.take());
            let _ = warden.wait();
        }
        done
    }

    fn folder(&self, sled: &SledRecord) -> SledDir {
        SledDir(self.dir.join(&sled.name))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.owned
            && let Err(error) = self.end()
        {
            eprintln!("musher-lab: {error:#}");
        }
    }
}

/// Takes the lab in this directory down, whoever brought it up: no machine,
/// simulator or other process of its namespace stays. Disks and logs do. A lab
/// that is down already is left as it is.
///
/// # Errors
/// No lab was ever here, a process that does not end, or a namespace that
/// cannot be deleted.
pub fn take_down(dir: &Path) -> Result<()> {
    let record = LabRecord::read(dir)?;
    let dir = dir.canonicalize().context("find the lab's directory")?;
    let dir = dir.as_path();
    let alone = SledDir(dir.to_path_buf());
    let _alone = alone.lock("down.lock")?;
    let namespace = &record.namespace;
    if !namespace.exists() {
        return Ok(());
    }
    for sled in &record.sleds {
        let folder = SledDir(dir.join(&sled.name));
        if !folder.0.exists() {
            continue;
        }
        // Under the chassis's lock no start is under way, and after the mark
        // none begins.
        let _quiet = folder.lock("chassis.lock")?;
        let mark = folder.closed();
        File::create(&mark).with_context(|| format!("create {}", mark.display()))?;
        chassis::stop(&folder)?;
    }
    wait_until(GRACE, || {
        namespace.members().is_empty() || {
            // BMC simulators ignore every gentler signal.
            kill_simulators(namespace, dir);
            false
        }
    });
    // A process may be forking: look again until none is left.
    let gone = wait_until(Duration::from_secs(10), || {
        let members = namespace.members();
        members.iter().for_each(|process| process.kill());
        members.is_empty()
    });
    ensure!(
        gone,
        "some processes of the lab in {} do not end",
        dir.display()
    );
    namespace.destroy()
}

fn kill_simulators(namespace: &Namespace, dir: &Path) {
    for process in namespace.members() {
        let number = process.number();
        let here =
            fs::read_link(format!("/proc/{number}/cwd")).is_ok_and(|cwd| cwd.starts_with(dir));
        let name = fs::read_to_string(format!("/proc/{number}/comm")).unwrap_or_default();
        if here && name.trim() == "ipmi_sim" {
            process.kill();
        }
    }
}

/// The namespace's network, as commands for `ip -batch`.
fn network(sleds: &[SledRecord]) -> String {
    // The bridge keeps one address as ports come and go, forwards at once, and
    // has a link-local IPv6 address without the delay of duplicate detection:
    // router advertisements must come from one (RFC 4861 section 6.1.2).
    let mut lines = format!(
        "link set lo up\n\
         link add {BRIDGE} address 02:77:00:00:00:01 type bridge stp_state 0 forward_delay 0\n\
         link set {BRIDGE} addrgenmode none\n\
         address add {APPLIANCE_ADDRESS} dev {BRIDGE}\n\
         link set {BRIDGE} up\n\
         address add fe80::1/64 dev {BRIDGE} nodad\n"
    );
    for SledRecord { tap, .. } in sleds {
        lines += &format!(
            "tuntap add dev {tap} mode tap\n\
             link set {tap} addrgenmode none\n\
             link set {tap} master {BRIDGE} up\n"
        );
    }
    lines
}

fn sled_record(number: u8, wish: &SledConfig, accelerator: Accelerator) -> SledRecord {
    SledRecord {
        name: format!("sled-{number:02}"),
        number,
        mac: format!("52:54:00:77:00:{number:02x}"),
        tap: format!("tap{number:02}"),
        firmware: wish.firmware,
        memory_mib: wish.memory_mib,
        cpus: wish.cpus,
        disk: wish.disk,
        accelerator,
        extra_arguments: wish.extra_arguments.clone(),
        bmc_port: FIRST_BMC_PORT + u16::from(number) - 1,
        bmc_username: BMC_USERNAME.to_owned(),
    }
}

/// Makes the sled's directory, and its disk unless one of that size is there.
fn prepare_sled(folder: &SledDir, sled: &SledRecord, disk_mib: u64) -> Result<()> {
    fs::create_dir_all(&folder.0)
        .with_context(|| format!("make directory {}", folder.0.display()))?;
    for stale in ["closed", "boot", "qemu.pid"] {
        let _ = fs::remove_file(folder.file(stale));
    }
    let disk = folder.file("disk.raw");
    let bytes = disk_mib.saturating_mul(1024 * 1024);
    if fs::metadata(&disk).map_or(true, |meta| meta.len() != bytes) {
        File::create(&disk)
            .and_then(|file| file.set_len(bytes))
            .with_context(|| format!("make the disk {}", disk.display()))?;
    }
    qemu::prepare_firmware(&folder.0, sled.firmware)?;
    let text = serde_json::to_vec_pretty(sled).context("encode the sled's record")?;
    crate::process::replace_file(&folder.file("sled.json"), &text, 0o644)
}

fn start_warden(lab_binary: &Path, dir: &Path) -> Result<Child> {
    Command::new(lab_binary)
        .arg("warden")
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
        .with_context(|| format!("start the lab's warden {}", lab_binary.display()))
}

/// The `musher-lab` binary: given, or the running program, or beside it, or
/// one above it (where cargo puts tests).
fn find_lab_binary(given: Option<&Path>) -> Result<PathBuf> {
    const NAME: &str = "musher-lab";
    let me = std::env::current_exe().context("find the running program")?;
    let candidates: BTreeSet<(usize, PathBuf)> = match given {
        Some(given) => [(0, given.to_path_buf())].into(),
        None => me
            .ancestors()
            .skip(1)
            .take(2)
            .enumerate()
            .map(|(order, folder)| (order, folder.join(NAME)))
            .collect(),
    };
    candidates
        .into_iter()
        .map(|(_, path)| path)
        .find(|path| path.is_file())
        .and_then(|path| path.canonicalize().ok())
        .with_context(|| format!("cannot find {NAME}; run `cargo build -p musher-lab`"))
}
