//! Reading a TOML text into typed values, with a finding for everything that is not as it must be.
//!
//! A [`Table`] remembers which keys it was asked for, so that an unknown key is compared with exactly the keys that would
//! have been understood there. Everything that goes wrong is reported to the [`Source`]; a value that was reported reads
//! as absent, so that one run finds all there is to find.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Source, nearest};

/// Parses the text of `source` and passes its top table to `read`; `None` when nothing sensible can be read.
///
/// Syntax errors are reported, and then `read` is not called: what follows from them would only confuse.
pub fn parse<'t, R>(source: &Source<'t>, read: impl FnOnce(&Table<'_, 't>) -> R) -> Option<R> {
    let (root, errors) = DeTable::parse_recoverable(source.text());
    for error in &errors {
        let end = source.text().len();
        source
            .error(error.span().unwrap_or(end..end), format!("this is not TOML: {}", error.message().trim()));
    }
    errors.is_empty().then(|| read(&Table::new(source, "the file", 0..0, root.get_ref())))
}

/// A TOML table that is being read.
pub struct Table<'d, 't> {
    source: &'d Source<'t>,
    what: String,
    span: Range<usize>,
    entries: BTreeMap<&'d str, Item<'d, 't>>,
    asked: RefCell<Vec<&'static str>>,
    missing: RefCell<Vec<(&'static str, String)>>,
}

/// A key with its value.
#[derive(Clone)]
pub struct Item<'d, 't> {
    source: &'d Source<'t>,
    /// The key.
    pub key: &'d str,
    /// The bytes of the key.
    pub key_span: Range<usize>,
    /// The bytes of the value.
    pub span: Range<usize>,
    value: &'d DeValue<'d>,
}

impl<'d, 't> Table<'d, 't> {
    fn new(
        source: &'d Source<'t>,
        what: impl Into<String>,
        span: Range<usize>,
        table: &'d DeTable<'d>,
    ) -> Self {
        let item = |(key, value): (&'d Spanned<toml::de::DeString<'d>>, &'d Spanned<DeValue<'d>>)| {
            let key_text: &str = key.get_ref();
            (
                key_text,
                Item {
                    source,
                    key: key_text,
                    key_span: key.span(),
                    span: value.span(),
                    value: value.get_ref(),
                },
            )
        };
        let entries = table.iter().map(item).collect();
        Self {
            source,
            what: what.into(),
            span,
            entries,
            asked: RefCell::default(),
            missing: RefCell::default(),
        }
    }

    /// A table without keys, for a section that is not there.
    pub fn empty(source: &'d Source<'t>, what: impl Into<String>) -> Self {
        Self {
            source,
            what: what.into(),
            span: 0..0,
            entries: BTreeMap::new(),
            asked: RefCell::default(),
            missing: RefCell::default(),
        }
    }

    /// The same, with what it lacks reported at `span`: for a table in a list, whose key stands elsewhere.
    pub fn at(self, span: Range<usize>) -> Self {
        Self { span, ..self }
    }

    /// Where to report what this table lacks.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Where findings go.
    pub fn source(&self) -> &'d Source<'t> {
        self.source
    }

    /// The value of `key`, if it is there.
    pub fn get(&self, key: &'static str) -> Option<Item<'d, 't>> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        self.entries.get(key).cloned()
    }

    /// The value of `key`; [`Table::finish`] reports its absence, with `example` as what to write.
    pub fn require(&self, key: &'static str, example: &str) -> Option<Item<'d, 't>> {
        let item = self.get(key);
        if item.is_none() {
            self.missing.borrow_mut().push((key, example.to_owned()));
        }
        item
    }

    /// Every entry, in the order of the text: for tables whose keys are names of the admin's choice.
    pub fn entries(&self) -> Vec<Item<'d, 't>> {
        let mut all: Vec<_> = self.entries.values().cloned().collect();
        all.sort_by_key(|item| item.key_span.start);
        all
    }

