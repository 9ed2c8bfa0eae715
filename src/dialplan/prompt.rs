//! Prompts as a plan writes them: per language, a recorded file or a text with variables in braces.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::compile::Scope;
use super::vars::{Var, VarType};
use super::{Prompt, spoken};
use crate::diagnostic::document::Item;

/// What a prompt is, for each language of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PromptSpec {
    /// A recorded file.
    Play(BTreeMap<String, PathBuf>),
    /// A text to be spoken.
    Say(BTreeMap<String, Template>),
}

impl PromptSpec {
    /// The prompt in `language`, which is one of the plan's.
    pub(super) fn render(
        &self,
        language: &str,
        declared: &BTreeMap<String, Var>,
        values: &BTreeMap<String, String>,
    ) -> Option<Prompt> {
        match self {
            Self::Play(files) => files.get(language).cloned().map(Prompt::File),
            Self::Say(texts) => {
                let text = texts.get(language)?.render(language, declared, values);
                (!text.is_empty()).then(|| Prompt::Text { language: language.to_owned(), text })
            }
        }
    }

    /// True when the prompt in `language` mentions one of `names`.
    pub(super) fn mentions(&self, language: &str, names: &BTreeSet<String>) -> bool {
        match self {
            Self::Play(_) => false,
            Self::Say(texts) => {
                texts.get(language).is_some_and(|text| text.variables().any(|name| names.contains(name)))
            }
        }
    }
}

/// A text with variables: `Hello {name}, order {order|spell}`. A brace itself is written twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable { name: String, spell: bool },
}

impl Template {
    /// Reads a template; the error says what is wrong and what to write.
    pub(super) fn parse(text: &str) -> Result<Self, (String, String)> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            let after = &rest[at + 1..];
            if let Some(after) = after.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
            } else if brace == "{" {
                let Some(end) = after.find('}') else {
                    return Err((
                        "`{` without `}`".to_owned(),
                        "close it, or write `{{` for a brace".to_owned(),
                    ));
                };
                if !plain.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                }
                pieces.push(variable(&after[..end])?);
                rest = &after[end + 1..];
            } else {
                return Err(("`}` without `{`".to_owned(), "write `}}` for a brace".to_owned()));
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }

    /// The variables it mentions.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Variable { name, .. } => Some(name.as_str()),
        })
    }

    /// The text with its variables filled in, as the language says them.
    pub(super) fn render(
        &self,
        language: &str,
        declared: &BTreeMap<String, Var>,
        values: &BTreeMap<String, String>,
    ) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Variable { name, spell } => {
                    let value = values.get(name).map(String::as_str).unwrap_or_default();
                    let kind = declared.get(name).map_or(VarType::Text, |var| var.kind);
                    text.push_str(&say(value, kind, *spell, language));
                }
            }
        }
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

fn say(value: &str, kind: VarType, spell: bool, language: &str) -> String {
    match kind {
        VarType::Time if !spell => match spoken::time_of_day(value) {
            Some(time) => spoken::say_time(time, language),
            None => value.to_owned(),
        },
        VarType::Code => spoken::spell(value),
        _ if spell => spoken::spell(value),
        _ => value.to_owned(),
    }
}

fn variable(inside: &str) -> Result<Piece, (String, String)> {
    let (name, filter) = match inside.split_once('|') {
        Some((name, filter)) => (name.trim(), Some(filter.trim())),
        None => (inside.trim(), None),
    };
    if !super::is_word(name) {
        let help = "write a name of small letters, digits and `_`, as in `{name}`; `{{` is a brace";
        return Err((format!("`{{{inside}}}` is not a variable"), help.to_owned()));
    }
    match filter {
        None => Ok(Piece::Variable { name: name.to_owned(), spell: false }),
        Some("spell") => Ok(Piece::Variable { name: name.to_owned(), spell: true }),
        Some(other) => Err((
            format!("unknown filter `{other}`"),
            format!("the only filter is `spell`: `{{{name}|spell}}` says letters and digits one by one"),
        )),
    }
}

