//! Sends signed deliveries as GitHub does: once, with a deadline of ten
//! seconds, and a line in the delivery log. It never sends again by itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sha2::Sha256;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::config::App;
use crate::hub::Hub;
use crate::ids;
use crate::state::{Delivery, Outcome};

/// GitHub ends a delivery that is not answered within ten seconds.
const DEADLINE: Duration = Duration::from_secs(10);
/// Deliveries that wait to be sent.
pub const QUEUE: usize = 10_000;
/// Deliveries under way at once.
const AT_ONCE: usize = 16;
/// Most bytes kept of an answer.
const MAX_ANSWER: usize = 64 * 1024;

/// A delivery before it is sent.
#[derive(Clone)]
pub struct Outgoing {
    /// `X-GitHub-Delivery`.
    pub guid: String,
    app_id: u64,
    url: String,
    event: String,
    action: Option<String>,
    installation_id: Option<u64>,
    repository_id: Option<u64>,
    redelivery: bool,
    headers: BTreeMap<String, String>,
    body: String,
    /// Before it is sent.
    wait: Duration,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("guid", &self.guid)
            .field("event", &self.event)
            .field("action", &self.action)
            .finish_non_exhaustive()
    }
}

/// An App has one webhook; its number is made from the App's.
#[must_use]
pub fn hook_id(app: &App) -> u64 {
    400_000_000 + app.app_id
}

/// `X-Hub-Signature-256`: HMAC-SHA256 over the raw body.
#[must_use]
pub fn signature(secret: &[u8], body: &[u8]) -> String {
    // HMAC takes keys of any length (RFC 2104, section 3).
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any key length fits");
    mac.update(body);
    format!("sha256={}", ids::hex(&mac.finalize().into_bytes()))
}

impl Outgoing {
    /// A delivery to the App's webhook; `None` when it has none.
    #[must_use]
    pub fn new(
        app: &App,
        event: &str,
        about: (Option<u64>, Option<u64>),
        payload: &Value,
    ) -> Option<Self> {
        let url = app.webhook_url.clone()?;
        let body = payload.to_string();
        let guid = ids::guid();
        let headers = [
            ("Accept", "*/*".to_owned()),
            ("Content-Type", "application/json".to_owned()),
            ("User-Agent", "GitHub-Hookshot/fakehub".to_owned()),
            ("X-GitHub-Delivery", guid.clone()),
            ("X-GitHub-Event", event.to_owned()),
            ("X-GitHub-Hook-ID", hook_id(app).to_string()),
            (
                "X-GitHub-Hook-Installation-Target-ID",
                app.app_id.to_string(),
            ),
            (
                "X-GitHub-Hook-Installation-Target-Type",
                "integration".to_owned(),
            ),
            (
                "X-Hub-Signature-256",
                signature(&app.webhook_secret, body.as_bytes()),
            ),
        ];
        Some(Self {
            guid,
            app_id: app.app_id,
            url,
            event: event.to_owned(),
            action: payload
                .get("action")
                .and_then(Value::as_str)
                .map(str::to_owned),
            installation_id: about.0,
            repository_id: about.1,
            redelivery: false,
            headers: headers
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            body,
            wait: Duration::ZERO,
        })
    }

    /// The same, sent so much later.
    #[must_use]
    pub fn after(mut self, wait_ms: u32) -> Self {
        self.wait = Duration::from_millis(wait_ms.into());
        self
    }

    /// The same delivery once more: GUID, headers and bytes are the old ones.
    #[must_use]
    pub fn again(old: &Delivery) -> Self {
        Self {
            guid: old.guid.clone(),
            app_id: old.app_id,
            url: old.url.clone(),
            event: old.event.clone(),
            action: old.action.clone(),
            installation_id: old.installation_id,
            repository_id: old.repository_id,
            redelivery: true,
            headers: old.request_headers.clone(),
            body: old.body.clone(),
            wait: Duration::ZERO,
        }
    }

