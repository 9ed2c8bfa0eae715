//! `numbers.toml`: which dialplan answers a call to one of our numbers (DIDs).

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Config, Trunk};
use crate::diagnostic::document::{self, Item, Table};
use crate::diagnostic::{Diagnostic, Source, suggest};
use crate::dialplan::Interpreter;
use crate::route::Number;

/// The most numbers in the file.
const MAX_NUMBERS: usize = 10_000;

/// The longest that a call may ring before it is answered.
const LONGEST_RING: Duration = Duration::from_secs(60);

/// One of our numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Did {
    /// The dialplan that answers.
    pub plan: String,
    /// The language to answer in; without it, the plan's first.
    pub language: Option<String>,
    /// The only trunks through which it is reached; empty means all of them, and phones.
    pub trunks: Vec<String>,
    /// How long it rings before it is answered.
    pub ring: Duration,
    /// Values for the plan's variables.
    pub vars: BTreeMap<String, String>,
}

/// Reads the numbers; what they refer to is examined against `whole`, whose trunks and plans are known.
pub(super) fn parse(
    file: &str,
    text: &str,
    whole: &Config,
) -> Result<BTreeMap<Number, Did>, Vec<Diagnostic>> {
    let source = Source::new(file, text);
    let numbers = document::parse(&source, |root| read(root, whole)).unwrap_or_default();
    if source.count() == 0 { Ok(numbers) } else { Err(source.into_diagnostics()) }
}

fn read(root: &Table<'_, '_>, whole: &Config) -> BTreeMap<Number, Did> {
    let mut numbers = BTreeMap::new();
    for item in root.entries() {
        if numbers.len() >= MAX_NUMBERS {
            item.key_error(format!("more than {MAX_NUMBERS} numbers"), "remove some");
            break;
        }
        let number = match Number::parse(item.key, None) {
            Ok(number) => number,
            Err(error) => {
                item.key_error(
                    format!("`{}`: {error}", item.key),
                    "write the number in quotes as [\"+442071838750\"]",
                );
                continue;
            }
        };
        let Some(did) = read_did(&item, whole) else { continue };
        if numbers.insert(number, did).is_some() {
            item.key_error(format!("`{}` is listed twice", item.key), "remove one of the two");
        }
    }
    numbers
}

fn read_did(item: &Item<'_, '_>, whole: &Config) -> Option<Did> {
    let table = item.table(format!("[\"{}\"]", item.key), "{ plan = \"inbound-menu\" }")?;
    let plan = table.require("plan", "plan = \"inbound-menu\"").and_then(|item| read_plan(&item, whole));
    let language = match table.get("language") {
        Some(item) => item.text("\"en\"").map(|language| Some(language.to_owned())),
        None => Some(None),
    };
    let trunks = match table.get("trunks") {
        Some(item) => read_trunks(&item, &whole.trunks),
        None => Some(Vec::new()),
    };
    let ring = match table.get("ring") {
        Some(item) => item.duration(Duration::ZERO..=LONGEST_RING),
        None => Some(Duration::ZERO),
    };
    let vars = match table.get("vars") {
        Some(item) => read_vars(&item),
        None => Some(BTreeMap::new()),
    };
    table.finish();
    let did = Did { plan: plan?, language: language?, trunks: trunks?, ring: ring?, vars: vars? };
    check_plan(item, &did, whole)?;
    Some(did)
}

fn read_plan(item: &Item<'_, '_>, whole: &Config) -> Option<String> {
    let name = item.text("\"inbound-menu\"")?;
    // A plan that could not be read is reported where it is wrong; then nothing can be said about it here.
    if !whole.plans.contains_key(name) && !whole.plans.is_empty() {
        let help = suggest(name, whole.plans.keys().map(String::as_str), "plans");
        item.error(format!("there is no plan `{name}`"), help);
        return None;
    }
    Some(name.to_owned())
}

fn read_trunks(item: &Item<'_, '_>, trunks: &BTreeMap<String, Trunk>) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for member in item.list("[\"main\"]")? {
        let name = member.text("\"main\"")?;
        if !trunks.contains_key(name) && !trunks.is_empty() {
            let help = suggest(name, trunks.keys().map(String::as_str), "trunks");
            member.error(format!("there is no trunk `{name}`"), help);
            return None;
        }
        names.push(name.to_owned());
    }
    Some(names)
}

fn read_vars(item: &Item<'_, '_>) -> Option<BTreeMap<String, String>> {
    let table = item.table("`vars`", "{ name = \"...\" }")?;
    let entries = table.entries();
    entries.iter().map(|entry| Some((entry.key.to_owned(), entry.text("\"...\"")?.to_owned()))).collect()
}

/// Nobody gives variables along with a call that comes in: what the plan requires must stand here or have a default.
fn check_plan(item: &Item<'_, '_>, did: &Did, whole: &Config) -> Option<()> {
    let Some(plan) = whole.plans.get(&did.plan) else { return Some(()) };
    let mut vars = did.vars.clone();
    vars.entry("depot".to_owned()).or_insert_with(|| whole.depot.clone());
    match Interpreter::new(plan.clone(), vars, did.language.as_deref().unwrap_or_default()) {
        Ok(_) => Some(()),
        Err(error) => {
            let name = error.variable().to_owned();
            item.key_error(
                format!("the plan `{}` cannot answer calls: {error}", did.plan),
                format!("add `vars = {{ {name} = \"...\" }}`, or give `{name}` a default in the plan"),
            );
            None
        }
    }
}
