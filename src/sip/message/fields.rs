//! Typed views of the fields that the protocol itself reads: Via, the addresses, CSeq. They borrow from the value's text.

use std::borrow::Cow;

use super::lex::{self, Params};
use super::method::Method;
use super::uri::{Uri, UriError, split_port};

/// One Via value (RFC 3261 §20.42).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Via<'a> {
    /// `UDP`, `TCP`, `TLS`, `WS`, ... as written.
    pub transport: &'a str,
    /// The host of sent-by as written.
    pub host: &'a str,
    /// The port of sent-by, where one is written.
    pub port: Option<u16>,
    /// `branch`, `rport`, `received`, ...
    pub params: Params<'a>,
}

impl<'a> Via<'a> {
    /// Reads one value, not a list.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (protocol, rest) = lex::split_once(text, b'/')?;
        let (version, rest) = lex::split_once(rest, b'/')?;
        if !protocol.trim_ascii().eq_ignore_ascii_case("SIP") || version.trim_ascii() != "2.0" {
            return None;
        }
        let rest = rest.trim_ascii_start();
        let (transport, rest) = split_blank(rest)?;
        let (sent_by, params) = rest.split_at(lex::find_byte(rest.as_bytes(), b';').unwrap_or(rest.len()));
        let (host, port) = split_port(sent_by.trim_ascii()).ok()?;
        lex::is_token(transport).then_some(Self { transport, host, port, params: Params::new(params) })
    }

    /// The branch parameter: the transaction's name (RFC 3261 §8.1.1.7).
    pub fn branch(&self) -> Option<&'a str> {
        self.params.get("branch").flatten()
    }

    /// sent-by as `host:port` in lower case, for comparison.
    pub fn sent_by(&self) -> String {
        format!("{}:{}", self.host.to_ascii_lowercase(), self.port.unwrap_or(5060))
    }
}

/// A name-addr or addr-spec with its header parameters (RFC 3261 §20.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The display name as written, with its quotes.
    pub display: Option<&'a str>,
    /// The URI's text.
    pub uri: &'a str,
    /// The parameters of the header, not of the URI.
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Reads one value, not a list. Checks the display name and brackets; the URI is checked by [`Self::to_uri`].
    pub fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim_ascii();
        let (display, rest) = if text.starts_with('"') {
            let (content, rest) = lex::quoted_string(text)?;
            (text.get(..content.len() + 2), rest.trim_ascii_start())
        } else {
            match lex::find_byte(text.as_bytes(), b'<') {
                Some(open) => {
                    let (name, rest) = text.split_at(open);
                    let name = name.trim_ascii();
                    let tokens = name
                        .bytes()
                        .all(|byte| lex::is_token_byte(byte) || matches!(byte, b' ' | b'\t' | 0x80..));
                    if !tokens {
                        return None;
                    }
                    ((!name.is_empty()).then_some(name), rest)
                }
                None => return Self::parse_addr_spec(text),
            }
        };
        let (uri, params) = lex::split_once(rest.strip_prefix('<')?, b'>')?;
        Some(Self { display, uri, params: Params::new(params) })
    }

    /// Without brackets, parameters belong to the header, and `?` and `,` may not stand in the URI (RFC 3261 §20).
    fn parse_addr_spec(text: &'a str) -> Option<Self> {
        let (uri, params) = text.split_at(lex::find_byte(text.as_bytes(), b';').unwrap_or(text.len()));
        let uri = uri.trim_ascii_end();
        (!uri.bytes().any(|byte| matches!(byte, b'?' | b','))).then_some(Self {
            display: None,
            uri,
            params: Params::new(params),
        })
    }

    /// The URI, read.
    pub fn to_uri(&self) -> Result<Uri, UriError> {
        Uri::parse(self.uri)
    }

    /// The display name without quotes and escapes.
    pub fn display_name(&self) -> Option<Cow<'a, str>> {
        self.display.map(lex::unquote)
    }

    /// The tag of From and To.
    pub fn tag(&self) -> Option<&'a str> {
        self.params.get("tag").flatten()
    }
}

/// CSeq (RFC 3261 §20.16).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CSeq {
    /// The sequence number, below 2^31.
    pub number: u32,
    /// The method.
    pub method: Method,
}

impl CSeq {
    /// Reads the value.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, method) = split_blank(text.trim_ascii())?;
        let method = method.trim_ascii();
        let number = decimal(number).filter(|number| *number < 1 << 31)?;
        lex::is_token(method).then(|| Self { number, method: Method::from_token(method) })
    }
}

/// Splits at the first space or tab.
fn split_blank(text: &str) -> Option<(&str, &str)> {
    let at = text.bytes().position(|byte| matches!(byte, b' ' | b'\t'))?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// Reads a number that is all digits.
pub fn decimal(text: &str) -> Option<u32> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// delta-seconds: values past 32 bits mean "very long" and read as the largest (RFC 3261 §20.19 lets them saturate).
pub fn delta_seconds(text: &str) -> Option<u32> {
    let digits = text.trim_ascii();
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vias() {
        let via =
            Via::parse("SIP  / 2.0  / TCP     spindle.example.com   ; branch  =   z9hG4bK9ikj8").unwrap();
        assert_eq!((via.transport, via.host, via.port), ("TCP", "spindle.example.com", None));
        assert_eq!(via.branch(), Some("z9hG4bK9ikj8"));
        let via =
            Via::parse("SIP/2.0/UDP [2001:db8::9:1]:5070;received=2001:db8::1;rport=7;branch=z9hG4bKas3")
                .unwrap();
        assert_eq!((via.host, via.port), ("[2001:db8::9:1]", Some(5070)));
        assert_eq!(via.params.get("received"), Some(Some("2001:db8::1")));
        assert_eq!(via.params.get("rport"), Some(Some("7")));
        for bad in ["SIP/3.0/UDP a", "SIP/2.0/UDP", "SIP/2.0/UDP  ", "HTTP/2.0/UDP a", "SIP/2.0/UDP h x;y"] {
            assert_eq!(Via::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn addresses() {
        let address = NameAddr::parse(r#""J \"R\" <x>"   <sip:j@example.com;lr>  ; tag = 98"#).unwrap();
        assert_eq!(address.display_name().as_deref(), Some(r#"J "R" <x>"#));
        assert_eq!((address.uri, address.tag()), ("sip:j@example.com;lr", Some("98")));
        let address = NameAddr::parse("sip:+12125551212@phone2net.com;tag=887s").unwrap();
        assert_eq!((address.uri, address.tag()), ("sip:+12125551212@phone2net.com", Some("887s")));
        assert_eq!(NameAddr::parse("caller one <tel:+1>").unwrap().display, Some("caller one"));
        for bad in [r#""open <sip:a@b>"#, "Bell, Alexander <sip:a@b>", "<sip:a@b", "sip:a@b?Route=%3C"] {
            assert_eq!(NameAddr::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn sequence_numbers() {
        assert_eq!(CSeq::parse("0009 INVITE"), Some(CSeq { number: 9, method: Method::Invite }));
        for bad in ["36893488147419103232 REGISTER", "2147483648 INVITE", "-1 INVITE", "1", "1 IN VITE", ""] {
            assert_eq!(CSeq::parse(bad), None, "{bad}");
        }
        assert_eq!(delta_seconds("99999999999999"), Some(u32::MAX));
    }
}
