//! Background jobs under leases: claimed for a while, and claimed again by somebody else when the claimant died.
//!
//! A [`Job`] in hand is a ticket: completing or failing it works only while it is still the newest claim, so that a worker
//! that was thought dead cannot overwrite what its successor did.

use jiff::{SignedDuration, Timestamp};
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::row::{Columns, new_id, time_text};
use super::tx::Tx;
use super::{Result, Store, StoreError, transcripts};

/// The kind of the jobs that transcribe; the subject is the recording.
pub const TRANSCRIBE: &str = "transcribe";

/// How often a job is tried before it is given up.
pub const MAX_TRIES: u32 = 5;

/// A claimed job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its identifier.
    pub id: Uuid,
    /// What to do.
    pub kind: String,
    /// With which row.
    pub subject: Uuid,
    /// 1 for the first claim, then 2...
    pub tries: u32,
    /// How many claims there may be.
    pub max_tries: u32,
    /// Until when it is ours.
    pub lease_until: Timestamp,
}

/// When a failed job is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// Then, unless this was its last try.
    At(Timestamp),
    /// Never: trying again cannot help.
    Never,
}

/// Adds a job to the queue; a job of the same kind and subject is not added twice.
///
/// # Errors
/// What the statements met.
pub async fn enqueue(
    store: &Store,
    now: Timestamp,
    kind: &str,
    subject: Uuid,
    run_at: Timestamp,
) -> Result<()> {
    let mut tx = store.write(now).await?;
    enqueue_in(&mut tx, kind, subject, run_at).await?;
    tx.commit().await
}

/// Claims the job of this kind that waits longest, for `lease`. Jobs whose lease has ended count as waiting; those without
/// tries left are given up on the way.
///
/// # Errors
/// What the statements met.
pub async fn claim(store: &Store, kind: &str, now: Timestamp, lease: SignedDuration) -> Result<Option<Job>> {
    let mut tx = store.write(now).await?;
    give_up_exhausted(&mut tx, kind).await?;
    let job = claim_in(&mut tx, kind, lease).await?;
    tx.commit().await?;
    Ok(job)
}

/// Extends the lease of a job in hand. False: it is no longer ours.
///
/// # Errors
/// What the statement met.
pub async fn extend(store: &Store, now: Timestamp, job: &Job, lease: SignedDuration) -> Result<bool> {
    let mut tx = store.write(now).await?;
    let query =
        sqlx::query("UPDATE jobs SET lease_until = ? WHERE id = ? AND state = 'running' AND tries = ?");
    let until = time_text(now.saturating_add(lease).unwrap_or(Timestamp::MAX));
    let done = query.bind(until).bind(job.id.to_string()).bind(job.tries).execute(tx.conn()).await;
    let ours = tx.sorted(done)?.rows_affected() == 1;
    tx.commit().await?;
    Ok(ours)
}

/// The job is done.
///
/// # Errors
/// [`StoreError::Conflict`] when it is no longer ours.
pub async fn complete(store: &Store, now: Timestamp, job: &Job) -> Result<()> {
    let mut tx = store.write(now).await?;
    complete_in(&mut tx, job).await?;
    tx.commit().await
}

/// The job failed. Returns whether it will be tried again.
///
/// # Errors
/// [`StoreError::Conflict`] when it is no longer ours.
pub async fn fail(store: &Store, now: Timestamp, job: &Job, error: &str, again: Again) -> Result<bool> {
    let mut tx = store.write(now).await?;
    let tried_again = fail_in(&mut tx, job, error, again).await?;
    tx.commit().await?;
    Ok(tried_again)
}

/// How many jobs of this kind wait or run.
///
/// # Errors
/// What the query met.
pub async fn open(store: &Store, kind: &str) -> Result<u64> {
    let query =
        sqlx::query("SELECT count(*) AS n FROM jobs WHERE kind = ? AND state IN ('queued', 'running')");
    query.bind(kind.to_owned()).fetch_one(&store.reader).await?.small("n")
}

