//! Cipher suites: which algorithms guard a session, and the algorithms.
//!
//! Suites that do not authenticate, or do not encrypt, are not here and will
//! never be: IPMI's suite 0 lets anybody in.

use alloc::vec::Vec;
use core::fmt;

use aes::Aes128;
use cbc::cipher::{Array, BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// AES block, and so IV and padding unit, in bytes (IPMI 13.29).
pub(super) const BLOCK_BYTES: usize = 16;

/// IPMI 13.32: the constants that K1 and K2 are made from are 20 bytes long.
/// ipmitool and OpenBMC keep that length for SHA-256 as well.
const KEY_CONSTANT_BYTES: usize = 20;

/// The algorithms of a session (IPMI table 22-20).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CipherSuite {
    /// RAKP-HMAC-SHA1, HMAC-SHA1-96, AES-CBC-128. Every IPMI 2.0 BMC has it.
    Suite3,
    /// RAKP-HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128. To be preferred.
    Suite17,
}

/// A cipher suite number that we do not speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cipher suite {0} is not supported: use 17, or 3 where the BMC has no 17")]
pub struct UnknownSuite(pub u8);

impl TryFrom<u8> for CipherSuite {
    type Error = UnknownSuite;

    fn try_from(number: u8) -> Result<Self, UnknownSuite> {
        match number {
            3 => Ok(Self::Suite3),
            17 => Ok(Self::Suite17),
            other => Err(UnknownSuite(other)),
        }
    }
}

impl fmt::Display for CipherSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cipher suite {}", self.number())
    }
}

impl CipherSuite {
    /// The suite's number in IPMI table 22-20.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Suite3 => 3,
            Self::Suite17 => 17,
        }
    }

    /// Authentication, integrity and confidentiality algorithm numbers
    /// (IPMI tables 13-17, 13-18, 13-19).
    pub(super) fn algorithms(self) -> [u8; 3] {
        match self {
            Self::Suite3 => [1, 1, 1],
            Self::Suite17 => [3, 4, 1],
        }
    }

    /// Bytes of a key exchange authentication code, in RAKP 2 and 3.
    pub(super) fn exchange_code_bytes(self) -> usize {
        match self {
            Self::Suite3 => 20,
            Self::Suite17 => 32,
        }
    }

    /// Bytes of RAKP 4's check value and of a packet's authentication code.
    pub(super) fn integrity_code_bytes(self) -> usize {
        match self {
            Self::Suite3 => 12,
            Self::Suite17 => 16,
        }
    }

    /// The suite's HMAC over `parts`, one after the other, at full length.
    pub(super) fn code(self, key: &[u8], parts: &[&[u8]]) -> Code {
        let mut code = Code {
            bytes: [0; 32],
            length: self.exchange_code_bytes(),
        };
        match self {
            Self::Suite3 => fill::<Hmac<Sha1>>(&mut code, key, parts),
            Self::Suite17 => fill::<Hmac<Sha256>>(&mut code, key, parts),
        }
        code
    }
}

fn fill<M: Mac + KeyInit>(code: &mut Code, key: &[u8], parts: &[&[u8]]) {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    let output = mac.finalize().into_bytes();
    for (to, from) in code.bytes.iter_mut().zip(output) {
        *to = from;
    }
}

/// An HMAC's output. It is key material as often as a check value.
pub(super) struct Code {
    bytes: [u8; 32],
    length: usize,
}

impl Code {
    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// The first `length` bytes, or all when there are fewer.
    pub(super) fn truncated(&self, length: usize) -> &[u8] {
        let all = self.as_slice();
        all.get(..length).unwrap_or(all)
    }

    /// Whether `received` is exactly the first `length` bytes; constant time.
    pub(super) fn matches(&self, received: &[u8], length: usize) -> bool {
        self.truncated(length).ct_eq(received).into()
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

/// The most that a session may do (IPMI table 13-9 and 22-43).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Privilege {
    /// May read.
    User,
    /// May switch power and set boot devices; all that we need.
    Operator,
    /// May configure the BMC too.
    Administrator,
}

impl Privilege {
    /// The level's number in requests.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::User => 2,
            Self::Operator => 3,
            Self::Administrator => 4,
        }
    }
}

impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Operator => "operator",
            Self::Administrator => "administrator",
        })
    }
}

/// The keys of one session, made from the session integrity key.
pub(super) struct Keys {
    suite: CipherSuite,
    session_integrity: Code,
    integrity: Code,
    confidentiality: [u8; BLOCK_BYTES],
}

impl Keys {
    /// K1 and K2 from the session integrity key (IPMI 13.32).
    pub(super) fn new(suite: CipherSuite, session_integrity: Code) -> Self {
        let sik = session_integrity.as_slice();
        let integrity = suite.code(sik, &[&[1; KEY_CONSTANT_BYTES]]);
        let second = suite.code(sik, &[&[2; KEY_CONSTANT_BYTES]]);
        // IPMI 13.29: AES-CBC-128 uses the first 128 bits of K2.
        let mut confidentiality = [0; BLOCK_BYTES];
        confidentiality
            .iter_mut()
            .zip(second.as_slice())
            .for_each(|(to, from)| *to = *from);
        Self {
            suite,
            session_integrity,
            integrity,
            confidentiality,
        }
    }

    /// RAKP 4's check value over `parts`, keyed with the session integrity key.
    pub(super) fn exchange_check(&self, parts: &[&[u8]]) -> Code {
        self.suite.code(self.session_integrity.as_slice(), parts)
    }

    /// The authentication code of a packet's signed part (IPMI 13.28.4).
    pub(super) fn packet_code(&self, signed: &[u8]) -> Code {
        self.suite.code(self.integrity.as_slice(), &[signed])
    }

    /// `plain`, padded and encrypted, behind its `iv` (IPMI table 13-20).
    pub(super) fn seal(&self, plain: &[u8], iv: &[u8; BLOCK_BYTES]) -> Vec<u8> {
        // One byte says how many pad bytes 01 02 03 … stand before it.
        let pad = (BLOCK_BYTES - (plain.len() + 1) % BLOCK_BYTES) % BLOCK_BYTES;
        let mut sealed = Vec::with_capacity(BLOCK_BYTES + plain.len() + pad + 1);
        sealed.extend_from_slice(iv);
        sealed.extend_from_slice(plain);
        sealed.extend((1..=pad as u8).chain([pad as u8]));
        let mut cipher =
            cbc::Encryptor::<Aes128>::new(&Array::from(self.confidentiality), &Array::from(*iv));
        let (blocks, _) = sealed.as_chunks_mut::<BLOCK_BYTES>();
        for block in blocks.iter_mut().skip(1) {
            cipher.encrypt_block(block.into());
        }
        sealed
    }

    /// What [`Keys::seal`] made `sealed` from; `None` when it cannot be so.
    pub(super) fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (iv, encrypted) = sealed.split_first_chunk::<BLOCK_BYTES>()?;
        let mut plain = encrypted.to_vec();
        let (blocks, rest) = plain.as_chunks_mut::<BLOCK_BYTES>();
        if blocks.is_empty() || !rest.is_empty() {
            return None;
        }
        let mut cipher =
            cbc::Decryptor::<Aes128>::new(&Array::from(self.confidentiality), &Array::from(*iv));
        for block in blocks {
            cipher.decrypt_block(block.into());
        }
        // The packet's code was verified before, so a bad pad is a broken
        // BMC and no padding oracle.
        let pad = usize::from(plain.pop()?);
        let length = plain.len().checked_sub(pad)?;
        let padded = plain.get(length..)?;
        let expected = padded.iter().zip(1u8..).all(|(byte, want)| *byte == want);
        if pad >= BLOCK_BYTES || !expected {
            return None;
        }
        plain.truncate(length);
        Some(plain)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.confidentiality.zeroize();
    }
}

#[cfg(test)]
mod tests;
