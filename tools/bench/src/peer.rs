//! Debian's `webhook` (github.com/adnanh/webhook), a receiver that people put
//! in front of GitHub today, in the cheapest configuration whose answer means
//! that something was done:
//!
//! - it verifies the same HMAC over the same bytes, which is its only rule;
//! - it passes nothing of the payload on, and logs nothing;
//! - its command is `/bin/true`, so it stores nothing at all;
//! - it answers once that command has run. By default it would answer before:
//!   that is faster for seconds, while commands that wait pile up without a
//!   bound (half a gigabyte of them after 20,000 deliveries), so such a rate
//!   cannot be kept and its answer promises nothing.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::daemon::write;
use crate::deliveries::{Receiver, SECRET};
use crate::program::{Program, free_address};

/// Where Debian installs it.
pub(crate) const BINARY: &str = "/usr/bin/webhook";
/// The name of this peer.
pub(crate) const NAME: &str = "Debian's webhook";

/// What its command printed.
const ANSWER: &[u8] = b"";

/// What it answers.
pub(crate) const RECEIVER: Receiver = Receiver {
    path: "/hooks/bench",
    queued: ANSWER,
    completed: ANSWER,
};

/// A running `webhook`.
pub(crate) struct Peer {
    pub(crate) program: Program,
    /// Where it takes deliveries.
    pub(crate) address: SocketAddr,
}

impl Peer {
    /// Starts it with its files in `dir`.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub(crate) fn start(dir: &Path) -> Result<Self> {
        let address = free_address()?;
        let hooks = json!([{
            "id": "bench",
            "execute-command": "/bin/true",
            "include-command-output-in-response": true,
            "trigger-rule": { "match": {
                "type": "payload-hmac-sha256",
                "secret": String::from_utf8_lossy(SECRET),
                "parameter": { "source": "header", "name": "X-Hub-Signature-256" },
            } },
        }]);
        write(&dir.join("hooks.json"), hooks.to_string().as_bytes(), 0o600)?;
        let mut command = Command::new(BINARY);
        command
            .args(["-hooks", "hooks.json", "-ip", "127.0.0.1", "-port"])
            .arg(address.port().to_string())
            .current_dir(dir);
        let program = Program::start(&mut command, &dir.join("webhook.log"), address)
            .context("is the package webhook installed?")?;
        Ok(Self { program, address })
    }
}
