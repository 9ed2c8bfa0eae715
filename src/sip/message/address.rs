//! An address that we write: a display name and a URI.

use std::fmt;

use super::lex;
use super::uri::Uri;

/// What goes into From, To and Contact. `Display` writes a name-addr without parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The display name, plain; it is quoted when written.
    pub display: Option<crate::pii::Redacted>,
    /// The URI.
    pub uri: Uri,
}

impl Address {
    /// An address without a display name.
    pub fn new(uri: Uri) -> Self {
        Self { display: None, uri }
    }

    /// Adds a display name.
    pub fn with_display(self, name: &str) -> Self {
        Self { display: Some(crate::pii::Redacted::new(name.to_owned())), ..self }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(display) = &self.display {
            write!(f, "{} ", lex::quote(display.reveal()))?;
        }
        write!(f, "<{}>", self.uri)
    }
}
