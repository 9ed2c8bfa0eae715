//! Recordings: the row exists before the answer, so that a file without a row cannot be; the file is finished by `record`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::row::{Columns, json_text, new_id, time_text};
use super::tx::Tx;
use super::{RecordingState, Result, Store, StoreError, attempts, jobs};

/// A stretch of a recording in which the customer was asked to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerRange {
    /// Start in milliseconds from the recording's beginning.
    pub start_ms: u64,
    /// End in milliseconds, not before the start.
    pub end_ms: u64,
}

/// A stored recording.
#[derive(Debug, Clone, Serialize)]
pub struct Recording {
    /// Its identifier.
    pub id: Uuid,
    /// The attempt that was recorded.
    pub attempt_id: Uuid,
    /// Where it is.
    pub state: RecordingState,
    /// The file, as the recorder named it. Not for the API.
    #[serde(skip)]
    pub path: String,
    /// Its length in milliseconds, when ready.
    pub duration_ms: Option<u64>,
    /// The file's size in bytes, when ready.
    pub bytes: Option<u64>,
    /// The file's SHA-256 in lower-case hex, when ready.
    pub sha256: Option<String>,
    /// Where the customer was asked to speak.
    pub answer_ranges: Vec<AnswerRange>,
    /// Why it failed.
    pub reason: Option<String>,
    /// When the row was made.
    pub created_at: Timestamp,
    /// When it became ready or failed.
    pub finished_at: Option<Timestamp>,
}

/// A finished file.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The file.
    pub path: String,
    /// Its length in milliseconds.
    pub duration_ms: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256 in lower-case hex.
    pub sha256: String,
    /// Where the customer was asked to speak.
    pub answer_ranges: Vec<AnswerRange>,
}

/// Who listened to a recording, and when first.
#[derive(Debug, Clone, Serialize)]
pub struct Listened {
    /// The listener's user identifier.
    pub user_id: Uuid,
    /// The listener's username.
    pub username: String,
    /// When they first played it.
    pub at: Timestamp,
}

/// Creates the row of a recording that is about to begin. `id` is the recorder's, so that file and row agree.
///
/// # Errors
/// [`StoreError::NotFound`] for the attempt; [`StoreError::DiskFull`]: do not begin.
pub async fn begin(
    store: &Store,
    now: Timestamp,
    id: Uuid,
    attempt_id: Uuid,
    path: &str,
) -> Result<Recording> {
    let mut tx = store.write(now).await?;
    let subject = attempts::subject_in(&mut tx, attempt_id, id).await?;
    let query = sqlx::query(
        "INSERT INTO recordings (id, attempt_id, state, path, created_at) VALUES (?, ?, 'recording', ?, ?)",
    );
    let query =
        query.bind(id.to_string()).bind(attempt_id.to_string()).bind(path.to_owned()).bind(time_text(now));
    let done = query.execute(tx.conn()).await;
    tx.sorted(done)?;
    tx.event("recording.started", &subject, json!({})).await?;
    let recording = get_in(&mut tx, id).await?;
    tx.commit().await?;
    Ok(recording)
}

/// The file is whole. With `transcribe`, a transcript row and its job are made in the same transaction. Doing it twice
/// (a recovery that repeats itself) changes the file's facts and enqueues nothing twice.
///
/// # Errors
/// [`StoreError::NotFound`].
pub async fn finished(
    store: &Store,
    now: Timestamp,
    id: Uuid,
    file: &Finished,
    transcribe: bool,
) -> Result<()> {
    let mut tx = store.write(now).await?;
    let recording = get_in(&mut tx, id).await?;
    let done = sqlx::query(
        "UPDATE recordings SET state = 'ready', path = ?, duration_ms = ?, bytes = ?, sha256 = ?, answer_ranges = ?,
             reason = NULL, finished_at = ? WHERE id = ?",
    )
    .bind(file.path.clone())
    .bind(column(file.duration_ms))
    .bind(column(file.bytes))
    .bind(file.sha256.clone())
    .bind(json_text(&file.answer_ranges, "answer_ranges")?)
    .bind(time_text(now))
    .bind(id.to_string())
    .execute(tx.conn())
    .await;
    tx.sorted(done)?;
    if transcribe {
        let query = sqlx::query(
            "INSERT INTO transcripts (id, recording_id, state, created_at) VALUES (?, ?, 'queued', ?)
             ON CONFLICT (recording_id) DO NOTHING",
        );
        let query = query.bind(new_id(now).to_string()).bind(id.to_string()).bind(time_text(now));
        let done = query.execute(tx.conn()).await;
        tx.sorted(done)?;
        jobs::enqueue_in(&mut tx, jobs::TRANSCRIBE, id, now).await?;
    }
    let subject = attempts::subject_in(&mut tx, recording.attempt_id, id).await?;
    tx.event("recording.ready", &subject, json!({ "duration_ms": file.duration_ms })).await?;
    tx.commit().await
}

/// There is no usable sound.
///
/// # Errors
/// [`StoreError::NotFound`].
pub async fn failed(store: &Store, now: Timestamp, id: Uuid, reason: &str) -> Result<()> {
    let mut tx = store.write(now).await?;
    let recording = get_in(&mut tx, id).await?;
    let query =
        sqlx::query("UPDATE recordings SET state = 'failed', reason = ?, finished_at = ? WHERE id = ?");
    let query = query.bind(reason.to_owned()).bind(time_text(now)).bind(id.to_string());
    let done = query.execute(tx.conn()).await;
    tx.sorted(done)?;
    let subject = attempts::subject_in(&mut tx, recording.attempt_id, id).await?;
    tx.event("recording.failed", &subject, json!({ "reason": reason })).await?;
    tx.commit().await
}

