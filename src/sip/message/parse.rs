//! From bytes to [`Message`]: framing first, then the checks of [`super::check`].
//!
//! One pass over the lines, no backtracking; sizes are bounded before anything is kept.

use std::borrow::Cow;
use std::sync::Arc;

use super::header::{Header, HeaderName, Shared};
use super::lex;
use super::method::Method;
use super::uri::Uri;
use super::{Message, StartLine};

/// The largest message taken, in bytes: what a UDP datagram holds.
pub const MAX_MESSAGE: usize = 65_535;
/// The most header lines taken.
pub const MAX_HEADERS: usize = 256;

/// What is wrong with a message. [`Defect::status`] is the answer that RFC 3261 or RFC 4475 names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// Only line breaks: a keep-alive (RFC 5626 §3.5.1), no message.
    #[error("nothing but line breaks")]
    Empty,
    /// More than [`MAX_MESSAGE`] bytes or [`MAX_HEADERS`] lines.
    #[error("the message is too large")]
    TooLarge,
    /// Neither a request line nor a status line.
    #[error("the first line is neither a request line nor a status line")]
    StartLine,
    /// A SIP version that is not 2.0.
    #[error("the SIP version is not 2.0")]
    Version,
    /// The Request-URI cannot be read, or holds headers (RFC 3261 §19.1.1).
    #[error("the Request-URI is malformed")]
    RequestUri,
    /// A line that is no header field.
    #[error("a line is no header field")]
    HeaderLine,
    /// A field that must be there is missing.
    #[error("{0} is missing")]
    Missing(HeaderName),
    /// A field that stands alone comes twice.
    #[error("{0} is repeated")]
    Repeated(HeaderName),
    /// A field that cannot be read.
    #[error("{0} is malformed")]
    Value(HeaderName),
    /// Content-Length promises more than came.
    #[error("the body is shorter than Content-Length")]
    Truncated,
    /// CSeq names another method than the request line.
    #[error("CSeq names another method")]
    MethodMismatch,
    /// CSeq names another method, and the method is one that we do not know.
    #[error("unknown method, and CSeq names another one")]
    UnknownMethod,
}

impl Defect {
    /// The status code of the answer to a request with this defect.
    pub fn status(&self) -> u16 {
        match self {
            Self::Version => 505,
            Self::UnknownMethod => 501,
            Self::TooLarge => 513,
            _ => 400,
        }
    }
}

/// A message that cannot be used, with what an answer needs if it was a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{defect}")]
pub struct Malformed {
    /// What is wrong.
    pub defect: Defect,
    /// The fields of a request (not ACK) that names at least a Via, so that it can be answered.
    pub answerable: Option<Vec<Header>>,
}

impl Message {
    /// Reads one datagram. Bytes after the body are ignored (RFC 3261 §18.3); without Content-Length the body is the rest.
    pub fn parse(datagram: &[u8]) -> Result<Self, Malformed> {
        let refuse = |defect| Malformed { defect, answerable: None };
        if datagram.len() > MAX_MESSAGE {
            return Err(refuse(Defect::TooLarge));
        }
        let leading = datagram.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if leading == datagram.len() {
            return Err(refuse(Defect::Empty));
        }
        // The one copy of the bytes, which the fields and the body share.
        let block: Arc<[u8]> = datagram.get(leading..).unwrap_or_default().into();
        let first = line_at(&block, 0);
        let start = start_line(block.get(..first.end).unwrap_or_default());
        let lines = Lines::read(&block, first.next);
        if lines.headers.is_empty() {
            // Not even the first line is a header field: this is no SIP at all.
            return Err(refuse(Defect::HeaderLine));
        }
        let (defect, method, headers) = match start {
            Ok(start) => {
                let mut message = Self { start, headers: lines.headers, body: Shared::default() };
                let rest = block.len() - lines.end;
                let length = match lines.defect {
                    Some(defect) => Err(defect),
                    None => message.body_length(rest).and_then(|length| message.check().map(|()| length)),
                };
                match length {
                    Ok(length) => {
                        message.body = Shared::part(&block, lines.end, length);
                        return Ok(message);
                    }
                    Err(defect) => (defect, message.method().cloned(), message.headers),
                }
            }
            Err((defect, method)) => (defect, method, lines.headers),
        };
        let named = headers.iter().any(|header| *header.name() == HeaderName::Via);
        let may_answer = method.is_some_and(|method| method != Method::Ack);
        Err(Malformed { defect, answerable: (may_answer && named).then_some(headers) })
    }

