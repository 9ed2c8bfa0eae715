//! Telephone numbers: parsed with the country they are written in, validated, kept as E.164 and redacted in logs.

use std::fmt;
use std::str::FromStr;

use phonenumber::{Mode, country};
use serde::Serialize;

use crate::pii::Redacted;

/// A country by its ISO 3166 code (`GB`).
pub type Country = country::Id;

/// Longer texts are no numbers. E.164 has 15 digits; the rest is punctuation.
const LONGEST_TEXT: usize = 40;

/// Codes that reach an emergency service in some country, dialled from that country. Those in `EVERYWHERE` are refused in all.
const EVERYWHERE: &[&str] = &["112", "911", "999", "000"];
const EMERGENCY: &[(Country, &[&str])] = &[
    (Country::AR, &["100", "101", "107"]),
    (Country::AT, &["122", "133", "144", "140", "141"]),
    (Country::AU, &["106"]),
    (Country::BE, &["100", "101"]),
    (Country::BR, &["190", "192", "193"]),
    (Country::CH, &["117", "118", "144", "1414"]),
    (Country::CN, &["110", "119", "120", "122"]),
    (Country::CZ, &["150", "155", "158"]),
    (Country::DE, &["110"]),
    (Country::ES, &["061", "062", "080", "085", "091", "092"]),
    (Country::FR, &["15", "17", "18", "114", "115", "119", "191", "196", "197"]),
    (Country::GR, &["100", "108", "166", "199"]),
    (Country::HK, &["992"]),
    (Country::HU, &["104", "105", "107"]),
    (Country::IL, &["100", "101", "102"]),
    (Country::IN, &["100", "101", "102", "108"]),
    (Country::IT, &["113", "115", "117", "118"]),
    (Country::JP, &["110", "118", "119"]),
    (Country::KR, &["112", "119"]),
    (Country::MX, &["060", "065", "066", "068"]),
    (Country::NO, &["110", "113"]),
    (Country::NZ, &["111"]),
    (Country::PL, &["997", "998"]),
    (Country::RU, &["101", "102", "103", "01", "02", "03"]),
    (Country::SG, &["995"]),
    (Country::SK, &["150", "155", "158"]),
    (Country::TR, &["110", "155", "156"]),
    (Country::TW, &["110", "119"]),
    (Country::ZA, &["10111", "10177"]),
];

/// A valid number. `Debug` and `Display` show only its last digits; serialisation shows all.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Number(Redacted);

/// Why a text is not a number that may be called. No message repeats the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// Nothing, or only blanks.
    #[error("no number")]
    Empty,
    /// Letters, or far too long.
    #[error("this is not a telephone number")]
    NotANumber,
    /// A national number, and no country to read it in.
    #[error("a number without a country; write it as +44...")]
    NoCountry,
    /// An emergency number of the country.
    #[error("this is an emergency number{}; it is never called", place(.country))]
    Emergency {
        /// Where; `None` for a code that is refused in every country.
        country: Option<Country>,
    },
    /// Too few digits for anything but a service.
    #[error("this is a short code of a service, not a customer's number")]
    ShortCode,
    /// An extension cannot be dialled.
    #[error("a number with an extension cannot be called")]
    Extension,
    /// Not assigned in the numbering plan.
    #[error("there is no such number{}: check its digits", place(.country))]
    Invalid {
        /// The country, if its code belongs to one.
        country: Option<Country>,
    },
}

