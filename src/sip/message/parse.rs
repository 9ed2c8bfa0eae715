//! From bytes to [`Message`]: framing first, then the checks of [`super::check`].
//!
//! One pass over the lines, no backtracking; sizes are bounded before anything is kept.

use super::header::{Header, HeaderName};
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
        let datagram = datagram.get(leading..).unwrap_or_default();
        if datagram.is_empty() {
            return Err(refuse(Defect::Empty));
        }
        let (line, rest) = split_line(datagram);
        let start = start_line(line);
        let Some((headers, body)) = headers(rest) else {
            return Err(refuse(Defect::HeaderLine));
        };
        let request = matches!(start, Ok(StartLine::Request { .. }) | Err((_, Some(_))));
        let method = match &start {
            Ok(StartLine::Request { method, .. }) | Err((_, Some(method))) => Some(method.clone()),
            _ => None,
        };
        let outcome = match (start, headers.1) {
            (Ok(start), None) => {
                let message = Self { start, headers: headers.0, body: Vec::new() };
                match message.body_length(body).and_then(|length| message.check().map(|()| length)) {
                    Ok(length) => {
                        let body = body.get(..length).unwrap_or_default().to_vec();
                        return Ok(Self { body, ..message });
                    }
                    Err(defect) => (defect, message.headers),
                }
            }
            (Ok(_), Some(defect)) => (defect, headers.0),
            (Err((defect, _)), _) => (defect, headers.0),
        };
        let (defect, headers) = outcome;
        let named = headers.iter().any(|header| *header.name() == HeaderName::Via);
        let answerable = (request && named && method != Some(Method::Ack)).then_some(headers);
        Err(Malformed { defect, answerable })
    }

    fn body_length(&self, rest: &[u8]) -> Result<usize, Defect> {
        let Some(value) = self.header(HeaderName::ContentLength) else { return Ok(rest.len()) };
        let length = super::fields::decimal(&value).ok_or(Defect::Value(HeaderName::ContentLength))?;
        let length = usize::try_from(length).map_err(|_| Defect::Truncated)?;
        if length > rest.len() { Err(Defect::Truncated) } else { Ok(length) }
    }
}

/// Splits at the first line break; a bare LF counts, because some equipment sends it.
fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return (bytes, &[]) };
    let line = bytes.get(..end).unwrap_or_default();
    (line.strip_suffix(b"\r").unwrap_or(line), bytes.get(end + 1..).unwrap_or_default())
}

/// The fields read so far with the first defect among the lines, and the body.
type Fields<'a> = ((Vec<Header>, Option<Defect>), &'a [u8]);

/// `None` when not even the first line is a header field: then it is no SIP at all.
fn headers(bytes: &[u8]) -> Option<Fields<'_>> {
    let mut headers = Vec::with_capacity(16);
    let mut defect = None;
    let mut at = bytes;
    while !at.is_empty() {
        let (line, mut rest) = split_line(at);
        if line.is_empty() {
            at = rest;
            break;
        }
        let mut length = line.len();
        while rest.first().is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
            let (folded, after) = split_line(rest);
            length = at.len() - rest.len() + folded.len();
            rest = after;
        }
        if headers.len() == MAX_HEADERS {
            defect = Some(Defect::TooLarge);
            break;
        }
        match Header::from_line(at.get(..length).unwrap_or_default()) {
            Some(header) => headers.push(header),
            None => defect = defect.or(Some(Defect::HeaderLine)),
        }
        at = rest;
    }
    (!headers.is_empty()).then_some(((headers, defect), at))
}

/// The start line, or what is wrong with it and the method if it is the beginning of a request.
fn start_line(line: &[u8]) -> Result<StartLine, (Defect, Option<Method>)> {
    if let Some(rest) = strip_version(line)
        && let Some(rest) = rest.strip_prefix(b" ")
    {
        return status_line(rest).ok_or((Defect::StartLine, None));
    }
    let text = String::from_utf8_lossy(line);
    let mut parts = text.split(' ');
    let token = parts.next().filter(|token| lex::is_token(token)).ok_or((Defect::StartLine, None))?;
    let method = Method::from_token(token);
    if !text.to_ascii_uppercase().contains(" SIP/") {
        return Err((Defect::StartLine, None));
    }
    let refuse = |defect| (defect, Some(method.clone()));
    let (Some(uri), Some(version), None) = (parts.next(), parts.next(), parts.next()) else {
        return Err(refuse(Defect::StartLine));
    };
    if !version.eq_ignore_ascii_case("SIP/2.0") {
        let number = version.get(4..).unwrap_or_default();
        let plausible = number.split_once('.').is_some_and(|(major, minor)| {
            [major, minor]
                .iter()
                .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
        });
        return Err(refuse(if plausible { Defect::Version } else { Defect::StartLine }));
    }
    match Uri::parse(uri) {
        Ok(uri) if uri.headers().is_none() => Ok(StartLine::Request { method, uri }),
        _ => Err(refuse(Defect::RequestUri)),
    }
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
