//! `musher serve`: puts the parts together and keeps them running.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use control::{Event, InventoryError, Reply, State};
use protocols::{
    dhcp::{AddressRange, Network},
    rmcp::CipherSuite,
};
use sha2::{Digest, Sha256};
use tokio::{
    net::{TcpListener, UnixListener},
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    admin::Admin,
    agents::{Agents, Wakers},
    boot_authority::Authority,
    config::{
        Config, ConfigError, DriverConfig, LoadedInventory, PlainConfig, load_config,
        load_inventory, parse_inventory,
    },
    console::SerialDevice,
    dispatch::DispatchConfig,
    engine::{Clock, EngineConfig, Waiting},
    github::{GithubClient, GithubConfig, Secret},
    http::Shutdown,
    installations::Installations,
    keys::Keys,
    lease_keeper,
    netboot::{self, LeaseTable, dhcp, router_advertisement, tftp},
    power::{
        CommandDriver, Driver, IpmiConfig, Plain, WakeDriver,
        gpio::{
            held::{HeldSwitch, HolderSocket, SenseOnly},
            serve::SystemClock,
        },
    },
    releases::{self, ReleaseBoard, Releases},
    store::Store,
    sweep::Places,
    vault::Vault,
    ways::{App, WaysConfig},
    webhook::{Hub, Webhook},
};

/// How long a lease lasts, in seconds. Sleds hold theirs for one boot.
const LEASE_S: u32 = 24 * 3600;

/// How long a power cycle by relay or button stays off: supplies need seconds
/// to drain.
const CYCLE_OFF_TIME: Duration = Duration::from_secs(5);

/// Rows of the daemon itself in the store.
const INVENTORY_TEXT: &str = "inventory.text";
const INVENTORY_BASE: &str = "inventory.base";
const INVENTORY_SEEN: &str = "inventory.seen";

