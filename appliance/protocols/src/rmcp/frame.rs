//! Datagrams: the RMCP header and the two IPMI session headers below it.

use alloc::vec::Vec;

use super::suite::Keys;

/// No RMCP packet that we accept is longer. A LAN channel's IPMI messages
/// stay under 300 bytes; 1024 leaves room for every payload type of IPMI 2.0.
pub const MAX_DATAGRAM_BYTES: usize = 1024;

/// ASF 2.0, clause 3.2.2.1: version 1.0, reserved, no acknowledge, class IPMI.
const RMCP_HEADER: [u8; 4] = [0x06, 0x00, 0xff, 0x07];
const CLASS_ASF: u8 = 0x06;
const CLASS_IPMI: u8 = 0x07;
const ACKNOWLEDGE: u8 = 0x80;

/// IPMI table 13-8: the format of RMCP+ sessions.
const FORMAT_RMCP_PLUS: u8 = 0x06;
const ENCRYPTED: u8 = 0x80;
const AUTHENTICATED: u8 = 0x40;
const PAYLOAD_OEM: u8 = 0x02;
/// Header bytes from the format to the payload length (IPMI table 13-8).
const PLUS_HEADER_BYTES: usize = 12;

/// Why a datagram is no IPMI packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It ends inside of a field.
    #[error("the datagram ends inside of the {0}")]
    Truncated(&'static str),
    /// It is longer than [`MAX_DATAGRAM_BYTES`].
    #[error("the datagram has {0} bytes, more than any IPMI packet")]
    TooLong(usize),
    /// It does not start with an RMCP header.
    #[error("the datagram has no RMCP header")]
    NotRmcp,
    /// An RMCP class other than ASF and IPMI.
    #[error("unknown RMCP message class {0:#04x}")]
    UnknownClass(u8),
    /// An IPMI 1.5 packet whose authentication type we never ask for.
    #[error("unexpected IPMI authentication type {0:#04x}")]
    UnknownFormat(u8),
    /// A payload type that no client of ours asks for.
    #[error("unexpected RMCP+ payload type {0:#04x}")]
    UnknownPayload(u8),
    /// The integrity trailer is not built as IPMI table 13-8 says.
    #[error("the integrity trailer is malformed")]
    Trailer,
}

/// What an RMCP+ packet carries (IPMI table 13-16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadType {
    /// An IPMI message.
    Ipmi,
    /// A Serial-over-LAN packet.
    SerialOverLan,
    /// Open Session Request.
    OpenSessionRequest,
    /// Open Session Response.
    OpenSessionResponse,
    /// RAKP message 1 to 4, in that order.
    Rakp(u8),
}

impl PayloadType {
    fn number(self) -> u8 {
        match self {
            Self::Ipmi => 0x00,
            Self::SerialOverLan => 0x01,
            Self::OpenSessionRequest => 0x10,
            Self::OpenSessionResponse => 0x11,
            Self::Rakp(message) => 0x11 + message,
        }
    }

    fn from_number(number: u8) -> Result<Self, DecodeError> {
        match number {
            0x00 => Ok(Self::Ipmi),
            0x01 => Ok(Self::SerialOverLan),
            0x10 => Ok(Self::OpenSessionRequest),
            0x11 => Ok(Self::OpenSessionResponse),
            0x12..=0x15 => Ok(Self::Rakp(number - 0x11)),
            other => Err(DecodeError::UnknownPayload(other)),
        }
    }
}

/// A decoded datagram. Nothing in it was verified yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// An ASF message or an RMCP acknowledge: of no use to IPMI.
    Other,
    /// An IPMI 1.5 packet without authentication, outside of any session.
    Unauthenticated {
        /// The IPMI message.
        message: &'a [u8],
    },
    /// An IPMI 2.0 packet.
    Plus {
        /// What it carries.
        payload_type: PayloadType,
        /// The payload is encrypted.
        encrypted: bool,
        /// Session id of the receiver; zero outside of a session.
        session: u32,
        /// Session sequence number; zero outside of a session.
        sequence: u32,
        /// The payload, encrypted if so flagged.
        payload: &'a [u8],
        /// Signed bytes and authentication code, when it has a trailer.
        trailer: Option<Trailer<'a>>,
    },
}

