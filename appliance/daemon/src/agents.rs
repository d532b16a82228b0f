//! The sled listener: boot files in the clear, the agent API over TLS, on one
//! port. The first byte tells which: a TLS ClientHello starts with 0x16.
//!
//! It checks signatures and carries frames between agents and `control`; what
//! an agent is told is decided there.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io,
    net::SocketAddr,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use control::{AgentReply, BootAnswer, BootQuestion, Event, Reply};
use http_body_util::{BodyExt, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_LENGTH, HeaderValue},
};
use messages::{
    AGENT_PATH, AgentFrame, AgentKey, AgentMessage, ApplianceFrame, Assignment, BootId, Digest,
    Envelope, IMAGE_PATH, Instruction, MAX_ENVELOPE_BYTES, MAX_LOG_CHUNK_BYTES, TicketToken,
    decode, encode,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    boot_authority::Authority,
    boot_logs::{forget_old_logs, log_path},
    engine::Engine,
    http::{Answer, Connections, Shutdown, answer, serve_connection, text},
    netboot::{http::FileBody, serve_boot_file},
    vault::Vault,
};

/// A sled holds one or two connections, its firmware a few more.
const CONNECTIONS: Connections = Connections {
    most: 4096,
    per_peer: 32,
};

/// Longest wait for the first byte and for a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a poll is held before the agent is told to ask again.
const LONG_POLL: Duration = Duration::from_secs(25);

/// Longest time for an envelope's body.
const BODY_DEADLINE: Duration = Duration::from_secs(20);

/// Header by which an agent shows its ticket when it fetches an image.
pub const TICKET_HEADER: &str = "x-musher-ticket";

/// Agents that wait for an order. Clones share it.
#[derive(Clone, Default)]
pub struct Wakers(Arc<Mutex<BTreeMap<BootId, Arc<Notify>>>>);

impl Wakers {
    /// Lets the agent of this boot ask again, if it waits.
    pub fn wake(&self, boot: BootId) {
        let waiting = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&boot);
        if let Some(notify) = waiting {
            notify.notify_waiters();
        }
    }

    fn of(&self, boot: BootId) -> Arc<Notify> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(waiting.entry(boot).or_default())
    }
}

/// The listener.
pub struct Agents {
    /// Where frames go.
    pub engine: Engine,
    /// Who may boot what.
    pub authority: Arc<Authority>,
    /// Its TLS side.
    pub tls: TlsAcceptor,
    /// Identities of runners.
    pub vault: Vault,
    /// Agents that wait.
    pub wakers: Wakers,
    /// Where runner logs are kept, one file per boot.
    pub logs: PathBuf,
    /// Bytes kept of each.
    pub log_limit: u64,
}

impl Agents {
    /// Accepts connections until the appliance stops.
    pub async fn run(self: Arc<Self>, listener: TcpListener, shutdown: Shutdown) {
        let until = shutdown.clone();
        let serve = |stream, peer: Option<SocketAddr>| {
            let (agents, shutdown) = (Arc::clone(&self), shutdown.clone());
            async move {
                if let Some(peer) = peer {
                    agents.connection(stream, peer, shutdown).await;
                }
            }
        };
        CONNECTIONS.accept(listener, until, serve).await;
    }

    async fn connection(&self, stream: TcpStream, peer: SocketAddr, shutdown: Shutdown) {
        let mut first = [0];
        let Ok(Ok(1)) = tokio::time::timeout(HANDSHAKE, stream.peek(&mut first)).await else {
            return;
        };
        if first == [0x16] {
            match tokio::time::timeout(HANDSHAKE, self.tls.accept(stream)).await {
                Ok(Ok(stream)) => {
                    serve_connection(stream, shutdown, |request| self.secure(peer, request)).await;
                }
                Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
            }
        } else {
            let handler = |request| serve_boot_file(&self.authority, peer, request);
            serve_connection(stream, shutdown, handler).await;
        }
    }

