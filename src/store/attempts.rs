//! Attempts: one INVITE to one trunk each. **Dial exactly once or say unknown**: the row is durable as `dialing` before the
//! first INVITE leaves, and what a crash leaves behind becomes `unknown` and is never dialled again by itself.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::calls::{self, Call};
use super::do_not_call;
use super::row::{Columns, json_text, time_text};
use super::tx::{Subject, Tx};
use super::{AttemptState, CallState, Direction, EndCause, Result, Store, StoreError};

/// A stored attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// Its identifier.
    pub id: Uuid,
    /// The call it is for.
    pub call_id: Uuid,
    /// 1 for the call's first attempt, then 2...
    pub ordinal: u32,
    /// The trunk's name.
    pub trunk: String,
    /// How many trunks had failed before it in the same try: 0 is the first choice.
    pub failover: u32,
    /// Why it went to this trunk: `strategy`, `reason`, `others` who could have carried it, `skipped` with why.
    pub route_why: Option<serde_json::Value>,
    /// Where it is.
    pub state: AttemptState,
    /// Why it ended; set exactly when it has ended.
    pub cause: Option<EndCause>,
    /// The final SIP status, if one came.
    pub sip_status: Option<u16>,
    /// More about the end, for a person.
    pub reason: Option<String>,
    /// When it became durable, just before the first INVITE.
    pub dialing_at: Timestamp,
    /// When the phone was first known to ring.
    pub ringing_at: Option<Timestamp>,
    /// When it was answered.
    pub answered_at: Option<Timestamp>,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
}

/// Where an attempt goes, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The trunk's name.
    pub trunk: String,
    /// See [`Attempt::failover`].
    pub failover: u32,
    /// See [`Attempt::route_why`].
    pub why: Option<serde_json::Value>,
}

impl From<&str> for Route {
    /// To this trunk, for no reason that is known.
    fn from(trunk: &str) -> Self {
        Self { trunk: trunk.to_owned(), failover: 0, why: None }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The one cause.
    pub cause: EndCause,
    /// The final SIP status, if one came.
    pub sip_status: Option<u16>,
    /// More about it, for a person.
    pub reason: Option<String>,
}

/// What becomes of the call when its attempt has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The call is done.
    Done {
        /// How: the dialplan's word or the cause's.
        outcome: String,
    },
    /// The call is pending again.
    Retry {
        /// The next attempt is made from here on.
        at: Timestamp,
        /// False for a failover to another trunk: the callee was not reached, so it does not count as a try.
        counts: bool,
    },
}

/// Claims a due call and records that it is being dialled, in one transaction. When this has returned `Some`, the row is on
/// the disk and the INVITE may leave. `None`: the call is no longer pending, not due, too late
/// or taken by another engine, or the number is on the do-not-call list, which ends the call.
///
/// # Errors
/// [`StoreError::NotFound`]; [`StoreError::DiskFull`]: nothing was recorded, so nothing may be dialled.
pub async fn begin_dialing(
    store: &Store,
    now: Timestamp,
    id: Uuid,
    call_id: Uuid,
    route: impl Into<Route>,
) -> Result<Option<Attempt>> {
    let Route { trunk, failover, why } = route.into();
    let why = why.map(|why| json_text(&why, "route_why")).transpose()?;
    let mut tx = store.write(now).await?;
    let call = calls::get_in(&mut tx, call_id).await?;
    let is_due = call.state == CallState::Pending && call.due_at <= now && call.not_after > now;
    if !is_due {
        return Ok(None);
    }
    if do_not_call::contains_in(&mut tx, &call.number).await? {
        calls::finish(&mut tx, &call, do_not_call::NOT_CALLED).await?;
        tx.commit().await?;
        return Ok(None);
    }
    let query =
        sqlx::query("SELECT coalesce(max(ordinal), 0) + 1 AS ordinal FROM attempts WHERE call_id = ?");
    let ordinal = query.bind(call_id.to_string()).fetch_one(tx.conn()).await?.int("ordinal")?;
    let query = sqlx::query(
        "UPDATE calls SET state = 'active', waiting = NULL, attempts_made = attempts_made + 1 WHERE id = ?",
    );
    let done = query.bind(call_id.to_string()).execute(tx.conn()).await;
    tx.sorted(done)?;
    let query = sqlx::query(
        "INSERT INTO attempts (id, call_id, ordinal, trunk, failover, route_why, state, dialing_at)
         VALUES (?, ?, ?, ?, ?, ?, 'dialing', ?)",
    );
    let query = query.bind(id.to_string()).bind(call_id.to_string()).bind(ordinal).bind(trunk.clone());
    let done = query.bind(failover).bind(why).bind(time_text(now)).execute(tx.conn()).await;
    tx.sorted(done)?;
    tx.event("attempt.dialing", &subject(&call, id), json!({ "call_id": call_id, "trunk": trunk })).await?;
    let attempt = get_in(&mut tx, id).await?;
    tx.commit().await?;
    Ok(Some(attempt))
}

