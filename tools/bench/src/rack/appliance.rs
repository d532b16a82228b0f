//! The daemon's parts in this process, with power played, and GitHub's API
//! played or asked.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use control::{Effect, Event, Inventory, Limits, Outcome, PowerReading, PoweredOn};
use messages::{BootId, EffectId, Generation, Identity, Mac, RunnerId, Secret, SledId};
use musher::agents::{Agents, Wakers};
use musher::boot_authority::Authority;
use musher::config::{SWEEP_S, Tunnel, Way};
use musher::dispatch::{DispatchConfig, Dispatcher};
use musher::engine::{Clock, Dispatch, Engine, EngineConfig, report};
use musher::github::{GithubClient, GithubConfig};
use musher::http::{Shutdown, ShutdownHandle};
use musher::keys::{Keys, ReceiptKey};
use musher::netboot::{LeaseTable, MacAddress};
use musher::store::Store;
use musher::sweep::Places;
use musher::vault::Vault;
use musher::ways::{App, WaysConfig};
use musher::webhook::{Hub, Webhook};
use protocols::dhcp::AddressRange;
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::deliveries::SECRET;

/// A runner's job, by the runner's name.
type Orders = Arc<Mutex<HashMap<String, u64>>>;

/// What an appliance is given.
pub(crate) struct Setting {
    /// Each sled gets its card's address here.
    pub(crate) inventory: Inventory,
    /// GitHub, which is played where there is none.
    pub(crate) github: Option<Github>,
}

/// How GitHub is asked, and how its deliveries come in.
pub(crate) struct Github {
    pub(crate) config: GithubConfig,
    pub(crate) way: Way,
}

/// A running appliance.
pub(crate) struct Appliance {
    runtime: Runtime,
    sleds: usize,
    /// Ends with it.
    _ways: JoinSet<()>,
    engine: Engine,
    shutdown: ShutdownHandle,
    /// Where deliveries go.
    pub(crate) webhook: SocketAddr,
    agents: SocketAddr,
    tls: TlsConnector,
    power: Arc<Vec<watch::Sender<bool>>>,
    orders: Orders,
}

/// What a sled knows of the world.
pub(crate) struct Place {
    pub(crate) mac: Mac,
    /// Its address on the sled network.
    pub(crate) address: Ipv4Addr,
    pub(crate) agents: SocketAddr,
    pub(crate) tls: TlsConnector,
    pub(crate) power: watch::Sender<bool>,
    /// For what its firmware asks, which is played.
    pub(crate) engine: Engine,
    /// Where its runner gets its job, if not from nowhere.
    pub(crate) hub: Option<Arc<fakehub::Hub>>,
}

