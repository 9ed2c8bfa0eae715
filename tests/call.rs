//! Whole calls through the [`callahead::call::Call`] machine and the shipped dialplan: no socket, no file but the plan, no sleep.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests begin at some time, read their data and may panic"
)]

#[path = "support/call_stage.rs"]
mod call_stage;

use call_stage::{Act, CLEAR, PROMPT, Script, Stage, Weather, plan, shipped};
use callahead::call::{AnswerRange, EndCause, MediaCommand, Progress};
use callahead::media::Connection;
use callahead::sip::session::{SessionEvent, Side};

const SEEDS: u64 = 120;
/// The beep's length.
const BEEP: u64 = 300;

fn run(script: Script) -> Stage {
    Stage::new(1, CLEAR, &shipped("delivery-confirm"), script).run()
}

/// Rings, is picked up after a second, and sends audio at once.
fn picking_up() -> Script {
    Script {
        on_incoming: vec![(50, Act::Ring), (1000, Act::PickUp)],
        on_answer: vec![(20, Act::Packet)],
        ..Script::default()
    }
}

fn on_answer(more: &[(u64, Act)]) -> Script {
    let mut script = picking_up();
    script.on_answer.extend_from_slice(more);
    script
}

/// Presses 2 in the question, hears what to do and the beep, then does `on_listen`.
fn leaving(on_listen: &[(u64, Act)]) -> Script {
    Script { on_listen: on_listen.to_vec(), ..on_answer(&[(TWO, Act::Press('2'))]) }
}

/// When 2 is pressed, and when recording begins after it.
const TWO: u64 = 3000;
const RECORDING: u64 = TWO + PROMPT + BEEP;

#[test]
fn a_digit_confirms() {
    let stage = run(on_answer(&[(2500, Act::Press('1'))]));
    let end = stage.conclusion();
    assert_eq!(end.outcome.as_deref(), Some("confirmed"));
    assert_eq!((end.cause, end.sip_status, end.answered), (EndCause::Human, None, true));
    assert!(end.answers.is_empty(), "{end:?}");
    assert_eq!(stage.steps, [Progress::Ringing, Progress::Answered]);
    // The key cuts the question short; the goodbye is heard to its end.
    assert_eq!(stage.concluded_ms(), u128::from(2500 + PROMPT));
    assert!(stage.commands.iter().any(|command| matches!(command, MediaCommand::StopPlay)));
    assert!(
        matches!(stage.phone.last(), Some(SessionEvent::Ended { by: Side::Remote, .. })),
        "{:?}",
        stage.phone
    );
}

#[test]
fn a_spoken_answer_is_kept_with_its_place_in_the_recording() {
    let stage = run(leaving(&[(500, Act::Speak), (3500, Act::FallSilent)]));
    let end = stage.conclusion();
    assert_eq!(end.outcome.as_deref(), Some("instructions"));
    // From the beep's end to when silence had lasted its five seconds.
    let expected = AnswerRange { start_ms: RECORDING, end_ms: RECORDING + 3500 + 5000 };
    assert_eq!(end.answers, [expected]);
}

#[test]
fn a_pause_in_an_answer_does_not_end_it_and_the_hash_key_does() {
    let pauses = [(500, Act::Speak), (1500, Act::FallSilent), (6000, Act::Speak), (7000, Act::Press('#'))];
    let stage = run(leaving(&pauses));
    let end = stage.conclusion();
    assert_eq!(end.outcome.as_deref(), Some("instructions"));
    assert_eq!(end.answers, [AnswerRange { start_ms: RECORDING, end_ms: RECORDING + 7000 }]);
}

#[test]
fn an_endless_answer_ends_at_the_plans_maximum() {
    let stage = run(leaving(&[(500, Act::Speak)]));
    let end = stage.conclusion();
    assert_eq!(end.outcome.as_deref(), Some("instructions"));
    assert_eq!(end.answers, [AnswerRange { start_ms: RECORDING, end_ms: RECORDING + 60_000 }]);
}

