//! Requests to one BMC's Redfish service, with what they need around them:
//! a session, patience with a busy BMC, entity tags, deadlines.
//!
//! Every request of this driver may be carried out twice, so one is given
//! again when the connection breaks. A wrong password is not.

use std::io;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, HOST, HeaderName, HeaderValue, IF_MATCH, LOCATION,
    RETRY_AFTER, USER_AGENT,
};
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use zeroize::Zeroizing;

use super::RedfishConfig;
use super::document::{link, list, text};
use super::fault::RedfishFault;
use super::link::{Broken, Link, Reply};
use crate::power::error::quote;

/// DSP0266 6.3: where every service begins.
const ROOT: &str = "/redfish/v1/";
const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
/// How long an account is left alone after its password was refused. BMCs
/// count failures over minutes and lock for as long.
const LOCK_OUT: Duration = Duration::from_secs(600);
/// Pause before a busy BMC that names none is asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a busy BMC is asked.
const BUSY_TRIES: u32 = 4;
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// How we show who we are.
enum Login {
    /// Not yet.
    None,
    /// By a session's token.
    Session {
        token: HeaderValue,
        location: Option<String>,
    },
    /// By name and password each time: the service has no sessions.
    Basic(HeaderValue),
}

/// A document and the entity tag that it came with.
pub(super) struct Document {
    pub(super) value: Value,
    pub(super) tag: Option<HeaderValue>,
}

/// A Redfish service.
pub(super) struct Service {
    config: RedfishConfig,
    link: Option<Link>,
    login: Login,
    root: Option<Value>,
    refused: Option<(Instant, String)>,
    limit: Duration,
    deadline: Instant,
}

impl Service {
    pub(super) fn new(config: RedfishConfig) -> Self {
        Self {
            config,
            link: None,
            login: Login::None,
            root: None,
            refused: None,
            limit: Duration::ZERO,
            deadline: Instant::now(),
        }
    }

    pub(super) fn config(&self) -> &RedfishConfig {
        &self.config
    }

    /// Starts an operation: all that follows ends within `limit`.
    pub(super) fn begin(&mut self, limit: Duration) {
        self.limit = limit;
        self.deadline = Instant::now() + limit;
    }

    /// When the operation under way must have ended.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The service root, which needs no login. Read once.
    pub(super) async fn root(&mut self) -> Result<Value, RedfishFault> {
        if let Some(root) = &self.root {
            return Ok(root.clone());
        }
        let request = |_: &Self| request(&Method::GET, ROOT, None, HeaderMap::new());
        let reply = self.patiently(request).await?;
        let root = success(&reply).and_then(|()| parse(ROOT, &reply))?;
        if text(&root, "/RedfishVersion").is_none() && link(&root, "/Systems").is_none() {
            return Err(RedfishFault::garbage(format!(
                "{ROOT} is no Redfish service root"
            )));
        }
        self.root = Some(root.clone());
        Ok(root)
    }

    /// Reads a document.
    pub(super) async fn get(&mut self, path: &str) -> Result<Document, RedfishFault> {
        let reply = self.ask(&Method::GET, path, None, None).await?;
        success(&reply)?;
        let value = parse(path, &reply)?;
        // DSP0266 6.5: the header, or the property of the same meaning.
        let tag = reply.headers.get(ETAG).cloned().or_else(|| {
            text(&value, "/@odata.etag").and_then(|tag| HeaderValue::from_str(&tag).ok())
        });
        Ok(Document { value, tag })
    }

    /// Starts an action.
    pub(super) async fn post(&mut self, path: &str, body: &Value) -> Result<(), RedfishFault> {
        let reply = self.ask(&Method::POST, path, Some(body), None).await?;
        success(&reply)
    }

    /// Changes a document that was read with `tag`. Some BMCs insist on the
    /// tag, some want it without the mark of weakness, and some change tags
    /// between two requests.
    pub(super) async fn patch(
        &mut self,
        path: &str,
        body: &Value,
        tag: Option<HeaderValue>,
    ) -> Result<(), RedfishFault> {
        let reply = self
            .ask(&Method::PATCH, path, Some(body), tag.as_ref())
            .await?;
        if !wants_other_tag(reply.status) {
            return success(&reply);
        }
        let fresh = self.get(path).await?.tag;
        let strong = fresh.as_ref().and_then(strong);
        let mut last = reply;
        for tag in [fresh, strong].into_iter().flatten() {
            last = self
                .ask(&Method::PATCH, path, Some(body), Some(&tag))
                .await?;
            if !wants_other_tag(last.status) {
                break;
            }
        }
        success(&last)
    }

