//! Telephone numbers as URIs (RFC 3966): `tel:+1-201-555-0123;ext=12`.

use super::lex::Params;
use super::uri::{Scheme, Uri};

/// A `tel:` URI. Compares as RFC 3966 §4 says: without visual separators, and whatever the order of the parameters.
#[derive(Debug, Clone, Copy)]
pub struct Tel<'a> {
    number: &'a str,
    params: Params<'a>,
}

impl Uri {
    /// The number when this is a `tel:` URI whose number has only digits, `*`, `#`, letters A to F and visual separators.
    pub fn tel(&self) -> Option<Tel<'_>> {
        if self.scheme() != Scheme::Tel {
            return None;
        }
        let number = self.host();
        let local = number.strip_prefix('+').unwrap_or(number).bytes();
        let global = number.starts_with('+');
        let allowed = |byte: u8| match byte {
            b'0'..=b'9' => true,
            b'*' | b'#' | b'A'..=b'F' | b'a'..=b'f' => !global,
            _ => is_separator(byte),
        };
        let (mut digits, mut valid) = (false, true);
        for byte in local {
            digits |= !is_separator(byte);
            valid &= allowed(byte);
        }
        (digits && valid).then(|| Tel { number, params: self.params() })
    }
}

impl<'a> Tel<'a> {
    /// The number as it was written, with its `+` and visual separators.
    pub fn number(&self) -> &'a str {
        self.number
    }

    /// The number without visual separators: `+12015550123`.
    pub fn digits(&self) -> String {
        plain(self.number)
    }

    /// Whether the number begins with `+` and so is unique in the world; others need a [`Self::phone_context`].
    pub fn is_global(&self) -> bool {
        self.number.starts_with('+')
    }

    /// The extension behind the number.
    pub fn ext(&self) -> Option<&'a str> {
        self.params.get("ext").flatten()
    }

    /// The ISDN subaddress.
    pub fn isub(&self) -> Option<&'a str> {
        self.params.get("isub").flatten()
    }

    /// Where a local number is valid: a domain, or the leading digits of global numbers.
    pub fn phone_context(&self) -> Option<&'a str> {
        self.params.get("phone-context").flatten()
    }

    /// Name and value of each parameter in one order and spelling.
    fn comparable(&self) -> Vec<(String, Option<String>)> {
        let mut params: Vec<_> = self
            .params
            .iter()
            .map(|(name, value)| {
                let name = name.to_ascii_lowercase();
                let digits = name == "ext" || value.is_some_and(|value| value.starts_with('+'));
                let value = value.map(|value| if digits { plain(value) } else { value.to_ascii_lowercase() });
                (name, value)
            })
            .collect();
        params.sort_unstable();
        params
    }
}

impl PartialEq for Tel<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.digits() == other.digits() && self.comparable() == other.comparable()
    }
}

impl Eq for Tel<'_> {}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b'-' | b'.' | b'(' | b')')
}

/// Without visual separators, in lower case.
fn plain(text: &str) -> String {
    text.chars()
        .filter(|character| !matches!(character, '-' | '.' | '(' | ')'))
        .map(|character| character.to_ascii_lowercase())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        Uri::parse(text).unwrap()
    }

    #[test]
    fn parts_are_typed() {
        let uri = uri("tel:+1-(201)-555.0123;ext=12-3;isub=1411");
        let tel = uri.tel().unwrap();
        assert_eq!((tel.number(), tel.digits().as_str()), ("+1-(201)-555.0123", "+12015550123"));
        assert_eq!((tel.ext(), tel.isub(), tel.phone_context()), (Some("12-3"), Some("1411"), None));
        assert!(tel.is_global());
        assert_eq!(uri.as_str(), "tel:+1-(201)-555.0123;ext=12-3;isub=1411");
        let uri = Uri::parse("tel:*21#;phone-context=example.com").unwrap();
        let tel = uri.tel().unwrap();
        assert_eq!((tel.is_global(), tel.phone_context()), (false, Some("example.com")));
    }

    #[test]
    fn numbers_compare_without_separators() {
        let equal = [
            ("tel:+1-201-555-0123", "tel:+12015550123"),
            ("TEL:+1(201)5550123;ext=1-2;isub=x", "tel:+12015550123;ISUB=X;ext=12"),
            ("tel:863-1234;phone-context=+1-914-555", "tel:8631234;phone-context=+1914555"),
            ("tel:7042;phone-context=Example.com", "tel:7042;phone-context=example.COM"),
        ];
        for (one, other) in equal {
            assert!(uri(one).is_equivalent(&uri(other)), "{one} {other}");
        }
        let different = [
            ("tel:+12015550123", "tel:12015550123;phone-context=+1"),
            ("tel:+12015550123", "tel:+12015550123;ext=1"),
            ("tel:7042;phone-context=example.com", "tel:7042;phone-context=example.org"),
            ("tel:+12015550123", "sip:+12015550123@example.com"),
        ];
        for (one, other) in different {
            assert!(!uri(one).is_equivalent(&uri(other)), "{one} {other}");
        }
    }

    #[test]
    fn what_is_no_number_is_kept_and_not_typed() {
        for text in ["tel:+1800FLOWERS", "tel:+", "tel:ring-me", "tel:+1*2", "sip:+1@x"] {
            assert!(uri(text).tel().is_none(), "{text}");
        }
    }
}
