//! Dialplans: what a call says and asks, written in TOML by the depot's admin.
//!
//! ```text
//! TOML text --compile--> Plan --Interpreter--> Action (play, record, set a timer, hang up)
//!     |                                  ^
//!     `--> Diagnostic: line, caret,      Event (answered, digit, prompt over, timer, hung up)
//!          what to write instead
//! ```
//!
//! A [`Plan`] is checked as a whole when it is read, so that a call never meets a missing step, a language without a prompt
//! or a loop that a silent customer cannot leave. The [`Interpreter`] is a pure machine: events in, actions out. Each verb
//! has a file in `verb/` with its TOML, its reference text, its steps and its tests; `docs/dialplans.md` is made from them.

mod action;
mod compile;
mod event;
mod graph;
mod interpreter;
mod prompt;
mod reference;
mod spoken;
mod vars;
mod verb;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

pub use action::{Action, Prompt};
pub use event::{Event, RecordEnd};
pub use interpreter::{Ending, Interpreter, MAX_STEPS};
pub use reference::reference;
pub use vars::{STANDARD as STANDARD_VARIABLES, Var, VarError, VarType, time_value};

use crate::diagnostic::Diagnostic;
use prompt::PromptSpec;
use verb::Verb;

/// Where recorded prompts are: keeps the check of a plan free of file access.
pub trait PromptFiles {
    /// The whole path of the prompt that a plan calls `name`, or why it cannot be read.
    fn locate(&self, name: &str) -> Result<PathBuf, String>;
}

impl<F: Fn(&str) -> Result<PathBuf, String>> PromptFiles for F {
    fn locate(&self, name: &str) -> Result<PathBuf, String> {
        self(name)
    }
}

/// A dialplan that was read and found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    name: String,
    title: String,
    languages: Vec<String>,
    vars: BTreeMap<String, Var>,
    /// Variables that get their values during the call.
    live: BTreeSet<String>,
    steps: Vec<Step>,
    start: StepId,
    digest: String,
}

/// A step's place in its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct StepId(usize);

/// One `[step.name]`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    name: String,
    outcome: Option<String>,
    prompts: Vec<PromptSpec>,
    verb: Verb,
}

impl Plan {
    /// Reads the plan called `name` from `text`; `file` is what findings call it.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the text.
    pub fn parse(
        name: &str,
        file: &str,
        text: &str,
        files: &dyn PromptFiles,
    ) -> Result<Self, Vec<Diagnostic>> {
        compile::compile(name, file, text, files)
    }

    /// The name, which is its file's name without `.toml`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a person reads in a list.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The languages, the fallback first. Never empty.
    pub fn languages(&self) -> &[String] {
        &self.languages
    }

    /// The declared variables.
    pub fn vars(&self) -> &BTreeMap<String, Var> {
        &self.vars
    }

    /// The SHA-256 of its text in hexadecimal: which version a call ran with.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The names of its steps, in the order of the text.
    pub fn steps(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(|step| step.name.as_str())
    }

    /// Every outcome that some step sets.
    pub fn outcomes(&self) -> BTreeSet<&str> {
        self.steps.iter().filter_map(|step| step.outcome.as_deref()).collect()
    }

    /// The language to speak with a customer who wants `wanted`: that one, else its main language (`es` for `es-MX`),
    /// else the plan's first.
    pub fn language_for(&self, wanted: &str) -> &str {
        let main = |tag: &str| tag.split(['-', '_']).next().unwrap_or(tag).to_ascii_lowercase();
        let exact = self.languages.iter().find(|language| language.eq_ignore_ascii_case(wanted));
        let near = || self.languages.iter().find(|language| main(language) == main(wanted));
        exact.or_else(near).or(self.languages.first()).map_or("en", String::as_str)
    }

    /// Every prompt that a call with these variables can play, each once, so that they are rendered before dialling.
    ///
    /// Prompts that repeat what is said or typed during the call are not among them.
    ///
    /// # Errors
    /// When a call could not begin with these variables.
    pub fn prompts(&self, vars: BTreeMap<String, String>, language: &str) -> Result<Vec<Prompt>, VarError> {
        let values = vars::resolve(&self.name, &self.vars, vars)?;
        let language = self.language_for(language);
        let known =
            self.steps.iter().flat_map(|step| &step.prompts).filter(|p| !p.mentions(language, &self.live));
        let mut all: Vec<_> =
            known.filter_map(|prompt| prompt.render(language, &self.vars, &values)).collect();
        let mut seen = BTreeSet::new();
        all.retain(|prompt| seen.insert(prompt.clone()));
        Ok(all)
    }

    fn step(&self, id: StepId) -> Option<&Step> {
        self.steps.get(id.0)
    }
}

/// True for a word of small letters, digits and `_` that begins with a letter: the names of variables and outcomes.
fn is_word(word: &str) -> bool {
    word.len() <= 40
        && word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}
