//! What a transfer is told in: Refer-To with Replaces (RFC 3515 §2.1, RFC 3891), the state of its implicit subscription
//! (RFC 6665 §4.1.3) and the fragments that report on it (RFC 3420).

use std::fmt;
use std::time::Duration;

use super::body::Body;
use super::message::{
    Header, HeaderName, Message, NameAddr, Scheme, Uri, decimal, lex, percent_decode, reason_phrase,
};

/// The Content-Type of a report.
pub const FRAGMENT: &str = "message/sipfrag";

/// A dialog that an INVITE takes the place of, named from the side that gets the INVITE (RFC 3891 §6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaces {
    /// The dialog's Call-ID.
    pub call_id: String,
    /// The tag of who gets the INVITE; `0` for none.
    pub to_tag: String,
    /// The tag of the other side of that dialog; `0` for none.
    pub from_tag: String,
    /// Only when it is not answered yet.
    pub early_only: bool,
}

/// A Replaces field that names no dialog, or several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Replaces names no single dialog")]
pub struct BadReplaces;

impl Replaces {
    /// Reads a value.
    ///
    /// # Errors
    /// A tag is missing or there twice, or the Call-ID is empty.
    pub fn parse(value: &str) -> Result<Self, BadReplaces> {
        let (call_id, params) = value.split_at(value.find(';').ok_or(BadReplaces)?);
        let call_id = call_id.trim().to_owned();
        let params = lex::Params::new(params);
        let tag = |name: &str| {
            let mut found = params.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
            let (tag, another) = (found.next().and_then(|(_, tag)| tag), found.next());
            tag.filter(|tag| another.is_none() && lex::is_token(tag)).map(str::to_owned)
        };
        let (to_tag, from_tag) = tag("to-tag").zip(tag("from-tag")).ok_or(BadReplaces)?;
        let printable = !call_id.is_empty() && call_id.bytes().all(|byte| byte.is_ascii_graphic());
        let early_only = params.get("early-only").is_some();
        if printable { Ok(Self { call_id, to_tag, from_tag, early_only }) } else { Err(BadReplaces) }
    }

    /// Reads the field of an INVITE; `None` without one.
    ///
    /// # Errors
    /// It names no single dialog.
    pub fn of(invite: &Message) -> Result<Option<Self>, BadReplaces> {
        let mut lines = invite.lines(HeaderName::Replaces);
        match (lines.next(), lines.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => Self::parse(&value).map(Some),
            (Some(_), Some(_)) => Err(BadReplaces),
        }
    }

    /// The fields of an INVITE that takes that dialog's place; without Require, whoever does not know Replaces would take it
    /// for a new call.
    pub fn fields(&self) -> Vec<Header> {
        vec![
            Header::new(HeaderName::Replaces, &self.to_string()),
            Header::new(HeaderName::Require, "replaces"),
        ]
    }
}

/// Writes the value of the field.
impl fmt::Display for Replaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};to-tag={};from-tag={}", self.call_id, self.to_tag, self.from_tag)?;
        f.write_str(if self.early_only { ";early-only" } else { "" })
    }
}

/// Whom to call (RFC 3515 §2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferTo {
    /// The new call's Request-URI.
    pub target: Uri,
    /// The call of the target's that the new one takes the place of: an attended transfer.
    pub replaces: Option<Replaces>,
}

impl ReferTo {
    /// A blind transfer.
    pub fn new(target: Uri) -> Self {
        Self { target, replaces: None }
    }

