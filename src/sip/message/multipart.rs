//! Bodies of several parts (RFC 2046 §5.1, RFC 5621).

use std::sync::Arc;

use super::header::{Header, HeaderName};
use super::parse::Lines;
use super::{Message, lex};

/// How deep multiparts may stand in each other before we stop looking for SDP.
const MAX_DEPTH: usize = 3;

/// One part of a multipart body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<'a> {
    headers: Vec<Header>,
    content: &'a [u8],
}

impl<'a> Part<'a> {
    /// The header fields of the part; it may have none.
    pub fn headers(&self) -> &[Header] {
        &self.headers
    }

    /// The media type with its parameters; `text/plain` where the part names none (RFC 2046 §5.1).
    pub fn content_type(&self) -> String {
        let named = self.headers.iter().find(|header| *header.name() == HeaderName::ContentType);
        named.map_or_else(|| "text/plain".to_owned(), |header| header.value().into_owned())
    }

    /// The bytes, without the line break before the delimiter.
    pub fn content(&self) -> &'a [u8] {
        self.content
    }

    fn read(bytes: &'a [u8]) -> Self {
        // A part that begins with an empty line has no fields.
        let block: Arc<[u8]> = bytes.into();
        let lines = Lines::read(&block, 0);
        Self { headers: lines.headers, content: bytes.get(lines.end..).unwrap_or_default() }
    }
}

impl Message {
    /// The parts of a multipart body in order; none when the body is of another type. A part that the body's end cuts off
    /// is not among them.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let kind = self.header(HeaderName::ContentType).unwrap_or_default();
        split(&kind, self.body())
    }

    /// The SDP of the body: the body itself, or the first part of a multipart body that is `application/sdp`.
    pub fn sdp(&self) -> Option<&[u8]> {
        find_sdp(&self.header(HeaderName::ContentType)?, self.body(), MAX_DEPTH)
            .filter(|content| !content.is_empty())
    }
}

fn find_sdp<'a>(kind: &str, body: &'a [u8], depth: usize) -> Option<&'a [u8]> {
    let essence = kind.split(';').next().unwrap_or_default().trim_ascii();
    if essence.eq_ignore_ascii_case("application/sdp") {
        return Some(body);
    }
    let depth = depth.checked_sub(1)?;
    split(kind, body).find_map(|part| find_sdp(&part.content_type(), part.content, depth))
}

/// The boundary, where the type is a multipart with one: 70 characters at most (RFC 2046 §5.1.1).
fn boundary(kind: &str) -> Option<String> {
    let (media, params) = kind.split_at(lex::find_byte(kind.as_bytes(), b';').unwrap_or(kind.len()));
    let multipart = media.trim_ascii().get(..10).is_some_and(|head| head.eq_ignore_ascii_case("multipart/"));
    let boundary = lex::Params::new(params).value("boundary").filter(|_| multipart)?;
    (1..=70).contains(&boundary.len()).then(|| boundary.into_owned())
}

/// Goes through the body once, line by line.
fn split<'a>(kind: &str, body: &'a [u8]) -> impl Iterator<Item = Part<'a>> + use<'a> {
    let delimiter = boundary(kind).map(|boundary| format!("--{boundary}").into_bytes());
    let (mut at, mut start) = (0, None);
    std::iter::from_fn(move || {
        let delimiter = delimiter.as_ref()?;
        while at < body.len() {
            let begin = at;
            let rest = body.get(at..)?;
            let line = rest.get(..lex::find_byte(rest, b'\n').map_or(rest.len(), |end| end + 1))?;
            at += line.len();
            let Some(tail) = line.strip_prefix(delimiter.as_slice()).map(<[u8]>::trim_ascii) else {
                continue;
            };
            let last = tail.starts_with(b"--");
            if !last && !tail.is_empty() {
                continue;
            }
            let part = start.and_then(|start| body.get(start..begin));
            start = (!last).then_some(at);
            if last {
                at = body.len();
            }
            if let Some(part) = part {
                let part = part.strip_suffix(b"\n").unwrap_or(part);
                return Some(Part::read(part.strip_suffix(b"\r").unwrap_or(part)));
            }
        }
        None
    })
}
