//! Header fields: the bytes as they came, and which field it is.

use std::borrow::Cow;
use std::fmt;

macro_rules! header_names {
    ($($variant:ident = $name:literal $(, $compact:literal)?;)+) => {
        /// The name of a header field. Known names compare without case and in compact form (RFC 3261 §7.3.3).
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum HeaderName {
            $(#[doc = concat!("`", $name, "`")] $variant,)+
            /// Any other name, in lower case.
            Other(Box<str>),
        }

        impl HeaderName {
            /// Recognises a name, whatever its case, compact or not.
            pub fn from_token(token: &str) -> Self {
                $(if token.eq_ignore_ascii_case($name) $(|| token.eq_ignore_ascii_case($compact))? {
                    return Self::$variant;
                })+
                Self::Other(token.to_ascii_lowercase().into())
            }

            /// The usual spelling.
            pub fn as_str(&self) -> &str {
                match self { $(Self::$variant => $name,)+ Self::Other(name) => name }
            }
        }
    };
}

header_names! {
    Via = "Via", "v";
    From = "From", "f";
    To = "To", "t";
    CallId = "Call-ID", "i";
    CSeq = "CSeq";
    Contact = "Contact", "m";
    MaxForwards = "Max-Forwards";
    ContentLength = "Content-Length", "l";
    ContentType = "Content-Type", "c";
    Route = "Route";
    RecordRoute = "Record-Route";
    UserAgent = "User-Agent";
    Allow = "Allow";
    Supported = "Supported", "k";
    Require = "Require";
    Authorization = "Authorization";
    ProxyAuthorization = "Proxy-Authorization";
    WwwAuthenticate = "WWW-Authenticate";
    ProxyAuthenticate = "Proxy-Authenticate";
    Accept = "Accept";
    Expires = "Expires";
    MinExpires = "Min-Expires";
    RetryAfter = "Retry-After";
    Reason = "Reason";
    Server = "Server";
    Unsupported = "Unsupported";
    ProxyRequire = "Proxy-Require";
    ContentEncoding = "Content-Encoding", "e";
    ContentDisposition = "Content-Disposition";
    Date = "Date";
    Subject = "Subject", "s";
    PAssertedIdentity = "P-Asserted-Identity";
    Privacy = "Privacy";
    Event = "Event", "o";
    ReferTo = "Refer-To", "r";
    AuthenticationInfo = "Authentication-Info";
    InfoPackage = "Info-Package";
    RecvInfo = "Recv-Info";
    PPreferredIdentity = "P-Preferred-Identity";
    Diversion = "Diversion";
    HistoryInfo = "History-Info";
    Replaces = "Replaces";
    ReferredBy = "Referred-By", "b";
    ReferSub = "Refer-Sub";
    SubscriptionState = "Subscription-State";
    AllowEvents = "Allow-Events", "u";
    Path = "Path";
    ServiceRoute = "Service-Route";
    RSeq = "RSeq";
    RAck = "RAck";
    SessionExpires = "Session-Expires", "x";
    MinSe = "Min-SE";
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One header field line, folding and all, exactly as it was written (without the final CRLF).
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    name: HeaderName,
    raw: Box<[u8]>,
    /// Where the value starts in `raw`.
    value: usize,
}

impl Header {
    /// Writes a field. Line breaks and NUL in `value` become spaces, so a value cannot smuggle in another field.
    pub fn new(name: HeaderName, value: &str) -> Self {
        let mut raw = Vec::with_capacity(name.as_str().len() + 2 + value.len());
        raw.extend_from_slice(name.as_str().as_bytes());
        raw.extend_from_slice(b": ");
        let start = raw.len();
        raw.extend(value.bytes().map(|byte| if matches!(byte, b'\r' | b'\n' | 0) { b' ' } else { byte }));
        Self { name, raw: raw.into(), value: start }
    }

    /// Takes a line from the wire: `None` without a colon or when the name is no token.
    pub(super) fn from_line(line: &[u8]) -> Option<Self> {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = std::str::from_utf8(line.get(..colon)?).ok()?.trim_end_matches([' ', '\t']);
        if !super::lex::is_token(name) {
            return None;
        }
        Some(Self { name: HeaderName::from_token(name), raw: line.into(), value: colon + 1 })
    }

    /// Which field this is.
    pub fn name(&self) -> &HeaderName {
        &self.name
    }

    /// The whole line as it goes onto the wire, without the final CRLF.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The value, trimmed, with line folding undone (RFC 3261 §7.3.1). Bytes outside UTF-8 show as U+FFFD.
    pub fn value(&self) -> Cow<'_, str> {
        let bytes = self.raw.get(self.value..).unwrap_or_default().trim_ascii();
        match String::from_utf8_lossy(bytes) {
            Cow::Borrowed(text) if !text.contains('\n') => Cow::Borrowed(text),
            text => Cow::Owned(unfold(&text)),
        }
    }

    /// The same field with another name and value bytes: responses copy fields this way.
    pub(super) fn raw_value(&self) -> &[u8] {
        self.raw.get(self.value..).unwrap_or_default().trim_ascii()
    }
}

/// A line break and the white space around it is one space.
fn unfold(text: &str) -> String {
    let mut unfolded = String::with_capacity(text.len());
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            unfolded.push(' ');
            unfolded.push_str(line.trim());
        } else {
            unfolded.push_str(line.trim_end());
        }
    }
    unfolded
}

/// Shows the name only: values hold numbers and names.
impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: … ({} bytes)", self.name, self.raw.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_by_any_case_and_compact_form() {
        for token in ["Call-ID", "call-id", "CALL-ID", "i", "I"] {
            assert_eq!(HeaderName::from_token(token), HeaderName::CallId);
        }
        assert_eq!(HeaderName::from_token("X-Thing"), HeaderName::Other("x-thing".into()));
    }

    #[test]
    fn folding_is_undone_and_kept() {
        let header = Header::from_line(b"s \t:  one\r\n  two\r\n\tthree ").unwrap();
        assert_eq!(header.value(), "one two three");
        assert_eq!(header.raw(), b"s \t:  one\r\n  two\r\n\tthree ");
        assert_eq!(*header.name(), HeaderName::Subject);
    }

    #[test]
    fn a_value_cannot_inject_a_field() {
        assert_eq!(
            Header::new(HeaderName::Reason, "a\r\nRoute: <sip:evil>").raw(),
            b"Reason: a  Route: <sip:evil>"
        );
    }
}
