//! `pause`: say nothing for a while.

use std::time::Duration;

use super::{Reference, refuse_on, require_next};
use crate::diagnostic::document::Table;
use crate::dialplan::compile::Scope;
use crate::dialplan::interpreter::{Flow, Run};
use crate::dialplan::{Action, Event, StepId};

/// Silence for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dialplan) struct Pause {
    length: Duration,
    pub(in crate::dialplan) next: StepId,
}

impl Pause {
    pub(in crate::dialplan) fn read(scope: &Scope<'_, '_>, step: &Table<'_, '_>) -> Option<Self> {
        refuse_on(step, "pause");
        let next = require_next(scope, step, "after `pause` it must go on");
        let length = step.get("pause")?.duration(Duration::from_millis(20)..=Duration::from_secs(60));
        Some(Self { length: length?, next: next? })
    }

    pub(super) fn start(&self, run: &mut Run) -> Flow {
        if run.hung_up {
            return Flow::Go(self.next);
        }
        run.push(Action::SetTimer(self.length));
        Flow::Wait
    }

    pub(super) fn handle(&self, run: &mut Run, event: Event) -> Flow {
        match event {
            Event::Timer => Flow::Go(self.next),
            Event::Digit(key) => {
                run.type_ahead(key);
                Flow::Wait
            }
            _ => Flow::Wait,
        }
    }
}

pub(super) const REFERENCE: Reference = Reference {
    name: "pause",
    summary: "Says nothing for a while, then goes to `next`.",
    keys: &[
        ["pause", "time from `20ms` to `60s`", "required", "How long."],
        ["next", "step", "required", "Where to go then."],
    ],
    notes: "Keys that are pressed meanwhile answer the next question.",
    example: r#"
[step.breathe]
say   = "One moment please."
pause = "2s"
next  = "bye"

[step.bye]
hangup = true
"#,
};

#[cfg(test)]
mod tests {
    use crate::dialplan::Event::{Answered, Digit, PlayDone, Timer};
    use crate::dialplan::verb::tests::walk;

    #[test]
    fn waits_for_its_timer() {
        let seen = walk(super::REFERENCE.example, &[Answered, Timer, PlayDone, Digit('1'), PlayDone, Timer]);
        assert_eq!(seen, ["say One moment please.", "timer 2s", "hangup"]);
    }
}
