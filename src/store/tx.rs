//! A write transaction that carries its events.

use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::Value;
use sqlx::{Sqlite, SqliteConnection, Transaction};
use tokio::sync::watch;
use uuid::Uuid;

use super::row::time_text;
use super::{Result, Store, error};

/// A `BEGIN IMMEDIATE` transaction. Dropped without [`Tx::commit`], it changes nothing and wakes nobody.
pub(super) struct Tx {
    inner: Transaction<'static, Sqlite>,
    path: PathBuf,
    now: Timestamp,
    last_event: Option<i64>,
    wake: watch::Sender<i64>,
}

/// What an event is about; the delivery and its agent decide who may read it.
pub(super) struct Subject {
    pub id: Uuid,
    pub delivery: Option<(Uuid, String)>,
}

impl Store {
    pub(super) async fn write(&self, now: Timestamp) -> Result<Tx> {
        let inner =
            self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(|e| error::sort(e, &self.path))?;
        Ok(Tx { inner, path: self.path.to_path_buf(), now, last_event: None, wake: self.wake.clone() })
    }
}

impl Tx {
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    pub(super) fn conn(&mut self) -> &mut SqliteConnection {
        &mut self.inner
    }

    /// Names the database in a disk-full error.
    pub(super) fn sorted<T>(&self, result: std::result::Result<T, sqlx::Error>) -> Result<T> {
        result.map_err(|e| error::sort(e, &self.path))
    }

    /// Appends to the event log.
    pub(super) async fn event(&mut self, kind: &'static str, subject: &Subject, data: Value) -> Result<()> {
        let (delivery, agent) = match &subject.delivery {
            Some((id, agent)) => (Some(id.to_string()), Some(agent.clone())),
            None => (None, None),
        };
        let query = sqlx::query(
            "INSERT INTO events (at, kind, subject, delivery_id, agent, data) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(time_text(self.now))
        .bind(kind)
        .bind(subject.id.to_string())
        .bind(delivery)
        .bind(agent)
        .bind(data.to_string());
        let done = query.execute(&mut *self.inner).await;
        self.last_event = Some(self.sorted(done)?.last_insert_rowid());
        Ok(())
    }

    /// Makes the changes durable, then wakes the readers of the event log.
    pub(super) async fn commit(self) -> Result<()> {
        self.inner.commit().await.map_err(|e| error::sort(e, &self.path))?;
        if let Some(seq) = self.last_event {
            self.wake.send_if_modified(|last| {
                seq > *last && {
                    *last = seq;
                    true
                }
            });
        }
        Ok(())
    }
}
