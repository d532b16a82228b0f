//! Datagrams of RMCP, IPMI 1.5 and RMCP+ (IPMI 13.6), and the messages in
//! them (IPMI 13.8).

use crate::crypto::Keys;

const HEADER: [u8; 4] = [6, 0, 0xff, 7];

/// IPMI table 13-16.
pub(crate) const IPMI: u8 = 0x00;
pub(crate) const SERIAL: u8 = 0x01;
pub(crate) const OPEN_REQUEST: u8 = 0x10;
pub(crate) const OPEN_RESPONSE: u8 = 0x11;
pub(crate) const RAKP1: u8 = 0x12;
pub(crate) const RAKP2: u8 = 0x13;
pub(crate) const RAKP3: u8 = 0x14;
pub(crate) const RAKP4: u8 = 0x15;

/// A datagram's parts.
pub(crate) enum Datagram<'a> {
    /// An IPMI 1.5 message outside of a session.
    Plain(&'a [u8]),
    /// An RMCP+ payload outside of a session.
    Outside { kind: u8, payload: &'a [u8] },
    /// One inside: encrypted and authenticated.
    Inside {
        kind: u8,
        session: u32,
        sequence: u32,
        payload: &'a [u8],
        signed: &'a [u8],
        code: &'a [u8],
    },
    /// ASF's ping, with its tag.
    Ping(u8),
}

/// What a datagram is; `None` for anything else.
pub(crate) fn read(datagram: &[u8]) -> Option<Datagram<'_>> {
    let (&[version, _, _, class], rest) = datagram.split_first_chunk::<4>()?;
    if version != 6 {
        return None;
    }
    if class == 6 {
        // ASF 2.0, 3.2.4.2: presence ping.
        return match *rest {
            [0, 0, 0x11, 0xbe, 0x80, tag, ..] => Some(Datagram::Ping(tag)),
            _ => None,
        };
    }
    match *rest.first()? {
        0 => {
            let length = usize::from(*rest.get(9)?);
            Some(Datagram::Plain(rest.get(10..10 + length)?))
        }
        6 => {
            let (&[_, kind, s0, s1, s2, s3, n0, n1, n2, n3, l0, l1], after) =
                rest.split_first_chunk::<12>()?;
            let length = usize::from(u16::from_le_bytes([l0, l1]));
            let payload = after.get(..length)?;
            let session = u32::from_le_bytes([s0, s1, s2, s3]);
            if session == 0 {
                return Some(Datagram::Outside { kind, payload });
            }
            if kind & 0xc0 != 0xc0 {
                return None;
            }
            let pad = (4 - (12 + length + 2) % 4) % 4;
            let end = 12 + length + pad + 2;
            Some(Datagram::Inside {
                kind: kind & 0x3f,
                session,
                sequence: u32::from_le_bytes([n0, n1, n2, n3]),
                payload,
                signed: rest.get(..end)?,
                code: rest.get(end..)?,
            })
        }
        _ => None,
    }
}

pub(crate) fn pong(tag: u8) -> Vec<u8> {
    // ASF 2.0, 3.2.4.3: IANA number, no OEM data, "IPMI supported".
    let mut datagram = [6, 0, 0xff, 6, 0, 0, 0x11, 0xbe, 0x40, tag, 0, 16].to_vec();
    datagram.extend_from_slice(&[0, 0, 0x11, 0xbe, 0, 0, 0, 0, 0x81]);
    datagram.extend_from_slice(&[0; 7]);
    datagram
}

pub(crate) fn plain(message: &[u8]) -> Vec<u8> {
    let mut datagram = HEADER.to_vec();
    datagram.extend_from_slice(&[0; 9]);
    datagram.push(message.len() as u8);
    datagram.extend_from_slice(message);
    datagram
}

pub(crate) fn outside(kind: u8, payload: &[u8]) -> Vec<u8> {
    head(kind, 0, 0, payload)
}

pub(crate) fn inside(
    kind: u8,
    keys: &Keys,
    session: u32,
    sequence: u32,
    payload: &[u8],
) -> Vec<u8> {
    let sealed = keys.seal(payload);
    let mut datagram = head(kind | 0xc0, session, sequence, &sealed);
    let pad = (4 - (12 + sealed.len() + 2) % 4) % 4;
    datagram.resize(datagram.len() + pad, 0xff);
    datagram.extend_from_slice(&[pad as u8, 7]);
    let code = keys.packet_code(&datagram[4..]);
    datagram.extend_from_slice(&code);
    datagram
}

fn head(kind: u8, session: u32, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut datagram = HEADER.to_vec();
    datagram.extend_from_slice(&[6, kind]);
    datagram.extend_from_slice(&session.to_le_bytes());
    datagram.extend_from_slice(&sequence.to_le_bytes());
    datagram.extend_from_slice(&(payload.len() as u16).to_le_bytes());
    datagram.extend_from_slice(payload);
    datagram
}

/// A request to the BMC.
pub(crate) struct Request<'a> {
    pub(crate) net_fn: u8,
    pub(crate) command: u8,
    pub(crate) data: &'a [u8],
    console: u8,
    sequence_lun: u8,
    lun: u8,
}

impl<'a> Request<'a> {
    pub(crate) fn read(message: &'a [u8]) -> Option<Self> {
        let (&[to, function, _, console, sequence_lun, command], rest) =
            message.split_first_chunk::<6>()?;
        let (_, data) = rest.split_last()?;
        let sums = [message.get(..3)?, message.get(3..)?].map(sum);
        (to == 0x20 && sums == [0, 0]).then_some(Self {
            net_fn: function >> 2,
            command,
            data,
            console,
            sequence_lun,
            lun: function & 3,
        })
    }

    /// The response with `data`, whose first byte is the completion code.
    pub(crate) fn response(&self, data: &[u8]) -> Vec<u8> {
        let mut message = [self.console, ((self.net_fn | 1) << 2) | self.lun, 0].to_vec();
        message[2] = sum(&message[..2]).wrapping_neg();
        message.extend_from_slice(&[0x20, self.sequence_lun, self.command]);
        message.extend_from_slice(data);
        message.push(sum(&message[3..]).wrapping_neg());
        message
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}
