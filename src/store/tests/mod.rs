//! Tests of the store, a file a topic; and what they share: a temporary database and rows to begin with.

mod dialing;
mod inbound;
mod queue;
mod rows;
mod traces;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use uuid::Uuid;

use crate::pii::Redacted;
use crate::store::attempts::{self, Attempt};
use crate::store::calls::{self, Call, NewCall};
use crate::store::deliveries::NewDelivery;
use crate::store::{Planner, Store, Vars};

pub(crate) async fn store() -> (Store, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Store::open(dir.path().join("callahead.db")).await.unwrap(), dir)
}

pub(crate) fn at(text: &str) -> Timestamp {
    format!("2026-03-02T{text}Z").parse().unwrap()
}

pub(crate) fn seconds(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}

pub(crate) fn planner() -> Planner {
    Planner { zone: TimeZone::UTC, depot: String::new(), max_attempts: 3 }
}

pub(crate) fn delivery(order_ref: &str) -> NewDelivery {
    NewDelivery {
        order_ref: order_ref.to_owned(),
        stop: "4".to_owned(),
        customer_name: Redacted::new("Ada Lovelace".to_owned()),
        phone: Redacted::new("+442071838750".to_owned()),
        address: Redacted::new("12 St James's Square".to_owned()),
        eta: at("10:00:00"),
        language: "en".to_owned(),
        agent: "grace".to_owned(),
        instructions: String::new(),
        plan: Some("delivery-confirm".to_owned()),
        call_lead_seconds: 1800,
    }
}

pub(crate) fn call() -> NewCall {
    NewCall {
        number: Redacted::new("+442071838750".to_owned()),
        plan: "delivery-confirm".to_owned(),
        vars: Vars::from([("name", "Ada")]),
        language: "en".to_owned(),
        delivery_id: None,
        due_at: at("09:00:00"),
        not_after: at("12:00:00"),
        max_attempts: 3,
        idempotency_key: None,
    }
}

/// A call that is being dialled.
pub(crate) async fn dialing(store: &Store) -> (Call, Attempt) {
    let (call, _) = calls::create(store, at("08:00:00"), call()).await.unwrap();
    let attempt = attempts::begin_dialing(store, at("09:00:00"), Uuid::now_v7(), call.id, "main").await.unwrap().unwrap();
    (call, attempt)
}
