//! How deliveries come in: starts what `[tunnel]` names and one log reader per
//! App, and tells people how each does. It takes no delivery itself.

use std::sync::Arc;

use messages::HubId;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::{
    config::{Tunnel, Way},
    delivery_log::{DeliveryLog, LogConfig, LogHealth, LogShared, kept_ms},
    engine::{Clock, Engine},
    github::GithubClient,
    http::Shutdown,
    store::Store,
};

/// One App, as its ways in need it.
pub struct App {
    /// Its number in the core.
    pub hub: HubId,
    /// Base of its API.
    pub api_url: String,
    /// Its client.
    pub client: GithubClient,
}

/// What the ways in are built from.
pub struct WaysConfig {
    /// `[tunnel]`.
    pub tunnel: Tunnel,
    /// Every App.
    pub apps: Vec<App>,
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
    /// One per App.
    pub delivery_log: Vec<LogHealth>,
}

/// The ways in, as far as others ask about them.
#[derive(Debug)]
pub struct Ways {
    kind: &'static str,
    logs: Vec<Arc<LogShared>>,
}

impl WaysConfig {
    /// Starts every way in.
    pub fn start(self, tasks: &mut JoinSet<()>, shutdown: &Shutdown) -> Ways {
        let mut ways = Ways {
            kind: self.tunnel.way.kind(),
            logs: Vec::new(),
        };
        let trust_answers = match self.tunnel.way {
            Way::Direct => true,
            Way::Pull => false,
        };
        for app in self.apps {
            let shared = Arc::new(LogShared::default());
            let log = DeliveryLog {
                hub: app.hub,
                client: app.client,
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
            ways.logs.push(shared);
        }
        ways
    }
}

impl Ways {
    /// How they do.
    #[must_use]
    pub fn view(&self) -> WaysView {
        WaysView {
            kind: self.kind,
            delivery_log: self.logs.iter().map(|log| log.health()).collect(),
        }
    }
}
