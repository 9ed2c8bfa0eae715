//! `say`: speak a text. Alone it is a step of its own; beside another verb it is that verb's prompt.

use super::{Reference, refuse_on, require_next};
use crate::diagnostic::document::Table;
use crate::dialplan::StepId;
use crate::dialplan::compile::Scope;

/// A step that only speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dialplan) struct Say {
    pub(in crate::dialplan) next: StepId,
}

impl Say {
    pub(in crate::dialplan) fn read(scope: &Scope<'_, '_>, step: &Table<'_, '_>) -> Option<Self> {
        refuse_on(step, "say");
        require_next(scope, step, "after `say` it must go on or hang up").map(|next| Self { next })
    }
}

pub(super) const REFERENCE: Reference = Reference {
    name: "say",
    summary: "Speaks a text in the voice of the language, then goes to `next`.",
    keys: &[
        [
            "say",
            "text, or a table of texts per language",
            "required",
            "What is said. `{name}` is a variable, `{order|spell}` says it letter by letter, `{{` is a brace.",
        ],
        ["next", "step", "required", "Where to go then."],
    ],
    notes: "A plan with several languages needs a text in each. Beside `gather`, `record`, `pause` or `hangup`, `say` is the \
            prompt that is heard first; with `play` in the same step, the file is heard before the text.",
    example: r#"
[step.greet]
say  = "Hello {name}."
next = "bye"

[step.bye]
say    = "Goodbye."
hangup = true
"#,
};

#[cfg(test)]
mod tests {
    use crate::dialplan::Event::{Answered, PlayDone};
    use crate::dialplan::verb::tests::walk;

    #[test]
    fn speaks_and_goes_on() {
        let seen = walk(super::REFERENCE.example, &[Answered, PlayDone, PlayDone]);
        assert_eq!(seen, ["say Hello Ada.", "say Goodbye.", "hangup"]);
    }
}
