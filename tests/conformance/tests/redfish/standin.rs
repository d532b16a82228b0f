//! A small, strict Redfish service with the quirks that real ones were seen
//! to have. Strict: what a request lacks or has too much is refused, so that
//! our client cannot lean on a lenient peer.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use musher::github::Secret;
use musher::power::redfish::{Endpoint, Fingerprint, RedfishPatience, Trust};
use musher::power::{RedfishClient, RedfishConfig};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

pub(crate) const SYSTEM: &str = "/redfish/v1/Systems/1";
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";
const RESET: &str = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
pub(crate) const PASSWORD: &str = "correct horse";

/// How the service lies about power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Not at all.
    None,
    /// Always says this.
    Says(&'static str),
    /// Accepts commands, and carries none out.
    Ignores,
    /// Carries them out, and takes them back after a while.
    Reverts(Duration),
    /// Accepts one command, and is dead from then on.
    Dies,
}

/// What is odd about this service.
#[derive(Clone, Debug)]
pub(crate) struct Quirks {
    pub(crate) lie: Lie,
    /// Reset types that it offers; `None` names none.
    pub(crate) offers: Option<Vec<&'static str>>,
    /// They stand in an ActionInfo document.
    pub(crate) action_info: bool,
    /// Refuses switching off what is off.
    pub(crate) refuses_off_when_off: bool,
    /// This many answers are 503.
    pub(crate) busy: u32,
    /// What it says for Retry-After.
    pub(crate) retry_after: &'static str,
    /// Silence before each answer to a document.
    pub(crate) slow: Duration,
    /// A session is good for this many requests.
    pub(crate) session_requests: u32,
    /// It has no sessions, only Basic authentication.
    pub(crate) basic_only: bool,
    /// A PATCH needs If-Match: the tag is weak in documents, strong in need.
    pub(crate) wants_tag: Option<Tag>,
    /// Refuses a PATCH that names the mode.
    pub(crate) fixed_mode: bool,
    /// Accepts settings with 200 and reverts them at once.
    pub(crate) reverts_boot: bool,
    /// Answers the system with these bytes instead of a whole HTTP answer.
    pub(crate) raw: Option<&'static [u8]>,
    /// Answers the system with a body that never ends.
    pub(crate) endless: bool,
    /// Members of the collection of systems.
    pub(crate) systems: Vec<&'static str>,
}

/// What tag a PATCH must carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    /// As it stands in the header.
    Weak,
    /// Without `W/`.
    Strong,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            lie: Lie::None,
            offers: Some(vec![
                "On",
                "ForceOff",
                "GracefulShutdown",
                "PushPowerButton",
            ]),
            action_info: false,
            refuses_off_when_off: false,
            busy: 0,
            retry_after: "0",
            slow: Duration::ZERO,
            session_requests: u32::MAX,
            basic_only: false,
            wants_tag: None,
            fixed_mode: false,
            reverts_boot: false,
            raw: None,
            endless: false,
            systems: vec!["1"],
        }
    }
}

pub(crate) struct State {
    pub(crate) quirks: Quirks,
    /// What the machine really is.
    pub(crate) power: &'static str,
    /// When power last changed, and what it was before.
    changed: Option<(Instant, &'static str)>,
    pub(crate) boot: Value,
    pub(crate) restore: Option<String>,
    revision: u32,
    sessions: BTreeSet<String>,
    session_left: u32,
    pub(crate) logins: u32,
    pub(crate) failed_logins: u32,
    /// Reset types that were accepted.
    pub(crate) resets: Vec<String>,
    /// Methods and paths, in order.
    pub(crate) seen: Vec<String>,
    dead: bool,
}

struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }
}

