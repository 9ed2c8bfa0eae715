//! Header fields: the bytes as they came, and which field it is.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::lex::is_token_byte;

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
            /// The usual spelling.
            pub fn as_str(&self) -> &str {
                match self { $(Self::$variant => $name,)+ Self::Other(name) => name }
            }
        }

        /// Every spelling that is known, compact forms included.
        const SPELLINGS: &[&str] = &[$($name, $($compact,)?)+];

        /// What each of [`SPELLINGS`] names, in the same order.
        static SPELLED: &[HeaderName] = &[$(HeaderName::$variant, $(header_names!(@also $compact $variant),)?)+];
    };
    (@also $compact:literal $variant:ident) => { HeaderName::$variant };
}

/// An open hash table over [`SPELLINGS`], made by the compiler: each entry is an index plus one, 0 is free. A name is
/// found with one comparison mostly, and without an allocation.
const SLOTS: [u8; 256] = {
    let mut slots = [0; 256];
    let mut index = 0;
    while index < SPELLINGS.len() {
        let mut slot = slot(SPELLINGS[index].as_bytes());
        while slots[slot as usize] != 0 {
            slot = slot.wrapping_add(1);
        }
        index += 1;
        slots[slot as usize] = index as u8;
    }
    slots
};

/// Where the search for a spelling begins; upper and lower case begin at the same place.
const fn slot(token: &[u8]) -> u8 {
    match token {
        [first, .., last] => {
            let length = token.len() as u8;
            let ends = (*first | 0x20).wrapping_mul(5).wrapping_add((*last | 0x20).wrapping_mul(17));
            ends.wrapping_add(length.wrapping_mul(11))
        }
        [only] => (*only | 0x20).wrapping_mul(5),
        [] => 0,
    }
}

impl HeaderName {
    /// Recognises a name, whatever its case, compact or not.
    pub fn from_token(token: &str) -> Self {
        Self::from_bytes(token.as_bytes())
    }

    fn from_bytes(token: &[u8]) -> Self {
        let mut at = slot(token);
        while let Some(index) =
            SLOTS.get(usize::from(at)).and_then(|entry| usize::from(*entry).checked_sub(1))
        {
            match (SPELLINGS.get(index), SPELLED.get(index)) {
                (Some(spelling), Some(name)) if token.eq_ignore_ascii_case(spelling.as_bytes()) => {
                    return name.clone();
                }
                _ => at = at.wrapping_add(1),
            }
        }
        Self::Other(String::from_utf8_lossy(token).to_ascii_lowercase().into())
    }
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
    SessionExpires = "Session-Expires", "x";
    MinSe = "Min-SE";
    RSeq = "RSeq";
    RAck = "RAck";
    Replaces = "Replaces";
    ReferredBy = "Referred-By", "b";
    ReferSub = "Refer-Sub";
    SubscriptionState = "Subscription-State";
    AllowEvents = "Allow-Events", "u";
    Path = "Path";
    ServiceRoute = "Service-Route";
    PPreferredIdentity = "P-Preferred-Identity";
    InfoPackage = "Info-Package";
    RecvInfo = "Recv-Info";
    Diversion = "Diversion";
    HistoryInfo = "History-Info";
    Identity = "Identity", "y";
    Warning = "Warning";
    Timestamp = "Timestamp";
    ReplyTo = "Reply-To";
    AcceptEncoding = "Accept-Encoding";
    AcceptLanguage = "Accept-Language";
    AcceptContact = "Accept-Contact", "a";
    RejectContact = "Reject-Contact", "j";
    RequestDisposition = "Request-Disposition", "d";
    AlertInfo = "Alert-Info";
    CallInfo = "Call-Info";
    MimeVersion = "MIME-Version";
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One header field line, folding and all, exactly as it was written (without the final CRLF).
///
/// The fields of a message that was read share one block of bytes, so a clone copies no text.
#[derive(Clone)]
pub struct Header {
    name: HeaderName,
    line: Shared,
    /// Where the value starts in the line.
    value: u32,
    /// Whether the value runs over several lines.
    folded: bool,
}

impl Header {
    /// Writes a field. Line breaks and NUL in `value` become spaces, so a value cannot smuggle in another field.
    pub fn new(name: HeaderName, value: &str) -> Self {
        let text = name.as_str().as_bytes();
        let harmless = |byte| if matches!(byte, b'\r' | b'\n' | 0) { b' ' } else { byte };
        let bytes: Arc<[u8]> =
            text.iter().copied().chain(*b": ").chain(value.bytes().map(harmless)).collect();
        let value = text.len() as u32 + 2;
        Self { name, line: Shared::whole(bytes), value, folded: false }
    }