    /// Ends the session: a BMC has only a few, and keeps them for long.
    pub(super) async fn close(&mut self) {
        if let Login::Session {
            token,
            location: Some(location),
        } = std::mem::replace(&mut self.login, Login::None)
        {
            let mut headers = HeaderMap::new();
            headers.insert(TOKEN, token);
            self.begin(FAREWELL);
            // Nothing depends on the answer.
            if let Ok(request) = request(&Method::DELETE, &location, None, headers) {
                drop(self.once(request).await);
            }
        }
        self.link = None;
    }

    /// A request with login, which is renewed once when the BMC has forgotten
    /// the session.
    async fn ask(
        &mut self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        tag: Option<&HeaderValue>,
    ) -> Result<Reply, RedfishFault> {
        let mut renewed = false;
        loop {
            if matches!(self.login, Login::None) {
                self.log_in().await?;
            }
            let build = |service: &Self| {
                let mut headers = HeaderMap::new();
                match &service.login {
                    Login::None => {}
                    Login::Session { token, .. } => drop(headers.insert(TOKEN, token.clone())),
                    Login::Basic(basic) => drop(headers.insert(AUTHORIZATION, basic.clone())),
                }
                if let Some(tag) = tag {
                    headers.insert(IF_MATCH, tag.clone());
                }
                request(method, path, body, headers)
            };
            let reply = self.patiently(build).await?;
            if reply.status != StatusCode::UNAUTHORIZED {
                return Ok(reply);
            }
            let by_session = matches!(self.login, Login::Session { .. });
            self.login = Login::None;
            if !by_session || renewed {
                return Err(self.refuse(&reply));
            }
            renewed = true;
        }
    }

    async fn log_in(&mut self) -> Result<(), RedfishFault> {
        if let Some((until, message)) = &self.refused
            && Instant::now() < *until
        {
            let message = message.clone();
            return Err(RedfishFault::WrongPassword { message });
        }
        let root = self.root().await?;
        let Some(path) = link(&root, "/Links/Sessions") else {
            return self.use_basic();
        };
        // What HTTP and TLS buffer underneath cannot be overwritten.
        let build = |service: &Self| {
            let body = json!({
                "UserName": service.config.username,
                "Password": service.config.password.expose(),
            });
            request(&Method::POST, &path, Some(&body), HeaderMap::new())
        };
        let reply = self.patiently(build).await?;
        match reply.status {
            StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_IMPLEMENTED => self.use_basic(),
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
                if !told(&reply).contains("SessionLimitExceeded") =>
            {
                Err(self.refuse(&reply))
            }
            _ => {
                success(&reply)?;
                let Some(mut token) = reply.headers.get(TOKEN).cloned() else {
                    return Err(RedfishFault::garbage("a session came without X-Auth-Token"));
                };
                token.set_sensitive(true);
                let location = reply.headers.get(LOCATION).and_then(own_path);
                self.login = Login::Session { token, location };
                Ok(())
            }
        }
    }

    fn use_basic(&mut self) -> Result<(), RedfishFault> {
        // RFC 7617 2.
        let (name, password) = (&self.config.username, self.config.password.expose());
        let pair = Zeroizing::new(format!("{name}:{password}"));
        let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        let mut basic = HeaderValue::from_str(&text).map_err(|_| RedfishFault::Local {
            what: "user and password cannot be sent".to_owned(),
        })?;
        basic.set_sensitive(true);
        self.login = Login::Basic(basic);
        Ok(())
    }

    fn refuse(&mut self, reply: &Reply) -> RedfishFault {
        let message = told(reply);
        self.refused = Some((Instant::now() + LOCK_OUT, message.clone()));
        RedfishFault::WrongPassword { message }
    }

    /// A request, given again while the BMC says that it is busy.
    async fn patiently(
        &mut self,
        build: impl Fn(&Self) -> Result<Request<Full<Bytes>>, RedfishFault>,
    ) -> Result<Reply, RedfishFault> {
        let mut tries = 0;
        loop {
            let reply = match self.once(build(self)?).await? {
                Ok(reply) => reply,
                // Kept connections are closed by the other side at any time.
                Err(Broken::Connection(_)) => match self.once(build(self)?).await? {
                    Ok(reply) => reply,
                    Err(Broken::Connection(source)) => {
                        return Err(RedfishFault::Unreachable { source });
                    }
                    Err(Broken::Answer(what)) => return Err(RedfishFault::Garbage { what }),
                },
                Err(Broken::Answer(what)) => return Err(RedfishFault::Garbage { what }),
            };
            tries += 1;
            let busy = matches!(
                reply.status,
                StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
            );
            if !busy {
                return Ok(reply);
            }
            let wait = retry_after(&reply.headers).unwrap_or(PAUSE);
            if tries == BUSY_TRIES || Instant::now() + wait >= self.deadline {
                return Err(RedfishFault::Busy { tries });
            }
            sleep(wait).await;
        }
    }

