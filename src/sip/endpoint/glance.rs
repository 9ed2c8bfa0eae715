//! A look at a datagram that costs next to nothing: is it worth reading when its sender is a stranger?
//!
//! Strangers are heard in two cases only: the message belongs to a call or registration of ours (its Call-ID is known), or
//! it is a REGISTER of somebody who may be a telephone of the house. A flood of anything else is not even parsed.

/// What a glance tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Glance<'a> {
    /// It begins as a REGISTER.
    pub register: bool,
    /// The value of the first Call-ID field.
    pub call_id: Option<&'a str>,
}

impl<'a> Glance<'a> {
    /// Reads line by line up to the Call-ID; linear in what it reads, and nothing is copied.
    pub fn at(datagram: &'a [u8]) -> Self {
        let blank = datagram.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let text = datagram.get(blank..).unwrap_or_default();
        let register = text.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"REGISTER"));
        Self { register, call_id: call_id(text) }
    }
}

fn call_id(text: &[u8]) -> Option<&str> {
    let mut lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.next()?;
    while let Some(line) = lines.next() {
        if line.is_empty() {
            return None;
        }
        let Some(value) = value_of_call_id(line) else { continue };
        // Folded right after the colon (RFC 3261 §7.3.1): the value is on the next line.
        let value = match value.trim_ascii() {
            b"" => {
                lines.next().filter(|next| next.starts_with(b" ") || next.starts_with(b"\t"))?.trim_ascii()
            }
            value => value,
        };
        return std::str::from_utf8(value).ok();
    }
    None
}

fn value_of_call_id(line: &[u8]) -> Option<&[u8]> {
    if !matches!(line.first()?, b'c' | b'C' | b'i' | b'I') {
        return None;
    }
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = line.split_at(colon);
    let name = name.trim_ascii_end();
    (name.eq_ignore_ascii_case(b"Call-ID") || name.eq_ignore_ascii_case(b"i"))
        .then(|| value.get(1..))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_call_id_in_every_spelling() {
        for field in
            ["Call-ID: a@b", "call-id :a@b ", "i: a@b", "I:\ta@b", "Call-ID:\r\n  a@b", "Call-ID: \r\n\ta@b"]
        {
            let text = format!(
                "\r\n\r\nINVITE sip:x SIP/2.0\r\nContact: <sip:c>\r\nVia: x\r\n{field}\r\n\r\nCall-ID: body"
            );
            let expected = Glance { register: false, call_id: Some("a@b") };
            assert_eq!(Glance::at(text.as_bytes()), expected, "{field}");
        }
    }

    #[test]
    fn says_nothing_of_what_is_not_there() {
        for text in [
            "",
            "\r\n",
            "REGISTER",
            "x\r\n\r\nCall-ID: a",
            "x\nCall-ID\n\n",
            "x\r\nCall-ID:\r\nVia: a\r\n\r\n",
            "x\ni: \u{0}\u{1}",
        ] {
            let glance = Glance::at(text.as_bytes());
            assert!(glance.call_id.is_none_or(|id| id == "\u{0}\u{1}"), "{text:?} {glance:?}");
        }
        assert!(Glance::at(b"REGISTER sip:x SIP/2.0\r\n").register);
        assert!(!Glance::at(b"SIP/2.0 200 REGISTER\r\n").register);
        assert_eq!(Glance::at(b"x\r\nCall-ID: \xff\r\n\r\n").call_id, None);
    }
}