    /// Takes a line that is not part of a message: `None` without a colon or when the name is no token.
    pub(super) fn from_line(line: &[u8]) -> Option<Self> {
        Self::from_shared(Shared::whole(line.into()), line.contains(&b'\n'))
    }

    /// Takes a line of a message: `None` without a colon or when the name is no token.
    pub(super) fn from_shared(line: Shared, folded: bool) -> Option<Self> {
        let bytes = line.as_slice();
        let length = bytes.iter().position(|byte| !is_token_byte(*byte)).filter(|length| *length > 0)?;
        let (name, rest) = bytes.split_at_checked(length)?;
        let blanks = rest.iter().position(|byte| !matches!(byte, b' ' | b'\t'))?;
        if rest.get(blanks) != Some(&b':') {
            return None;
        }
        let value = u32::try_from(length + blanks + 1).ok()?;
        Some(Self { name: HeaderName::from_bytes(name), line, value, folded })
    }

    /// Which field this is.
    pub fn name(&self) -> &HeaderName {
        &self.name
    }

    /// The whole line as it goes onto the wire, without the final CRLF.
    pub fn raw(&self) -> &[u8] {
        self.line.as_slice()
    }

    /// The value, trimmed, with line folding undone (RFC 3261 §7.3.1). Bytes outside UTF-8 show as U+FFFD.
    pub fn value(&self) -> Cow<'_, str> {
        match std::str::from_utf8(self.raw_value()) {
            Ok(text) if !self.folded => Cow::Borrowed(text),
            Ok(text) => Cow::Owned(unfold(text)),
            Err(_) => Cow::Owned(unfold(&String::from_utf8_lossy(self.raw_value()))),
        }
    }

    /// The value's bytes as they came, trimmed at both ends, folding and stray bytes kept.
    pub fn raw_value(&self) -> &[u8] {
        self.raw().get(self.value as usize..).unwrap_or_default().trim_ascii()
    }
}

/// Compares the bytes; they hold the name.
impl PartialEq for Header {
    fn eq(&self, other: &Self) -> bool {
        self.raw() == other.raw()
    }
}

impl Eq for Header {}

/// A stretch of bytes in a block that others share.
#[derive(Clone, Default)]
pub(super) struct Shared {
    block: Arc<[u8]>,
    start: u32,
    end: u32,
}

impl Shared {
    /// The whole block, of at most 4 GiB.
    pub(super) fn whole(block: Arc<[u8]>) -> Self {
        let end = u32::try_from(block.len()).unwrap_or(u32::MAX);
        Self { block, start: 0, end }
    }

    /// `length` bytes of the block from `start`.
    pub(super) fn part(block: &Arc<[u8]>, start: usize, length: usize) -> Self {
        let narrow = |position| u32::try_from(position).unwrap_or(u32::MAX);
        Self { block: block.clone(), start: narrow(start), end: narrow(start.saturating_add(length)) }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        self.block.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

impl PartialEq for Shared {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Shared {}

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
        write!(f, "{}: … ({} bytes)", self.name, self.raw().len())
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
        for (spelling, name) in SPELLINGS.iter().zip(SPELLED) {
            assert_eq!(HeaderName::from_token(&spelling.to_ascii_uppercase()), *name);
            assert_eq!(HeaderName::from_token(&name.as_str().to_ascii_lowercase()), *name);
        }
        assert_eq!(HeaderName::from_token(""), HeaderName::Other("".into()));
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
