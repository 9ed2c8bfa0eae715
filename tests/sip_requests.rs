//! Our own requests in a call: their order, their challenges, their end, over good links and bad ones.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    dead_code,
    reason = "tests begin at some time, read their data and may panic, and each uses a part of the pair"
)]

#[path = "support/pair.rs"]
mod pair;

use std::time::Duration;

use callahead::sip::Hop;
use callahead::sip::exchange::Outcome;
use callahead::sip::message::{HeaderName, Message, Method};
use callahead::sip::session::{Failure, RequestId, SessionEvent, Side};
use pair::{CLEAR, Pair, STORM, Weather, field};

const DEAD: Weather = Weather(1.0, 0.0, (10, 10));

fn options(pair: &mut Pair, end: usize) -> RequestId {
    pair.act(end, |session, now| session.request(now, Method::Options, Vec::new(), None)).unwrap()
}

fn statuses(events: &[SessionEvent]) -> Vec<(RequestId, Option<u16>)> {
    let answer = |event: &SessionEvent| match event {
        SessionEvent::Answer { request, outcome: Outcome::Answered { response, .. } } => {
            Some((*request, response.status()))
        }
        SessionEvent::Answer { request, outcome: Outcome::Unanswered(_) } => Some((*request, None)),
        _ => None,
    };
    events.iter().filter_map(answer).collect()
}

#[test]
fn requests_go_one_after_the_other_in_the_order_asked() {
    let mut pair = Pair::new(1, CLEAR);
    let ids: Vec<RequestId> = (0..3).map(|_| options(&mut pair, 0)).collect();
    assert_eq!(pair.ends[0].sent.len(), 1, "the others wait");
    pair.pass(Duration::from_secs(1));
    let expected: Vec<_> = ids.into_iter().map(|id| (id, Some(200))).collect();
    assert_eq!(statuses(&pair.told(0)), expected);
    let numbers: Vec<u32> =
        pair.requests(0, &Method::Options).iter().map(|message| message.cseq().unwrap().number).collect();
    assert_eq!(numbers, [2, 3, 4]);
}

/// Every request is answered once, in order, and none is refused for its sequence number.
#[test]
fn a_bad_link_keeps_the_order() {
    for seed in 0..150 {
        let mut pair = Pair::new(seed, STORM);
        let asked: Vec<(usize, RequestId)> = (0..10).map(|at| (at % 2, options(&mut pair, at % 2))).collect();
        pair.pass(Duration::from_secs(400));
        for end in 0..2 {
            let ids: Vec<_> = asked.iter().filter(|(of, _)| *of == end).map(|(_, id)| *id).collect();
            let told = statuses(&pair.told(end));
            assert_eq!(told.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids, "seed {seed}");
            assert!(told.iter().all(|(_, status)| *status == Some(200)), "seed {seed}: {told:?}");
        }
    }
}

/// The 401 to the last request that `end` sent.
fn challenge(pair: &Pair, end: usize, status: u16, realm: &str) -> Message {
    let name = if status == 401 { "WWW-Authenticate" } else { "Proxy-Authenticate" };
    let value = format!("Digest realm=\"{realm}\", nonce=\"n{realm}\", qop=\"auth\"");
    answer(pair, end, status, Some((name, &value)))
}

fn answer(pair: &Pair, end: usize, status: u16, more: Option<(&str, &str)>) -> Message {
    let source = Hop::udp(pair.ends[end].address);
    let mut response = Message::response(pair.last(end).headers(), status, None, source);
    if let Some((name, value)) = more {
        response.push_header(field(name, value));
    }
    response
}

fn give(pair: &mut Pair, end: usize, message: Message) {
    let source = Hop::udp(pair.ends[1 - end].address);
    pair.act(end, |session, now| session.handle_message(now, source, message));
}

