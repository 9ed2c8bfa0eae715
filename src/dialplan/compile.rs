//! From TOML to a [`Plan`], with everything that is wrong found in one go.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::vars::{self, STANDARD, Var, VarType};
use super::verb::{ACTS, Branch, Gather, Hangup, Pause, Play, Record, Say, Set, Verb};
use super::{Plan, PromptFiles, Step, StepId, graph, is_word, prompt};
use crate::diagnostic::Diagnostic;
use crate::diagnostic::document::{self, Item, Table};
use crate::diagnostic::{Source, nearest, suggest};

/// The most steps a plan may have.
const MOST_STEPS: usize = 500;

/// What the parts of a plan need to know of the whole while they are read.
pub(super) struct Scope<'s, 't> {
    pub(super) source: &'s Source<'t>,
    pub(super) languages: Vec<String>,
    pub(super) files: &'s dyn PromptFiles,
    steps: BTreeMap<String, StepId>,
    vars: BTreeMap<String, Var>,
    used: RefCell<Vec<(String, Range<usize>)>>,
}

impl Scope<'_, '_> {
    /// The step that `item` names; reported if there is none.
    pub(super) fn target(&self, item: &Item<'_, '_>) -> Option<StepId> {
        let name = item.text("\"bye\"")?;
        let found = self.steps.get(name).copied();
        if found.is_none() {
            item.error(
                format!("there is no step `{name}`"),
                suggest(name, self.steps.keys().map(String::as_str), "steps"),
            );
        }
        found
    }

    /// Notes that a variable is mentioned, to be checked when all are known.
    pub(super) fn uses(&self, name: &str, span: Range<usize>) {
        self.used.borrow_mut().push((name.to_owned(), span));
    }

    /// True when a step may give the variable `name` a value; `report` hears a message and help if not.
    pub(super) fn may_set(&self, name: &str, report: impl Fn(String, &str)) -> bool {
        if !is_word(name) {
            report(format!("`{name}` is not a name for a variable"), "write small letters, digits and `_`");
        } else if ["language", "spoke"].contains(&name) {
            report(format!("`{name}` is set by the call itself"), "choose another name");
        } else if let Some(VarType::Time | VarType::Number) = self.vars.get(name).map(|var| var.kind) {
            let help = "choose another name; only `text` and `code` variables can be set";
            report(format!("`{name}` is declared as a time or number and cannot be set"), help);
        } else {
            return true;
        }
        false
    }
}

/// See [`Plan::parse`].
pub(super) fn compile(
    name: &str,
    file: &str,
    text: &str,
    files: &dyn PromptFiles,
) -> Result<Plan, Vec<Diagnostic>> {
    let source = Source::new(file, text);
    let plan = document::parse(&source, |root| read(name, &source, root, files)).flatten();
    match plan {
        Some(plan) if source.count() == 0 => Ok(plan),
        _ => Err(source.into_diagnostics()),
    }
}

