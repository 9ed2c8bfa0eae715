//! MESSAGE in a call (RFC 3428): a line of text, both ways.

use std::time::Instant;

use super::{CannotRequest, RequestId, Session, SessionEvent};
use crate::sip::body::{Body, essence};
use crate::sip::message::{Header, HeaderName, Message, Method};

/// The only type of text that is taken.
pub(crate) const TEXT: &str = "text/plain";
/// The longest text that is taken, in bytes: what a whole MESSAGE may measure (RFC 3428 §8).
const MAX_TEXT: usize = 1300;

/// The status that a MESSAGE gets when nothing else is wrong, with a field for the answer: 200; 413, too long; 415, no plain
/// text.
pub(crate) fn judge_text(request: &Message) -> (u16, Option<Header>) {
    let encoded = request
        .header(HeaderName::ContentEncoding)
        .is_some_and(|coding| !coding.eq_ignore_ascii_case("identity"));
    let kind = essence(&request.header(HeaderName::ContentType).unwrap_or_default());
    match request.body() {
        _ if encoded => (415, Some(Header::new(HeaderName::from_token("Accept-Encoding"), "identity"))),
        [] => (200, None),
        _ if kind != TEXT => (415, Some(Header::new(HeaderName::Accept, TEXT))),
        body if body.len() > MAX_TEXT => (413, None),
        _ => (200, None),
    }
}

impl Session {
    /// Sends a text in the call. [`SessionEvent::Answer`] tells what came of it.
    ///
    /// # Errors
    /// The call does not stand, or too many requests wait already.
    pub fn send_text(&mut self, now: Instant, text: &str) -> Result<RequestId, CannotRequest> {
        let body = Body::new(&format!("{TEXT};charset=utf-8"), text.as_bytes());
        self.request(now, Method::Message, Vec::new(), Some(body))
    }

    /// Takes a MESSAGE that was answered with 200.
    pub(super) fn take_text(&mut self, request: &Message) {
        if let Some(body) = Body::of(request) {
            self.tell(SessionEvent::Text(body));
        }
    }
}