/// Runs the appliance until it is told to stop.
///
/// # Errors
/// Invalid configuration as [`ConfigError`]; anything else that keeps it from
/// starting, with what was tried.
pub async fn serve(config: &Path, inventory: Option<&Path>) -> anyhow::Result<()> {
    forbid_core_dumps();
    // Whatever the state directory allows: what is written is for us alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    // Whatever is wrong with what was declared is said before anything is
    // opened, made or bound.
    let config = load_config(config)?;
    let offered = inventory
        .map(|file| load_inventory(&config, file))
        .transpose()?;
    let state_dir = config.server.state_dir.clone();
    make_private_dir(&state_dir)?;
    let logs = state_dir.join("logs");
    make_private_dir(&logs)?;
    let keys = Keys::load(&state_dir)?;
    let store = Store::open(&state_dir.join("musher.redb"))?;
    let hubs = start_clients(&config)?;

    let clock = Clock::start();
    let engine_config = EngineConfig {
        appliance: keys.appliance,
        limits: config.limits.clone(),
        clock,
        store: store.clone(),
    };
    let (engine, mut waiting) = engine_config.load()?;
    let receipts = Arc::new(keys.receipts);
    let (vault, wakers) = (Vault::default(), Wakers::default());
    let listeners = Listeners::bind(&config).await?;

    // What was under way is settled before anything new is decided.
    waiting.settle(Event::Started)?;
    let inventory = take_inventory(&config, &store, &mut waiting, offered)?;
    for warning in &inventory.warnings {
        tracing::warn!("{warning}");
    }
    let numbered = number(waiting.state(), &config, &inventory, hubs)?;
    let dispatcher = DispatchConfig {
        engine: engine.clone(),
        clock,
        vault: vault.clone(),
        wakers: wakers.clone(),
        receipts: Arc::clone(&receipts),
        hubs: numbered.clients.clone(),
        drivers: numbered.drivers,
        serial: numbered.serial,
        logs: logs.clone(),
    };
    let dispatcher = dispatcher.start();
    let desk = dispatcher.desk();
    let worker = waiting.run(dispatcher)?;

    let (stop, shutdown) = Shutdown::new();
    let mut tasks = JoinSet::new();
    let webhook = Arc::new(Webhook::new(engine.clone(), numbered.hubs));
    tasks.spawn(webhook.run(listeners.webhook, shutdown.clone()));
    let ways = WaysConfig {
        tunnel: config.tunnel.clone(),
        apps: numbered.apps,
        runner_prefix: control::runner_prefix(keys.appliance),
        state_dir: state_dir.clone(),
        engine: engine.clone(),
        store: store.clone(),
        clock,
    };
    let ways = ways.start(&mut tasks, &shutdown);
    let releases = watch_releases(&numbered.clients, &state_dir, &inventory, clock, |it| {
        tasks.spawn(it.run(shutdown.clone()));
    });
    let admin = Arc::new(Admin {
        engine: engine.clone(),
        store: store.clone(),
        receipts,
        logs: logs.clone(),
        sled_network: separate_sled_network(&config),
        desk,
        ways,
        releases,
    });
    let admin_tls = TlsAcceptor::from(Arc::clone(&keys.admin_tls.config));
    tasks.spawn(Arc::clone(&admin).run(listeners.admin, admin_tls, shutdown.clone()));
    tasks.spawn(admin.run_control(listeners.control, shutdown.clone()));
    if let (Some(listener), Some(listen), Some(leases)) = (
        listeners.sled,
        config.server.sled_listen,
        lease_table(&config)?,
    ) {
        lease_keeper::restore(&leases, &store, &clock);
        let keeper = lease_keeper::keep(leases.clone(), store, clock, shutdown.clone());
        tasks.spawn(keeper);
        let url = format!("https://{listen}");
        let images = inventory.images.clone();
        let authority = Arc::new(Authority::new(
            engine.clone(),
            url,
            keys.sled_tls.pin,
            images,
            leases.clone(),
        ));
        let agents = Arc::new(Agents {
            engine: engine.clone(),
            authority: Arc::clone(&authority),
            tls: TlsAcceptor::from(Arc::clone(&keys.sled_tls.config)),
            vault,
            wakers,
            logs,
            log_limit: config.limits.log_limit_bytes,
        });
        tasks.spawn(agents.run(listener, shutdown.clone()));
        spawn_netboot(&mut tasks, &config, &authority, leases, &shutdown)?;
    }
    tracing::info!(
        appliance = %keys.appliance,
        admin = %config.server.admin_listen,
        webhook = %config.server.webhook_listen,
        certificate = %keys.admin_tls.fingerprint,
        "Musher is up"
    );
    drop(sd_notify::notify(&[sd_notify::NotifyState::Ready]));
    wait_for_stop().await?;
    tracing::info!("stopping; sleds go on and are picked up at the next start");
    drop(sd_notify::notify(&[sd_notify::NotifyState::Stopping]));
    stop.stop();
    while tasks.join_next().await.is_some() {}
    engine.stop();
    drop(tokio::task::spawn_blocking(move || worker.join()).await);
    drop(fs::remove_file(control_socket(&state_dir)));
    Ok(())
}

/// Watches the runner's releases for every App that pools use.
fn watch_releases(
    clients: &BTreeMap<messages::HubId, GithubClient>,
    state_dir: &Path,
    inventory: &LoadedInventory,
    clock: Clock,
    mut start: impl FnMut(Releases),
) -> Vec<Arc<ReleaseBoard>> {
    let mut boards = Vec::new();
    for client in clients.values() {
        let (pools, images) = releases::of_app(client.name(), inventory);
        if pools.is_empty() {
            continue;
        }
        let board = Arc::new(ReleaseBoard::default());
        start(Releases {
            client: client.background(),
            pools,
            images,
            folder: releases::folder(state_dir, client.name()),
            leave_bytes: releases::LEAVE_BYTES,
            clock,
            board: Arc::clone(&board),
        });
        boards.push(board);
    }
    boards
}

/// Where the other commands reach the daemon.
#[must_use]
pub fn control_socket(state_dir: &Path) -> PathBuf {
    state_dir.join("control.sock")
}

