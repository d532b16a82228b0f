//! Cipher suites 3 and 17, from the BMC's side (IPMI 13.28 to 13.32).

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use crate::aes::Aes;

/// Algorithms of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    Three,
    Seventeen,
}

impl Suite {
    /// By authentication, integrity and confidentiality algorithm (IPMI tables
    /// 13-17 to 13-19).
    pub(crate) fn by_algorithms(algorithms: [u8; 3]) -> Option<Self> {
        match algorithms {
            [1, 1, 1] => Some(Self::Three),
            [3, 4, 1] => Some(Self::Seventeen),
            _ => None,
        }
    }

    pub(crate) fn code(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        let algorithm = match self {
            Self::Three => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Seventeen => hmac::HMAC_SHA256,
        };
        let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm, key));
        for part in parts {
            context.update(part);
        }
        context.sign().as_ref().to_vec()
    }

    /// Bytes of RAKP 4's and of packets' codes.
    pub(crate) fn short_bytes(self) -> usize {
        match self {
            Self::Three => 12,
            Self::Seventeen => 16,
        }
    }
}

/// An open session's keys.
pub(crate) struct Keys {
    suite: Suite,
    integrity: Vec<u8>,
    cipher: Aes,
}

impl Keys {
    pub(crate) fn new(suite: Suite, session_integrity: &[u8]) -> Self {
        let second = suite.code(session_integrity, &[&[2; 20]]);
        let key = second.first_chunk().expect("an HMAC is longer than a key");
        Self {
            suite,
            integrity: suite.code(session_integrity, &[&[1; 20]]),
            cipher: Aes::new(key),
        }
    }

    pub(crate) fn packet_code(&self, signed: &[u8]) -> Vec<u8> {
        let mut code = self.suite.code(&self.integrity, &[signed]);
        code.truncate(self.suite.short_bytes());
        code
    }

    pub(crate) fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let iv: [u8; 16] = random();
        let pad = (16 - (plain.len() + 1) % 16) % 16;
        let mut sealed = [iv.as_slice(), plain].concat();
        sealed.extend((1..=pad as u8).chain([pad as u8]));
        self.cipher.encrypt_cbc(&iv, &mut sealed[16..]);
        sealed
    }

    pub(crate) fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (iv, rest) = sealed.split_first_chunk::<16>()?;
        if rest.is_empty() || rest.len() % 16 != 0 {
            return None;
        }
        let mut plain = rest.to_vec();
        self.cipher.decrypt_cbc(iv, &mut plain);
        let pad = usize::from(plain.pop()?);
        plain.truncate(plain.len().checked_sub(pad)?);
        Some(plain)
    }
}

/// Fresh random bytes.
///
/// # Panics
/// When the system has none.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the system gives random bytes");
    bytes
}
