//! The database: rows of `control` as bytes in redb, one transaction per
//! batch. It knows nothing of what the bytes mean.
//!
//! redb blocks, so everything here runs on the engine's thread, or on a
//! blocking one for reads.

mod medium;

use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use control::{AgedReceipts, Change, LoadError, TableId};
use messages::{DecodeError, Digest, Millis, ReceiptRecord, SignatureBytes, SignedReceipt, decode};
use redb::{
    Builder, Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable,
    TableDefinition, TableError, TableHandle,
};

use medium::{DatabaseFile, Medium};

/// Cache of redb, in bytes. Its default is sixty times as much.
const CACHE_BYTES: usize = 16 << 20;

/// Rows of the daemon itself: the applied inventory.
const LOCAL: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("local");

/// The row of [`Store::probe`], and its size, that of some dozen deliveries.
const PROBE: &str = "probe";
const PROBE_BYTES: usize = 64 << 10;

type Rows = TableDefinition<'static, &'static [u8], &'static [u8]>;

const fn rows(table: TableId) -> Rows {
    TableDefinition::new(table.name())
}

/// Why the database did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be opened.
    #[error("database {path}: cannot be opened: {source}")]
    Open {
        /// The file.
        path: String,
        /// Why.
        source: redb::DatabaseError,
    },
    /// It was closed after a failure, and could not be opened again.
    #[error("database {path}: it failed and cannot be opened again yet")]
    Closed {
        /// The file.
        path: String,
    },
    /// A transaction failed: the disk is full or broken.
    #[error("database: {operation} failed: {source}")]
    Transaction {
        /// What was tried.
        operation: &'static str,
        /// Why.
        source: Box<redb::Error>,
    },
    /// The rows make no state.
    #[error("database: {0}{way_out}", way_out = way_out(.0))]
    Load(#[from] LoadError),
    /// A newer release keeps something there that this one would lose.
    #[error(
        "database {path}: table {table} is unknown to this release, so a newer one wrote it: install that release again, or restore a backup that this one can read"
    )]
    Newer {
        /// The file.
        path: String,
        /// The table.
        table: String,
    },
    /// A stored receipt cannot be read.
    #[error("database: receipt {sequence} cannot be read: {source}")]
    Receipt {
        /// Which.
        sequence: u64,
        /// Why.
        source: DecodeError,
    },
}

fn failed<E: Into<redb::Error>>(operation: &'static str) -> impl Fn(E) -> StoreError {
    move |source| StoreError::Transaction {
        operation,
        source: Box::new(source.into()),
    }
}

const fn way_out(error: &LoadError) -> &'static str {
    match error {
        LoadError::Row { .. } => {
            ": install that release again, or restore a backup that this one can read"
        }
        LoadError::Key(_) => ": restore a backup",
        LoadError::Foreign(_) => "",
    }
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Table, key and value of a stored row.
pub type Row = (TableId, Vec<u8>, Vec<u8>);

/// The open database. Clones share it.
#[derive(Clone)]
pub struct Store {
    medium: Arc<dyn Medium>,
    /// Empty only while it cannot be opened again.
    database: Arc<RwLock<Option<Database>>>,
}

type Guard<'a> = RwLockReadGuard<'a, Option<Database>>;