    /// True when `key` is present, without asking for it.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Reports every key that nobody asked for, and every required one that is absent and not just misspelt.
    pub fn finish(&self) {
        let asked = self.asked.borrow();
        let mut missing = self.missing.borrow_mut();
        for item in self.entries().iter().filter(|item| !asked.contains(&item.key)) {
            let message = format!("unknown key `{}` in {}", item.key, self.what);
            let absent = asked.iter().copied().filter(|key| !self.entries.contains_key(key));
            let help = match nearest(item.key, absent) {
                Some(near) => {
                    missing.retain(|(key, _)| *key != near);
                    format!("did you mean `{near}`?")
                }
                None => {
                    let known: Vec<_> = asked.iter().map(|key| format!("`{key}`")).collect();
                    format!("the keys here are {}", known.join(", "))
                }
            };
            self.source.error_help(item.key_span.clone(), message, help);
        }
        for (key, example) in missing.iter() {
            self.source.error_help(
                self.span(),
                format!("{} has no `{key}`", self.what),
                format!("add `{example}`"),
            );
        }
    }
}

impl<'d, 't> Item<'d, 't> {
    /// Reports that the value is not what it must be.
    pub fn wrong(&self, expected: &str, example: &str) {
        let message = format!("`{}` must be {expected}, not {}", self.key, describe(self.value));
        self.source.error_help(self.span.clone(), message, format!("write `{} = {example}`", self.key));
    }

    /// Reports `message` at the value, with a remedy.
    pub fn error(&self, message: impl Into<String>, help: impl Into<String>) {
        self.source.error_help(self.span.clone(), message, help);
    }

    /// Reports `message` at the key, with a remedy.
    pub fn key_error(&self, message: impl Into<String>, help: impl Into<String>) {
        self.source.error_help(self.key_span.clone(), message, help);
    }

    /// Where findings go.
    pub fn source(&self) -> &'d Source<'t> {
        self.source
    }

    /// The value if it is a text; nothing is reported if not.
    pub fn as_text(&self) -> Option<&'d str> {
        self.value.as_str()
    }

    /// The value as a text that is not blank.
    pub fn text(&self, example: &str) -> Option<&'d str> {
        match self.value.as_str() {
            Some(text) if !text.trim().is_empty() => Some(text),
            Some(_) => {
                self.error(format!("`{}` is empty", self.key), format!("write `{} = {example}`", self.key));
                None
            }
            None => {
                self.wrong("a text in quotes", example);
                None
            }
        }
    }

    /// The value as a text that `parse` understands; its error is reported.
    pub fn parsed<T, E: std::fmt::Display>(
        &self,
        example: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(example)?;
        parse(text)
            .inspect_err(|error| {
                self.error(format!("`{}`: {error}", self.key), format!("write `{} = {example}`", self.key))
            })
            .ok()
    }

    /// The value as one of a closed set of words.
    pub fn word<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(&format!("\"{}\"", words.first().map_or("", |(word, _)| word)))?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let help = super::suggest(text, words.iter().map(|(word, _)| *word), "values");
            self.error(format!("`{text}` is not a value of `{}`", self.key), help);
        }
        found
    }

    /// The value as true or false.
    pub fn boolean(&self) -> Option<bool> {
        let value = self.value.as_bool();
        if value.is_none() {
            self.wrong("true or false", "true");
        }
        value
    }

    /// The value as a whole number inside `range`.
    pub fn integer(&self, range: RangeInclusive<u32>) -> Option<u32> {
        let DeValue::Integer(value) = self.value else {
            self.wrong("a whole number", &range.start().to_string());
            return None;
        };
        let number =
            i64::from_str_radix(value.as_str(), value.radix()).ok().and_then(|n| u32::try_from(n).ok());
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let bounds = format!("write a number from {} to {}", range.start(), range.end());
            self.error(format!("`{}` is out of range", self.key), bounds);
        }
        number
    }

    /// The value as a number from 0 to `most` with up to six decimal places, in millionths.
    pub fn millionths(&self, most: u32) -> Option<u64> {
        let text = match self.value {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            _ => {
                self.wrong("a number", "0.008");
                return None;
            }
        };
        let millionths = parse_millionths(text).filter(|value| *value <= u64::from(most) * 1_000_000);
        if millionths.is_none() {
            let message = format!("`{}` must be a number from 0 to {most}", self.key);
            self.error(message, format!("write `{} = 0.008`, with up to six decimal places", self.key));
        }
        millionths
    }

    /// The value as a length of time such as `"500ms"`, `"6s"`, `"45min"` or `"2h"`, inside `range`.
    pub fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let example = format!("\"{}\"", spell_duration(*range.start().max(&Duration::from_secs(1))));
        let Some(text) = self.value.as_str() else {
            self.wrong("a length of time in quotes", &example);
            return None;
        };
        let Some(duration) = parse_duration(text) else {
            let message = format!("`{}`: `{text}` is not a length of time", self.key);
            self.error(message, "write a number and its unit: \"500ms\", \"6s\", \"45min\" or \"2h\"");
            return None;
        };
        if !range.contains(&duration) {
            let (low, high) = (spell_duration(*range.start()), spell_duration(*range.end()));
            self.error(
                format!("`{}` is out of range", self.key),
                format!("write a time from {low} to {high}"),
            );
            return None;
        }
        Some(duration)
    }

    /// The value as a table, called `what` in findings.
    pub fn table(&self, what: impl Into<String>, example: &str) -> Option<Table<'d, 't>> {
        match self.value {
            DeValue::Table(table) => Some(Table::new(self.source, what, self.key_span.clone(), table)),
            _ => {
                self.wrong("a table", example);
                None
            }
        }
    }

    /// True when the value is a table.
    pub fn is_table(&self) -> bool {
        self.value.is_table()
    }

    /// The value as a list; each member carries this item's key.
    pub fn list(&self, example: &str) -> Option<Vec<Item<'d, 't>>> {
        let DeValue::Array(values) = self.value else {
            self.wrong("a list", example);
            return None;
        };
        let member = |value: &'d Spanned<DeValue<'d>>| Item {
            span: value.span(),
            value: value.get_ref(),
            ..self.clone()
        };
        Some(values.iter().map(member).collect())
    }
}