#[test]
fn who_hangs_up_in_the_middle_of_the_answer_has_left_it() {
    let stage = run(leaving(&[(500, Act::Speak), (2500, Act::HangUp)]));
    let end = stage.conclusion();
    assert_eq!(end.outcome.as_deref(), Some("instructions"));
    assert_eq!(end.cause, EndCause::Human);
    assert_eq!(end.reason.as_deref(), Some("the customer hung up"));
    // The BYE takes 10 ms.
    assert_eq!(end.answers, [AnswerRange { start_ms: RECORDING, end_ms: RECORDING + 2510 }]);
}

#[test]
fn a_silent_customer_gives_no_response() {
    let stage = run(picking_up());
    let end = stage.conclusion();
    assert_eq!(end.outcome.as_deref(), Some("no_response"));
    assert!(end.answers.is_empty() && end.answered, "{end:?}");
    assert_eq!(end.cause, EndCause::Human);
}

#[test]
fn refusals_say_why() {
    let table = [
        (486, None, EndCause::Busy),
        (404, None, EndCause::InvalidNumber),
        (480, None, EndCause::NoAnswer),
        (480, Some("Q.850;cause=17;text=\"User busy\""), EndCause::Busy),
        (480, Some("SIP;cause=480, q.850 ; cause=1"), EndCause::InvalidNumber),
        (603, None, EndCause::Rejected),
        (503, None, EndCause::TrunkError),
    ];
    for (status, reason, cause) in table {
        let on_incoming = vec![(50, Act::Ring), (500, Act::Reject(status, reason))];
        let stage = run(Script { on_incoming, ..Script::default() });
        let end = stage.conclusion();
        assert_eq!((end.cause, end.sip_status), (cause, Some(status)), "{reason:?}");
        assert!(!end.answered && end.outcome.is_none());
        assert!(end.reason.as_deref().unwrap().starts_with(&status.to_string()), "{end:?}");
    }
}

#[test]
fn a_deaf_trunk_is_a_network_error() {
    // Longer than 64*T1, so that the transaction gives up before we do.
    let stage = run(Script { deaf: true, limits: Some((300_000, 60_000)), ..Script::default() });
    let end = stage.conclusion();
    assert_eq!((end.cause, end.sip_status, end.answered), (EndCause::NetworkError, None, false));
    assert_eq!((stage.conclusions[0].0 - stage.start).as_secs(), 32, "64*T1");
}

#[test]
fn a_deaf_trunk_and_a_short_ring_limit_still_end() {
    let stage = run(Script { deaf: true, ..Script::default() });
    assert!(matches!(stage.conclusion().cause, EndCause::NoAnswer | EndCause::NetworkError));
}

#[test]
fn a_wrong_password_is_the_trunks_fault_and_the_right_one_is_taken() {
    let stage = run(Script { passwords: Some(("secret", "wrong")), ..picking_up() });
    let end = stage.conclusion();
    assert_eq!((end.cause, end.sip_status), (EndCause::TrunkError, Some(401)));
    assert!(end.reason.as_deref().unwrap().contains("password"), "{end:?}");
    let stage =
        run(Script { passwords: Some(("secret", "secret")), ..on_answer(&[(2500, Act::Press('1'))]) });
    assert_eq!(stage.conclusion().outcome.as_deref(), Some("confirmed"));
}

#[test]
fn nobody_picks_up() {
    let stage = run(Script { on_incoming: vec![(50, Act::Ring)], ..Script::default() });
    let end = stage.conclusion();
    assert_eq!((end.cause, end.sip_status, end.answered), (EndCause::NoAnswer, None, false));
    assert_eq!(end.reason.as_deref(), Some("it rang for 30 s"));
    assert_eq!((stage.conclusions[0].0 - stage.start).as_secs(), 30);
    assert_eq!(stage.phone.last(), Some(&SessionEvent::Failed(callahead::sip::session::Failure::Cancelled)));
}