    /// Reads the field of a REFER, or says with which status it is refused.
    ///
    /// # Errors
    /// 400: missing, several, or unreadable; 416: a scheme that cannot be called; 603: a method other than INVITE.
    pub fn of(refer: &Message) -> Result<Self, u16> {
        let values = refer.list(HeaderName::ReferTo);
        let [value] = values.as_slice() else { return Err(400) };
        let full = NameAddr::parse(value).and_then(|address| address.to_uri().ok()).ok_or(400_u16)?;
        if full.scheme() == Scheme::Other {
            return Err(416);
        }
        if full.params().value("method").is_some_and(|method| !method.eq_ignore_ascii_case("INVITE")) {
            return Err(603);
        }
        let bare = full.as_str().split('?').next().unwrap_or_default();
        let headers = full.headers().unwrap_or_default();
        let named = headers.split('&').filter_map(|header| header.split_once('='));
        let mut replaces = named.filter(|(name, _)| name.eq_ignore_ascii_case("Replaces"));
        let replaces = match (replaces.next(), replaces.next()) {
            (None, _) => None,
            (Some((_, escaped)), None) => {
                let value = String::from_utf8(percent_decode(escaped)).map_err(|_| 400_u16)?;
                Some(Replaces::parse(&value).map_err(|_| 400_u16)?)
            }
            _ => return Err(400),
        };
        Ok(Self { target: Uri::parse(bare).map_err(|_| 400_u16)?, replaces })
    }
}

/// Writes the value of the field.
impl fmt::Display for ReferTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.replaces {
            None => write!(f, "<{}>", self.target),
            Some(replaces) => write!(f, "<{}?Replaces={}>", self.target, escape(&replaces.to_string())),
        }
    }
}

/// Escapes what may not stand in the headers of a URI (RFC 3261 §25.1, hnv-unreserved).
fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len() * 2);
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'!' | b'~' | b'*' => {
                escaped.push(char::from(byte))
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// A report on the new call: its status line alone.
pub fn fragment(status: u16) -> Body {
    let line = format!("SIP/2.0 {status} {}\r\n", reason_phrase(status));
    Body::new(&format!("{FRAGMENT};version=2.0"), line.as_bytes())
}

/// The status of a report.
pub fn read_fragment(bytes: &[u8]) -> Option<u16> {
    let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let version = words.next().filter(|version| version.eq_ignore_ascii_case("SIP/2.0"));
    let status = version.and_then(|_| decimal(words.next()?))?;
    u16::try_from(status).ok().filter(|status| (100..700).contains(status))
}

/// The Subscription-State of a NOTIFY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionState {
    /// More reports follow, until the given time is up.
    Active(Option<Duration>),
    /// This is the last one.
    Terminated,
}

impl SubscriptionState {
    /// Reads the field; without one there may be more.
    pub fn of(notify: &Message) -> Self {
        let value = notify.header(HeaderName::SubscriptionState).unwrap_or_default();
        let (state, params) = value.split_at(value.find(';').unwrap_or(value.len()));
        if state.trim().eq_ignore_ascii_case("terminated") {
            return Self::Terminated;
        }
        let expires = lex::Params::new(params).value("expires").and_then(|seconds| decimal(&seconds));
        Self::Active(expires.map(|seconds| Duration::from_secs(u64::from(seconds))))
    }
}

/// Which REFER a NOTIFY is about (RFC 3515 §2.4.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The only one.
    Refer,
    /// The one with this sequence number.
    ReferNumber(u32),
    /// Another event.
    Other,
}

