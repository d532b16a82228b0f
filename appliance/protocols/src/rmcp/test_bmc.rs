//! The other end of a session, for tests: a BMC that follows the
//! specification and can be told to misbehave.

use alloc::vec::Vec;

use super::credentials::{BmcKey, Password};
use super::frame::{self, Packet, PayloadType};
use super::message;
use super::suite::{CipherSuite, Keys};

pub(super) const BMC_SESSION: u32 = 0x0200_0a0b;
pub(super) const NONCE: [u8; 16] =
    *b"\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f";
pub(super) const GUID: [u8; 16] = *b" !\"#$%&'()*+,-./";

/// A BMC with one user and a chassis.
pub(super) struct TestBmc {
    pub(super) suite: CipherSuite,
    pub(super) password: Password,
    pub(super) bmc_key: Option<BmcKey>,
    /// Answered to Open Session, RAKP 1 and RAKP 3 instead of success.
    pub(super) refuse: [u8; 3],
    pub(super) offers_ipmi2: bool,
    /// Workaround `open-session-privilege`: what Open Session said is hashed.
    pub(super) hashes_open_session: bool,
    /// Workaround `long-rakp2`: bytes behind the codes.
    pub(super) extra_bytes: usize,
    pub(super) completion: u8,
    pub(super) power_on: bool,
    pub(super) boot_flags: [u8; 5],
    /// Sequence numbers that the client used, to see repetitions.
    pub(super) seen: Vec<u32>,
    /// Requests as (network function, command, data).
    pub(super) requests: Vec<(u8, u8, Vec<u8>)>,
    sequence: u32,
    console_session: [u8; 4],
    tag: u8,
    privilege: u8,
    console_nonce: [u8; 16],
    role_and_name: Vec<u8>,
    keys: Option<Keys>,
}

impl TestBmc {
    pub(super) fn new(suite: CipherSuite, password: &[u8]) -> Self {
        Self {
            suite,
            password: Password::new(password).unwrap(),
            bmc_key: None,
            refuse: [0; 3],
            offers_ipmi2: true,
            hashes_open_session: false,
            extra_bytes: 0,
            completion: 0,
            power_on: false,
            boot_flags: [0; 5],
            seen: Vec::new(),
            requests: Vec::new(),
            sequence: 0,
            console_session: [0; 4],
            tag: 0,
            privilege: 0,
            console_nonce: [0; 16],
            role_and_name: Vec::new(),
            keys: None,
        }
    }

    /// The datagram that answers `datagram`.
    pub(super) fn answer(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        match frame::decode(datagram).unwrap() {
            Packet::Unauthenticated { .. } => {
                let types = if self.offers_ipmi2 { 0x80 } else { 0x04 };
                let data = [0, 1, types, 0x04, 0x02, 0, 0, 0, 0];
                Some(frame::unauthenticated(&message::response(
                    0x06, 0, 0x38, &data,
                )))
            }
            Packet::Plus {
                payload_type: PayloadType::OpenSessionRequest,
                payload,
                ..
            } => Some(self.open(payload)),
            Packet::Plus {
                payload_type: PayloadType::Rakp(1),
                payload,
                ..
            } => Some(self.challenge(payload)),
            Packet::Plus {
                payload_type: PayloadType::Rakp(3),
                payload,
                ..
            } => Some(self.prove(payload)),
            Packet::Plus {
                payload_type: PayloadType::Ipmi,
                sequence,
                payload,
                ..
            } => {
                self.seen.push(sequence);
                let plain = self.keys.as_ref()?.open(payload)?;
                let (net_fn, number) = (plain[1] >> 2, plain[5]);
                let data = plain[6..plain.len() - 1].to_vec();
                let answer = self.carry_out(net_fn, number, &data);
                self.requests.push((net_fn, number, data));
                let response = message::response(net_fn, plain[4] >> 2, number, &answer);
                Some(self.seal(&response))
            }
            _ => None,
        }
    }

