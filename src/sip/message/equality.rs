//! When two URIs mean the same: RFC 3261 §19.1.4 for `sip:` and `sips:`, RFC 3966 §4 for `tel:`.

use std::collections::BTreeMap;

use super::lex::Params;
use super::uri::{Scheme, Uri, ip_literal};

/// Parameters that make a difference when only one of the two URIs has them (RFC 3261 §19.1.4; `transport` by its
/// examples).
const DECISIVE: [&[u8]; 5] = [b"user", b"ttl", b"method", b"maddr", b"transport"];

impl Uri {
    /// Whether both URIs mean the same resource. Not transitive: a URI without a parameter equals two that differ in it.
    /// Takes time in proportion to their length (and a logarithm of the number of parameters).
    pub fn is_equivalent(&self, other: &Self) -> bool {
        match (self.scheme(), other.scheme()) {
            (Scheme::Sip, Scheme::Sip) | (Scheme::Sips, Scheme::Sips) => {
                normal(self.user_info(), false) == normal(other.user_info(), false)
                    && self.user_info().is_some() == other.user_info().is_some()
                    && same_host(self.host(), other.host())
                    && self.port() == other.port()
                    && same_params(self.params(), other.params())
                    && header_fields(self.headers()) == header_fields(other.headers())
            }
            (Scheme::Tel, Scheme::Tel) => match (self.tel(), other.tel()) {
                (Some(one), Some(other)) => one == other,
                _ => self == other,
            },
            _ => self == other,
        }
    }
}

fn same_host(one: &str, other: &str) -> bool {
    match (ip_literal(one), ip_literal(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one.eq_ignore_ascii_case(other),
    }
}

fn same_params(one: Params<'_>, other: Params<'_>) -> bool {
    let (one, other) = (by_name(one), by_name(other));
    let agree = |one: &Named, other: &Named| {
        one.iter().all(|(name, value)| match other.get(name) {
            Some(theirs) => theirs == value,
            None => !DECISIVE.contains(&name.as_slice()),
        })
    };
    agree(&one, &other) && agree(&other, &one)
}

type Named = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// The first value of each name.
fn by_name(params: Params<'_>) -> Named {
    let mut named = Named::new();
    for (name, value) in params.iter() {
        named.entry(normal(Some(name), true)).or_insert_with(|| value.map(|value| normal(Some(value), true)));
    }
    named
}

/// Header fields of a URI, in one order.
fn header_fields(text: Option<&str>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut fields: Vec<_> = text
        .unwrap_or_default()
        .split('&')
        .filter(|field| !field.is_empty())
        .map(|field| field.split_once('=').unwrap_or((field, "")))
        .map(|(name, value)| (normal(Some(name), true), normal(Some(value), true)))
        .collect();
    fields.sort_unstable();
    fields
}

/// Escapes of characters that need none are undone; escapes of reserved characters stay, because they do not mean the
/// character itself (RFC 3261 §19.1.4, RFC 2396 §2.2).
fn normal(text: Option<&str>, any_case: bool) -> Vec<u8> {
    let bytes = text.unwrap_or_default().as_bytes();
    let hex = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = match (byte, hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => Some((high * 16 + low) as u8),
            _ => None,
        };
        match escaped {
            Some(b';' | b'/' | b'?' | b':' | b'@' | b'&' | b'=' | b'+' | b'$' | b',' | b'%') => {
                plain.extend(bytes.get(at..at + 3).unwrap_or_default().to_ascii_uppercase());
            }
            Some(decoded) => plain.push(decoded),
            None => plain.push(byte),
        }
        at += if escaped.is_some() { 3 } else { 1 };
    }
    if any_case {
        plain.make_ascii_lowercase();
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equivalent(one: &str, other: &str) -> bool {
        let (one, other) = (Uri::parse(one).unwrap(), Uri::parse(other).unwrap());
        assert_eq!(one.is_equivalent(&other), other.is_equivalent(&one));
        assert!(one.is_equivalent(&one) && other.is_equivalent(&other));
        one.is_equivalent(&other)
    }

    #[test]
    fn the_examples_of_rfc_3261_19_1_4() {
        let equal = [
            ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtlanTa.CoM;Transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
            ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            ),
        ];
        for (one, other) in equal {
            assert!(equivalent(one, other), "{one} {other}");
        }
        let different = [
            ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
            // Two that the text gives and the table does not.
            ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
            ("sip:carol@chicago.com", "sips:carol@chicago.com"),
        ];
        for (one, other) in different {
            assert!(!equivalent(one, other), "{one} {other}");
        }
    }

    #[test]
    fn addresses_escapes_and_repeated_parameters() {
        assert!(equivalent("sip:a@[2001:db8::1]", "sip:a@[2001:DB8:0::0:1]"));
        assert!(!equivalent("sip:a%40b@c", "sip:a%3Ab@c"));
        assert!(equivalent("sip:a%3bb@c", "sip:a%3Bb@c"));
        assert!(!equivalent("sip:@c", "sip:c") && !equivalent("sip:a:b@c", "sip:a@c"));
        assert!(equivalent("sip:c;a=1;a=2", "sip:c;A=1"));
        assert!(equivalent("urn:service:sos", "urn:service:sos") && !equivalent("urn:a", "urn:A"));
    }
}
