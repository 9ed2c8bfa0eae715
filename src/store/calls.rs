//! Calls: the wish to reach a customer, with a plan, a window and a number of tries. `pending -> active -> pending | done`.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use sqlx::QueryBuilder;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::attempts::Attempt;
use super::deliveries::Delivery;
use super::row::{Columns, json_text, new_id, time_text};
use super::tx::{Subject, Tx};
use super::{CallState, CallTerms, Direction, Result, Store, StoreError, Vars};
use crate::pii::Redacted;

/// A call to create.
#[derive(Debug, Clone)]
pub struct NewCall {
    /// The callee, E.164.
    pub number: Redacted,
    /// The dialplan's name.
    pub plan: String,
    /// Its variables.
    pub vars: Vars,
    /// The callee's language (BCP 47), or empty for the plan's first.
    pub language: String,
    /// The delivery it is for, if any.
    pub delivery_id: Option<Uuid>,
    /// The first attempt is made from here on.
    pub due_at: Timestamp,
    /// After this time no attempt begins; the call is then done with outcome `expired`.
    pub not_after: Timestamp,
    /// How many attempts are made at most; at least 1.
    pub max_attempts: u32,
    /// The creator's key: the same key is the same call.
    pub idempotency_key: Option<String>,
}

/// A stored call.
#[derive(Debug, Clone, Serialize)]
pub struct Call {
    /// Its identifier.
    pub id: Uuid,
    /// The delivery it is for, if any.
    pub delivery_id: Option<Uuid>,
    /// The agent of that delivery.
    pub agent: Option<String>,
    /// Who called whom.
    pub direction: Direction,
    /// The customer, E.164: the callee, or the caller of an inbound call; then it is empty when withheld.
    pub number: Redacted,
    /// Our number that the caller of an inbound call dialled, E.164.
    pub called: Option<Redacted>,
    /// The dialplan's name.
    pub plan: String,
    /// Its variables.
    pub vars: Vars,
    /// The callee's language, or empty.
    pub language: String,
    /// Where it is.
    pub state: CallState,
    /// Why a due call has not begun (`disk_full`, `no_free_trunk`...).
    pub waiting: Option<String>,
    /// How it ended; set exactly when it is done. The dialplan's word, or an end cause, `cancelled`, `expired`, `unknown`.
    pub outcome: Option<String>,
    /// The next attempt is made from here on.
    pub due_at: Timestamp,
    /// After this time no attempt begins.
    pub not_after: Timestamp,
    /// Attempts begun.
    pub attempts_made: u32,
    /// Attempts allowed.
    pub max_attempts: u32,
    /// Set when somebody cancelled it while it was active: it will not be tried again.
    pub cancel_requested_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was done.
    pub done_at: Option<Timestamp>,
}

/// What [`cancel`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It had not begun: it is done now, outcome `cancelled`.
    Done,
    /// It is active: it will not be tried again, and the engine must hang up to end it now.
    Active,
    /// It was done before; nothing changed.
    AlreadyDone,
}

/// Which calls [`list`] returns.
#[derive(Debug, Clone, Default)]
pub struct CallFilter {
    /// Only those in this state.
    pub state: Option<CallState>,
    /// Only those of this delivery.
    pub delivery_id: Option<Uuid>,
    /// Only those of this agent's deliveries.
    pub agent: Option<String>,
    /// Only those before this identifier: the last one of the page before.
    pub before: Option<Uuid>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT calls.*, deliveries.agent FROM calls LEFT JOIN deliveries ON deliveries.id = calls.delivery_id ", $rest)
    };
}

/// Creates a call. With an idempotency key that is known, returns the call made with it before. The flag says whether it
/// is new.
///
/// # Errors
/// [`StoreError::Conflict`] when the key was used for another number or plan; [`StoreError::NotFound`] for the delivery.
pub async fn create(store: &Store, now: Timestamp, new: NewCall) -> Result<(Call, bool)> {
    let mut tx = store.write(now).await?;
    if let Some(key) = new.idempotency_key.clone() {
        let query = sqlx::query(select!("WHERE calls.idempotency_key = ?")).bind(key.clone());
        if let Some(row) = query.fetch_optional(tx.conn()).await? {
            let call = from_row(&row)?;
            if call.number != new.number || call.plan != new.plan {
                return Err(StoreError::Conflict(format!(
                    "idempotency key `{key}` was used for another call"
                )));
            }
            return Ok((call, false));
        }
    }
    let id = insert(&mut tx, &new).await?;
    let call = get_in(&mut tx, id).await?;
    tx.commit().await?;
    Ok((call, true))
}

