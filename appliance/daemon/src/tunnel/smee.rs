//! A client of a smee.io-style channel: deliveries as server-sent events.
//!
//! Whoever knows a channel's address can read it and post to it, and the
//! channel parses a body and writes it again. What fits its signature is a
//! delivery. Anything else is at most a hint that GitHub's own log has news:
//! nothing that it says is believed.

use std::{borrow::Cow, sync::Arc, time::Duration};

use control::Source;
use http_body_util::BodyExt;
use protocols::event_stream::{EventStream, Item};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout};

use super::TunnelShared;
use crate::{
    config::ChannelUrl,
    engine::{Clock, Engine},
    http::Shutdown,
    intake::{self, Delivery},
    retry::Backoff,
    ways::Hub,
};

mod connect;

use connect::ConnectError;

/// Waits between connections.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// smee.io says something every 30 s.
const SILENCE: Duration = Duration::from_secs(75);
/// Most bytes of an event. The channel takes 1 MB at most itself, and what is
/// larger comes from the log.
const EVENT_BYTES: usize = 2 * 1024 * 1024;
/// A stream that lasted so long did work: the next wait is short again.
const WORKED: Duration = Duration::from_secs(60);

/// A channel that is listened to.
pub struct Smee {
    /// Its address.
    pub url: ChannelUrl,
    /// Whose deliveries may come.
    pub hubs: Vec<Hub>,
    /// Where deliveries go.
    pub engine: Engine,
    /// The appliance's time.
    pub clock: Clock,
    /// What others see.
    pub shared: Arc<TunnelShared>,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the channel is silent")]
    Silent,
    #[error("the channel broke off: {0}")]
    Broken(hyper::Error),
    #[error("the channel ended the stream")]
    Ended,
}

/// What the channel makes of a delivery: its headers in lower case, and its
/// body as JSON. The rest is of no use.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow, rename = "x-github-delivery")]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "x-github-event")]
    event: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "x-hub-signature-256")]
    signature: Option<Cow<'a, str>>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

impl Smee {
    /// Listens until the appliance stops.
    pub async fn run(self, shutdown: Shutdown) {
        tokio::select! {
            () = self.listen_on() => {}
            () = shutdown.wait() => {}
        }
    }

    async fn listen_on(&self) {
        let mut events = EventStream::new(EVENT_BYTES);
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        loop {
            let started = Instant::now();
            let error = self.listen(&mut events).await;
            if started.elapsed() >= WORKED {
                backoff.reset();
            }
            let wait = backoff.failed();
            let wait_s = wait.as_secs();
            tracing::warn!(%error, host = %self.url.host, wait_s, "the channel is down; opening it again");
            self.shared.down(self.clock.now(), error.to_string());
            tokio::time::sleep(wait).await;
        }
    }

    /// Opens the stream and takes what comes until it ends.
    async fn listen(&self, events: &mut EventStream) -> StreamError {
        *events = EventStream::resume(EVENT_BYTES, events.last_id().to_owned());
        let mut stream = match connect::open(&self.url, events.last_id()).await {
            Ok(stream) => stream,
            Err(error) => return error.into(),
        };
        tracing::info!(host = %self.url.host, "the channel is open");
        self.shared.up(self.clock.now());
        // What was sent while it was not is in the log alone.
        self.hint();
        loop {
            let frame = match timeout(SILENCE, stream.body.frame()).await {
                Err(_) => return StreamError::Silent,
                Ok(None) => return StreamError::Ended,
                Ok(Some(Err(error))) => return StreamError::Broken(error),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(bytes) = frame.into_data() else {
                continue;
            };
            for item in events.push(&bytes) {
                match item {
                    Item::TooLong => self.hint(),
                    Item::Event { kind, data } => self.event(&kind, &data).await,
                }
            }
        }
    }

    async fn event(&self, kind: &str, data: &[u8]) {
        match kind {
            "" | "message" => self.take(data).await,
            // `ready` and `ping` are signs of life.
            _ => {}
        }
    }

    async fn take(&self, data: &[u8]) {
        let Ok(wire) = serde_json::from_slice::<Wire<'_>>(data) else {
            tracing::debug!("something on the channel is no delivery");
            return;
        };
        let (Some(id), Some(event), Some(body)) = (wire.id, wire.event, wire.body) else {
            return;
        };
        if !intake::is_of_use(&event, None) {
            return;
        }
        let Some(key) = intake::delivery_key(&id) else {
            return;
        };
        let signature = wire.signature.as_deref().unwrap_or_default();
        let signed = |hub: &&Hub| {
            let body = body.get().as_bytes();
            protocols::webhook::verify(&hub.secret, body, signature).is_ok()
        };
        let Some(hub) = self.hubs.iter().find(signed) else {
            let known = |hub: &Hub| hub.log.seen.contains(key);
            if !self.hubs.iter().any(known) {
                tracing::debug!("an unverified delivery on the channel: looking into the log");
                self.hint();
            }
            return;
        };
        let hook = match intake::read(&event, body.get().as_bytes(), &hub.log.installations) {
            Ok(hook) => hook,
            Err(error) => {
                tracing::warn!(delivery = %id, %error, "a delivery of the channel cannot be read");
                return;
            }
        };
        let delivery = Delivery {
            id: &id,
            key,
            hub: hub.id,
            source: Source::Tunnel,
            hook,
        };
        match intake::submit(&self.engine, delivery).await {
            Ok(_) => hub.log.seen.insert(key),
            // It stays in the log.
            Err(error) => tracing::warn!(delivery = %id, %error, "a delivery was not taken"),
        }
    }

    fn hint(&self) {
        self.hubs.iter().for_each(|hub| hub.log.hint());
    }
}

#[cfg(test)]
mod tests;
