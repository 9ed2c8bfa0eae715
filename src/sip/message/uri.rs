//! URIs: `sip:`, `sips:`, `tel:` (RFC 3966) and any other scheme, kept byte for byte (RFC 3261 §19.1).
//!
//! Nothing is decoded or re-encoded: what came in goes out. Accessors point into the text.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::lex::{self, Params};

/// The scheme of a [`Uri`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`
    Tel,
    /// Any other: the text after the colon is opaque.
    Other,
}

/// Why a text is no URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// No scheme and colon at the start.
    #[error("the URI has no scheme")]
    Scheme,
    /// White space, a control character, a quote or an angle bracket inside.
    #[error("the URI holds a character that must be escaped")]
    Character,
    /// The host is empty or no name or address.
    #[error("the URI's host is no name or address")]
    Host,
    /// The port is no number from 1 to 65535.
    #[error("the URI's port is no number from 1 to 65535")]
    Port,
    /// Longer than [`Uri::MAX`].
    #[error("the URI is too long")]
    TooLong,
}

/// A URI and where its parts are. Compares by its text.
#[derive(Clone)]
pub struct Uri {
    text: Box<str>,
    parts: Parts,
}

/// Where the parts of a URI are in its text. Texts are at most [`Uri::MAX`] bytes long, so positions fit 16 bits.
#[derive(Clone, Copy)]
struct Parts {
    scheme: Scheme,
    /// Where the scheme's colon is.
    colon: u16,
    /// End of the user information (position of `@`), where there is one.
    at: Option<u16>,
    host: (u16, u16),
    port: Option<u16>,
    params: (u16, u16),
}

impl Parts {
    fn locate(text: &str) -> Result<Self, UriError> {
        if text.len() > Uri::MAX {
            return Err(UriError::TooLong);
        }
        let colon = lex::find_byte(text.as_bytes(), b':').ok_or(UriError::Scheme)?;
        let (scheme, rest) = text.split_at(colon);
        let valid =
            scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        if !valid || !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) || rest.len() < 2 {
            return Err(UriError::Scheme);
        }
        // No early exit: the loop has no branches then.
        let misplaced =
            |byte: u8| (byte <= b' ') | (byte == 0x7f) | (byte == b'<') | (byte == b'>') | (byte == b'"');
        if text.bytes().fold(false, |found, byte| found | misplaced(byte)) {
            return Err(UriError::Character);
        }
        let mut parts = Self {
            scheme: Scheme::from_token(scheme),
            colon: colon as u16,
            at: None,
            host: (0, 0),
            port: None,
            params: (text.len() as u16, text.len() as u16),
        };
        match parts.scheme {
            Scheme::Other => Ok(()),
            Scheme::Tel => parts.locate_number(text),
            Scheme::Sip | Scheme::Sips => parts.locate_host(text),
        }?;
        Ok(parts)
    }

    fn locate_number(&mut self, text: &str) -> Result<(), UriError> {
        let start = usize::from(self.colon) + 1;
        let end = position(text, start, text.len(), b';').unwrap_or(text.len());
        self.host = (start as u16, end as u16);
        self.params.0 = end as u16;
        if end > start { Ok(()) } else { Err(UriError::Host) }
    }

    fn locate_host(&mut self, text: &str) -> Result<(), UriError> {
        let start = usize::from(self.colon) + 1;
        let at = position(text, start, text.len(), b'@');
        let host = at.map_or(start, |at| at + 1);
        let headers = position(text, host, text.len(), b'?').unwrap_or(text.len());
        let params = position(text, host, headers, b';').unwrap_or(headers);
        let (name, port) = split_port(text.get(host..params).unwrap_or_default())?;
        self.at = at.map(|at| at as u16);
        self.host = (host as u16, (host + name.len()) as u16);
        self.port = port;
        self.params = (params as u16, headers as u16);
        Ok(())
    }
}

/// Where `wanted` first stands in `text[from..to]`.
fn position(text: &str, from: usize, to: usize, wanted: u8) -> Option<usize> {
    lex::find_byte(text.as_bytes().get(from..to)?, wanted).map(|at| from + at)
}

impl Scheme {
    fn from_token(token: &str) -> Self {
        let known = [("sip", Self::Sip), ("sips", Self::Sips), ("tel", Self::Tel)];
        known
            .iter()
            .find(|(name, _)| token.eq_ignore_ascii_case(name))
            .map_or(Self::Other, |(_, scheme)| *scheme)
    }
}

impl Uri {
    /// The longest URI taken, in bytes.
    pub const MAX: usize = 8192;

