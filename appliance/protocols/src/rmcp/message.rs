//! IPMI messages: addresses, sequence number and two checksums around a
//! command, as on the IPMB (IPMI 13.8).

use alloc::vec::Vec;

/// The BMC's slave address.
const BMC: u8 = 0x20;
/// IPMI table 13-9: software id of remote console software.
const CONSOLE: u8 = 0x81;
/// rqSeq has six bits.
pub(super) const SEQUENCE_MASK: u8 = 0x3f;

/// Why bytes are no IPMI message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Shorter than the shortest message.
    #[error("the IPMI message is too short")]
    Truncated,
    /// A checksum does not fit.
    #[error("a checksum of the IPMI message is wrong")]
    Checksum,
    /// It does not come from the BMC's address, or is not for us.
    #[error("the IPMI message has foreign addresses")]
    Address,
    /// It is a request, and BMCs do not ask.
    #[error("the IPMI message is no response")]
    NotResponse,
}

/// A response of the BMC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Network function of the request that it answers (even).
    pub net_fn: u8,
    /// Number of the request that it answers, six bits.
    pub sequence: u8,
    /// Command that it answers.
    pub command: u8,
    /// Completion code; zero is success.
    pub completion: u8,
    /// What follows the completion code.
    pub data: &'a [u8],
}

impl<'a> Message<'a> {
    /// The response in `bytes`.
    ///
    /// # Errors
    /// When it is none; see [`MessageError`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let (head, rest) = bytes.split_at_checked(3).ok_or(MessageError::Truncated)?;
        let (&[to, function, _], &[from, sequence, command, completion, ref tail @ ..]) =
            (head, rest)
        else {
            return Err(MessageError::Truncated);
        };
        let (_, data) = tail.split_last().ok_or(MessageError::Truncated)?;
        // Each checksum makes the sum of the bytes before it zero.
        if sum(head) != 0 || sum(rest) != 0 {
            return Err(MessageError::Checksum);
        }
        if to != CONSOLE || from != BMC {
            return Err(MessageError::Address);
        }
        let net_fn = function >> 2;
        if net_fn & 1 == 0 {
            return Err(MessageError::NotResponse);
        }
        Ok(Self {
            net_fn: net_fn & !1,
            sequence: sequence >> 2,
            command,
            completion,
            data,
        })
    }
}

/// The bytes of a request.
pub(super) fn request(net_fn: u8, sequence: u8, command: u8, data: &[u8]) -> Vec<u8> {
    build(
        [BMC, net_fn << 2],
        [CONSOLE, (sequence & SEQUENCE_MASK) << 2, command],
        data,
    )
}

fn build(head: [u8; 2], body: [u8; 3], data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(7 + data.len());
    bytes.extend_from_slice(&head);
    bytes.push(sum(&head).wrapping_neg());
    bytes.extend_from_slice(&body);
    bytes.extend_from_slice(data);
    let second = sum(bytes.get(3..).unwrap_or_default());
    bytes.push(second.wrapping_neg());
    bytes
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// The bytes of a response, for the BMC that tests talk to.
#[cfg(test)]
pub(super) fn response(net_fn: u8, sequence: u8, command: u8, data: &[u8]) -> Vec<u8> {
    build(
        [CONSOLE, (net_fn | 1) << 2],
        [BMC, sequence << 2, command],
        data,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_bytes() {
        // The probe of `ipmitool -I lanplus`, captured with tshark.
        let probe = [0x20, 0x18, 0xc8, 0x81, 0x00, 0x38, 0x8e, 0x04, 0xb5];
        assert_eq!(request(0x06, 0, 0x38, &[0x8e, 0x04]), probe);
    }

    #[test]
    fn responses_are_checked() {
        let good = response(0x00, 5, 0x01, &[0, 0x21, 0, 0]);
        let message = Message {
            net_fn: 0,
            sequence: 5,
            command: 1,
            completion: 0,
            data: &[0x21, 0, 0],
        };
        assert_eq!(Message::decode(&good), Ok(message));
        for length in 0..8 {
            let error = Message::decode(&good[..length]).unwrap_err();
            assert_eq!(error, MessageError::Truncated, "{length} bytes");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert_eq!(
                Message::decode(&bad),
                Err(MessageError::Checksum),
                "byte {at}"
            );
        }
        let question = request(0, 1, 1, &[0]);
        assert_eq!(Message::decode(&question), Err(MessageError::Address));
        let not_response = build([CONSOLE, 0x00], [BMC, 0, 1], &[0]);
        assert_eq!(
            Message::decode(&not_response),
            Err(MessageError::NotResponse)
        );
    }
}
