//! Users: drivers, dispatchers and admins, with argon2id password hashes.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::row::{Columns, new_id, time_text};
use super::secret::{hash_password, verify_password};
use super::{Result, Role, Store, StoreError};
use crate::pii::Secret;

/// A stored user. The password hash stays in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    /// Their identifier.
    pub id: Uuid,
    /// The name they sign in with: lower case, unique. An agent's deliveries carry it.
    pub username: String,
    /// The name that people read.
    pub display_name: String,
    /// What they may do.
    pub role: Role,
    /// When they were added.
    pub created_at: Timestamp,
    /// Set when they may no longer sign in.
    pub disabled_at: Option<Timestamp>,
}

/// A user to add.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// The name to sign in with; stored in lower case.
    pub username: String,
    /// The name that people read.
    pub display_name: String,
    /// What they may do.
    pub role: Role,
    /// Their password.
    pub password: Secret,
}

/// A hash of nothing that anyone knows, so that signing in with an unknown name takes as long as with a known one.
const DECOY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$Y2FsbGFoZWFkLWRlY295$0nHLAzNSFaw3s1vpEgWqm6bkB7hCsiIr4mFSqJIHIlM";

/// Adds a user.
///
/// # Errors
/// [`StoreError::Taken`].
pub async fn add(store: &Store, now: Timestamp, new: &NewUser) -> Result<User> {
    let hash = hash_password(&new.password).await?;
    let username = new.username.trim().to_lowercase();
    let user = User {
        id: new_id(now),
        username: username.clone(),
        display_name: new.display_name.clone(),
        role: new.role,
        created_at: now,
        disabled_at: None,
    };
    let mut tx = store.write(now).await?;
    let query = sqlx::query("SELECT 1 FROM users WHERE username = ?").bind(username.clone());
    if query.fetch_optional(tx.conn()).await?.is_some() {
        return Err(StoreError::Taken { what: "username", value: username });
    }
    let done = sqlx::query(
        "INSERT INTO users (id, username, display_name, role, password_hash, created_at) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(user.id.to_string())
    .bind(username)
    .bind(new.display_name.clone())
    .bind(new.role.as_str())
    .bind(hash)
    .bind(time_text(now))
    .execute(tx.conn())
    .await;
    tx.sorted(done)?;
    tx.commit().await?;
    Ok(user)
}

/// The user with this name and password; `None` for a wrong name, a wrong password and a disabled user alike, after the
/// same work.
///
/// # Errors
/// What the query or the hashing met.
pub async fn verify(store: &Store, username: &str, password: &Secret) -> Result<Option<User>> {
    let query = sqlx::query("SELECT * FROM users WHERE username = ?").bind(username.trim().to_lowercase());
    let row = query.fetch_optional(&store.reader).await?;
    let hash = row.as_ref().map_or(Ok(DECOY.to_owned()), |row| row.text("password_hash"))?;
    let fits = verify_password(password, &hash).await?;
    let user = row.map(|row| from_row(&row)).transpose()?;
    Ok(user.filter(|user| fits && user.disabled_at.is_none()))
}

/// Sets a new password and ends the user's sessions.
///
/// # Errors
/// [`StoreError::NotFound`].
pub async fn set_password(store: &Store, now: Timestamp, id: Uuid, password: &Secret) -> Result<()> {
    let hash = hash_password(password).await?;
    change(store, now, id, "UPDATE users SET password_hash = ? WHERE id = ?", Some(hash), true).await
}

/// Sets what a user may do.
///
/// # Errors
/// [`StoreError::NotFound`].
pub async fn set_role(store: &Store, now: Timestamp, id: Uuid, role: Role) -> Result<()> {
    change(store, now, id, "UPDATE users SET role = ? WHERE id = ?", Some(role.as_str().to_owned()), false)
        .await
}

/// Forbids or allows signing in; forbidding ends the user's sessions.
///
/// # Errors
/// [`StoreError::NotFound`].
pub async fn set_disabled(store: &Store, now: Timestamp, id: Uuid, disabled: bool) -> Result<()> {
    let at = disabled.then(|| time_text(now));
    change(store, now, id, "UPDATE users SET disabled_at = ? WHERE id = ?", at, disabled).await
}

/// All users by name.
///
/// # Errors
/// What the query met.
pub async fn list(store: &Store) -> Result<Vec<User>> {
    let rows = sqlx::query("SELECT * FROM users ORDER BY username").fetch_all(&store.reader).await?;
    rows.iter().map(from_row).collect()
}

/// One user.
///
/// # Errors
/// [`StoreError::NotFound`].
pub async fn get(store: &Store, id: Uuid) -> Result<User> {
    let query = sqlx::query("SELECT * FROM users WHERE id = ?").bind(id.to_string());
    from_row(&query.fetch_optional(&store.reader).await?.ok_or_else(|| missing(id))?)
}

fn missing(id: Uuid) -> StoreError {
    StoreError::NotFound { what: "user", id: id.to_string() }
}

async fn change(
    store: &Store,
    now: Timestamp,
    id: Uuid,
    sql: &'static str,
    value: Option<String>,
    ends_sessions: bool,
) -> Result<()> {
    let mut tx = store.write(now).await?;
    let done = sqlx::query(sql).bind(value).bind(id.to_string()).execute(tx.conn()).await;
    if tx.sorted(done)?.rows_affected() == 0 {
        return Err(missing(id));
    }
    if ends_sessions {
        let query = sqlx::query("DELETE FROM sessions WHERE user_id = ?").bind(id.to_string());
        let done = query.execute(tx.conn()).await;
        tx.sorted(done)?;
    }
    tx.commit().await
}

pub(super) fn from_row(row: &SqliteRow) -> Result<User> {
    Ok(User {
        id: row.parsed("id")?,
        username: row.text("username")?,
        display_name: row.text("display_name")?,
        role: row.parsed("role")?,
        created_at: row.parsed("created_at")?,
        disabled_at: row.parsed_opt("disabled_at")?,
    })
}