    async fn secure(&self, peer: SocketAddr, request: Request<Incoming>) -> Answer {
        let path = request.uri().path();
        if path == AGENT_PATH && request.method() == Method::POST {
            return match self.frame(peer, request).await {
                Ok(frame) => answer(StatusCode::OK, "application/octet-stream", encode(&frame)),
                Err((status, why)) => text(status, why),
            };
        }
        if let (Some(digest), &Method::GET) = (path.strip_prefix(IMAGE_PATH), request.method()) {
            let ticket = request
                .headers()
                .get(TICKET_HEADER)
                .and_then(|v| v.to_str().ok());
            return self.image(peer, digest, ticket).await;
        }
        text(StatusCode::NOT_FOUND, "not found")
    }

    async fn frame(
        &self,
        peer: SocketAddr,
        request: Request<Incoming>,
    ) -> Result<ApplianceFrame, (StatusCode, String)> {
        let bad = |why: &str| (StatusCode::BAD_REQUEST, why.to_owned());
        let body = Limited::new(request.into_body(), MAX_ENVELOPE_BYTES).collect();
        let body = tokio::time::timeout(BODY_DEADLINE, body)
            .await
            .map_err(|_| {
                (
                    StatusCode::REQUEST_TIMEOUT,
                    "the body came too slowly".to_owned(),
                )
            })?
            .map_err(|_| bad("the body is too large or ended early"))?
            .to_bytes();
        let envelope: Envelope =
            decode(&body).map_err(|error| bad(&format!("envelope: {error}")))?;
        let signed = Envelope::signed_bytes(
            &envelope.ticket,
            &envelope.key,
            envelope.sequence,
            &envelope.body,
        );
        let key = ring::signature::UnparsedPublicKey::new(
            &ring::signature::ED25519,
            envelope.key.0.as_slice(),
        );
        key.verify(&signed, &envelope.signature.0).map_err(|_| {
            (
                StatusCode::UNAUTHORIZED,
                "the signature does not fit".to_owned(),
            )
        })?;
        self.check_address(peer, envelope.ticket, Some(envelope.key))
            .await?;
        let AgentFrame::V1(message) =
            decode(&envelope.body).map_err(|error| bad(&format!("frame: {error}")))?;
        let instruction = self.hear(peer, &envelope, message).await?;
        Ok(ApplianceFrame::V1(instruction))
    }

    /// A ticket speaks only from the address of the sled it was made for. An
    /// address that nobody holds may be a lease that we lost: the agent asks
    /// again, and holds one by then.
    async fn check_address(
        &self,
        peer: SocketAddr,
        ticket: TicketToken,
        key: Option<AgentKey>,
    ) -> Result<(), (StatusCode, String)> {
        match self.authority.is_from(peer.ip(), ticket).await {
            Some(true) => Ok(()),
            Some(false) => {
                tracing::warn!(%peer, "a ticket was shown from another sled's address");
                Err((
                    StatusCode::FORBIDDEN,
                    "this ticket is another sled's".to_owned(),
                ))
            }
            // Its lease was lost. The key that redeemed the ticket proves as
            // much as the address would.
            None if self.authority.is_redeemed_by(ticket, key).await => Ok(()),
            None => Err((
                StatusCode::SERVICE_UNAVAILABLE,
                "the ticket or the address is not known".to_owned(),
            )),
        }
    }

