//! The BOOTP frame around DHCP options (RFC 951, RFC 2131 section 2). It
//! never accepts another link than Ethernet, and never writes overloaded
//! fields.

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use super::mac::MacAddress;
use super::options::{Options, code};

/// Longest datagram that is read, in octets: one Ethernet frame.
pub const MAX_DATAGRAM_BYTES: usize = 1500;
/// Shortest datagram that is written: BOOTP relays and old clients drop
/// anything below 300 octets (RFC 1542 section 2.1).
const MIN_DATAGRAM_BYTES: usize = 300;
const MAGIC_COOKIE: [u8; 4] = [99, 130, 83, 99];
const BROADCAST_FLAG: u16 = 0x8000;
const SERVER_NAME_BYTES: usize = 64;
const BOOT_FILE_BYTES: usize = 128;

/// Who sent the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// BOOTREQUEST: a client.
    Request,
    /// BOOTREPLY: a server.
    Reply,
}

/// One DHCP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Direction.
    pub op: Op,
    /// Relay hops so far.
    pub hops: u8,
    /// Transaction id, chosen by the client.
    pub xid: u32,
    /// Seconds since the client began.
    pub seconds: u16,
    /// The client cannot take unicast before it has an address.
    pub broadcast: bool,
    /// Client's address, when it has one and can be reached by it.
    pub client_address: Ipv4Addr,
    /// "Your" address: what the server gives.
    pub your_address: Ipv4Addr,
    /// Address of the next boot server.
    pub next_server: Ipv4Addr,
    /// Address of the relay, or unspecified.
    pub relay: Ipv4Addr,
    /// Ethernet address of the client.
    pub mac: MacAddress,
    /// Server host name, without trailing zeros.
    pub server_name: Vec<u8>,
    /// Boot file name, without trailing zeros.
    pub boot_file: Vec<u8>,
    /// Options.
    pub options: Options,
}

/// Why bytes are not a DHCP packet for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than the fixed header and the magic cookie.
    #[error("decode DHCP packet: {bytes} bytes are shorter than the fixed header")]
    HeaderTruncated {
        /// Length seen.
        bytes: usize,
    },
    /// Longer than one Ethernet frame.
    #[error("decode DHCP packet: {bytes} bytes are longer than one Ethernet frame")]
    TooLong {
        /// Length seen.
        bytes: usize,
    },
    /// Neither request nor reply.
    #[error("decode DHCP packet: operation {0} is unknown")]
    Operation(u8),
    /// Not Ethernet.
    #[error("decode DHCP packet: hardware type {kind} length {length} is not Ethernet")]
    Hardware {
        /// Hardware type (1 is Ethernet).
        kind: u8,
        /// Hardware address length (6 for Ethernet).
        length: u8,
    },
    /// Plain BOOTP or something else altogether.
    #[error("decode DHCP packet: the magic cookie is missing")]
    Cookie,
    /// An option says it is longer than its area.
    #[error("decode DHCP packet: option {code} is truncated")]
    OptionTruncated {
        /// Code of the option.
        code: u8,
    },
    /// Option 52 with another value than 1, 2, 3.
    #[error("decode DHCP packet: option overload has no legal value")]
    Overload,
}

/// Why a packet cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A fixed field is too small for its value.
    #[error("encode DHCP packet: field {field} holds more than its space")]
    FieldTooLong {
        /// Name of the field.
        field: &'static str,
    },
    /// The client does not accept packets that long.
    #[error("encode DHCP packet: {bytes} bytes exceed the client's limit of {limit}")]
    TooLong {
        /// Length that was needed.
        bytes: usize,
        /// Length that is allowed.
        limit: usize,
    },
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }
}

impl Packet {
    /// Reads a datagram.
    ///
    /// # Errors
    /// [`DecodeError`] says what is wrong; such a datagram is dropped.
    pub fn decode(datagram: &[u8]) -> Result<Self, DecodeError> {
        if datagram.len() > MAX_DATAGRAM_BYTES {
            return Err(DecodeError::TooLong {
                bytes: datagram.len(),
            });
        }
        Self::decode_header(datagram).ok_or(DecodeError::HeaderTruncated {
            bytes: datagram.len(),
        })?
    }

