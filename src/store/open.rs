//! Opening the database: pragmas, migrations and the copy made before them.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tokio::sync::watch;

use super::{Result, StoreError, error};

static MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations");

/// How long a statement waits for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Readers: enough for a page load beside a few event streams (which hold a connection only while they read).
const READERS: u32 = 4;

/// The open database. Cloning is cheap; all clones share the connections and the event signal.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) writer: SqlitePool,
    pub(super) reader: SqlitePool,
    pub(super) path: Arc<PathBuf>,
    pub(super) wake: watch::Sender<i64>,
}

impl Store {
    /// Opens `path`, creates it if it is missing and brings its tables up to date. Before an existing database is
    /// migrated, a copy of it is written beside it as `<name>.before-<version>`.
    ///
    /// # Errors
    /// [`StoreError::Open`] when the file cannot be opened, copied or migrated (or comes from a newer version),
    /// [`StoreError::DiskFull`].
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        create_private(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let writer = pool(1).connect_with(options.clone()).await.map_err(|e| cannot_open(e, path))?;
        migrate(&writer, path).await?;
        let reader = pool(READERS).connect_with(options.read_only(true).create_if_missing(false)).await;
        let reader = reader.map_err(|e| cannot_open(e, path))?;
        let store = Self { writer, reader, path: Arc::new(path.to_owned()), wake: watch::Sender::new(0) };
        let last = super::events::last(&store).await?;
        store.wake.send_replace(last);
        Ok(store)
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A receiver whose value is the number of the newest event that this process has written.
    pub fn watch_events(&self) -> watch::Receiver<i64> {
        self.wake.subscribe()
    }

    /// Whether the database answers a query.
    ///
    /// # Errors
    /// What the query met.
    pub async fn ping(&self) -> Result<()> {
        sqlx::query("SELECT 1").execute(&self.reader).await.map_err(|e| error::sort(e, &self.path))?;
        Ok(())
    }

    /// Closes the connections; the write-ahead log is folded into the file.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }
}

fn pool(size: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new().max_connections(size).min_connections(1).idle_timeout(None).max_lifetime(None)
}

/// A new database can be read by its owner only: it holds names, numbers and what people said.
fn create_private(path: &Path) -> Result<()> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match created {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(StoreError::Open { path: path.to_owned(), reason: error.to_string() })
        }
        _ => Ok(()),
    }
}

fn cannot_open(error: sqlx::Error, path: &Path) -> StoreError {
    match error::sort(error, path) {
        StoreError::Database(error) => StoreError::Open { path: path.to_owned(), reason: error.to_string() },
        other => other,
    }
}

async fn migrate(writer: &SqlitePool, path: &Path) -> Result<()> {
    let applied = applied_version(writer).await.map_err(|e| cannot_open(e, path))?;
    let newest = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    if let Some(version) = applied.filter(|version| *version < newest) {
        copy_before(writer, path, version).await?;
    }
    MIGRATIONS.run(writer).await.map_err(|error| match error {
        sqlx::migrate::MigrateError::VersionMissing(version) => StoreError::Open {
            path: path.to_owned(),
            reason: format!("it was written by a newer callahead (migration {version}): use that version"),
        },
        sqlx::migrate::MigrateError::Execute(error) => cannot_open(error, path),
        other => StoreError::Open { path: path.to_owned(), reason: other.to_string() },
    })
}

/// The newest migration in the database, or `None` when it is new.
async fn applied_version(writer: &SqlitePool) -> std::result::Result<Option<i64>, sqlx::Error> {
    let table = "SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    let exists: i64 = sqlx::query_scalar(table).fetch_one(writer).await?;
    if exists == 0 {
        return Ok(None);
    }
    sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations").fetch_one(writer).await
}

/// `VACUUM INTO` writes a consistent copy, the write-ahead log included, which a copy of the file would miss.
async fn copy_before(writer: &SqlitePool, path: &Path, version: i64) -> Result<()> {
    let beside = |suffix: String| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let (part, copy) = (beside(".before.part".to_owned()), beside(format!(".before-{}", version + 1)));
    let file_error = |error: std::io::Error| StoreError::Open {
        path: path.to_owned(),
        reason: format!("cannot make the copy {} before migrating: {error}", copy.display()),
    };
    match tokio::fs::remove_file(&part).await {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(file_error(error)),
        _ => {}
    }
    let vacuum = sqlx::query("VACUUM INTO ?").bind(part.to_string_lossy().into_owned());
    vacuum.execute(writer).await.map_err(|e| cannot_open(e, path))?;
    tokio::fs::rename(&part, &copy).await.map_err(file_error)
}
