//! Why a request ends something (RFC 3326): the Reason field of BYE, CANCEL and refusals.

use std::fmt;

use super::message::{HeaderName, Message, decimal, lex};

/// The most reasons that are read from one message.
const MAX_REASONS: usize = 8;

/// Whose numbers a cause is from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// A SIP status code.
    Sip,
    /// An ISDN cause value of ITU-T Q.850.
    Q850,
    /// Another registered name.
    Other(Box<str>),
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Whose numbers.
    pub protocol: Protocol,
    /// The number.
    pub cause: Option<u16>,
    /// For a person.
    pub text: Option<String>,
}

impl Reason {
    /// An ISDN cause with its name in ITU-T Q.850, where it is one that we send.
    pub fn q850(cause: u16) -> Self {
        let text = match cause {
            16 => Some("Normal call clearing"),
            19 => Some("No answer from user"),
            26 => Some("Non-selected user clearing"),
            31 => Some("Normal, unspecified"),
            41 => Some("Temporary failure"),
            88 => Some("Incompatible destination"),
            _ => None,
        };
        Self { protocol: Protocol::Q850, cause: Some(cause), text: text.map(str::to_owned) }
    }

    /// A SIP status code: `Reason::sip(200, "Call completed elsewhere")` tells a forked phone that another one answered.
    pub fn sip(status: u16, text: &str) -> Self {
        Self { protocol: Protocol::Sip, cause: Some(status), text: Some(text.to_owned()) }
    }

    /// The reasons of a message, in order; at most eight.
    pub fn of(message: &Message) -> Vec<Self> {
        let values = message.list(HeaderName::Reason);
        values.iter().filter_map(|value| Self::parse_one(value)).take(MAX_REASONS).collect()
    }

    /// The reasons of a field's value, in order; at most eight. What is none is passed over.
    pub fn parse(value: &str) -> Vec<Self> {
        lex::split(value, b',').filter_map(Self::parse_one).take(MAX_REASONS).collect()
    }

    /// The first ISDN cause among `reasons`.
    pub fn isdn(reasons: &[Self]) -> Option<u16> {
        reasons.iter().find(|reason| reason.protocol == Protocol::Q850)?.cause
    }

    fn parse_one(value: &str) -> Option<Self> {
        let (protocol, params) = value.split_at(value.find(';').unwrap_or(value.len()));
        let (protocol, params) = (protocol.trim(), lex::Params::new(params));
        if !lex::is_token(protocol) {
            return None;
        }
        let protocol = match protocol.to_ascii_uppercase().as_str() {
            "SIP" => Protocol::Sip,
            "Q.850" => Protocol::Q850,
            _ => Protocol::Other(protocol.into()),
        };
        let cause = params.value("cause").and_then(|cause| decimal(cause.trim()));
        let cause = cause.and_then(|cause| u16::try_from(cause).ok());
        Some(Self { protocol, cause, text: params.value("text").map(|text| text.into_owned()) })
    }
}

/// Writes the value of the field.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.protocol {
            Protocol::Sip => "SIP",
            Protocol::Q850 => "Q.850",
            Protocol::Other(name) => name,
        })?;
        if let Some(cause) = self.cause {
            write!(f, ";cause={cause}")?;
        }
        if let Some(text) = &self.text {
            write!(f, ";text={}", lex::quote(text))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_read_in_order() {
        let reasons = Reason::parse(
            "SIP ;cause=200 ;text=\"Call, completed \\\"elsewhere\\\"\", q.850 ; cause = 17, X-own;cause=70000, ;;, preemption",
        );
        let expected = [
            Reason::sip(200, "Call, completed \"elsewhere\""),
            Reason { protocol: Protocol::Q850, cause: Some(17), text: None },
            Reason { protocol: Protocol::Other("X-own".into()), cause: None, text: None },
            Reason { protocol: Protocol::Other("preemption".into()), cause: None, text: None },
        ];
        assert_eq!(reasons, expected);
        assert_eq!(Reason::isdn(&reasons), Some(17));
        assert_eq!(Reason::isdn(&reasons[..1]), None);
        assert_eq!(Reason::parse(&"SIP;cause=1,".repeat(1000)).len(), 8);
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(Reason::q850(16).to_string(), "Q.850;cause=16;text=\"Normal call clearing\"");
        for reason in [Reason::q850(17), Reason::q850(41), Reason::sip(600, "say \"no\"")] {
            assert_eq!(Reason::parse(&reason.to_string()), [reason]);
        }
    }
}