impl Number {
    /// Reads a number as people write it. `country` is where it is written, for numbers without `+`.
    ///
    /// # Errors
    /// When it is not a valid number, or one that must not be called.
    pub fn parse(text: &str, country: Option<Country>) -> Result<Self, NumberError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(NumberError::Empty);
        }
        let allowed =
            |c: char| c.is_ascii_digit() || matches!(c, '+' | ' ' | '-' | '.' | '/' | '(' | ')' | '\u{a0}');
        if text.len() > LONGEST_TEXT || !text.chars().all(allowed) {
            let extension = text.to_ascii_lowercase().contains('x') || text.contains('#');
            return Err(if extension { NumberError::Extension } else { NumberError::NotANumber });
        }
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        let international = text.trim_start_matches(['(', ' ']).starts_with('+');
        if text
            .rfind('+')
            .is_some_and(|at| !international || text[..at].contains(|c: char| c == '+' || c.is_ascii_digit()))
        {
            return Err(NumberError::NotANumber);
        }
        if !international {
            refuse_service(&digits, country)?;
        }
        if country.is_none() && !international {
            return Err(NumberError::NoCountry);
        }
        let elsewhere = country.filter(|_| !international);
        let parsed =
            phonenumber::parse(country, text).map_err(|_| NumberError::Invalid { country: elsewhere })?;
        let home = parsed.country().id();
        let national = parsed.national().to_string();
        if national.len() < 5 {
            refuse_emergency(&national, home)?;
        }
        if !phonenumber::is_valid(&parsed) {
            return Err(NumberError::Invalid { country: home });
        }
        Ok(Self(Redacted::new(parsed.format().mode(Mode::E164).to_string())))
    }

    /// The number as `+` and digits. Never log it.
    pub fn e164(&self) -> &str {
        self.0.reveal()
    }

    /// The number for storing, still redacted.
    pub fn redacted(&self) -> &Redacted {
        &self.0
    }

    /// Its country, if its code belongs to one.
    pub fn country(&self) -> Option<Country> {
        phonenumber::parse(None, self.e164()).ok().and_then(|number| number.country().id())
    }

    /// As a trunk of `country` wants to see it. Never log it.
    pub fn format_for(&self, format: NumberFormat, country: Country) -> String {
        let plus = || self.e164().to_owned();
        match format {
            NumberFormat::Plus => plus(),
            NumberFormat::E164 => self.e164().trim_start_matches('+').to_owned(),
            NumberFormat::National => match phonenumber::parse(None, self.e164()) {
                Ok(number) if number.country().id() == Some(country) => number
                    .format()
                    .mode(Mode::National)
                    .to_string()
                    .chars()
                    .filter(char::is_ascii_digit)
                    .collect(),
                _ => plus(),
            },
        }
    }
}

impl FromStr for Number {
    type Err = NumberError;

    /// Reads a number that begins with `+`.
    fn from_str(text: &str) -> Result<Self, NumberError> {
        Self::parse(text, None)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a trunk wants numbers to be written in SIP addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NumberFormat {
    /// `442071838750`.
    E164,
    /// `+442071838750`.
    Plus,
    /// `02071838750` in the trunk's own country, with `+` elsewhere.
    National,
}

impl NumberFormat {
    /// The words of `number_format` in a trunk's file.
    pub const WORDS: &'static [(&'static str, NumberFormat)] =
        &[("plus", Self::Plus), ("e164", Self::E164), ("national", Self::National)];
}

fn refuse_service(digits: &str, country: Option<Country>) -> Result<(), NumberError> {
    refuse_emergency(digits, country)?;
    if digits.len() < 5 { Err(NumberError::ShortCode) } else { Ok(()) }
}

fn refuse_emergency(digits: &str, country: Option<Country>) -> Result<(), NumberError> {
    let own = EMERGENCY.iter().find(|(id, _)| Some(*id) == country).map_or(&[][..], |(_, codes)| codes);
    if own.contains(&digits) {
        return Err(NumberError::Emergency { country });
    }
    if EVERYWHERE.contains(&digits) {
        return Err(NumberError::Emergency { country: None });
    }
    Ok(())
}