impl About {
    /// Reads the Event field.
    pub fn of(notify: &Message) -> Self {
        let value = notify.header(HeaderName::Event).unwrap_or_default();
        let (event, params) = value.split_at(value.find(';').unwrap_or(value.len()));
        let id = lex::Params::new(params).value("id").map(|id| decimal(&id));
        match id {
            _ if !event.trim().eq_ignore_ascii_case("refer") => Self::Other,
            None => Self::Refer,
            Some(number) => number.map_or(Self::Other, Self::ReferNumber),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refer(fields: &str) -> Message {
        let text = format!(
            "REFER sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nFrom: <sip:c@d>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: x\r\nCSeq: 1 REFER\r\n{fields}\r\n\r\n"
        );
        Message::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn replaces_names_one_dialog() {
        let value = "98732@sip.example.com ;from-tag=r33th4x0r; to-tag=ff87ff;early-only";
        let replaces = Replaces::parse(value).unwrap();
        assert_eq!(replaces.to_string(), "98732@sip.example.com;to-tag=ff87ff;from-tag=r33th4x0r;early-only");
        for bad in [
            "x",
            "x;to-tag=1",
            "x;to-tag=1;from-tag",
            ";to-tag=1;from-tag=2",
            "x;to-tag=1;to-tag=2;from-tag=3",
            "x;to-tag=\"1\";from-tag=2",
        ] {
            assert_eq!(Replaces::parse(bad), Err(BadReplaces), "{bad}");
        }
        assert_eq!(
            Replaces::of(&refer("Replaces: x;to-tag=1;from-tag=2\r\nReplaces: y;to-tag=1;from-tag=2")),
            Err(BadReplaces)
        );
        assert_eq!(Replaces::of(&refer("X: y")), Ok(None));
    }

    #[test]
    fn refer_to_is_written_and_read_back() {
        let target = Uri::parse("sip:dave@denver.example.org;transport=tcp").unwrap();
        let replaces = Replaces::parse("12345@192.0.2.1;to-tag=12+3;from-tag=5%6").unwrap();
        for replaces in [None, Some(replaces)] {
            let refer_to = ReferTo { target: target.clone(), replaces };
            assert_eq!(ReferTo::of(&refer(&format!("Refer-To: {refer_to}"))), Ok(refer_to));
        }
        let read = ReferTo::of(&refer(
            "r: <sip:d@e?Accept-Contact=sip&replaces=12%40x%3Bto-tag%3D1%3Bfrom-tag%3D2>",
        ));
        assert_eq!(read.unwrap().replaces.unwrap().call_id, "12@x");
        assert_eq!(ReferTo::of(&refer("Refer-To: tel:+4930123")).unwrap().target.number(), Some("+4930123"));
        let table = [
            ("X: y", 400),
            ("Refer-To: <sip:a@b>, <sip:c@d>", 400),
            ("Refer-To: nowhere", 400),
            ("Refer-To: <http://example.com>", 416),
            ("Refer-To: <sip:a@b;method=BYE>", 603),
            ("Refer-To: <sip:a@b?Replaces=x>", 400),
        ];
        for (field, status) in table {
            assert_eq!(ReferTo::of(&refer(field)), Err(status), "{field}");
        }
    }

    #[test]
    fn reports_are_written_and_read() {
        let body = fragment(180);
        assert_eq!(
            (body.kind.as_str(), body.bytes.as_slice()),
            ("message/sipfrag;version=2.0", &b"SIP/2.0 180 Ringing\r\n"[..])
        );
        assert_eq!(read_fragment(b"SIP/2.0 486 Busy Here\r\nTo: <sip:a@b>\r\n"), Some(486));
        assert_eq!(read_fragment(b"SIP/2.0 200"), Some(200));
        for bad in [&b""[..], b"SIP/2.0", b"SIP/2.0 99 x", b"SIP/2.0 700 x", b"HTTP/1.1 200 OK", b"\xff"] {
            assert_eq!(read_fragment(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn events_and_states_are_read() {
        use SubscriptionState::{Active, Terminated};
        assert_eq!(About::of(&refer("o: Refer ;id=93809824")), About::ReferNumber(93809824));
        assert_eq!(About::of(&refer("Event: refer")), About::Refer);
        for other in ["Event: presence", "Event: refer;id=x", "X: y"] {
            assert_eq!(About::of(&refer(other)), About::Other, "{other}");
        }
        let state = |value: &str| SubscriptionState::of(&refer(&format!("Subscription-State: {value}")));
        assert_eq!(state("active; expires=60"), Active(Some(Duration::from_secs(60))));
        assert_eq!((state("pending"), state("terminated;reason=noresource")), (Active(None), Terminated));
    }
}