    /// `None` when the fixed header is truncated.
    fn decode_header(datagram: &[u8]) -> Option<Result<Self, DecodeError>> {
        let mut reader = Reader(datagram);
        let [op, kind, length, hops] = reader.array()?;
        let xid = u32::from_be_bytes(reader.array()?);
        let seconds = u16::from_be_bytes(reader.array()?);
        let flags = u16::from_be_bytes(reader.array()?);
        let client_address = Ipv4Addr::from(reader.array::<4>()?);
        let your_address = Ipv4Addr::from(reader.array::<4>()?);
        let next_server = Ipv4Addr::from(reader.array::<4>()?);
        let relay = Ipv4Addr::from(reader.array::<4>()?);
        let mac = MacAddress::new(reader.array()?);
        let _hardware_padding: [u8; 10] = reader.array()?;
        let server_name = reader.slice(SERVER_NAME_BYTES)?;
        let boot_file = reader.slice(BOOT_FILE_BYTES)?;
        let cookie: [u8; 4] = reader.array()?;
        let op = match op {
            1 => Op::Request,
            2 => Op::Reply,
            other => return Some(Err(DecodeError::Operation(other))),
        };
        if (kind, length) != (1, 6) {
            return Some(Err(DecodeError::Hardware { kind, length }));
        }
        if cookie != MAGIC_COOKIE {
            return Some(Err(DecodeError::Cookie));
        }
        let fields = match decode_options(reader.0, boot_file, server_name) {
            Ok(fields) => fields,
            Err(error) => return Some(Err(error)),
        };
        Some(Ok(Self {
            op,
            hops,
            xid,
            seconds,
            broadcast: flags & BROADCAST_FLAG != 0,
            client_address,
            your_address,
            next_server,
            relay,
            mac,
            server_name: fields.server_name,
            boot_file: fields.boot_file,
            options: fields.options,
        }))
    }

    /// Writes the packet, padded to what relays accept.
    ///
    /// # Errors
    /// [`EncodeError`] when a field or the whole does not fit in `limit` bytes.
    pub fn encode(&self, limit: usize) -> Result<Vec<u8>, EncodeError> {
        let mut out = Vec::with_capacity(MIN_DATAGRAM_BYTES * 2);
        let op = match self.op {
            Op::Request => 1,
            Op::Reply => 2,
        };
        out.extend_from_slice(&[op, 1, 6, self.hops]);
        out.extend_from_slice(&self.xid.to_be_bytes());
        out.extend_from_slice(&self.seconds.to_be_bytes());
        let flags = if self.broadcast { BROADCAST_FLAG } else { 0 };
        out.extend_from_slice(&flags.to_be_bytes());
        for address in [
            self.client_address,
            self.your_address,
            self.next_server,
            self.relay,
        ] {
            out.extend_from_slice(&address.octets());
        }
        out.extend_from_slice(&self.mac.octets());
        out.extend_from_slice(&[0; 10]);
        put_field(&mut out, "sname", &self.server_name, SERVER_NAME_BYTES)?;
        put_field(&mut out, "file", &self.boot_file, BOOT_FILE_BYTES)?;
        out.extend_from_slice(&MAGIC_COOKIE);
        self.options.encode(&mut out);
        if out.len() > limit {
            return Err(EncodeError::TooLong {
                bytes: out.len(),
                limit,
            });
        }
        if out.len() < MIN_DATAGRAM_BYTES {
            out.resize(MIN_DATAGRAM_BYTES, code::PAD);
        }
        Ok(out)
    }
}

struct Fields {
    options: Options,
    boot_file: Vec<u8>,
    server_name: Vec<u8>,
}

/// Reads the options area and, where option 52 says so, the `file` and then
/// the `sname` field as more options (RFC 2131 section 4.1, RFC 3396 section 5
/// for the order).
fn decode_options(area: &[u8], file: &[u8], sname: &[u8]) -> Result<Fields, DecodeError> {
    let mut options = Options::default();
    options.absorb(area)?;
    let overload = match options.take(code::OVERLOAD).as_deref() {
        None => 0,
        Some([value @ 1..=3]) => *value,
        Some(_) => return Err(DecodeError::Overload),
    };
    let boot_file = if overload & 1 != 0 {
        options.absorb(file)?;
        Vec::new()
    } else {
        until_zero(file)
    };
    let server_name = if overload & 2 != 0 {
        options.absorb(sname)?;
        Vec::new()
    } else {
        until_zero(sname)
    };
    // An overload inside an overloaded field has no meaning.
    options.take(code::OVERLOAD);
    Ok(Fields {
        options,
        boot_file,
        server_name,
    })
}

fn until_zero(field: &[u8]) -> Vec<u8> {
    field
        .iter()
        .copied()
        .take_while(|&byte| byte != 0)
        .collect()
}

fn put_field(
    out: &mut Vec<u8>,
    field: &'static str,
    value: &[u8],
    space: usize,
) -> Result<(), EncodeError> {
    // One octet stays for the terminating zero: clients treat it as a C string.
    if value.len() >= space {
        return Err(EncodeError::FieldTooLong { field });
    }
    let end = out.len() + space;
    out.extend_from_slice(value);
    out.resize(end, 0);
    Ok(())
}
