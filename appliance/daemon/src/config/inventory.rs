//! `inventory.toml`: pools, sleds and images.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use control::{AcceptanceSpec, BootImage, Inventory, PoolSpec, Scope, SledSpec};
use messages::{Assurance, Digest, ImageRef, Mac};
use protocols::dhcp::MacAddress;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::{admin::hex, console::SerialDevice, releases::Version};

use super::{
    Config, ConfigError,
    gpio::{LazyLines, check_each_line_once},
    parse_toml,
    policy::{self, WireCircuit, WirePolicy, WireWarm},
    power::{self, DriverConfig, WireConsole, WirePower},
    read_text,
};

/// A netboot image: what a pool's sleds boot, and what their jobs run in.
#[derive(Clone, Debug)]
pub struct Image {
    /// Name.
    pub name: String,
    /// Kernel file.
    pub kernel: PathBuf,
    /// Initramfs file, with the agent in it.
    pub initramfs: PathBuf,
    /// The runner's root filesystem, squashfs.
    pub rootfs: PathBuf,
    /// Added to the kernel's command line.
    pub cmdline: String,
    /// What these files are.
    pub digests: BootImage,
    /// The version of GitHub's runner in the root filesystem, if it is recorded.
    pub runner_version: Option<Version>,
    /// Which files they were when their digests were taken.
    stamps: [FileStamp; 3],
}

/// Tells whether a file is the one it was: device, inode, size and time of
/// change in nanoseconds.
type FileStamp = (u64, u64, u64, i128);

fn stamp(path: &Path) -> std::io::Result<FileStamp> {
    let meta = std::fs::metadata(path)?;
    let changed = i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec());
    Ok((meta.dev(), meta.ino(), meta.size(), changed))
}

impl Image {
    /// Whether its files are still those whose digests were taken.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        [&self.kernel, &self.initramfs, &self.rootfs]
            .into_iter()
            .zip(&self.stamps)
            .all(|(path, was)| stamp(path).is_ok_and(|is| is == *was))
    }
}

/// How a sled is powered.
#[derive(Debug)]
pub struct SledPower {
    /// The sled's name.
    pub sled: String,
    /// Its driver.
    pub driver: DriverConfig,
    /// The device of this machine that it speaks on.
    pub console: Option<SerialDevice>,
}

