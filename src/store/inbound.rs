//! Calls that came in: call and attempt are made in one transaction while the caller's phone rings.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::calls::{self, Call};
use super::row::{Columns, json_text, new_id, time_text};
use super::tx::{Subject, Tx};
use super::{Result, Store, Vars};
use crate::pii::Redacted;

/// A call that came in and is about to be answered.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The identifier of its one attempt.
    pub attempt: Uuid,
    /// The caller, E.164; empty when it is withheld or no number.
    pub number: Redacted,
    /// Our number that was called, E.164.
    pub called: Redacted,
    /// The dialplan that answers.
    pub plan: String,
    /// Its variables.
    pub vars: Vars,
    /// The language to answer in, or empty for the plan's first.
    pub language: String,
    /// What it came through: a trunk's name, or `phone:` and a telephone's.
    pub via: String,
    /// Deliveries with an ETA from the first to before the second of these may be what the caller asks about.
    pub deliveries: (Timestamp, Timestamp),
}

/// Stores a call that rings: active, with its attempt. A caller who is a customer of `arrival.deliveries` is linked with the
/// delivery whose ETA is nearest.
///
/// # Errors
/// What the statements met; then nothing was stored.
pub async fn begin(store: &Store, now: Timestamp, arrival: &Arrival) -> Result<Call> {
    let mut tx = store.write(now).await?;
    let delivery = delivery_of(&mut tx, arrival).await?;
    let id = new_id(now);
    let done = sqlx::query(
        "INSERT INTO calls (id, delivery_id, number, called, direction, plan, vars, language, state, due_at, not_after,
             attempts_made, max_attempts, created_at)
         VALUES (?1, ?2, ?3, ?4, 'inbound', ?5, ?6, ?7, 'active', ?8, ?8, 1, 1, ?8)",
    )
    .bind(id.to_string())
    .bind(delivery)
    .bind(arrival.number.reveal().clone())
    .bind(arrival.called.reveal().clone())
    .bind(arrival.plan.clone())
    .bind(json_text(&arrival.vars, "vars")?)
    .bind(arrival.language.clone())
    .bind(time_text(now))
    .execute(tx.conn())
    .await;
    tx.sorted(done)?;
    let done = sqlx::query(
        "INSERT INTO attempts (id, call_id, ordinal, trunk, state, dialing_at, ringing_at) VALUES (?1, ?2, 1, ?3, 'ringing', ?4, ?4)",
    )
    .bind(arrival.attempt.to_string())
    .bind(id.to_string())
    .bind(arrival.via.clone())
    .bind(time_text(now))
    .execute(tx.conn())
    .await;
    tx.sorted(done)?;
    let call = calls::get_in(&mut tx, id).await?;
    tx.event("call.created", &call.subject(), json!({ "direction": call.direction })).await?;
    let subject = Subject { id: arrival.attempt, ..call.subject() };
    tx.event("attempt.ringing", &subject, json!({ "call_id": id, "trunk": arrival.via })).await?;
    tx.commit().await?;
    Ok(call)
}

async fn delivery_of(tx: &mut Tx, arrival: &Arrival) -> Result<Option<String>> {
    if arrival.number.reveal().is_empty() {
        return Ok(None);
    }
    let query = sqlx::query(
        "SELECT id FROM deliveries WHERE phone = ?1 AND eta >= ?2 AND eta < ?3
         ORDER BY abs(julianday(eta) - julianday(?4)), id LIMIT 1",
    )
    .bind(arrival.number.reveal().clone())
    .bind(time_text(arrival.deliveries.0))
    .bind(time_text(arrival.deliveries.1))
    .bind(time_text(tx.now()));
    query.fetch_optional(tx.conn()).await?.map(|row| row.text("id")).transpose()
}
