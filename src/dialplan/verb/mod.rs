//! The verbs: a closed set, a file each. Adding one is a file, a variant here and its reference text.

mod branch;
mod gather;
mod hangup;
mod pause;
mod play;
mod record;
mod say;
mod set;

use std::collections::BTreeMap;

use super::compile::Scope;
use super::interpreter::{Flow, Run};
use super::{Event, StepId};
use crate::diagnostic::document::{Item, Table};

pub(super) use branch::Branch;
pub(super) use gather::Gather;
pub(super) use hangup::Hangup;
pub(super) use pause::Pause;
pub(super) use play::Play;
pub(super) use record::Record;
pub(super) use say::Say;
pub(super) use set::Set;

/// What a step does once its prompts were heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verb {
    Play(Play),
    Say(Say),
    Gather(Gather),
    Record(Record),
    Pause(Pause),
    Branch(Branch),
    Set(Set),
    Hangup(Hangup),
}

/// What a verb is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Nothing,
    /// Collecting this many keys so far; the keys are in [`Keys`].
    Gather(Keys),
    /// Recording; `stopping` once it was asked to end.
    Record {
        stopping: bool,
    },
}

/// Keys of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Keys {
    keys: [char; gather::MOST_DIGITS as usize],
    count: usize,
}

impl Keys {
    pub(super) const NONE: Self = Self { keys: ['0'; gather::MOST_DIGITS as usize], count: 0 };

    fn push(&mut self, key: char) {
        if let Some(slot) = self.keys.get_mut(self.count) {
            *slot = key;
            self.count += 1;
        }
    }

    fn text(&self) -> String {
        self.keys.iter().take(self.count).collect()
    }
}

/// Where a step leads; `silent` marks ways that are taken without the customer doing anything.
pub(super) struct Way {
    pub(super) to: StepId,
    pub(super) silent: bool,
}

/// The reference of one verb, from which `docs/dialplans.md` is made.
pub(super) struct Reference {
    pub(super) name: &'static str,
    pub(super) summary: &'static str,
    /// Key, what it takes, default, meaning.
    pub(super) keys: &'static [[&'static str; 4]],
    pub(super) notes: &'static str,
    /// Steps of a plan; `start` is the first.
    pub(super) example: &'static str,
}

/// Every verb's reference, in the order of the manual.
pub(super) const REFERENCES: &[&Reference] = &[
    &say::REFERENCE,
    &play::REFERENCE,
    &gather::REFERENCE,
    &record::REFERENCE,
    &pause::REFERENCE,
    &branch::REFERENCE,
    &set::REFERENCE,
    &hangup::REFERENCE,
];

/// The keys of a step that name what it does after its prompts.
pub(super) const ACTS: [&str; 6] = ["gather", "record", "pause", "branch", "set", "hangup"];

impl Verb {
    /// The steps it leads to.
    pub(super) fn ways(&self) -> Vec<Way> {
        match self {
            Self::Play(Play { next }) | Self::Say(Say { next }) => vec![Way { to: *next, silent: true }],
            Self::Gather(gather) => gather.ways(),
            Self::Record(record) => record.ways(),
            Self::Pause(Pause { next, .. }) | Self::Set(Set { next, .. }) => {
                vec![Way { to: *next, silent: true }]
            }
            Self::Branch(branch) => branch.ways(),
            Self::Hangup(Hangup) => Vec::new(),
        }
    }

    /// Begins, after the prompts.
    pub(super) fn start(&self, run: &mut Run) -> Flow {
        match self {
            Self::Play(Play { next }) | Self::Say(Say { next }) => Flow::Go(*next),
            Self::Gather(gather) => gather.start(run),
            Self::Record(record) => record.start(run),
            Self::Pause(pause) => pause.start(run),
            Self::Branch(branch) => branch.start(run),
            Self::Set(set) => set.start(run),
            Self::Hangup(Hangup) => Flow::Hangup,
        }
    }

    /// Goes on with what happened.
    pub(super) fn handle(&self, run: &mut Run, event: Event) -> Flow {
        match self {
            Self::Gather(gather) => gather.handle(run, event),
            Self::Record(record) => record.handle(run, event),
            Self::Pause(pause) => pause.handle(run, event),
            // These never wait.
            Self::Play(_) | Self::Say(_) | Self::Branch(_) | Self::Set(_) | Self::Hangup(_) => Flow::Wait,
        }
    }

    /// True when a key cuts this step's prompt short.
    pub(super) fn takes_barge_in(&self) -> bool {
        matches!(self, Self::Gather(gather) if gather.barge_in)
    }

    /// True when it makes no sense without somebody on the line.
    pub(super) fn needs_the_caller(&self) -> bool {
        matches!(self, Self::Gather(_) | Self::Record(_))
    }

