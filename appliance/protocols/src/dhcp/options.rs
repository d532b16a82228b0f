//! DHCP options: a map from code to value. It never interprets a value
//! further than its shape, and never keeps padding.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use super::packet::DecodeError;

/// Option codes that this server reads or writes.
pub mod code {
    /// Padding (RFC 2132 section 3.1).
    pub const PAD: u8 = 0;
    /// Subnet mask (RFC 2132 section 3.3).
    pub const SUBNET_MASK: u8 = 1;
    /// Routers (RFC 2132 section 3.5).
    pub const ROUTER: u8 = 3;
    /// Domain name servers (RFC 2132 section 3.8).
    pub const DNS: u8 = 6;
    /// Host name (RFC 2132 section 3.14).
    pub const HOST_NAME: u8 = 12;
    /// Vendor-specific information (RFC 2132 section 8.4), PXE's own tags here.
    pub const VENDOR_SPECIFIC: u8 = 43;
    /// Requested IP address (RFC 2132 section 9.1).
    pub const REQUESTED_ADDRESS: u8 = 50;
    /// Lease time in seconds (RFC 2132 section 9.2).
    pub const LEASE_TIME: u8 = 51;
    /// Option overload (RFC 2132 section 9.3).
    pub const OVERLOAD: u8 = 52;
    /// Message type (RFC 2132 section 9.6).
    pub const MESSAGE_TYPE: u8 = 53;
    /// Server identifier (RFC 2132 section 9.7).
    pub const SERVER_ID: u8 = 54;
    /// Parameter request list (RFC 2132 section 9.8).
    pub const PARAMETER_LIST: u8 = 55;
    /// Message (RFC 2132 section 9.9): why a NAK was sent.
    pub const MESSAGE: u8 = 56;
    /// Maximum message size (RFC 2132 section 9.10).
    pub const MAX_MESSAGE_SIZE: u8 = 57;
    /// Vendor class identifier (RFC 2132 section 9.13).
    pub const VENDOR_CLASS: u8 = 60;
    /// Client identifier (RFC 2132 section 9.14).
    pub const CLIENT_ID: u8 = 61;
    /// TFTP server name (RFC 2132 section 9.4).
    pub const TFTP_SERVER: u8 = 66;
    /// Boot file name (RFC 2132 section 9.5).
    pub const BOOT_FILE: u8 = 67;
    /// User class (RFC 3004).
    pub const USER_CLASS: u8 = 77;
    /// Relay agent information (RFC 3046).
    pub const RELAY_AGENT: u8 = 82;
    /// Client system architecture (RFC 4578 section 2.1): a list of u16.
    pub const ARCHITECTURE: u8 = 93;
    /// Client network interface (RFC 4578 section 2.2).
    pub const NETWORK_INTERFACE: u8 = 94;
    /// Client machine identifier (RFC 4578 section 2.3).
    pub const MACHINE_ID: u8 = 97;
    /// iPXE's encapsulated options.
    pub const IPXE: u8 = 175;
    /// End of the options (RFC 2132 section 3.2).
    pub const END: u8 = 255;
}

/// The options of one packet, each code once: parts that came in several
/// pieces are joined (RFC 3396).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<u8, Vec<u8>>);

impl Options {
    /// The raw value of `code`.
    #[must_use]
    pub fn get(&self, code: u8) -> Option<&[u8]> {
        self.0.get(&code).map(Vec::as_slice)
    }

    /// Sets `code`; pad, end and overload belong to the codec and are ignored.
    pub fn set(&mut self, code: u8, value: impl Into<Vec<u8>>) {
        if !matches!(code, code::PAD | code::END | code::OVERLOAD) {
            self.0.insert(code, value.into());
        }
    }

    /// The value of `code` when it is exactly one address.
    #[must_use]
    pub fn address(&self, code: u8) -> Option<Ipv4Addr> {
        let octets: [u8; 4] = self.get(code)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets))
    }

    /// The value of `code` when it is exactly one octet.
    #[must_use]
    pub fn octet(&self, code: u8) -> Option<u8> {
        match self.get(code)? {
            [octet] => Some(*octet),
            _ => None,
        }
    }

    /// The value of `code` when it is exactly one big-endian u16.
    #[must_use]
    pub fn word(&self, code: u8) -> Option<u16> {
        let octets: [u8; 2] = self.get(code)?.try_into().ok()?;
        Some(u16::from_be_bytes(octets))
    }

    /// All codes with their values, in ascending order of code.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.0.iter().map(|(code, value)| (*code, value.as_slice()))
    }

    /// Reads one option area and joins it to what is there (RFC 3396).
    /// A missing end option is accepted: some boot ROMs leave it out.
    pub(super) fn absorb(&mut self, area: &[u8]) -> Result<(), DecodeError> {
        let mut rest = area;
        while let Some((&code, after)) = rest.split_first() {
            match code {
                code::PAD => rest = after,
                code::END => return Ok(()),
                _ => {
                    let (value, tail) = after
                        .split_first()
                        .and_then(|(&length, body)| body.split_at_checked(usize::from(length)))
                        .ok_or(DecodeError::OptionTruncated { code })?;
                    self.0.entry(code).or_default().extend_from_slice(value);
                    rest = tail;
                }
            }
        }
        Ok(())
    }

    pub(super) fn take(&mut self, code: u8) -> Option<Vec<u8>> {
        self.0.remove(&code)
    }

    /// Writes the options: the message type first, because some clients look
    /// for it there, relay agent information last (RFC 3046 section 2.1),
    /// values above 255 octets in pieces (RFC 3396).
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let rank = |code: u8| match code {
            code::MESSAGE_TYPE => 0,
            code::RELAY_AGENT => 2,
            _ => 1,
        };
        for wanted in 0..=2 {
            for (code, value) in self.iter().filter(|(code, _)| rank(*code) == wanted) {
                if value.is_empty() {
                    out.extend_from_slice(&[code, 0]);
                }
                for piece in value.chunks(255) {
                    out.push(code);
                    out.push(u8::try_from(piece.len()).unwrap_or(u8::MAX));
                    out.extend_from_slice(piece);
                }
            }
        }
        out.push(code::END);
    }
}
