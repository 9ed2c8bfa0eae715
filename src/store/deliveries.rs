//! Deliveries: what is brought to whom, when, by which agent. Each that names a plan has a call planned before its ETA.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::row::{Columns, json_text, new_id, time_text};
use super::tx::{Subject, Tx};
use super::{CallTerms, Planner, Result, Store, StoreError};
use crate::pii::Redacted;

/// What the sender of a delivery says about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewDelivery {
    /// The order's reference in the sender's system: the same reference is the same delivery.
    pub order_ref: String,
    /// The stop on the tour, as the sender writes it; may be empty.
    pub stop: String,
    /// The customer's name.
    pub customer_name: Redacted,
    /// The customer's number, E.164.
    pub phone: Redacted,
    /// Where to; may be empty.
    pub address: Redacted,
    /// When the driver will be there.
    pub eta: Timestamp,
    /// The customer's language (BCP 47), or empty for the plan's first.
    pub language: String,
    /// The username of the agent who brings it; may be empty.
    pub agent: String,
    /// What the driver was told with the order; may be empty. What the customer says is the transcript.
    pub instructions: String,
    /// The dialplan that calls the customer, or none: nobody is called.
    pub plan: Option<String>,
    /// How long before the ETA the customer is called, in seconds.
    pub call_lead_seconds: u32,
}

/// A stored delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// Its identifier.
    pub id: Uuid,
    /// What the sender said.
    #[serde(flatten)]
    pub details: NewDelivery,
    /// When it was first stored.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Stores a delivery, or updates the one with the same `order_ref`, and plans or re-plans its call. Returns it and whether
/// it is new. A call that is active or done stays as it is: nobody is called twice because an order was sent twice.
///
/// # Errors
/// What the statements met.
pub async fn upsert(
    store: &Store,
    now: Timestamp,
    new: &NewDelivery,
    planner: &Planner,
) -> Result<(Delivery, bool)> {
    let mut tx = store.write(now).await?;
    let stored = upsert_in(&mut tx, new, planner).await?;
    tx.commit().await?;
    Ok(stored)
}

/// As [`upsert`], for many in one transaction: all are stored or none.
///
/// # Errors
/// What the statements met.
pub async fn upsert_all(
    store: &Store,
    now: Timestamp,
    new: &[NewDelivery],
    planner: &Planner,
) -> Result<Vec<(Delivery, bool)>> {
    let mut tx = store.write(now).await?;
    let mut stored = Vec::with_capacity(new.len());
    for delivery in new {
        stored.push(upsert_in(&mut tx, delivery, planner).await?);
    }
    tx.commit().await?;
    Ok(stored)
}

/// Replaces a delivery's details after `change` has edited them, and re-plans its pending call.
///
/// # Errors
/// [`StoreError::NotFound`]; [`StoreError::Taken`] when the new `order_ref` belongs to another delivery.
pub async fn update(
    store: &Store,
    now: Timestamp,
    id: Uuid,
    planner: &Planner,
    change: impl FnOnce(&mut NewDelivery) + Send,
) -> Result<Delivery> {
    let mut tx = store.write(now).await?;
    let query = sqlx::query("SELECT * FROM deliveries WHERE id = ?").bind(id.to_string());
    let row = query.fetch_optional(tx.conn()).await?;
    let mut delivery = from_row(&row.ok_or_else(|| missing(id))?)?;
    change(&mut delivery.details);
    if let Some(other) = id_of(&mut tx, &delivery.details.order_ref).await?
        && other != id
    {
        return Err(StoreError::Taken { what: "order_ref", value: delivery.details.order_ref });
    }
    delivery.updated_at = now;
    write_row(&mut tx, &delivery, planner, false).await?;
    tx.commit().await?;
    Ok(delivery)
}

/// One delivery.
///
/// # Errors
/// [`StoreError::NotFound`].
pub async fn get(store: &Store, id: Uuid) -> Result<Delivery> {
    let query = sqlx::query("SELECT * FROM deliveries WHERE id = ?").bind(id.to_string());
    from_row(&query.fetch_optional(&store.reader).await?.ok_or_else(|| missing(id))?)
}

fn missing(id: Uuid) -> StoreError {
    StoreError::NotFound { what: "delivery", id: id.to_string() }
}

async fn id_of(tx: &mut Tx, order_ref: &str) -> Result<Option<Uuid>> {
    let query = sqlx::query("SELECT id FROM deliveries WHERE order_ref = ?").bind(order_ref.to_owned());
    query.fetch_optional(tx.conn()).await?.map(|row| row.parsed("id")).transpose()
}

