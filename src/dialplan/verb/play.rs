//! `play`: play a recorded file. Alone it is a step of its own; beside another verb it is that verb's prompt.

use super::{Reference, refuse_on, require_next};
use crate::diagnostic::document::Table;
use crate::dialplan::StepId;
use crate::dialplan::compile::Scope;

/// A step that only plays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dialplan) struct Play {
    pub(in crate::dialplan) next: StepId,
}

impl Play {
    pub(in crate::dialplan) fn read(scope: &Scope<'_, '_>, step: &Table<'_, '_>) -> Option<Self> {
        refuse_on(step, "play");
        require_next(scope, step, "after `play` it must go on or hang up").map(|next| Self { next })
    }
}

pub(super) const REFERENCE: Reference = Reference {
    name: "play",
    summary: "Plays a recorded file (WAV, MP3, FLAC or Ogg), then goes to `next`.",
    keys: &[
        [
            "play",
            "file name, or a table of file names per language",
            "required",
            "The file, beside or below the plan's own directory.",
        ],
        ["next", "step", "required", "Where to go then."],
    ],
    notes: "One file name serves every language. Beside another verb, `play` is the prompt that is heard first.",
    example: r#"
[step.jingle]
play = "prompts/jingle.wav"
next = "bye"

[step.bye]
play   = { en = "prompts/bye.wav" }
hangup = true
"#,
};

#[cfg(test)]
mod tests {
    use crate::dialplan::Event::{Answered, PlayDone};
    use crate::dialplan::verb::tests::walk;

    #[test]
    fn plays_and_goes_on() {
        let seen = walk(super::REFERENCE.example, &[Answered, PlayDone, PlayDone]);
        assert_eq!(seen, ["play /plans/prompts/jingle.wav", "play /plans/prompts/bye.wav", "hangup"]);
    }
}