/// Forgets a recording that was begun for a call that nobody answered.
///
/// # Errors
/// What the statement met.
pub async fn discard(store: &Store, now: Timestamp, id: Uuid) -> Result<()> {
    let mut tx = store.write(now).await?;
    let query = sqlx::query("DELETE FROM recordings WHERE id = ? AND state = 'recording'");
    let done = query.bind(id.to_string()).execute(tx.conn()).await;
    tx.sorted(done)?;
    tx.commit().await
}

/// One recording.
///
/// # Errors
/// [`StoreError::NotFound`].
pub async fn get(store: &Store, id: Uuid) -> Result<Recording> {
    let query = sqlx::query("SELECT * FROM recordings WHERE id = ?").bind(id.to_string());
    from_row(&query.fetch_optional(&store.reader).await?.ok_or_else(|| missing(id))?)
}

/// The agent whose delivery a recording belongs to; `None` when its call is for no delivery.
///
/// # Errors
/// [`StoreError::NotFound`].
pub async fn agent_of(store: &Store, id: Uuid) -> Result<Option<String>> {
    let query = sqlx::query(
        "SELECT deliveries.agent FROM recordings
         JOIN attempts ON attempts.id = recordings.attempt_id JOIN calls ON calls.id = attempts.call_id
         LEFT JOIN deliveries ON deliveries.id = calls.delivery_id WHERE recordings.id = ?",
    );
    let row = query.bind(id.to_string()).fetch_optional(&store.reader).await?;
    row.ok_or_else(|| missing(id))?.text_opt("agent")
}

/// The recordings of a call's attempts, oldest first.
///
/// # Errors
/// What the query met.
pub async fn of_call(store: &Store, call_id: Uuid) -> Result<Vec<Recording>> {
    let query = sqlx::query(
        "SELECT recordings.* FROM recordings JOIN attempts ON attempts.id = recordings.attempt_id
         WHERE attempts.call_id = ? ORDER BY recordings.id",
    );
    query.bind(call_id.to_string()).fetch_all(&store.reader).await?.iter().map(from_row).collect()
}

/// Recordings whose file was never finished: what `record::recover` looks for after a crash.
///
/// # Errors
/// What the query met.
pub async fn unfinished(store: &Store) -> Result<Vec<Recording>> {
    let query = sqlx::query("SELECT * FROM recordings WHERE state = 'recording' ORDER BY id");
    query.fetch_all(&store.reader).await?.iter().map(from_row).collect()
}

/// Marks a recording as listened to by a user; the first time counts.
///
/// # Errors
/// [`StoreError::NotFound`].
pub async fn mark_listened(store: &Store, now: Timestamp, id: Uuid, user_id: Uuid) -> Result<()> {
    let mut tx = store.write(now).await?;
    let recording = get_in(&mut tx, id).await?;
    let query = sqlx::query(
        "INSERT INTO listens (recording_id, user_id, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
    );
    let done =
        query.bind(id.to_string()).bind(user_id.to_string()).bind(time_text(now)).execute(tx.conn()).await;
    if tx.sorted(done)?.rows_affected() == 0 {
        return Ok(());
    }
    let subject = attempts::subject_in(&mut tx, recording.attempt_id, id).await?;
    tx.event("recording.listened", &subject, json!({ "user_id": user_id })).await?;
    tx.commit().await
}

/// Who listened, in order.
///
/// # Errors
/// What the query met.
pub async fn listened(store: &Store, id: Uuid) -> Result<Vec<Listened>> {
    let query = sqlx::query(
        "SELECT users.id AS user_id, users.username, listens.at FROM listens JOIN users ON users.id = listens.user_id
         WHERE listens.recording_id = ? ORDER BY listens.at",
    );
    let rows = query.bind(id.to_string()).fetch_all(&store.reader).await?;
    rows.iter()
        .map(|row| {
            Ok(Listened {
                user_id: row.parsed("user_id")?,
                username: row.text("username")?,
                at: row.parsed("at")?,
            })
        })
        .collect()
}

pub(super) async fn get_in(tx: &mut Tx, id: Uuid) -> Result<Recording> {
    let query = sqlx::query("SELECT * FROM recordings WHERE id = ?").bind(id.to_string());
    from_row(&query.fetch_optional(tx.conn()).await?.ok_or_else(|| missing(id))?)
}

fn missing(id: Uuid) -> StoreError {
    StoreError::NotFound { what: "recording", id: id.to_string() }
}

/// SQLite integers are signed; no duration or size reaches the limit.
fn column(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn from_row(row: &SqliteRow) -> Result<Recording> {
    let unsigned = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
    Ok(Recording {
        id: row.parsed("id")?,
        attempt_id: row.parsed("attempt_id")?,
        state: row.parsed("state")?,
        path: row.text("path")?,
        duration_ms: unsigned(row.int_opt("duration_ms")?),
        bytes: unsigned(row.int_opt("bytes")?),
        sha256: row.text_opt("sha256")?,
        answer_ranges: row.json("answer_ranges")?,
        reason: row.text_opt("reason")?,
        created_at: row.parsed("created_at")?,
        finished_at: row.parsed_opt("finished_at")?,
    })
}
