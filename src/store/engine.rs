//! Which engine serves this database: one at a time, known by a heartbeat.

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::row::{Columns, new_id, time_text};
use super::{Result, Store};

/// How old a heartbeat may be before its engine counts as gone. Beat at least four times as often.
pub const STALE_AFTER: SignedDuration = SignedDuration::from_secs(10);

/// An engine that serves, or served, this database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// A fresh identifier for each start.
    pub instance: Uuid,
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// Its last heartbeat.
    pub seen_at: Timestamp,
    /// How its trunks stood then, by name.
    pub trunks: serde_json::Value,
}

/// Takes the place of the serving engine. `Err` inside: another one is alive. `is_gone` is asked whether the process of a
/// fresh heartbeat is known to be gone (after a `kill -9` the next start need not wait for the heartbeat to grow old).
///
/// # Errors
/// What the statements met.
pub async fn claim(
    store: &Store,
    now: Timestamp,
    pid: u32,
    is_gone: impl FnOnce(u32) -> bool + Send,
) -> Result<std::result::Result<Engine, Engine>> {
    let mut tx = store.write(now).await?;
    let row = sqlx::query("SELECT * FROM engine").fetch_optional(tx.conn()).await?;
    if let Some(other) = row.map(|row| from_row(&row)).transpose()?
        && is_fresh(&other, now)
        && !is_gone(other.pid)
    {
        return Ok(Err(other));
    }
    let engine = Engine { instance: new_id(now), pid, started_at: now, seen_at: now, trunks: serde_json::json!({}) };
    let query = sqlx::query(
        "INSERT OR REPLACE INTO engine (only, instance, pid, started_at, seen_at) VALUES (1, ?, ?, ?, ?)",
    );
    let query = query.bind(engine.instance.to_string()).bind(pid);
    let done = query.bind(time_text(now)).bind(time_text(now)).execute(tx.conn()).await;
    tx.sorted(done)?;
    tx.commit().await?;
    Ok(Ok(engine))
}

/// A heartbeat, with how the `trunks` stand. False: another engine has taken the place; stop dialling.
///
/// # Errors
/// What the statement met.
pub async fn beat(store: &Store, now: Timestamp, instance: Uuid, trunks: &serde_json::Value) -> Result<bool> {
    let mut tx = store.write(now).await?;
    let query = sqlx::query("UPDATE engine SET seen_at = ?, trunks = ? WHERE instance = ?");
    let done = query.bind(time_text(now)).bind(trunks.to_string()).bind(instance.to_string()).execute(tx.conn()).await;
    let ours = tx.sorted(done)?.rows_affected() == 1;
    tx.commit().await?;
    Ok(ours)
}

/// The engine goes, in order.
///
/// # Errors
/// What the statement met.
pub async fn release(store: &Store, now: Timestamp, instance: Uuid) -> Result<()> {
    let mut tx = store.write(now).await?;
    let done = sqlx::query("DELETE FROM engine WHERE instance = ?")
        .bind(instance.to_string())
        .execute(tx.conn())
        .await;
    tx.sorted(done)?;
    tx.commit().await
}

/// The engine that serves this database now, by its heartbeat.
///
/// # Errors
/// What the query met.
pub async fn current(store: &Store, now: Timestamp) -> Result<Option<Engine>> {
    let row = sqlx::query("SELECT * FROM engine").fetch_optional(&store.reader).await?;
    Ok(row.map(|row| from_row(&row)).transpose()?.filter(|engine| is_fresh(engine, now)))
}

fn is_fresh(engine: &Engine, now: Timestamp) -> bool {
    now.duration_since(engine.seen_at) < STALE_AFTER
}

fn from_row(row: &sqlx::sqlite::SqliteRow) -> Result<Engine> {
    Ok(Engine {
        instance: row.parsed("instance")?,
        pid: row.small("pid")?,
        started_at: row.parsed("started_at")?,
        seen_at: row.parsed("seen_at")?,
        trunks: row.json("trunks")?,
    })
}
