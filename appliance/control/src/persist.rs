//! Rows as bytes and back: what the store keeps, in versions.
//!
//! A value is postcard of an append-only `enum { V1(..), .. }`. Keys are
//! big-endian, so that a table's order on disk is the order of its ids, which
//! is the order of time.

use alloc::vec::Vec;

use messages::{
    BootId, DecodeError, DeliveryKey, EffectId, HubId, JobId, Millis, PoolId, SignatureBytes,
    SledId, decode, encode,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::table::Table;

/// The store's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableId {
    /// Counters.
    Meta,
    /// GitHub Apps.
    Hubs,
    /// Pools.
    Pools,
    /// Sleds.
    Sleds,
    /// Jobs.
    Jobs,
    /// Boots.
    Boots,
    /// Delivery ids seen.
    Deliveries,
    /// Effects to do.
    Outbox,
    /// Bodies of receipts. Only ever appended; not loaded.
    Receipts,
    /// Signatures of receipts. Only ever appended; not loaded.
    Signatures,
}

impl TableId {
    /// Every table.
    pub const ALL: [Self; 10] = [
        Self::Meta,
        Self::Hubs,
        Self::Pools,
        Self::Sleds,
        Self::Jobs,
        Self::Boots,
        Self::Deliveries,
        Self::Outbox,
        Self::Receipts,
        Self::Signatures,
    ];

    /// Name on disk.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Hubs => "hubs",
            Self::Pools => "pools",
            Self::Sleds => "sleds",
            Self::Jobs => "jobs",
            Self::Boots => "boots",
            Self::Deliveries => "deliveries",
            Self::Outbox => "outbox",
            Self::Receipts => "receipts",
            Self::Signatures => "signatures",
        }
    }

    /// Whether its rows are needed by [`State::load`](crate::State::load).
    #[must_use]
    pub const fn is_loaded(self) -> bool {
        !matches!(self, Self::Receipts | Self::Signatures)
    }
}

/// One row to write, or to delete when `value` is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub table: TableId,
    /// Key.
    pub key: Vec<u8>,
    /// Value.
    pub value: Option<Vec<u8>>,
}

/// Why stored rows do not make a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// A row's value cannot be read.
    #[error(
        "a row of table {table} cannot be read: {source}. The database is damaged or was written by a newer release"
    )]
    Row {
        /// Table.
        table: &'static str,
        /// Why.
        source: DecodeError,
    },
    /// A row's key has the wrong length.
    #[error("a key of table {0} has the wrong length: the database is damaged")]
    Key(&'static str),
    /// Written by another appliance, or a state directory mixed up.
    #[error(
        "the database belongs to appliance {0}, not to this one: is the state directory a copy?"
    )]
    Foreign(messages::ApplianceId),
}

/// A row in its first version. A type whose row changed gets an enum of its
/// own with `V1(Old)` and `V2(New)`: the bytes stay readable.
#[derive(Serialize)]
enum RecordRef<'a, V> {
    V1(&'a V),
}

#[derive(Deserialize)]
enum Record<V> {
    V1(V),
}

pub(crate) fn to_bytes<V: Serialize>(row: &V) -> Vec<u8> {
    encode(&RecordRef::V1(row))
}

pub(crate) fn from_bytes<V: DeserializeOwned>(
    table: TableId,
    bytes: &[u8],
) -> Result<V, LoadError> {
    let Record::V1(row) = decode(bytes).map_err(|source| LoadError::Row {
        table: table.name(),
        source,
    })?;
    Ok(row)
}

/// A key with an order-preserving byte form.
pub(crate) trait Key: Ord + Copy {
    fn to_key(self) -> Vec<u8>;
    fn from_key(bytes: &[u8]) -> Option<Self>;
}

macro_rules! key {
    ($($name:ident($inner:ty)),*) => {$(
        impl Key for $name {
            fn to_key(self) -> Vec<u8> {
                self.0.to_be_bytes().to_vec()
            }
            fn from_key(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(|bytes| Self(<$inner>::from_be_bytes(bytes)))
            }
        }
    )*};
}
key!(
    BootId(u64),
    EffectId(u64),
    HubId(u16),
    PoolId(u32),
    SledId(u32)
);

impl Key for () {
    fn to_key(self) -> Vec<u8> {
        Vec::new()
    }
    fn from_key(bytes: &[u8]) -> Option<Self> {
        bytes.is_empty().then_some(())
    }
}

impl Key for (Millis, DeliveryKey) {
    fn to_key(self) -> Vec<u8> {
        let mut key = self.0.0.to_be_bytes().to_vec();
        key.extend_from_slice(&self.1.0.to_be_bytes());
        key
    }
    fn from_key(bytes: &[u8]) -> Option<Self> {
        let (at, key) = bytes.split_at_checked(8)?;
        let at = u64::from_be_bytes(at.try_into().ok()?);
        Some((
            Millis(at),
            DeliveryKey(u128::from_be_bytes(key.try_into().ok()?)),
        ))
    }
}

impl Key for JobId {
    fn to_key(self) -> Vec<u8> {
        let mut key = self.hub.to_key();
        key.extend_from_slice(&self.number.to_be_bytes());
        key
    }
    fn from_key(bytes: &[u8]) -> Option<Self> {
        let (hub, number) = bytes.split_at_checked(2)?;
        Some(Self {
            hub: HubId::from_key(hub)?,
            number: u64::from_be_bytes(number.try_into().ok()?),
        })
    }
}

pub(crate) fn drain<K: Key, V: Serialize>(
    table: &mut Table<K, V>,
    id: TableId,
    changes: &mut Vec<Change>,
) {
    if !table.has_changes() {
        return;
    }
    for key in table.take_changed() {
        let value = table.get(key).map(to_bytes);
        changes.push(Change {
            table: id,
            key: key.to_key(),
            value,
        });
    }
}

pub(crate) fn restore<K: Key, V: DeserializeOwned>(
    table: &mut Table<K, V>,
    id: TableId,
    key: &[u8],
    value: &[u8],
) -> Result<(), LoadError> {
    let key = K::from_key(key).ok_or(LoadError::Key(id.name()))?;
    table.restore(key, from_bytes(id, value)?);
    Ok(())
}

/// The change that adds a receipt's body.
pub(crate) fn receipt(sequence: u64, body: Vec<u8>) -> Change {
    Change {
        table: TableId::Receipts,
        key: sequence.to_be_bytes().to_vec(),
        value: Some(body),
    }
}

/// The change that adds a receipt's signature.
pub(crate) fn signature(sequence: u64, signature: &SignatureBytes) -> Change {
    Change {
        table: TableId::Signatures,
        key: sequence.to_be_bytes().to_vec(),
        value: Some(signature.0.to_vec()),
    }
}

/// Delivery rows hold nothing: their key says it all.
pub(crate) type Delivery = ();