#[test]
fn we_cancel_while_it_rings_and_hang_up_while_it_talks() {
    let stage = run(Script { on_start: vec![(500, Act::WeHangUp)], ..picking_up() });
    let end = stage.conclusion();
    assert_eq!((end.cause, end.answered), (EndCause::Cancelled, false));
    assert_eq!(stage.steps, [Progress::Ringing]);
    let stage = run(on_answer(&[(1000, Act::WeHangUp)]));
    let end = stage.conclusion();
    assert_eq!((end.cause, end.answered), (EndCause::Human, true));
    assert_eq!(end.reason.as_deref(), Some("hung up by us"));
}

#[test]
fn a_cancel_that_crosses_the_answer_leaves_nobody_on_the_line() {
    for after in 1000..1060 {
        let stage = run(Script { on_start: vec![(after, Act::WeHangUp)], ..picking_up() });
        let end = stage.conclusion();
        let expected = if end.answered { EndCause::Human } else { EndCause::Cancelled };
        assert_eq!(end.cause, expected, "{after}");
    }
}

#[test]
fn a_line_that_was_always_dead_is_a_network_error() {
    let mut script = picking_up();
    script.on_answer = vec![(20_000, Act::LineDead)];
    let stage = run(Script { limits: Some((300_000, 30_000)), ..script });
    // The plan has gone to its end by then: a silent customer and a dead line are alike until the timeout.
    assert_eq!(stage.conclusion().outcome.as_deref(), Some("no_response"));
    let mut script = picking_up();
    script.on_answer = vec![(5000, Act::LineDead)];
    let end = run(script).conclusion().clone();
    assert_eq!((end.cause, end.answered), (EndCause::NetworkError, true));
    assert!(end.reason.unwrap().contains("RTP"));
}

#[test]
fn a_line_that_dies_in_the_answer_keeps_it() {
    let end = run(leaving(&[(500, Act::Speak), (4000, Act::LineDead)])).conclusion().clone();
    assert_eq!(end.cause, EndCause::Human);
    assert_eq!(end.outcome.as_deref(), Some("instructions"));
    assert_eq!(end.answers, [AnswerRange { start_ms: RECORDING, end_ms: RECORDING + 4000 }]);
}

#[test]
fn a_reinvite_is_answered_and_the_call_goes_on() {
    let stage = run(on_answer(&[(1000, Act::Reoffer("sendonly")), (2500, Act::Press('1'))]));
    assert_eq!(stage.conclusion().outcome.as_deref(), Some("confirmed"));
    let [answer] = &stage.reanswers[..] else { panic!("{:?}", stage.reanswers) };
    assert!(answer.contains("a=recvonly") && answer.contains("m=audio 20000"), "{answer}");
    let connects = connects(&stage);
    assert_eq!(connects.len(), 2);
    assert_eq!(connects[1].remote, "192.0.2.2:30002".parse().unwrap());
    // They hold us: we send nothing.
    assert!(!connects[1].send && connects[1].receive, "{:?}", connects[1]);
}

fn connects(stage: &Stage) -> Vec<Connection> {
    let connection = |command: &MediaCommand| match command {
        MediaCommand::Connect(connection) => Some(*connection),
        _ => None,
    };
    stage.commands.iter().filter_map(connection).collect()
}

/// Our o= line in a description.
fn version(sdp: &str) -> u64 {
    let origin = sdp.lines().find(|line| line.starts_with("o=")).unwrap();
    origin.split(' ').nth(2).unwrap().parse().unwrap()
}

#[test]
fn hold_and_resume_tell_both_sides_and_the_media() {
    let acts = [(1000, Act::Hold), (2000, Act::Resume), (3500, Act::Press('1'))];
    let stage = run(on_answer(&acts));
    assert_eq!(stage.conclusion().outcome.as_deref(), Some("confirmed"));
    let [hold, resume] = &stage.reoffers[..] else { panic!("{:?}", stage.reoffers) };
    assert!(hold.contains("a=sendonly") && version(hold) == 2, "{hold}");
    assert!(resume.contains("a=sendrecv") && version(resume) == 3, "{resume}");
    let ways: Vec<_> = connects(&stage).iter().map(|one| (one.send, one.receive)).collect();
    assert_eq!(ways, [(true, true), (true, false), (true, true)]);
}

