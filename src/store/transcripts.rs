//! Transcripts: what the customer said. A row a recording; its state follows the job's, in the job's transactions.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::jobs::{self, Job};
use super::row::{Columns, json_text, time_text};
use super::tx::Tx;
use super::{Result, Store, StoreError, TranscriptState, attempts, recordings};
use crate::pii::Redacted;

/// One word and where it was said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// The word.
    pub text: Redacted,
    /// Its start in milliseconds from the recording's beginning.
    pub start_ms: u64,
    /// Its end.
    pub end_ms: u64,
    /// How sure the model is, 0 to 1.
    pub confidence: f32,
}

/// A finished transcription.
#[derive(Debug, Clone)]
pub struct NewTranscript {
    /// The text; empty when nobody spoke.
    pub text: Redacted,
    /// Nobody spoke.
    pub no_speech: bool,
    /// The language transcribed in.
    pub language: String,
    /// The model's name.
    pub model: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The words with their times.
    pub words: Vec<Word>,
}

/// A stored transcript.
#[derive(Debug, Clone, Serialize)]
pub struct Transcript {
    /// Its identifier.
    pub id: Uuid,
    /// The recording it is of.
    pub recording_id: Uuid,
    /// Where it is.
    pub state: TranscriptState,
    /// The text.
    pub text: Redacted,
    /// The language transcribed in.
    pub language: Option<String>,
    /// The model's name.
    pub model: Option<String>,
    /// How long it took, in seconds.
    pub seconds: Option<f64>,
    /// The words with their times.
    pub words: Vec<Word>,
    /// Why it failed, or why the last try did.
    pub reason: Option<String>,
    /// When it was finished.
    pub finished_at: Option<Timestamp>,
}

/// Stores a transcription and completes its job, in one transaction.
///
/// # Errors
/// [`StoreError::Conflict`] when the job is no longer ours: drop the result, somebody else has it.
pub async fn finish(store: &Store, now: Timestamp, job: &Job, new: &NewTranscript) -> Result<()> {
    let mut tx = store.write(now).await?;
    jobs::complete_in(&mut tx, job).await?;
    let state = if new.no_speech { TranscriptState::NoSpeech } else { TranscriptState::Done };
    let done = sqlx::query(
        "UPDATE transcripts SET state = ?, text = ?, language = ?, model = ?, seconds = ?, words = ?, reason = NULL,
             finished_at = ? WHERE recording_id = ?",
    )
    .bind(state.as_str())
    .bind(new.text.reveal().clone())
    .bind(new.language.clone())
    .bind(new.model.clone())
    .bind(new.seconds)
    .bind(json_text(&new.words, "words")?)
    .bind(time_text(now))
    .bind(job.subject.to_string())
    .execute(tx.conn())
    .await;
    tx.sorted(done)?;
    event(&mut tx, job.subject, state).await?;
    tx.commit().await
}

/// The transcript of a recording; `None` when none was asked for.
///
/// # Errors
/// What the query met.
pub async fn of_recording(store: &Store, recording_id: Uuid) -> Result<Option<Transcript>> {
    let query =
        sqlx::query("SELECT * FROM transcripts WHERE recording_id = ?").bind(recording_id.to_string());
    query.fetch_optional(&store.reader).await?.map(|row| from_row(&row)).transpose()
}

pub(super) async fn running_in(tx: &mut Tx, recording_id: Uuid) -> Result<()> {
    set_state(tx, recording_id, TranscriptState::Running, None).await
}

pub(super) async fn not_done_in(tx: &mut Tx, recording_id: Uuid, reason: &str, again: bool) -> Result<()> {
    let state = if again { TranscriptState::Queued } else { TranscriptState::Failed };
    set_state(tx, recording_id, state, Some(reason)).await
}

async fn set_state(
    tx: &mut Tx,
    recording_id: Uuid,
    state: TranscriptState,
    reason: Option<&str>,
) -> Result<()> {
    let query = sqlx::query("UPDATE transcripts SET state = ?, reason = ? WHERE recording_id = ?");
    let query = query.bind(state.as_str()).bind(reason.map(str::to_owned)).bind(recording_id.to_string());
    let done = query.execute(tx.conn()).await;
    if tx.sorted(done)?.rows_affected() == 0 {
        return Ok(()); // a job without a transcript row: enqueued by hand, nobody watches it
    }
    event(tx, recording_id, state).await
}

async fn event(tx: &mut Tx, recording_id: Uuid, state: TranscriptState) -> Result<()> {
    let kind = match state {
        TranscriptState::Queued => "transcript.queued",
        TranscriptState::Running => "transcript.running",
        TranscriptState::Done => "transcript.done",
        TranscriptState::NoSpeech => "transcript.no_speech",
        TranscriptState::Failed => "transcript.failed",
    };
    let attempt = recordings::get_in(tx, recording_id).await?.attempt_id;
    let subject = attempts::subject_in(tx, attempt, recording_id).await?;
    tx.event(kind, &subject, json!({})).await
}

fn from_row(row: &SqliteRow) -> Result<Transcript> {
    Ok(Transcript {
        id: row.parsed("id")?,
        recording_id: row.parsed("recording_id")?,
        state: row.parsed("state")?,
        text: Redacted::new(row.text("text")?),
        language: row.text_opt("language")?,
        model: row.text_opt("model")?,
        seconds: sqlx::Row::try_get(row, "seconds").map_err(StoreError::from)?,
        words: row.json("words")?,
        reason: row.text_opt("reason")?,
        finished_at: row.parsed_opt("finished_at")?,
    })
}