    /// Puts a message to the core. A poll without an answer is held a while.
    async fn hear(
        &self,
        peer: SocketAddr,
        envelope: &Envelope,
        mut message: AgentMessage,
    ) -> Result<Instruction, (StatusCode, String)> {
        let log = match &mut message {
            AgentMessage::Log { offset, bytes } if bytes.len() <= MAX_LOG_CHUNK_BYTES => {
                Some((*offset, std::mem::take(bytes)))
            }
            AgentMessage::Log { .. } => {
                return Err((
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "the log piece is too large".to_owned(),
                ));
            }
            _ => None,
        };
        let deadline = tokio::time::Instant::now() + LONG_POLL;
        let mut waited_for: Option<BootId> = None;
        loop {
            let notify = waited_for.map(|boot| self.wakers.of(boot));
            let notified = notify.as_ref().map(|notify| notify.notified());
            let mut notified = std::pin::pin!(notified);
            if let Some(notified) = notified.as_mut().as_pin_mut() {
                notified.enable();
            }
            let event = Event::Agent {
                ticket: envelope.ticket,
                key: envelope.key,
                message: message.clone(),
            };
            let reply = self
                .engine
                .submit(event)
                .await
                .map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
            let Reply::Agent(reply) = reply else {
                return Err((StatusCode::INTERNAL_SERVER_ERROR, "no answer".to_owned()));
            };
            match reply {
                AgentReply::Refused(why) => {
                    tracing::warn!(%peer, reason = why, "agent refused");
                    return Err((StatusCode::FORBIDDEN, why.to_owned()));
                }
                AgentReply::Order {
                    boot,
                    runner_name,
                    image,
                    max_runtime_s,
                } => {
                    if let Some(identity) = self.vault.get(boot, &runner_name) {
                        let work = Assignment {
                            runner_name,
                            identity,
                            image,
                            max_runtime_s,
                        };
                        return Ok(work.into());
                    }
                    drop(self.engine.submit(Event::OrderLost { boot }).await);
                    return Ok(Instruction::Wait);
                }
                AgentReply::Instruction {
                    boot,
                    instruction: Instruction::Wait,
                } => {
                    if waited_for.is_none() {
                        // Ask once more with the waker armed: nothing is missed.
                        waited_for = Some(boot);
                        continue;
                    }
                    let Some(notified) = notified.as_pin_mut() else {
                        return Ok(Instruction::Wait);
                    };
                    if tokio::time::timeout_at(deadline, notified).await.is_err() {
                        return Ok(Instruction::Wait);
                    }
                }
                AgentReply::Instruction { boot, instruction } => {
                    if let Some((offset, bytes)) = log {
                        self.keep_log(boot, offset, bytes).await;
                    }
                    // Of that runner only: a void one may have a successor.
                    if let AgentMessage::Accepted { runner_name } = &message {
                        self.vault.forget_runner(boot, runner_name);
                    }
                    return Ok(instruction);
                }
            }
        }
    }

    /// Writes a piece of a runner's log at its offset, so that a repeated
    /// piece changes nothing. A log that cannot be kept does not stop a job.
    async fn keep_log(&self, boot: BootId, offset: u64, mut bytes: Vec<u8>) {
        let room = self.log_limit.saturating_sub(offset);
        bytes.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        if bytes.is_empty() {
            return;
        }
        let logs = self.logs.clone();
        let path = log_path(&logs, boot);
        let written = tokio::task::spawn_blocking(move || {
            if offset == 0 {
                forget_old_logs(&logs, boot)?;
            }
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)?;
            file.write_all_at(&bytes, offset)
        })
        .await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%boot, %error, "a piece of the runner's log could not be kept");
        }
    }

    async fn image(&self, peer: SocketAddr, digest: &str, ticket: Option<&str>) -> Answer {
        let ticket = ticket.and_then(|text| text.parse::<TicketToken>().ok());
        let (Ok(digest), Some(ticket)) = (digest.parse::<Digest>(), ticket) else {
            return text(
                StatusCode::BAD_REQUEST,
                "the path needs a digest, and the ticket a header",
            );
        };
        if let Err((status, why)) = self.check_address(peer, ticket, None).await {
            return text(status, why);
        }
        let question = Event::Boot(BootQuestion::Image { ticket, digest });
        match self.engine.submit(question).await {
            Ok(Reply::Boot(BootAnswer::Lease)) => {}
            Ok(_) => return text(StatusCode::FORBIDDEN, "this boot may not fetch this image"),
            Err(error) => return text(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        }
        let Some(path) = self.authority.rootfs(digest) else {
            return text(StatusCode::NOT_FOUND, "the image is not declared any more");
        };
        match stream_file(path).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::error!(%error, %digest, "runner image cannot be read");
                text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the image cannot be read",
                )
            }
        }
    }
}

/// A file as an answer, read in pieces.
async fn stream_file(path: PathBuf) -> io::Result<Answer> {
    let (body, length) = FileBody::open(&path).await?;
    let mut answer = Response::new(BodyExt::boxed(body));
    answer
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from(length));
    Ok(answer)
}