/// A crash must not write keys or JIT configs to disk.
fn forbid_core_dumps() {
    let none = rustix::process::Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if rustix::process::setrlimit(rustix::process::Resource::Core, none).is_err() {
        tracing::warn!("core dumps cannot be switched off: a crash could write secrets to disk");
    }
}

/// The sleds' network, unless people share it.
fn separate_sled_network(config: &Config) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let (listen, dhcp) = (config.server.sled_listen?, config.dhcp.as_ref()?);
    let (address, mask) = (*listen.ip(), dhcp.netmask);
    match config.server.admin_listen.ip().to_canonical() {
        IpAddr::V4(admin) if admin & mask == address & mask => None,
        _ => Some((address, mask)),
    }
}

fn make_private_dir(path: &Path) -> anyhow::Result<()> {
    use anyhow::Context;
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(path)
        .with_context(|| format!("create folder {}", path.display()))
}

/// Takes the inventory that is offered when it is new, else what was applied
/// last.
fn take_inventory(
    config: &Config,
    store: &Store,
    waiting: &mut Waiting,
    offered: Option<LoadedInventory>,
) -> anyhow::Result<LoadedInventory> {
    if let Some(loaded) = offered {
        let file = loaded.file.as_path();
        let seen = Sha256::digest(loaded.text.as_bytes()).to_vec();
        if store.local(INVENTORY_SEEN)?.as_deref() != Some(seen.as_slice()) {
            match settle_inventory(waiting, &loaded)? {
                Ok(()) => {
                    store.set_local(INVENTORY_TEXT, loaded.text.as_bytes())?;
                    store.set_local(INVENTORY_BASE, loaded.base.to_string_lossy().as_bytes())?;
                    store.set_local(INVENTORY_SEEN, &seen)?;
                    tracing::info!(file = %file.display(), "inventory applied");
                    return Ok(loaded);
                }
                // A change that must wait does not keep the rack down.
                Err(error @ InventoryError::Busy(_)) => {
                    tracing::error!(file = %file.display(), %error, "the inventory before it stays in force");
                }
                Err(error) => return Err(refused(file, &error).into()),
            }
        }
    }
    let stored = |key| -> anyhow::Result<String> {
        Ok(String::from_utf8(store.local(key)?.unwrap_or_default())?)
    };
    let file = Path::new("(stored inventory)");
    let base = PathBuf::from(stored(INVENTORY_BASE)?);
    let loaded = parse_inventory(config, file, stored(INVENTORY_TEXT)?, base)?;
    match settle_inventory(waiting, &loaded)? {
        Ok(()) => Ok(loaded),
        Err(error) => Err(refused(file, &error).into()),
    }
}

fn refused(file: &Path, error: &InventoryError) -> ConfigError {
    ConfigError::value(file, "inventory", error.to_string())
}

fn settle_inventory(
    waiting: &mut Waiting,
    loaded: &LoadedInventory,
) -> anyhow::Result<Result<(), InventoryError>> {
    match waiting.settle(Event::Inventory(loaded.inventory.clone()))? {
        Reply::Done(result) => Ok(result),
        _ => anyhow::bail!("inventory: the core gave no answer"),
    }
}

fn start_clients(config: &Config) -> anyhow::Result<Vec<(String, GithubClient)>> {
    let mut clients = Vec::new();
    for github in &config.github {
        let client = GithubClient::start(client_config(config, github)?)
            .map_err(|error| ConfigError::value(&config.file, "github", error.to_string()))?;
        clients.push((github.name.clone(), client));
    }
    Ok(clients)
}

/// The client's settings of one `[[github]]` entry.
///
/// # Errors
/// When its private key is not text.
pub fn client_config(
    config: &Config,
    github: &crate::config::Github,
) -> Result<GithubConfig, ConfigError> {
    let pem = String::from_utf8(github.private_key.to_vec()).map_err(|_| {
        let message = format!("the private key of \"{}\" is not PEM text", github.name);
        ConfigError::value(&config.file, "github.private_key_path", message)
    })?;
    Ok(GithubConfig {
        name: github.name.clone(),
        api_url: github.api_url.clone(),
        web_url: github.web_url.clone(),
        app_id: github.app_id,
        private_key_pem: Secret::new(pem),
        // Checked to be ASCII when it was read.
        enterprise_token: github
            .token
            .as_ref()
            .map(|token| Secret::new(String::from_utf8_lossy(token).into_owned())),
        ca_file: github.ca_file.clone(),
    })
}

