//! The small grammar that every header shares: tokens, quoted strings, lists and parameters (RFC 3261 §25.1).
//!
//! Everything here borrows, looks at each byte once, and answers `None` for what the grammar does not allow.

use std::borrow::Cow;

/// Whether `byte` may stand in a `token` (RFC 3261 §25.1).
pub const fn is_token_byte(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// A table, because every name and tag is checked with it.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128_u8 {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
        byte += 1;
    }
    table
};

/// Whether `byte` may stand in a host's name. Underscores are outside the grammar, yet carriers' names have them.
pub(super) const fn is_host_byte(byte: u8) -> bool {
    HOST[byte as usize]
}

const HOST: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128_u8 {
        table[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        byte += 1;
    }
    table
};

/// Whether `text` is a non-empty `token`.
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// Where `wanted` first stands.
pub(super) fn find_byte(bytes: &[u8], wanted: u8) -> Option<usize> {
    find_any(bytes, [wanted])
}

/// Where one of `wanted` first stands. Looks at eight bytes at a time.
fn find_any<const N: usize>(bytes: &[u8], wanted: [u8; N]) -> Option<usize> {
    const LOW: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    let patterns = wanted.map(|byte| LOW * u64::from(byte));
    let (words, rest) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // The lowest high bit that is set marks the first byte that equals the pattern's.
        let matches = patterns.iter().fold(0, |matches, pattern| {
            let difference = word ^ pattern;
            matches | (difference.wrapping_sub(LOW) & !difference & HIGH)
        });
        if matches != 0 {
            return Some(number * 8 + matches.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|byte| wanted.contains(byte)).map(|at| words.len() * 8 + at)
}

/// Splits around the first `separator`.
pub(super) fn split_once(text: &str, separator: u8) -> Option<(&str, &str)> {
    let at = text.bytes().position(|byte| byte == separator)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// Splits at `separator` where it stands outside quoted strings and angle brackets. Pieces are trimmed.
pub fn split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let current = rest?;
        match find_outside(current, separator) {
            Some(at) => {
                rest = current.get(at + 1..);
                current.get(..at).map(str::trim_ascii)
            }
            None => {
                rest = None;
                Some(current.trim_ascii())
            }
        }
    })
}

/// Where `wanted` first stands outside quoted strings and angle brackets.
pub fn find_outside(text: &str, wanted: u8) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut angle) = (0, false);
    loop {
        let rest = bytes.get(at..)?;
        let step = match angle {
            false => find_any(rest, [wanted, b'"', b'<']),
            true => find_any(rest, [b'"', b'>']),
        };
        at += step?;
        match bytes.get(at)? {
            byte if *byte == wanted && !angle => return Some(at),
            b'"' => at += 1 + quoted_length(bytes.get(at + 1..)?)?,
            bracket => angle = *bracket == b'<',
        }
        at += 1;
    }
}

/// How many bytes stand before the quote that closes.
fn quoted_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += find_any(bytes.get(at..)?, [b'"', b'\\'])?;
        match bytes.get(at)? {
            b'"' => return Some(at),
            _ => at += 2,
        }
    }
}

/// Splits a leading quoted string from what follows: the raw content (escapes kept) and the rest.
pub fn quoted_string(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('"')?;
    let length = quoted_length(inner.as_bytes())?;
    Some((inner.get(..length)?, inner.get(length + 1..)?))
}

/// A parameter value or header value without its quotes and escapes. Text without quotes is returned as it is.
pub fn unquote(text: &str) -> Cow<'_, str> {
    let Some((content, _)) = quoted_string(text) else { return Cow::Borrowed(text) };
    if !content.contains('\\') {
        return Cow::Borrowed(content);
    }
    let mut plain = String::with_capacity(content.len());
    let mut characters = content.chars();
    while let Some(character) = characters.next() {
        plain.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    Cow::Owned(plain)
}

/// `text` as a quoted string: backslash and quote are escaped.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

/// The parameters after a value: `;name=value;flag`, with optional white space around `;` and `=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Params<'a>(&'a str);

impl<'a> Params<'a> {
    /// Takes parameters that start with `;` (or nothing).
    pub fn new(text: &'a str) -> Self {
        Self(text.trim_ascii())
    }

    /// The parameters as they were written, with the leading `;`.
    pub fn as_str(&self) -> &'a str {
        self.0
    }

    /// Names and raw values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + use<'a> {
        let inner = self.0.strip_prefix(';').unwrap_or(self.0);
        split(inner, b';').filter(|piece| !piece.is_empty()).map(split_parameter)
    }

    /// The raw value of `name` (compared without case): `None` absent, `Some(None)` present without a value.
    pub fn get(&self, name: &str) -> Option<Option<&'a str>> {
        self.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The value of `name` where it has one, without quotes.
    pub fn value(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name).flatten().map(unquote)
    }

    /// Whether every parameter has a token for a name, a token, host or quoted string for a value, and quotes close.
    pub fn is_well_formed(&self) -> bool {
        let Some(inner) = self.0.strip_prefix(';') else { return self.0.is_empty() };
        split(inner, b';').all(|piece| {
            let (name, value) = split_parameter(piece);
            is_token(name)
                && value.is_none_or(|value| match value.starts_with('"') {
                    true => quoted_string(value).is_some_and(|(_, rest)| rest.is_empty()),
                    false => {
                        !value.bytes().any(|byte| matches!(byte, b'"' | b'<' | b'>' | b',' | b' ' | b'\t'))
                    }
                })
        })
    }
}

fn split_parameter(piece: &str) -> (&str, Option<&str>) {
    match find_outside(piece, b'=') {
        Some(at) => {
            (piece.get(..at).unwrap_or_default().trim_ascii(), piece.get(at + 1..).map(str::trim_ascii))
        }
        None => (piece, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_split_outside_quotes_and_brackets() {
        let list: Vec<_> = split(r#""a, \"b" <sip:x,y@z>;p=",", <sip:q>"#, b',').collect();
        assert_eq!(list, [r#""a, \"b" <sip:x,y@z>;p=",""#, "<sip:q>"]);
    }

    #[test]
    fn bytes_are_found_wherever_they_stand() {
        for length in 0..40 {
            for at in 0..length {
                let mut bytes = vec![b'\x0b'; length];
                bytes[at] = b'\n';
                assert_eq!(find_byte(&bytes, b'\n'), Some(at));
                bytes[at..].fill(b'\n');
                assert_eq!(find_byte(&bytes, b'\n'), Some(at));
            }
            assert_eq!(find_byte(&vec![0x8a; length], b'\n'), None);
        }
    }

    #[test]
    fn parameters_are_found_without_case_and_with_white_space() {
        let params = Params::new(r#"; Tag = 19 ;lr;+sip.instance="<urn:x;y>""#);
        assert_eq!(params.get("tag"), Some(Some("19")));
        assert_eq!(params.get("lr"), Some(None));
        assert_eq!(params.value("+sip.instance").as_deref(), Some("<urn:x;y>"));
        assert_eq!(params.get("missing"), None);
        assert!(params.is_well_formed());
        for bad in [";;a", ";", "a=b", ";=x", ";a=\"b", ";a=\"b\"c"] {
            assert!(!Params::new(bad).is_well_formed(), "{bad}");
        }
    }

    #[test]
    fn quoting_and_unquoting_are_inverse() {
        let text = r#"say "hi" \o/"#;
        assert_eq!(unquote(&quote(text)), text);
        assert_eq!(unquote("plain"), "plain");
    }
}
