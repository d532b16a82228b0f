//! The kernel command line: where the appliance is, which key it has, and the
//! boot ticket. Parsed once; it never holds a secret that outlives redemption.

use messages::{CMDLINE_PIN, CMDLINE_TICKET, CMDLINE_URL, Digest, TicketToken};

/// What the appliance put on the command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// Host of the sled listener: an address, or a name that DNS knows.
    pub(crate) host: String,
    /// TCP port of the sled listener.
    pub(crate) port: u16,
    /// SHA-256 of the appliance's SubjectPublicKeyInfo.
    pub(crate) pin: Digest,
    /// The boot ticket.
    pub(crate) ticket: TicketToken,
}

/// A command line that no boot of ours has.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CmdlineError {
    /// A key is not there.
    #[error("the kernel command line has no {0}: boot this sled through its appliance")]
    Missing(&'static str),
    /// A key is there more than once.
    #[error("the kernel command line has {0} twice")]
    Twice(&'static str),
    /// A value cannot be read.
    #[error("the kernel command line has an invalid {0}")]
    Invalid(&'static str),
}

impl Arguments {
    /// Reads `/proc/cmdline`'s text.
    ///
    /// # Errors
    /// A key that is missing, repeated or malformed.
    pub(crate) fn parse(text: &str) -> Result<Self, CmdlineError> {
        let (host, port) =
            endpoint(value(text, CMDLINE_URL)?).ok_or(CmdlineError::Invalid(CMDLINE_URL))?;
        Ok(Self {
            host,
            port,
            pin: value(text, CMDLINE_PIN)?
                .parse()
                .map_err(|_| CmdlineError::Invalid(CMDLINE_PIN))?,
            ticket: value(text, CMDLINE_TICKET)?
                .parse()
                .map_err(|_| CmdlineError::Invalid(CMDLINE_TICKET))?,
        })
    }
}

fn value<'a>(text: &'a str, key: &'static str) -> Result<&'a str, CmdlineError> {
    let mut values = text
        .split_ascii_whitespace()
        .filter_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let value = values.next().ok_or(CmdlineError::Missing(key))?;
    // The kernel lets the last one win, other programs the first: refuse.
    match values.next() {
        Some(_) => Err(CmdlineError::Twice(key)),
        None => Ok(value),
    }
}

/// Host and port of `https://HOST:PORT`. Plain HTTP is no way to reach the
/// appliance: the order would be readable on the wire.
fn endpoint(url: &str) -> Option<(String, u16)> {
    let authority = url.strip_prefix("https://")?;
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let (host, port) = authority.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None => host,
    };
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b".:-".contains(&byte);
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (!host.is_empty() && host.bytes().all(valid)).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIN: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    const TICKET: &str = "0123456789abcdef0123456789abcdef";

    #[track_caller]
    fn check(text: &str, expect: Result<(&str, u16), CmdlineError>) {
        let expect = expect.map(|(host, port)| Arguments {
            host: host.to_owned(),
            port,
            pin: PIN.parse().expect("the pin above"),
            ticket: TICKET.parse().expect("the ticket above"),
        });
        assert_eq!(Arguments::parse(text), expect, "{text}");
    }

    #[test]
    fn command_lines() {
        let line = |url: &str| {
            format!("console=ttyS0 musher.url={url} musher.pin={PIN} musher.ticket={TICKET}\n")
        };
        check(&line("https://10.77.0.1:8480"), Ok(("10.77.0.1", 8480)));
        check(
            &line("https://musher.example:1/"),
            Ok(("musher.example", 1)),
        );
        check(&line("https://[fd00::1]:8480"), Ok(("fd00::1", 8480)));
        for url in [
            "http://10.77.0.1:8480",
            "https://10.77.0.1",
            "https://10.77.0.1:0",
            "https://10.77.0.1:65536",
            "https://:8480",
            "https://a/b:8480",
            "https://user@a:8480",
            "https://[fd00::1:8480",
            "",
        ] {
            check(&line(url), Err(CmdlineError::Invalid(CMDLINE_URL)));
        }
        let whole = line("https://10.77.0.1:8480");
        check("quiet", Err(CmdlineError::Missing(CMDLINE_URL)));
        check(
            &whole.replace("musher.pin", "musher.pinned"),
            Err(CmdlineError::Missing(CMDLINE_PIN)),
        );
        check(
            &whole.replace(TICKET, "0123"),
            Err(CmdlineError::Invalid(CMDLINE_TICKET)),
        );
        check(
            &format!("{whole} musher.pin={PIN}"),
            Err(CmdlineError::Twice(CMDLINE_PIN)),
        );
    }
}
