//! The list that drivers and dispatchers read: deliveries joined with their latest call, its recording and its transcript.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::QueryBuilder;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::deliveries::{self, Delivery};
use super::row::{Columns, time_text};
use super::{CallState, RecordingState, Result, Store, StoreError, TranscriptState};
use crate::pii::Redacted;

/// A delivery and how its call stands.
#[derive(Debug, Clone, Serialize)]
pub struct DeliveryView {
    /// The delivery.
    #[serde(flatten)]
    pub delivery: Delivery,
    /// Its latest call, if one is planned or was made.
    pub call: Option<CallView>,
    /// The latest recording of that call.
    pub recording: Option<RecordingView>,
    /// The transcript of that recording.
    pub transcript: Option<TranscriptView>,
}

/// How a call stands.
#[derive(Debug, Clone, Serialize)]
pub struct CallView {
    /// Its identifier.
    pub id: Uuid,
    /// Where it is.
    pub state: CallState,
    /// Why a due call has not begun.
    pub waiting: Option<String>,
    /// How it ended.
    pub outcome: Option<String>,
    /// When the next attempt is due.
    pub due_at: Timestamp,
    /// Attempts begun.
    pub attempts_made: u32,
    /// When it was done.
    pub done_at: Option<Timestamp>,
}

/// What can be played.
#[derive(Debug, Clone, Serialize)]
pub struct RecordingView {
    /// Its identifier.
    pub id: Uuid,
    /// Where it is.
    pub state: RecordingState,
    /// Its length in milliseconds, when ready.
    pub duration_ms: Option<u64>,
    /// Whether the viewer has listened to it.
    pub listened: bool,
    /// Where the customer begins to answer, in milliseconds from the beginning: where playing starts.
    pub answer_start_ms: u64,
}

/// What was said.
#[derive(Debug, Clone, Serialize)]
pub struct TranscriptView {
    /// Where it is.
    pub state: TranscriptState,
    /// The text.
    pub text: Redacted,
}

/// Which deliveries [`list`] returns; all given conditions hold together.
#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    /// ETA at or after.
    pub eta_from: Option<Timestamp>,
    /// ETA before.
    pub eta_before: Option<Timestamp>,
    /// Only this agent's.
    pub agent: Option<String>,
    /// Only those whose latest call is in this state.
    pub state: Option<CallState>,
    /// Only those whose latest call ended so.
    pub outcome: Option<String>,
    /// Only those with this text in the order, the stop, the customer's name, the address or the transcript.
    pub text: Option<String>,
    /// Only those after this place: the [`Cursor`] of the page before.
    pub after: Option<Cursor>,
}

/// A place in the list, which is ordered by ETA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The ETA of the last delivery seen.
    pub eta: Timestamp,
    /// Its identifier.
    pub id: Uuid,
}