/// Pending calls that are due and not too late, the longest due first.
///
/// # Errors
/// What the query met.
pub async fn due(store: &Store, now: Timestamp, limit: u32) -> Result<Vec<Call>> {
    let now = time_text(now);
    let query = sqlx::query(select!(
        "WHERE calls.state = 'pending' AND calls.due_at <= ? AND calls.not_after > ? ORDER BY calls.due_at, calls.id LIMIT ?"
    ));
    let rows = query.bind(now.clone()).bind(now).bind(limit).fetch_all(&store.reader).await?;
    rows.iter().map(from_row).collect()
}

/// When the next pending call becomes due (it may be in the past), for a scheduler that wants to sleep until then.
///
/// # Errors
/// What the query met.
pub async fn next_due(store: &Store) -> Result<Option<Timestamp>> {
    let row = sqlx::query("SELECT min(due_at) AS due_at FROM calls WHERE state = 'pending'");
    row.fetch_one(&store.reader).await?.parsed_opt("due_at")
}

/// Ends pending calls whose window has passed, with outcome `expired`. Returns them.
///
/// # Errors
/// What the statements met.
pub async fn expire(store: &Store, now: Timestamp) -> Result<Vec<Uuid>> {
    let query = sqlx::query("SELECT id FROM calls WHERE state = 'pending' AND not_after <= ? LIMIT 1000");
    let late = query.bind(time_text(now)).fetch_all(&store.reader).await?;
    if late.is_empty() {
        return Ok(Vec::new());
    }
    let mut tx = store.write(now).await?;
    let mut ended = Vec::with_capacity(late.len());
    for row in late {
        let id = row.parsed("id")?;
        if finish_pending(&mut tx, id, "expired").await? {
            ended.push(id);
        }
    }
    tx.commit().await?;
    Ok(ended)
}

/// Says why a due call does not begin, and when to look at it again. Only pending calls change; an event is appended only
/// when the reason is a new one.
///
/// # Errors
/// What the statements met.
pub async fn wait(store: &Store, now: Timestamp, id: Uuid, reason: &str, until: Timestamp) -> Result<()> {
    let mut tx = store.write(now).await?;
    let call = get_in(&mut tx, id).await?;
    if call.state != CallState::Pending {
        return Ok(());
    }
    let query = sqlx::query("UPDATE calls SET waiting = ?, due_at = ? WHERE id = ?");
    let done =
        query.bind(reason.to_owned()).bind(time_text(until)).bind(id.to_string()).execute(tx.conn()).await;
    tx.sorted(done)?;
    if call.waiting.as_deref() != Some(reason) {
        tx.event("call.waiting", &call.subject(), json!({ "reason": reason })).await?;
    }
    tx.commit().await
}

/// Cancels a call.
///
/// # Errors
/// [`StoreError::NotFound`].
pub async fn cancel(store: &Store, now: Timestamp, id: Uuid) -> Result<Cancelled> {
    let mut tx = store.write(now).await?;
    let call = get_in(&mut tx, id).await?;
    let found = match call.state {
        CallState::Done => return Ok(Cancelled::AlreadyDone),
        CallState::Pending => {
            finish_pending(&mut tx, id, "cancelled").await?;
            Cancelled::Done
        }
        CallState::Active => {
            let query = sqlx::query(
                "UPDATE calls SET cancel_requested_at = coalesce(cancel_requested_at, ?) WHERE id = ?",
            );
            let done = query.bind(time_text(now)).bind(id.to_string()).execute(tx.conn()).await;
            tx.sorted(done)?;
            Cancelled::Active
        }
    };
    tx.commit().await?;
    Ok(found)
}

/// One call.
///
/// # Errors
/// [`StoreError::NotFound`].
pub async fn get(store: &Store, id: Uuid) -> Result<Call> {
    let query = sqlx::query(select!("WHERE calls.id = ?")).bind(id.to_string());
    from_row(&query.fetch_optional(&store.reader).await?.ok_or_else(|| missing(id))?)
}

/// One call with its attempts, oldest first.
///
/// # Errors
/// [`StoreError::NotFound`].
pub async fn get_with_attempts(store: &Store, id: Uuid) -> Result<(Call, Vec<Attempt>)> {
    Ok((get(store, id).await?, super::attempts::of_call(store, id).await?))
}

/// Calls, newest first, at most `limit`.
///
/// # Errors
/// What the query met.
pub async fn list(store: &Store, filter: &CallFilter, limit: u32) -> Result<Vec<Call>> {
    let mut query = QueryBuilder::new(select!("WHERE true"));
    if let Some(state) = filter.state {
        query.push(" AND calls.state = ").push_bind(state.as_str());
    }
    if let Some(id) = filter.delivery_id {
        query.push(" AND calls.delivery_id = ").push_bind(id.to_string());
    }
    if let Some(agent) = &filter.agent {
        query.push(" AND deliveries.agent = ").push_bind(agent.clone());
    }
    if let Some(id) = filter.before {
        query.push(" AND calls.id < ").push_bind(id.to_string());
    }
    query.push(" ORDER BY calls.id DESC LIMIT ").push_bind(limit);
    query.build().fetch_all(&store.reader).await?.iter().map(from_row).collect()
}

