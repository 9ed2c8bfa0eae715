//! Secrets in a message, overwritten by a filler of the same length, so that Content-Length stays true.
//!
//! - In `Authorization` and `Proxy-Authorization`: the values of `response`, `nonce` and `cnonce` of a digest (RFC 7616 §3.4),
//!   from which a password can be guessed at leisure; of any other scheme, everything.
//! - In SDP: the key of `a=crypto` (RFC 4568 §6.1), with which a recorded call could be decrypted.

/// What secrets are overwritten with.
pub const FILLER: u8 = b'*';

/// Overwrites the secrets in `message`.
pub fn secrets(message: &mut [u8]) {
    let end = find(message, b"\r\n\r\n").unwrap_or(message.len());
    let (head, body) = message.split_at_mut(end);
    let mut in_credentials = false;
    let mut is_digest = false;
    for line in head.split_mut(|byte| *byte == b'\n') {
        let folded = matches!(line.first(), Some(b' ' | b'\t'));
        let mut rest = line;
        if !folded {
            let colon = rest.iter().position(|byte| *byte == b':').unwrap_or(0);
            let (name, value) = rest.split_at_mut(colon);
            let name = name.trim_ascii();
            in_credentials =
                [&b"authorization"[..], b"proxy-authorization"].iter().any(|n| name.eq_ignore_ascii_case(n));
            if !in_credentials {
                continue;
            }
            let at = value
                .iter()
                .skip(1)
                .position(|byte| !byte.is_ascii_whitespace())
                .map_or(value.len(), |at| at + 1);
            rest = value.get_mut(at..).unwrap_or_default();
            is_digest = rest.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"digest"));
        }
        if in_credentials && is_digest {
            digest(rest);
        } else if in_credentials {
            fill(rest);
        }
    }
    crypto_keys(body);
}

/// Overwrites the three values in a line of digest parameters.
fn digest(line: &mut [u8]) {
    for name in [&b"response"[..], b"cnonce", b"nonce"] {
        let mut from = 0;
        while let Some(at) = line.get(from..).and_then(|rest| find_word(rest, name)) {
            let after = from + at + name.len();
            from = after + mask_value(line.get_mut(after..).unwrap_or_default());
        }
    }
}

/// Overwrites what follows `name` in ` = "value"` or `=value`; returns how many bytes it has read.
fn mask_value(rest: &mut [u8]) -> usize {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let skip =
        |rest: &[u8], from: usize| from + rest.iter().skip(from).take_while(|byte| blank(byte)).count();
    let equals = skip(rest, 0);
    if rest.get(equals) != Some(&b'=') {
        return equals;
    }
    let start = skip(rest, equals + 1);
    let quoted = rest.get(start) == Some(&b'"');
    let start = start + usize::from(quoted);
    let value = rest.get(start..).unwrap_or_default();
    let length = if quoted { quoted_length(value) } else { token_length(value) };
    if let Some(value) = rest.get_mut(start..start + length) {
        value.fill(FILLER);
    }
    start + length
}

fn token_length(value: &[u8]) -> usize {
    value.iter().position(|byte| matches!(byte, b',' | b'\r' | b' ' | b'\t')).unwrap_or(value.len())
}

/// How long a quoted string is from behind its first quote: a quote after a backslash is part of it (RFC 3261 §25.1).
fn quoted_length(value: &[u8]) -> usize {
    let mut escaped = false;
    let is_end = |byte: &u8| {
        let ends = *byte == b'\r' || (*byte == b'"' && !escaped);
        escaped = *byte == b'\\' && !escaped;
        ends
    };
    value.iter().position(is_end).unwrap_or(value.len())
}

/// Overwrites the keys of `a=crypto:1 SUITE inline:KEY|lifetime`.
fn crypto_keys(body: &mut [u8]) {
    for line in body.split_mut(|byte| *byte == b'\n') {
        if !line.starts_with(b"a=crypto:") {
            continue;
        }
        let mut from = 0;
        while let Some(at) = line.get(from..).and_then(|rest| find(rest, b"inline:")) {
            let start = from + at + b"inline:".len();
            let is_end = |byte: &u8| matches!(byte, b'|' | b';' | b' ' | b'\r');
            let key = line.get_mut(start..).unwrap_or_default();
            let length = key.iter().position(is_end).unwrap_or(key.len());
            key.iter_mut().take(length).for_each(|byte| *byte = FILLER);
            from = start + length;
        }
    }
}

fn fill(line: &mut [u8]) {
    line.iter_mut().filter(|byte| !byte.is_ascii_whitespace()).for_each(|byte| *byte = FILLER);
}

/// As [`find`], for a whole parameter name in any case: `nonce` is not found in `cnonce`.
fn find_word(bytes: &[u8], word: &[u8]) -> Option<usize> {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    bytes.windows(word.len()).enumerate().position(|(at, window)| {
        let before = at.checked_sub(1).and_then(|at| bytes.get(at)).is_some_and(is_name);
        let after = bytes.get(at + word.len()).is_some_and(is_name);
        window.eq_ignore_ascii_case(word) && !before && !after
    })
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        secrets(&mut bytes);
        assert_eq!(bytes.len(), text.len());
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_digest_keeps_who_but_not_how() {
        let text = "REGISTER sip:a SIP/2.0\r\nProxy-Authorization: Digest username=\"nonce\", realm=\"r, x\", \
                    nonce=\"ab,c\", cnonce = \"d\\\"1\", nc=00000001, qop=auth, response=\"0123\", uri=\"sip:a\"\r\n\
                    X: nonce=\"kept\"\r\n\r\nnonce=\"kept\"";
        let expected = "REGISTER sip:a SIP/2.0\r\nProxy-Authorization: Digest username=\"nonce\", realm=\"r, x\", \
                    nonce=\"****\", cnonce = \"****\", nc=00000001, qop=auth, response=\"****\", uri=\"sip:a\"\r\n\
                    X: nonce=\"kept\"\r\n\r\nnonce=\"kept\"";
        assert_eq!(masked(text), expected);
    }

    #[test]
    fn folded_lines_and_other_schemes_are_covered() {
        let text =
            "BYE sip:a SIP/2.0\r\nAUTHORIZATION :  dIgEsT nonce=abc,\r\n\tresponse=def\r\nTo: x\r\n\r\n";
        assert_eq!(
            masked(text),
            "BYE sip:a SIP/2.0\r\nAUTHORIZATION :  dIgEsT nonce=***,\r\n\tresponse=***\r\nTo: x\r\n\r\n"
        );
        let text = "BYE sip:a SIP/2.0\r\nAuthorization: Basic YTpi\r\n  Yw==\r\nTo: x\r\n\r\n";
        assert_eq!(masked(text), "BYE sip:a SIP/2.0\r\nAuthorization: ***** ****\r\n  ****\r\nTo: x\r\n\r\n");
        for odd in [
            "",
            "Authorization",
            "Authorization:",
            "Authorization: Digest nonce",
            "Authorization: Digest nonce=\"",
        ] {
            assert_eq!(masked(odd), odd);
        }
    }

    #[test]
    fn keys_for_media_are_covered() {
        let text = "INVITE sip:a SIP/2.0\r\n\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVC|2^20|1:4 X\r\na=b\r\n";
        assert!(masked(text).contains(" inline:**********|2^20|1:4 X\r\na=b\r\n"), "{}", masked(text));
    }
}
