//! Sessions of people in browsers: a random token in a cookie, its hash and expiry here.

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::row::time_text;
use super::secret::{token, token_hash};
use super::users::{self, User};
use super::{Result, Store};
use crate::pii::Secret;

/// How long a session lasts: a driver signs in once a month.
pub const LIFETIME: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Opens a session; the returned token is stored nowhere. Expired sessions of everybody are removed on the way.
///
/// # Errors
/// What the statements met.
pub async fn open(store: &Store, now: Timestamp, user_id: Uuid) -> Result<Secret> {
    let token = token("")?;
    let mut tx = store.write(now).await?;
    let query = sqlx::query("DELETE FROM sessions WHERE expires_at <= ?").bind(time_text(now));
    let done = query.execute(tx.conn()).await;
    tx.sorted(done)?;
    let expires = now.saturating_add(LIFETIME).unwrap_or(Timestamp::MAX);
    let query =
        sqlx::query("INSERT INTO sessions (token_hash, user_id, created_at, expires_at) VALUES (?, ?, ?, ?)");
    let query = query.bind(token_hash(&token)).bind(user_id.to_string());
    let done = query.bind(time_text(now)).bind(time_text(expires)).execute(tx.conn()).await;
    tx.sorted(done)?;
    tx.commit().await?;
    Ok(token)
}

/// The user whose session this token opens; `None` when it is unknown or over, or the user is disabled.
///
/// # Errors
/// What the query met.
pub async fn find(store: &Store, now: Timestamp, token: &Secret) -> Result<Option<User>> {
    let query = sqlx::query(
        "SELECT users.* FROM sessions JOIN users ON users.id = sessions.user_id
         WHERE sessions.token_hash = ? AND sessions.expires_at > ? AND users.disabled_at IS NULL",
    );
    let row = query.bind(token_hash(token)).bind(time_text(now)).fetch_optional(&store.reader).await?;
    row.map(|row| users::from_row(&row)).transpose()
}

/// Ends a session; one that does not exist is over already.
///
/// # Errors
/// What the statement met.
pub async fn close(store: &Store, now: Timestamp, token: &Secret) -> Result<()> {
    let mut tx = store.write(now).await?;
    let query = sqlx::query("DELETE FROM sessions WHERE token_hash = ?").bind(token_hash(token));
    let done = query.execute(tx.conn()).await;
    tx.sorted(done)?;
    tx.commit().await
}