#[test]
fn a_401_after_a_407_is_answered_with_both() {
    let mut pair = Pair::new(1, DEAD);
    let id = options(&mut pair, 0);
    for (status, realm) in [(407, "proxy"), (401, "server")] {
        let challenge = challenge(&pair, 0, status, realm);
        give(&mut pair, 0, challenge);
    }
    let last = pair.last(0);
    assert_eq!(last.cseq().unwrap().number, 4);
    assert!(last.header(HeaderName::Authorization).unwrap().contains("realm=\"server\""));
    assert!(last.header(HeaderName::ProxyAuthorization).unwrap().contains("realm=\"proxy\""));
    let done = answer(&pair, 0, 200, None);
    give(&mut pair, 0, done);
    assert_eq!(statuses(&pair.told(0)), [(id, Some(200))]);
}

#[test]
fn challenges_without_end_end() {
    let mut pair = Pair::new(1, DEAD);
    let id = options(&mut pair, 0);
    let mut rounds = 0;
    while pair.ends[0].events.is_empty() {
        rounds += 1;
        let challenge = challenge(&pair, 0, 401, &format!("r{rounds}"));
        give(&mut pair, 0, challenge);
    }
    assert_eq!((rounds, statuses(&pair.told(0))), (6, vec![(id, Some(401))]));
}

#[test]
fn silence_is_told_and_the_next_one_goes_out() {
    let mut pair = Pair::new(1, DEAD);
    let (one, two) = (options(&mut pair, 0), options(&mut pair, 0));
    pair.pass(Duration::from_secs(70));
    let told = pair.told(0);
    assert_eq!(statuses(&told), [(one, None), (two, None)]);
    let timeout = Outcome::Unanswered(Failure::Timeout);
    assert_eq!(told[0], SessionEvent::Answer { request: one, outcome: timeout });
    assert_eq!(told.len(), 2, "the call goes on");
}

#[test]
fn a_481_ends_the_call() {
    let mut pair = Pair::new(1, DEAD);
    let id = options(&mut pair, 0);
    let unknown = answer(&pair, 0, 481, None);
    give(&mut pair, 0, unknown);
    let told = pair.told(0);
    assert_eq!(statuses(&told), [(id, Some(481))]);
    assert!(matches!(told[1], SessionEvent::Ended { by: Side::Local, .. }), "{told:?}");
    assert_eq!(pair.last(0).method(), Some(&Method::Bye));
}

#[test]
fn what_waits_when_the_call_ends_is_told_and_never_sent() {
    let mut pair = Pair::new(1, DEAD);
    let ids: Vec<RequestId> = (0..3).map(|_| options(&mut pair, 0)).collect();
    pair.act(0, |session, now| session.hang_up(now, None));
    let told = pair.told(0);
    let cancelled =
        |request| SessionEvent::Answer { request, outcome: Outcome::Unanswered(Failure::Cancelled) };
    assert_eq!(told[1..], [cancelled(ids[1]), cancelled(ids[2])]);
    assert!(pair.act(0, |session, now| session.request(now, Method::Info, Vec::new(), None)).is_err());
    pair.pass(Duration::from_secs(40));
    let told = pair.told(0);
    assert_eq!(statuses(&told), [(ids[0], None)]);
    assert_eq!(told.last(), Some(&SessionEvent::Finished));
    assert_eq!(pair.requests(0, &Method::Options).len(), 1);
}

#[test]
fn the_queue_is_bounded() {
    let mut pair = Pair::new(1, DEAD);
    let taken = (0..100)
        .filter(|_| pair.act(0, |session, now| session.request(now, Method::Info, Vec::new(), None)).is_ok())
        .count();
    assert_eq!(taken, 33);
}

#[test]
fn nobody_listens_is_told_at_once() {
    let mut pair = Pair::new(1, DEAD);
    let id = options(&mut pair, 0);
    let hop = Hop::udp(pair.ends[1].address);
    pair.act(0, |session, now| session.handle_unreachable(now, hop));
    let outcome = Outcome::Unanswered(Failure::Unreachable);
    assert_eq!(pair.told(0), [SessionEvent::Answer { request: id, outcome }]);
}

