//! Talking to the appliance: signed envelopes over TLS with a pinned key.
//!
//! A request that gets no answer is repeated, byte for byte, until it is
//! answered or patience ends: the appliance may restart at any moment. It
//! never speaks plain HTTP and never trusts a certificate authority.

mod date;
mod identity;
mod tls;

use std::fs::File;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, DATE, HOST};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use messages::{
    AGENT_PATH, AgentFrame, AgentMessage, ApplianceFrame, DecodeError, Digest, IMAGE_PATH,
    ImageRef, Instruction, MAX_ENVELOPE_BYTES, decode, encode,
};
use ring::digest::{Context, SHA256};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::cmdline::Arguments;
use crate::console::say;
use identity::{Identity, random};

/// Connecting, TLS handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// One request and its answer: a poll is held for up to 25 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// A download that brings nothing for this long is broken.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Longest text of a refusal that is shown, in bytes.
const MAX_REFUSAL_BYTES: usize = 300;

/// Carries the boot ticket of an image request.
const TICKET_HEADER: &str = "x-musher-ticket";

/// Why the appliance could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplianceError {
    /// The client could not be made.
    #[error("cannot set up the connection to the appliance: {0}")]
    SetUp(String),
    /// The appliance said no.
    #[error("the appliance refuses this boot: {0}")]
    Refused(String),
    /// No answer within patience.
    #[error("no answer from the appliance within {} s: {why}", patience.as_secs())]
    Lost {
        /// What went wrong last.
        why: String,
        /// How long it was tried.
        patience: Duration,
    },
    /// An answer that this agent does not understand.
    #[error("cannot read the appliance's answer")]
    Answer(#[source] DecodeError),
    /// The image could not be kept.
    #[error("cannot write the image")]
    Write(#[source] io::Error),
    /// The image is not the one ordered.
    #[error("the image is not the ordered one: expected {expected}, got {got}")]
    Image {
        /// Size and digest in the order.
        expected: String,
        /// Size and digest of what came.
        got: String,
    },
}

/// What ends one try.
enum Trouble {
    /// Worth another try.
    Passing(String),
    /// Not worth one.
    Final(ApplianceError),
}

impl Trouble {
    fn passing(error: &dyn std::error::Error) -> Self {
        Self::Passing(crate::console::chain(error))
    }
}

type Connection = SendRequest<Full<Bytes>>;

/// The appliance, as this boot reaches it.
pub(crate) struct Appliance {
    runtime: Runtime,
    tls: TlsConnector,
    name: ServerName<'static>,
    host: String,
    port: u16,
    ticket: String,
    identity: Identity,
    connection: Option<Connection>,
    clock_is_set: bool,
}

impl Appliance {
    /// Makes a fresh key and the client; nothing is sent yet.
    ///
    /// # Errors
    /// [`ApplianceError::SetUp`].
    pub(crate) fn new(arguments: &Arguments) -> Result<Self, ApplianceError> {
        let set_up = |error: String| ApplianceError::SetUp(error);
        Ok(Self {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| set_up(error.to_string()))?,
            tls: tls::connector(arguments.pin).map_err(|error| set_up(error.to_string()))?,
            name: ServerName::try_from(arguments.host.clone())
                .map_err(|error| set_up(error.to_string()))?,
            host: arguments.host.clone(),
            port: arguments.port,
            ticket: arguments.ticket.to_string(),
            identity: Identity::new(arguments.ticket)
                .ok_or_else(|| set_up("no randomness for a key".to_owned()))?,
            connection: None,
            clock_is_set: false,
        })
    }

    /// Says `message` until it is answered, for at most `patience`.
    ///
    /// # Errors
    /// A refusal, an unreadable answer, or none within `patience`.
    pub(crate) fn ask(
        &mut self,
        message: AgentMessage,
        patience: Duration,
    ) -> Result<Instruction, ApplianceError> {
        // Signed once: a repeated request has the same number and bytes, so
        // the appliance can tell a lost answer from a second request.
        let envelope = Bytes::from(self.identity.envelope(&encode(&AgentFrame::V1(message))));
        let body = self.persist(patience, |appliance| appliance.post(envelope.clone()))?;
        let ApplianceFrame::V1(instruction) = decode(&body).map_err(ApplianceError::Answer)?;
        Ok(instruction)
    }

    /// Downloads an image into what `open` gives, for at most `patience`.
    /// `open` is called again for each try.
    ///
    /// The digest is taken as the bytes pass by: reading the file once more
    /// would cost as much time as the download.
    ///
    /// # Errors
    /// As for [`Self::ask`]; and an image of another size or digest.
    pub(crate) fn fetch(
        &mut self,
        image: &ImageRef,
        patience: Duration,
        open: &dyn Fn() -> io::Result<File>,
    ) -> Result<(), ApplianceError> {
        self.persist(patience, |appliance| appliance.download(image, open))
    }

    /// Repeats `attempt` while its trouble is passing.
    fn persist<T>(
        &mut self,
        patience: Duration,
        mut attempt: impl FnMut(&mut Self) -> Result<T, Trouble>,
    ) -> Result<T, ApplianceError> {
        let deadline = Instant::now() + patience;
        let mut pause = FIRST_PAUSE;
        loop {
            let reused = self.connection.is_some();
            let why = match attempt(self) {
                Ok(value) => return Ok(value),
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Passing(why)) => why,
            };
            self.connection = None;
            // An idle connection that the other end closed is no failure.
            if reused {
                continue;
            }
            say!("appliance: {why}; trying again");
            if Instant::now() + pause >= deadline {
                return Err(ApplianceError::Lost { why, patience });
            }
            std::thread::sleep(jitter(pause));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn post(&mut self, envelope: Bytes) -> Result<Bytes, Trouble> {
        let request = Request::post(AGENT_PATH)
            .header(HOST, &self.host)
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(Full::new(envelope))
            .map_err(|error| Trouble::passing(&error))?;
        let (status, date, body) = self.within(ANSWER_TIMEOUT, request, async |response| {
            let status = response.status();
            let date = response.headers().get(DATE).cloned();
            let body = Limited::new(response.into_body(), MAX_ENVELOPE_BYTES);
            match body.collect().await {
                Ok(body) => Ok((status, date, body.to_bytes())),
                Err(error) => Err(Trouble::Passing(format!("answer cut short: {error}"))),
            }
        })?;
        if !self.clock_is_set {
            self.clock_is_set = true;
            date::set_clock(date.as_ref().and_then(|date| date.to_str().ok()));
        }
        match status {
            StatusCode::OK => Ok(body),
            StatusCode::FORBIDDEN => Err(Trouble::Final(ApplianceError::Refused(shown(&body)))),
            other => Err(Trouble::Passing(format!("{other}: {}", shown(&body)))),
        }
    }

    fn download(
        &mut self,
        image: &ImageRef,
        open: &dyn Fn() -> io::Result<File>,
    ) -> Result<(), Trouble> {
        let write = |error| Trouble::Final(ApplianceError::Write(error));
        let mut file = open().map_err(write)?;
        let request = Request::get(format!("{IMAGE_PATH}{}", image.digest))
            .header(HOST, &self.host)
            .header(TICKET_HEADER, &self.ticket)
            .body(Full::default())
            .map_err(|error| Trouble::passing(&error))?;
        // No bound for the whole, which depends on size and wire; each piece
        // has its own, and the appliance watches the stage.
        let (bytes, digest) = self.within(Duration::MAX, request, async |response| {
            if response.status() != StatusCode::OK {
                let why = format!("image {}: {}", image.name, response.status());
                let refused = matches!(
                    response.status(),
                    StatusCode::FORBIDDEN | StatusCode::NOT_FOUND
                );
                return Err(match refused {
                    true => Trouble::Final(ApplianceError::Refused(why)),
                    false => Trouble::Passing(why),
                });
            }
            let mut body = response.into_body();
            let mut hash = Context::new(&SHA256);
            let mut bytes: u64 = 0;
            while let Some(piece) = piece(&mut body).await? {
                bytes = bytes.saturating_add(piece.len() as u64);
                if bytes > image.bytes {
                    break;
                }
                hash.update(&piece);
                file.write_all(&piece).map_err(write)?;
            }
            Ok((bytes, hash.finish()))
        })?;
        let digest = Digest(digest.as_ref().try_into().unwrap_or_default());
        if (bytes, digest) == (image.bytes, image.digest) {
            return Ok(());
        }
        Err(Trouble::Final(ApplianceError::Image {
            expected: format!("{} bytes, {}", image.bytes, image.digest),
            got: format!("{bytes} bytes, {digest}"),
        }))
    }

    /// Sends a request, on a new connection if there is none, and gives the
    /// answer to `read`; all of it within `limit`.
    fn within<T>(
        &mut self,
        limit: Duration,
        request: Request<Full<Bytes>>,
        read: impl AsyncFnOnce(Response<Incoming>) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let work = async {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => connect(&self.tls, &self.name, &self.host, self.port).await?,
            };
            let response = timeout(ANSWER_TIMEOUT, connection.send_request(request))
                .await
                .map_err(|_| Trouble::Passing("no answer in time".to_owned()))?
                .map_err(|error| Trouble::passing(&error))?;
            let value = read(response).await?;
            self.connection = Some(connection);
            Ok(value)
        };
        self.runtime.block_on(async {
            match timeout(limit, work).await {
                Ok(result) => result,
                Err(_) => Err(Trouble::Passing("no answer in time".to_owned())),
            }
        })
    }
}

