//! The daemon's parts in this process, with power and GitHub's API played.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use control::{
    Effect, Event, Inventory, Limits, Outcome, PoolPolicy, PowerReading, PoweredOn, WarmPolicy,
};
use messages::{BootId, EffectId, Generation, Mac, RunnerId, Secret, SledId};
use musher::agents::{Agents, Wakers};
use musher::boot_authority::Authority;
use musher::engine::{Clock, Dispatch, Engine, EngineConfig, report};
use musher::http::{Shutdown, ShutdownHandle};
use musher::keys::{Keys, ReceiptKey};
use musher::netboot::{LeaseTable, MacAddress};
use musher::store::Store;
use musher::vault::Vault;
use musher::webhook::{Hub, Webhook};
use protocols::dhcp::AddressRange;
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::SLEDS;
use crate::deliveries::{LABELS, ORGANIZATION, SECRET};
use crate::world::fleet;

/// What jobs for the warm pool ask for.
pub(crate) const WARM_LABELS: [&str; 2] = ["self-hosted", "warm"];

/// A runner's job, by the runner's name.
type Orders = Arc<Mutex<HashMap<String, u64>>>;

/// A running appliance.
pub(crate) struct Appliance {
    runtime: Runtime,
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
}

impl Appliance {
    /// Starts it on an empty state in `dir`.
    ///
    /// # Errors
    /// A listener, the disk or the keys refuse.
    pub(crate) fn start(dir: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("start the appliance's runtime")?;
        let keys = Keys::load(dir)?;
        let clock = Clock::start();
        let config = EngineConfig {
            appliance: keys.appliance,
            limits: Limits::default(),
            clock,
            store: Store::open(&dir.join("musher.redb"))?,
        };
        let (engine, mut waiting) = config.load()?;
        waiting.settle(Event::Started)?;
        waiting.settle(Event::Inventory(inventory()))?;
        let (vault, wakers) = (Vault::default(), Wakers::default());
        let power: Vec<_> = (0..SLEDS).map(|_| watch::Sender::new(false)).collect();
        let power = Arc::new(power);
        let hub = waiting
            .state()
            .hub_id("main")
            .context("the App has no number")?;
        let orders = Orders::default();
        let drivers = Drivers {
            engine: engine.clone(),
            clock,
            vault: vault.clone(),
            wakers: wakers.clone(),
            receipts: Arc::new(keys.receipts),
            power: Arc::clone(&power),
            orders: Arc::clone(&orders),
            runtime: runtime.handle().clone(),
        };
        waiting.run(drivers).context("start the engine")?;
        let leases = LeaseTable::new(
            AddressRange::new(address(0), address(SLEDS - 1))?,
            &[],
            3_600,
        );
        for index in 0..SLEDS {
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
        let (shutdown, stopping) = Shutdown::new();
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
        Ok(Self {
            runtime,
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
            if ready.await? == SLEDS {
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

/// The warm pool, and one for jobs that others run.
fn inventory() -> Inventory {
    let mut inventory = fleet::one_pool(ORGANIZATION, &WARM_LABELS, SLEDS);
    for (index, sled) in inventory.sleds.iter_mut().enumerate() {
        sled.mac = mac(index);
    }
    let mut others = inventory.pools.clone();
    for pool in &mut others {
        pool.name = "others".to_owned();
        pool.labels = LABELS.map(str::to_owned).to_vec();
    }
    for pool in &mut inventory.pools {
        let count = u32::try_from(SLEDS).unwrap_or(u32::MAX);
        pool.policy = PoolPolicy {
            warm: WarmPolicy {
                count,
                ..WarmPolicy::default()
            },
            ..PoolPolicy::default()
        };
    }
    inventory.pools.extend(others);
    inventory
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
                self.vault
                    .keep(*boot, name.clone(), Secret::new("e30=".into()));
                self.note_job(*boot, name.clone());
                Outcome::Minted(Ok(runner_id(name)))
            }
            Effect::DeleteRunner { .. } => Outcome::Deleted(Ok(true)),
            Effect::RerunJob { .. } => Outcome::Rerun(Ok(())),
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
