//! The numbered event log. It is appended to only inside the transactions of the other tables; readers resume by number.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;
use sqlx::QueryBuilder;
use uuid::Uuid;

use super::row::{Columns, time_text};
use super::{Result, Store};

/// One change, as readers see it.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// Its number; numbers grow and are never used twice.
    pub seq: i64,
    /// When it happened.
    pub at: Timestamp,
    /// What happened: `call.created`, `attempt.ringing`, `transcript.done`...
    pub kind: String,
    /// The row it happened to.
    pub subject: Uuid,
    /// The delivery it belongs to, if any.
    pub delivery_id: Option<Uuid>,
    /// Details; what they hold depends on the kind.
    pub data: Value,
}

/// How long another process's events may stay unseen: [`wait_after`] looks by itself this often.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The number of the newest event, or 0 when there is none.
///
/// # Errors
/// What the query met.
pub async fn last(store: &Store) -> Result<i64> {
    let last =
        sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM events").fetch_one(&store.reader).await?;
    Ok(last)
}

/// The number of the oldest event that [`prune`] has left, or 0 when there is none.
///
/// # Errors
/// What the query met.
pub async fn first(store: &Store) -> Result<i64> {
    let first =
        sqlx::query_scalar("SELECT coalesce(min(seq), 0) FROM events").fetch_one(&store.reader).await?;
    Ok(first)
}

/// Up to `limit` events after number `seq`, oldest first. With `agent`, only those of that agent's deliveries.
///
/// # Errors
/// What the query met.
pub async fn since(store: &Store, seq: i64, agent: Option<&str>, limit: u32) -> Result<Vec<Event>> {
    let mut query = QueryBuilder::new("SELECT * FROM events WHERE seq > ");
    query.push_bind(seq);
    if let Some(agent) = agent {
        query.push(" AND agent = ").push_bind(agent.to_owned());
    }
    query.push(" ORDER BY seq LIMIT ").push_bind(limit);
    let rows = query.build().fetch_all(&store.reader).await?;
    rows.iter()
        .map(|row| {
            Ok(Event {
                seq: row.int("seq")?,
                at: row.parsed("at")?,
                kind: row.text("kind")?,
                subject: row.parsed("subject")?,
                delivery_id: row.parsed_opt("delivery_id")?,
                data: row.json("data")?,
            })
        })
        .collect()
}

/// Waits until there is an event after `seq`: at once when this process writes one, within a second when another does.
///
/// # Errors
/// What the query met.
pub async fn wait_after(store: &Store, seq: i64) -> Result<()> {
    let mut newest = store.watch_events();
    while *newest.borrow_and_update() <= seq {
        // The sender lives in `store`, so an error cannot come; both a change and the time's end mean: look.
        let _ = tokio::time::timeout(LOOK_AGAIN, newest.changed()).await;
        if last(store).await? > seq {
            break;
        }
    }
    Ok(())
}

/// Deletes events older than `keep`; the newest one always stays. Returns how many went.
///
/// # Errors
/// What the statement met.
pub async fn prune(store: &Store, now: Timestamp, keep: SignedDuration) -> Result<u64> {
    let before = now.checked_sub(keep).unwrap_or(Timestamp::MIN);
    let mut tx = store.write(now).await?;
    let done = sqlx::query("DELETE FROM events WHERE at < ? AND seq < (SELECT max(seq) FROM events)")
        .bind(time_text(before))
        .execute(tx.conn())
        .await;
    let gone = tx.sorted(done)?.rows_affected();
    tx.commit().await?;
    Ok(gone)
}