/// Reads the value of `say`: a text, or a table of texts per language.
pub(super) fn read_say(scope: &Scope<'_, '_>, item: &Item<'_, '_>) -> Option<PromptSpec> {
    per_language(scope, item, "say", |item| {
        let text = item.text("\"Hello {name}.\"")?;
        match Template::parse(text) {
            Ok(template) => {
                template.variables().for_each(|name| scope.uses(name, item.span.clone()));
                Some(template)
            }
            Err((message, help)) => {
                item.error(message, help);
                None
            }
        }
    })
    .map(PromptSpec::Say)
}

/// Reads the value of `play`: a file name, or a table of file names per language.
pub(super) fn read_play(scope: &Scope<'_, '_>, item: &Item<'_, '_>) -> Option<PromptSpec> {
    per_language(scope, item, "play", |item| {
        let name = item.text("\"prompts/hello.wav\"")?;
        if name.starts_with('/') || name.split(['/', '\\']).any(|part| part == "..") || name.contains('\0') {
            item.error(
                "a prompt lies in the directory of the dialplans",
                "write `play = \"prompts/hello.wav\"`",
            );
            return None;
        }
        match scope.files.locate(name) {
            Ok(path) => Some(path),
            Err(why) => {
                item.error(
                    format!("the prompt `{name}` cannot be read: {why}"),
                    "record it, or write its right name",
                );
                None
            }
        }
    })
    .map(PromptSpec::Play)
}

fn per_language<'d, 't, T: Clone>(
    scope: &Scope<'_, '_>,
    item: &Item<'d, 't>,
    key: &str,
    read: impl Fn(&Item<'d, 't>) -> Option<T>,
) -> Option<BTreeMap<String, T>> {
    let languages = &scope.languages;
    if !item.is_table() {
        let value = read(item)?;
        if key == "say"
            && let [first, others @ ..] = languages.as_slice()
            && !others.is_empty()
        {
            let help = format!("write {}", table_example(key, languages));
            item.error(
                format!("one text for {} languages: only `{first}` can be meant", languages.len()),
                help,
            );
            return None;
        }
        return Some(languages.iter().map(|language| (language.clone(), value.clone())).collect());
    }
    let table = item.table(format!("`{key}`"), &table_example(key, languages))?;
    let mut found = BTreeMap::new();
    for entry in table.entries() {
        if languages.iter().any(|language| language == entry.key) {
            if let Some(value) = read(&entry) {
                found.insert(entry.key.to_owned(), value);
            }
        } else {
            let help = format!(
                "add it to `language` at the top, or remove it; the plan speaks {}",
                languages.join(", ")
            );
            entry.key_error(format!("`{}` is not a language of this plan", entry.key), help);
        }
    }
    for language in languages.iter().filter(|language| !table.has(language)) {
        let help = format!("add `{language} = \"...\"` to this `{key}`");
        item.error(format!("no prompt in `{language}`, which is a language of this plan"), help);
    }
    Some(found)
}

fn table_example(key: &str, languages: &[String]) -> String {
    let each: Vec<_> = languages.iter().map(|language| format!("{language} = \"...\"")).collect();
    format!("`{key} = {{ {} }}`", each.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str) -> String {
        let declared = BTreeMap::from([
            ("eta".to_owned(), Var { kind: VarType::Time, required: true, default: None }),
            ("order".to_owned(), Var { kind: VarType::Code, required: true, default: None }),
        ]);
        let values = [("eta", "14:30"), ("order", "x9"), ("name", "Ada  Byron")];
        let values = values.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Template::parse(text).unwrap().render("en", &declared, &values)
    }

    #[test]
    fn fills_in_variables() {
        assert_eq!(rendered("Hello {name}, at {eta}."), "Hello Ada Byron, at two thirty in the afternoon.");
        assert_eq!(rendered("{order} { name | spell } {{x}}"), "X 9 A D A B Y R O N {x}");
        assert_eq!(rendered("{missing}"), "");
    }

    #[test]
    fn says_what_is_wrong_with_braces() {
        for bad in ["{", "}", "{}", "{a b}", "{A}", "{a|shout}", "{a{b}}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }
}
