//! `gather`: ask for keys.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Doing, Keys, Reference, Way, read_on};
use crate::diagnostic::document::{Item, Table};
use crate::diagnostic::suggest;
use crate::dialplan::compile::Scope;
use crate::dialplan::interpreter::{Flow, Run};
use crate::dialplan::{Action, Event, StepId};

/// The most keys that one answer may have.
pub(super) const MOST_DIGITS: u32 = 32;

/// A question that is answered by keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dialplan) struct Gather {
    digits: usize,
    timeout: Duration,
    between: Duration,
    finish: Option<char>,
    attempts: u32,
    pub(in crate::dialplan) barge_in: bool,
    pub(in crate::dialplan) into: Option<String>,
    /// Steps by the keys pressed.
    on: BTreeMap<String, StepId>,
    /// Any keys, when no particular ones are listed.
    any: Option<StepId>,
    /// Wrong keys in the last attempt.
    other: StepId,
    /// No keys in the last attempt.
    silence: StepId,
}

impl Gather {
    pub(in crate::dialplan) fn read(scope: &Scope<'_, '_>, step: &Table<'_, '_>) -> Option<Self> {
        let before = scope.source.count();
        let item = step.get("gather")?;
        let table = item.table("`gather`", "{ digits = 1 }")?;
        let digits = table.require("digits", "digits = 1").and_then(|item| item.integer(1..=MOST_DIGITS));
        let time = |key, default: u64, high: u64| match table.get(key) {
            Some(item) => item.duration(Duration::from_millis(500)..=Duration::from_secs(high)),
            None => Some(Duration::from_secs(default)),
        };
        let (timeout, between) = (time("timeout", 6, 60), time("between", 3, 30));
        let attempts = table.get("attempts").map_or(Some(2), |item| item.integer(1..=10));
        let barge_in = table.get("barge_in").map_or(Some(true), |item| item.boolean());
        let finish = match table.get("finish") {
            Some(item) => read_key(&item, true),
            None => Some(digits.is_some_and(|digits| digits > 1).then_some('#')),
        };
        let into = match table.get("into") {
            Some(item) => {
                let report = |message: String, help: &str| item.error(message, help);
                item.text("\"code\"")
                    .filter(|name| scope.may_set(name, report))
                    .map(|name| Some(name.to_owned()))
            }
            None => Some(None),
        };
        if let Some(item) = table.get("speech") {
            let help =
                "remove `speech`: ask for keys, or use a `record` step for what the customer wants to say";
            item.key_error("`speech` is not supported yet: `gather` takes keys only", help);
        }
        table.finish();
        let mut on = read_on(scope, step, "{ \"1\" = \"yes\", silence = \"bye\" }", |key| {
            accept(key, digits, finish.flatten())
        });
        let next = match step.get("next") {
            Some(item) => Some(scope.target(&item)?),
            None => None,
        };
        let silence = on.remove("silence").or(next);
        if silence.is_none() && scope.source.count() == before {
            let help = "add `silence = \"...\"` to `on`, or `next = \"...\"`";
            step.source().error_help(step.span(), "this `gather` does not say where silence leads", help);
        }
        let other = on.remove("other").or(silence);
        let any = if on.is_empty() { next } else { None };
        if on.is_empty() && any.is_none() && scope.source.count() == before {
            let help = "add keys to `on`, as in `on = { \"1\" = \"yes\", silence = \"bye\" }`, or `next` for any keys";
            step.source().error_help(step.span(), "this `gather` does not say where keys lead", help);
        }
        let digits = usize::try_from(digits?).ok()?;
        let (timeout, between, attempts) = (timeout?, between?, attempts?);
        let (finish, barge_in) = (finish?, barge_in?);
        let into = into?;
        Some(Self {
            digits,
            timeout,
            between,
            finish,
            attempts,
            barge_in,
            into,
            on,
            any,
            other: other?,
            silence: silence?,
        })
    }

    pub(super) fn ways(&self) -> Vec<Way> {
        let asked =
            self.on.values().chain(&self.any).chain([&self.other]).map(|to| Way { to: *to, silent: false });
        asked.chain([Way { to: self.silence, silent: true }]).collect()
    }

    pub(super) fn start(&self, run: &mut Run) -> Flow {
        run.doing = Doing::Gather(Keys::NONE);
        while let Some(key) = run.typed.pop_front() {
            let flow = self.key(run, key);
            if flow != Flow::Wait {
                return flow;
            }
        }
        if run.doing == Doing::Gather(Keys::NONE) {
            run.push(Action::SetTimer(self.timeout));
        }
        Flow::Wait
    }

