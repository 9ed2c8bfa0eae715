//! What can go wrong in the store, sorted by what the caller does about it.

use std::path::PathBuf;

use sqlx::error::DatabaseError;

/// The result of a store function.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Why a store function did nothing. A function that returns an error has changed nothing: its transaction was rolled back.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk that holds the database is full; existing rows are intact.
    #[error("the disk that holds {} is full: free some space and try again", path.display())]
    DiskFull {
        /// The database file.
        path: PathBuf,
    },
    /// No row has this identifier.
    #[error("there is no {what} {id}")]
    NotFound {
        /// The kind of row, for a message.
        what: &'static str,
        /// The identifier asked for.
        id: String,
    },
    /// The row exists but is in a state that does not allow the change.
    #[error("{0}")]
    Conflict(String),
    /// A name or key that must be unique is taken.
    #[error("{what} `{value}` exists already")]
    Taken {
        /// The field that must be unique.
        what: &'static str,
        /// The value that is taken.
        value: String,
    },
    /// The database cannot be opened or migrated.
    #[error("cannot open the database {}: {reason}", path.display())]
    Open {
        /// The database file.
        path: PathBuf,
        /// What to do about it or what SQLite said.
        reason: String,
    },
    /// A row holds what this version cannot read.
    #[error("column `{column}` holds what this version cannot read: {reason}")]
    Unreadable {
        /// The column.
        column: &'static str,
        /// Why it cannot be read.
        reason: String,
    },
    /// Hashing a password failed: the operating system gave no randomness or no memory.
    #[error("cannot hash a password: {0}")]
    Hash(String),
    /// Another process held the database for longer than the busy timeout.
    #[error("the database is busy: another process has held it for too long")]
    Busy,
    /// Anything else that SQLite reports.
    #[error("database: {0}")]
    Database(#[source] sqlx::Error),
}

impl StoreError {
    /// Whether trying again later can succeed without anyone changing anything in the request.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::DiskFull { .. } | Self::Busy)
    }
}

/// SQLite's primary result codes (the low byte of an extended code), <https://sqlite.org/rescode.html>.
const SQLITE_BUSY: u32 = 5;
const SQLITE_FULL: u32 = 13;
/// SQLite extended codes for writes that the file system refused; ENOSPC during a WAL sync arrives as one of these.
const SQLITE_IOERR_WRITE: u32 = 778;

/// Sorts an error of sqlx; `path` is the database it came from.
pub(super) fn sort(error: sqlx::Error, path: &std::path::Path) -> StoreError {
    match error.as_database_error().and_then(code) {
        Some(code) if code & 0xff == SQLITE_FULL || code == SQLITE_IOERR_WRITE => {
            StoreError::DiskFull { path: path.to_owned() }
        }
        Some(code) if code & 0xff == SQLITE_BUSY => StoreError::Busy,
        _ => StoreError::Database(error),
    }
}

fn code(error: &dyn DatabaseError) -> Option<u32> {
    error.code()?.parse().ok()
}

/// For columns that cannot be read and other errors without a path: only writes meet a full disk, and `Tx` sorts those.
impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error().and_then(code) {
            Some(code) if code & 0xff == SQLITE_BUSY => Self::Busy,
            _ => Self::Database(error),
        }
    }
}
