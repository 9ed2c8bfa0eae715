//! The small grammar that every header shares: tokens, quoted strings, lists and parameters (RFC 3261 §25.1).
//!
//! Everything here borrows, looks at each byte once, and answers `None` for what the grammar does not allow.

use std::borrow::Cow;

/// Whether `byte` may stand in a `token` (RFC 3261 §25.1).
pub fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}

/// Whether `text` is a non-empty `token`.
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// Splits at `separator` where it stands outside quoted strings and angle brackets. Pieces are trimmed.
pub fn split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let current = rest?;
        match find_outside(current, separator) {
            Some(at) => {
                rest = current.get(at + 1..);
                current.get(..at).map(str::trim)
            }
            None => {
                rest = None;
                Some(current.trim())
            }
        }
    })
}

/// Where `wanted` first stands outside quoted strings and angle brackets.
pub fn find_outside(text: &str, wanted: u8) -> Option<usize> {
    let (mut quoted, mut escaped, mut angle) = (false, false, false);
    for (at, byte) in text.bytes().enumerate() {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        if byte == wanted && !angle {
            return Some(at);
        }
        match byte {
            b'"' => quoted = true,
            b'<' => angle = true,
            b'>' => angle = false,
            _ => {}
        }
    }
    None
}

/// Splits a leading quoted string from what follows: the raw content (escapes kept) and the rest.
pub fn quoted_string(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut escaped = false;
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some((inner.get(..at)?, inner.get(at + 1..)?)),
            _ => {}
        }
    }
    None
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
        Self(text.trim())
    }

    /// The parameters as they were written, with the leading `;`.
    pub fn as_str(&self) -> &'a str {
        self.0
    }

    /// Names and raw values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + use<'a> {
        let inner = self.0.strip_prefix(';').unwrap_or(self.0);
        split(inner, b';').filter(|piece| !piece.is_empty()).map(|piece| match find_outside(piece, b'=') {
            Some(at) => (piece.get(..at).unwrap_or_default().trim(), piece.get(at + 1..).map(str::trim)),
            None => (piece, None),
        })
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
            let (name, value) = match find_outside(piece, b'=') {
                Some(at) => (piece.get(..at).unwrap_or_default().trim(), piece.get(at + 1..).map(str::trim)),
                None => (piece, None),
            };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_split_outside_quotes_and_brackets() {
        let list: Vec<_> = split(r#""a, \"b" <sip:x,y@z>;p=",", <sip:q>"#, b',').collect();
        assert_eq!(list, [r#""a, \"b" <sip:x,y@z>;p=",""#, "<sip:q>"]);
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
