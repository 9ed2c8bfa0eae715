//! SIP messages: our own reader and writer (RFC 3261 §7, §20, §25).
//!
//! A [`Message`] keeps every header line in order and byte for byte: folding, spelling, white space and stray bytes come out
//! as they went in. Typed views ([`Via`], [`NameAddr`], [`CSeq`], [`Uri`]) borrow from the lines and are made when asked for.
//! [`Message::parse`] is bounded and takes linear time; what it refuses comes back as [`Malformed`] with the status to answer.

mod address;
mod build;
mod check;
mod equality;
mod fields;
mod header;
pub mod lex;
mod method;
mod multipart;
mod parse;
mod status;
mod tel;
mod uri;

use std::borrow::Cow;
use std::fmt;

pub use address::Address;
pub use fields::{CSeq, NameAddr, Via, decimal, delta_seconds};
use header::Shared;
pub use header::{Header, HeaderName};
pub use method::Method;
pub use multipart::Part;
pub use parse::{Defect, MAX_HEADERS, MAX_MESSAGE, Malformed};
pub use status::reason_phrase;
pub use tel::Tel;
pub use uri::{Scheme, Uri, UriError, ip_literal};

/// The first line of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartLine {
    /// `METHOD uri SIP/2.0`
    Request {
        /// The method.
        method: Method,
        /// The Request-URI.
        uri: Uri,
    },
    /// `SIP/2.0 status reason`
    Response {
        /// 100 to 699.
        status: u16,
        /// The phrase as it was written; any bytes but line breaks.
        reason: Box<[u8]>,
    },
}

/// A request or response.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    start: StartLine,
    headers: Vec<Header>,
    body: Shared,
}

impl Message {
    /// The first line.
    pub fn start(&self) -> &StartLine {
        &self.start
    }

    /// The method of a request.
    pub fn method(&self) -> Option<&Method> {
        match &self.start {
            StartLine::Request { method, .. } => Some(method),
            StartLine::Response { .. } => None,
        }
    }

    /// The Request-URI of a request.
    pub fn uri(&self) -> Option<&Uri> {
        match &self.start {
            StartLine::Request { uri, .. } => Some(uri),
            StartLine::Response { .. } => None,
        }
    }

    /// The status code of a response.
    pub fn status(&self) -> Option<u16> {
        match self.start {
            StartLine::Request { .. } => None,
            StartLine::Response { status, .. } => Some(status),
        }
    }

    /// The phrase of a response; bytes outside UTF-8 show as U+FFFD.
    pub fn reason(&self) -> Option<Cow<'_, str>> {
        match &self.start {
            StartLine::Request { .. } => None,
            StartLine::Response { reason, .. } => Some(String::from_utf8_lossy(reason)),
        }
    }

    /// Whether this is a response.
    pub fn is_response(&self) -> bool {
        matches!(self.start, StartLine::Response { .. })
    }

    /// All header lines in order.
    pub fn headers(&self) -> &[Header] {
        &self.headers
    }

    /// The value of the first field of that name.
    pub fn header(&self, name: HeaderName) -> Option<Cow<'_, str>> {
        self.headers.iter().find(|header| *header.name() == name).map(Header::value)
    }

    /// The value of the first field of that name, given as text.
    pub fn header_named(&self, name: &str) -> Option<Cow<'_, str>> {
        self.header(HeaderName::from_token(name))
    }

    /// Every field of that name, in order, as lines.
    pub fn lines(&self, name: HeaderName) -> impl Iterator<Item = Cow<'_, str>> {
        self.headers.iter().filter(move |header| *header.name() == name).map(Header::value)
    }

    /// Every value of a list field, in order, whether on one line with commas or on several.
    pub fn list(&self, name: HeaderName) -> Vec<String> {
        let mut values = Vec::new();
        for line in self.lines(name) {
            values.extend(lex::split(&line, b',').filter(|value| !value.is_empty()).map(str::to_owned));
        }
        values
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        self.body.as_slice()
    }

    /// The Call-ID; a parsed message has one.
    pub fn call_id(&self) -> Cow<'_, str> {
        self.header(HeaderName::CallId).unwrap_or_default()
    }

    /// CSeq; a parsed message has one.
    pub fn cseq(&self) -> Option<CSeq> {
        self.header(HeaderName::CSeq).and_then(|value| CSeq::parse(&value))
    }

    /// The tag of From.
    pub fn from_tag(&self) -> Option<String> {
        self.tag(HeaderName::From)
    }

    /// The tag of To.
    pub fn to_tag(&self) -> Option<String> {
        self.tag(HeaderName::To)
    }

    fn tag(&self, name: HeaderName) -> Option<String> {
        let value = self.header(name)?;
        NameAddr::parse(&value)?.tag().map(str::to_owned)
    }

    /// The branch of the topmost Via.
    pub fn branch(&self) -> Option<String> {
        self.top_via(|via| via.branch().map(str::to_owned)).flatten()
    }

    /// Reads something from the topmost Via.
    pub fn top_via<T>(&self, read: impl FnOnce(Via<'_>) -> T) -> Option<T> {
        let value = self.header(HeaderName::Via)?;
        let first = lex::split(&value, b',').next()?;
        Via::parse(first).map(read)
    }

    /// The URI of the first Contact.
    pub fn contact(&self) -> Option<Uri> {
        let value = self.header(HeaderName::Contact)?;
        NameAddr::parse(lex::split(&value, b',').next()?)?.to_uri().ok()
    }

    /// The bytes for the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let headers: usize = self.headers.iter().map(|header| header.raw().len() + 2).sum();
        let mut bytes = Vec::with_capacity(headers + self.body().len() + 256);
        match &self.start {
            StartLine::Request { method, uri } => {
                bytes.extend_from_slice(method.as_str().as_bytes());
                bytes.push(b' ');
                bytes.extend_from_slice(uri.as_str().as_bytes());
                bytes.extend_from_slice(b" SIP/2.0");
            }
            StartLine::Response { status, reason } => {
                bytes.extend_from_slice(format!("SIP/2.0 {status} ").as_bytes());
                bytes.extend_from_slice(reason);
            }
        }
        bytes.extend_from_slice(b"\r\n");
        for header in &self.headers {
            bytes.extend_from_slice(header.raw());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(self.body());
        bytes
    }
}

/// Shows the first line and the names of the fields; values hold numbers and names.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.start {
            StartLine::Request { method, .. } => write!(f, "{method}")?,
            StartLine::Response { status, .. } => write!(f, "{status}")?,
        }
        let cseq = self.header(HeaderName::CSeq).unwrap_or_default();
        write!(f, " (CSeq {cseq}, {} headers, {} bytes of body)", self.headers.len(), self.body().len())
    }
}