async fn upsert_in(tx: &mut Tx, new: &NewDelivery, planner: &Planner) -> Result<(Delivery, bool)> {
    let now = tx.now();
    let query = sqlx::query("SELECT * FROM deliveries WHERE order_ref = ?").bind(new.order_ref.clone());
    let known = query.fetch_optional(tx.conn()).await?.map(|row| from_row(&row)).transpose()?;
    let created = known.is_none();
    let delivery = match known {
        Some(known) if known.details == *new => return Ok((known, false)),
        Some(known) => Delivery { details: new.clone(), updated_at: now, ..known },
        None => Delivery { id: new_id(now), details: new.clone(), created_at: now, updated_at: now },
    };
    write_row(tx, &delivery, planner, created).await?;
    Ok((delivery, created))
}

async fn write_row(tx: &mut Tx, delivery: &Delivery, planner: &Planner, created: bool) -> Result<()> {
    let d = &delivery.details;
    let done = sqlx::query(
        "INSERT INTO deliveries (id, order_ref, stop, customer_name, phone, address, eta, language, agent, instructions,
             plan, call_lead_seconds, created_at, updated_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET order_ref = excluded.order_ref, stop = excluded.stop,
             customer_name = excluded.customer_name, phone = excluded.phone, address = excluded.address,
             eta = excluded.eta, language = excluded.language, agent = excluded.agent,
             instructions = excluded.instructions, plan = excluded.plan,
             call_lead_seconds = excluded.call_lead_seconds, updated_at = excluded.updated_at",
    )
    .bind(delivery.id.to_string())
    .bind(d.order_ref.clone())
    .bind(d.stop.clone())
    .bind(d.customer_name.reveal().clone())
    .bind(d.phone.reveal().clone())
    .bind(d.address.reveal().clone())
    .bind(time_text(d.eta))
    .bind(d.language.clone())
    .bind(d.agent.clone())
    .bind(d.instructions.clone())
    .bind(d.plan.clone())
    .bind(i64::from(d.call_lead_seconds))
    .bind(time_text(delivery.created_at))
    .bind(time_text(delivery.updated_at))
    .execute(tx.conn())
    .await;
    tx.sorted(done)?;
    let subject = Subject { id: delivery.id, delivery: Some((delivery.id, d.agent.clone())) };
    let kind = if created { "delivery.created" } else { "delivery.updated" };
    tx.event(kind, &subject, json!({ "eta": d.eta })).await?;
    plan_call(tx, delivery, planner.terms(d)).await
}

/// Gives the delivery its first call, or changes the one that has not begun. A retry in waiting keeps its retry time.
async fn plan_call(tx: &mut Tx, delivery: &Delivery, terms: Option<CallTerms>) -> Result<()> {
    let query = sqlx::query(
        "SELECT id, state, attempts_made FROM calls WHERE delivery_id = ? AND direction = 'outbound' ORDER BY id DESC LIMIT 1",
    );
    let latest = query.bind(delivery.id.to_string()).fetch_optional(tx.conn()).await?;
    match (latest, terms) {
        (None, Some(terms)) => super::calls::insert_planned(tx, delivery, terms).await.map(drop),
        (Some(row), Some(terms)) if row.text("state")? == "pending" => {
            let keeps_time = row.int("attempts_made")? > 0;
            let due_at = if keeps_time { None } else { Some(time_text(terms.due_at)) };
            let done = sqlx::query(
                "UPDATE calls SET number = ?, language = ?, plan = ?, vars = ?, due_at = coalesce(?, due_at),
                     not_after = ? WHERE id = ?",
            )
            .bind(delivery.details.phone.reveal().clone())
            .bind(delivery.details.language.clone())
            .bind(terms.plan)
            .bind(json_text(&terms.vars, "vars")?)
            .bind(due_at)
            .bind(time_text(terms.not_after))
            .bind(row.text("id")?)
            .execute(tx.conn())
            .await;
            tx.sorted(done).map(drop)
        }
        (Some(row), None) if row.text("state")? == "pending" => {
            super::calls::finish_pending(tx, row.parsed("id")?, "cancelled").await.map(drop)
        }
        _ => Ok(()),
    }
}

pub(super) fn from_row(row: &SqliteRow) -> Result<Delivery> {
    Ok(Delivery {
        id: row.parsed("id")?,
        details: NewDelivery {
            order_ref: row.text("order_ref")?,
            stop: row.text("stop")?,
            customer_name: Redacted::new(row.text("customer_name")?),
            phone: Redacted::new(row.text("phone")?),
            address: Redacted::new(row.text("address")?),
            eta: row.parsed("eta")?,
            language: row.text("language")?,
            agent: row.text("agent")?,
            instructions: row.text("instructions")?,
            plan: row.text_opt("plan")?,
            call_lead_seconds: row.small("call_lead_seconds")?,
        },
        created_at: row.parsed("created_at")?,
        updated_at: row.parsed("updated_at")?,
    })
}
