//! The SIP messages of calls, appended to while a call runs, and of trunks outside of calls, of which the newest are kept.

use jiff::{SignedDuration, Timestamp};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::row::{Columns, time_text};
use super::tx::Tx;
use super::{Result, Store, StoreError};
use crate::sip::Transport;
use crate::trace::{Batch, Traced, transport_word};

/// How many messages are kept of what is said with one trunk outside of calls.
pub const TRUNK_MESSAGES: u32 = 60;

/// How many traces a search may find before it gives up.
const MOST_FOUND: u32 = 20;

/// What a trace is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The attempt's identifier, or [`trunk_id`].
    pub id: String,
    /// The Call-ID of its messages.
    pub sip_call_id: String,
    /// The other side's name: a trunk's or a phone's.
    pub peer: String,
}

/// A stored trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// What it is about.
    pub head: Head,
    /// How many messages were not kept.
    pub dropped: u32,
    /// The messages, oldest first.
    pub messages: Vec<Traced>,
}

/// The identifier of the trace of a trunk's registrations and health checks.
pub fn trunk_id(trunk: &str) -> String {
    format!("trunk:{trunk}")
}

/// Appends to several traces in one transaction; a trace that is not there yet begins. What is there already stays.
///
/// # Errors
/// What the statements met.
pub async fn append(store: &Store, now: Timestamp, batches: &[(Head, Batch)]) -> Result<()> {
    let mut tx = store.write(now).await?;
    for (head, batch) in batches {
        begin(&mut tx, head, batch.dropped).await?;
        for (place, message) in (i64::from(batch.first)..).zip(&batch.messages) {
            insert(&mut tx, &head.id, place, message).await?;
        }
    }
    tx.commit().await
}

/// Appends what was said with a trunk outside of calls; only the newest [`TRUNK_MESSAGES`] stay.
///
/// # Errors
/// What the statements met.
pub async fn append_newest(store: &Store, now: Timestamp, head: &Head, messages: &[Traced]) -> Result<()> {
    let mut tx = store.write(now).await?;
    begin(&mut tx, head, 0).await?;
    let sql = "SELECT coalesce(max(place), -1) + 1 AS next FROM sip_messages WHERE trace_id = ?";
    let next = sqlx::query(sql).bind(head.id.clone()).fetch_one(tx.conn()).await?.int("next")?;
    let mut place = next;
    for message in messages {
        insert(&mut tx, &head.id, place, message).await?;
        place += 1;
    }
    let sql = "DELETE FROM sip_messages WHERE trace_id = ? AND place < ?";
    let query = sqlx::query(sql).bind(head.id.clone()).bind(place - i64::from(TRUNK_MESSAGES));
    let done = query.execute(tx.conn()).await;
    tx.sorted(done)?;
    tx.commit().await
}

/// The trace with this identifier.
///
/// # Errors
/// What the queries met.
pub async fn get(store: &Store, id: &str) -> Result<Option<Trace>> {
    let query = sqlx::query("SELECT * FROM sip_traces WHERE id = ?").bind(id.to_owned());
    let Some(row) = query.fetch_optional(&store.reader).await? else { return Ok(None) };
    let query =
        sqlx::query("SELECT * FROM sip_messages WHERE trace_id = ? ORDER BY place").bind(id.to_owned());
    let messages = query.fetch_all(&store.reader).await?.iter().map(message).collect::<Result<_>>()?;
    let head = Head { id: row.text("id")?, sip_call_id: row.text("sip_call_id")?, peer: row.text("peer")? };
    Ok(Some(Trace { head, dropped: row.small("dropped")?, messages }))
}

/// What a call, attempt or SIP Call-ID is called for a person who has only its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// A call.
    Call(Uuid),
    /// An attempt, given by itself or by its Call-ID.
    Attempt(Uuid),
}

/// The calls and attempts whose identifier or SIP Call-ID begins with `start`; at most a few. An attempt that is given by
/// its Call-ID may belong to no stored call.
///
/// # Errors
/// What the query met.
pub async fn find(store: &Store, start: &str) -> Result<Vec<Named>> {
    if start.is_empty() {
        return Ok(Vec::new());
    }
    let sql = "SELECT 'call' AS kind, id FROM calls WHERE id >= ?1 AND id < ?2
               UNION SELECT 'attempt', id FROM attempts WHERE id >= ?1 AND id < ?2
               UNION SELECT 'attempt', id FROM sip_traces WHERE sip_call_id >= ?3 AND sip_call_id < ?4 AND id NOT LIKE 'trunk:%'
               LIMIT ?5";
    let lower = start.to_ascii_lowercase();
    let after = |text: &str| format!("{text}\u{10ffff}");
    let query =
        sqlx::query(sql).bind(lower.clone()).bind(after(&lower)).bind(start.to_owned()).bind(after(start));
    let rows = query.bind(MOST_FOUND).fetch_all(&store.reader).await?;
    let named = |row: &SqliteRow| {
        let id = row.parsed("id")?;
        Ok(if row.text("kind")? == "call" { Named::Call(id) } else { Named::Attempt(id) })
    };
    rows.iter().map(named).collect()
}

/// Deletes the traces of calls that began longer than `keep` ago. Returns how many went.
///
/// # Errors
/// What the statement met.
pub async fn prune(store: &Store, now: Timestamp, keep: SignedDuration) -> Result<u64> {
    let before = now.checked_sub(keep).unwrap_or(Timestamp::MIN);
    let mut tx = store.write(now).await?;
    let sql = "DELETE FROM sip_traces WHERE began_at < ? AND id NOT LIKE 'trunk:%'";
    let done = sqlx::query(sql).bind(time_text(before)).execute(tx.conn()).await;
    let gone = tx.sorted(done)?.rows_affected();
    tx.commit().await?;
    Ok(gone)
}

async fn begin(tx: &mut Tx, head: &Head, dropped: u32) -> Result<()> {
    let sql = "INSERT INTO sip_traces (id, sip_call_id, peer, began_at, dropped) VALUES (?, ?, ?, ?, ?)
               ON CONFLICT (id) DO UPDATE SET dropped = max(dropped, excluded.dropped), sip_call_id = excluded.sip_call_id";
    let now = time_text(tx.now());
    let query = sqlx::query(sql).bind(head.id.clone()).bind(head.sip_call_id.clone()).bind(head.peer.clone());
    let done = query.bind(now).bind(dropped).execute(tx.conn()).await;
    tx.sorted(done)?;
    Ok(())
}

async fn insert(tx: &mut Tx, id: &str, place: i64, message: &Traced) -> Result<()> {
    let sql = "INSERT OR IGNORE INTO sip_messages (trace_id, place, at_us, direction, transport, local, remote, bytes)
               VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    let query =
        sqlx::query(sql).bind(id.to_owned()).bind(place).bind(message.at_us).bind(message.direction.as_str());
    let query = query
        .bind(transport_word(message.transport))
        .bind(message.local.to_string())
        .bind(message.remote.to_string());
    let done = query.bind(message.bytes.clone()).execute(tx.conn()).await;
    tx.sorted(done)?;
    Ok(())
}

fn message(row: &SqliteRow) -> Result<Traced> {
    let transport = row.text("transport")?;
    let unknown =
        || StoreError::Unreadable { column: "transport", reason: format!("`{transport}` is not known") };
    Ok(Traced {
        at_us: row.int("at_us")?,
        direction: row.parsed("direction")?,
        transport: Transport::from_token(&transport).ok_or_else(unknown)?,
        local: row.parsed("local")?,
        remote: row.parsed("remote")?,
        bytes: row.try_get("bytes")?,
    })
}