/// Keys over a link that loses a quarter arrive once each, in order.
#[test]
fn keys_by_info_survive_a_bad_link() {
    for seed in 0..150 {
        let mut pair = Pair::new(seed, STORM);
        for digit in "12#*A0".chars() {
            let held = Duration::from_millis(120);
            pair.act(0, |session, now| session.send_digit(now, digit, held)).unwrap();
        }
        pair.pass(Duration::from_secs(300));
        let heard: String = pair
            .told(1)
            .iter()
            .map(|event| match event {
                SessionEvent::Digit { digit, duration } if *duration == Duration::from_millis(120) => *digit,
                other => panic!("seed {seed}: {other:?}"),
            })
            .collect();
        assert_eq!(heard, "12#*A0", "seed {seed}");
        assert!(statuses(&pair.told(0)).iter().all(|(_, status)| *status == Some(200)), "seed {seed}");
    }
    let mut pair = Pair::new(1, CLEAR);
    assert!(pair.act(0, |session, now| session.send_digit(now, 'x', Duration::ZERO)).is_err());
}

#[test]
fn an_info_that_nobody_understands_is_refused() {
    let mut pair = Pair::new(1, CLEAR);
    pair.inject(0, "INFO", 7, "Content-Type: application/x-secret\r\n", "x");
    assert_eq!(pair.last(0).status(), Some(415));
    assert_eq!(pair.last(0).header(HeaderName::Accept).unwrap(), "application/dtmf-relay, application/dtmf");
    pair.inject(0, "INFO", 8, "Info-Package: nil\r\n", "");
    assert_eq!(pair.last(0).status(), Some(469));
    assert!(pair.last(0).header(HeaderName::RecvInfo).is_some());
    pair.inject(0, "INFO", 9, "Content-Type: application/dtmf\r\n", "5");
    // The same again is a repetition, not another press.
    pair.inject(0, "INFO", 9, "Content-Type: application/dtmf\r\n", "5");
    let told = pair.told(0);
    assert!(matches!(told[..], [SessionEvent::Digit { digit: '5', .. }]), "{told:?}");
}

/// Texts over a link that loses a quarter arrive once each, in order.
#[test]
fn texts_survive_a_bad_link() {
    for seed in 0..60 {
        let mut pair = Pair::new(seed, STORM);
        let texts = ["the lorry", "is", "late"];
        for text in texts {
            pair.act(0, |session, now| session.send_text(now, text)).unwrap();
        }
        pair.pass(Duration::from_secs(200));
        let read = |event: &SessionEvent| match event {
            SessionEvent::Text(body) => String::from_utf8(body.bytes.clone()).unwrap(),
            other => panic!("seed {seed}: {other:?}"),
        };
        assert_eq!(pair.told(1).iter().map(read).collect::<Vec<_>>(), texts, "seed {seed}");
        assert!(statuses(&pair.told(0)).iter().all(|(_, status)| *status == Some(200)), "seed {seed}");
    }
}

#[test]
fn a_call_says_what_it_can_do_and_which_texts_it_reads() {
    let mut pair = Pair::new(1, CLEAR);
    pair.inject(0, "OPTIONS", 7, "", "");
    let last = pair.last(0);
    assert_eq!(last.header(HeaderName::Allow).unwrap(), callahead::sip::ALLOW);
    assert_eq!(last.header(HeaderName::Accept).unwrap(), callahead::sip::ACCEPT);
    assert_eq!(last.header(HeaderName::Supported).unwrap(), callahead::sip::SUPPORTED);
    let table = [
        ("Content-Type: text/html\r\n", "<p>".to_owned(), 415),
        ("Content-Type: text/plain\r\n", "x".repeat(1301), 413),
        ("Content-Type: text/plain\r\nRequire: pizza\r\n", "x".to_owned(), 420),
        ("", String::new(), 200),
    ];
    for (number, (fields, body, status)) in (10..).zip(table) {
        pair.inject(0, "MESSAGE", number, fields, &body);
        assert_eq!(pair.last(0).status(), Some(status), "{fields}");
    }
    assert!(pair.told(0).is_empty());
}
