//! One HTTP call to GitHub: blocking, bounded in bytes and in time.
//!
//! Never follows a redirect (it would carry the token elsewhere), never
//! speaks plain HTTP beyond this machine, and never repeats a request that
//! changes something.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::CertificateError;
use ureq::http::Request;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, IF_NONE_MATCH};
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Proxy};
use zeroize::Zeroizing;

use super::answer::{Answer, Head};
use super::archive::{ARCHIVE, Archives};
use super::endpoint::{Base, roots};
use super::error::{GithubError, NetworkFault, one_line};
use super::secret::Secret;

/// Most bytes of an answer's body.
const BODY_BYTES: u64 = 8 * 1024 * 1024;
/// Most bytes of an answer's header.
const HEADER_BYTES: usize = 64 * 1024;
/// Deadline for the name, and for TCP and TLS together.
const CONNECT: Duration = Duration::from_secs(10);
/// Deadline of one read: a server that goes silent.
const READ: Duration = Duration::from_secs(15);
/// Deadline of a whole call, from the name to the body's last byte.
const CALL: Duration = Duration::from_secs(30);
/// An idle connection is not used after this: shorter than servers and NATs
/// keep them, so that a minting request does not meet a dead one.
const IDLE: Duration = Duration::from_secs(10);
/// Pauses before an idempotent call is sent again, give or take a half.
const PAUSES: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(1_200)];
/// No call is sent again later than this after the first time.
const PATIENCE: Duration = Duration::from_secs(20);

/// How to wait, and for how long at most.
#[derive(Clone)]
pub(super) struct Waits {
    /// Waits between two tries.
    pub(super) pause: Arc<dyn Fn(Duration) + Send + Sync>,
    /// [`CONNECT`].
    pub(super) connect: Duration,
    /// [`READ`], of a write too.
    pub(super) read: Duration,
    /// [`CALL`].
    pub(super) call: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            pause: Arc::new(std::thread::sleep),
            connect: CONNECT,
            read: READ,
            call: CALL,
        }
    }
}

// At level trace ureq logs the bytes of requests and answers, tokens and JIT
// configurations among them (ureq's documentation, "Log levels"). The `log`
// crate is built without that level, whatever an operator turns on.
const _: () = assert!(log::STATIC_MAX_LEVEL as usize <= log::LevelFilter::Debug as usize);

/// The version of GitHub's REST API that this client was written against.
const API_VERSION: &str = "2022-11-28";

/// The methods that Musher uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
    Put,
    Delete,
}

impl Method {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// A request, without who asks.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// Path and query below `api_url`, starting with a slash.
    pub(super) path: &'a str,
    /// A JSON body.
    pub(super) body: Option<Vec<u8>>,
    /// Whether asking twice does no harm.
    pub(super) idempotent: bool,
    /// Whether the last answer is kept, to ask only whether it changed.
    pub(super) conditional: bool,
}

impl<'a> Call<'a> {
    pub(super) fn get(path: &'a str) -> Self {
        Self {
            method: Method::Get,
            path,
            body: None,
            idempotent: true,
            conditional: false,
        }
    }

    /// A read of something that seldom changes.
    pub(super) fn get_if_changed(path: &'a str) -> Self {
        Self {
            conditional: true,
            ..Self::get(path)
        }
    }

    /// A change that may be asked for again when its answer was lost.
    pub(super) fn change(method: Method, path: &'a str, body: Option<Vec<u8>>) -> Self {
        Self {
            method,
            path,
            body,
            idempotent: true,
            conditional: false,
        }
    }

    /// A change that would be done twice: sent once, whatever comes.
    pub(super) fn once(path: &'a str, body: Option<Vec<u8>>) -> Self {
        Self {
            idempotent: false,
            ..Self::change(Method::Post, path, body)
        }
    }
}

/// Sends calls below one `api_url`.
pub(super) struct Http {
    agent: Agent,
    base: String,
    host: String,
    waits: Waits,
    archives: Archives,
}

impl Http {
    /// Checks `api_url` and reads the authorities to trust.
    ///
    /// # Errors
    /// The key at fault, and what is wrong with it.
    pub(super) fn new(
        api_url: &str,
        ca_file: Option<&Path>,
        waits: Waits,
    ) -> Result<Self, (&'static str, String)> {
        let base = Base::parse(api_url).map_err(|reason| ("api_url", reason))?;
        let mut tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let roots = if base.https {
            roots(ca_file)?
        } else {
            Vec::new()
        };
        tls = tls.root_certs(RootCerts::new_with_certs(&roots));
        let tls = tls.build();
        let agent = |deadline| {
            Agent::config_builder()
                .http_status_as_error(false)
                .https_only(base.https)
                .max_redirects(0)
                .max_redirects_will_error(false)
                // A proxy of the site's is for the outside only.
                .proxy(if base.loopback {
                    None
                } else {
                    Proxy::try_from_env()
                })
                .user_agent(concat!("musher/", env!("CARGO_PKG_VERSION")))
                .accept("application/vnd.github+json")
                .max_response_header_size(HEADER_BYTES)
                .max_idle_age(IDLE)
                .timeout_resolve(Some(waits.connect))
                .timeout_connect(Some(waits.connect))
                .timeout_per_read(Some(waits.read))
                .timeout_per_write(Some(waits.read))
                .timeout_global(Some(deadline))
                .tls_config(tls.clone())
                .build()
                .new_agent()
        };
        Ok(Self {
            agent: agent(waits.call),
            archives: Archives::new(agent(ARCHIVE), !base.https),
            base: base.url,
            host: base.host,
            waits,
        })
    }