fn read(name: &str, source: &Source<'_>, root: &Table<'_, '_>, files: &dyn PromptFiles) -> Option<Plan> {
    let title = root
        .require("title", "title = \"Confirm a delivery\"")
        .and_then(|item| item.text("\"Confirm a delivery\""));
    let start = root.require("start", "start = \"greet\"").filter(|item| item.text("\"greet\"").is_some());
    let languages = read_languages(root);
    let vars = read_vars(root);
    let steps = root.require("step", "[step.greet]").and_then(|item| item.table("`step`", "[step.greet]"));
    root.finish();
    let (steps, languages) = (steps?.entries(), languages?);
    if steps.len() > MOST_STEPS {
        source.error(0..0, format!("a plan has at most {MOST_STEPS} steps"));
        return None;
    }
    let numbered = steps.iter().enumerate().map(|(at, item)| (item.key.to_owned(), StepId(at))).collect();
    let scope = Scope { source, languages, files, steps: numbered, vars, used: RefCell::default() };
    let start = start.and_then(|item| scope.target(&item));
    let read: Vec<_> = steps.iter().map(|item| read_step(&scope, item)).collect();
    let read: Option<Vec<_>> = read.into_iter().collect();
    let live = live_variables(read.as_deref().unwrap_or_default());
    if read.is_some() {
        check_variables(&scope, &live);
    }
    let (title, steps_read, start) = (title?.to_owned(), read?, start?);
    if source.count() == 0 {
        graph::check(source, &steps, &steps_read, start);
    }
    let Scope { languages, vars, .. } = scope;
    let digest = hex(ring::digest::digest(&ring::digest::SHA256, source.text().as_bytes()).as_ref());
    Some(Plan { name: name.to_owned(), title, languages, vars, live, steps: steps_read, start, digest })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_languages(root: &Table<'_, '_>) -> Option<Vec<String>> {
    let item = root.require("language", "language = [\"en\"]")?;
    let list = item.list("[\"en\", \"es\"]")?;
    if list.is_empty() {
        item.error("`language` is empty", "write `language = [\"en\"]`; the first is the fallback");
        return None;
    }
    let mut languages: Vec<String> = Vec::new();
    for member in list {
        let tag = member.text("[\"en\"]")?;
        if !is_language(tag) {
            member.error(
                format!("`{tag}` is not a language tag"),
                "write a tag such as \"en\", \"de\" or \"es-MX\"",
            );
            return None;
        }
        if languages.iter().any(|language| language.eq_ignore_ascii_case(tag)) {
            member.error(format!("`{tag}` is listed twice"), "remove one of the two");
            return None;
        }
        languages.push(tag.to_owned());
    }
    Some(languages)
}

/// True for tags such as `en`, `es-MX`, `zh-Hant`.
fn is_language(tag: &str) -> bool {
    let mut parts = tag.split('-');
    let main = parts.next().unwrap_or_default();
    (2..=3).contains(&main.len())
        && main.chars().all(|c| c.is_ascii_lowercase())
        && parts.all(|part| (2..=8).contains(&part.len()) && part.chars().all(|c| c.is_ascii_alphanumeric()))
}

const VAR_EXAMPLE: &str = "{ type = \"text\", required = true }";

fn read_vars(root: &Table<'_, '_>) -> BTreeMap<String, Var> {
    let table = root.get("vars").and_then(|item| item.table("`vars`", "[vars]"));
    let Some(table) = table else { return BTreeMap::new() };
    let mut vars = BTreeMap::new();
    for entry in table.entries() {
        if !is_word(entry.key) || ["digits", "spoke", "language"].contains(&entry.key) {
            let message = match is_word(entry.key) {
                true => format!("`{}` is always there and cannot be declared", entry.key),
                false => format!("`{}` is not a name for a variable", entry.key),
            };
            entry.key_error(message, "choose another name of small letters, digits and `_`");
            continue;
        }
        // A broken declaration still declares, so that its uses are not reported as well.
        let fallback = Var { kind: VarType::Text, required: false, default: None };
        vars.insert(entry.key.to_owned(), read_var(&entry).unwrap_or(fallback));
    }
    vars
}

fn read_var(entry: &Item<'_, '_>) -> Option<Var> {
    let table = entry.table(format!("the variable `{}`", entry.key), VAR_EXAMPLE)?;
    let kind = table.require("type", "type = \"text\"").and_then(|item| item.word(VarType::WORDS));
    let required = table.get("required").map_or(Some(false), |item| item.boolean());
    let default = table.get("default");
    table.finish();
    let (kind, required) = (kind?, required?);
    if entry.key == "eta" && kind != VarType::Time {
        let help = "write `eta = { type = \"time\", required = true }`";
        entry.key_error("`eta` comes from the delivery and is a time", help);
    }
    let default = match default {
        Some(item) if required => {
            item.key_error("a required variable has no use for a default", "remove `required` or `default`");
            return None;
        }
        Some(item) => {
            let Some(text) = item.as_text() else {
                item.wrong("a text in quotes", "\"\"");
                return None;
            };
            let value = vars::clean(text);
            if let Err(expected) = vars::check(kind, &value) {
                item.error(
                    format!("the default must be {expected}"),
                    "write such a value, or make the variable required",
                );
                return None;
            }
            Some(value)
        }
        None if required => None,
        None => {
            let help = "add `required = true`, or `default = \"...\"` for calls without it";
            entry.error(format!("`{}` is neither required nor has it a default", entry.key), help);
            return None;
        }
    };
    Some(Var { kind, required, default })
}

fn read_step(scope: &Scope<'_, '_>, item: &Item<'_, '_>) -> Option<Step> {
    let step = item.table(format!("the step `{}`", item.key), "[step.greet]")?;
    let before = scope.source.count();
    let prompts = [
        step.get("play").map(|item| prompt::read_play(scope, &item)),
        step.get("say").map(|item| prompt::read_say(scope, &item)),
    ];
    let outcome = match step.get("outcome") {
        Some(item) => read_outcome(&item).map(Some),
        None => Some(None),
    };
    let acts: Vec<_> = ACTS.into_iter().filter_map(|key| step.get(key)).collect();
    let verb = match acts.as_slice() {
        [first, second, ..] => {
            let message = format!("a step does one thing, not both `{}` and `{}`", first.key, second.key);
            second.key_error(message, "make two steps of it, the first with `next` to the second");
            None
        }
        [only] => {
            if prompts.iter().any(Option::is_some) && ["branch", "set"].contains(&only.key) {
                let help = format!("say it in a step before, with `next = \"{}\"`", item.key);
                only.key_error(format!("a `{}` step has no prompt", only.key), help);
            }
            read_verb(scope, &step, only.key)
        }
        [] if prompts[1].is_some() => Say::read(scope, &step).map(Verb::Say),
        [] if prompts[0].is_some() => Play::read(scope, &step).map(Verb::Play),
        [] => None,
    };
    // Known to every step, so that a misspelt one is recognised whatever the verb.
    let _known = (step.get("on"), step.get("next"));
    step.finish();
    if verb.is_none() && scope.source.count() == before {
        let help = "add `say`, `play`, `gather`, `record`, `pause`, `branch`, `set` or `hangup`";
        item.key_error(format!("the step `{}` does nothing", item.key), help);
    }
    let prompts: Option<Vec<_>> = prompts.into_iter().flatten().collect();
    Some(Step { name: item.key.to_owned(), outcome: outcome?, prompts: prompts?, verb: verb? })
}

fn read_verb(scope: &Scope<'_, '_>, step: &Table<'_, '_>, key: &str) -> Option<Verb> {
    match key {
        "gather" => Gather::read(scope, step).map(Verb::Gather),
        "record" => Record::read(scope, step).map(Verb::Record),
        "pause" => Pause::read(scope, step).map(Verb::Pause),
        "branch" => Branch::read(scope, step).map(Verb::Branch),
        "set" => Set::read(scope, step).map(Verb::Set),
        _ => Hangup::read(step).map(Verb::Hangup),
    }
}

fn read_outcome(item: &Item<'_, '_>) -> Option<String> {
    let word = item.text("\"confirmed\"")?;
    if !is_word(word) {
        let help = "write one word of small letters and `_`, such as \"confirmed\"";
        item.error(format!("`{word}` is not an outcome"), help);
        return None;
    }
    Some(word.to_owned())
}

fn live_variables(steps: &[Step]) -> BTreeSet<String> {
    let set = steps.iter().flat_map(|step| step.verb.sets()).map(str::to_owned);
    set.chain(["digits".to_owned(), "spoke".to_owned()]).collect()
}

/// Reports variables that nothing declares or sets.
fn check_variables(scope: &Scope<'_, '_>, live: &BTreeSet<String>) {
    for (name, span) in scope.used.borrow().iter() {
        if scope.vars.contains_key(name) || live.contains(name) || name == "language" {
            continue;
        }
        let known = scope.vars.keys().chain(live).map(String::as_str);
        let standard = STANDARD.iter().find(|(standard, _)| standard == name);
        let help = match (nearest(name, known), standard) {
            (None, _) | (_, Some(_)) => {
                let kind = if name == "eta" { "time" } else { "text" };
                format!("declare it under [vars]: `{name} = {{ type = \"{kind}\", required = true }}`")
            }
            (Some(near), None) => format!("did you mean `{near}`? Otherwise declare `{name}` under [vars]"),
        };
        let message = format!("the variable `{name}` is not declared");
        scope.source.error_help(mention(scope.source.text(), name, span.clone()), message, help);
    }
}

/// Where `{name` stands inside `span`, or all of it.
fn mention(text: &str, name: &str, span: Range<usize>) -> Range<usize> {
    let inside = text.get(span.clone()).unwrap_or_default();
    let braces = inside.match_indices('{').map(|(at, _)| at + 1);
    let starts = braces.map(|at| at + inside[at..].len() - inside[at..].trim_start().len());
    let ends_there = |at: &usize| {
        let rest = inside[*at..].strip_prefix(name);
        rest.is_some_and(|rest| rest.trim_start().starts_with(['}', '|']))
    };
    let found = starts.into_iter().find(ends_there).map(|at| span.start + at..span.start + at + name.len());
    found.unwrap_or(span)
}