struct Listeners {
    webhook: TcpListener,
    admin: TcpListener,
    sled: Option<TcpListener>,
    control: UnixListener,
}

impl Listeners {
    async fn bind(config: &Config) -> anyhow::Result<Self> {
        use anyhow::Context;
        let server = &config.server;
        let bind = |key: &'static str, address: std::net::SocketAddr| async move {
            TcpListener::bind(address)
                .await
                .with_context(|| format!("listen on {key} {address}"))
        };
        let webhook = bind("server.webhook_listen", server.webhook_listen).await?;
        let admin = bind("server.admin_listen", server.admin_listen).await?;
        let sled = match (&server.sled_interface, server.sled_listen) {
            (Some(interface), Some(address)) => {
                let listener = netboot::http::listen(interface, address);
                Some(listener.context("listen on server.sled_listen")?)
            }
            (None, _) | (_, None) => None,
        };
        // The database's lock proves that no other daemon uses this socket.
        let path = control_socket(&server.state_dir);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove stale {}", path.display()));
            }
            Ok(()) | Err(_) => {}
        }
        let control =
            UnixListener::bind(&path).with_context(|| format!("listen on {}", path.display()))?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(Self {
            webhook,
            admin,
            sled,
            control,
        })
    }
}

/// Apps and sleds by the core's numbers.
struct Numbered {
    clients: BTreeMap<messages::HubId, GithubClient>,
    hubs: Vec<Hub>,
    apps: Vec<App>,
    drivers: Vec<(messages::SledId, Driver)>,
    serial: BTreeMap<messages::SledId, SerialDevice>,
}

fn number(
    state: &State,
    config: &Config,
    inventory: &LoadedInventory,
    named: Vec<(String, GithubClient)>,
) -> anyhow::Result<Numbered> {
    let mut numbered = Numbered {
        clients: BTreeMap::new(),
        hubs: Vec::new(),
        apps: Vec::new(),
        drivers: Vec::new(),
        serial: BTreeMap::new(),
    };
    for ((name, client), github) in named.into_iter().zip(&config.github) {
        let id = state
            .hub_id(&name)
            .ok_or_else(|| anyhow::anyhow!("github \"{name}\": the core has no number for it"))?;
        let mut places = Places::default();
        let pools = inventory.inventory.pools.iter();
        pools
            .filter(|pool| pool.github == name)
            .for_each(|pool| places.add(pool));
        let installations = Arc::new(Installations::of(client.clone()));
        numbered.apps.push(App {
            hub: id,
            secret: github.webhook_secret.clone(),
            api_url: github.api_url.clone(),
            client: client.clone(),
            places,
            installations: Arc::clone(&installations),
        });
        numbered.clients.insert(id, client);
        numbered.hubs.push(Hub {
            id,
            name,
            secret: github.webhook_secret.clone(),
            installations,
        });
    }
    for power in &inventory.power {
        let id = state.sled_id(&power.sled).ok_or_else(|| {
            anyhow::anyhow!("sled \"{}\": the core has no number for it", power.sled)
        })?;
        numbered
            .drivers
            .push((id, driver(&power.sled, &power.driver)?));
        if let Some(device) = &power.console {
            numbered.serial.insert(id, device.clone());
        }
    }
    Ok(numbered)
}