#[test]
fn a_refused_hold_leaves_the_call_as_it_was() {
    let script = Script { refuses: Some(488), ..on_answer(&[(1000, Act::Hold), (2500, Act::Press('1'))]) };
    let stage = run(script);
    assert_eq!(stage.conclusion().outcome.as_deref(), Some("confirmed"));
    assert_eq!((stage.reoffers.len(), connects(&stage).len()), (1, 1));
}

#[test]
fn hold_from_both_sides_meets_and_is_made_good() {
    for seed in 0..20 {
        let acts = [(1001 + seed % 9, Act::Hold), (1010, Act::Reoffer("sendonly")), (9000, Act::WeHangUp)];
        let stage = Stage::new(seed, CLEAR, &shipped("delivery-confirm"), on_answer(&acts)).run();
        stage.conclusion();
        let last = *connects(&stage).last().unwrap();
        assert!(!last.receive, "seed {seed}: {last:?}");
        let held = stage.reoffers.iter().chain(&stage.reanswers);
        let held = held.filter(|sdp| sdp.contains("a=sendonly") || sdp.contains("a=inactive")).count();
        assert!(held > 0, "seed {seed}");
    }
}

#[test]
fn a_reinvite_without_an_offer_gets_what_is_in_force() {
    let stage = run(on_answer(&[(1000, Act::AskForOffer), (2500, Act::Press('1'))]));
    assert_eq!(stage.conclusion().outcome.as_deref(), Some("confirmed"));
    let [offer] = &stage.reoffers[..] else { panic!("{:?}", stage.reoffers) };
    // Nothing changed since the INVITE, so nothing counts up.
    assert!(version(offer) == 1 && offer.contains("m=audio 20000 RTP/AVP 0 8 101"), "{offer}");
    assert_eq!(connects(&stage).len(), 2);
}

#[test]
fn an_answer_without_usable_sdp_is_hung_up() {
    for sdp in [
        "",
        "v=0\r\no=- 9 1 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\nm=audio 30000 RTP/AVP 18\r\n",
    ] {
        let on_incoming = vec![(500, Act::PickUpWithout(sdp))];
        let stage = run(Script { on_incoming, ..Script::default() });
        let end = stage.conclusion();
        assert_eq!((end.cause, end.answered), (EndCause::TrunkError, false), "{end:?}");
        assert!(end.reason.as_deref().unwrap().contains("SDP"), "{end:?}");
        assert!(
            matches!(stage.phone.last(), Some(SessionEvent::Ended { by: Side::Remote, .. })),
            "{:?}",
            stage.phone
        );
    }
}

#[test]
fn a_call_longer_than_the_limit_ends_and_keeps_the_answer() {
    let script = Script { limits: Some((10_000, 30_000)), ..leaving(&[(500, Act::Speak)]) };
    let stage = run(script);
    let end = stage.conclusion();
    assert_eq!(stage.concluded_ms(), 10_000);
    assert_eq!(end.cause, EndCause::Human);
    assert!(end.reason.as_deref().unwrap().contains("longest"), "{end:?}");
    assert_eq!(end.answers, [AnswerRange { start_ms: RECORDING, end_ms: 10_000 }]);
    assert_eq!(end.outcome.as_deref(), Some("instructions"), "what was said until then is an answer");
}

const REPEATS: &str = r#"
title = "Reads a number back"
start = "ask"
language = ["en"]
[vars]
name = { type = "text", required = true }
eta  = { type = "time", required = true }
depot = { type = "text", default = "us" }
[step.ask]
say = "Type the gate code."
gather = { digits = 3, into = "code" }
next = "repeat"
on = { silence = "bye" }
[step.repeat]
say = "You typed {code}."
outcome = "typed"
next = "bye"
[step.bye]
say = "Goodbye."
hangup = true
"#;