    pub(super) fn handle(&self, run: &mut Run, event: Event) -> Flow {
        match (event, run.doing) {
            (Event::Digit(key), _) => self.key(run, key),
            (Event::Timer, Doing::Gather(keys)) if keys.count > 0 => self.answer(run, keys),
            (Event::Timer, _) => self.unanswered(run, self.silence),
            _ => Flow::Wait,
        }
    }

    fn key(&self, run: &mut Run, key: char) -> Flow {
        let Doing::Gather(mut keys) = run.doing else { return Flow::Wait };
        if Some(key) == self.finish {
            return self.answer(run, keys);
        }
        keys.push(key);
        run.doing = Doing::Gather(keys);
        if keys.count >= self.digits {
            return self.answer(run, keys);
        }
        run.push(Action::SetTimer(self.between));
        Flow::Wait
    }

    fn answer(&self, run: &mut Run, keys: Keys) -> Flow {
        let digits = keys.text();
        let exit = match self.on.get(&digits) {
            Some(step) => Some(*step),
            None => self.any.filter(|_| !digits.is_empty()),
        };
        let Some(exit) = exit else { return self.unanswered(run, self.other) };
        run.set("digits", digits.clone());
        if let Some(into) = &self.into {
            run.set(into, digits);
        }
        Flow::Go(exit)
    }

    /// Asks once more, or leaves by `exit` after the last attempt.
    fn unanswered(&self, run: &mut Run, exit: StepId) -> Flow {
        run.unanswered += 1;
        if run.unanswered < self.attempts { Flow::Again } else { Flow::Go(exit) }
    }
}

/// Reads a key such as `"#"`; `"none"` where `none` is allowed.
pub(super) fn read_key(item: &Item<'_, '_>, none: bool) -> Option<Option<char>> {
    let text = item.text("\"#\"")?;
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(key), None) if key.is_ascii_digit() || key == '*' || key == '#' => Some(Some(key)),
        _ if none && text == "none" => Some(None),
        _ => {
            item.error(
                format!("`{text}` is not a key of a telephone"),
                "write one of 0 to 9, `*`, `#`, or \"none\"",
            );
            None
        }
    }
}

/// Says what is wrong with a key of `on`.
fn accept(key: &str, digits: Option<u32>, finish: Option<char>) -> Result<(), (String, String)> {
    let later = key.starts_with("intent:") || matches!(key, "machine" | "screener" | "hangup");
    if later {
        let help = "remove it: a `gather` answers to keys, `other` and `silence`";
        return Err((format!("`on.{key}` is not supported yet"), help.to_owned()));
    }
    if matches!(key, "silence" | "other") {
        return Ok(());
    }
    let is_keys = !key.is_empty() && key.chars().all(|c| c.is_ascii_digit() || c == '*' || c == '#');
    if !is_keys {
        let help = suggest(key, ["silence", "other"], "words here");
        return Err((format!("`{key}` is neither keys such as \"1\" nor a word that `on` knows"), help));
    }
    let count = key.chars().count();
    if let Some(digits) = digits.filter(|digits| count > usize::try_from(*digits).unwrap_or(usize::MAX)) {
        let message = format!("`{key}` can never be pressed: this `gather` takes {digits}");
        return Err((message, format!("write `digits = {count}`")));
    }
    match finish.filter(|finish| key.contains(*finish)) {
        Some(finish) => {
            let help = "remove it from the keys, or write `finish = \"none\"`".to_owned();
            Err((format!("`{key}` can never be pressed: `{finish}` ends the answer"), help))
        }
        None => Ok(()),
    }
}

