//! Whole plans: what is found in broken ones, what the shipped ones do, and that nothing makes a walk panic or go on for ever.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::verb::tests::plan;
use super::*;
use crate::diagnostic::render;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn toml_files(dir: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(Path::new(ROOT).join(dir)).unwrap();
    let mut paths: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    paths.sort();
    paths
}

fn no_prompt(name: &str) -> Result<PathBuf, String> {
    if name == "prompts/there.wav" { Ok(PathBuf::from(name)) } else { Err("no such file".to_owned()) }
}

fn shipped(name: &str) -> Arc<Plan> {
    let text = std::fs::read_to_string(Path::new(ROOT).join(format!("dialplans/{name}.toml"))).unwrap();
    Arc::new(Plan::parse(name, name, &text, &no_prompt).unwrap_or_else(|found| panic!("{}", render(&found))))
}

/// Each broken plan beside the exact text of what is found in it. `UPDATE=1` writes the texts anew.
#[test]
fn broken_plans_are_explained() {
    let paths = toml_files("tests/data/dialplans/broken");
    assert!(paths.len() >= 15);
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let found = Plan::parse(name, &format!("{name}.toml"), &text, &no_prompt).expect_err(name);
        let printed = render(&found);
        let expected = path.with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&expected, &printed).unwrap();
        }
        let expected = std::fs::read_to_string(&expected).unwrap_or_default();
        assert!(printed == expected, "{name}: found\n{printed}\nexpected\n{expected}");
        for finding in found {
            assert!(
                finding.line > 0 && finding.help.is_some() || finding.message.starts_with("this is not TOML"),
                "{finding}"
            );
        }
    }
}

/// The longest plan allowed, every step on one silent round but the last: found quickly, however large.
#[test]
fn a_large_plan_is_examined_quickly() {
    let step = |at: usize| format!("[step.s{at:03}]\npause = \"1s\"\nnext = \"s{:03}\"\n", (at + 1) % 500);
    let head = "title = \"T\"\nstart = \"s000\"\nlanguage = [\"en\"]\n";
    let text = (0..500).fold(head.to_owned(), |text, at| text + &step(at));
    let found = Plan::parse("p", "p.toml", &text, &no_prompt).unwrap_err();
    assert_eq!(found.len(), 500, "each never ends");
    let text = text.replace("next = \"s000\"", "next = \"s001\"\n[step.more]\nhangup = true");
    let found = Plan::parse("p", "p.toml", &text, &no_prompt).unwrap_err();
    assert!(found.len() == 1 && found[0].message == "a plan has at most 500 steps", "{}", render(&found));
}

