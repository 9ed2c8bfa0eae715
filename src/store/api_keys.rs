//! Keys of systems that use the API: random, shown once, stored as a hash.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::row::{Columns, new_id, time_text};
use super::secret::{token, token_hash};
use super::{Result, Role, Store, StoreError};
use crate::pii::Secret;

/// What keys begin with, so that a leaked one is recognised.
pub const PREFIX: &str = "cah_";

/// A stored key, without the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApiKey {
    /// Its identifier.
    pub id: Uuid,
    /// What it is for.
    pub name: String,
    /// What it may do: dispatcher or admin.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// Set when it no longer works.
    pub revoked_at: Option<Timestamp>,
}

/// Makes a key. The secret is returned this once.
///
/// # Errors
/// [`StoreError::Conflict`] for role agent: an agent is a person.
pub async fn add(store: &Store, now: Timestamp, name: &str, role: Role) -> Result<(ApiKey, Secret)> {
    if role == Role::Agent {
        return Err(StoreError::Conflict(
            "an API key cannot be an agent: use dispatcher or admin".to_owned(),
        ));
    }
    let secret = token(PREFIX)?;
    let key = ApiKey { id: new_id(now), name: name.to_owned(), role, created_at: now, revoked_at: None };
    let mut tx = store.write(now).await?;
    let query =
        sqlx::query("INSERT INTO api_keys (id, name, role, key_hash, created_at) VALUES (?, ?, ?, ?, ?)");
    let query = query.bind(key.id.to_string()).bind(key.name.clone()).bind(role.as_str());
    let done = query.bind(token_hash(&secret)).bind(time_text(now)).execute(tx.conn()).await;
    tx.sorted(done)?;
    tx.commit().await?;
    Ok((key, secret))
}

/// The key with this secret; `None` when it is unknown or revoked.
///
/// # Errors
/// What the query met.
pub async fn find(store: &Store, secret: &Secret) -> Result<Option<ApiKey>> {
    let query = sqlx::query("SELECT * FROM api_keys WHERE key_hash = ? AND revoked_at IS NULL");
    let row = query.bind(token_hash(secret)).fetch_optional(&store.reader).await?;
    row.map(|row| from_row(&row)).transpose()
}

/// Ends a key.
///
/// # Errors
/// [`StoreError::NotFound`].
pub async fn revoke(store: &Store, now: Timestamp, id: Uuid) -> Result<()> {
    let mut tx = store.write(now).await?;
    let query = sqlx::query("UPDATE api_keys SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?");
    let done = query.bind(time_text(now)).bind(id.to_string()).execute(tx.conn()).await;
    if tx.sorted(done)?.rows_affected() == 0 {
        return Err(StoreError::NotFound { what: "API key", id: id.to_string() });
    }
    tx.commit().await
}

/// All keys, oldest first.
///
/// # Errors
/// What the query met.
pub async fn list(store: &Store) -> Result<Vec<ApiKey>> {
    let rows = sqlx::query("SELECT * FROM api_keys ORDER BY id").fetch_all(&store.reader).await?;
    rows.iter().map(from_row).collect()
}

fn from_row(row: &SqliteRow) -> Result<ApiKey> {
    Ok(ApiKey {
        id: row.parsed("id")?,
        name: row.text("name")?,
        role: row.parsed("role")?,
        created_at: row.parsed("created_at")?,
        revoked_at: row.parsed_opt("revoked_at")?,
    })
}
