//! `hangup`: end the call, after a prompt if there is one.

use super::{Reference, refuse_on};
use crate::diagnostic::document::Table;

/// The end of the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dialplan) struct Hangup;

impl Hangup {
    pub(in crate::dialplan) fn read(step: &Table<'_, '_>) -> Option<Self> {
        refuse_on(step, "hangup");
        if let Some(next) = step.get("next") {
            next.key_error("`next` after `hangup`: nothing comes after the end", "remove one of the two");
        }
        let item = step.get("hangup")?;
        match item.boolean()? {
            true => Some(Self),
            false => {
                item.error("`hangup = false` does nothing", "remove it");
                None
            }
        }
    }
}

pub(super) const REFERENCE: Reference = Reference {
    name: "hangup",
    summary: "Ends the call, after the step's prompt if it has one.",
    keys: &[["hangup", "true", "required", "Ends the call."]],
    notes: "Every way through a plan must come to a `hangup`.",
    example: r#"
[step.bye]
outcome = "confirmed"
say     = "Thank you. Goodbye."
hangup  = true
"#,
};

#[cfg(test)]
mod tests {
    use crate::dialplan::Event::{Answered, PlayDone};
    use crate::dialplan::verb::tests::walk;

    #[test]
    fn ends_after_its_prompt() {
        let seen = walk(super::REFERENCE.example, &[Answered, PlayDone]);
        assert_eq!(seen, ["outcome confirmed", "say Thank you. Goodbye.", "hangup"]);
        assert_eq!(walk("[step.bye]\nhangup = true\n", &[Answered]), ["hangup"]);
    }
}
