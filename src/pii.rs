//! Redaction by type: what identifies a person cannot reach a log by accident.
//!
//! [`Redacted`] prints a shortened form with both `{}` and `{:?}`; the value itself is reached only through
//! [`Redacted::reveal`], a word that a reviewer can search for. [`Secret`] prints nothing at all.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A phone number, name or utterance. `Display` and `Debug` show at most the last two characters.
///
/// Serialisation keeps the whole value: it is meant for the store and the API, which have access rules of their own.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Redacted<T = String>(T);

impl<T> Redacted<T> {
    /// Wraps `value`.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Never pass it to a log macro.
    pub fn reveal(&self) -> &T {
        &self.0
    }

    /// Unwraps the value.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T: AsRef<str>> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.as_ref();
        let count = text.chars().count();
        if count <= 4 {
            return f.write_str("…");
        }
        f.write_str("…")?;
        text.chars().skip(count - 2).try_for_each(|c| fmt::Write::write_char(f, c))
    }
}

impl<T: AsRef<str>> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A password, token or key: prints as `[secret]`, and is not serialisable.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps `value`.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The secret itself. Never pass it to a log macro.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_only_the_last_two_characters() {
        let number = Redacted::new("+442071838750");
        assert_eq!(format!("{number} {number:?}"), "…50 …50");
        assert_eq!(format!("{}", Redacted::new("Ada")), "…");
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[secret]");
    }
}
