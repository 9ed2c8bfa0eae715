//! Beginnings of numbers, and the tables of a trunk that go by them: what it may carry, how it writes numbers, whose number
//! it shows, what it costs.

use std::fmt;
use std::str::FromStr;

use super::number::{Country, Number, NumberFormat};

/// The beginning of numbers in E.164: `+` alone (every number) or `+` and up to 15 digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix(String);

/// Why a text is not a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// It does not begin with `+`.
    #[error("it does not begin with `+` and the country's code")]
    NoPlus,
    /// Something else than digits follows.
    #[error("after `+` come digits only, without blanks or punctuation")]
    NotDigits,
    /// E.164 has 15 digits.
    #[error("it has more than 15 digits")]
    TooLong,
}

impl Prefix {
    /// `+` and the digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `number` begins so.
    pub fn matches(&self, number: &Number) -> bool {
        number.e164().starts_with(&self.0)
    }

    /// Whether every number that `other` matches is matched by this one as well.
    pub fn covers(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let digits = text.strip_prefix('+').ok_or(PrefixError::NoPlus)?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(PrefixError::NotDigits);
        }
        if digits.len() > 15 {
            return Err(PrefixError::TooLong);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One line of a trunk's table of how it wants numbers to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// Numbers that begin so...
    pub prefix: Prefix,
    /// ...are written with this instead of the prefix: digits, `+`, `*` and `#`, or nothing.
    pub replace: String,
}

/// A number as a trunk of `country` wants to see it: by the first of `rules` that matches, otherwise in `format`. Never log it.
pub fn write_number(number: &Number, rules: &[Rewrite], format: NumberFormat, country: Country) -> String {
    let rule = rules.iter().find_map(|rule| {
        let rest = number.e164().strip_prefix(rule.prefix.as_str())?;
        Some(format!("{}{rest}", rule.replace))
    });
    rule.unwrap_or_else(|| number.format_for(format, country))
}

/// Whom a caller-ID rule is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Callees {
    /// Those whose numbers begin so.
    Prefix(Prefix),
    /// Those in a country.
    Country(Country),
}

/// One line of a trunk's table of the numbers that customers see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerId {
    /// Who sees it.
    pub callees: Callees,
    /// What they see.
    pub shown: Number,
}

/// The number that `callee` sees: that of the first of `rules` that is for them, otherwise `default`.
pub fn caller_id<'a>(callee: &Number, rules: &'a [CallerId], default: &'a Number) -> &'a Number {
    let is_for = |rule: &&CallerId| match &rule.callees {
        Callees::Prefix(prefix) => prefix.matches(callee),
        Callees::Country(country) => callee.country() == Some(*country),
    };
    rules.iter().find(is_for).map_or(default, |rule| &rule.shown)
}

/// A price in millionths of the depot's currency, so that prices can be compared and added exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price(pub u64);

impl serde::Serialize for Price {
    /// As text, so that no reader makes a binary fraction of it.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000);
        let end = text.trim_end_matches('0').len();
        let at_least = text.find('.').map_or(end, |point| point + 3);
        f.pad(text.get(..end.max(at_least)).unwrap_or(&text))
    }
}

/// One line of a trunk's price list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rate {
    /// Calls to numbers that begin so...
    pub prefix: Prefix,
    /// ...cost this much a minute.
    pub per_minute: Price,
}

/// What a minute to `number` costs: the rate with the longest prefix that matches.
pub fn price(number: &Number, rates: &[Rate]) -> Option<Price> {
    let matching = rates.iter().filter(|rate| rate.prefix.matches(number));
    matching.max_by_key(|rate| rate.prefix.as_str().len()).map(|rate| rate.per_minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    fn number(text: &str) -> Number {
        text.parse().unwrap()
    }

    #[test]
    fn prefixes() {
        for good in ["+", "+4", "+44909", "+123456789012345"] {
            assert_eq!(prefix(good).to_string(), good);
        }
        let bad = [
            ("", PrefixError::NoPlus),
            ("0044", PrefixError::NoPlus),
            ("+44 20", PrefixError::NotDigits),
            ("++44", PrefixError::NotDigits),
            ("+1234567890123456", PrefixError::TooLong),
        ];
        for (text, error) in bad {
            assert_eq!(text.parse::<Prefix>(), Err(error), "{text}");
        }
        assert!(prefix("+4").covers(&prefix("+44")) && !prefix("+44").covers(&prefix("+4")));
        assert!(
            prefix("+44").matches(&number("+442071838750"))
                && !prefix("+1").matches(&number("+442071838750"))
        );
    }

    #[test]
    fn the_first_rule_that_matches_rewrites() {
        let rule = |from: &str, to: &str| Rewrite { prefix: prefix(from), replace: to.to_owned() };
        let rules = [rule("+4420", "020"), rule("+44", "0"), rule("+1", "99#1"), rule("+49", "")];
        let written = |text: &str| write_number(&number(text), &rules, NumberFormat::E164, Country::GB);
        assert_eq!(written("+442071838750"), "02071838750");
        assert_eq!(written("+441132345678"), "01132345678");
        assert_eq!(written("+12025550100"), "99#12025550100");
        assert_eq!(written("+491711234567"), "1711234567");
        assert_eq!(written("+33142685300"), "33142685300", "no rule: the trunk's number_format");
    }

    #[test]
    fn the_callee_decides_which_number_is_shown() {
        let default = number("+442071838750");
        let rules = [
            CallerId { callees: Callees::Prefix(prefix("+4930")), shown: number("+493012345678") },
            CallerId { callees: Callees::Country(Country::DE), shown: number("+494012345678") },
        ];
        let shown = |callee: &str| caller_id(&number(callee), &rules, &default).e164().to_owned();
        assert_eq!(shown("+493098765432"), "+493012345678");
        assert_eq!(shown("+491711234567"), "+494012345678");
        assert_eq!(shown("+12025550100"), "+442071838750");
    }

    #[test]
    fn the_longest_prefix_sets_the_price() {
        let rate = |text: &str, micros| Rate { prefix: prefix(text), per_minute: Price(micros) };
        let rates = [rate("+", 90_000), rate("+447", 20_000), rate("+44", 8_000)];
        let micros = |text: &str| price(&number(text), &rates).map(|price| price.0);
        assert_eq!(micros("+442071838750"), Some(8_000));
        assert_eq!(micros("+447911123456"), Some(20_000));
        assert_eq!(micros("+12025550100"), Some(90_000));
        assert_eq!(price(&number("+12025550100"), &rates[1..]), None);
    }

    #[test]
    fn prices_are_shown_with_two_digits_at_least() {
        let cases =
            [(0, "0.00"), (8_000, "0.008"), (20_000, "0.02"), (1_500_000, "1.50"), (12_000_001, "12.000001")];
        for (micros, text) in cases {
            assert_eq!(Price(micros).to_string(), text);
        }
    }
}