    /// A log entry for an attempt that reached nobody.
    #[must_use]
    pub fn unreachable(self, now_ms: i64) -> Delivery {
        self.ended(no_answer("failed to connect to host"), now_ms)
    }

    fn ended(self, outcome: Outcome, now_ms: i64) -> Delivery {
        Delivery {
            id: 0,
            guid: self.guid,
            app_id: self.app_id,
            url: self.url,
            event: self.event,
            action: self.action,
            installation_id: self.installation_id,
            repository_id: self.repository_id,
            delivered_ms: now_ms,
            redelivery: self.redelivery,
            request_headers: self.headers,
            body: self.body,
            outcome,
        }
    }
}

/// Without an answer the code is 0: GitHub's failure filter covers 400 to 599
/// only, so a client that relies on it would miss these.
fn no_answer(status: &str) -> Outcome {
    Outcome {
        status: status.to_owned(),
        ..Outcome::default()
    }
}

/// Sends what arrives until the channel closes, then waits for the rest.
pub async fn run(hub: Arc<Hub>, mut queue: mpsc::Receiver<Outgoing>) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    while let Some(outgoing) = queue.recv().await {
        while tasks.try_join_next().is_some() {}
        if tasks.len() >= QUEUE {
            tasks.join_next().await;
        }
        // Those that wait hold no place, and those that do not keep their order.
        let early = match outgoing.wait.is_zero() {
            true => Arc::clone(&places).acquire_owned().await.ok(),
            false => None,
        };
        let (hub, places) = (Arc::clone(&hub), Arc::clone(&places));
        tasks.spawn(async move {
            tokio::time::sleep(outgoing.wait).await;
            let place = match early {
                Some(place) => Some(place),
                None => places.acquire_owned().await.ok(),
            };
            let started = tokio::time::Instant::now();
            let attempt = tokio::time::timeout(DEADLINE, post(&outgoing)).await;
            let mut outcome = attempt.unwrap_or_else(|_| no_answer("timed out"));
            outcome.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            let now_ms = hub.now_ms();
            let most = hub.config.limits.deliveries;
            hub.state()
                .log_delivery(outgoing.ended(outcome, now_ms), most, now_ms);
            drop(place);
        });
    }
    while tasks.join_next().await.is_some() {}
}

async fn post(outgoing: &Outgoing) -> Outcome {
    match try_post(outgoing).await {
        Ok(outcome) => outcome,
        Err(_) => no_answer("failed to connect to host"),
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn try_post(outgoing: &Outgoing) -> Result<Outcome, Failure> {
    let url: hyper::Uri = outgoing.url.parse()?;
    let host = url.host().ok_or("no host")?;
    let port = url.port_u16().unwrap_or(80);
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let path = url.path_and_query().map_or("/", |it| it.as_str());
    let mut request = hyper::Request::post(path).header("Host", format!("{host}:{port}"));
    for (name, value) in &outgoing.headers {
        request = request.header(name, value);
    }
    let body = Full::new(Bytes::from(outgoing.body.clone()));
    let response = sender.send_request(request.body(body)?).await?;
    let (parts, body) = response.into_parts();
    let bytes = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
    connection.abort();
    let code = parts.status.as_u16();
    Ok(Outcome {
        status: if parts.status.is_success() {
            "OK".to_owned()
        } else {
            format!("Invalid HTTP Response: {code}")
        },
        status_code: code,
        duration_ms: 0,
        response_headers: parts
            .headers
            .iter()
            .map(|(name, value)| {
                (
                    name.to_string(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect(),
        response_body: Some(String::from_utf8_lossy(&bytes).into_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_is_the_one_of_githubs_documentation() {
        // "Validating webhook deliveries", testing the webhook payload validation.
        assert_eq!(
            signature(b"It's a Secret to Everybody", b"Hello, World!"),
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        );
    }
}
