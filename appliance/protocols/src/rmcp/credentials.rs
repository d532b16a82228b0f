//! Names and secrets that open a session; lengths are checked here, once.

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// IPMI 13.31: a user's key is 20 bytes in IPMI 2.0, padded with zeros.
const KEY_BYTES: usize = 20;
/// IPMI table 13-11: a user name has up to 16 bytes.
const NAME_BYTES: usize = 16;

/// Why a name or a secret cannot be used with IPMI 2.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// Longer than a BMC can store.
    #[error(
        "the IPMI password has {0} bytes, IPMI 2.0 takes at most 20: set a shorter one on the BMC \
         and here"
    )]
    PasswordTooLong(usize),
    /// An empty password would authenticate nothing.
    #[error("the IPMI password is empty: set one on the BMC and here")]
    PasswordEmpty,
    /// A zero byte ends a password inside the BMC.
    #[error("the IPMI {0} holds a zero byte: IPMI ends it there, so remove the byte")]
    ZeroByte(&'static str),
    /// Longer than RAKP message 1 has room for.
    #[error("the IPMI user name has {0} bytes, IPMI 2.0 takes at most 16: use a shorter one")]
    NameTooLong(usize),
    /// Kg is exactly 20 bytes or absent.
    #[error("the BMC key (Kg) has {0} bytes, it takes at least 1 and at most 20")]
    BmcKeyLength(usize),
}

/// A user's password, 1 to 20 bytes, wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Password([u8; KEY_BYTES]);

impl Password {
    /// The password `bytes`.
    ///
    /// # Errors
    /// When it is empty, has more than 20 bytes or holds a zero byte. A longer
    /// one is refused rather than cut: a BMC that cuts it too would hide that
    /// only 20 bytes count.
    pub fn new(bytes: &[u8]) -> Result<Self, CredentialError> {
        if bytes.is_empty() {
            return Err(CredentialError::PasswordEmpty);
        }
        if bytes.contains(&0) {
            return Err(CredentialError::ZeroByte("password"));
        }
        padded(bytes)
            .map(Self)
            .ok_or(CredentialError::PasswordTooLong(bytes.len()))
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(redacted)")
    }
}

/// Kg, the BMC's second key, which a "two-key" login needs (IPMI 13.33).
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct BmcKey([u8; KEY_BYTES]);

impl BmcKey {
    /// The key `bytes`, padded with zeros to 20 bytes.
    ///
    /// # Errors
    /// When it is empty or longer than 20 bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, CredentialError> {
        if bytes.is_empty() {
            return Err(CredentialError::BmcKeyLength(0));
        }
        padded(bytes)
            .map(Self)
            .ok_or(CredentialError::BmcKeyLength(bytes.len()))
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for BmcKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BmcKey(redacted)")
    }
}

/// A user's name, at most 16 bytes. Empty is IPMI's anonymous user.
#[derive(Clone, PartialEq, Eq)]
pub struct Username {
    bytes: [u8; NAME_BYTES],
    length: u8,
}

impl Username {
    /// The name `name`.
    ///
    /// # Errors
    /// When it has more than 16 bytes or holds a zero byte.
    pub fn new(name: &str) -> Result<Self, CredentialError> {
        if name.contains('\0') {
            return Err(CredentialError::ZeroByte("user name"));
        }
        let mut bytes = [0; NAME_BYTES];
        let too_long = CredentialError::NameTooLong(name.len());
        let place = bytes.get_mut(..name.len()).ok_or(too_long)?;
        place.copy_from_slice(name.as_bytes());
        Ok(Self {
            bytes,
            length: name.len() as u8,
        })
    }

    /// The name's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }

    pub(super) fn length(&self) -> u8 {
        self.length
    }
}

impl fmt::Debug for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Username({self})")
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}

fn padded(bytes: &[u8]) -> Option<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    key.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn passwords_are_bounded() {
        let check = |bytes: &[u8], expect: Result<(), CredentialError>| {
            assert_eq!(Password::new(bytes).map(|_| ()), expect, "{bytes:?}");
        };
        check(b"secret", Ok(()));
        check(&[b'x'; 20], Ok(()));
        check(&[b'x'; 21], Err(CredentialError::PasswordTooLong(21)));
        check(b"", Err(CredentialError::PasswordEmpty));
        check(b"se\0cret", Err(CredentialError::ZeroByte("password")));
    }

    #[test]
    fn names_are_bounded() {
        let check = |name: &str, expect: Result<(), CredentialError>| {
            assert_eq!(Username::new(name).map(|_| ()), expect, "{name:?}");
        };
        check("", Ok(()));
        check("sixteen-letters!", Ok(()));
        check("seventeen-letters", Err(CredentialError::NameTooLong(17)));
        check("a\0", Err(CredentialError::ZeroByte("user name")));
    }

    #[test]
    fn secrets_are_not_shown() {
        let password = Password::new(b"secret").unwrap();
        assert_eq!(format!("{password:?}"), "Password(redacted)");
        let key = BmcKey::new(b"secret").unwrap();
        assert_eq!(format!("{key:?}"), "BmcKey(redacted)");
    }
}