impl Call {
    pub(super) fn subject(&self) -> Subject {
        let delivery = self.delivery_id.map(|id| (id, self.agent.clone().unwrap_or_default()));
        Subject { id: self.id, delivery }
    }
}

pub(super) fn missing(id: Uuid) -> StoreError {
    StoreError::NotFound { what: "call", id: id.to_string() }
}

pub(super) async fn get_in(tx: &mut Tx, id: Uuid) -> Result<Call> {
    let query = sqlx::query(select!("WHERE calls.id = ?")).bind(id.to_string());
    from_row(&query.fetch_optional(tx.conn()).await?.ok_or_else(|| missing(id))?)
}

/// Ends a call that has not begun; false if it is no longer pending.
pub(super) async fn finish_pending(tx: &mut Tx, id: Uuid, outcome: &str) -> Result<bool> {
    let call = get_in(tx, id).await?;
    if call.state != CallState::Pending {
        return Ok(false);
    }
    finish(tx, &call, outcome).await?;
    Ok(true)
}

pub(super) async fn finish(tx: &mut Tx, call: &Call, outcome: &str) -> Result<()> {
    let query =
        sqlx::query("UPDATE calls SET state = 'done', outcome = ?, waiting = NULL, done_at = ? WHERE id = ?");
    let query = query.bind(outcome.to_owned()).bind(time_text(tx.now())).bind(call.id.to_string());
    let done = query.execute(tx.conn()).await;
    tx.sorted(done)?;
    tx.event("call.done", &call.subject(), json!({ "outcome": outcome })).await
}

pub(super) async fn insert_planned(tx: &mut Tx, delivery: &Delivery, terms: CallTerms) -> Result<Uuid> {
    let details = &delivery.details;
    let new = NewCall {
        number: details.phone.clone(),
        plan: terms.plan,
        vars: terms.vars,
        language: details.language.clone(),
        delivery_id: Some(delivery.id),
        due_at: terms.due_at,
        not_after: terms.not_after,
        max_attempts: terms.max_attempts,
        idempotency_key: None,
    };
    insert(tx, &new).await
}

async fn insert(tx: &mut Tx, new: &NewCall) -> Result<Uuid> {
    if let Some(delivery) = new.delivery_id {
        let query = sqlx::query("SELECT 1 FROM deliveries WHERE id = ?").bind(delivery.to_string());
        if query.fetch_optional(tx.conn()).await?.is_none() {
            return Err(StoreError::NotFound { what: "delivery", id: delivery.to_string() });
        }
    }
    let id = new_id(tx.now());
    let done = sqlx::query(
        "INSERT INTO calls (id, delivery_id, number, plan, vars, language, state, due_at, not_after, max_attempts,
             idempotency_key, created_at)
         VALUES (?, ?, ?, ?, ?, ?, 'pending', ?, ?, ?, ?, ?)",
    )
    .bind(id.to_string())
    .bind(new.delivery_id.map(|id| id.to_string()))
    .bind(new.number.reveal().clone())
    .bind(new.plan.clone())
    .bind(json_text(&new.vars, "vars")?)
    .bind(new.language.clone())
    .bind(time_text(new.due_at))
    .bind(time_text(new.not_after))
    .bind(i64::from(new.max_attempts.max(1)))
    .bind(new.idempotency_key.clone())
    .bind(time_text(tx.now()))
    .execute(tx.conn())
    .await;
    tx.sorted(done)?;
    let call = get_in(tx, id).await?;
    tx.event("call.created", &call.subject(), json!({ "due_at": call.due_at })).await?;
    Ok(id)
}

fn from_row(row: &SqliteRow) -> Result<Call> {
    Ok(Call {
        id: row.parsed("id")?,
        delivery_id: row.parsed_opt("delivery_id")?,
        agent: row.text_opt("agent")?,
        direction: row.parsed("direction")?,
        number: Redacted::new(row.text("number")?),
        called: row.text_opt("called")?.map(Redacted::new),
        plan: row.text("plan")?,
        vars: row.json("vars")?,
        language: row.text("language")?,
        state: row.parsed("state")?,
        waiting: row.text_opt("waiting")?,
        outcome: row.text_opt("outcome")?,
        due_at: row.parsed("due_at")?,
        not_after: row.parsed("not_after")?,
        attempts_made: row.small("attempts_made")?,
        max_attempts: row.small("max_attempts")?,
        cancel_requested_at: row.parsed_opt("cancel_requested_at")?,
        created_at: row.parsed("created_at")?,
        done_at: row.parsed_opt("done_at")?,
    })
}
