//! INFO (RFC 6086): keys that the other side presses, and ours.
//!
//! Keys come in two bodies that equipment made up before there was a standard: `application/dtmf-relay` with
//! `Signal=5` and `Duration=160` lines, and `application/dtmf` with the key alone. RFC 6086 §4.2.2 keeps that use alive; its
//! own packages are refused with 469, for we know none.

use std::time::{Duration, Instant};

use super::{CannotRequest, RequestId, Session, SessionEvent};
use crate::sip::body::{Body, essence};
use crate::sip::message::{Header, HeaderName, Message, Method, decimal, lex};

const RELAY: &str = "application/dtmf-relay";
const BARE: &str = "application/dtmf";
/// How long a key was held when nobody says.
const DEFAULT_DURATION: Duration = Duration::from_millis(250);
/// The longest that a key may be held.
const MAX_DURATION: Duration = Duration::from_secs(10);
/// The longest body that is looked at, in bytes.
const MAX_BODY: usize = 256;

/// What an INFO says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Info {
    Key(char, Duration),
    /// Nothing for us: no body, or a hook flash.
    Nothing,
}

/// The status that an INFO gets, with a field for the answer.
pub(super) fn judge(request: &Message) -> (u16, Option<Header>) {
    match read(request) {
        Ok(_) => (200, None),
        Err(refusal) => refusal,
    }
}

fn read(request: &Message) -> Result<Info, (u16, Option<Header>)> {
    if request.header(HeaderName::InfoPackage).is_some() {
        // RFC 6086 §4.2.2: with the packages that we take, which are none.
        return Err((469, Some(Header::new(HeaderName::RecvInfo, ""))));
    }
    if request.body().is_empty() {
        return Ok(Info::Nothing);
    }
    let kind = essence(&request.header(HeaderName::ContentType).unwrap_or_default());
    let relay = match kind.as_str() {
        RELAY => true,
        BARE => false,
        _ if is_optional(request) => return Ok(Info::Nothing),
        _ => return Err((415, Some(Header::new(HeaderName::Accept, &format!("{RELAY}, {BARE}"))))),
    };
    let text = std::str::from_utf8(request.body()).ok().filter(|text| text.len() <= MAX_BODY);
    text.and_then(|text| if relay { read_relay(text) } else { read_bare(text) }).ok_or((400, None))
}

/// Whether the sender can do without our reading the body (RFC 3261 §20.11).
fn is_optional(request: &Message) -> bool {
    let disposition = request.header(HeaderName::ContentDisposition).unwrap_or_default();
    let params =
        lex::Params::new(disposition.find(';').and_then(|at| disposition.get(at..)).unwrap_or_default());
    params.value("handling").is_some_and(|value| value.eq_ignore_ascii_case("optional"))
}

fn read_relay(text: &str) -> Option<Info> {
    let value = |wanted: &str| {
        text.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    };
    let duration = match value("Duration") {
        Some(milliseconds) => Duration::from_millis(u64::from(decimal(milliseconds)?)).min(MAX_DURATION),
        None => DEFAULT_DURATION,
    };
    key(value("Signal")?, duration)
}

/// The key alone; some write the relay's lines under this type.
fn read_bare(text: &str) -> Option<Info> {
    if text.contains('=') { read_relay(text) } else { key(text.trim(), DEFAULT_DURATION) }
}

/// A key by its sign, or by its number in RFC 4733 §3.2: 10 is the star, 11 the hash, 12 to 15 are A to D, 16 is a hook flash.
fn key(signal: &str, duration: Duration) -> Option<Info> {
    let sign = match signal {
        "10" => '*',
        "11" => '#',
        "12" => 'A',
        "13" => 'B',
        "14" => 'C',
        "15" => 'D',
        "16" | "!" => return Some(Info::Nothing),
        _ => signal.parse::<char>().ok()?.to_ascii_uppercase(),
    };
    is_key(sign).then_some(Info::Key(sign, duration))
}

fn is_key(sign: char) -> bool {
    matches!(sign, '0'..='9' | '*' | '#' | 'A'..='D')
}