/// The end of an authenticated packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer<'a> {
    /// From the format byte through "next header": what the code covers.
    pub(super) signed: &'a [u8],
    /// The authentication code, of whatever length was sent.
    pub(super) code: &'a [u8],
}

/// The packet in `datagram`.
///
/// # Errors
/// When it is none; see [`DecodeError`].
pub fn decode(datagram: &[u8]) -> Result<Packet<'_>, DecodeError> {
    if datagram.len() > MAX_DATAGRAM_BYTES {
        return Err(DecodeError::TooLong(datagram.len()));
    }
    let ([version, _, _, class], rest) = datagram
        .split_first_chunk::<4>()
        .ok_or(DecodeError::Truncated("RMCP header"))?;
    if *version != RMCP_HEADER[0] {
        return Err(DecodeError::NotRmcp);
    }
    match *class {
        class if class & ACKNOWLEDGE != 0 => Ok(Packet::Other),
        CLASS_ASF => Ok(Packet::Other),
        CLASS_IPMI => match rest.first() {
            None => Err(DecodeError::Truncated("session header")),
            Some(&0) => decode_unauthenticated(rest),
            Some(&FORMAT_RMCP_PLUS) => decode_plus(rest),
            Some(&other) => Err(DecodeError::UnknownFormat(other)),
        },
        other => Err(DecodeError::UnknownClass(other)),
    }
}

/// IPMI table 13-8, IPMI 1.5 column, authentication type "none".
fn decode_unauthenticated(bytes: &[u8]) -> Result<Packet<'_>, DecodeError> {
    let (header, rest) = bytes
        .split_first_chunk::<10>()
        .ok_or(DecodeError::Truncated("session header"))?;
    let length = usize::from(header[9]);
    // A "legacy pad" byte may follow the message; it says nothing.
    let message = rest
        .get(..length)
        .ok_or(DecodeError::Truncated("IPMI message"))?;
    Ok(Packet::Unauthenticated { message })
}

/// IPMI table 13-8, IPMI 2.0 column.
fn decode_plus(bytes: &[u8]) -> Result<Packet<'_>, DecodeError> {
    let short = DecodeError::Truncated("session header");
    let (header, rest) = bytes
        .split_first_chunk::<PLUS_HEADER_BYTES>()
        .ok_or(short)?;
    let [_, kind, s0, s1, s2, s3, n0, n1, n2, n3, l0, l1] = *header;
    let number = kind & !(ENCRYPTED | AUTHENTICATED);
    if number == PAYLOAD_OEM {
        return Err(DecodeError::UnknownPayload(number));
    }
    let length = usize::from(u16::from_le_bytes([l0, l1]));
    let payload = rest
        .get(..length)
        .ok_or(DecodeError::Truncated("payload"))?;
    let trailer = if kind & AUTHENTICATED == 0 {
        None
    } else {
        Some(decode_trailer(bytes, PLUS_HEADER_BYTES + length)?)
    };
    Ok(Packet::Plus {
        payload_type: PayloadType::from_number(number)?,
        encrypted: kind & ENCRYPTED != 0,
        session: u32::from_le_bytes([s0, s1, s2, s3]),
        sequence: u32::from_le_bytes([n0, n1, n2, n3]),
        payload,
        trailer,
    })
}

/// Pad to a multiple of four, its length, "next header" 7, then the code.
fn decode_trailer(bytes: &[u8], end_of_payload: usize) -> Result<Trailer<'_>, DecodeError> {
    let pad = pad_bytes(end_of_payload);
    let end_of_signed = end_of_payload + pad + 2;
    let short = DecodeError::Truncated("integrity trailer");
    let (signed, code) = bytes.split_at_checked(end_of_signed).ok_or(short)?;
    match signed {
        [.., length, 0x07] if usize::from(*length) == pad => Ok(Trailer { signed, code }),
        _ => Err(DecodeError::Trailer),
    }
}

/// IPMI table 13-8: from the format byte through "next header" the length is
/// a multiple of four.
fn pad_bytes(end_of_payload: usize) -> usize {
    (4 - (end_of_payload + 2) % 4) % 4
}

/// A datagram with an IPMI 1.5 message outside of any session.
pub(super) fn unauthenticated(message: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(14 + message.len());
    datagram.extend_from_slice(&RMCP_HEADER);
    // Authentication type none, sequence and session id zero.
    datagram.extend_from_slice(&[0; 9]);
    datagram.push(message.len() as u8);
    datagram.extend_from_slice(message);
    datagram
}