    /// The variables it sets.
    pub(super) fn sets(&self) -> Vec<&str> {
        match self {
            Self::Gather(gather) => gather.into.iter().map(String::as_str).chain(["digits"]).collect(),
            Self::Record(_) => vec!["spoke"],
            Self::Set(set) => set.values.keys().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

/// A step's `next`, which is required: `what` says in an error why.
fn require_next(scope: &Scope<'_, '_>, step: &Table<'_, '_>, what: &str) -> Option<StepId> {
    match step.get("next") {
        Some(item) => scope.target(&item),
        None => {
            let message = format!("this step leads nowhere: {what}");
            step.source().error_help(
                step.span(),
                message,
                "add `next = \"...\"`, or `hangup = true` to end the call",
            );
            None
        }
    }
}

/// Reports an `on` where it means nothing.
fn refuse_on(step: &Table<'_, '_>, verb: &str) {
    if let Some(item) = step.get("on") {
        item.key_error(format!("`on` means nothing in a `{verb}` step"), "write `next = \"...\"`");
    }
}

/// Reads `on = { key = "step" }`; `accept` says what is wrong with a key: message and help.
fn read_on(
    scope: &Scope<'_, '_>,
    step: &Table<'_, '_>,
    example: &str,
    accept: impl Fn(&str) -> Result<(), (String, String)>,
) -> BTreeMap<String, StepId> {
    let mut exits = BTreeMap::new();
    let Some(table) = step.get("on").and_then(|item: Item<'_, '_>| item.table("`on`", example)) else {
        return exits;
    };
    for entry in table.entries() {
        match accept(entry.key) {
            Ok(()) => {
                if let Some(target) = scope.target(&entry) {
                    exits.insert(entry.key.to_owned(), target);
                }
            }
            Err((message, help)) => entry.key_error(message, help),
        }
    }
    exits
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::diagnostic::document::spell_duration;
    use crate::diagnostic::render;
    use crate::dialplan::{Action, Interpreter, Plan, Prompt};

    /// A plan of these steps, the first of the text being the start, with a few variables.
    pub(in crate::dialplan) fn plan(steps: &str) -> Plan {
        let start = steps.split("[step.").nth(1).and_then(|rest| rest.split(']').next()).unwrap();
        let text = format!(
            "title = \"T\"\nstart = \"{start}\"\nlanguage = [\"en\"]\n[vars]\nname = {{ type = \"text\", default = \"Ada\" }}\n\
             order = {{ type = \"code\", default = \"\" }}\n{steps}"
        );
        let files = |name: &str| Ok(PathBuf::from(format!("/plans/{name}")));
        Plan::parse("t", "t.toml", &text, &files).unwrap_or_else(|found| panic!("{}", render(&found)))
    }

    /// What a call does on these events.
    pub(in crate::dialplan) fn walk(steps: &str, events: &[Event]) -> Vec<String> {
        walk_with(steps, &[("order", "X-9")], events)
    }

    /// As [`walk`], with variables.
    pub(in crate::dialplan) fn walk_with(
        steps: &str,
        vars: &[(&str, &str)],
        events: &[Event],
    ) -> Vec<String> {
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut interpreter = Interpreter::new(Arc::new(plan(steps)), vars, "en").unwrap();
        let mut seen = Vec::new();
        for event in events {
            interpreter.handle(*event);
            seen.extend(std::iter::from_fn(|| interpreter.poll_action()).map(describe));
        }
        seen
    }

    fn describe(action: Action) -> String {
        let prompt = |prompt| match prompt {
            Prompt::File(path) => format!("play {}", path.display()),
            Prompt::Text { text, .. } => format!("say {text}"),
        };
        match action {
            Action::Play(prompts) => prompts.into_iter().map(prompt).collect::<Vec<_>>().join(" + "),
            Action::StopPlay => "stop play".to_owned(),
            Action::SetTimer(time) => match time.as_secs() {
                secs @ 0..100 => format!("timer {secs}s"),
                _ => format!("timer {}", spell_duration(time)),
            },
            Action::ClearTimer => "clear timer".to_owned(),
            Action::StartRecord { max, silence, finish, beep } => {
                let finish = finish.map(String::from).unwrap_or_default();
                let beep = if beep { "beep" } else { "quiet" };
                format!("record {}s {}s {finish} {beep}", max.as_secs(), silence.as_secs())
            }
            Action::StopRecord => "stop record".to_owned(),
            Action::SetOutcome(outcome) => format!("outcome {outcome}"),
            Action::SetVar { name, value } => format!("set {name}={}", value.reveal()),
            Action::Hangup => "hangup".to_owned(),
        }
    }

    #[test]
    fn every_verb_has_a_reference_whose_example_runs() {
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/dialplan/verb")).unwrap();
        let mut verbs: Vec<_> = files
            .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .filter(|name| name != "mod")
            .collect();
        let mut described: Vec<_> = REFERENCES.iter().map(|reference| reference.name.to_owned()).collect();
        verbs.sort();
        described.sort();
        assert_eq!(verbs, described);
        for reference in REFERENCES {
            assert!(reference.example.contains(reference.name) && !reference.keys.is_empty());
            plan(reference.example);
        }
    }
}
