//! The tables of a trunk that go by the number: what it carries, how it writes numbers, whose number it shows, what it costs.

use std::time::Duration;

use super::read_country;
use crate::diagnostic::document::{Item, Table};
use crate::route::{BreakerLimits, Callees, CallerId, Number, Prefix, Price, Rate, Rewrite};

/// The most lines of one table.
const MAX_RULES: usize = 5000;

const PREFIX: &str = "\"+44\"";
const NUMBER: &str = "\"+442071838750\"";

/// Who is calling, on one trunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The number that customers see, unless a line of `caller_ids` is for them.
    pub number: Number,
    /// Other numbers for some of them; the first that is for the callee counts.
    pub others: Vec<CallerId>,
    /// The name that customers see.
    pub display_name: Option<String>,
    /// Hide number and name from the customer (RFC 3323); the trunk still learns them from P-Asserted-Identity, if that is sent.
    pub anonymous: bool,
    /// Send P-Asserted-Identity (RFC 3325).
    pub asserted_identity: bool,
}

impl Caller {
    /// The number that `callee` is to see.
    pub fn number_for(&self, callee: &Number) -> &Number {
        crate::route::caller_id(callee, &self.others, &self.number)
    }
}

pub(super) fn read_caller(table: &Table<'_, '_>) -> Option<Caller> {
    let number =
        table.require("caller_id", &format!("caller_id = {NUMBER}")).and_then(|item| read_number(&item));
    let others = match table.get("caller_ids") {
        Some(item) => read_caller_ids(&item),
        None => Some(Vec::new()),
    };
    let display_name = match table.get("display_name") {
        Some(item) => item.parsed("\"Riverside Depot\"", read_display_name).map(Some),
        None => Some(None),
    };
    let anonymous = table.get("anonymous").map_or(Some(false), |item| item.boolean());
    let asserted_identity = table.get("asserted_identity").map_or(Some(false), |item| item.boolean());
    Some(Caller {
        number: number?,
        others: others?,
        display_name: display_name?,
        anonymous: anonymous?,
        asserted_identity: asserted_identity?,
    })
}

fn read_number(item: &Item<'_, '_>) -> Option<Number> {
    item.parsed(NUMBER, |text| Number::parse(text, None))
}

fn read_display_name(text: &str) -> Result<String, &'static str> {
    match text.chars().count() <= 60 && !text.chars().any(char::is_control) {
        true => Ok(text.to_owned()),
        false => Err("at most 60 characters on one line"),
    }
}

fn read_caller_ids(item: &Item<'_, '_>) -> Option<Vec<CallerId>> {
    let example = "[{ prefix = \"+49\", caller_id = \"+493012345678\" }]";
    let rules = read_table(item, example, |table, item| {
        let (prefix, country) = (table.get("prefix"), table.get("country"));
        let shown = table.require("caller_id", "caller_id = \"+493012345678\"");
        let callees = match (prefix, country) {
            (Some(prefix), None) => read_prefix(&prefix).map(Callees::Prefix),
            (None, Some(country)) => country.parsed("\"DE\"", read_country).map(Callees::Country),
            _ => {
                let help = "add `prefix = \"+49\"` or `country = \"DE\"` to say who sees it, not both";
                item.error("this line of `caller_ids` needs either `prefix` or `country`", help);
                None
            }
        };
        let shown = shown.and_then(|item| read_number(&item));
        Some(CallerId { callees: callees?, shown: shown? })
    })?;
    let covers = |earlier: &CallerId, later: &CallerId| match (&earlier.callees, &later.callees) {
        (Callees::Prefix(earlier), Callees::Prefix(later)) => earlier.covers(later),
        (earlier, later) => earlier == later,
    };
    no_dead_lines(item, &rules, covers)?;
    Some(rules)
}

pub(super) fn read_rewrite(table: &Table<'_, '_>) -> Option<Vec<Rewrite>> {
    let Some(item) = table.get("rewrite") else { return Some(Vec::new()) };
    let rules = read_table(&item, "[{ prefix = \"+44\", replace = \"0\" }]", |table, _| {
        let prefix = table.require("prefix", "prefix = \"+44\"");
        let replace = table.require("replace", "replace = \"0\"");
        let prefix = prefix.and_then(|item| read_prefix(&item));
        let replace = replace.and_then(|item| read_replacement(&item));
        Some(Rewrite { prefix: prefix?, replace: replace? })
    })?;
    no_dead_lines(&item, &rules, |earlier, later| earlier.prefix.covers(&later.prefix))?;
    Some(rules)
}

