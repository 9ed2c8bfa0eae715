//! What a message must hold before anything else may look at it (RFC 3261 §8.1.1, §20; cases of RFC 4475 §3.1.2).

use super::fields::{CSeq, NameAddr, Via, decimal};
use super::header::HeaderName;
use super::lex;
use super::parse::Defect;
use super::uri::{Scheme, Uri};
use super::{Message, StartLine};
use crate::sip::message::Method;

/// Fields that stand alone (RFC 3261 §7.3.1); the first five in responses too, where we tolerate the rest.
const SINGLE: [HeaderName; 9] = [
    HeaderName::From,
    HeaderName::To,
    HeaderName::CallId,
    HeaderName::CSeq,
    HeaderName::ContentLength,
    HeaderName::MaxForwards,
    HeaderName::ContentType,
    HeaderName::Expires,
    HeaderName::Date,
];

impl Message {
    pub(super) fn check(&self) -> Result<(), Defect> {
        let single = if self.is_response() { 5 } else { SINGLE.len() };
        for name in SINGLE.into_iter().take(single) {
            if self.headers.iter().filter(|header| *header.name() == name).count() > 1 {
                return Err(Defect::Repeated(name));
            }
        }
        for name in [HeaderName::Via, HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq]
        {
            if self.header(name.clone()).is_none() {
                return Err(Defect::Missing(name));
            }
        }
        for header in &self.headers {
            let value = header.value();
            let valid = match header.name() {
                HeaderName::Via => lex::split(&value, b',').all(is_via),
                HeaderName::From | HeaderName::To => is_address(&value),
                HeaderName::CallId => !value.is_empty() && !value.contains([' ', '\t']),
                HeaderName::CSeq => CSeq::parse(&value).is_some(),
                // A call should not fail because of what its other party writes into the rest of a response.
                _ if self.is_response() => true,
                HeaderName::Contact => value == "*" || lex::split(&value, b',').all(is_address),
                HeaderName::Route | HeaderName::RecordRoute => lex::split(&value, b',').all(is_route),
                HeaderName::MaxForwards => decimal(&value).is_some_and(|hops| hops <= 255),
                HeaderName::Expires => decimal(&value).is_some(),
                // Only GMT may stand in a Date (RFC 4475 §3.1.2.12).
                HeaderName::Date => value.ends_with("GMT"),
                _ => true,
            };
            if !valid {
                return Err(Defect::Value(header.name().clone()));
            }
        }
        self.check_method()
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

fn is_via(text: &str) -> bool {
    Via::parse(text)
        .is_some_and(|via| via.params.iter().all(|(name, _)| lex::is_token(name)) && no_empty(via.params))
}

/// Vias carry unquoted IPv6 addresses and odd branches, so only their separators are checked (RFC 4475 §3.1.2.1).
fn no_empty(params: lex::Params<'_>) -> bool {
    params
        .as_str()
        .strip_prefix(';')
        .is_none_or(|inner| lex::split(inner, b';').all(|piece| !piece.is_empty()))
}

fn is_address(text: &str) -> bool {
    NameAddr::parse(text).is_some_and(|address| address.to_uri().is_ok() && address.params.is_well_formed())
}

fn is_route(text: &str) -> bool {
    NameAddr::parse(text).is_some_and(|address| {
        let uri: Result<Uri, _> = address.to_uri();
        uri.is_ok_and(|uri| matches!(uri.scheme(), Scheme::Sip | Scheme::Sips)) && text.contains('<')
    })
}
