//! How much waits, counted by the indexes of what is open.

use jiff::Timestamp;

use super::row::{Columns, time_text};
use super::{Result, Store, jobs};

/// What waits in the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Calls that are pending, due or not.
    pub calls_pending: u64,
    /// Calls that are due and have not begun: no trunk has room, or the limits hold them back.
    pub calls_due: u64,
    /// Transcription jobs that nobody has taken.
    pub transcriptions_queued: u64,
    /// Transcription jobs that a worker has.
    pub transcriptions_running: u64,
}

/// Counts it.
///
/// # Errors
/// What the queries met.
pub async fn read(store: &Store, now: Timestamp) -> Result<Backlog> {
    let sql =
        "SELECT count(*) AS pending, coalesce(sum(due_at <= ?), 0) AS due FROM calls WHERE state = 'pending'";
    let calls = sqlx::query(sql).bind(time_text(now)).fetch_one(&store.reader).await?;
    let sql =
        "SELECT coalesce(sum(state = 'queued'), 0) AS queued, coalesce(sum(state = 'running'), 0) AS running
               FROM jobs WHERE kind = ? AND state IN ('queued', 'running')";
    let jobs = sqlx::query(sql).bind(jobs::TRANSCRIBE).fetch_one(&store.reader).await?;
    Ok(Backlog {
        calls_pending: calls.small("pending")?,
        calls_due: calls.small("due")?,
        transcriptions_queued: jobs.small("queued")?,
        transcriptions_running: jobs.small("running")?,
    })
}
