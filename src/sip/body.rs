//! A body with its type, as it goes into a request or comes out of one.

use std::fmt;

use super::message::{HeaderName, Message};

/// A body and its Content-Type.
#[derive(Clone, PartialEq, Eq)]
pub struct Body {
    /// The Content-Type: `text/plain;charset=utf-8`.
    pub kind: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Body {
    /// These bytes of that type.
    pub fn new(kind: &str, bytes: &[u8]) -> Self {
        Self { kind: kind.to_owned(), bytes: bytes.to_vec() }
    }

    /// The body of `message`; `None` when it is empty.
    pub fn of(message: &Message) -> Option<Self> {
        let kind = message.header(HeaderName::ContentType).unwrap_or_default();
        (!message.body().is_empty()).then(|| Self::new(&kind, message.body()))
    }

    /// Puts this body, or none, into `message`, with its length. Call it when every other field is there.
    pub fn fill(body: Option<&Self>, message: &mut Message) {
        message.set_body(body.map(|body| (body.kind.as_str(), body.bytes.as_slice())));
    }
}

/// Shows no bytes: they are what people write to each other.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({}, {} bytes)", self.kind, self.bytes.len())
    }
}