enum Answer {
    Json(u16, Value, Vec<(&'static str, String)>),
    Raw(&'static [u8]),
    Endless,
}

pub(crate) struct Standin {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    /// Of its certificate and of its key, when it speaks TLS.
    pub(crate) prints: Option<[Fingerprint; 2]>,
    pub(crate) certificate_pem: String,
}

impl Standin {
    pub(crate) fn start(quirks: Quirks) -> Self {
        Self::serve(quirks, None)
    }

    /// With TLS, and a certificate that it signed itself for `name`.
    pub(crate) fn start_tls(name: &str) -> Self {
        let signed = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![signed.cert.der().clone()], key)
            .unwrap();
        let mut standin = Self::serve(Quirks::default(), Some(Arc::new(tls)));
        let key = rcgen::PublicKeyData::subject_public_key_info(&signed.signing_key);
        standin.prints = Some([Fingerprint::of(signed.cert.der()), Fingerprint::of(&key)]);
        standin.certificate_pem = signed.cert.pem();
        standin
    }

    fn serve(quirks: Quirks, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            quirks,
            power: "Off",
            changed: None,
            boot: json!({
                "BootSourceOverrideEnabled": "Disabled",
                "BootSourceOverrideTarget": "None",
                "BootSourceOverrideTarget@Redfish.AllowableValues": ["None", "Pxe", "Hdd"],
                "BootSourceOverrideMode": "UEFI",
                "BootOrder": ["Boot0001", "Boot0000"],
            }),
            restore: Some("LastState".to_owned()),
            revision: 1,
            sessions: BTreeSet::new(),
            session_left: 0,
            logins: 0,
            failed_logins: 0,
            resets: Vec::new(),
            seen: Vec::new(),
            dead: false,
        }));
        let shared = Arc::clone(&state);
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (state, tls) = (Arc::clone(&shared), tls.clone());
                thread::spawn(move || {
                    let patience = Some(Duration::from_secs(30));
                    stream.set_read_timeout(patience).unwrap();
                    match tls {
                        None => converse(stream, &state),
                        Some(config) => {
                            let session = ServerConnection::new(config).unwrap();
                            converse(StreamOwned::new(session, stream), &state);
                        }
                    }
                });
            }
        });
        Self {
            address,
            state,
            prints: None,
            certificate_pem: String::new(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn config(&self, trust: Option<Trust<'_>>) -> RedfishConfig {
        let scheme = if self.prints.is_some() {
            "https"
        } else {
            "http"
        };
        let url = format!("{scheme}://{}", self.address);
        RedfishConfig {
            endpoint: Endpoint::new(&url, trust).unwrap(),
            username: "musher".to_owned(),
            password: Secret::new(PASSWORD.to_owned()),
            system: None,
            patience: RedfishPatience {
                connect: Duration::from_secs(2),
                deadline: Duration::from_secs(5),
            },
        }
    }

    /// A client without TLS.
    pub(crate) fn client(&self) -> RedfishClient {
        RedfishClient::new(self.config(None), Some("sled-01".to_owned()))
    }
}

/// Requests on one connection until it ends.
fn converse(stream: impl Read + Write, state: &Mutex<State>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream) {
        let mut guard = state.lock().unwrap_or_else(PoisonError::into_inner);
        if guard.dead {
            return;
        }
        let answer = guard.answer(&request);
        let slow = guard.quirks.slow;
        let dead = guard.dead;
        drop(guard);
        if request.path == SYSTEM && !slow.is_zero() {
            thread::sleep(slow);
        }
        let out = stream.get_mut();
        let sent = match answer {
            Answer::Json(status, value, headers) => send(out, status, &value, &headers),
            Answer::Raw(bytes) => out.write_all(bytes).and_then(|()| out.flush()),
            Answer::Endless => flood(out),
        };
        if sent.is_err() || dead {
            return;
        }
    }
}

fn read(stream: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    let mut next = |stream: &mut dyn BufRead| {
        line.clear();
        match stream.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
        }
    };
    let first = next(stream)?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let line = next(stream)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(Request {
        method,
        path,
        headers,
        body,
    })
}

