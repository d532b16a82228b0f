//! The payloads that open a session: Open Session and RAKP messages 1 to 4
//! (IPMI 13.17 to 13.24). What they prove is checked in `session`.

use alloc::vec::Vec;
use core::fmt;

use super::credentials::Username;
use super::suite::CipherSuite;

/// IPMI table 13-15: what a BMC says in answer to Open Session and RAKP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RmcpStatus(pub u8);

impl RmcpStatus {
    pub(super) const OK: Self = Self(0x00);
    pub(super) const INVALID_CHECK_VALUE: Self = Self(0x0f);

    /// The BMC does not have the proposed algorithms.
    pub(super) fn is_about_algorithms(self) -> bool {
        matches!(self.0, 0x04..=0x07 | 0x10 | 0x11)
    }

    /// The user may not have the proposed privilege level.
    pub(super) fn is_about_privilege(self) -> bool {
        matches!(self.0, 0x09 | 0x0a)
    }

    /// The BMC knows no such user.
    pub(super) fn is_about_name(self) -> bool {
        matches!(self.0, 0x0c | 0x0d)
    }

    /// The BMC disagrees about the password. Some BMCs answer "illegal
    /// parameter" to RAKP 1 and 3 where "integrity check value" is meant.
    pub(super) fn is_about_password(self) -> bool {
        matches!(self.0, 0x0f | 0x12)
    }
}

impl fmt::Display for RmcpStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            0x00 => "no errors",
            0x01 => "insufficient resources to create a session",
            0x02 => "invalid session id",
            0x03 => "invalid payload type",
            0x04 => "invalid authentication algorithm",
            0x05 => "invalid integrity algorithm",
            0x06 => "no matching authentication payload",
            0x07 => "no matching integrity payload",
            0x08 => "inactive session id",
            0x09 => "invalid role",
            0x0a => "unauthorized role or privilege level",
            0x0b => "insufficient resources to create a session at the requested role",
            0x0c => "invalid name length",
            0x0d => "unauthorized name",
            0x0e => "unauthorized GUID",
            0x0f => "invalid integrity check value",
            0x10 => "invalid confidentiality algorithm",
            0x11 => "no cipher suite match",
            0x12 => "illegal or unrecognized parameter",
            _ => "unknown status",
        };
        write!(f, "{text} ({:#04x})", self.0)
    }
}

/// Open Session Request (IPMI table 13-9).
pub(super) fn open_session_request(
    tag: u8,
    privilege: u8,
    console_session: u32,
    suite: CipherSuite,
) -> Vec<u8> {
    let mut payload = Vec::with_capacity(32);
    // The wanted level by name: "highest possible" (0) is refused by iLO, and
    // BMCs differ in which of the two they then put into the hashes.
    payload.extend_from_slice(&[tag, privilege, 0, 0]);
    payload.extend_from_slice(&console_session.to_le_bytes());
    for (kind, algorithm) in (0u8..).zip(suite.algorithms()) {
        payload.extend_from_slice(&[kind, 0, 0, 8, algorithm, 0, 0, 0]);
    }
    payload
}

/// A payload that opens with tag, status, two bytes and the console's session.
pub(super) struct Reply<'a> {
    pub(super) tag: u8,
    pub(super) status: RmcpStatus,
    /// `None` when the payload ends before it, as refusals may.
    pub(super) console_session: Option<u32>,
    /// What follows the console's session id.
    pub(super) rest: &'a [u8],
}

impl<'a> Reply<'a> {
    /// The reply in `payload`; `None` when it has no tag and status.
    pub(super) fn decode(payload: &'a [u8]) -> Option<Self> {
        let (&[tag, status], after) = payload.split_first_chunk::<2>()?;
        let full = after
            .get(2..)
            .and_then(|bytes| bytes.split_first_chunk::<4>());
        let (console_session, rest) = match full {
            Some((id, rest)) => (Some(u32::from_le_bytes(*id)), rest),
            None => (None, [].as_slice()),
        };
        Some(Self {
            tag,
            status: RmcpStatus(status),
            console_session,
            rest,
        })
    }
}

/// The part of a successful Open Session Response below its head
/// (IPMI table 13-10).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) bmc_session: u32,
    pub(super) algorithms: [u8; 3],
}

