//! Bytes on a connection, right or wrong, and the answers that come back.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use musher_e2e::{Standalone, sign};
use serde_json::Value;

/// Longer than each of Musher's own deadlines: an attack ends by an answer, or
/// because Musher closes.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long Musher may be silent before it learns that nothing more comes.
const GLANCE: Duration = Duration::from_millis(500);

/// A delivery that may be stored.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) id: String,
    pub(crate) body: Vec<u8>,
}

impl Delivery {
    /// Its headers, correctly signed.
    pub(crate) fn headers(&self) -> Vec<(&'static str, String)> {
        vec![
            ("Host", "musher".to_owned()),
            ("Connection", "close".to_owned()),
            ("X-GitHub-Delivery", self.id.clone()),
            ("X-GitHub-Event", "workflow_job".to_owned()),
            ("X-Hub-Signature-256", sign(Standalone::SECRET, &self.body)),
        ]
    }

    /// The whole request, as it should be.
    pub(crate) fn request(&self) -> Vec<u8> {
        let mut headers = self.headers();
        headers.push(("Content-Length", self.body.len().to_string()));
        request(&headers, &self.body)
    }

    /// The same, with more to follow on this connection.
    pub(crate) fn one_of_many(&self) -> Vec<u8> {
        let mut headers = self.headers();
        headers.retain(|(name, _)| *name != "Connection");
        headers.push(("Content-Length", self.body.len().to_string()));
        request(&headers, &self.body)
    }

    /// GitHub's number of its job.
    pub(crate) fn job(&self) -> Option<u64> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        body["workflow_job"]["id"].as_u64()
    }
}

/// A request with these headers and no others.
pub(crate) fn request(headers: &[(&str, String)], body: &[u8]) -> Vec<u8> {
    let mut bytes = b"POST /api/webhook HTTP/1.1\r\n".to_vec();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// An answer: its status, and the field `result` of its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) result: Option<String>,
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("Musher accepts connections");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends these bytes and nothing more; every answer until Musher closes.
pub(crate) fn send(address: SocketAddr, bytes: &[u8]) -> Vec<Answer> {
    let mut stream = connect(address);
    // Who is refused early may not get rid of the rest.
    let _ = stream.write_all(bytes);
    answers(&mut stream)
}

/// Reads answers until Musher closes. Where it waits for more, it learns that
/// nothing more comes.
pub(crate) fn answers(stream: &mut TcpStream) -> Vec<Answer> {
    let mut bytes = Vec::new();
    stream.set_read_timeout(Some(GLANCE)).unwrap();
    if is_silence(stream.read_to_end(&mut bytes)) {
        // Only now: hyper takes a half-closed connection for one that is gone.
        let _ = stream.shutdown(Shutdown::Write);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let silent = is_silence(stream.read_to_end(&mut bytes));
        assert!(!silent, "Musher neither answered nor closed");
    }
    split(&String::from_utf8_lossy(&bytes))
}

/// Whether reading ended because nothing came. A reset is an end as well.
fn is_silence(read: io::Result<usize>) -> bool {
    read.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

fn split(mut text: &str) -> Vec<Answer> {
    let mut answers = Vec::new();
    while let Some((head, rest)) = text.split_once("\r\n\r\n") {
        let field = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(':'));
            let mut values = lines.filter(|(other, _)| other.eq_ignore_ascii_case(name));
            Some(values.next()?.1.trim().to_owned())
        };
        let length = field("content-length").and_then(|length| length.parse().ok());
        let (body, next) = rest
            .split_at_checked(length.unwrap_or(0))
            .unwrap_or((rest, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body: Option<Value> = serde_json::from_str(body).ok();
        answers.push(Answer {
            status: status.unwrap_or_else(|| panic!("no HTTP: {head:?}")),
            result: body.and_then(|body| Some(body.get("result")?.as_str()?.to_owned())),
        });
        text = next;
    }
    answers
}
