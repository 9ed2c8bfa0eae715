//! `set`: give variables a value.

use std::collections::BTreeMap;

use super::{Reference, refuse_on, require_next};
use crate::diagnostic::document::Table;
use crate::dialplan::StepId;
use crate::dialplan::compile::Scope;
use crate::dialplan::interpreter::{Flow, Run};
use crate::dialplan::prompt::Template;

/// Values for variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dialplan) struct Set {
    pub(in crate::dialplan) values: BTreeMap<String, Template>,
    pub(in crate::dialplan) next: StepId,
}

impl Set {
    pub(in crate::dialplan) fn read(scope: &Scope<'_, '_>, step: &Table<'_, '_>) -> Option<Self> {
        refuse_on(step, "set");
        let next = require_next(scope, step, "after `set` it must go on");
        let table = step.get("set")?.table("`set`", "{ asked = \"yes\" }")?;
        let mut values = BTreeMap::new();
        for entry in table.entries() {
            if !scope.may_set(entry.key, |message, help| entry.key_error(message, help)) {
                continue;
            }
            match entry.as_text().map(Template::parse) {
                Some(Ok(template)) => {
                    template.variables().for_each(|name| scope.uses(name, entry.span.clone()));
                    values.insert(entry.key.to_owned(), template);
                }
                Some(Err((message, help))) => entry.error(message, help),
                None => entry.wrong("a text in quotes", "\"yes\""),
            }
        }
        Some(Self { values, next: next? })
    }

    pub(super) fn start(&self, run: &mut Run) -> Flow {
        // All are computed from the values before the step, so that two can be exchanged.
        let language = run.language().to_owned();
        let none = BTreeMap::new();
        let new: Vec<_> = self
            .values
            .iter()
            .map(|(name, template)| (name.clone(), template.render(&language, &none, run.values())))
            .collect();
        for (name, value) in new {
            run.set(&name, value);
        }
        Flow::Go(self.next)
    }
}

pub(super) const REFERENCE: Reference = Reference {
    name: "set",
    summary: "Gives variables a value, then goes to `next`.",
    keys: &[
        [
            "set",
            "table of texts",
            "required",
            "Each key is a variable, each value a text, which may mention variables.",
        ],
        ["next", "step", "required", "Where to go then."],
    ],
    notes: "Values are kept with the call. A variable that is set somewhere need not be declared in `[vars]`; one that is \
            declared there with the type `time` or `number` cannot be set.",
    example: r#"
[step.remember]
set  = { greeted = "Hello {name}" }
next = "greet"

[step.greet]
say    = "{greeted}."
hangup = true
"#,
};

#[cfg(test)]
mod tests {
    use crate::dialplan::Event::{Answered, PlayDone};
    use crate::dialplan::verb::tests::walk;

    #[test]
    fn sets_and_uses() {
        let seen = walk(super::REFERENCE.example, &[Answered, PlayDone]);
        assert_eq!(seen, ["set greeted=Hello Ada", "say Hello Ada.", "hangup"]);
    }
}