    /// A request on the kept connection, or on a new one.
    async fn once(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Result<Reply, Broken>, RedfishFault> {
        let host = HeaderValue::from_str(&self.config.endpoint.authority);
        if let Ok(host) = host {
            request.headers_mut().insert(HOST, host);
        }
        let late = RedfishFault::Late {
            after_ms: self.limit.as_millis(),
        };
        // Taken out, so that a dropped future leaves no half-used connection.
        let mut link = match self.link.take().filter(Link::is_usable) {
            Some(link) => link,
            None => {
                let limit = self.config.patience.connect;
                let open = timeout(limit, Link::open(&self.config.endpoint));
                match timeout_at(self.deadline, open).await {
                    Ok(Ok(link)) => link?,
                    Ok(Err(_)) => {
                        let source = io::Error::new(
                            io::ErrorKind::TimedOut,
                            format!("no connection within {} ms", limit.as_millis()),
                        );
                        return Err(RedfishFault::Unreachable { source });
                    }
                    Err(_) => return Err(late),
                }
            }
        };
        let Ok(outcome) = timeout_at(self.deadline, link.exchange(request)).await else {
            return Err(late);
        };
        if outcome.is_ok() {
            self.link = Some(link);
        }
        Ok(outcome)
    }
}

fn request(
    method: &Method,
    path: &str,
    body: Option<&Value>,
    headers: HeaderMap,
) -> Result<Request<Full<Bytes>>, RedfishFault> {
    let wrong = |error: hyper::http::Error| RedfishFault::garbage(format!("{path}: {error}"));
    let mut builder = Request::builder().method(method).uri(path);
    builder = builder
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("musher/", env!("CARGO_PKG_VERSION")))
        .header("OData-Version", "4.0");
    let bytes = match body {
        Some(body) => {
            builder = builder.header(CONTENT_TYPE, "application/json");
            Bytes::from(body.to_string())
        }
        None => Bytes::new(),
    };
    let mut request = builder.body(Full::new(bytes)).map_err(wrong)?;
    request.headers_mut().extend(headers);
    Ok(request)
}

/// RFC 9110 15.5.13 and RFC 6585 3: another tag, or a tag at all, is wanted.
fn wants_other_tag(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::PRECONDITION_FAILED | StatusCode::PRECONDITION_REQUIRED
    )
}

/// The tag without the mark of weakness.
fn strong(tag: &HeaderValue) -> Option<HeaderValue> {
    let text = tag.to_str().ok()?.strip_prefix("W/")?;
    HeaderValue::from_str(text).ok()
}

/// RFC 9110 10.2.3, in its form of seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse();
    seconds.ok().map(Duration::from_secs)
}

/// The path of a location, wherever the BMC thinks that it lives: a request
/// goes to no other place than the one that was configured.
fn own_path(location: &HeaderValue) -> Option<String> {
    let uri: Uri = location.to_str().ok()?.parse().ok()?;
    Some(uri.path().to_owned()).filter(|path| path.starts_with('/'))
}

fn success(reply: &Reply) -> Result<(), RedfishFault> {
    if reply.status.is_success() {
        return Ok(());
    }
    Err(RedfishFault::Refused {
        status: reply.status.as_u16(),
        message: told(reply),
    })
}

fn parse(path: &str, reply: &Reply) -> Result<Value, RedfishFault> {
    serde_json::from_slice(&reply.body)
        .ok()
        .filter(Value::is_object)
        .ok_or_else(|| RedfishFault::garbage(format!("the answer to {path} is no JSON object")))
}

/// What the BMC says about an error, in DSP0266 8.6's form: the first message
/// with its id.
fn told(reply: &Reply) -> String {
    let Ok(value) = serde_json::from_slice::<Value>(&reply.body) else {
        return String::new();
    };
    let extended = list(&value, "/error/@Message.ExtendedInfo");
    let said = extended.first().and_then(|first| {
        let (id, message) = (text(first, "/MessageId"), text(first, "/Message"));
        match (id, message) {
            (Some(id), Some(message)) => Some(format!("{message} [{id}]")),
            (id, message) => message.or(id),
        }
    });
    quote(
        &said
            .or_else(|| text(&value, "/error/message"))
            .unwrap_or_default(),
    )
}
