//! The database: rows of `control` as bytes in redb, one transaction per
//! batch. It knows nothing of what the bytes mean.
//!
//! redb blocks, so everything here runs on the engine's thread, or on a
//! blocking one for reads.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use control::{Change, LoadError, TableId};
use messages::{DecodeError, SignatureBytes, SignedReceipt};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, TableError};

/// Cache of redb, in bytes. Its default is sixty times as much.
const CACHE_BYTES: usize = 16 << 20;

/// Rows of the daemon itself: the applied inventory.
const LOCAL: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("local");

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
    #[error("database: {0}")]
    Load(#[from] LoadError),
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

fn open(path: &Path) -> Result<Database, StoreError> {
    Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create(path)
        .map_err(|source| StoreError::Open {
            path: path.display().to_string(),
            source,
        })
}

/// Table, key and value of a stored row.
pub type Row = (TableId, Vec<u8>, Vec<u8>);

/// The open database. Clones share it.
#[derive(Clone)]
pub struct Store {
    path: PathBuf,
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
        Ok(Self {
            path: path.to_path_buf(),
            database: Arc::new(RwLock::new(Some(open(path)?))),
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
        *database = Some(open(&self.path)?);
        Ok(())
    }

    fn guard(&self) -> Guard<'_> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened<'a>(&self, guard: &'a Guard<'_>) -> Result<&'a Database, StoreError> {
        guard.as_ref().ok_or_else(|| StoreError::Closed {
            path: self.path.display().to_string(),
        })
    }

    /// Every row that [`control::State::load`] needs.
    ///
    /// # Errors
    /// When the disk does not answer.
    pub fn load(&self) -> Result<Vec<Row>, StoreError> {
        let guard = self.guard();
        let database = self.opened(&guard)?;
        let read = database.begin_read().map_err(failed("begin read"))?;
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
    /// When the disk is full or fails; then nothing was written.
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
mod tests {
    use super::*;

    #[test]
    fn a_database_is_opened_again_with_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("musher.redb")).unwrap();
        let clone = store.clone();
        store.set_local("key", b"value").unwrap();
        store.reopen().unwrap();
        assert_eq!(clone.local("key").unwrap().as_deref(), Some(&b"value"[..]));
        // While it cannot be opened it refuses, and it can come back.
        drop(store.database.write().unwrap().take());
        assert!(matches!(clone.local("key"), Err(StoreError::Closed { .. })));
        clone.reopen().unwrap();
        assert!(store.local("key").unwrap().is_some());
    }
}