fn vars(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn ada() -> BTreeMap<String, String> {
    vars(&[("name", "Ada"), ("eta", "14:30"), ("depot", "Riverside Depot"), ("order", "X-9")])
}

/// Walks a plan the way a customer would who does `reply` whenever something is awaited; gives the outcome and the texts.
fn call(
    plan: &Arc<Plan>,
    language: &str,
    mut replies: impl FnMut(&Action) -> Option<Event>,
) -> (Option<String>, Vec<String>) {
    let mut interpreter = Interpreter::new(Arc::clone(plan), ada(), language).unwrap();
    let (mut said, mut next) = (Vec::new(), Some(Event::Answered));
    while let Some(event) = next.take() {
        interpreter.handle(event);
        while let Some(action) = interpreter.poll_action() {
            if let Action::Play(prompts) = &action {
                said.extend(prompts.iter().map(|prompt| match prompt {
                    Prompt::Text { text, .. } => text.clone(),
                    Prompt::File(path) => path.display().to_string(),
                }));
            }
            next = match action {
                Action::Play(_) => Some(Event::PlayDone),
                Action::SetTimer(time) if time < Duration::from_secs(60) => {
                    Some(replies(&action).unwrap_or(Event::Timer))
                }
                Action::StartRecord { .. } => replies(&action),
                _ => next,
            };
        }
    }
    assert_eq!(interpreter.ending(), Some(Ending::Done));
    (interpreter.outcome().map(str::to_owned), said)
}

#[test]
fn shipped_plans_come_to_their_outcomes() {
    let recorded = |spoke| Event::RecordDone { reason: RecordEnd::Silence, spoke };
    let cases: &[(&str, &[Event], &str)] = &[
        ("delivery-confirm", &[Event::Digit('1')], "confirmed"),
        ("delivery-confirm", &[Event::Digit('2'), recorded(true)], "instructions"),
        ("delivery-confirm", &[Event::Timer, recorded(true)], "instructions"),
        ("delivery-confirm", &[Event::Timer, recorded(false)], "no_response"),
        ("delivery-confirm", &[Event::Digit('5'), recorded(true)], "instructions"),
        ("delivery-confirm", &[Event::Digit('9')], "opt_out"),
        (
            "delivery-confirm",
            &[Event::Digit('2'), Event::RecordDone { reason: RecordEnd::Failed, spoke: false }],
            "no_response",
        ),
        ("eta-update", &[Event::Digit('1')], "confirmed"),
        ("eta-update", &[Event::Digit('2'), recorded(true)], "instructions"),
        ("eta-update", &[Event::Timer, Event::Timer], "no_response"),
        ("opt-out", &[Event::Digit('1')], "opt_out"),
        ("opt-out", &[Event::Digit('2')], "opt_in"),
        ("opt-out", &[Event::Timer, Event::Timer], "no_response"),
        ("inbound-menu", &[Event::Digit('9')], "opt_out"),
    ];
    for (name, replies, outcome) in cases {
        let plan = shipped(name);
        for language in plan.languages() {
            let mut replies = replies.iter();
            let (found, said) = call(&plan, language, |_| replies.next().copied());
            assert_eq!(found.as_deref(), Some(*outcome), "{name} {language}");
            let listed = plan.prompts(ada(), language).unwrap();
            for text in said {
                assert!(text.contains("Riverside Depot") || !text.contains('{'));
                assert!(
                    listed.contains(&Prompt::Text { language: language.clone(), text: text.clone() }),
                    "{text}"
                );
            }
        }
    }
}

#[test]
fn the_first_words_say_who_calls_and_when_they_come() {
    let (_, said) = call(&shipped("delivery-confirm"), "en-GB", |_| Some(Event::Digit('1')));
    let greeting = "Hello Ada, this is Riverside Depot on a recorded line. Your parcel will arrive today at about two thirty in the afternoon.";
    assert_eq!(said[0], greeting);
    let (_, said) = call(&shipped("delivery-confirm"), "es-MX", |_| Some(Event::Digit('1')));
    assert!(said[0].ends_with("llegará hoy sobre las dos y media de la tarde."), "{}", said[0]);
    let (_, said) = call(&shipped("eta-update"), "xx", |_| Some(Event::Digit('1')));
    assert!(said[0].contains("order X 9,"), "{}", said[0]);
}

#[test]
fn languages_prompts_and_versions() {
    let plan = shipped("delivery-confirm");
    for (wanted, spoken) in [("de", "de"), ("DE", "de"), ("es-MX", "es"), ("fr", "en"), ("", "en")] {
        assert_eq!(plan.language_for(wanted), spoken, "{wanted}");
    }
    assert_eq!(plan.prompts(ada(), "en").unwrap().len(), 8);
    assert!(matches!(plan.prompts(BTreeMap::new(), "en"), Err(VarError::Missing { .. })));
    assert!(Interpreter::new(Arc::clone(&plan), vars(&[("name", "A"), ("eta", "noon")]), "en").is_err());
    assert_eq!(plan.digest(), shipped("delivery-confirm").digest());
    assert_ne!(plan.digest(), shipped("opt-out").digest());
    assert!(!format!("{:?}", plan.prompts(ada(), "en").unwrap()).contains("Ada"));
}

#[test]
fn hanging_up_ends_everything_at_once() {
    for before in [&[][..], &[Event::Answered], &[Event::Answered, Event::PlayDone, Event::PlayDone]] {
        let mut interpreter = Interpreter::new(shipped("delivery-confirm"), ada(), "en").unwrap();
        before.iter().for_each(|event| interpreter.handle(*event));
        while interpreter.poll_action().is_some() {}
        interpreter.handle(Event::HungUp);
        assert_eq!(interpreter.ending(), Some(Ending::HungUp));
        let left: Vec<_> = std::iter::from_fn(|| interpreter.poll_action()).collect();
        assert!(left.iter().all(|action| *action == Action::ClearTimer), "{left:?}");
    }
}

#[test]
fn time_up_hangs_up_wherever_it_is() {
    let to_record = [Event::Answered, Event::PlayDone, Event::Digit('2'), Event::PlayDone];
    for (upto, expected) in [(1, Action::StopPlay), (4, Action::StopRecord)] {
        let mut interpreter = Interpreter::new(shipped("delivery-confirm"), ada(), "en").unwrap();
        to_record[..upto].iter().for_each(|event| interpreter.handle(*event));
        while interpreter.poll_action().is_some() {}
        interpreter.handle(Event::TimeUp);
        let left: Vec<_> = std::iter::from_fn(|| interpreter.poll_action()).collect();
        assert!(left.contains(&expected) && left.last() == Some(&Action::Hangup), "{left:?}");
        assert_eq!(interpreter.ending(), Some(Ending::TimeUp));
    }
}

#[test]
fn a_customer_cannot_keep_a_plan_going_for_ever() {
    let round = "[step.ask]\nsay = \"Again?\"\ngather = { digits = 1 }\non = { \"1\" = \"ask\", silence = \"bye\" }\n[step.bye]\nhangup = true\n";
    let mut interpreter = Interpreter::new(Arc::new(plan(round)), BTreeMap::new(), "en").unwrap();
    interpreter.handle(Event::Answered);
    let mut rounds = 0;
    while interpreter.ending().is_none() {
        interpreter.handle(Event::Digit('1'));
        while interpreter.poll_action().is_some() {}
        rounds += 1;
        assert!(rounds <= MAX_STEPS);
    }
    assert_eq!(interpreter.ending(), Some(Ending::TooManySteps));
}

#[test]
fn logs_do_not_show_what_a_customer_said_or_typed() {
    let gate = "[step.ask]\nsay = \"Hi {name}\"\ngather = { digits = 5 }\nnext = \"bye\"\n[step.bye]\nhangup = true\n";
    let mut interpreter =
        Interpreter::new(Arc::new(plan(gate)), vars(&[("name", "Lovelace")]), "en").unwrap();
    interpreter.handle(Event::Answered);
    "73519".chars().for_each(|key| interpreter.handle(Event::Digit(key)));
    let actions: Vec<_> = std::iter::from_fn(|| interpreter.poll_action()).collect();
    let shown = format!("{interpreter:?} {actions:?}");
    assert_eq!(interpreter.vars()["digits"], "73519");
    assert!(!shown.contains("7351") && !shown.contains("Lovelace"), "{shown}");
}

fn any_event() -> impl Strategy<Value = Event> {
    let end = prop_oneof![
        Just(RecordEnd::Max),
        Just(RecordEnd::Silence),
        Just(RecordEnd::Stopped),
        Just(RecordEnd::HungUp),
        Just(RecordEnd::Failed)
    ];
    prop_oneof![
        2 => Just(Event::Answered),
        8 => Just(Event::PlayDone),
        8 => "[0-9*#A-Dx\u{661}]".prop_map(|key| Event::Digit(key.chars().next().unwrap())),
        6 => Just(Event::Timer),
        4 => (end, any::<bool>()).prop_map(|(reason, spoke)| Event::RecordDone { reason, spoke }),
        1 => Just(Event::HungUp),
        1 => Just(Event::TimeUp),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever happens, in whatever order: no panic, bounded work, well-formed actions, and silence after the end.
    #[test]
    fn any_events_are_survived(
        events in prop::collection::vec(any_event(), 0..200),
        name in prop::sample::select(vec!["delivery-confirm", "eta-update", "inbound-menu", "opt-out"]),
        language in "[a-z]{0,3}",
    ) {
        let mut interpreter = Interpreter::new(shipped(name), ada(), &language).unwrap();
        let (mut hung_up, mut recording) = (false, false);
        for event in events {
            let ended = interpreter.ending().is_some();
            interpreter.handle(event);
            recording &= !matches!(event, Event::RecordDone { .. });
            let actions: Vec<_> = std::iter::from_fn(|| interpreter.poll_action()).collect();
            prop_assert!(!ended || actions.is_empty(), "after the end: {actions:?}");
            prop_assert!(actions.len() <= 64);
            for action in actions {
                prop_assert!(!hung_up, "after Hangup: {action:?}");
                match action {
                    Action::Hangup => hung_up = true,
                    Action::Play(prompts) => prop_assert!(!prompts.is_empty()),
                    Action::StartRecord { .. } => {
                        prop_assert!(!recording, "two recordings at once");
                        recording = true;
                    }
                    Action::SetOutcome(outcome) => prop_assert!(interpreter.plan().outcomes().contains(outcome.as_str())),
                    _ => {}
                }
            }
        }
        // A customer who does nothing more gets to the end: prompts finish and timers run out.
        interpreter.handle(Event::Answered);
        for _ in 0..100 {
            interpreter.handle(Event::PlayDone);
            interpreter.handle(Event::Timer);
        }
        prop_assert!(interpreter.ending().is_some());
    }

    /// Whatever somebody writes into a plan: findings, no panic, each of which can be printed.
    #[test]
    fn any_text_is_read(at in 0usize..4000, junk in "\\PC{0,12}|[\\[\\]{}=\"#\n.]{1,6}", cut in 0usize..40) {
        let mut text = std::fs::read_to_string(Path::new(ROOT).join("dialplans/delivery-confirm.toml")).unwrap();
        let boundary = |text: &str, at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
        let (from, to) = (boundary(&text, at), boundary(&text, at + cut));
        text.replace_range(from..to.max(from), &junk);
        if let Err(found) = Plan::parse("p", "p.toml", &text, &no_prompt) {
            prop_assert!(!found.is_empty() && !render(&found).is_empty());
        }
    }
}