/// A checked inventory, and what only the shells need of it.
#[derive(Debug)]
pub struct LoadedInventory {
    /// The file it was read from, for messages.
    pub file: PathBuf,
    /// The text it was read from, kept so that the file may go.
    pub text: String,
    /// The folder its paths are relative to.
    pub base: PathBuf,
    /// What the core needs.
    pub inventory: Inventory,
    /// Power drivers by sled.
    pub power: Vec<SledPower>,
    /// Images by name.
    pub images: Vec<Image>,
    /// What may be so, but is better known: complete sentences.
    pub warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    #[serde(default)]
    pool: Vec<WirePool>,
    #[serde(default)]
    sled: Vec<WireSled>,
    #[serde(default)]
    image: Vec<WireImage>,
    #[serde(default)]
    circuit: Vec<WireCircuit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePool {
    name: String,
    github: String,
    scope: WireScope,
    labels: Vec<String>,
    image: String,
    max_runtime_s: Option<u64>,
    min_assurance: Option<String>,
    mint_scope: Option<String>,
    default: Option<bool>,
    priority: Option<i16>,
    min_sleds: Option<u32>,
    max_sleds: Option<u32>,
    max_per_repository: Option<u32>,
    weights: Option<BTreeMap<String, u32>>,
    warm: Option<WireWarm>,
    max_reruns: Option<u32>,
    group: Option<String>,
    #[serde(default)]
    public: Vec<String>,
    acceptance: Option<WireAcceptance>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireAcceptance {
    repository: String,
    workflow: String,
    #[serde(rename = "ref")]
    reference: String,
    inputs: BTreeMap<String, String>,
}

impl From<WireAcceptance> for AcceptanceSpec {
    fn from(wire: WireAcceptance) -> Self {
        Self {
            repository: wire.repository,
            workflow: wire.workflow,
            reference: wire.reference,
            inputs: wire.inputs.into_iter().collect(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireScope {
    org: Option<String>,
    repo: Option<String>,
    enterprise: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSled {
    name: String,
    pools: Vec<String>,
    mac: String,
    circuit: Option<String>,
    watts: Option<u32>,
    console: Option<WireConsole>,
    power: WirePower,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireImage {
    name: String,
    kernel: PathBuf,
    initramfs: PathBuf,
    rootfs: PathBuf,
    cmdline: Option<String>,
    runner_version: Option<String>,
}

/// What `musher-image runner` writes beside a root filesystem.
#[derive(Deserialize)]
struct Manifest {
    sha256: String,
    runner_version: String,
}

/// Longest run that GitHub allows a job on a self-hosted runner: 5 days.
const MAX_RUNTIME_S: u64 = 5 * 24 * 3600;

/// Reads and checks an inventory file.
///
/// # Errors
/// The first thing that is wrong.
pub fn load_inventory(config: &Config, file: &Path) -> Result<LoadedInventory, ConfigError> {
    let text = read_text(file)?;
    let base = file
        .parent()
        .unwrap_or_else(|| Path::new("."))
        .to_path_buf();
    let base = std::path::absolute(&base).unwrap_or(base);
    parse_inventory(config, file, text, base)
}

/// Checks an inventory's text, whose paths are relative to `base`.
///
/// # Errors
/// The first thing that is wrong; `file` is only named in messages.
pub fn parse_inventory(
    config: &Config,
    file: &Path,
    text: String,
    base: PathBuf,
) -> Result<LoadedInventory, ConfigError> {
    let wire: Wire = parse_toml(file, &text)?;
    let mut images: Vec<Image> = Vec::new();
    for (index, image) in wire.image.into_iter().enumerate() {
        if images.iter().any(|other| other.name == image.name) {
            let message = format!("\"{}\" is declared twice: rename one of them", image.name);
            return Err(ConfigError::value(
                file,
                format!("image[{index}].name"),
                message,
            ));
        }
        images.push(check_image(file, &base, index, image)?);
    }
    let mut pools = Vec::new();
    for (index, pool) in wire.pool.into_iter().enumerate() {
        pools.push(check_pool(config, file, &images, index, pool)?);
    }
    let mut sleds = Vec::new();
    let mut power = Vec::new();
    let (lines, warnings) = (LazyLines::default(), RefCell::default());
    let password_files = RefCell::default();
    for (index, sled) in wire.sled.into_iter().enumerate() {
        let key = format!("sled[{index}] \"{}\"", sled.name);
        let mac: Mac = sled.mac.parse().map_err(|_| {
            let message = format!(
                "mac \"{}\" is not six bytes such as 52:54:00:77:00:01",
                sled.mac
            );
            ConfigError::value(file, key.as_str(), message)
        })?;
        if !MacAddress::new(mac.0).is_unicast() {
            let message = format!("mac {mac} is no card's own: it is a group's, or zero");
            return Err(ConfigError::value(file, key.as_str(), message));
        }
        let place = power::Place {
            config,
            file,
            base: &base,
            key: &key,
            mac,
            lines: &lines,
            password_files: &password_files,
            warnings: &warnings,
        };
        let driver = place.check(sled.power)?;
        let console = sled
            .console
            .map(|wire| place.check_console(wire, &driver, &power));
        let console = console.transpose()?;
        power.push(SledPower {
            sled: sled.name.clone(),
            driver,
            console,
        });
        sleds.push(SledSpec {
            name: sled.name,
            mac,
            pools: sled.pools,
            circuit: sled.circuit,
            watts: sled.watts.unwrap_or(0),
        });
    }
    check_each_line_once(file, &power)?;
    power::mark_shared(&mut power, &password_files.into_inner());
    let hubs = config
        .github
        .iter()
        .map(|github| github.name.clone())
        .collect();
    let inventory = Inventory {
        hubs,
        pools,
        circuits: wire.circuit.into_iter().map(Into::into).collect(),
        sleds,
    };
    inventory
        .check()
        .map_err(|error| ConfigError::value(file, "inventory", error.to_string()))?;
    power::check_each_machine_once(file, &power)?;
    Ok(LoadedInventory {
        file: file.to_path_buf(),
        text,
        base,
        inventory,
        power,
        images,
        warnings: warnings.into_inner(),
    })
}

fn check_image(
    file: &Path,
    base: &Path,
    index: usize,
    wire: WireImage,
) -> Result<Image, ConfigError> {
    let digest = |key: &str, path: &Path| {
        digest_file(path).map_err(|error| {
            let key = format!("image[{index}].{key}");
            let message = format!("{} cannot be read: {error}", path.display());
            ConfigError::value(file, key, message)
        })
    };
    let (kernel, initramfs, rootfs) = (
        base.join(wire.kernel),
        base.join(wire.initramfs),
        base.join(wire.rootfs),
    );
    let cmdline = wire.cmdline.unwrap_or_default();
    if !cmdline.bytes().all(|b| (b' '..=b'~').contains(&b)) || cmdline.contains(['$', '{', '#']) {
        let message = "holds a character that a boot script cannot carry: use plain kernel options";
        return Err(ConfigError::value(
            file,
            format!("image[{index}].cmdline"),
            message,
        ));
    }
    let stamps = [stamp(&kernel), stamp(&initramfs), stamp(&rootfs)];
    let (kernel_digest, _) = digest("kernel", &kernel)?;
    let (initramfs_digest, _) = digest("initramfs", &initramfs)?;
    let (rootfs_digest, bytes) = digest("rootfs", &rootfs)?;
    let digests = BootImage {
        kernel: kernel_digest,
        initramfs: initramfs_digest,
        rootfs: ImageRef {
            name: wire.name.clone(),
            digest: rootfs_digest,
            bytes,
        },
    };
    let runner_version = match wire.runner_version {
        Some(text) => Some(text.parse::<Version>().map_err(|error| {
            let key = format!("image[{index}].runner_version");
            ConfigError::value(file, key, error.to_string())
        })?),
        None => recorded_version(&rootfs, rootfs_digest),
    };
    let [Ok(kernel_stamp), Ok(initramfs_stamp), Ok(rootfs_stamp)] = stamps else {
        let message = "its files cannot be looked at: are they being replaced just now?";
        return Err(ConfigError::value(file, format!("image[{index}]"), message));
    };
    Ok(Image {
        name: wire.name,
        kernel,
        initramfs,
        rootfs,
        cmdline,
        digests,
        runner_version,
        stamps: [kernel_stamp, initramfs_stamp, rootfs_stamp],
    })
}

/// The version in the manifest beside a root filesystem, if that is about this
/// very file and not about one before it.
fn recorded_version(rootfs: &Path, digest: Digest) -> Option<Version> {
    let mut beside = rootfs.as_os_str().to_owned();
    beside.push(".manifest.toml");
    let text = read_text(Path::new(&beside)).ok()?;
    let manifest: Manifest = toml::from_str(&text).ok()?;
    let is_of_this = manifest.sha256.eq_ignore_ascii_case(&hex(&digest.0));
    manifest.runner_version.parse().ok().filter(|_| is_of_this)
}

/// SHA-256 and size of a file.
pub(crate) fn digest_file(path: &Path) -> std::io::Result<(Digest, u64)> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    Ok((Digest(hash.finalize().into()), file.stream_position()?))
}

fn check_pool(
    config: &Config,
    file: &Path,
    images: &[Image],
    index: usize,
    wire: WirePool,
) -> Result<PoolSpec, ConfigError> {
    let key = |name: &str| format!("pool[{index}].{name}");
    let one_name = |name: &str| !name.is_empty() && !name.contains('/');
    let scope = match (wire.scope.org, wire.scope.repo, wire.scope.enterprise) {
        (Some(org), None, None) if one_name(&org) => Scope::Org(org),
        (None, Some(repo), None)
            if repo.split('/').filter(|part| !part.is_empty()).count() == 2 =>
        {
            Scope::Repo(repo)
        }
        (None, None, Some(enterprise)) if one_name(&enterprise) => Scope::Enterprise(enterprise),
        _ => {
            let message = "must be { org = \"NAME\" }, { repo = \"OWNER/NAME\" } or { enterprise = \"NAME\" }";
            return Err(ConfigError::value(file, key("scope"), message));
        }
    };
    let hub = config.github.iter().find(|hub| hub.name == wire.github);
    if matches!(scope, Scope::Enterprise(_)) && hub.is_some_and(|hub| hub.token.is_none()) {
        let message = format!(
            "is an enterprise, where GitHub takes no App: give [[github]] \"{}\" a token_path, a file with a classic token that has manage_runners:enterprise",
            wire.github
        );
        return Err(ConfigError::value(file, key("scope"), message));
    }
    let Some(image) = images.iter().find(|image| image.name == wire.image) else {
        let message = format!(
            "\"{}\" is not declared: add an [[image]] or mend the name",
            wire.image
        );
        return Err(ConfigError::value(file, key("image"), message));
    };
    let max_runtime_s = wire.max_runtime_s.unwrap_or(6 * 3600);
    if !(1..=MAX_RUNTIME_S).contains(&max_runtime_s) {
        let message = format!("must be 1 to {MAX_RUNTIME_S} (GitHub ends a job after 5 days)");
        return Err(ConfigError::value(file, key("max_runtime_s"), message));
    }
    let min_assurance = match wire.min_assurance.as_deref() {
        None | Some("claimed") => Assurance::Claimed,
        Some("netboot-forced") => Assurance::NetbootForced,
        Some("attested") => {
            let message = "\"attested\" needs a TPM quote, which this release cannot take: use \"netboot-forced\"";
            return Err(ConfigError::value(file, key("min_assurance"), message));
        }
        Some(other) => {
            let message = format!("\"{other}\" is none of claimed, netboot-forced, attested");
            return Err(ConfigError::value(file, key("min_assurance"), message));
        }
    };
    let policy = WirePolicy {
        mint_scope: wire.mint_scope,
        default: wire.default,
        priority: wire.priority,
        min_sleds: wire.min_sleds,
        max_sleds: wire.max_sleds,
        max_per_repository: wire.max_per_repository,
        weights: wire.weights,
        warm: wire.warm,
        max_reruns: wire.max_reruns,
    };
    let policy = policy::check(file, index, &scope, policy)?;
    Ok(PoolSpec {
        name: wire.name,
        github: wire.github,
        scope,
        labels: wire.labels,
        image: image.digests.clone(),
        max_runtime_s,
        min_assurance,
        policy,
        group: wire.group,
        public: wire.public,
        acceptance: wire.acceptance.map(Into::into),
    })
}
