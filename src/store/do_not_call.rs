//! Numbers that are not called again: a customer said so on the phone. No attempt to one of them ever begins.

use super::row::time_text;
use super::tx::Tx;
use super::{Result, Store};
use crate::pii::Redacted;

/// The outcome by which a dialplan puts the number on the list.
pub const OPT_OUT: &str = "opt_out";
/// The outcome by which a dialplan takes it off again.
pub const OPT_IN: &str = "opt_in";
/// The outcome of a call that was not made because of the list.
pub const NOT_CALLED: &str = "do_not_call";

/// Whether `number` (E.164) is on the list.
///
/// # Errors
/// What the query met.
pub async fn contains(store: &Store, number: &Redacted) -> Result<bool> {
    let query = sqlx::query("SELECT 1 FROM do_not_call WHERE number = ?").bind(number.reveal().clone());
    Ok(query.fetch_optional(&store.reader).await?.is_some())
}

pub(super) async fn contains_in(tx: &mut Tx, number: &Redacted) -> Result<bool> {
    let query = sqlx::query("SELECT 1 FROM do_not_call WHERE number = ?").bind(number.reveal().clone());
    Ok(query.fetch_optional(tx.conn()).await?.is_some())
}

/// Takes an outcome's wish into the list, in the transaction that stores the outcome.
pub(super) async fn heed(tx: &mut Tx, number: &Redacted, outcome: &str) -> Result<()> {
    if number.reveal().is_empty() {
        return Ok(()); // a caller who withholds the number
    }
    let sql = match outcome {
        OPT_OUT => "INSERT INTO do_not_call (number, since) VALUES (?1, ?2) ON CONFLICT (number) DO NOTHING",
        OPT_IN => "DELETE FROM do_not_call WHERE number = ?1 AND ?2 IS NOT NULL",
        _ => return Ok(()),
    };
    let query = sqlx::query(sql).bind(number.reveal().clone()).bind(time_text(tx.now()));
    let done = query.execute(tx.conn()).await;
    tx.sorted(done)?;
    Ok(())
}