    /// Sends a call; again after a pause if it is idempotent and the
    /// connection broke or a server of GitHub's was out of order. Any status
    /// is an answer. `etag` asks for 304 if the body is still that one; no
    /// `bearer` asks as nobody.
    ///
    /// # Errors
    /// [`GithubError::Network`] or [`GithubError::Answer`].
    pub(super) fn send(
        &self,
        call: &Call<'_>,
        bearer: Option<&Secret>,
        etag: Option<&str>,
    ) -> Result<Answer, GithubError> {
        let begun = Instant::now();
        for pause in PAUSES {
            let result = self.send_once(call, bearer, etag);
            let again = match &result {
                Ok(answer) => matches!(answer.status, 502..=504),
                Err(GithubError::Network { fault, .. }) => *fault == NetworkFault::Connection,
                Err(_) => false,
            };
            if !again || !call.idempotent || begun.elapsed() > PATIENCE {
                return result;
            }
            (self.waits.pause)(jittered(pause));
        }
        self.send_once(call, bearer, etag)
    }

    fn send_once(
        &self,
        call: &Call<'_>,
        bearer: Option<&Secret>,
        etag: Option<&str>,
    ) -> Result<Answer, GithubError> {
        let fail = |error| failure(&self.host, call, error);
        let header = |text: &str| {
            HeaderValue::from_str(text).map_err(|error| fail(ureq::Error::Http(error.into())))
        };
        let mut request = Request::builder()
            .method(call.method.as_str())
            .uri(format!("{}{}", self.base, call.path))
            .header("X-GitHub-Api-Version", API_VERSION);
        if let Some(bearer) = bearer {
            let text = Zeroizing::new(format!("Bearer {}", bearer.expose()));
            let mut authorization = header(&text)?;
            authorization.set_sensitive(true);
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, header(etag)?);
        }
        let result = match (&call.body, call.method) {
            (Some(body), _) => request
                .header(CONTENT_TYPE, "application/json")
                .body(body.as_slice())
                .map_err(ureq::Error::Http)
                .and_then(|request| self.agent.run(request)),
            // An empty body of a known length: chunks would be odd here.
            (None, Method::Post | Method::Put) => request
                .body([].as_slice())
                .map_err(ureq::Error::Http)
                .and_then(|request| self.agent.run(request)),
            (None, Method::Get | Method::Delete) => request
                .body(())
                .map_err(ureq::Error::Http)
                .and_then(|request| self.agent.run(request)),
        };
        let mut response = result.map_err(fail)?;
        let body = response
            .body_mut()
            .with_config()
            .limit(BODY_BYTES)
            .read_to_vec();
        let body = Zeroizing::new(body.map_err(fail)?);
        Ok(Answer {
            status: response.status().as_u16(),
            body,
            head: Head::read(response.headers()),
        })
    }

    /// What fetches release archives by the same authorities and proxy.
    pub(super) fn archives(&self) -> &Archives {
        &self.archives
    }
}

/// A failed call in words; `host` is who was asked.
pub(super) fn failure(host: &str, call: &Call<'_>, error: ureq::Error) -> GithubError {
    let (method, path) = (call.method.as_str(), call.path.to_owned());
    let network = |fault, reason| {
        let path = path.clone();
        GithubError::Network {
            method,
            path,
            fault,
            reason,
        }
    };
    match error {
        ureq::Error::Timeout(step) => network(
            NetworkFault::Deadline,
            format!("no complete answer from {host} in time (step: {step})"),
        ),
        ureq::Error::Rustls(error) => network(NetworkFault::Tls, tls_reason(host, &error)),
        ureq::Error::Tls(words) => {
            network(NetworkFault::Tls, format!("tls to {host} failed: {words}"))
        }
        ureq::Error::Io(error) => {
            match error
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<rustls::Error>())
            {
                Some(tls) => network(NetworkFault::Tls, tls_reason(host, tls)),
                None => network(
                    NetworkFault::Connection,
                    format!("connection to {host} failed: {error}"),
                ),
            }
        }
        ureq::Error::HostNotFound => network(
            NetworkFault::Connection,
            format!(
                "host {} is not known: check api_url and this machine's dns",
                host
            ),
        ),
        ureq::Error::ConnectionFailed => network(
            NetworkFault::Connection,
            format!("connection to {host} failed"),
        ),
        ureq::Error::BodyExceedsLimit(limit) => {
            let reason = format!("the answer's body is larger than {limit} bytes");
            GithubError::Answer {
                method,
                path,
                reason,
            }
        }
        other => {
            let words = one_line(&other.to_string());
            let reason = format!("no http answer from {host}: {words}");
            GithubError::Answer {
                method,
                path,
                reason,
            }
        }
    }
}

fn tls_reason(host: &str, error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(fault) = error else {
        return format!("tls to {host} failed: {error}");
    };
    match fault {
        // A bad signature: the site made its authority anew under the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
            "the certificate of {host} is not signed by an authority known here: \
                 if it is your own, set ca_file to its certificate in PEM form"
        ),
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => format!(
            "the certificate of {host} is out of date or not valid yet: \
                 check this machine's clock, then the server's certificate ({fault})"
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("the certificate of {host} is for another name: check api_url ({fault})")
        }
        _ => format!("the certificate of {host} was refused: {fault}"),
    }
}

/// Half to one and a half of `pause`, so that many clients that failed at one
/// moment do not come back at one moment.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0_u8; 1];
    // Without randomness the pause is the whole one.
    let part = match getrandom::fill(&mut byte) {
        Ok(()) => u32::from(byte[0]),
        Err(_) => 128,
    };
    pause / 2 + pause * part / 256
}
