//! `record`: record what the customer says.

use std::time::Duration;

use super::gather::read_key;
use super::{Doing, Reference, Way, read_on};
use crate::diagnostic::document::Table;
use crate::diagnostic::suggest;
use crate::dialplan::compile::Scope;
use crate::dialplan::interpreter::{Flow, Run};
use crate::dialplan::{Action, Event, RecordEnd, StepId};

/// How much longer than `max` the recorder may take (the tone, and its own end) before it is told to stop.
const GRACE: Duration = Duration::from_secs(5);
/// How long the recorder has to say that it stopped.
const STOPPING: Duration = Duration::from_secs(2);

/// A recording of the customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dialplan) struct Record {
    max: Duration,
    silence: Duration,
    finish: Option<char>,
    beep: bool,
    done: StepId,
    nothing: StepId,
    failed: StepId,
}

impl Record {
    pub(in crate::dialplan) fn read(scope: &Scope<'_, '_>, step: &Table<'_, '_>) -> Option<Self> {
        let before = scope.source.count();
        let table = step
            .get("record")?
            .table("`record`", "{ max = \"60s\", silence = \"4s\", finish = \"#\", beep = true }")?;
        let time = |key, default: u64, high: u64| match table.get(key) {
            Some(item) => item.duration(Duration::from_secs(1)..=Duration::from_secs(high)),
            None => Some(Duration::from_secs(default)),
        };
        let (max, silence) = (time("max", 60, 600), time("silence", 4, 60));
        let finish = table.get("finish").map_or(Some(Some('#')), |item| read_key(&item, true));
        let beep = table.get("beep").map_or(Some(true), |item| item.boolean());
        table.finish();
        let words = ["done", "silence", "failed"];
        let on = read_on(scope, step, "{ done = \"thanks\", silence = \"bye\" }", |key| {
            let help = || suggest(key, words, "words here");
            if words.contains(&key) {
                Ok(())
            } else {
                Err((format!("`record` never comes to `{key}`"), help()))
            }
        });
        let next = match step.get("next") {
            Some(item) => Some(scope.target(&item)?),
            None => None,
        };
        let exit = |word: &str| on.get(word).copied().or(next);
        let (done, nothing) = (exit("done"), exit("silence"));
        if (done.is_none() || nothing.is_none()) && scope.source.count() == before {
            let lacking = if done.is_none() { "done" } else { "silence" };
            let message = format!("this `record` does not say where `{lacking}` leads");
            let help = format!("add `{lacking} = \"...\"` to `on`, or `next = \"...\"`");
            step.source().error_help(step.span(), message, help);
        }
        let failed = on.get("failed").copied().or(nothing);
        Some(Self {
            max: max?,
            silence: silence?,
            finish: finish?,
            beep: beep?,
            done: done?,
            nothing: nothing?,
            failed: failed?,
        })
    }

    pub(super) fn ways(&self) -> Vec<Way> {
        let way = |to, silent| Way { to, silent };
        vec![way(self.done, false), way(self.nothing, true), way(self.failed, true)]
    }

    pub(super) fn start(&self, run: &mut Run) -> Flow {
        // A key pressed during the prompt was meant for the prompt.
        run.typed.clear();
        run.doing = Doing::Record { stopping: false };
        run.push(Action::StartRecord {
            max: self.max,
            silence: self.silence,
            finish: self.finish,
            beep: self.beep,
        });
        run.push(Action::SetTimer(self.max + GRACE));
        Flow::Wait
    }

    pub(super) fn handle(&self, run: &mut Run, event: Event) -> Flow {
        let Doing::Record { stopping } = run.doing else { return Flow::Wait };
        match event {
            Event::Digit(key) if Some(key) == self.finish && !stopping => self.stop(run),
            Event::HungUp | Event::Timer if !stopping => self.stop(run),
            Event::Timer => self.finished(run, RecordEnd::Failed, false),
            Event::RecordDone { reason, spoke } => self.finished(run, reason, spoke),
            _ => Flow::Wait,
        }
    }

    fn stop(&self, run: &mut Run) -> Flow {
        run.doing = Doing::Record { stopping: true };
        run.push(Action::StopRecord);
        run.push(Action::SetTimer(STOPPING));
        Flow::Wait
    }

    fn finished(&self, run: &mut Run, reason: RecordEnd, spoke: bool) -> Flow {
        run.hung_up |= reason == RecordEnd::HungUp;
        run.set("spoke", if spoke { "yes" } else { "no" }.to_owned());
        Flow::Go(match (spoke, reason) {
            (_, RecordEnd::Failed) => self.failed,
            (true, _) => self.done,
            (false, _) => self.nothing,
        })
    }
}

