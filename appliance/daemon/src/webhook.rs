//! The webhook receiver: verify the raw bytes, commit, then answer 200.
//!
//! | answer | when |
//! | --- | --- |
//! | 200 `{"result": …}` | the delivery and its effect are on disk, or it asks for nothing |
//! | 400 | not JSON, or a required field or header is missing |
//! | 401 | no signature, or a wrong one; nothing was parsed |
//! | 404 | any other path or method |
//! | 408 | the body came too slowly |
//! | 413 | more than 25 MB, GitHub's own cap |
//! | 503 with Retry-After | it could not be stored, or too many unverified bytes are in flight |
//!
//! It decides nothing about jobs: what a delivery means is for `control`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use control::{DeliveryResult, Source};
use http_body_util::BodyExt;
use hyper::{
    Method, Request, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_LENGTH, HeaderValue, RETRY_AFTER},
};
use messages::HubId;
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::{
    config::SecretBytes,
    engine::Engine,
    http::{Answer, Connections, Shutdown, json, serve_connection, text},
    installations::Installations,
    intake::{self, Delivery, NotTaken},
    payload::PayloadError,
};

/// GitHub caps payloads at 25 MB (GitHub docs, "Webhook events and payloads").
const MAX_BODY: usize = 25 * 1024 * 1024;

/// Room that is made for a body on the word of its head alone, in bytes. Few
/// deliveries are longer.
const MAX_RESERVED: usize = 32 * 1024;

/// The first bytes of a body, which always have room: deliveries of jobs fit
/// in there, so that nobody's large bodies keep them out. Together with
/// [`CONNECTIONS`] this bounds them to 64 MiB.
const FREE: usize = 64 * 1024;

/// Unverified bytes in flight beyond [`FREE`], over all connections, in KiB.
const BUDGET_KIB: usize = 64 * 1024;

/// GitHub gives up after 10 s, so a body that takes longer helps nobody.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// An engine that is well answers in milliseconds.
const HEALTH_DEADLINE: Duration = Duration::from_secs(5);

/// GitHub sends few in parallel; slow ones are cut by deadlines. Behind a
/// tunnel all of them come from one address.
const CONNECTIONS: Connections = Connections {
    most: 1024,
    per_peer: 1024,
};

/// One App's way in.
pub struct Hub {
    /// The App's number in the core.
    pub id: HubId,
    /// Its configured name, part of its path.
    pub name: String,
    /// Its webhook secret.
    pub secret: SecretBytes,
    /// Whose deliveries are taken.
    pub installations: Arc<Installations>,
}

/// The receiver.
pub struct Webhook {
    /// Where events go.
    pub engine: Engine,
    /// The Apps; the first one also answers the bare path.
    pub hubs: Vec<Hub>,
    budget: Arc<Semaphore>,
}

impl Webhook {
    /// A receiver for these Apps.
    #[must_use]
    pub fn new(engine: Engine, hubs: Vec<Hub>) -> Self {
        Self {
            engine,
            hubs,
            budget: Arc::new(Semaphore::new(BUDGET_KIB)),
        }
    }

    /// Accepts connections until the appliance stops.
    pub async fn run(self: Arc<Self>, listener: TcpListener, shutdown: Shutdown) {
        let until = shutdown.clone();
        let serve = |stream, peer: Option<SocketAddr>| {
            let (webhook, shutdown) = (Arc::clone(&self), shutdown.clone());
            async move {
                serve_connection(stream, shutdown, |request| webhook.answer(peer, request)).await;
            }
        };
        CONNECTIONS.accept(listener, until, serve).await;
    }

    async fn answer(&self, peer: Option<SocketAddr>, request: Request<Incoming>) -> Answer {
        let path = request.uri().path();
        if path == "/healthz" {
            return self.health(request.method()).await;
        }
        let hub = match path.strip_prefix("/api/webhook") {
            Some("") => self.hubs.first(),
            Some(rest) => rest
                .strip_prefix('/')
                .and_then(|name| self.hubs.iter().find(|hub| hub.name == name)),
            None => None,
        };
        let Some(hub) = hub else {
            return text(StatusCode::NOT_FOUND, "not found");
        };
        if request.method() != Method::POST {
            return text(StatusCode::NOT_FOUND, "not found");
        }
        match self.deliver(hub, request).await {
            Ok(result) => json(
                StatusCode::OK,
                &serde_json::json!({ "result": result.as_str() }),
            ),
            Err(refusal) => {
                tracing::info!(
                    ?peer,
                    status = refusal.status().as_u16(),
                    "delivery refused: {refusal}"
                );
                refusal.answer()
            }
        }
    }

