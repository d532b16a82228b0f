//! One way to turn records into bytes and back.

use alloc::vec::Vec;

use serde::{Serialize, de::DeserializeOwned};

/// Why bytes are not the record they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are no such record.
    #[error("not a valid record: {0}")]
    Malformed(postcard::Error),
    /// A record was read, but bytes were left: a newer or foreign record.
    #[error("{0} bytes remain after the record: written by a newer release?")]
    Remaining(usize),
}

/// Room for a record, in bytes, before it is known how long it is.
const RECORD_BYTES: usize = 256;

/// The postcard bytes of a record.
///
/// # Panics
/// Never for the types of this crate: they hold no value that postcard
/// cannot represent.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    // Most records fit, so that they grow no further.
    postcard::to_extend(value, Vec::with_capacity(RECORD_BYTES))
        .expect("every record type is representable in postcard")
}

/// The record in `bytes`, all of which it must use.
///
/// postcard would silently ignore the tail of a newer record; this does not.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(DecodeError::Remaining(rest.len())),
        Err(error) => Err(DecodeError::Malformed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_bytes_are_refused() {
        let mut bytes = encode(&(7u32, true));
        assert_eq!(decode(&bytes), Ok((7u32, true)));
        bytes.push(0);
        assert_eq!(
            decode::<(u32, bool)>(&bytes),
            Err(DecodeError::Remaining(1))
        );
    }

    #[test]
    fn short_bytes_are_refused() {
        assert!(matches!(
            decode::<u32>(&[0x80]),
            Err(DecodeError::Malformed(_))
        ));
    }
}
