//! A read request and the options that both sides agree on. It never accepts
//! a write, and never grants more than one Ethernet frame per block.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::packet::Packet;

/// Largest block: an Ethernet frame less IPv4, UDP and TFTP headers, so that
/// nothing is ever fragmented.
const MAX_BLOCK_BYTES: u16 = 1468;
/// RFC 2348: the smallest block.
const MIN_BLOCK_BYTES: u16 = 8;
/// RFC 1350: without the option.
const DEFAULT_BLOCK_BYTES: u16 = 512;
/// Most blocks in flight; more than that overruns small receivers.
const MAX_WINDOW_BLOCKS: u16 = 32;

/// A read request that can be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// File name without leading slashes.
    pub name: String,
    /// What was negotiated.
    pub negotiated: Negotiated,
}

/// Options of one transfer: the defaults of RFC 1350 where none came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Octets per block, 8 to 1468.
    pub block_bytes: u16,
    /// Blocks per acknowledgement, 1 to 32.
    pub window_blocks: u16,
    /// Time until a datagram is repeated.
    pub timeout_ms: u64,
    pub(super) asked_block: bool,
    pub(super) asked_window: bool,
    pub(super) asked_timeout: bool,
    pub(super) asked_size: bool,
}

/// Why a packet is no read request for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A write request.
    #[error("serve TFTP request: this server is read-only")]
    Write,
    /// `netascii` or `mail`: boot files are binary.
    #[error("serve TFTP request: only octet (binary) mode is served")]
    Mode,
    /// DATA, ACK, ERROR or OACK on the listening port.
    #[error("serve TFTP request: not a request")]
    NotARequest,
}

impl Negotiated {
    const DEFAULT: Self = Self {
        block_bytes: DEFAULT_BLOCK_BYTES,
        window_blocks: 1,
        timeout_ms: 1000,
        asked_block: false,
        asked_window: false,
        asked_timeout: false,
        asked_size: false,
    };

    /// RFC 2347: unknown options are ignored, and so are values outside of
    /// their range; a granted value may be smaller than the one asked for.
    fn apply(&mut self, name: &str, value: &str) {
        if name.eq_ignore_ascii_case("blksize") {
            // RFC 2348 ends at 65464.
            if let Some(asked) = number(value, MIN_BLOCK_BYTES, 65464) {
                self.block_bytes = asked.min(MAX_BLOCK_BYTES);
                self.asked_block = true;
            }
        } else if name.eq_ignore_ascii_case("windowsize") {
            if let Some(asked) = number(value, 1, u16::MAX) {
                self.window_blocks = asked.min(MAX_WINDOW_BLOCKS);
                self.asked_window = true;
            }
        } else if name.eq_ignore_ascii_case("timeout") {
            // RFC 2349: the server takes the value as it is, or not at all.
            if let Some(seconds) = number(value, 1, 255) {
                self.timeout_ms = u64::from(seconds) * 1000;
                self.asked_timeout = true;
            }
        } else if name.eq_ignore_ascii_case("tsize") && value.parse::<u64>().is_ok() {
            self.asked_size = true;
        }
    }

    /// The OACK that answers, empty when no option was accepted.
    pub(super) fn answer(&self, file_bytes: u64) -> Vec<(&'static str, String)> {
        let mut options = Vec::new();
        if self.asked_block {
            options.push(("blksize", self.block_bytes.to_string()));
        }
        if self.asked_window {
            options.push(("windowsize", self.window_blocks.to_string()));
        }
        if self.asked_timeout {
            options.push(("timeout", (self.timeout_ms / 1000).to_string()));
        }
        if self.asked_size {
            options.push(("tsize", file_bytes.to_string()));
        }
        options
    }
}

fn number(value: &str, low: u16, high: u16) -> Option<u16> {
    value
        .parse()
        .ok()
        .filter(|number| (low..=high).contains(number))
}

impl ReadRequest {
    /// Reads a request off a packet.
    ///
    /// # Errors
    /// [`RequestError`] says what to answer.
    pub fn of(packet: &Packet<'_>) -> Result<Self, RequestError> {
        let Packet::Request {
            write,
            name,
            mode,
            options,
        } = packet
        else {
            return Err(RequestError::NotARequest);
        };
        if *write {
            return Err(RequestError::Write);
        }
        if !mode.eq_ignore_ascii_case("octet") {
            return Err(RequestError::Mode);
        }
        let mut negotiated = Negotiated::DEFAULT;
        for (name, value) in options {
            negotiated.apply(name, value);
        }
        Ok(Self {
            name: name.trim_start_matches('/').to_string(),
            negotiated,
        })
    }
}