fn parse_millionths(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 6 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let fraction: u64 = format!("{fraction:0<6}").parse().ok()?;
    whole.checked_mul(1_000_000)?.checked_add(fraction)
}

/// Reads `"500ms"`, `"6s"`, `"45min"`, `"2h"`; spaces between the number and the unit are allowed.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok().filter(|number| *number <= 1_000_000_000)?;
    match unit.trim() {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" | "min" => Some(Duration::from_secs(number * 60)),
        "h" => Some(Duration::from_secs(number * 3600)),
        "d" => Some(Duration::from_secs(number * 86_400)),
        _ => None,
    }
}

/// The inverse of [`parse_duration`], in the largest unit that fits.
pub fn spell_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)] {
        if ms >= size && ms.is_multiple_of(size) {
            return format!("{}{unit}", ms / size);
        }
    }
    format!("{ms}ms")
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(_) => "a text".to_owned(),
        DeValue::Integer(number) => format!("the number {}", number.as_str()),
        DeValue::Float(number) => format!("the number {}", number.as_str()),
        DeValue::Boolean(value) => format!("{value}"),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back() {
        for (text, ms) in
            [("500ms", 500), ("6s", 6000), ("45 min", 2_700_000), ("2h", 7_200_000), ("1d", 86_400_000)]
        {
            let duration = parse_duration(text).unwrap();
            assert_eq!(duration.as_millis(), ms);
            assert_eq!(parse_duration(&spell_duration(duration)), Some(duration));
        }
        for text in ["", "6", "s", "-6s", "6 parsecs", "99999999999999999999s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    fn messages(text: &str, read: impl FnOnce(&Table<'_, '_>)) -> Vec<String> {
        let source = Source::new("f", text);
        parse(&source, read);
        source
            .into_diagnostics()
            .into_iter()
            .map(|found| format!("{}: {}", found.line, found.message))
            .collect()
    }

    #[test]
    fn decimal_numbers_are_exact() {
        let cases =
            [("0", 0), ("12", 12_000_000), ("0.008", 8_000), ("1.000001", 1_000_001), ("0.5", 500_000)];
        for (text, value) in cases {
            assert_eq!(parse_millionths(text), Some(value), "{text}");
        }
        for text in ["", ".5", "-1", "1.0000001", "1e3", "0.-5", "99999999999999999999", "nan"] {
            assert_eq!(parse_millionths(text), None, "{text}");
        }
    }

    #[test]
    fn finds_everything_at_once() {
        let text = "a = 99\nb = \"6 parsecs\"\nc = 1\nd = \"z\"\n";
        let found = messages(text, |table| {
            table.get("a").unwrap().integer(0..=9);
            table.get("b").unwrap().duration(Duration::ZERO..=Duration::MAX);
            table.get("c").unwrap().text("\"x\"");
            table.get("d").unwrap().word(&[("x", 1), ("y", 2)]);
            table.require("e", "e = 1");
            table.finish();
        });
        let expected = [
            "1: the file has no `e`",
            "1: `a` is out of range",
            "2: `b`: `6 parsecs` is not a length of time",
            "3: `c` must be a text in quotes, not the number 1",
            "4: `z` is not a value of `d`",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn reports_syntax_and_unknown_keys() {
        let found = messages("a = \nb = 1\nb = 2\n", |_| panic!("not read"));
        assert!(found.len() >= 2 && found.iter().all(|line| line.contains("this is not TOML")), "{found:?}");
        assert_eq!(
            messages("aa = 1", |table| {
                table.get("ab");
                table.finish()
            }),
            ["1: unknown key `aa` in the file"]
        );
    }
}
