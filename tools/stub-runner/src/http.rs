//! One HTTP/1.1 request per connection (RFC 9112), plain, with deadlines and
//! bounds. No TLS: sleds reach fakehub on their own network.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use serde_json::Value;

/// Time to connect, and between two pieces of an answer.
const DEADLINE: Duration = Duration::from_secs(15);
/// Largest answer.
const MAX_ANSWER: u64 = 4 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// Not an address that this client can use.
    #[error("cannot use the address {0}: only http:// is supported")]
    Address(String),
    /// The network failed.
    #[error("cannot reach {host}: {source}")]
    Network {
        /// Host and port.
        host: String,
        /// The cause.
        source: std::io::Error,
    },
    /// Not an HTTP answer.
    #[error("{0} gave a broken answer")]
    Broken(String),
}

/// Status and JSON, `null` without a body.
#[derive(Debug)]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// Content.
    pub(crate) body: Value,
}

/// A server and a credential.
pub(crate) struct Client {
    host: String,
    base: String,
    secret: String,
}

impl Client {
    /// A client for a base address.
    pub(crate) fn new(base: &str, secret: &str) -> Result<Self, HttpError> {
        let rest = base
            .strip_prefix("http://")
            .ok_or_else(|| HttpError::Address(base.into()))?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let bare = host
            .rsplit_once(':')
            .is_none_or(|(_, port)| port.parse::<u16>().is_err());
        Ok(Self {
            host: if bare {
                format!("{host}:80")
            } else {
                host.to_owned()
            },
            base: format!("/{path}").trim_end_matches('/').to_owned(),
            secret: secret.to_owned(),
        })
    }

    /// Sends one request; `extra` is added to the deadline for the answer.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        extra: Duration,
    ) -> Result<Answer, HttpError> {
        let network = |source| HttpError::Network {
            host: self.host.clone(),
            source,
        };
        let bytes = self.exchange(method, path, body, extra).map_err(network)?;
        parse(&bytes).ok_or_else(|| HttpError::Broken(self.host.clone()))
    }

    fn exchange(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        extra: Duration,
    ) -> std::io::Result<Vec<u8>> {
        let address = self.host.to_socket_addrs()?.next();
        let address = address.ok_or(std::io::ErrorKind::AddrNotAvailable)?;
        let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
        stream.set_write_timeout(Some(DEADLINE))?;
        stream.set_read_timeout(Some(DEADLINE + extra))?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let head = format!(
            "{method} {}{path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: stub-runner\r\n\
             Authorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            self.base,
            self.host,
            self.secret,
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut bytes = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Status line, headers, body up to the end of the connection; a body shorter
/// than its Content-Length is broken.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, body) = bytes.split_at_checked(end)?;
    let body = body.get(4..)?;
    let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
    let status = lines
        .next()?
        .strip_prefix("HTTP/1.1 ")?
        .get(..3)?
        .parse()
        .ok()?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok());
    if length.is_some_and(|length| length != body.len()) {
        return None;
    }
    let body = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(body).ok()?
    };
    Some(Answer { status, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_parse_or_not() {
        let check = |text: &str, expect: Option<u16>| {
            assert_eq!(parse(text.as_bytes()).map(|it| it.status), expect, "{text}");
        };
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Some(200));
        check("HTTP/1.1 204 No Content\r\n\r\n", Some(204));
        check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}", None);
        check("HTTP/1.1 200 OK\r\n\r\n{", None);
        check("HTTP/1.1 2", None);
        check("", None);
    }

    #[test]
    fn addresses_are_plain_http() {
        let check = |base: &str, expect: Option<(&str, &str)>| {
            let client = Client::new(base, "s").ok();
            let got = client
                .as_ref()
                .map(|it| (it.host.as_str(), it.base.as_str()));
            assert_eq!(got, expect);
        };
        check(
            "http://10.77.0.1:9401/_runner",
            Some(("10.77.0.1:9401", "/_runner")),
        );
        check("http://hub/_runner/", Some(("hub:80", "/_runner")));
        check("https://hub", None);
    }
}