pub(super) const REFERENCE: Reference = Reference {
    name: "record",
    summary: "Records what the customer says. It is transcribed after the call.",
    keys: &[
        ["record.max", "time from `1s` to `10min`", "`60s`", "The longest recording."],
        [
            "record.silence",
            "time from `1s` to `60s`",
            "`4s`",
            "How much silence ends it, at the beginning or after speech.",
        ],
        ["record.finish", "a key or `\"none\"`", "`\"#\"`", "The key that ends it."],
        ["record.beep", "true or false", "`true`", "Whether a short tone comes first."],
        ["on.done", "step", "`next`", "Somebody spoke."],
        ["on.silence", "step", "`next`", "Nobody spoke."],
        [
            "on.failed",
            "step",
            "as `silence`",
            "It could not be recorded, for example because the disk is full.",
        ],
        ["next", "step", "required without `on.done` and `on.silence`", "Where all these lead otherwise."],
    ],
    notes: "Say in the prompt that the customer is recorded. A customer who speaks and then hangs up has spoken: the outcomes \
            on the way from `on.done` still count. The variable `spoke` is `yes` or `no` afterwards.",
    example: r##"
[step.leave]
say    = "Your message is recorded. Speak after the tone, and press hash when you are done."
record = { max = "60s", silence = "4s", finish = "#", beep = true }
on     = { done = "thanks", silence = "bye" }

[step.thanks]
outcome = "instructions"
say     = "Thank you. The driver will hear this."
hangup  = true

[step.bye]
hangup = true
"##,
};

#[cfg(test)]
mod tests {
    use crate::dialplan::Event::{self, Answered, Digit, HungUp, PlayDone, RecordDone, Timer};
    use crate::dialplan::RecordEnd;
    use crate::dialplan::verb::tests::walk;

    fn after_start(events: &[Event]) -> Vec<String> {
        let seen = walk(super::REFERENCE.example, &[&[Answered, PlayDone], events].concat());
        assert!(
            seen[0].starts_with("say Your message")
                && seen[1] == "record 60s 4s # beep"
                && seen[2] == "timer 65s"
        );
        seen[3..].to_vec()
    }

    fn done(reason: RecordEnd, spoke: bool) -> Event {
        RecordDone { reason, spoke }
    }

    #[test]
    fn leads_by_what_was_said() {
        let thanks = ["outcome instructions", "say Thank you. The driver will hear this.", "hangup"];
        let spoke = ["set spoke=yes", "clear timer"];
        let seen = after_start(&[done(RecordEnd::Silence, true), PlayDone]);
        assert_eq!(seen, [&spoke[..], &thanks].concat());
        let seen =
            after_start(&[Digit('5'), Digit('#'), Digit('#'), done(RecordEnd::Stopped, true), PlayDone]);
        assert_eq!(seen, [&["stop record", "timer 2s"], &spoke[..], &thanks].concat());
        for reason in [RecordEnd::Silence, RecordEnd::Failed] {
            assert_eq!(after_start(&[done(reason, false)]), ["set spoke=no", "clear timer", "hangup"]);
        }
        assert_eq!(after_start(&[done(RecordEnd::Failed, true)]), ["set spoke=yes", "clear timer", "hangup"]);
    }

    #[test]
    fn who_speaks_and_hangs_up_has_spoken() {
        let counted = ["set spoke=yes", "clear timer", "outcome instructions"];
        let seen = after_start(&[HungUp, done(RecordEnd::Stopped, true)]);
        assert_eq!(seen, [&["stop record", "timer 2s"], &counted[..]].concat());
        assert_eq!(after_start(&[done(RecordEnd::HungUp, true), HungUp]), counted);
        assert_eq!(after_start(&[done(RecordEnd::HungUp, false)]), ["set spoke=no", "clear timer"]);
    }

    #[test]
    fn keys_pressed_before_or_in_it_answer_no_later_question() {
        let plan = "[step.leave]\nsay = \"Speak\"\nrecord = { max = \"10s\" }\nnext = \"ask\"\n\
                    [step.ask]\nsay = \"Q\"\ngather = { digits = 1 }\non = { \"7\" = \"bye\", silence = \"bye\" }\n\
                    [step.bye]\nhangup = true\n";
        let seen = walk(plan, &[Answered, Digit('7'), PlayDone, Digit('7'), done(RecordEnd::Silence, true)]);
        assert_eq!(seen.last().map(String::as_str), Some("say Q"), "{seen:?}");
    }

    #[test]
    fn a_recorder_that_never_answers_does_not_hold_the_call() {
        assert_eq!(after_start(&[Timer, Timer]), ["stop record", "timer 2s", "set spoke=no", "hangup"]);
        assert_eq!(after_start(&[HungUp, Timer]), ["stop record", "timer 2s", "set spoke=no"]);
    }
}
