//! Phone numbers and names in the text of a message, shortened as [`Redacted`] shortens them.
//!
//! Shortened are: the user part of `sip:`, `sips:` and `tel:` URIs and a digest's `username` when they hold a number, and
//! display names. Hosts, tags, branches and Call-IDs stay: they say nothing about a person.

use crate::pii::Redacted;

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

/// `text` with the numbers in its URIs shortened.
pub fn numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, length)) = next_scheme(rest) {
        let (before, after) = rest.split_at(at + length);
        out.push_str(before);
        let end = after.find(['@', '>', ';', '"', ' ', ',', '\r', '\n']).unwrap_or(after.len());
        let (user, after) = after.split_at(end);
        let is_user = after.starts_with('@') || before.ends_with("tel:") || before.ends_with("username=\"");
        if is_user && is_number(user) {
            out.push_str(&Redacted::new(user).to_string());
        } else {
            out.push_str(user);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The next place behind which a number may stand.
fn next_scheme(text: &str) -> Option<(usize, usize)> {
    let found = |word: &str| text.find(word).map(|at| (at, word.len()));
    ["sip:", "sips:", "tel:", "username=\""].into_iter().filter_map(found).min()
}

fn is_number(user: &str) -> bool {
    user.bytes().filter(u8::is_ascii_digit).count() >= DIGITS
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
            ("Call-ID: 0123456789@192.0.2.1", "Call-ID: 0123456789@192.0.2.1"),
        ];
        for (whole, short) in cases {
            assert_eq!(message(whole), short);
        }
        assert_eq!(message("To: <sip:12345@x>\r\n\r\n"), "To: <sip:…45@x>\r\n\r\n");
    }
}
