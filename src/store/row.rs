//! Reading columns: times, words, identifiers and JSON from the text that SQLite holds.

use std::str::FromStr;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::{Result, StoreError};

/// The text form of a time in the database: fixed width, so that text order is time order.
pub(super) fn time_text(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// A new identifier, ordered by `now`.
pub(super) fn new_id(now: Timestamp) -> Uuid {
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos))
}

/// Typed columns.
pub(super) trait Columns {
    fn text(&self, column: &'static str) -> Result<String>;
    fn text_opt(&self, column: &'static str) -> Result<Option<String>>;
    fn int(&self, column: &'static str) -> Result<i64>;
    fn int_opt(&self, column: &'static str) -> Result<Option<i64>>;

    /// A column that is parsed from text: a time, a word, an identifier.
    fn parsed<T>(&self, column: &'static str) -> Result<T>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        parse(&self.text(column)?, column)
    }

    /// As [`Columns::parsed`], for a column that may be NULL.
    fn parsed_opt<T>(&self, column: &'static str) -> Result<Option<T>>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        self.text_opt(column)?.map(|text| parse(&text, column)).transpose()
    }

    /// An integer column that fits a smaller type.
    fn small<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T> {
        let value = self.int(column)?;
        T::try_from(value)
            .map_err(|_| StoreError::Unreadable { column, reason: format!("{value} is out of range") })
    }

    /// A column of JSON text.
    fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T> {
        serde_json::from_str(&self.text(column)?)
            .map_err(|error| StoreError::Unreadable { column, reason: error.to_string() })
    }

    /// As [`Columns::json`], for a column that may be NULL.
    fn json_opt<T: DeserializeOwned>(&self, column: &'static str) -> Result<Option<T>> {
        let read = |text: String| {
            serde_json::from_str(&text)
                .map_err(|error| StoreError::Unreadable { column, reason: error.to_string() })
        };
        self.text_opt(column)?.map(read).transpose()
    }
}

fn parse<T>(text: &str, column: &'static str) -> Result<T>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| StoreError::Unreadable { column, reason: error.to_string() })
}

impl Columns for SqliteRow {
    fn text(&self, column: &'static str) -> Result<String> {
        Ok(self.try_get(column)?)
    }

    fn text_opt(&self, column: &'static str) -> Result<Option<String>> {
        Ok(self.try_get(column)?)
    }

    fn int(&self, column: &'static str) -> Result<i64> {
        Ok(self.try_get(column)?)
    }

    fn int_opt(&self, column: &'static str) -> Result<Option<i64>> {
        Ok(self.try_get(column)?)
    }
}

/// Writes a value as JSON text.
pub(super) fn json_text<T: serde::Serialize>(value: &T, column: &'static str) -> Result<String> {
    serde_json::to_string(value).map_err(|error| StoreError::Unreadable { column, reason: error.to_string() })
}