impl Store {
    /// Opens or creates the database.
    ///
    /// # Errors
    /// When another process holds it, or the file is none of ours.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::on(Arc::new(DatabaseFile::new(path)))
    }

    fn on(medium: Arc<dyn Medium>) -> Result<Self, StoreError> {
        let opened = medium
            .prepare(&builder())
            .and_then(|()| medium.open(&builder()));
        let database = opened.map_err(|source| StoreError::Open {
            path: medium.name(),
            source,
        })?;
        Ok(Self {
            medium,
            database: Arc::new(RwLock::new(Some(database))),
        })
    }

    /// Closes the database and opens it again. After any failed write redb
    /// refuses everything (`StorageError::PreviousIo`) until that was done,
    /// even when a full disk has room again.
    ///
    /// # Errors
    /// When it cannot be opened now; it then stays closed until the next call.
    pub fn reopen(&self) -> Result<(), StoreError> {
        let mut database = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        // Closed first: it holds the file's lock.
        *database = None;
        let opened = self.medium.open(&builder());
        *database = Some(opened.map_err(|source| StoreError::Open {
            path: self.medium.name(),
            source,
        })?);
        Ok(())
    }

    fn guard(&self) -> Guard<'_> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened<'a>(&self, guard: &'a Guard<'_>) -> Result<&'a Database, StoreError> {
        guard.as_ref().ok_or_else(|| StoreError::Closed {
            path: self.medium.name(),
        })
    }

    /// Refuses a database with a table of a newer release.
    fn check_tables(&self, read: &ReadTransaction) -> Result<(), StoreError> {
        for table in read.list_tables().map_err(failed("list tables"))? {
            let name = table.name();
            if name != LOCAL.name() && !TableId::ALL.iter().any(|id| id.name() == name) {
                return Err(StoreError::Newer {
                    path: self.medium.name(),
                    table: name.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Every row that [`control::State::load`] needs.
    ///
    /// # Errors
    /// When the disk does not answer, or a newer release wrote to it.
    pub fn load(&self) -> Result<Vec<Row>, StoreError> {
        let guard = self.guard();
        let database = self.opened(&guard)?;
        let read = database.begin_read().map_err(failed("begin read"))?;
        self.check_tables(&read)?;
        let mut all = Vec::new();
        for id in TableId::ALL.into_iter().filter(|id| id.is_loaded()) {
            let table = match read.open_table(rows(id)) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => continue,
                Err(error) => return Err(failed("open table")(error)),
            };
            for row in table.iter().map_err(failed("scan"))? {
                let (key, value) = row.map_err(failed("scan"))?;
                all.push((id, key.value().to_vec(), value.value().to_vec()));
            }
        }
        Ok(all)
    }

    /// Writes all changes or none, and returns when they are on disk.
    ///
    /// # Errors
    /// When the disk is full or fails. Then the store must be opened again
    /// before it does anything, and nothing was written; or, when it was the
    /// disk's last word that got lost, everything was.
    pub fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        let guard = self.guard();
        let database = self.opened(&guard)?;
        let mut write = database.begin_write().map_err(failed("begin write"))?;
        write
            .set_durability(Durability::Immediate)
            .map_err(failed("set durability"))?;
        for id in TableId::ALL {
            let mut of_table = changes
                .iter()
                .filter(|change| change.table == id)
                .peekable();
            if of_table.peek().is_none() {
                continue;
            }
            let mut table = write.open_table(rows(id)).map_err(failed("open table"))?;
            for change in of_table {
                let key = change.key.as_slice();
                match &change.value {
                    Some(value) => table.insert(key, value.as_slice()).map(drop),
                    None => table.remove(key).map(drop),
                }
                .map_err(failed("write row"))?;
            }
        }
        write.commit().map_err(failed("commit"))
    }

    /// A row of the daemon itself.
    ///
    /// # Errors
    /// When the disk does not answer.
    pub fn local(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let guard = self.guard();
        let database = self.opened(&guard)?;
        let read = database.begin_read().map_err(failed("begin read"))?;
        let table = match read.open_table(LOCAL) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(failed("open table")(error)),
        };
        let value = table.get(key).map_err(failed("read row"))?;
        Ok(value.map(|value| value.value().to_vec()))
    }

    /// Sets a row of the daemon itself.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn set_local(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        let guard = self.guard();
        let database = self.opened(&guard)?;
        let write = database.begin_write().map_err(failed("begin write"))?;
        {
            let mut table = write.open_table(LOCAL).map_err(failed("open table"))?;
            table.insert(key, value).map_err(failed("write row"))?;
        }
        write.commit().map_err(failed("commit"))
    }

    /// Stores something of a usual batch's size, and takes it away again.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn probe(&self) -> Result<(), StoreError> {
        self.set_local(PROBE, &[0; PROBE_BYTES])?;
        self.set_local(PROBE, &[])
    }

    /// The last receipt that may leave, and its chain hash.
    ///
    /// # Errors
    /// When the disk does not answer or a receipt is damaged.
    pub fn aged_receipts(&self, asked: &AgedReceipts) -> Result<Option<(u64, Digest)>, StoreError> {
        let record = |sequence: u64| -> Result<Option<(Millis, Digest)>, StoreError> {
            let found = self.receipts(sequence, 1)?;
            let found = found.into_iter().find(|(number, _)| *number == sequence);
            let Some((_, receipt)) = found else {
                return Ok(None);
            };
            let record = decode(&receipt.body);
            let record = record.map_err(|source| StoreError::Receipt { sequence, source })?;
            let made_at = match record {
                ReceiptRecord::V1(receipt) | ReceiptRecord::Metered(receipt, _) => receipt.made_at,
                ReceiptRecord::Epoch(epoch) => epoch.made_at,
            };
            Ok(Some((made_at, SignedReceipt::chain_hash(&receipt.body))))
        };
        // Receipts are made in the order of their numbers: halve the range.
        let (mut through, mut end) = (asked.first.saturating_sub(1), asked.at_most);
        while through < end {
            let middle = end - (end - through) / 2;
            match record(middle)? {
                Some((made_at, _)) if made_at < asked.made_before => through = middle,
                Some(_) | None => end = middle - 1,
            }
        }
        let through = through.max(asked.surplus.min(asked.at_most));
        if through < asked.first {
            return Ok(None);
        }
        Ok(record(through)?.map(|(_, hash)| (through, hash)))
    }

    /// Receipts from `first` on, in order, at most `limit`.
    ///
    /// # Errors
    /// When the disk does not answer or a signature is damaged.
    pub fn receipts(
        &self,
        first: u64,
        limit: usize,
    ) -> Result<Vec<(u64, SignedReceipt)>, StoreError> {
        let guard = self.guard();
        let database = self.opened(&guard)?;
        let read = database.begin_read().map_err(failed("begin read"))?;
        let bodies = match read.open_table(rows(TableId::Receipts)) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(failed("open table")(error)),
        };
        let signatures = match read.open_table(rows(TableId::Signatures)) {
            Ok(table) => Some(table),
            Err(TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(failed("open table")(error)),
        };
        let mut receipts = Vec::new();
        let from = first.to_be_bytes();
        for row in bodies
            .range(from.as_slice()..)
            .map_err(failed("scan"))?
            .take(limit)
        {
            let (key, body) = row.map_err(failed("scan"))?;
            let sequence = u64::from_be_bytes(key.value().try_into().unwrap_or_default());
            let stored = match &signatures {
                Some(table) => table.get(key.value()).map_err(failed("read row"))?,
                None => None,
            };
            let signature = match stored {
                Some(bytes) => Some(SignatureBytes(bytes.value().try_into().map_err(|_| {
                    StoreError::Receipt {
                        sequence,
                        source: DecodeError::Remaining(0),
                    }
                })?)),
                None => None,
            };
            receipts.push((
                sequence,
                SignedReceipt {
                    body: body.value().to_vec(),
                    signature,
                },
            ));
        }
        Ok(receipts)
    }
}

#[cfg(test)]
mod tests;
