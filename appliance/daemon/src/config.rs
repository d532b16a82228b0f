//! `musher.toml` and `inventory.toml`: read once at the edge into types that
//! cannot be wrong.
//!
//! Every error is one message that names the file, the line or key, and the
//! way out. Nothing here is ever written by the daemon.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use control::Limits;
use serde::{Deserialize, de::DeserializeOwned};
use zeroize::Zeroizing;

mod gpio;
mod inventory;
mod policy;
mod power;
mod tunnel;

pub use gpio::Gpio;
pub(crate) use inventory::digest_file;
pub use inventory::{Image, LoadedInventory, SledPower, load_inventory, parse_inventory};
pub use power::{DriverConfig, PlainConfig};

pub use tunnel::{ChannelUrl, SWEEP_S, Tunnel, TunnelCommand, Way};

use gpio::WireGpio;
use tunnel::{WireTunnel, check_tunnel};

/// Why configuration is refused. The message is complete for people.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("{file}: cannot be read: {error}: name a file that this user may read")]
    Read {
        /// The file.
        file: String,
        /// Why. No source: the message says it, and chains would say it twice.
        error: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("{file}:{line}: {message}")]
    Syntax {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and what would be right.
        message: String,
    },
    /// A value that cannot be.
    #[error("{file}: {key}: {message}")]
    Value {
        /// The file.
        file: String,
        /// The key, dotted.
        key: String,
        /// What is wrong, and the way out.
        message: String,
    },
}

impl ConfigError {
    pub(crate) fn value(file: &Path, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Value {
            file: file.display().to_string(),
            key: key.into(),
            message: message.into(),
        }
    }
}

/// How this appliance runs.
#[derive(Debug)]
pub struct Config {
    /// Where it was read from.
    pub file: PathBuf,
    /// Listeners and places.
    pub server: Server,
    /// The DHCP server, when there is a sled interface.
    pub dhcp: Option<Dhcp>,
    /// One per GitHub App.
    pub github: Vec<Github>,
    /// How deliveries come in.
    pub tunnel: Tunnel,
    /// Lines of this machine.
    pub gpio: Gpio,
    /// Deadlines and bounds.
    pub limits: Limits,
}

/// `[server]`.
#[derive(Debug)]
pub struct Server {
    /// The page's address as people and GitHub know it.
    pub public_url: Option<String>,
    /// Where GitHub's deliveries arrive.
    pub webhook_listen: SocketAddr,
    /// Where people look.
    pub admin_listen: SocketAddr,
    /// The interface towards the sleds.
    pub sled_interface: Option<String>,
    /// Boot files and the agent API.
    pub sled_listen: Option<SocketAddrV4>,
    /// Database, keys, logs.
    pub state_dir: PathBuf,
    /// Where the iPXE binaries are.
    pub ipxe_dir: PathBuf,
}

/// `[dhcp]`.
#[derive(Clone, Debug)]
pub struct Dhcp {
    /// First address that is leased.
    pub first: Ipv4Addr,
    /// Last address that is leased.
    pub last: Ipv4Addr,
    /// Network mask.
    pub netmask: Ipv4Addr,
    /// Default route of sleds.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers of sleds.
    pub dns: Vec<Ipv4Addr>,
}