    /// A sealed packet with `plain` under the next sequence number.
    pub(super) fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        self.seal_as(PayloadType::Ipmi, plain)
    }

    /// The same with a payload of another type.
    pub(super) fn seal_as(&mut self, kind: PayloadType, plain: &[u8]) -> Vec<u8> {
        self.sequence += 1;
        let keys = self.keys.as_ref().unwrap();
        let session = u32::from_le_bytes(self.console_session);
        let sealed = keys.seal(plain, &[0x77; 16]);
        let length = self.suite.integrity_code_bytes();
        frame::inside(kind, keys, length, session, self.sequence, &sealed)
    }

    /// What is in a serial packet of the client.
    pub(super) fn serial(&self, datagram: &[u8]) -> Vec<u8> {
        let Packet::Plus {
            payload_type: PayloadType::SerialOverLan,
            payload,
            ..
        } = frame::decode(datagram).unwrap()
        else {
            panic!("no serial payload");
        };
        self.keys.as_ref().unwrap().open(payload).unwrap()
    }

    fn open(&mut self, payload: &[u8]) -> Vec<u8> {
        self.tag = payload[0];
        self.privilege = payload[1];
        self.console_session = payload[4..8].try_into().unwrap();
        let mut reply = self.head(self.refuse[0]);
        if self.refuse[0] == 0 {
            reply.extend_from_slice(&BMC_SESSION.to_le_bytes());
            for (kind, algorithm) in (0u8..).zip(self.suite.algorithms()) {
                reply.extend_from_slice(&[kind, 0, 0, 8, algorithm, 0, 0, 0]);
            }
        }
        frame::outside(PayloadType::OpenSessionResponse, &reply)
    }

    fn challenge(&mut self, payload: &[u8]) -> Vec<u8> {
        self.console_nonce = payload[8..24].try_into().unwrap();
        let role = match self.hashes_open_session {
            true => self.privilege,
            false => payload[24],
        };
        self.role_and_name = [role].to_vec();
        self.role_and_name.extend_from_slice(&payload[27..]);
        let mut reply = self.head(self.refuse[1]);
        if self.refuse[1] == 0 {
            let bmc_session = BMC_SESSION.to_le_bytes();
            let parts: [&[u8]; 6] = [
                &self.console_session,
                &bmc_session,
                &self.console_nonce,
                &NONCE,
                &GUID,
                &self.role_and_name,
            ];
            let code = self.suite.code(self.password.key(), &parts);
            reply.extend_from_slice(&NONCE);
            reply.extend_from_slice(&GUID);
            reply.extend_from_slice(code.as_slice());
            reply.resize(reply.len() + self.extra_bytes, 0xee);
        }
        frame::outside(PayloadType::Rakp(2), &reply)
    }

    fn prove(&mut self, payload: &[u8]) -> Vec<u8> {
        let suite = self.suite;
        let password = self.password.key();
        let parts: [&[u8]; 3] = [&NONCE, &self.console_session, &self.role_and_name];
        let expected = suite.code(password, &parts);
        let right = expected.matches(&payload[8..], suite.exchange_code_bytes());
        let status = if right { self.refuse[2] } else { 0x0f };
        let mut reply = self.head(status);
        if status == 0 {
            let key = self.bmc_key.as_ref().map_or(password, |key| key.key());
            let parts: [&[u8]; 3] = [&self.console_nonce, &NONCE, &self.role_and_name];
            let keys = Keys::new(suite, suite.code(key, &parts));
            let bmc_session = BMC_SESSION.to_le_bytes();
            let check = keys.exchange_check(&[&self.console_nonce, &bmc_session, &GUID]);
            reply.extend_from_slice(check.truncated(suite.integrity_code_bytes()));
            reply.resize(reply.len() + self.extra_bytes, 0xee);
            self.keys = Some(keys);
        }
        frame::outside(PayloadType::Rakp(4), &reply)
    }

    fn head(&self, status: u8) -> Vec<u8> {
        let mut head = [self.tag, status, 0, 0].to_vec();
        head.extend_from_slice(&self.console_session);
        head
    }

    fn carry_out(&mut self, net_fn: u8, number: u8, data: &[u8]) -> Vec<u8> {
        if self.completion != 0 {
            return [self.completion].to_vec();
        }
        match (net_fn, number, data) {
            (0x00, 0x01, []) => [0, u8::from(self.power_on), 0, 0].to_vec(),
            (0x00, 0x02, [control]) => {
                self.power_on = *control != 0;
                [0].to_vec()
            }
            (0x00, 0x08, [5, flags @ ..]) => {
                self.boot_flags = flags.try_into().unwrap();
                [0].to_vec()
            }
            (0x00, 0x08, [3 | 4, ..]) => [0].to_vec(),
            (0x00, 0x09, [5, 0, 0]) => {
                let mut answer = [0, 1, 5].to_vec();
                answer.extend_from_slice(&self.boot_flags);
                answer
            }
            (0x06, 0x3b, [level]) => [0, *level].to_vec(),
            (0x06, 0x3c, _) => [0].to_vec(),
            (0x06, 0x48, _) => [0, 0, 0, 0, 0, 64, 0, 0xe0, 0, 0x6f, 2, 0xff, 0xff].to_vec(),
            (0x06, 0x49, _) => [0].to_vec(),
            _ => [0xc1].to_vec(),
        }
    }
}