/// A datagram with an RMCP+ payload outside of any session.
pub(super) fn outside(payload_type: PayloadType, payload: &[u8]) -> Vec<u8> {
    plus(payload_type.number(), 0, 0, payload)
}

/// A datagram with a sealed payload inside of a session.
pub(super) fn inside(
    payload_type: PayloadType,
    keys: &Keys,
    code_bytes: usize,
    session: u32,
    sequence: u32,
    sealed: &[u8],
) -> Vec<u8> {
    let kind = payload_type.number() | ENCRYPTED | AUTHENTICATED;
    let mut datagram = plus(kind, session, sequence, sealed);
    let pad = pad_bytes(PLUS_HEADER_BYTES + sealed.len());
    datagram.resize(datagram.len() + pad, 0xff);
    datagram.extend_from_slice(&[pad as u8, 0x07]);
    let signed = datagram.get(RMCP_HEADER.len()..).unwrap_or_default();
    let code = keys.packet_code(signed);
    datagram.extend_from_slice(code.truncated(code_bytes));
    datagram
}

fn plus(kind: u8, session: u32, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(40 + payload.len());
    datagram.extend_from_slice(&RMCP_HEADER);
    datagram.extend_from_slice(&[FORMAT_RMCP_PLUS, kind]);
    datagram.extend_from_slice(&session.to_le_bytes());
    datagram.extend_from_slice(&sequence.to_le_bytes());
    datagram.extend_from_slice(&(payload.len() as u16).to_le_bytes());
    datagram.extend_from_slice(payload);
    datagram
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(datagram: &[u8], expect: Result<Packet<'_>, DecodeError>) {
        assert_eq!(decode(datagram), expect, "{datagram:02x?}");
    }

    #[test]
    fn headers_are_told_apart() {
        check(b"", Err(DecodeError::Truncated("RMCP header")));
        check(b"HTTP/1.1 400", Err(DecodeError::NotRmcp));
        check(
            &[6, 0, 0xff, 7],
            Err(DecodeError::Truncated("session header")),
        );
        check(&[6, 0, 0xff, 6, 1, 2], Ok(Packet::Other));
        check(&[6, 0, 0, 0x87], Ok(Packet::Other));
        check(&[6, 0, 0xff, 8], Err(DecodeError::UnknownClass(8)));
        check(&[6, 0, 0xff, 7, 2], Err(DecodeError::UnknownFormat(2)));
        let long = [6; MAX_DATAGRAM_BYTES + 1];
        check(&long, Err(DecodeError::TooLong(MAX_DATAGRAM_BYTES + 1)));
    }

    #[test]
    fn unauthenticated_messages_keep_their_length() {
        let datagram = unauthenticated(&[1, 2, 3]);
        check(
            &datagram,
            Ok(Packet::Unauthenticated {
                message: &[1, 2, 3],
            }),
        );
        check(&datagram[..16], Err(DecodeError::Truncated("IPMI message")));
        check(
            &datagram[..8],
            Err(DecodeError::Truncated("session header")),
        );
    }

    #[test]
    fn plus_packets_keep_their_fields() {
        let datagram = outside(PayloadType::Rakp(2), &[9; 8]);
        check(
            &datagram,
            Ok(Packet::Plus {
                payload_type: PayloadType::Rakp(2),
                encrypted: false,
                session: 0,
                sequence: 0,
                payload: &[9; 8],
                trailer: None,
            }),
        );
        check(&datagram[..20], Err(DecodeError::Truncated("payload")));
        check(&plus(0x02, 0, 0, &[]), Err(DecodeError::UnknownPayload(2)));
        check(
            &plus(0x3f, 0, 0, &[]),
            Err(DecodeError::UnknownPayload(0x3f)),
        );
        check(
            &plus(0x40, 1, 1, &[1]),
            Err(DecodeError::Truncated("integrity trailer")),
        );
        let mut wrong_pad = plus(0x40, 1, 1, &[1]);
        wrong_pad.extend_from_slice(&[0xff, 2, 7, 0, 0]);
        check(&wrong_pad, Err(DecodeError::Trailer));
    }
}