pub(super) async fn enqueue_in(tx: &mut Tx, kind: &str, subject: Uuid, run_at: Timestamp) -> Result<()> {
    let done = sqlx::query(
        "INSERT INTO jobs (id, kind, subject, state, run_at, max_tries, created_at) VALUES (?, ?, ?, 'queued', ?, ?, ?)
         ON CONFLICT (kind, subject) DO NOTHING",
    )
    .bind(new_id(tx.now()).to_string())
    .bind(kind.to_owned())
    .bind(subject.to_string())
    .bind(time_text(run_at))
    .bind(MAX_TRIES)
    .bind(time_text(tx.now()))
    .execute(tx.conn())
    .await;
    tx.sorted(done).map(drop)
}

async fn give_up_exhausted(tx: &mut Tx, kind: &str) -> Result<()> {
    let query = sqlx::query(
        "SELECT * FROM jobs WHERE kind = ? AND state = 'running' AND lease_until <= ? AND tries >= max_tries LIMIT 100",
    );
    let rows = query.bind(kind.to_owned()).bind(time_text(tx.now())).fetch_all(tx.conn()).await?;
    for row in rows {
        let error = "the worker died or hung on every try";
        fail_in(tx, &from_row(&row)?, error, Again::Never).await?;
    }
    Ok(())
}

async fn claim_in(tx: &mut Tx, kind: &str, lease: SignedDuration) -> Result<Option<Job>> {
    let now = time_text(tx.now());
    let until = time_text(tx.now().saturating_add(lease).unwrap_or(Timestamp::MAX));
    let rows = sqlx::query(
        "UPDATE jobs SET state = 'running', tries = tries + 1, lease_until = ? WHERE id =
             (SELECT id FROM jobs WHERE kind = ? AND tries < max_tries
                  AND ((state = 'queued' AND run_at <= ?) OR (state = 'running' AND lease_until <= ?))
              ORDER BY run_at, id LIMIT 1)
         RETURNING *",
    )
    .bind(until)
    .bind(kind.to_owned())
    .bind(now.clone())
    .bind(now)
    .fetch_all(tx.conn())
    .await;
    let Some(job) = tx.sorted(rows)?.first().map(from_row).transpose()? else { return Ok(None) };
    if job.kind == TRANSCRIBE {
        transcripts::running_in(tx, job.subject).await?;
    }
    Ok(Some(job))
}

pub(super) async fn complete_in(tx: &mut Tx, job: &Job) -> Result<()> {
    let query = sqlx::query(
        "UPDATE jobs SET state = 'done', lease_until = NULL, error = NULL, finished_at = ?
         WHERE id = ? AND state = 'running' AND tries = ?",
    );
    let query = query.bind(time_text(tx.now())).bind(job.id.to_string()).bind(job.tries);
    let done = query.execute(tx.conn()).await;
    ours(tx.sorted(done)?.rows_affected(), job)
}

async fn fail_in(tx: &mut Tx, job: &Job, error: &str, again: Again) -> Result<bool> {
    let retry_at = match again {
        Again::At(at) if job.tries < job.max_tries => Some(at),
        _ => None,
    };
    let query = sqlx::query(
        "UPDATE jobs SET state = ?, lease_until = NULL, run_at = coalesce(?, run_at), error = ?, finished_at = ?
         WHERE id = ? AND state = 'running' AND tries = ?",
    )
    .bind(if retry_at.is_some() { "queued" } else { "dead" })
    .bind(retry_at.map(time_text))
    .bind(error.to_owned())
    .bind(retry_at.is_none().then(|| time_text(tx.now())))
    .bind(job.id.to_string())
    .bind(job.tries);
    let done = query.execute(tx.conn()).await;
    ours(tx.sorted(done)?.rows_affected(), job)?;
    if job.kind == TRANSCRIBE {
        transcripts::not_done_in(tx, job.subject, error, retry_at.is_some()).await?;
    }
    Ok(retry_at.is_some())
}

fn ours(changed: u64, job: &Job) -> Result<()> {
    match changed {
        0 => Err(StoreError::Conflict(format!(
            "job {} was claimed by somebody else after its lease ended",
            job.id
        ))),
        _ => Ok(()),
    }
}

fn from_row(row: &SqliteRow) -> Result<Job> {
    Ok(Job {
        id: row.parsed("id")?,
        kind: row.text("kind")?,
        subject: row.parsed("subject")?,
        tries: row.small("tries")?,
        max_tries: row.small("max_tries")?,
        lease_until: row.parsed("lease_until")?,
    })
}