impl Session {
    /// Presses a key in the call by INFO with `application/dtmf-relay`, for a peer without telephone-events. [`SessionEvent::Answer`]
    /// tells what came of it.
    ///
    /// # Errors
    /// `digit` is none of `0`-`9`, `*`, `#`, `A`-`D`, the call does not stand, or too many requests wait already.
    pub fn send_digit(
        &mut self,
        now: Instant,
        digit: char,
        duration: Duration,
    ) -> Result<RequestId, CannotRequest> {
        if !is_key(digit) {
            return Err(CannotRequest);
        }
        let body = format!("Signal={digit}\r\nDuration={}\r\n", duration.as_millis());
        self.request(now, Method::Info, Vec::new(), Some(Body::new(RELAY, body.as_bytes())))
    }

    /// Takes an INFO that was answered with 200.
    pub(super) fn take_info(&mut self, request: &Message) {
        if let Ok(Info::Key(digit, duration)) = read(request) {
            self.tell(SessionEvent::Digit { digit, duration });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(fields: &str, body: &str) -> Result<Info, u16> {
        let text = format!(
            "INFO sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:c@d>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INFO\r\n{fields}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        read(&Message::parse(text.as_bytes()).unwrap()).map_err(|(status, _)| status)
    }

    #[test]
    fn keys_are_read_as_equipment_writes_them() {
        let ms = Duration::from_millis;
        let relay = "Content-Type: application/dtmf-relay\r\n";
        let bare = "Content-Type: Application/DTMF; charset=utf-8\r\n";
        let table = [
            (relay, "Signal=5\r\nDuration=160\r\n", Ok(Info::Key('5', ms(160)))),
            (relay, "Signal= *\r\nDuration= 90", Ok(Info::Key('*', ms(90)))),
            (relay, "duration = 4000000000\nsignal = #\n", Ok(Info::Key('#', ms(10_000)))),
            (relay, "Signal=11\r\n", Ok(Info::Key('#', ms(250)))),
            (relay, "Signal=a\r\n", Ok(Info::Key('A', ms(250)))),
            (relay, "Signal=16\r\n", Ok(Info::Nothing)),
            (relay, "Signal=\r\nDuration=160\r\n", Err(400)),
            (relay, "Signal=E\r\n", Err(400)),
            (relay, "Signal=17\r\n", Err(400)),
            (relay, "Signal=1\r\nDuration=long\r\n", Err(400)),
            (relay, "Duration=160\r\n", Err(400)),
            (bare, "7", Ok(Info::Key('7', ms(250)))),
            (bare, " 7\r\n", Ok(Info::Key('7', ms(250)))),
            (bare, "Signal=7\r\nDuration=100\r\n", Ok(Info::Key('7', ms(100)))),
            (bare, "77", Err(400)),
            ("", "", Ok(Info::Nothing)),
            ("Content-Type: text/plain\r\n", "7", Err(415)),
            (
                "Content-Type: text/plain\r\nContent-Disposition: render; handling=optional\r\n",
                "7",
                Ok(Info::Nothing),
            ),
            ("Info-Package: foo\r\nContent-Type: application/dtmf\r\n", "7", Err(469)),
        ];
        for (fields, body, expected) in table {
            assert_eq!(info(fields, body), expected, "{fields:?} {body:?}");
        }
        assert_eq!(info(bare, &" ".repeat(300)), Err(400));
    }

    #[test]
    fn refusals_say_what_is_taken() {
        let text = "INFO sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nFrom: <sip:c@d>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INFO\r\nContent-Type: x/y\r\nContent-Length: 1\r\n\r\nz";
        let (status, field) = judge(&Message::parse(text.as_bytes()).unwrap());
        assert_eq!(
            (status, field.unwrap().value().as_ref()),
            (415, "application/dtmf-relay, application/dtmf")
        );
        let text = text.replace("Content-Type: x/y", "Info-Package: x\r\nContent-Type: x/y");
        let (status, field) = judge(&Message::parse(text.as_bytes()).unwrap());
        assert_eq!((status, field.map(|field| field.name().clone())), (469, Some(HeaderName::RecvInfo)));
    }
}