const COLUMNS: &str = "SELECT deliveries.*, calls.id AS call_id, calls.state AS call_state, calls.waiting, calls.outcome,
    calls.due_at, calls.attempts_made, calls.done_at, recordings.id AS recording_id, recordings.state AS recording_state,
    recordings.duration_ms, recordings.answer_ranges ->> '$[0].start_ms' AS answer_start_ms,
    transcripts.state AS transcript_state, transcripts.text AS transcript_text,
    EXISTS (SELECT 1 FROM listens WHERE listens.recording_id = recordings.id AND listens.user_id = ";

const JOINS: &str = ") AS listened FROM deliveries
    LEFT JOIN calls ON calls.id = (SELECT max(c.id) FROM calls AS c WHERE c.delivery_id = deliveries.id
        AND (c.direction = 'outbound' OR (c.state = 'done' AND c.outcome <> 'no_response'
            AND EXISTS (SELECT 1 FROM attempts AS a WHERE a.call_id = c.id AND a.answered_at IS NOT NULL))))
    LEFT JOIN recordings ON recordings.id = (SELECT max(r.id) FROM recordings AS r
        JOIN attempts ON attempts.id = r.attempt_id WHERE attempts.call_id = calls.id)
    LEFT JOIN transcripts ON transcripts.recording_id = recordings.id
    WHERE true";

/// Deliveries by ETA, at most `limit`, as `viewer` (a user, for the listened mark) sees them.
///
/// # Errors
/// What the query met.
pub async fn list(
    store: &Store,
    filter: &DeliveryFilter,
    viewer: Option<Uuid>,
    limit: u32,
) -> Result<Vec<DeliveryView>> {
    let mut query = base(viewer);
    if let Some(eta) = filter.eta_from {
        query.push(" AND deliveries.eta >= ").push_bind(time_text(eta));
    }
    if let Some(eta) = filter.eta_before {
        query.push(" AND deliveries.eta < ").push_bind(time_text(eta));
    }
    if let Some(agent) = &filter.agent {
        query.push(" AND deliveries.agent = ").push_bind(agent.clone());
    }
    if let Some(state) = filter.state {
        query.push(" AND calls.state = ").push_bind(state.as_str());
    }
    if let Some(outcome) = &filter.outcome {
        query.push(" AND calls.outcome = ").push_bind(outcome.clone());
    }
    if let Some(text) = &filter.text {
        push_text(&mut query, text);
    }
    if let Some(cursor) = filter.after {
        query.push(" AND (deliveries.eta, deliveries.id) > (").push_bind(time_text(cursor.eta));
        query.push(", ").push_bind(cursor.id.to_string()).push(")");
    }
    query.push(" ORDER BY deliveries.eta, deliveries.id LIMIT ").push_bind(limit);
    query.build().fetch_all(&store.reader).await?.iter().map(from_row).collect()
}

/// One delivery, as `viewer` sees it.
///
/// # Errors
/// [`StoreError::NotFound`].
pub async fn get(store: &Store, id: Uuid, viewer: Option<Uuid>) -> Result<DeliveryView> {
    let mut query = base(viewer);
    query.push(" AND deliveries.id = ").push_bind(id.to_string());
    let row = query.build().fetch_optional(&store.reader).await?;
    from_row(&row.ok_or_else(|| StoreError::NotFound { what: "delivery", id: id.to_string() })?)
}

fn base(viewer: Option<Uuid>) -> QueryBuilder<sqlx::Sqlite> {
    let mut query = QueryBuilder::new(COLUMNS);
    query.push_bind(viewer.map(|id| id.to_string())).push(JOINS);
    query
}

/// `LIKE` with the text's own wildcards escaped.
fn push_text(query: &mut QueryBuilder<sqlx::Sqlite>, text: &str) {
    let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    let pattern = format!("%{escaped}%");
    query.push(" AND (");
    let columns = ["order_ref", "stop", "customer_name", "address"];
    for column in columns {
        query
            .push("deliveries.")
            .push(column)
            .push(" LIKE ")
            .push_bind(pattern.clone())
            .push(" ESCAPE '\\' OR ");
    }
    query.push("transcripts.text LIKE ").push_bind(pattern).push(" ESCAPE '\\')");
}

fn from_row(row: &SqliteRow) -> Result<DeliveryView> {
    let unsigned = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
    let call = match row.parsed_opt("call_id")? {
        Some(id) => Some(CallView {
            id,
            state: row.parsed("call_state")?,
            waiting: row.text_opt("waiting")?,
            outcome: row.text_opt("outcome")?,
            due_at: row.parsed("due_at")?,
            attempts_made: row.small("attempts_made")?,
            done_at: row.parsed_opt("done_at")?,
        }),
        None => None,
    };
    let recording = match row.parsed_opt("recording_id")? {
        Some(id) => Some(RecordingView {
            id,
            state: row.parsed("recording_state")?,
            duration_ms: unsigned(row.int_opt("duration_ms")?),
            listened: row.int("listened")? != 0,
            answer_start_ms: unsigned(row.int_opt("answer_start_ms")?).unwrap_or(0),
        }),
        None => None,
    };
    let transcript = match row.parsed_opt("transcript_state")? {
        Some(state) => Some(TranscriptView { state, text: Redacted::new(row.text("transcript_text")?) }),
        None => None,
    };
    Ok(DeliveryView { delivery: deliveries::from_row(row)?, call, recording, transcript })
}