    async fn health(&self, method: &Method) -> Answer {
        if method != Method::GET && method != Method::HEAD {
            return text(StatusCode::NOT_FOUND, "not found");
        }
        if !self.engine.is_storing() {
            return text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the database cannot be written: is its disk full?",
            );
        }
        let answer = tokio::time::timeout(HEALTH_DEADLINE, self.engine.query(|_, _| ())).await;
        match answer {
            Ok(Ok(())) => text(StatusCode::OK, "ok"),
            Ok(Err(_)) => text(StatusCode::SERVICE_UNAVAILABLE, "stopping"),
            Err(_) => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the database cannot be used",
            ),
        }
    }

    async fn deliver(
        &self,
        hub: &Hub,
        request: Request<Incoming>,
    ) -> Result<DeliveryResult, Refusal> {
        let (head, body) = request.into_parts();
        let declared = head
            .headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        if declared > MAX_BODY {
            return Err(Refusal::TooLarge);
        }
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let body = self.read(body, declared).await?;
        let signature = header("x-hub-signature-256").ok_or(Refusal::Unsigned)?;
        protocols::webhook::verify(&hub.secret, &body.bytes, signature)
            .map_err(|_| Refusal::BadSignature)?;
        let id = header("x-github-delivery").ok_or(Refusal::MissingHeader("X-GitHub-Delivery"))?;
        let event = header("x-github-event").ok_or(Refusal::MissingHeader("X-GitHub-Event"))?;
        let key = intake::delivery_key(id).ok_or(Refusal::MissingHeader("X-GitHub-Delivery"))?;
        let hook = intake::read(event, &body.bytes, &hub.installations)?;
        drop(body);
        let delivery = Delivery {
            id,
            key,
            hub: hub.id,
            source: Source::Tunnel,
            hook,
        };
        Ok(intake::submit(&self.engine, delivery).await?)
    }

    /// Reads a body within its deadline. Bytes are charged as they arrive, not
    /// as they are announced, so that slow senders cannot shut others out.
    async fn read(&self, mut body: Incoming, declared: usize) -> Result<Charged, Refusal> {
        let deadline = Instant::now() + BODY_DEADLINE;
        let mut charged = Charged {
            bytes: Vec::with_capacity(declared.min(MAX_RESERVED)),
            permits: None,
        };
        let mut paid = 0;
        loop {
            let frame = match tokio::time::timeout_at(deadline, body.frame()).await {
                Err(_) => return Err(Refusal::Slow),
                Ok(None) => break,
                Ok(Some(Err(_))) => return Err(Refusal::Broken),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(data): Result<Bytes, _> = frame.into_data() else {
                continue;
            };
            let length = charged.bytes.len() + data.len();
            if length > MAX_BODY {
                return Err(Refusal::TooLarge);
            }
            let charged_kib = length.saturating_sub(FREE).div_ceil(1024);
            let owed = u32::try_from(charged_kib).unwrap_or(u32::MAX) - paid;
            if owed > 0 {
                let permit = Arc::clone(&self.budget)
                    .try_acquire_many_owned(owed)
                    .map_err(|_| Refusal::Busy)?;
                match &mut charged.permits {
                    Some(permits) => permits.merge(permit),
                    None => charged.permits = Some(permit),
                }
                paid += owed;
            }
            charged.bytes.extend_from_slice(&data);
        }
        Ok(charged)
    }
}

/// A body with its share of the budget.
struct Charged {
    bytes: Vec<u8>,
    permits: Option<OwnedSemaphorePermit>,
}

/// Why a delivery is not taken.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("X-Hub-Signature-256 is missing: set a secret for the App's webhook")]
    Unsigned,
    #[error(
        "X-Hub-Signature-256 does not fit the body: is the webhook's secret the same on both sides?"
    )]
    BadSignature,
    #[error("header {0} is missing or unreadable")]
    MissingHeader(&'static str),
    #[error(transparent)]
    Payload(#[from] PayloadError),
    #[error("the body is larger than 25 MB")]
    TooLarge,
    #[error("the body came too slowly")]
    Slow,
    #[error("the body ended early")]
    Broken,
    #[error("too much is being received at once: come again")]
    Busy,
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
}

impl Refusal {
    const fn status(&self) -> StatusCode {
        match self {
            Self::Unsigned | Self::BadSignature => StatusCode::UNAUTHORIZED,
            Self::MissingHeader(_) | Self::Payload(_) | Self::Broken => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Busy | Self::NotTaken(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn answer(&self) -> Answer {
        let error = serde_json::json!({ "error": self.to_string() });
        let mut answer = json(self.status(), &error);
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            answer
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        answer
    }
}