fn place(country: &Option<Country>) -> String {
    country.map(|country| format!(" in {country:?}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: Option<Country> = Some(Country::GB);
    const US: Option<Country> = Some(Country::US);
    const DE: Option<Country> = Some(Country::DE);

    #[test]
    fn reads_what_people_write() {
        let cases = [
            ("020 7183 8750", GB, "+442071838750"),
            ("+44 (0)20 7183 8750", DE, "+442071838750"),
            ("(202) 555-0101", US, "+12025550101"),
            ("1-202-555-0199", US, "+12025550199"),
            ("+1 202 555 0100", None, "+12025550100"),
            ("+12025550142", GB, "+12025550142"),
            ("0171 1234567", DE, "+491711234567"),
            ("+34 612 345 678", None, "+34612345678"),
            ("01 42 68 53 00", Some(Country::FR), "+33142685300"),
        ];
        for (text, country, e164) in cases {
            assert_eq!(
                Number::parse(text, country).map(|number| number.e164().to_owned()).as_deref(),
                Ok(e164),
                "{text}"
            );
        }
    }

    #[test]
    fn every_practice_number_is_valid() {
        for last in 0..100 {
            let number: Number = format!("+120255501{last:02}").parse().unwrap();
            assert_eq!(number.country(), US);
        }
    }

    #[test]
    fn refuses_the_rest_by_name() {
        use NumberError::*;
        let cases = [
            ("", GB, Empty),
            ("  ", GB, Empty),
            ("ada", GB, NotANumber),
            ("+44 20 7183 8750 x12", None, Extension),
            ("++442071838750", None, NotANumber),
            ("020+7183 8750", GB, NotANumber),
            ("020 7183 8750", None, NoCountry),
            ("999", GB, Emergency { country: None }),
            ("1-1-2", DE, Emergency { country: None }),
            ("112", None, Emergency { country: None }),
            ("911", US, Emergency { country: None }),
            ("110", DE, Emergency { country: DE }),
            ("15", Some(Country::FR), Emergency { country: Some(Country::FR) }),
            ("10111", Some(Country::ZA), Emergency { country: Some(Country::ZA) }),
            ("411", US, ShortCode),
            ("100", GB, ShortCode),
            ("+44207", None, Invalid { country: GB }),
            ("+1 111 111 1111", None, Invalid { country: None }),
            ("+999 1234567", None, Invalid { country: None }),
            ("020 7183", GB, Invalid { country: GB }),
        ];
        for (text, country, error) in cases {
            let found = Number::parse(text, country);
            let same = match (&found, &error) {
                // Which country an impossible number is blamed on is the library's matter.
                (Err(Invalid { .. }), Invalid { .. }) => true,
                (found, error) => found.as_ref().err() == Some(error),
            };
            assert!(same, "{text}: {found:?}");
        }
        for text in ["+44999", "+49110", "+1911", "+112"] {
            assert!(Number::parse(text, None).is_err(), "{text}");
        }
    }

    #[test]
    fn errors_and_logs_do_not_repeat_the_number() {
        let number = Number::parse("020 7183 8750", GB).unwrap();
        assert_eq!(format!("{number} {number:?}"), "…50 …50");
        assert!(!Number::parse("020 7183", GB).unwrap_err().to_string().contains("7183"));
    }

    #[test]
    fn writes_as_trunks_want() {
        let number = Number::parse("020 7183 8750", GB).unwrap();
        let cases = [
            (NumberFormat::Plus, Country::GB, "+442071838750"),
            (NumberFormat::E164, Country::GB, "442071838750"),
            (NumberFormat::National, Country::GB, "02071838750"),
            (NumberFormat::National, Country::DE, "+442071838750"),
        ];
        for (format, country, written) in cases {
            assert_eq!(number.format_for(format, country), written);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "[+0-9() x#.-]{0,45}|\\PC{0,45}") {
            for country in [None, US, GB] {
                if let Ok(number) = Number::parse(&text, country) {
                    let again = Number::parse(number.e164(), None);
                    proptest::prop_assert_eq!(again, Ok(number));
                }
            }
        }
    }
}