/// It may be empty: then the prefix is only stripped.
fn read_replacement(item: &Item<'_, '_>) -> Option<String> {
    let Some(text) = item.as_text() else {
        item.wrong("a text in quotes", "\"0\"");
        return None;
    };
    let good = |c: char| c.is_ascii_digit() || matches!(c, '+' | '*' | '#');
    if text.len() > 20 || !text.chars().all(good) {
        item.error(
            "`replace` is dialled as it is: at most 20 of 0-9, `+`, `*` and `#`",
            "write `replace = \"0\"`, or `replace = \"\"` to strip the prefix",
        );
        return None;
    }
    Some(text.to_owned())
}

pub(super) fn read_cost(table: &Table<'_, '_>) -> Option<Vec<Rate>> {
    let Some(item) = table.get("cost") else { return Some(Vec::new()) };
    let rates = read_table(&item, "[{ prefix = \"+44\", per_minute = 0.008 }]", |table, _| {
        let prefix = table.require("prefix", "prefix = \"+44\"");
        let per_minute = table.require("per_minute", "per_minute = 0.008");
        let prefix = prefix.and_then(|item| read_prefix(&item));
        let per_minute = per_minute.and_then(|item| item.millionths(1000));
        Some(Rate { prefix: prefix?, per_minute: Price(per_minute?) })
    })?;
    no_dead_lines(&item, &rates, |earlier, later| earlier.prefix == later.prefix)?;
    Some(rates)
}

pub(super) fn read_breaker(table: &Table<'_, '_>) -> Option<BreakerLimits> {
    let usual = BreakerLimits::default();
    let Some(item) = table.get("breaker") else { return Some(usual) };
    let table = item.table("`breaker`", "{ failures = 5, open = \"30s\" }")?;
    let failures = table.get("failures").map_or(Some(usual.failures), |item| item.integer(1..=1000));
    let open = table
        .get("open")
        .map_or(Some(usual.open), |item| item.duration(Duration::from_secs(1)..=Duration::from_secs(3600)));
    table.finish();
    Some(BreakerLimits { failures: failures?, open: open? })
}

/// A list of prefixes: `["+44", "+353"]`. Absent is an empty list.
pub(in super::super) fn read_prefixes(table: &Table<'_, '_>, key: &'static str) -> Option<Vec<Prefix>> {
    let Some(item) = table.get(key) else { return Some(Vec::new()) };
    let list = bounded_list(&item, "[\"+44\", \"+353\"]")?;
    if list.is_empty() {
        item.error(format!("`{key}` is empty"), format!("write `{key} = [\"+44\"]`, or remove the line"));
        return None;
    }
    let prefixes: Vec<_> = list.iter().map(read_prefix).collect::<Option<_>>()?;
    no_dead_lines(&item, &prefixes, Prefix::covers)?;
    Some(prefixes)
}

fn read_prefix(item: &Item<'_, '_>) -> Option<Prefix> {
    let text = item.text(PREFIX)?;
    text.parse()
        .inspect_err(|error| {
            let help = format!("write {PREFIX}: `+`, the country's code and, if wanted, further digits");
            item.error(format!("`{text}` in `{}` is no prefix: {error}", item.key), help);
        })
        .ok()
}

/// A list of inline tables; every member is read, so that one run finds all there is to find.
fn read_table<'d, 't, T>(
    item: &Item<'d, 't>,
    example: &str,
    read: impl Fn(&Table<'d, 't>, &Item<'d, 't>) -> Option<T>,
) -> Option<Vec<T>> {
    let list = bounded_list(item, example)?;
    let read_one = |member: &Item<'d, 't>| {
        let line = example.trim_matches(['[', ']']);
        let table = member.table(format!("a line of `{}`", member.key), line)?.at(member.span.clone());
        let value = read(&table, member);
        table.finish();
        value
    };
    // Not short-circuiting: `collect` into an Option would stop at the first wrong line.
    let lines: Vec<_> = list.iter().map(read_one).collect();
    lines.into_iter().collect()
}

fn bounded_list<'d, 't>(item: &Item<'d, 't>, example: &str) -> Option<Vec<Item<'d, 't>>> {
    let list = item.list(example)?;
    if list.len() > MAX_RULES {
        item.key_error(
            format!("`{}` has {} lines", item.key, list.len()),
            format!("at most {MAX_RULES} are read; write shorter prefixes"),
        );
        return None;
    }
    Some(list)
}

/// Reports the first line that can never count because an earlier one `covers` all that it is for.
fn no_dead_lines<T>(item: &Item<'_, '_>, rules: &[T], covers: impl Fn(&T, &T) -> bool) -> Option<()> {
    let members = item.list("[]")?;
    for (at, later) in rules.iter().enumerate() {
        if let Some(first) = rules.iter().take(at).position(|earlier| covers(earlier, later)) {
            members.get(at)?.error(
                format!(
                    "entry {} of `{}` is never used: entry {} counts before it",
                    at + 1,
                    item.key,
                    first + 1
                ),
                "remove one of the two, or put the longer prefix first",
            );
            return None;
        }
    }
    Some(())
}