    /// Reads a URI; the whole text must be one.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let parts = Parts::locate(text)?;
        Ok(Self { text: text.into(), parts })
    }

    /// Whether the whole text is a URI, and its scheme, without keeping it.
    pub fn check(text: &str) -> Result<Scheme, UriError> {
        Parts::locate(text).map(|parts| parts.scheme)
    }

    /// The URI as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.parts.scheme
    }

    /// The user part as written, escapes kept, without a password.
    pub fn user(&self) -> Option<&str> {
        let info = self.user_info()?;
        Some(info.split_once(':').map_or(info, |(user, _)| user))
    }

    /// User and password as written, where there is an `@`.
    pub(super) fn user_info(&self) -> Option<&str> {
        let start = usize::from(self.parts.colon) + 1;
        self.text.get(start..usize::from(self.parts.at?))
    }

    /// The user part with its `%` escapes decoded. The bytes need not be UTF-8 and may hold NUL.
    pub fn user_decoded(&self) -> Option<Vec<u8>> {
        self.user().map(percent_decode)
    }

    /// The host as written (IPv6 with its brackets); for `tel:` the number; empty for other schemes.
    pub fn host(&self) -> &str {
        self.text.get(usize::from(self.parts.host.0)..usize::from(self.parts.host.1)).unwrap_or_default()
    }

    /// The port, where one is written.
    pub fn port(&self) -> Option<u16> {
        self.parts.port
    }

    /// The parameters of the URI.
    pub fn params(&self) -> Params<'_> {
        Params::new(
            self.text
                .get(usize::from(self.parts.params.0)..usize::from(self.parts.params.1))
                .unwrap_or_default(),
        )
    }

    /// The headers part after `?`, where there is one.
    pub fn headers(&self) -> Option<&str> {
        match self.parts.scheme {
            Scheme::Sip | Scheme::Sips => self.text.get(usize::from(self.parts.params.1) + 1..),
            Scheme::Tel | Scheme::Other => None,
        }
    }

    /// The telephone number or user: `tel:` number, or the user part of a SIP URI without its parameters.
    pub fn number(&self) -> Option<&str> {
        match self.parts.scheme {
            Scheme::Tel => Some(self.host()),
            _ => self.user().map(|user| user.split(';').next().unwrap_or(user)),
        }
    }

    /// The address when the host is a literal one; the port defaults to 5060 (RFC 3261 §19.1.2).
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self.parts.scheme {
            Scheme::Sip | Scheme::Sips => {
                let default = if self.parts.scheme == Scheme::Sips { 5061 } else { 5060 };
                Some(SocketAddr::new(ip_literal(self.host())?, self.parts.port.unwrap_or(default)))
            }
            Scheme::Tel | Scheme::Other => None,
        }
    }
}

/// Splits `host[:port]`, brackets of IPv6 kept on the host. White space may stand around the colon: sent-by has some.
pub(super) fn split_port(text: &str) -> Result<(&str, Option<u16>), UriError> {
    let length = match text.starts_with('[') {
        true => lex::find_byte(text.as_bytes(), b']').map_or(0, |end| end + 1),
        false => text.bytes().position(|byte| !lex::is_host_byte(byte)).unwrap_or(text.len()),
    };
    let (host, rest) = text.split_at(length);
    if host.is_empty() || (host.starts_with('[') && ip_literal(host).is_none()) {
        return Err(UriError::Host);
    }
    let rest = rest.trim_ascii_start();
    if rest.is_empty() {
        return Ok((host, None));
    }
    let digits = rest.strip_prefix(':').ok_or(UriError::Host)?.trim_ascii();
    let valid = digits.bytes().all(|byte| byte.is_ascii_digit());
    let port = digits.parse::<u16>().ok().filter(|port| valid && *port > 0).ok_or(UriError::Port)?;
    Ok((host, Some(port)))
}

/// Reads an IPv4 address, or an IPv6 address with or without brackets.
pub fn ip_literal(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => host.parse().ok(),
    }
}

fn percent_decode(text: &str) -> Vec<u8> {
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match (byte, hex(bytes.get(at + 1)), hex(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

impl PartialEq for Uri {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Uri {}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Shows the scheme and host only: the user part is somebody's number.
impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = if self.parts.scheme == Scheme::Tel { "…" } else { self.host() };
        write!(f, "Uri({:?} …@{host})", self.parts.scheme)
    }
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found() {
        let uri =
            Uri::parse("sip:user;par=u%40example.net:secret@[2001:db8::1]:5070;transport=udp;lr?Subject=a")
                .unwrap();
        assert_eq!(uri.user(), Some("user;par=u%40example.net"));
        assert_eq!(uri.user_decoded().unwrap(), b"user;par=u@example.net");
        assert_eq!((uri.host(), uri.port()), ("[2001:db8::1]", Some(5070)));
        assert_eq!(uri.params().get("transport"), Some(Some("udp")));
        assert_eq!(uri.params().get("lr"), Some(None));
        assert_eq!(uri.headers(), Some("Subject=a"));
        assert_eq!(uri.socket_addr(), Some("[2001:db8::1]:5070".parse().unwrap()));
        assert_eq!(uri.number(), Some("user"));
    }

    #[test]
    fn telephone_numbers_and_unknown_schemes() {
        let uri = Uri::parse("tel:+49-30-1234;phone-context=example.com").unwrap();
        assert_eq!((uri.scheme(), uri.number()), (Scheme::Tel, Some("+49-30-1234")));
        assert_eq!(uri.params().get("phone-context"), Some(Some("example.com")));
        assert_eq!(uri.to_string(), "tel:+49-30-1234;phone-context=example.com");
        assert_eq!(Uri::parse("isbn:2983792873").unwrap().scheme(), Scheme::Other);
    }

    #[test]
    fn bad_uris_are_refused() {
        let table = [
            ("example.com", UriError::Scheme),
            ("<sip:a@b>", UriError::Scheme),
            ("sip:", UriError::Scheme),
            ("sip:a b@c", UriError::Character),
            ("sip:a@", UriError::Host),
            ("sip:a@b@c", UriError::Host),
            ("sip:a@[::1", UriError::Host),
            ("sip:a@b:0", UriError::Port),
            ("sip:a@b:65536", UriError::Port),
            ("sip:a@b:", UriError::Port),
            ("tel:;x=y", UriError::Host),
        ];
        for (text, error) in table {
            assert_eq!(Uri::parse(text).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn debug_hides_the_number() {
        assert!(!format!("{:?}", Uri::parse("sip:+4930123@example.com").unwrap()).contains("4930"));
        assert!(!format!("{:?}", Uri::parse("tel:+4930123").unwrap()).contains("4930"));
    }
}
