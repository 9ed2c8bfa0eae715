//! URIs: `sip:`, `sips:`, `tel:` (RFC 3966) and any other scheme, kept byte for byte (RFC 3261 §19.1).
//!
//! Nothing is decoded or re-encoded: what came in goes out. Accessors point into the text.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::lex::Params;

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
    scheme: Scheme,
    /// End of the user information (position of `@`), where there is one.
    at: Option<u16>,
    host: (u16, u16),
    port: Option<u16>,
    params: (u16, u16),
}

impl Uri {
    /// The longest URI taken, in bytes.
    pub const MAX: usize = 8192;

    /// Reads a URI; the whole text must be one.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        if text.len() > Self::MAX {
            return Err(UriError::TooLong);
        }
        let colon = text.find(':').ok_or(UriError::Scheme)?;
        let (scheme, rest) = text.split_at(colon);
        let valid = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !valid || !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) || rest.len() < 2 {
            return Err(UriError::Scheme);
        }
        if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f || matches!(byte, b'<' | b'>' | b'"')) {
            return Err(UriError::Character);
        }
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "sip" => Scheme::Sip,
            "sips" => Scheme::Sips,
            "tel" => Scheme::Tel,
            _ => Scheme::Other,
        };
        Self::locate(text, scheme, colon + 1)
    }

    fn locate(text: &str, scheme: Scheme, start: usize) -> Result<Self, UriError> {
        // Text is at most MAX bytes long, so positions fit 16 bits.
        let narrow = |position: usize| position as u16;
        let span = |from: usize, to: usize| (narrow(from), narrow(to));
        let tail = |from: usize| text.get(from..).unwrap_or_default();
        let mut uri = Self {
            text: text.into(),
            scheme,
            at: None,
            host: (0, 0),
            port: None,
            params: span(text.len(), text.len()),
        };
        match scheme {
            Scheme::Other => return Ok(uri),
            Scheme::Tel => {
                let end = tail(start).find(';').map_or(text.len(), |at| start + at);
                uri.host = span(start, end);
                uri.params = span(end, text.len());
                return if end > start { Ok(uri) } else { Err(UriError::Host) };
            }
            Scheme::Sip | Scheme::Sips => {}
        }
        let at = tail(start).find('@').map(|at| start + at);
        uri.at = at.map(narrow);
        let host = at.map_or(start, |at| at + 1);
        let headers = tail(host).find('?').map_or(text.len(), |at| host + at);
        let params = text.get(host..headers).and_then(|part| part.find(';')).map_or(headers, |at| host + at);
        let (host_text, port) = split_port(text.get(host..params).unwrap_or_default())?;
        uri.host = span(host, host + host_text.len());
        uri.port = port;
        uri.params = span(params, headers);
        Ok(uri)
    }

    /// The URI as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The user part as written, escapes kept, without a password.
    pub fn user(&self) -> Option<&str> {
        let at = usize::from(self.at?);
        let start = self.text.find(':')? + 1;
        let info = self.text.get(start..at)?;
        Some(info.split_once(':').map_or(info, |(user, _)| user))
    }

    /// The user part with its `%` escapes decoded. The bytes need not be UTF-8 and may hold NUL.
    pub fn user_decoded(&self) -> Option<Vec<u8>> {
        self.user().map(percent_decode)
    }

    /// The host as written (IPv6 with its brackets); for `tel:` the number; empty for other schemes.
    pub fn host(&self) -> &str {
        self.text.get(usize::from(self.host.0)..usize::from(self.host.1)).unwrap_or_default()
    }

    /// The port, where one is written.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The parameters of the URI.
    pub fn params(&self) -> Params<'_> {
        Params::new(self.text.get(usize::from(self.params.0)..usize::from(self.params.1)).unwrap_or_default())
    }

    /// The headers part after `?`, where there is one.
    pub fn headers(&self) -> Option<&str> {
        match self.scheme {
            Scheme::Sip | Scheme::Sips => self.text.get(usize::from(self.params.1) + 1..),
            Scheme::Tel | Scheme::Other => None,
        }
    }

    /// The telephone number or user: `tel:` number, or the user part of a SIP URI without its parameters.
    pub fn number(&self) -> Option<&str> {
        match self.scheme {
            Scheme::Tel => Some(self.host()),
            _ => self.user().map(|user| user.split(';').next().unwrap_or(user)),
        }
    }

    /// The address when the host is a literal one; the port defaults to 5060 (RFC 3261 §19.1.2).
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self.scheme {
            Scheme::Sip | Scheme::Sips => {
                let default = if self.scheme == Scheme::Sips { 5061 } else { 5060 };
                Some(SocketAddr::new(ip_literal(self.host())?, self.port.unwrap_or(default)))
            }
            Scheme::Tel | Scheme::Other => None,
        }
    }
}

/// Splits `host[:port]`, brackets of IPv6 kept on the host.
pub(super) fn split_port(text: &str) -> Result<(&str, Option<u16>), UriError> {
    let (host, port) = match text.find(']') {
        Some(end) => {
            let (host, rest) = text.split_at(end + 1);
            match rest.trim().strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.trim().is_empty() => (host, None),
                None => return Err(UriError::Host),
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let name = host.trim();
    if !is_host(name) {
        return Err(UriError::Host);
    }
    let port = match port.map(str::trim) {
        None => None,
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse::<u16>().ok().filter(|port| *port > 0).ok_or(UriError::Port)?)
        }
        Some(_) => return Err(UriError::Port),
    };
    Ok((name, port))
}

fn is_host(host: &str) -> bool {
    if host.starts_with('[') {
        return ip_literal(host).is_some();
    }
    // Underscores are outside the grammar, yet carriers' host names have them.
    !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// Reads an IPv4 address, or an IPv6 address with or without brackets.
pub fn ip_literal(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => host.parse().ok(),
    }
}

/// Decodes `%` escapes; what is no escape stays.
pub(crate) fn percent_decode(text: &str) -> Vec<u8> {
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
        let host = if self.scheme == Scheme::Tel { "…" } else { self.host() };
        write!(f, "Uri({:?} …@{host})", self.scheme)
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