pub(super) const REFERENCE: Reference = Reference {
    name: "gather",
    summary: "Asks for keys and goes where the answer leads.",
    keys: &[
        [
            "gather.digits",
            "1 to 32",
            "required",
            "How many keys an answer has at most. With that many it is complete.",
        ],
        [
            "gather.timeout",
            "time from `500ms` to `60s`",
            "`6s`",
            "How long to wait for the first key after the prompt.",
        ],
        [
            "gather.between",
            "time from `500ms` to `30s`",
            "`3s`",
            "How long to wait for another key; then the answer is complete.",
        ],
        [
            "gather.finish",
            "a key or `\"none\"`",
            "`\"#\"` if `digits` is more than 1",
            "The key that completes an answer.",
        ],
        [
            "gather.attempts",
            "1 to 10",
            "`2`",
            "How often the question is put, when it is answered wrongly or not at all.",
        ],
        [
            "gather.barge_in",
            "true or false",
            "`true`",
            "Whether a key cuts the prompt short. If not, keys wait until its end.",
        ],
        [
            "gather.into",
            "variable",
            "none",
            "A variable for the keys beside `digits`, which always holds the last answer.",
        ],
        [
            "on",
            "table: keys = step",
            "none",
            "Where answers lead. `other`: wrong keys in the last attempt (default: as `silence`). `silence`: no keys in the last attempt.",
        ],
        [
            "next",
            "step",
            "required without `on.silence`",
            "Where silence leads; and any keys, if `on` lists none.",
        ],
    ],
    notes: "The step's `say` or `play` is the question and is repeated with each attempt. Keys pressed before the question \
            answer it at once. A key counts once, whether it comes as a telephone-event in RTP, as a SIP INFO, or both ways. \
            `speech` is not supported yet.",
    example: r##"
[step.ask]
say    = "Press 1 if you will be home, or 2 if not."
gather = { digits = 1, timeout = "5s", attempts = 2 }
on     = { "1" = "home", "2" = "away", silence = "bye" }

[step.home]
outcome = "confirmed"
say     = "See you soon."
hangup  = true

[step.away]
say    = "Please type the code of your gate, and then the hash key."
gather = { digits = 6, finish = "#", into = "gate" }
next   = "bye"

[step.bye]
hangup = true
"##,
};

#[cfg(test)]
mod tests {
    use crate::dialplan::Event::{self, Answered, Digit, PlayDone, Timer};
    use crate::dialplan::verb::tests::walk;

    const ASK: &str = "say Press 1 if you will be home, or 2 if not.";
    const GATE: &str = "say Please type the code of your gate, and then the hash key.";

    #[test]
    fn takes_answers() {
        let home = &["set digits=1", "outcome confirmed", "say See you soon.", "hangup"];
        let cases: &[(&[Event], &[&str], &[&str])] = &[
            (
                &[Answered, PlayDone, Digit('1'), PlayDone],
                &[ASK, "timer 5s", "set digits=1", "clear timer"],
                &home[1..],
            ),
            (&[Answered, Digit('1'), PlayDone], &[ASK, "stop play"], home),
            (&[Answered, PlayDone, Timer, PlayDone, Timer], &[ASK, "timer 5s", ASK, "timer 5s"], &["hangup"]),
            (&[Answered, Digit('7'), Digit('7')], &[ASK, "stop play", ASK, "stop play"], &["hangup"]),
            (
                &[Answered, Digit('x'), Digit('7'), Digit('1'), PlayDone],
                &[ASK, "stop play", ASK, "stop play"],
                home,
            ),
        ];
        for (events, first, then) in cases {
            assert_eq!(walk(super::REFERENCE.example, events), [*first, *then].concat(), "{events:?}");
        }
    }

    #[test]
    fn collects_several_until_the_finish_key_or_a_gap() {
        let ask = [ASK, "stop play", "set digits=2", GATE];
        let to_gate = [Answered, Digit('2'), PlayDone];
        let seen =
            walk(super::REFERENCE.example, &[&to_gate[..], &[Digit('4'), Digit('2'), Digit('#')]].concat());
        let typed = ["timer 6s", "timer 3s", "timer 3s"];
        let stored = ["set digits=42", "set gate=42"];
        assert_eq!(seen, [&ask[..], &typed, &stored, &["clear timer", "hangup"]].concat());
        let seen = walk(super::REFERENCE.example, &[&to_gate[..], &[Digit('4'), Digit('2'), Timer]].concat());
        assert_eq!(seen, [&ask[..], &typed, &stored, &["hangup"]].concat());
    }

    #[test]
    fn keys_pressed_ahead_answer_without_the_question() {
        let plan = "[step.hi]\nsay = \"Hi\"\nnext = \"ask\"\n[step.ask]\nsay = \"Q\"\ngather = { digits = 2 }\n\
                    next = \"bye\"\n[step.bye]\nhangup = true\n";
        let seen = walk(plan, &[Answered, Digit('4'), PlayDone, Digit('2')]);
        assert_eq!(seen, ["say Hi", "timer 3s", "set digits=42", "clear timer", "hangup"]);
        let many = [&[Answered][..], &[Digit('1'); 40], &[PlayDone]].concat();
        assert_eq!(walk(plan, &many), ["say Hi", "timer 3s", "set digits=11", "clear timer", "hangup"]);
    }

    #[test]
    fn keeps_keys_when_the_prompt_may_not_be_cut() {
        let plan = "[step.ask]\nsay = \"Q\"\ngather = { digits = 1, barge_in = false }\non = { \"1\" = \"bye\", silence = \"bye\" }\n\
                    [step.bye]\nhangup = true\n";
        assert_eq!(walk(plan, &[Answered, Digit('1'), PlayDone]), ["say Q", "set digits=1", "hangup"]);
    }
}