#[test]
fn a_prompt_with_what_was_typed_is_rendered_in_the_call() {
    let plan = plan("repeats", REPEATS);
    for mute in [false, true] {
        let keys = [(3000, Act::Press('4')), (3100, Act::Press('1')), (3200, Act::Press('7'))];
        let script = Script { mute, ..on_answer(&keys) };
        let stage = Stage::new(3, CLEAR, &plan, script).run();
        let end = stage.conclusion();
        assert_eq!(end.outcome.as_deref(), Some("typed"));
        assert_eq!(end.collected.get("code").map(String::as_str), Some("417"));
        assert_eq!(stage.rendered.len(), 1);
        // A prompt that cannot be spoken is passed over; the call does not wait for it.
        let prompts = if mute { 1 } else { 2 };
        assert_eq!(stage.concluded_ms(), u128::from(3200 + prompts * PROMPT));
    }
}

fn weather(seed: u64) -> Weather {
    let loss = [0.1, 0.2, 0.3][(seed % 3) as usize];
    Weather { loss, duplication: 0.1, delay: (1, if seed.is_multiple_of(2) { 30 } else { 900 }) }
}

/// Every seed ends with exactly one conclusion and one `Finished`, `least` of them as expected.
fn many(least: f64, script: impl Fn(u64) -> Script, expected: impl Fn(&Stage) -> bool) {
    let plan = shipped("delivery-confirm");
    let (mut right, mut lost, mut odd) = (0, 0, Vec::new());
    for seed in 0..SEEDS {
        let stage = Stage::new(seed, weather(seed), &plan, script(seed)).run();
        let end = stage.conclusion();
        lost += stage.lost;
        assert!(stage.steps.len() <= 2, "seed {seed}: {:?}", stage.steps);
        if expected(&stage) {
            right += 1;
        } else {
            odd.push((seed, end.clone()));
        }
    }
    assert!(lost > 100, "the link was too good to prove anything");
    let share = f64::from(right) / SEEDS as f64;
    assert!(share >= least, "only {share}: {odd:?}");
}

#[test]
fn over_a_bad_link_an_answer_is_kept() {
    let script = |_| leaving(&[(500, Act::Speak), (2500, Act::HangUp)]);
    many(0.97, script, |stage| stage.conclusion().outcome.as_deref() == Some("instructions"));
}

#[test]
fn over_a_bad_link_a_digit_confirms() {
    let script = |_| on_answer(&[(2500, Act::Press('1'))]);
    many(0.97, script, |stage| stage.conclusion().outcome.as_deref() == Some("confirmed"));
}

#[test]
fn over_a_bad_link_the_ring_limit_holds() {
    let script =
        |_| Script { on_incoming: vec![(50, Act::Ring), (120_000, Act::HangUp)], ..Script::default() };
    many(0.95, script, |stage| stage.conclusion().cause == EndCause::NoAnswer);
}

#[test]
fn over_a_bad_link_a_password_is_asked_for_and_given() {
    let script =
        |_| Script { passwords: Some(("secret", "secret")), ..on_answer(&[(2500, Act::Press('1'))]) };
    many(0.95, script, |stage| stage.conclusion().outcome.as_deref() == Some("confirmed"));
}

#[test]
fn over_a_bad_link_cancel_and_answer_cross() {
    let script = |seed| Script { on_start: vec![(900 + seed * 10, Act::WeHangUp)], ..picking_up() };
    many(0.9, script, |stage| {
        let end = stage.conclusion();
        end.cause == EndCause::Cancelled || end.answered && end.cause == EndCause::Human
    });
}

#[test]
fn over_a_bad_link_both_hang_up_at_once() {
    let script = |_| on_answer(&[(2000, Act::WeHangUp), (2000, Act::HangUp)]);
    many(0.95, script, |stage| stage.conclusion().cause == EndCause::Human);
}

#[test]
fn over_a_bad_link_a_refusal_is_heard() {
    let script = |_| Script { on_incoming: vec![(300, Act::Reject(486, None))], ..Script::default() };
    many(0.95, script, |stage| stage.conclusion().cause == EndCause::Busy);
}