    fn body_length(&self, rest: usize) -> Result<usize, Defect> {
        let Some(value) = self.header(HeaderName::ContentLength) else { return Ok(rest) };
        let length = super::fields::decimal(&value).ok_or(Defect::Value(HeaderName::ContentLength))?;
        let length = usize::try_from(length).map_err(|_| Defect::Truncated)?;
        if length > rest { Err(Defect::Truncated) } else { Ok(length) }
    }
}

/// Where a line ends, and where the next begins.
struct Line {
    end: usize,
    next: usize,
}

/// The line that begins at `start`; a bare LF ends it too, because some equipment sends that.
fn line_at(bytes: &[u8], start: usize) -> Line {
    let rest = bytes.get(start..).unwrap_or_default();
    match lex::find_byte(rest, b'\n') {
        Some(length) => {
            let line = rest.get(..length).unwrap_or_default();
            Line { end: start + line.strip_suffix(b"\r").unwrap_or(line).len(), next: start + length + 1 }
        }
        None => Line { end: bytes.len(), next: bytes.len() },
    }
}

/// The header fields, the first defect among them, and where the body begins.
pub(super) struct Lines {
    pub(super) headers: Vec<Header>,
    defect: Option<Defect>,
    pub(super) end: usize,
}

impl Lines {
    pub(super) fn read(block: &Arc<[u8]>, start: usize) -> Self {
        let mut lines = Self { headers: Vec::with_capacity(24), defect: None, end: start };
        while lines.end < block.len() {
            let begin = lines.end;
            let mut line = line_at(block, begin);
            lines.end = line.next;
            if line.end == begin {
                break;
            }
            // A line that begins with white space continues the one before (RFC 3261 §7.3.1).
            let mut folded = false;
            while matches!(block.get(line.next), Some(b' ' | b'\t')) {
                folded = true;
                line = line_at(block, line.next);
            }
            lines.end = line.next;
            if lines.headers.len() == MAX_HEADERS {
                lines.defect = Some(Defect::TooLarge);
                break;
            }
            match Header::from_shared(Shared::part(block, begin, line.end - begin), folded) {
                Some(header) => lines.headers.push(header),
                None => lines.defect = lines.defect.or(Some(Defect::HeaderLine)),
            }
        }
        lines
    }
}

/// The start line, or what is wrong with it and the method if it is the beginning of a request.
fn start_line(line: &[u8]) -> Result<StartLine, (Defect, Option<Method>)> {
    if let Some(rest) = strip_version(line)
        && let Some(rest) = rest.strip_prefix(b" ")
    {
        return status_line(rest).ok_or((Defect::StartLine, None));
    }
    let text = std::str::from_utf8(line).map_or_else(|_| String::from_utf8_lossy(line), Cow::Borrowed);
    let mut parts = text.split(' ');
    let token = parts.next().filter(|token| lex::is_token(token)).ok_or((Defect::StartLine, None))?;
    let method = Method::from_token(token);
    let uri = match (parts.next(), parts.next(), parts.next()) {
        (Some(uri), Some(version), None) if version.eq_ignore_ascii_case("SIP/2.0") => uri,
        (uri, version, more) => {
            let versioned = text.as_bytes().windows(5).any(|window| window.eq_ignore_ascii_case(b" SIP/"));
            let three = uri.is_some() && more.is_none();
            return Err(match version {
                _ if !versioned => (Defect::StartLine, None),
                Some(version) if three && is_version(version) => (Defect::Version, Some(method)),
                _ => (Defect::StartLine, Some(method)),
            });
        }
    };
    match Uri::parse(uri) {
        Ok(uri) if uri.headers().is_none() => Ok(StartLine::Request { method, uri }),
        _ => Err((Defect::RequestUri, Some(method))),
    }
}

/// Whether `text` names a version of SIP, which then is another than ours: `SIP/7.0`.
fn is_version(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.get(4..)
        .and_then(|number| number.split_once('.'))
        .is_some_and(|(major, minor)| digits(major) && digits(minor))
}

fn strip_version(line: &[u8]) -> Option<&[u8]> {
    let (version, rest) = line.split_at_checked(7)?;
    version.eq_ignore_ascii_case(b"SIP/2.0").then_some(rest)
}

/// `200 OK`; the phrase may be empty, and its space may be missing.
fn status_line(rest: &[u8]) -> Option<StartLine> {
    let (digits, reason) = rest.split_at_checked(3)?;
    let code = std::str::from_utf8(digits).ok().and_then(super::fields::decimal)?;
    let reason = match reason {
        [] => reason,
        [b' ', phrase @ ..] => phrase,
        _ => return None,
    };
    let status = u16::try_from(code).ok().filter(|code| (100..700).contains(code))?;
    Some(StartLine::Response { status, reason: reason.into() })
}