/// The phone rings. Ignored when it is known already or later things are.
///
/// # Errors
/// [`StoreError::NotFound`].
pub async fn ringing(store: &Store, now: Timestamp, id: Uuid) -> Result<()> {
    let sql = "UPDATE attempts SET state = 'ringing', ringing_at = ? WHERE id = ? AND state = 'dialing'";
    advance(store, now, id, sql, "attempt.ringing").await
}

/// Somebody or something answered. Ignored when it is known already or the attempt has ended.
///
/// # Errors
/// [`StoreError::NotFound`].
pub async fn answered(store: &Store, now: Timestamp, id: Uuid) -> Result<()> {
    let sql = "UPDATE attempts SET state = 'answered', answered_at = ? WHERE id = ? AND state IN ('dialing', 'ringing')";
    advance(store, now, id, sql, "attempt.answered").await
}

/// The attempt is over; in the same transaction the call gets its next step. A call that was cancelled meanwhile is done
/// with outcome `cancelled` instead of being tried again. Returns the call as it is now.
///
/// # Errors
/// [`StoreError::NotFound`]; [`StoreError::Conflict`] when the attempt had ended before.
pub async fn ended(store: &Store, now: Timestamp, id: Uuid, end: &End, next: &Next) -> Result<Call> {
    let mut tx = store.write(now).await?;
    let attempt = get_in(&mut tx, id).await?;
    if attempt.state == AttemptState::Ended {
        return Err(StoreError::Conflict(format!("attempt {id} has ended already")));
    }
    let call = calls::get_in(&mut tx, attempt.call_id).await?;
    end_attempt(&mut tx, &call, id, end).await?;
    match next {
        Next::Done { outcome } => {
            // A caller's number is easily forged: it may stop our calls, but not start them again.
            if call.direction == Direction::Outbound || outcome != do_not_call::OPT_IN {
                do_not_call::heed(&mut tx, &call.number, outcome).await?;
            }
            calls::finish(&mut tx, &call, outcome).await?
        }
        Next::Retry { .. } if call.cancel_requested_at.is_some() => {
            calls::finish(&mut tx, &call, "cancelled").await?
        }
        Next::Retry { at, counts } => retry(&mut tx, &call, *at, *counts).await?,
    }
    let call = calls::get_in(&mut tx, call.id).await?;
    tx.commit().await?;
    Ok(call)
}

/// At the start of an engine: every attempt that a crash left open ends with cause `unknown`, its call is done with outcome
/// `unknown`. Returns the attempts as they were found. Call it only when no other engine serves this database.
///
/// # Errors
/// What the statements met.
pub async fn recover_after_crash(store: &Store, now: Timestamp) -> Result<Vec<Attempt>> {
    let mut tx = store.write(now).await?;
    let rows = sqlx::query("SELECT * FROM attempts WHERE state <> 'ended' ORDER BY rowid")
        .fetch_all(tx.conn())
        .await?;
    let found = rows.iter().map(from_row).collect::<Result<Vec<_>>>()?;
    for attempt in &found {
        let call = calls::get_in(&mut tx, attempt.call_id).await?;
        let reason = format!("the engine stopped while the attempt was {}", attempt.state);
        let end = End { cause: EndCause::Unknown, sip_status: None, reason: Some(reason) };
        end_attempt(&mut tx, &call, attempt.id, &end).await?;
        calls::finish(&mut tx, &call, EndCause::Unknown.as_str()).await?;
    }
    tx.commit().await?;
    Ok(found)
}

