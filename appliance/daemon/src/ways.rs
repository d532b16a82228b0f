//! How deliveries come in: starts what `[tunnel]` names, and one log reader
//! and one sweep per App, and tells people how each does. It takes no delivery
//! itself.

use std::{path::PathBuf, sync::Arc};

use messages::HubId;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::{
    config::{SecretBytes, Tunnel, Way},
    delivery_log::{DeliveryLog, LogConfig, LogShared, kept_ms},
    engine::{Clock, Engine},
    github::GithubClient,
    http::Shutdown,
    installations::Installations,
    reader::{Board, Health},
    store::Store,
    sweep::{Places, Sweep},
    tunnel::{TunnelShared, TunnelView, command::CommandTunnel, smee::Smee},
};

/// One App, as its ways in need it.
pub struct App {
    /// Its number in the core.
    pub hub: HubId,
    /// Its webhook secret.
    pub secret: SecretBytes,
    /// Base of its API.
    pub api_url: String,
    /// Its client.
    pub client: GithubClient,
    /// Where its pools' jobs are.
    pub places: Places,
    /// Whose deliveries are taken.
    pub installations: Arc<Installations>,
}

/// One App, as a channel needs it.
pub struct Hub {
    /// Its number in the core.
    pub id: HubId,
    /// Its webhook secret.
    pub secret: SecretBytes,
    /// The reader of its log.
    pub log: Arc<LogShared>,
}

/// What the ways in are built from.
pub struct WaysConfig {
    /// `[tunnel]`.
    pub tunnel: Tunnel,
    /// Every App.
    pub apps: Vec<App>,
    /// What the names of this appliance's runners begin with.
    pub runner_prefix: String,
    /// Where a tunnel program's process number is kept.
    pub state_dir: PathBuf,
    /// Where deliveries go.
    pub engine: Engine,
    /// Where bookmarks are.
    pub store: Store,
    /// The appliance's time.
    pub clock: Clock,
}

/// How deliveries come in, for people.
#[derive(Debug, Serialize)]
pub struct WaysView {
    /// `[tunnel]` kind.
    pub kind: &'static str,
    /// The tunnel that Musher keeps up, if there is one.
    pub tunnel: Option<TunnelView>,
    /// One per App.
    pub delivery_log: Vec<Health>,
    /// One per App that is swept.
    pub sweep: Vec<Health>,
}

/// The ways in, as far as others ask about them.
#[derive(Debug)]
pub struct Ways {
    kind: &'static str,
    tunnel: Option<Arc<TunnelShared>>,
    logs: Vec<Arc<LogShared>>,
    sweeps: Vec<Arc<Board>>,
}

impl WaysConfig {
    /// Starts every way in.
    pub fn start(self, tasks: &mut JoinSet<()>, shutdown: &Shutdown) -> Ways {
        let mut ways = Ways {
            kind: self.tunnel.way.kind(),
            tunnel: None,
            logs: Vec::new(),
            sweeps: Vec::new(),
        };
        // A channel says 200 to everything, whether we listen or not.
        let trust_answers = match self.tunnel.way {
            Way::Direct | Way::Command(_) => true,
            Way::Smee(_) | Way::Pull => false,
        };
        let mut hubs = Vec::new();
        for app in self.apps {
            let shared = Arc::new(LogShared::of(Arc::clone(&app.installations)));
            let log = DeliveryLog {
                hub: app.hub,
                client: app.client.background(),
                config: LogConfig {
                    pace: self.tunnel.poll,
                    trust_answers,
                    kept_ms: kept_ms(&app.api_url),
                },
                engine: self.engine.clone(),
                store: self.store.clone(),
                clock: self.clock,
                shared: Arc::clone(&shared),
            };
            tasks.spawn(log.run(shutdown.clone()));
            if let (Some(interval), false) = (self.tunnel.sweep, app.places.is_empty()) {
                let board = Arc::new(Board::new("sweep"));
                let sweep = Sweep {
                    hub: app.hub,
                    client: app.client.background(),
                    places: app.places,
                    prefix: self.runner_prefix.clone(),
                    installations: app.installations,
                    engine: self.engine.clone(),
                    clock: self.clock,
                    board: Arc::clone(&board),
                };
                tasks.spawn(sweep.run(interval, shutdown.clone()));
                ways.sweeps.push(board);
            }
            hubs.push(Hub {
                id: app.hub,
                secret: app.secret,
                log: Arc::clone(&shared),
            });
            ways.logs.push(shared);
        }
        let shared = Arc::new(TunnelShared::default());
        match self.tunnel.way {
            Way::Direct | Way::Pull => return ways,
            Way::Command(command) => {
                let tunnel = CommandTunnel {
                    command,
                    state_dir: self.state_dir,
                    clock: self.clock,
                    shared: Arc::clone(&shared),
                };
                tasks.spawn(tunnel.run(shutdown.clone()));
            }
            Way::Smee(url) => {
                let channel = Smee {
                    url,
                    hubs,
                    engine: self.engine,
                    clock: self.clock,
                    shared: Arc::clone(&shared),
                };
                tasks.spawn(channel.run(shutdown.clone()));
            }
        }
        ways.tunnel = Some(shared);
        ways
    }
}

impl Ways {
    /// How they do.
    #[must_use]
    pub fn view(&self) -> WaysView {
        WaysView {
            kind: self.kind,
            tunnel: self.tunnel.as_ref().map(|tunnel| tunnel.view()),
            delivery_log: self.logs.iter().map(|log| log.board.health()).collect(),
            sweep: self.sweeps.iter().map(|board| board.health()).collect(),
        }
    }
}