impl Opened {
    pub(super) fn decode(rest: &[u8]) -> Option<Self> {
        let (id, payloads) = rest.split_first_chunk::<4>()?;
        let mut algorithms = [0; 3];
        for (index, algorithm) in algorithms.iter_mut().enumerate() {
            let record = payloads.get(index * 8..index * 8 + 8)?;
            match *record {
                [kind, _, _, 8, number, ..] if usize::from(kind) == index => *algorithm = number,
                _ => return None,
            }
        }
        let bmc_session = u32::from_le_bytes(*id);
        (bmc_session != 0).then_some(Self {
            bmc_session,
            algorithms,
        })
    }
}

/// RAKP message 1 (IPMI table 13-11).
pub(super) fn rakp1(
    tag: u8,
    bmc_session: u32,
    nonce: &[u8; 16],
    role: u8,
    name: &Username,
) -> Vec<u8> {
    let mut payload = Vec::with_capacity(44);
    payload.extend_from_slice(&[tag, 0, 0, 0]);
    payload.extend_from_slice(&bmc_session.to_le_bytes());
    payload.extend_from_slice(nonce);
    payload.extend_from_slice(&[role, 0, 0, name.length()]);
    payload.extend_from_slice(name.as_bytes());
    payload
}

/// The part of a successful RAKP message 2 below its head (IPMI table 13-12).
pub(super) struct Rakp2<'a> {
    pub(super) nonce: [u8; 16],
    pub(super) guid: [u8; 16],
    pub(super) code: &'a [u8],
}

impl<'a> Rakp2<'a> {
    /// `None` when it is shorter than nonce, GUID and `code_bytes` of code.
    pub(super) fn decode(rest: &'a [u8], code_bytes: usize) -> Option<Self> {
        let (nonce, rest) = rest.split_first_chunk::<16>()?;
        let (guid, rest) = rest.split_first_chunk::<16>()?;
        // Some BMCs send bytes after the code (FreeIPMI's notes on firmware
        // of wrong length); the code decides, so they do no harm.
        let code = rest.get(..code_bytes)?;
        Some(Self {
            nonce: *nonce,
            guid: *guid,
            code,
        })
    }
}

/// RAKP message 3 (IPMI table 13-13); without a code when it refuses.
pub(super) fn rakp3(tag: u8, status: RmcpStatus, bmc_session: u32, code: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(8 + code.len());
    payload.extend_from_slice(&[tag, status.0, 0, 0]);
    payload.extend_from_slice(&bmc_session.to_le_bytes());
    payload.extend_from_slice(code);
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_session_names_each_algorithm() {
        let request = open_session_request(7, 3, 0x0403_0201, CipherSuite::Suite17);
        assert_eq!(
            request,
            [
                7, 3, 0, 0, 1, 2, 3, 4, // head
                0, 0, 0, 8, 3, 0, 0, 0, // RAKP-HMAC-SHA256
                1, 0, 0, 8, 4, 0, 0, 0, // HMAC-SHA256-128
                2, 0, 0, 8, 1, 0, 0, 0, // AES-CBC-128
            ]
        );
    }

    #[test]
    fn opened_is_checked() {
        let check = |rest: &[u8], expect: Option<Opened>| {
            assert_eq!(Opened::decode(rest), expect, "{rest:02x?}");
        };
        let good = [
            9, 0, 0, 0, 0, 0, 0, 8, 1, 0, 0, 0, 1, 0, 0, 8, 1, 0, 0, 0, 2, 0, 0, 8, 1, 0, 0, 0,
        ];
        check(
            &good,
            Some(Opened {
                bmc_session: 9,
                algorithms: [1, 1, 1],
            }),
        );
        check(&good[..27], None);
        let mut no_session = good;
        no_session[0] = 0;
        check(&no_session, None);
        let mut wrong_order = good;
        wrong_order[4] = 1;
        check(&wrong_order, None);
    }

    #[test]
    fn refusals_may_be_short() {
        assert!(Reply::decode(&[1]).is_none());
        let short = Reply::decode(&[1, 0x11]).unwrap();
        assert_eq!(
            (short.tag, short.status, short.console_session),
            (1, RmcpStatus(0x11), None)
        );
        let full = Reply::decode(&[1, 0x0d, 0, 0, 4, 3, 2, 1, 5]).unwrap();
        assert_eq!(
            (full.console_session, full.rest),
            (Some(0x0102_0304), [5].as_slice())
        );
    }
}