impl Appliance {
    /// Starts it on an empty state in `dir`.
    ///
    /// # Errors
    /// A listener, the disk or the keys refuse.
    pub(crate) fn start(dir: &Path, setting: Setting) -> Result<Self> {
        let Setting {
            mut inventory,
            github,
        } = setting;
        let sleds = inventory.sleds.len();
        for (index, sled) in inventory.sleds.iter_mut().enumerate() {
            sled.mac = mac(index);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("start the appliance's runtime")?;
        let entered = runtime.enter();
        let keys = Keys::load(dir)?;
        let clock = Clock::start();
        let store = Store::open(&dir.join("musher.redb"))?;
        let config = EngineConfig {
            appliance: keys.appliance,
            limits: Limits::default(),
            clock,
            store: store.clone(),
        };
        let (engine, mut waiting) = config.load()?;
        waiting.settle(Event::Started)?;
        let mut places = Places::default();
        inventory.pools.iter().for_each(|pool| places.add(pool));
        waiting.settle(Event::Inventory(inventory))?;
        let (vault, wakers) = (Vault::default(), Wakers::default());
        let power: Vec<_> = (0..sleds).map(|_| watch::Sender::new(false)).collect();
        let power = Arc::new(power);
        let hub = waiting
            .state()
            .hub_id("main")
            .context("the App has no number")?;
        let orders = Orders::default();
        let receipts = Arc::new(keys.receipts);
        let (shutdown, stopping) = Shutdown::new();
        let mut ways = JoinSet::new();
        let mut asked = None;
        if let Some(Github { config, way }) = github {
            let api_url = config.api_url.clone();
            let client = GithubClient::start(config)?;
            let dispatch = DispatchConfig {
                engine: engine.clone(),
                clock,
                vault: vault.clone(),
                wakers: wakers.clone(),
                receipts: Arc::clone(&receipts),
                hubs: [(hub, client.clone())].into(),
                drivers: Vec::new(),
                serial: BTreeMap::new(),
                logs: PathBuf::from(dir),
            };
            asked = Some(dispatch.start());
            let poll = Duration::from_secs(way.poll_s());
            let sweep = Some(Duration::from_secs(SWEEP_S));
            let config = WaysConfig {
                tunnel: Tunnel { way, poll, sweep },
                apps: vec![App {
                    hub,
                    secret: SECRET.to_vec().into(),
                    api_url,
                    client,
                    places,
                    installations: Arc::default(),
                }],
                runner_prefix: control::runner_prefix(keys.appliance),
                state_dir: PathBuf::from(dir),
                engine: engine.clone(),
                store,
                clock,
            };
            config.start(&mut ways, &stopping);
        }
        let drivers = Drivers {
            engine: engine.clone(),
            clock,
            vault: vault.clone(),
            wakers: wakers.clone(),
            receipts,
            github: asked,
            power: Arc::clone(&power),
            orders: Arc::clone(&orders),
            runtime: runtime.handle().clone(),
        };
        waiting.run(drivers).context("start the engine")?;
        let leases = LeaseTable::new(
            AddressRange::new(address(0), address(sleds - 1))?,
            &[],
            3_600,
        );
        for index in 0..sleds {
            let card = MacAddress::new(mac(index).0);
            leases.restore(card, address(index), Duration::from_secs(3_600));
        }
        let listen = |what| async move {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await;
            let listener = listener.with_context(|| format!("listen for {what}"))?;
            let address = listener.local_addr().context("ask for the port")?;
            anyhow::Ok((listener, address))
        };
        let (webhook_listener, webhook) = runtime.block_on(listen("deliveries"))?;
        let (agent_listener, agents) = runtime.block_on(listen("agents"))?;
        let hub = Hub {
            id: hub,
            name: "main".to_owned(),
            secret: SECRET.to_vec().into(),
            installations: Arc::default(),
        };
        let receiver = Arc::new(Webhook::new(engine.clone(), vec![hub]));
        runtime.spawn(receiver.run(webhook_listener, stopping.clone()));
        let url = format!("https://{agents}");
        let authority = Authority::new(engine.clone(), url, keys.sled_tls.pin, Vec::new(), leases);
        let listener = Arc::new(Agents {
            engine: engine.clone(),
            authority: Arc::new(authority),
            tls: TlsAcceptor::from(Arc::clone(&keys.sled_tls.config)),
            vault,
            wakers,
            logs: dir.to_path_buf(),
            log_limit: 1 << 20,
        });
        runtime.spawn(listener.run(agent_listener, stopping));
        drop(entered);
        Ok(Self {
            runtime,
            sleds,
            _ways: ways,
            engine,
            shutdown,
            webhook,
            agents,
            tls: connector(&dir.join("sled-tls.crt"))?,
            power,
            orders,
        })
    }

    /// What the sled of this index knows.
    pub(crate) fn sled(&self, index: usize) -> Place {
        Place {
            mac: mac(index),
            address: address(index),
            agents: self.agents,
            tls: self.tls.clone(),
            power: self.power[index].clone(),
            engine: self.engine.clone(),
            hub: None,
        }
    }

    /// Waits until every sled is wiped and waits for an order.
    ///
    /// # Errors
    /// The engine stopped.
    pub(crate) async fn all_warm(&self) -> Result<()> {
        loop {
            let ready = self.engine.query(|state, _| {
                let ready = |boot: &control::Boot| boot.stage == control::BootStage::Ready;
                state.boots().filter(|(_, boot)| ready(boot)).count()
            });
            if ready.await? == self.sleds {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until no boot is under way and nothing is left to be done.
    ///
    /// # Errors
    /// The engine stopped.
    pub(crate) async fn at_rest(&self) -> Result<()> {
        loop {
            let rests = self.engine.query(|state, _| {
                let ended = |boot: &control::Boot| boot.stage == control::BootStage::Ended;
                let over = |job: &control::Job| job.state == control::JobState::Completed;
                state.boots().all(|(_, boot)| ended(boot))
                    && state.jobs().all(|(_, job)| over(job))
                    && state.due_effects(messages::Millis(u64::MAX)).count() == 0
            });
            if rests.await? {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The job that a runner was minted for, and the runner's id.
    ///
    /// # Errors
    /// It was minted for none.
    pub(crate) async fn job_of(&self, runner: &str) -> Result<(u64, u64)> {
        for _ in 0..100 {
            if let Some(job) = self.noted(runner) {
                return Ok((job, runner_id(runner).0));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        anyhow::bail!("runner {runner} was minted for no job")
    }

    fn noted(&self, runner: &str) -> Option<u64> {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        orders.get(runner).copied()
    }

    /// Stops everything.
    pub(crate) fn stop(self) {
        self.shutdown.stop();
        self.engine.stop();
        self.runtime.shutdown_timeout(Duration::from_secs(5));
    }
}

fn mac(index: usize) -> Mac {
    let [high, low] = u16::try_from(index).unwrap_or(u16::MAX).to_be_bytes();
    Mac([0x52, 0x54, 0, 0x77, high, low])
}

/// All of 127.0.0.0/8 is this machine.
fn address(index: usize) -> Ipv4Addr {
    let [high, low] = u16::try_from(index).unwrap_or(u16::MAX).to_be_bytes();
    Ipv4Addr::new(127, 77, high, low)
}

/// GitHub's id for a runner, which follows from its name.
fn runner_id(name: &str) -> RunnerId {
    let bytes = name.bytes();
    let spread = |hash: u64, byte| crate::random::mix(hash ^ u64::from(byte));
    RunnerId(bytes.fold(1, spread) >> 16)
}

/// TLS that trusts this appliance's certificate.
fn connector(certificate: &Path) -> Result<TlsConnector> {
    let der =
        std::fs::read(certificate).with_context(|| format!("read {}", certificate.display()))?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(der.into())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Power and GitHub, which do everything at once.
struct Drivers {
    engine: Engine,
    clock: Clock,
    vault: Vault,
    wakers: Wakers,
    receipts: Arc<ReceiptKey>,
    /// Asks GitHub, where that is not played.
    github: Option<Dispatcher>,
    power: Arc<Vec<watch::Sender<bool>>>,
    orders: Orders,
    runtime: Handle,
}

impl Drivers {
    fn switch(&self, sled: SledId) -> Option<&watch::Sender<bool>> {
        // The core numbers sleds from 1 in the order of the inventory.
        let index = usize::try_from(sled.0).ok()?.checked_sub(1)?;
        self.power.get(index)
    }

    /// Remembers which job a boot was for, after the answer is on its way.
    fn note_job(&self, boot: BootId, name: String) {
        let (engine, orders) = (self.engine.clone(), Arc::clone(&self.orders));
        self.runtime.spawn(async move {
            let job = engine
                .query(move |state, _| state.boot(boot)?.for_job)
                .await;
            if let Ok(Some(job)) = job {
                let mut orders = orders.lock().unwrap_or_else(PoisonError::into_inner);
                orders.insert(name, job.number);
            }
        });
    }
}

impl Dispatch for Drivers {
    fn begin(&self, id: EffectId, effect: &Effect) {
        if let (Some(github), None) = (&self.github, effect.sled()) {
            return github.begin(id, effect);
        }
        let outcome = match effect {
            Effect::PowerOn { sled, .. } | Effect::PowerOnByHand { sled, .. } => {
                let edge = self
                    .switch(*sled)
                    .is_some_and(|power| !power.send_replace(true));
                Outcome::PoweredOn(Ok(PoweredOn {
                    at: self.clock.now(),
                    edge,
                    override_confirmed: true,
                }))
            }
            Effect::PowerOff { sled, .. } => {
                self.switch(*sled).map(|power| power.send_replace(false));
                Outcome::PoweredOff(Ok(()))
            }
            Effect::Mint { name, boot, .. } => {
                self.vault.keep(
                    *boot,
                    name.clone(),
                    Identity::Jit(Secret::new("e30=".into())),
                );
                self.note_job(*boot, name.clone());
                Outcome::Minted(Ok(Some(runner_id(name))))
            }
            Effect::DeleteRunner { .. } => Outcome::Deleted(Ok(true)),
            Effect::RerunJob { .. } => Outcome::Rerun(Ok(())),
            Effect::DispatchWorkflow { .. } => Outcome::Dispatched(Ok(None)),
            Effect::LookUpJob { .. } => Outcome::LookedUp(Ok(control::JobAnswer::Gone)),
            Effect::SignReceipt { digest, .. } => {
                let signed = messages::SignedReceipt::signed_hash(digest);
                Outcome::Signed(self.receipts.sign(&signed))
            }
        };
        let engine = self.engine.clone();
        self.runtime
            .spawn(async move { report(&engine, id, outcome).await });
    }

    fn read_power(&self, sled: SledId, generation: Generation) {
        let on = self.switch(sled).is_some_and(|power| *power.borrow());
        let result = Ok(if on {
            PowerReading::On
        } else {
            PowerReading::Off
        });
        let engine = self.engine.clone();
        self.runtime.spawn(async move {
            let read = Event::PowerRead {
                sled,
                generation,
                result,
            };
            drop(engine.submit(read).await);
        });
    }

    fn read_facts(&self, sled: SledId, generation: Generation) {
        let engine = self.engine.clone();
        self.runtime.spawn(async move {
            let read = Event::FactsRead {
                sled,
                generation,
                result: Ok(None),
            };
            drop(engine.submit(read).await);
        });
    }

    fn wake(&self, boot: BootId) {
        self.wakers.wake(boot);
    }
}