fn send(
    out: &mut impl Write,
    status: u16,
    value: &Value,
    headers: &[(&str, String)],
) -> std::io::Result<()> {
    let body = if value.is_null() {
        String::new()
    } else {
        value.to_string()
    };
    write!(
        out,
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n",
        body.len()
    )?;
    for (name, value) in headers {
        write!(out, "{name}: {value}\r\n")?;
    }
    write!(out, "\r\n{body}")?;
    out.flush()
}

fn flood(out: &mut impl Write) -> std::io::Result<()> {
    out.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    loop {
        out.write_all(chunk.as_bytes())?;
    }
}

fn refusal(status: u16, id: &str, message: &str) -> Answer {
    let info = json!([{ "MessageId": format!("Base.1.8.{id}"), "Message": message }]);
    let error = json!({ "error": { "code": "Base.1.8.GeneralError", "message": "See extended.",
        "@Message.ExtendedInfo": info } });
    Answer::Json(status, error, Vec::new())
}

fn ok(value: Value) -> Answer {
    Answer::Json(200, value, Vec::new())
}

fn id(path: &str) -> Value {
    json!({ "@odata.id": path })
}

impl State {
    fn answer(&mut self, request: &Request) -> Answer {
        self.seen
            .push(format!("{} {}", request.method, request.path));
        for needed in ["host", "accept", "odata-version", "user-agent"] {
            if request.header(needed).is_none() {
                return refusal(400, "HeaderMissing", needed);
            }
        }
        if !request.body.is_empty() && request.header("content-type") != Some("application/json") {
            return refusal(415, "HeaderInvalid", "content-type");
        }
        if self.quirks.busy > 0 {
            self.quirks.busy -= 1;
            let again = vec![("Retry-After", self.quirks.retry_after.to_owned())];
            return Answer::Json(503, Value::Null, again);
        }
        let (method, path) = (request.method.as_str(), request.path.as_str());
        match (method, path) {
            ("GET", "/redfish/v1/") => return ok(self.root()),
            ("POST", SESSIONS) if !self.quirks.basic_only => return self.log_in(request),
            _ => {}
        }
        if !self.is_known(request) {
            return refusal(401, "NoValidSession", "There is no valid session.");
        }
        match (method, path) {
            ("DELETE", path) if path.starts_with(SESSIONS) => {
                let token = request.header("x-auth-token").unwrap_or_default();
                self.sessions.remove(token);
                Answer::Json(204, Value::Null, Vec::new())
            }
            ("GET", SYSTEM) => self.system(),
            ("PATCH", SYSTEM) => self.patch(request),
            ("POST", RESET) => self.reset(request),
            ("GET", path) => match self.document(path) {
                Some(value) => ok(value),
                None => refusal(404, "ResourceMissingAtURI", path),
            },
            _ => refusal(405, "ActionNotSupported", method),
        }
    }

    fn root(&self) -> Value {
        let mut root = json!({
            "RedfishVersion": "1.11.0",
            "Systems": id("/redfish/v1/Systems"),
            "AccountService": id("/redfish/v1/AccountService"),
            "UpdateService": id("/redfish/v1/UpdateService"),
        });
        if !self.quirks.basic_only {
            root["Links"] = json!({ "Sessions": id(SESSIONS) });
        }
        root
    }

    fn log_in(&mut self, request: &Request) -> Answer {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        if body != json!({ "UserName": "musher", "Password": PASSWORD }) {
            self.failed_logins += 1;
            return refusal(401, "NoValidSession", "Wrong name or password.");
        }
        self.logins += 1;
        let token = format!("token-{}", self.logins);
        self.sessions.insert(token.clone());
        self.session_left = self.quirks.session_requests;
        let place = format!("https://elsewhere.example{SESSIONS}/{}", self.logins);
        let headers = vec![("X-Auth-Token", token), ("Location", place)];
        Answer::Json(201, json!({}), headers)
    }