async fn connect(
    tls: &TlsConnector,
    name: &ServerName<'static>,
    host: &str,
    port: u16,
) -> Result<Connection, Trouble> {
    let work = async {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        tls.connect(name.clone(), stream).await
    };
    let stream = timeout(CONNECT_TIMEOUT, work)
        .await
        .map_err(|_| Trouble::Passing(format!("cannot connect to {host}:{port} in time")))?
        .map_err(|error| Trouble::Passing(format!("cannot connect to {host}:{port}: {error}")))?;
    let (connection, driver) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Trouble::passing(&error))?;
    // Ends by itself when the connection is closed or dropped.
    tokio::spawn(async move { drop(driver.await) });
    Ok(connection)
}

/// The next piece of a body; `None` at its end.
async fn piece(body: &mut Incoming) -> Result<Option<Bytes>, Trouble> {
    loop {
        let frame = timeout(STALL_TIMEOUT, body.frame())
            .await
            .map_err(|_| Trouble::Passing("the download stalled".to_owned()))?;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(Trouble::passing(&error)),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// A refusal's text, fit for a console.
fn shown(body: &[u8]) -> String {
    String::from_utf8_lossy(body)
        .chars()
        .filter(|character| !character.is_control())
        .take(MAX_REFUSAL_BYTES)
        .collect()
}

/// Between half of `pause` and all of it, so that a rack of sleds does not
/// come back to a restarted appliance in step.
fn jitter(pause: Duration) -> Duration {
    let part = random().map_or(0, |[byte]: [u8; 1]| u32::from(byte));
    pause / 2 + pause / 2 * part / 255
}

#[cfg(test)]
mod tests;