/// What a secret file holds: shown nowhere, wiped from memory when dropped.
#[derive(Clone)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl std::ops::Deref for SecretBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// `[[github]]`.
#[derive(Debug)]
pub struct Github {
    /// Name.
    pub name: String,
    /// Base of the REST API.
    pub api_url: String,
    /// Where its pages are, when that does not follow from [`Github::api_url`].
    pub web_url: Option<String>,
    /// The App's id.
    pub app_id: u64,
    /// The App's private key, PEM.
    pub private_key: SecretBytes,
    /// The webhook's secret.
    pub webhook_secret: SecretBytes,
    /// A classic token for enterprises, where GitHub takes no App's.
    pub token: Option<SecretBytes>,
    /// A private certificate authority.
    pub ca_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireConfig {
    server: WireServer,
    dhcp: Option<WireDhcp>,
    #[serde(default)]
    github: Vec<WireGithub>,
    tunnel: Option<WireTunnel>,
    #[serde(default)]
    gpio: WireGpio,
    deadlines: Option<WireDeadlines>,
    retention: Option<WireRetention>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireServer {
    public_url: Option<String>,
    webhook_listen: SocketAddr,
    admin_listen: SocketAddr,
    sled_interface: Option<String>,
    sled_listen: Option<SocketAddrV4>,
    state_dir: PathBuf,
    ipxe_dir: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireDhcp {
    mode: String,
    range: String,
    netmask: Option<Ipv4Addr>,
    gateway: Option<Ipv4Addr>,
    #[serde(default)]
    dns: Vec<Ipv4Addr>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireGithub {
    name: String,
    api_url: Option<String>,
    web_url: Option<String>,
    app_id: u64,
    private_key_path: PathBuf,
    webhook_secret_path: PathBuf,
    token_path: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireDeadlines {
    power_on_s: Option<u64>,
    netboot_s: Option<u64>,
    wipe_s: Option<u64>,
    ready_s: Option<u64>,
    accept_s: Option<u64>,
    idle_s: Option<u64>,
    finish_s: Option<u64>,
    power_off_s: Option<u64>,
    off_dwell_s: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRetention {
    history: Option<usize>,
    history_days: Option<u64>,
    receipts: Option<u64>,
    receipts_days: Option<u64>,
}

/// Reads and checks `musher.toml` and the secrets it names.
///
/// # Errors
/// The first thing that is wrong.
pub fn load_config(file: &Path) -> Result<Config, ConfigError> {
    let text = read_text(file)?;
    let wire: WireConfig = parse_toml(file, &text)?;
    let tunnel = check_tunnel(file, wire.tunnel)?;
    let base = file.parent().unwrap_or_else(|| Path::new("."));
    let server = check_server(file, base, wire.server)?;
    let dhcp = wire
        .dhcp
        .map(|dhcp| check_dhcp(file, &server, dhcp))
        .transpose()?;
    if server.sled_interface.is_some() && dhcp.is_none() {
        let message = "is missing: sleds on server.sled_interface need addresses; add [dhcp] with mode and range";
        return Err(ConfigError::value(file, "dhcp", message));
    }
    if wire.github.is_empty() {
        let message = "is missing: add one [[github]] entry per GitHub App";
        return Err(ConfigError::value(file, "github", message));
    }
    let mut github: Vec<Github> = Vec::new();
    for (index, entry) in wire.github.into_iter().enumerate() {
        let entry = check_github(file, base, index, entry)?;
        if github.iter().any(|other| other.name == entry.name) {
            let message = format!("\"{}\" is used twice: rename one of them", entry.name);
            return Err(ConfigError::value(
                file,
                format!("github[{index}].name"),
                message,
            ));
        }
        github.push(entry);
    }
    let mut limits = limits(wire.deadlines);
    retain(&mut limits, wire.retention.unwrap_or_default());
    Ok(Config {
        file: file.to_path_buf(),
        server,
        dhcp,
        github,
        tunnel,
        gpio: wire.gpio.check(base),
        limits,
    })
}

fn check_server(file: &Path, base: &Path, wire: WireServer) -> Result<Server, ConfigError> {
    if wire.sled_interface.is_some() != wire.sled_listen.is_some() {
        let message = "and server.sled_interface belong together: give both or neither";
        return Err(ConfigError::value(file, "server.sled_listen", message));
    }
    if let Some(listen) = wire.sled_listen {
        if wire.admin_listen.ip().is_unspecified() {
            let message = "listens on every interface, so sleds could reach it: name the address of the admin network";
            return Err(ConfigError::value(file, "server.admin_listen", message));
        }
        if listen.ip().is_unspecified() || listen.port() == 0 {
            let message = "must be the appliance's own address and port on the sled network";
            return Err(ConfigError::value(file, "server.sled_listen", message));
        }
        if wire.admin_listen.ip() == IpAddr::V4(*listen.ip()) {
            let message = "is on the sled network, so sleds could reach it: name another address";
            return Err(ConfigError::value(file, "server.admin_listen", message));
        }
    }
    Ok(Server {
        public_url: wire.public_url,
        webhook_listen: wire.webhook_listen,
        admin_listen: wire.admin_listen,
        sled_interface: wire.sled_interface,
        sled_listen: wire.sled_listen,
        state_dir: base.join(wire.state_dir),
        ipxe_dir: wire
            .ipxe_dir
            .map_or_else(|| PathBuf::from("/usr/lib/ipxe"), |dir| base.join(dir)),
    })
}

fn check_dhcp(file: &Path, server: &Server, wire: WireDhcp) -> Result<Dhcp, ConfigError> {
    if wire.mode != "server" {
        let message = format!(
            "\"{}\" is not available in this release: use \"server\" on a network of the sleds' own",
            wire.mode
        );
        return Err(ConfigError::value(file, "dhcp.mode", message));
    }
    let Some(listen) = server.sled_listen else {
        let message = "needs server.sled_interface and server.sled_listen";
        return Err(ConfigError::value(file, "dhcp", message));
    };
    let bounds = wire
        .range
        .split_once('-')
        .and_then(|(first, last)| Some((first.trim().parse().ok()?, last.trim().parse().ok()?)));
    let Some((first, last)): Option<(Ipv4Addr, Ipv4Addr)> = bounds else {
        let message = format!(
            "\"{}\" is not FIRST-LAST, such as 10.77.0.50-10.77.0.200",
            wire.range
        );
        return Err(ConfigError::value(file, "dhcp.range", message));
    };
    if first > last {
        let message = format!("{first} comes after {last}: swap them");
        return Err(ConfigError::value(file, "dhcp.range", message));
    }
    let netmask = wire.netmask.unwrap_or(Ipv4Addr::new(255, 255, 255, 0));
    let network = |address: Ipv4Addr| u32::from(address) & u32::from(netmask);
    if network(first) != network(*listen.ip()) || network(last) != network(*listen.ip()) {
        let message = format!(
            "{} is not in the network of server.sled_listen {} with netmask {netmask}: mend the range or add dhcp.netmask",
            wire.range,
            listen.ip()
        );
        return Err(ConfigError::value(file, "dhcp.range", message));
    }
    let own = [
        ("server.sled_listen", Some(*listen.ip())),
        ("dhcp.gateway", wire.gateway),
    ];
    let named = own
        .into_iter()
        .filter_map(|(key, address)| Some((key, address?)))
        .chain(wire.dns.iter().map(|address| ("dhcp.dns", *address)));
    for (key, address) in named {
        if (first..=last).contains(&address) {
            let message = format!(
                "{} overlaps {key} {address}: a sled could be given that address; move or shorten the range",
                wire.range
            );
            return Err(ConfigError::value(file, "dhcp.range", message));
        }
    }
    Ok(Dhcp {
        first,
        last,
        netmask,
        gateway: wire.gateway,
        dns: wire.dns,
    })
}

fn check_github(
    file: &Path,
    base: &Path,
    index: usize,
    wire: WireGithub,
) -> Result<Github, ConfigError> {
    let key = |name: &str| format!("github[{index}].{name}");
    if wire.name.is_empty()
        || !wire
            .name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    {
        let message = "must be of letters, digits, - and _: it is part of the webhook's address";
        return Err(ConfigError::value(file, key("name"), message));
    }
    let private_key = read_secret(
        file,
        &key("private_key_path"),
        &base.join(wire.private_key_path),
    )?;
    let webhook_secret = read_secret(
        file,
        &key("webhook_secret_path"),
        &base.join(wire.webhook_secret_path),
    )?;
    if webhook_secret.is_empty() {
        let message = "names an empty file: put the secret into it that the App's webhook has";
        return Err(ConfigError::value(
            file,
            key("webhook_secret_path"),
            message,
        ));
    }
    let token = wire
        .token_path
        .map(|path| read_secret(file, &key("token_path"), &base.join(path)))
        .transpose()?;
    if token
        .as_ref()
        .is_some_and(|token| token.is_empty() || !token.iter().all(u8::is_ascii_graphic))
    {
        let message = "names a file that is no token: put a classic token into it, one line";
        return Err(ConfigError::value(file, key("token_path"), message));
    }
    Ok(Github {
        name: wire.name,
        api_url: wire
            .api_url
            .unwrap_or_else(|| "https://api.github.com".to_owned()),
        web_url: wire.web_url,
        app_id: wire.app_id,
        private_key,
        webhook_secret,
        token,
        ca_file: wire.ca_file.map(|path| base.join(path)),
    })
}

fn limits(wire: Option<WireDeadlines>) -> Limits {
    let mut limits = Limits::default();
    let Some(wire) = wire else { return limits };
    let set = |target: &mut u64, seconds: Option<u64>| {
        if let Some(seconds) = seconds {
            *target = seconds.saturating_mul(1000);
        }
    };
    set(&mut limits.power_on_ms, wire.power_on_s);
    set(&mut limits.netboot_ms, wire.netboot_s);
    set(&mut limits.wipe_ms, wire.wipe_s);
    set(&mut limits.ready_ms, wire.ready_s);
    set(&mut limits.accept_ms, wire.accept_s);
    set(&mut limits.idle_ms, wire.idle_s);
    set(&mut limits.finish_ms, wire.finish_s);
    set(&mut limits.power_off_ms, wire.power_off_s);
    set(&mut limits.off_dwell_ms, wire.off_dwell_s);
    limits
}

fn retain(limits: &mut Limits, wire: WireRetention) {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    let days = |unless: u64, days: Option<u64>| days.map_or(unless, |d| d.saturating_mul(DAY_MS));
    limits.history = wire.history.unwrap_or(limits.history);
    limits.history_ms = days(limits.history_ms, wire.history_days);
    limits.receipts = wire.receipts.unwrap_or(limits.receipts);
    limits.receipts_ms = days(limits.receipts_ms, wire.receipts_days);
}

/// Largest configuration file, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;

pub(crate) fn read_text(file: &Path) -> Result<String, ConfigError> {
    let fail = |error| ConfigError::Read {
        file: file.display().to_string(),
        error,
    };
    let meta = fs::metadata(file).map_err(fail)?;
    if meta.len() > MAX_FILE_BYTES {
        return Err(fail(std::io::Error::other("it is larger than 4 MiB")));
    }
    fs::read_to_string(file).map_err(fail)
}

/// Parses TOML; an unknown key or wrong type is an error that names its line.
pub(crate) fn parse_toml<T: DeserializeOwned>(file: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start).min(text.len());
        let line = text.as_bytes()[..start]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        let message = error.message().replace('\n', "; ");
        ConfigError::Syntax {
            file: file.display().to_string(),
            line,
            message,
        }
    })
}

/// Largest secret, in bytes.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Reads a secret: a regular file that nobody but its owner can read.
/// One line end at its end is not part of it.
pub(crate) fn read_secret(file: &Path, key: &str, path: &Path) -> Result<SecretBytes, ConfigError> {
    let shown = path.display();
    let meta = fs::metadata(path).map_err(|error| {
        let message = format!("{shown} cannot be read ({error}): create it with mode 0600");
        ConfigError::value(file, key, message)
    })?;
    if !meta.is_file() {
        let message = format!("{shown} is no file: name the file that holds it");
        return Err(ConfigError::value(file, key, message));
    }
    let mode = meta.permissions().mode() & 0o7777;
    if mode != 0o400 && mode != 0o600 {
        let message = format!("{shown} has mode {mode:04o}: run `chmod 0600 {shown}`");
        return Err(ConfigError::value(file, key, message));
    }
    let own = rustix::process::geteuid().as_raw();
    if meta.uid() != own && own != 0 {
        let message = format!(
            "{shown} belongs to user {}: run `chown {own} {shown}`",
            meta.uid()
        );
        return Err(ConfigError::value(file, key, message));
    }
    if meta.len() > MAX_SECRET_BYTES {
        let message = format!("{shown} is larger than 64 KiB: is it the right file?");
        return Err(ConfigError::value(file, key, message));
    }
    let mut bytes = Zeroizing::new(fs::read(path).map_err(|error| {
        ConfigError::value(file, key, format!("{shown} cannot be read: {error}"))
    })?);
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Ok(SecretBytes(bytes))
}

#[cfg(test)]
mod tests;
