//! What a message must hold before anything else may look at it (RFC 3261 §8.1.1, §20; cases of RFC 4475 §3.1.2).

use super::fields::{CSeq, NameAddr, Via, decimal, delta_seconds};
use super::header::{Header, HeaderName};
use super::lex;
use super::parse::Defect;
use super::uri::{Scheme, Uri};
use super::{Message, StartLine};
use crate::sip::message::Method;

/// Fields that stand alone (RFC 3261 §7.3.1), numbered; the first four are mandatory.
fn single(name: &HeaderName) -> Option<usize> {
    Some(match name {
        HeaderName::From => 0,
        HeaderName::To => 1,
        HeaderName::CallId => 2,
        HeaderName::CSeq => 3,
        HeaderName::ContentLength => 4,
        HeaderName::MaxForwards => 5,
        HeaderName::ContentType => 6,
        HeaderName::Expires => 7,
        HeaderName::Date => 8,
        _ => return None,
    })
}

/// How many [`single`] fields there are, and how many of them may not be repeated in a response either.
const SINGLES: (usize, usize) = (9, 5);

impl Message {
    pub(super) fn check(&self) -> Result<(), Defect> {
        self.check_presence()?;
        let lenient = self.is_response();
        for header in &self.headers {
            let valid = match header.name() {
                HeaderName::Via => lex::split(&header.value(), b',').all(is_via),
                HeaderName::From | HeaderName::To => is_address(&header.value()),
                HeaderName::CallId => is_call_id(&header.value()),
                HeaderName::CSeq => CSeq::parse(&header.value()).is_some(),
                // A call should not fail because of what its other party writes into the rest of a response.
                _ => lenient || is_valid(header),
            };
            if !valid {
                return Err(Defect::Value(header.name().clone()));
            }
        }
        self.check_method()
    }

    /// Nothing that stands alone comes twice, nothing mandatory is missing.
    fn check_presence(&self) -> Result<(), Defect> {
        let limit = if self.is_response() { SINGLES.1 } else { SINGLES.0 };
        let (mut counts, mut via) = ([0_u16; SINGLES.0], false);
        for header in &self.headers {
            via |= *header.name() == HeaderName::Via;
            if let Some(count) = single(header.name()).and_then(|index| counts.get_mut(index)) {
                *count += 1;
            }
        }
        if let Some(repeated) = counts.iter().take(limit).position(|count| *count > 1) {
            let mut names = self.headers.iter().map(Header::name);
            let name = names.find(|name| single(name) == Some(repeated)).cloned();
            return Err(Defect::Repeated(name.unwrap_or(HeaderName::From)));
        }
        match counts {
            _ if !via => Err(Defect::Missing(HeaderName::Via)),
            [0, ..] => Err(Defect::Missing(HeaderName::From)),
            [_, 0, ..] => Err(Defect::Missing(HeaderName::To)),
            [_, _, 0, ..] => Err(Defect::Missing(HeaderName::CallId)),
            [_, _, _, 0, ..] => Err(Defect::Missing(HeaderName::CSeq)),
            _ => Ok(()),
        }
    }

    fn check_method(&self) -> Result<(), Defect> {
        let StartLine::Request { method, .. } = &self.start else { return Ok(()) };
        let cseq = self.cseq().ok_or(Defect::Value(HeaderName::CSeq))?;
        match (cseq.method == *method, method) {
            (true, _) => Ok(()),
            (false, Method::Other(_)) => Err(Defect::UnknownMethod),
            (false, _) => Err(Defect::MethodMismatch),
        }
    }
}

/// The fields that are read in requests only.
fn is_valid(header: &Header) -> bool {
    match header.name() {
        HeaderName::Contact => {
            let value = header.value();
            value == "*" || lex::split(&value, b',').all(is_address)
        }
        HeaderName::Route | HeaderName::RecordRoute => lex::split(&header.value(), b',').all(is_route),
        HeaderName::MaxForwards => decimal(&header.value()).is_some_and(|hops| hops <= 255),
        // Too large a value means "as long as can be" (RFC 4475 §3.1.2.4).
        HeaderName::Expires => delta_seconds(&header.value()).is_some(),
        // Only GMT may stand in a Date (RFC 4475 §3.1.2.12).
        HeaderName::Date => header.value().ends_with("GMT"),
        _ => true,
    }
}

fn is_call_id(text: &str) -> bool {
    !text.is_empty() && !text.bytes().any(|byte| matches!(byte, b' ' | b'\t'))
}

/// Vias carry unquoted IPv6 addresses and odd branches, so only the separators and names of their parameters are checked
/// (RFC 4475 §3.1.2.1).
fn is_via(text: &str) -> bool {
    let Some(via) = Via::parse(text) else { return false };
    let Some(params) = via.params.as_str().strip_prefix(';') else { return true };
    lex::split(params, b';').all(|piece| {
        lex::is_token(lex::split_once(piece, b'=').map_or(piece, |(name, _)| name.trim_ascii_end()))
    })
}

fn is_address(text: &str) -> bool {
    NameAddr::parse(text)
        .is_some_and(|address| Uri::check(address.uri).is_ok() && address.params.is_well_formed())
}

fn is_route(text: &str) -> bool {
    NameAddr::parse(text).is_some_and(|address| {
        matches!(Uri::check(address.uri), Ok(Scheme::Sip | Scheme::Sips)) && text.contains('<')
    })
}