/// The attempts of a call, oldest first.
///
/// # Errors
/// What the query met.
pub async fn of_call(store: &Store, call_id: Uuid) -> Result<Vec<Attempt>> {
    let query =
        sqlx::query("SELECT * FROM attempts WHERE call_id = ? ORDER BY ordinal").bind(call_id.to_string());
    query.fetch_all(&store.reader).await?.iter().map(from_row).collect()
}

/// One attempt.
///
/// # Errors
/// [`StoreError::NotFound`].
pub async fn get(store: &Store, id: Uuid) -> Result<Attempt> {
    let query = sqlx::query("SELECT * FROM attempts WHERE id = ?").bind(id.to_string());
    from_row(&query.fetch_optional(&store.reader).await?.ok_or_else(|| missing(id))?)
}

/// What an event about an attempt, its recording or its transcript is filed under.
pub(super) async fn subject_in(tx: &mut Tx, attempt_id: Uuid, id: Uuid) -> Result<Subject> {
    let attempt = get_in(tx, attempt_id).await?;
    Ok(subject(&calls::get_in(tx, attempt.call_id).await?, id))
}

fn subject(call: &Call, id: Uuid) -> Subject {
    Subject { id, ..call.subject() }
}

fn missing(id: Uuid) -> StoreError {
    StoreError::NotFound { what: "attempt", id: id.to_string() }
}

async fn advance(
    store: &Store,
    now: Timestamp,
    id: Uuid,
    sql: &'static str,
    kind: &'static str,
) -> Result<()> {
    let mut tx = store.write(now).await?;
    let attempt = get_in(&mut tx, id).await?;
    let done = sqlx::query(sql).bind(time_text(now)).bind(id.to_string()).execute(tx.conn()).await;
    if tx.sorted(done)?.rows_affected() == 0 {
        return Ok(());
    }
    let subject = subject_in(&mut tx, id, id).await?;
    tx.event(kind, &subject, json!({ "call_id": attempt.call_id })).await?;
    tx.commit().await
}

async fn end_attempt(tx: &mut Tx, call: &Call, id: Uuid, end: &End) -> Result<()> {
    let done = sqlx::query(
        "UPDATE attempts SET state = 'ended', cause = ?, sip_status = ?, reason = ?, ended_at = ? WHERE id = ?",
    )
    .bind(end.cause.as_str())
    .bind(end.sip_status.map(i64::from))
    .bind(end.reason.clone())
    .bind(time_text(tx.now()))
    .bind(id.to_string())
    .execute(tx.conn())
    .await;
    tx.sorted(done)?;
    let data = json!({ "call_id": call.id, "cause": end.cause, "sip_status": end.sip_status });
    tx.event("attempt.ended", &subject(call, id), data).await
}

async fn retry(tx: &mut Tx, call: &Call, at: Timestamp, counts: bool) -> Result<()> {
    let done = sqlx::query(
        "UPDATE calls SET state = 'pending', due_at = ?, attempts_made = attempts_made - ? WHERE id = ?",
    )
    .bind(time_text(at))
    .bind(i64::from(!counts))
    .bind(call.id.to_string())
    .execute(tx.conn())
    .await;
    tx.sorted(done)?;
    tx.event("call.retry", &call.subject(), json!({ "due_at": at })).await
}

async fn get_in(tx: &mut Tx, id: Uuid) -> Result<Attempt> {
    let query = sqlx::query("SELECT * FROM attempts WHERE id = ?").bind(id.to_string());
    from_row(&query.fetch_optional(tx.conn()).await?.ok_or_else(|| missing(id))?)
}

fn from_row(row: &SqliteRow) -> Result<Attempt> {
    Ok(Attempt {
        id: row.parsed("id")?,
        call_id: row.parsed("call_id")?,
        ordinal: row.small("ordinal")?,
        trunk: row.text("trunk")?,
        failover: row.small("failover")?,
        route_why: row.json_opt("route_why")?,
        state: row.parsed("state")?,
        cause: row.parsed_opt("cause")?,
        sip_status: row.int_opt("sip_status")?.and_then(|status| u16::try_from(status).ok()),
        reason: row.text_opt("reason")?,
        dialing_at: row.parsed("dialing_at")?,
        ringing_at: row.parsed_opt("ringing_at")?,
        answered_at: row.parsed_opt("answered_at")?,
        ended_at: row.parsed_opt("ended_at")?,
    })
}