    fn is_known(&mut self, request: &Request) -> bool {
        if self.quirks.basic_only {
            // "musher:correct horse", by `base64` of coreutils.
            let known =
                request.header("authorization") == Some("Basic bXVzaGVyOmNvcnJlY3QgaG9yc2U=");
            self.failed_logins += u32::from(!known);
            return known;
        }
        let token = request.header("x-auth-token").unwrap_or_default();
        if self.session_left == 0 || !self.sessions.contains(token) {
            self.sessions.clear();
            return false;
        }
        self.session_left -= 1;
        true
    }

    fn says(&mut self) -> &'static str {
        match self.quirks.lie {
            Lie::Says(word) => word,
            Lie::Reverts(after) => {
                if let Some((at, before)) = self.changed
                    && at.elapsed() >= after
                {
                    self.power = before;
                    self.changed = None;
                }
                self.power
            }
            Lie::None | Lie::Ignores | Lie::Dies => self.power,
        }
    }

    fn tag(&self) -> String {
        format!("\"r{}\"", self.revision)
    }

    fn system(&mut self) -> Answer {
        if let Some(raw) = self.quirks.raw {
            return Answer::Raw(raw);
        }
        if self.quirks.endless {
            return Answer::Endless;
        }
        let mut action = json!({ "target": RESET });
        match &self.quirks.offers {
            Some(_) if self.quirks.action_info => {
                action["@Redfish.ActionInfo"] = json!("/redfish/v1/Systems/1/ResetActionInfo");
            }
            Some(offers) => action["ResetType@Redfish.AllowableValues"] = json!(offers),
            None => {}
        }
        let mut value = json!({
            "Id": "1", "PowerState": self.says(), "Boot": self.boot,
            "Model": "Stand-in", "BiosVersion": "2.1", "SerialNumber": "S1",
            "Links": { "Chassis": [id("/redfish/v1/Chassis/1")],
                "ManagedBy": [id("/redfish/v1/Managers/1")] },
            "Actions": { "#ComputerSystem.Reset": action },
        });
        if let Some(policy) = &self.restore {
            value["PowerRestorePolicy"] = json!(policy);
        }
        Answer::Json(200, value, vec![("ETag", format!("W/{}", self.tag()))])
    }

    fn patch(&mut self, request: &Request) -> Answer {
        if let Some(wanted) = self.quirks.wants_tag {
            let wanted = match wanted {
                Tag::Weak => format!("W/{}", self.tag()),
                Tag::Strong => self.tag(),
            };
            match request.header("if-match") {
                None => return refusal(428, "PreconditionRequired", "If-Match"),
                Some(tag) if tag == wanted => {}
                Some(_) => return refusal(412, "PreconditionFailed", "If-Match"),
            }
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        if let Some(policy) = body["PowerRestorePolicy"].as_str() {
            assert_eq!(body, json!({ "PowerRestorePolicy": "AlwaysOff" }));
            if !self.quirks.reverts_boot {
                self.restore = Some(policy.to_owned());
            }
            return ok(json!({}));
        }
        let boot = body["Boot"].as_object().unwrap();
        for (key, value) in boot {
            let allowed: &[&str] = match key.as_str() {
                "BootSourceOverrideEnabled" => &["Once", "Disabled"],
                "BootSourceOverrideTarget" => &["Pxe", "Hdd", "None", "UefiHttp"],
                "BootSourceOverrideMode" if !self.quirks.fixed_mode => &["UEFI", "Legacy"],
                _ => return refusal(400, "PropertyNotWritable", key),
            };
            if !allowed.contains(&value.as_str().unwrap()) {
                return refusal(400, "PropertyValueNotInList", key);
            }
        }
        if !self.quirks.reverts_boot {
            for (key, value) in boot {
                self.boot[key] = value.clone();
            }
        }
        self.revision += 1;
        ok(json!({}))
    }

    fn reset(&mut self, request: &Request) -> Answer {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let kind = body["ResetType"].as_str().unwrap().to_owned();
        assert_eq!(body, json!({ "ResetType": kind }), "nothing more");
        let offers = self.quirks.offers.as_ref();
        if !offers.is_none_or(|offers| offers.contains(&kind.as_str())) {
            return refusal(400, "ActionParameterNotSupported", &kind);
        }
        if self.quirks.refuses_off_when_off && kind == "ForceOff" && self.power == "Off" {
            return refusal(409, "ResourceInUse", "It is off.");
        }
        let wanted = match kind.as_str() {
            "On" | "ForceOn" => "On",
            "ForceOff" | "GracefulShutdown" => "Off",
            other => panic!("a reset type that Musher must never send: {other}"),
        };
        self.resets.push(kind);
        if self.quirks.lie != Lie::Ignores && wanted != self.power {
            self.changed = Some((Instant::now(), self.power));
            self.power = wanted;
        }
        self.dead = self.quirks.lie == Lie::Dies;
        if self.dead {
            return Answer::Json(204, Value::Null, Vec::new());
        }
        // Asynchronous, as DSP0266 allows.
        Answer::Json(
            202,
            Value::Null,
            vec![("Location", "/redfish/v1/TaskService/1".to_owned())],
        )
    }

    fn document(&self, path: &str) -> Option<Value> {
        let members = |paths: &[&str]| {
            let members: Vec<Value> = paths.iter().map(|path| id(path)).collect();
            json!({ "Members": members })
        };
        Some(match path.strip_prefix("/redfish/v1/")? {
            "Systems" => {
                let of = |name: &&str| format!("/redfish/v1/Systems/{name}");
                let paths: Vec<String> = self.quirks.systems.iter().map(of).collect();
                members(&paths.iter().map(String::as_str).collect::<Vec<_>>())
            }
            "Systems/1/ResetActionInfo" => json!({ "Parameters": [
                { "Name": "Other", "AllowableValues": ["On"] },
                { "Name": "ResetType", "AllowableValues": self.quirks.offers },
            ] }),
            "Chassis/1" => json!({ "Power": id("/redfish/v1/Chassis/1/Power"),
                "EnvironmentMetrics": id("/redfish/v1/Chassis/1/EnvironmentMetrics") }),
            "Chassis/1/Power" => json!({ "PowerControl": [{ "PowerConsumedWatts": 87.5 }] }),
            "Managers/1" => json!({ "FirmwareVersion": "7.0",
                "EthernetInterfaces": id("/redfish/v1/Managers/1/EthernetInterfaces"),
                "NetworkProtocol": id("/redfish/v1/Managers/1/NetworkProtocol") }),
            "Managers/1/EthernetInterfaces" => {
                members(&["/redfish/v1/Managers/1/EthernetInterfaces/1"])
            }
            "Managers/1/EthernetInterfaces/1" => json!({ "MACAddress": "52:54:00:00:00:01",
                "DHCPv4": { "DHCPEnabled": false }, "LinkStatus": "LinkUp" }),
            "Managers/1/NetworkProtocol" => {
                json!({ "IPMI": { "ProtocolEnabled": true, "Port": 623 } })
            }
            "AccountService" => json!({ "Accounts": id("/redfish/v1/AccountService/Accounts") }),
            "AccountService/Accounts" => members(&[
                "/redfish/v1/AccountService/Accounts/1",
                // Hidden from us.
                "/redfish/v1/AccountService/Accounts/2",
            ]),
            "AccountService/Accounts/1" => json!({ "UserName": "musher", "Password": null,
                "RoleId": "Operator", "Enabled": true }),
            "UpdateService" => {
                json!({ "FirmwareInventory": id("/redfish/v1/UpdateService/FirmwareInventory") })
            }
            "UpdateService/FirmwareInventory" => {
                members(&["/redfish/v1/UpdateService/FirmwareInventory/BIOS"])
            }
            "UpdateService/FirmwareInventory/BIOS" => json!({ "Name": "BIOS", "Version": "2.1" }),
            _ => return None,
        })
    }
}
