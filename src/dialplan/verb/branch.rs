//! `branch`: go where a variable says.

use std::collections::BTreeMap;

use super::{Reference, Way, read_on};
use crate::diagnostic::document::Table;
use crate::dialplan::StepId;
use crate::dialplan::compile::Scope;
use crate::dialplan::interpreter::{Flow, Run};

/// A choice by the value of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dialplan) struct Branch {
    variable: String,
    on: BTreeMap<String, StepId>,
    otherwise: StepId,
}

impl Branch {
    pub(in crate::dialplan) fn read(scope: &Scope<'_, '_>, step: &Table<'_, '_>) -> Option<Self> {
        let before = scope.source.count();
        let item = step.get("branch")?;
        let variable = item.text("\"language\"");
        if let Some(variable) = variable {
            scope.uses(variable, item.span.clone());
        }
        let mut on = read_on(scope, step, "{ yes = \"thanks\", other = \"ask\" }", |_| Ok(()));
        let next = step.get("next");
        let other = on.remove("other");
        if let (Some(next), Some(_)) = (&next, other) {
            next.key_error("`next` and `on.other` say the same", "remove one of the two");
        }
        let otherwise = other.or_else(|| next.as_ref().and_then(|next| scope.target(next)));
        if otherwise.is_none() && next.is_none() && scope.source.count() == before {
            let message = "this `branch` does not say where other values lead";
            step.source().error_help(step.span(), message, "add `next = \"...\"` or `on.other`");
        }
        Some(Self { variable: variable?.to_owned(), on, otherwise: otherwise? })
    }

    pub(super) fn ways(&self) -> Vec<Way> {
        self.on.values().chain([&self.otherwise]).map(|to| Way { to: *to, silent: true }).collect()
    }

    pub(super) fn start(&self, run: &mut Run) -> Flow {
        let value = run.value(&self.variable);
        let key = if value.is_empty() { "empty" } else { value };
        Flow::Go(self.on.get(key).copied().unwrap_or(self.otherwise))
    }
}

pub(super) const REFERENCE: Reference = Reference {
    name: "branch",
    summary: "Goes to the step that the value of a variable names.",
    keys: &[
        [
            "branch",
            "variable",
            "required",
            "Whose value decides; also `language`, `digits` (the last keys) and `spoke` (`yes` or `no`, the last recording).",
        ],
        [
            "on",
            "table: value = step",
            "none",
            "`empty` is for a variable without a value, `other` for every value that is not listed.",
        ],
        ["next", "step", "required without `on.other`", "The same as `on.other`."],
    ],
    notes: "A `branch` step has no prompt of its own.",
    example: r#"
[step.which]
branch = "order"
on     = { empty = "plain", other = "named" }

[step.plain]
say    = "Your parcel is on its way."
hangup = true

[step.named]
say    = "Order {order} is on its way."
hangup = true
"#,
};

#[cfg(test)]
mod tests {
    use crate::dialplan::Event::{Answered, PlayDone};
    use crate::dialplan::verb::tests::{walk, walk_with};

    #[test]
    fn goes_by_value() {
        let seen = walk(super::REFERENCE.example, &[Answered, PlayDone]);
        assert_eq!(seen, ["say Order X 9 is on its way.", "hangup"]);
        let seen = walk_with(super::REFERENCE.example, &[], &[Answered, PlayDone]);
        assert_eq!(seen, ["say Your parcel is on its way.", "hangup"]);
    }
}