fn driver(sled: &str, config: &DriverConfig) -> anyhow::Result<Driver> {
    match config {
        DriverConfig::Ipmi {
            address,
            username,
            password,
            password_file,
            cipher,
            console,
            restrict_host_interface,
        } => {
            let suite = CipherSuite::try_from(*cipher)
                .map_err(|error| anyhow::anyhow!("sled \"{sled}\": {error}"))?;
            let mut ipmi = IpmiConfig::new(*address, username, password, suite)
                .map_err(|error| anyhow::anyhow!("sled \"{sled}\": {error}"))?;
            ipmi.password_file = Some(password_file.clone());
            ipmi.console = *console;
            ipmi.restrict_host_interface = *restrict_host_interface;
            Ok(Driver::ipmi(ipmi, Some(sled.to_owned())))
        }
        DriverConfig::Plain(config) => Ok(Driver::Plain(plain(sled, config))),
        DriverConfig::Wake { wake, off } => {
            let driver = WakeDriver::new(wake, plain(sled, off), sled.to_owned());
            Ok(Driver::Wake(Box::new(driver)))
        }
        DriverConfig::Redfish(redfish) => {
            Ok(Driver::redfish(redfish.clone(), Some(sled.to_owned())))
        }
    }
}

/// What no BMC stands behind.
fn plain(sled: &str, config: &PlainConfig) -> Plain {
    let clock = SystemClock::start();
    let name = Some(sled.to_owned());
    match config {
        PlainConfig::Command(command) => {
            Plain::command(CommandDriver::new(command.clone(), sled.to_owned()))
        }
        PlainConfig::Held { socket, held } => {
            let switch = HeldSwitch::new(held.clone(), HolderSocket(socket.clone()), clock);
            Plain::local(switch, name, CYCLE_OFF_TIME)
        }
        PlainConfig::Sense { socket, line } => {
            let switch = SenseOnly::new(line.clone(), HolderSocket(socket.clone()), clock);
            Plain::local(switch, name, CYCLE_OFF_TIME)
        }
    }
}

/// The boot loaders that are served by TFTP.
///
/// # Errors
/// When one is missing; the message names the key and the package.
pub fn boot_programs(config: &Config) -> Result<tftp::BootPrograms, ConfigError> {
    tftp::BootPrograms::load(&config.server.ipxe_dir)
        .map_err(|error| ConfigError::value(&config.file, "server.ipxe_dir", error.to_string()))
}

fn lease_table(config: &Config) -> anyhow::Result<Option<LeaseTable>> {
    let (Some(listen), Some(dhcp)) = (config.server.sled_listen, &config.dhcp) else {
        return Ok(None);
    };
    let range = AddressRange::new(dhcp.first, dhcp.last)?;
    Ok(Some(LeaseTable::new(range, &[*listen.ip()], LEASE_S)))
}

fn spawn_netboot(
    tasks: &mut JoinSet<()>,
    config: &Config,
    authority: &Arc<Authority>,
    leases: LeaseTable,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let server = &config.server;
    let (Some(interface), Some(listen), Some(dhcp)) = (
        server.sled_interface.clone(),
        server.sled_listen,
        &config.dhcp,
    ) else {
        return Ok(());
    };
    let network = Network {
        server: *listen.ip(),
        netmask: dhcp.netmask,
        gateway: dhcp.gateway,
        dns: dhcp.dns.clone(),
        lease_seconds: LEASE_S,
    };
    let dhcp_config = dhcp::Config {
        interface: interface.clone(),
        network,
        http: listen,
    };
    let files = boot_programs(config)?;
    let tftp_config = tftp::Config {
        interface: interface.clone(),
        server: *listen.ip(),
        files,
    };
    let run = dhcp::run(
        dhcp_config,
        Arc::clone(authority),
        leases.clone(),
        shutdown.clone().wait(),
    );
    tasks.spawn(named("DHCP", run));
    let run = tftp::run(
        tftp_config,
        Arc::clone(authority),
        leases,
        shutdown.clone().wait(),
    );
    tasks.spawn(named("TFTP", run));
    let stop = shutdown.clone().wait();
    tasks.spawn(named("router advertisement", async move {
        router_advertisement::run(&interface, stop).await
    }));
    Ok(())
}

/// A netboot server that ends with an error leaves the rest running, loudly.
async fn named<E: std::fmt::Display>(
    name: &'static str,
    server: impl Future<Output = Result<(), E>>,
) {
    if let Err(error) = server.await {
        tracing::error!(server = name, %error, "a netboot server stopped: sleds cannot boot");
    }
}

async fn wait_for_stop() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
