//! Phone numbers and names in the text of a message, shortened as [`Redacted`] shortens them.
//!
//! Shortened are: the user part of `sip:`, `sips:` and `tel:` URIs and a digest's `username` when they hold a number, a number
//! that begins with `+` anywhere, and display names. Hosts, tags, branches and Call-IDs stay: they say nothing about a person.

use crate::pii::Redacted;

/// How far the end of a number is looked for, in bytes.
const LONGEST: usize = 256;

/// How many digits make a user part a phone number.
const DIGITS: usize = 5;

/// Header fields whose values begin with a display name.
const NAMED: &[&str] = &[
    "from",
    "f",
    "to",
    "t",
    "contact",
    "m",
    "p-asserted-identity",
    "p-preferred-identity",
    "remote-party-id",
    "diversion",
    "refer-to",
    "r",
    "referred-by",
    "b",
    "reply-to",
    "history-info",
    "p-called-party-id",
];

/// The whole message without numbers and names. Works line by line, on text that need not be SIP.
pub fn message(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(|line| numbers(&names(line))).collect();
    lines.join("\n")
}

/// `text` with its phone numbers shortened: in URIs, and wherever a `+` and seven digits stand.
pub fn numbers(text: &str) -> String {
    // Only ASCII changes, so that places in one are places in the other.
    let lower = text.to_ascii_lowercase();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for (start, kind) in places(&lower) {
        if start < at {
            continue; // within the number before
        }
        let end = start + number_length(text.get(start..).unwrap_or_default(), kind);
        let (Some(before), Some(number)) = (text.get(at..start), text.get(start..end)) else { break };
        out.push_str(before);
        if number.bytes().filter(u8::is_ascii_digit).count() >= kind.digits() {
            out.push_str(&Redacted::new(number).to_string());
        } else {
            out.push_str(number);
        }
        at = end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

/// Where a number may stand.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Behind `sip:` or `sips:`, if there is an `@`.
    User,
    /// Behind `tel:`.
    Tel,
    /// A digest's user name.
    Name,
    /// From a `+` on.
    Plus,
}

impl Place {
    /// How many digits make it a phone number.
    fn digits(self) -> usize {
        if self == Self::Plus { 7 } else { DIGITS }
    }
}

/// Every place in `lower`, in order; what is longer comes first where two begin together.
fn places(lower: &str) -> Vec<(usize, Place)> {
    let marks =
        [("sip:", Place::User), ("sips:", Place::User), ("tel:", Place::Tel), ("username=\"", Place::Name)];
    let marked = marks
        .into_iter()
        .flat_map(|(mark, place)| lower.match_indices(mark).map(move |(at, _)| (at + mark.len(), place)));
    let mut found: Vec<(usize, Place)> =
        marked.chain(lower.match_indices('+').map(|(at, _)| (at, Place::Plus))).collect();
    found.sort_unstable();
    found
}

/// How many bytes from the beginning of `text` on are a number; what it is followed by is not looked at again.
fn number_length(text: &str, place: Place) -> usize {
    let text = text.get(..text.floor_char_boundary(LONGEST)).unwrap_or(text);
    let until = |ends: &[char]| text.find(ends).unwrap_or(text.len());
    match place {
        Place::User => {
            let uri = until(&['>', '"', ' ', ',', '\r', '\n']);
            let has_user = text.get(..uri).is_some_and(|uri| uri.contains('@'));
            if has_user { until(&['@', ';', ':']) } else { 0 }
        }
        Place::Tel => until(&['>', ';', '"', ' ', ',', '\r', '\n']),
        Place::Name => until(&['"', '@']),
        Place::Plus => 1 + text.bytes().skip(1).take_while(u8::is_ascii_digit).count(),
    }
}

/// A line of a header with its display name left out.
fn names(line: &str) -> String {
    let Some((name, value)) = line.split_once(':') else { return line.to_owned() };
    if !NAMED.contains(&name.trim().to_ascii_lowercase().as_str()) {
        return line.to_owned();
    }
    let Some((display, uri)) = value.split_once('<') else { return line.to_owned() };
    if display.trim().is_empty() {
        return line.to_owned();
    }
    format!("{name}: \"…\" <{uri}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_marks_takes_linear_time() {
        for mark in ["+", "sip:", "tel:+", "username=\""] {
            let text = mark.repeat(60_000);
            assert_eq!(numbers(&text), text);
        }
    }

    #[test]
    fn numbers_and_names_are_shortened() {
        let cases = [
            (
                "INVITE sip:+442071838750@192.0.2.1:5060;user=phone SIP/2.0",
                "INVITE sip:…50@192.0.2.1:5060;user=phone SIP/2.0",
            ),
            ("From: \"Ada L.\" <sip:02071838750@x>;tag=0123456789", "From: \"…\" <sip:…50@x>;tag=0123456789"),
            ("f: Ada <sips:02071838750@x>", "f: \"…\" <sips:…50@x>"),
            ("P-Asserted-Identity: <tel:+1-201-555-0123>", "P-Asserted-Identity: <tel:…23>"),
            ("Contact: <sip:depot42@192.0.2.1>", "Contact: <sip:depot42@192.0.2.1>"),
            ("Contact: <sip:192.0.2.123:5060>", "Contact: <sip:192.0.2.123:5060>"),
            (
                "Authorization: Digest username=\"4420718387\", uri=\"sip:12345@x\"",
                "Authorization: Digest username=\"…87\", uri=\"sip:…45@x\"",
            ),
            (
                "SIP:+442071838750;phone-context=x:y@h;a, <Sips:02071838750:pw@h>",
                "SIP:…50;phone-context=x:y@h;a, <Sips:…50:pw@h>",
            ),
            ("X-Called: +442071838750, +1, +", "X-Called: …50, +1, +"),
            ("sip:é+442071838750 tel:", "sip:é…50 tel:"),
            ("Call-ID: 0123456789@192.0.2.1", "Call-ID: 0123456789@192.0.2.1"),
        ];
        for (whole, short) in cases {
            assert_eq!(message(whole), short);
        }
        assert_eq!(message("To: <sip:12345@x>\r\n\r\n"), "To: <sip:…45@x>\r\n\r\n");
    }
}
