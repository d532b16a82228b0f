//! Rows as bytes and back: what the store keeps, in versions.
//!
//! A value is postcard of an append-only `enum { V1(..), .. }`. Keys are
//! big-endian, so that a table's order on disk is the order of its ids, which
//! is the order of time.

use alloc::vec::Vec;

use messages::{
    BootId, CircuitId, DecodeError, DeliveryKey, EffectId, HubId, JobId, Millis, PoolId,
    SignatureBytes, SledId, decode, encode,
};
use serde::{Deserialize, Serialize};

use crate::{
    rows::{self, first, second, third},
    state::MetaRow,
    table::{Index, Table},
};

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
    /// Circuits.
    Circuits,
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
    /// Settings of sleds' controllers, as adopted.
    Facts,
    /// What sleds owe before they are in service.
    Acceptances,
}

impl TableId {
    /// Every table.
    pub const ALL: [Self; 13] = [
        Self::Meta,
        Self::Hubs,
        Self::Pools,
        Self::Sleds,
        Self::Circuits,
        Self::Jobs,
        Self::Boots,
        Self::Deliveries,
        Self::Outbox,
        Self::Receipts,
        Self::Signatures,
        Self::Facts,
        Self::Acceptances,
    ];

    /// Name on disk.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Hubs => "hubs",
            Self::Pools => "pools",
            Self::Sleds => "sleds",
            Self::Circuits => "circuits",
            Self::Jobs => "jobs",
            Self::Boots => "boots",
            Self::Deliveries => "deliveries",
            Self::Outbox => "outbox",
            Self::Receipts => "receipts",
            Self::Signatures => "signatures",
            Self::Facts => "facts",
            Self::Acceptances => "acceptances",
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

/// A stored row: postcard of an append-only `enum { V1(..), V2(..), .. }`.
pub(crate) trait Row: Sized {
    fn to_bytes(&self) -> Vec<u8>;
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError>;
}

/// A row in its first version.
#[derive(Serialize)]
enum FirstRef<'a, V> {
    V1(&'a V),
}

#[derive(Deserialize)]
enum First<V> {
    V1(V),
}

/// A row in its second version. The first is still read.
#[derive(Serialize)]
enum SecondRef<'a, V> {
    #[expect(dead_code, reason = "it holds the number of the first version")]
    V1,
    V2(&'a V),
}

#[derive(Deserialize)]
enum Second<Old, V> {
    V1(Old),
    V2(V),
}

macro_rules! first {
    ($($row:ty),*) => {$(
        impl Row for $row {
            fn to_bytes(&self) -> Vec<u8> {
                encode(&FirstRef::V1(self))
            }
            fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
                let First::V1(row) = decode(bytes)?;
                Ok(row)
            }
        }
    )*};
}
first!(
    rows::Hub,
    rows::Job,
    rows::Circuit,
    rows::Pending,
    crate::BmcFacts,
    Delivery
);

macro_rules! second {
    ($($row:ty: $old:ty),*) => {$(
        impl Row for $row {
            fn to_bytes(&self) -> Vec<u8> {
                encode(&SecondRef::V2(self))
            }
            fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
                Ok(match decode::<Second<$old, Self>>(bytes)? {
                    Second::V1(row) => row.into(),
                    Second::V2(row) => row,
                })
            }
        }
    )*};
}
second!(
    rows::Sled: first::Sled,
    rows::Boot: first::Boot,
    crate::Acceptance: first::Acceptance
);

/// A row in its third version. The first two are still read.
#[derive(Serialize)]
enum ThirdRef<'a, V> {
    #[expect(dead_code, reason = "it holds the number of the first version")]
    V1,
    #[expect(dead_code, reason = "it holds the number of the second version")]
    V2,
    V3(&'a V),
}

#[derive(Deserialize)]
enum Third<Oldest, Old, V> {
    V1(Oldest),
    V2(Old),
    V3(V),
}

macro_rules! third {
    ($($row:ty: $oldest:ty, $old:ty),*) => {$(
        impl Row for $row {
            fn to_bytes(&self) -> Vec<u8> {
                encode(&ThirdRef::V3(self))
            }
            fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
                Ok(match decode::<Third<$oldest, $old, Self>>(bytes)? {
                    Third::V1(row) => row.into(),
                    Third::V2(row) => row.into(),
                    Third::V3(row) => row,
                })
            }
        }
    )*};
}
third!(MetaRow: first::MetaRow, second::MetaRow);

/// A row in its fourth version. The first three are still read.
#[derive(Serialize)]
enum FourthRef<'a, V> {
    #[expect(dead_code, reason = "it holds the number of the first version")]
    V1,
    #[expect(dead_code, reason = "it holds the number of the second version")]
    V2,
    #[expect(dead_code, reason = "it holds the number of the third version")]
    V3,
    V4(&'a V),
}

#[derive(Deserialize)]
enum Fourth<A, B, C, V> {
    V1(A),
    V2(B),
    V3(C),
    V4(V),
}

impl Row for rows::Pool {
    fn to_bytes(&self) -> Vec<u8> {
        encode(&FourthRef::V4(self))
    }
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        type Stored = Fourth<first::Pool, second::Pool, third::Pool, rows::Pool>;
        Ok(match decode::<Stored>(bytes)? {
            Fourth::V1(row) => row.into(),
            Fourth::V2(row) => row.into(),
            Fourth::V3(row) => row.into(),
            Fourth::V4(row) => row,
        })
    }
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
    CircuitId(u16),
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

pub(crate) fn drain<K: Key, V: Row, X: Index<K, V>>(
    table: &mut Table<K, V, X>,
    id: TableId,
    changes: &mut Vec<Change>,
) {
    if !table.has_changes() {
        return;
    }
    for key in table.take_changed() {
        let value = table.get(key).map(Row::to_bytes);
        changes.push(Change {
            table: id,
            key: key.to_key(),
            value,
        });
    }
}

/// A stored row by its bytes.
pub(crate) fn read<K: Key, V: Row>(
    id: TableId,
    key: &[u8],
    value: &[u8],
) -> Result<(K, V), LoadError> {
    let key = K::from_key(key).ok_or(LoadError::Key(id.name()))?;
    let row = V::from_bytes(value).map_err(|source| LoadError::Row {
        table: id.name(),
        source,
    })?;
    Ok((key, row))
}

/// The change that adds a receipt's body.
pub(crate) fn receipt(sequence: u64, body: Vec<u8>) -> Change {
    Change {
        table: TableId::Receipts,
        key: sequence.to_be_bytes().to_vec(),
        value: Some(body),
    }
}

/// The changes that remove a receipt with its signature.
pub(crate) fn no_receipt(sequence: u64) -> [Change; 2] {
    [TableId::Receipts, TableId::Signatures].map(|table| Change {
        table,
        key: sequence.to_be_bytes().to_vec(),
        value: None,
    })
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
