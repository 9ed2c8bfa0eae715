//! Whole calls between two endpoints over a seeded bad link: no socket, no sleep.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests begin at some time, read their data and may panic"
)]

#[path = "support/lossy_link.rs"]
mod lossy_link;

use std::time::Duration;

use callahead::sip::auth::{Algorithm, Challenger};
use callahead::sip::session::{Failure, SessionEvent, Side};
use callahead::sip::{Hop, Transport};
use lossy_link::{Act, Link, Party, Script, Weather};

const SEEDS: u64 = 200;
const CLEAR: Weather = Weather { loss: 0.0, duplication: 0.0, delay: (10, 10) };

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn weather(seed: u64) -> Weather {
    let loss = [0.1, 0.2, 0.3][(seed % 3) as usize];
    Weather { loss, duplication: 0.1, delay: (1, if seed.is_multiple_of(2) { 30 } else { 900 }) }
}

fn link(seed: u64, weather: Weather, caller: Script, callee: Script) -> Link {
    let caller = Party::new("192.0.2.1:5060", seed, caller);
    let callee = Party::new("192.0.2.2:5070", seed + 1_000_000, callee);
    Link::new(seed, weather, vec![caller, callee])
}

/// The last word of a party on its last session: how the call ended.
fn verdict(party: &Party) -> Option<SessionEvent> {
    let closing =
        |event: &SessionEvent| matches!(event, SessionEvent::Failed(_) | SessionEvent::Ended { .. });
    party.events.iter().rev().map(|(_, event)| event.clone()).find(closing)
}

/// Every session that spoke finished, once, after at most one closing event.
fn assert_orderly(link: &Link, seed: u64) {
    for party in &link.parties {
        assert!(party.sessions.is_empty(), "seed {seed}: {:?} is left: {:?}", party.sessions, party.events);
        assert_eq!(party.endpoint.sessions(), 0, "seed {seed}");
        let mut ids: Vec<_> = party.events.iter().map(|(id, _)| *id).collect();
        ids.sort();
        ids.dedup();
        for id in ids {
            let of = |wanted: fn(&SessionEvent) -> bool| {
                party.events.iter().filter(|(known, event)| *known == id && wanted(event)).count()
            };
            assert_eq!(of(|event| *event == SessionEvent::Finished), 1, "seed {seed}: {:?}", party.events);
            let closings = of(|event| matches!(event, SessionEvent::Failed(_) | SessionEvent::Ended { .. }));
            assert!(closings <= 1, "seed {seed}: {:?}", party.events);
            assert!(of(|event| matches!(event, SessionEvent::Answered { .. })) <= 1, "seed {seed}");
            let last = party.events.iter().rfind(|(known, _)| *known == id).map(|(_, event)| event.clone());
            assert_eq!(last, Some(SessionEvent::Finished), "seed {seed}");
        }
    }
}

fn ended(by: Side) -> impl Fn(&Option<SessionEvent>) -> bool {
    move |event| matches!(event, Some(SessionEvent::Ended { by: who, .. }) if *who == by)
}

fn failed(wanted: Failure) -> impl Fn(&Option<SessionEvent>) -> bool {
    move |event| *event == Some(SessionEvent::Failed(wanted.clone()))
}

/// How a call ended, told from both sides.
type Outcome = (Option<SessionEvent>, Option<SessionEvent>);

/// Runs many seeds; each must end in an orderly way, and the share of calls that end as `expected` must reach `least`.
fn many(
    least: f64,
    password: Option<&str>,
    set_up: impl Fn(u64, Weather) -> Link,
    expected: impl Fn(&Outcome) -> bool,
) {
    let (mut right, mut lost) = (0, 0);
    let mut odd = Vec::new();
    for seed in 0..SEEDS {
        let mut link = set_up(seed, weather(seed));
        link.call(password);
        link.run();
        assert_orderly(&link, seed);
        lost += link.lost;
        let outcome = (verdict(&link.parties[0]), verdict(&link.parties[1]));
        if expected(&outcome) {
            right += 1;
        } else {
            odd.push((seed, outcome));
        }
    }
    assert!(lost > 100, "the link was too good to prove anything");
    let share = f64::from(right) / SEEDS as f64;
    assert!(share >= least, "only {share}: {odd:?}");
}

fn answering() -> Script {
    let on_incoming = vec![(ms(100), Act::Ring), (ms(900), Act::EarlyMedia), (ms(3000), Act::Accept)];
    Script { on_incoming, ..Script::default() }
}

fn hanging_up(after: u64) -> Script {
    Script { on_answer: vec![(ms(after), Act::HangUp)], ..Script::default() }
}

#[test]
fn a_clear_link_shows_every_step() {
    let mut link = link(1, CLEAR, hanging_up(5000), answering());
    link.call(None);
    link.run();
    assert_orderly(&link, 1);
    let told: Vec<SessionEvent> = link.parties[0].events.iter().map(|(_, event)| event.clone()).collect();
    let expected = [
        SessionEvent::Trying,
        SessionEvent::Ringing { status: 180 },
        SessionEvent::Ringing { status: 183 },
        SessionEvent::EarlyMedia { sdp: b"early".to_vec() },
        // The 183 came reliably, so its SDP is the answer.
        SessionEvent::Answered { sdp: Some(b"early".to_vec()) },
        SessionEvent::Ended { by: Side::Local, reason: Some("Q.850;cause=16".into()) },
        SessionEvent::Finished,
    ];
    assert_eq!(told, expected);
    let told: Vec<SessionEvent> = link.parties[1].events.iter().map(|(_, event)| event.clone()).collect();
    let expected = [
        SessionEvent::Acknowledged { sdp: None },
        SessionEvent::Ended { by: Side::Remote, reason: Some("Q.850;cause=16".into()) },
        SessionEvent::Finished,
    ];
    assert_eq!(told, expected);
    // Linger: 64*T1 after the BYE, not more.
    assert!(link.now - link.start <= Duration::from_secs(3 + 5 + 32 + 1));
}

#[test]
fn the_caller_hangs_up() {
    let set_up = |seed, weather| link(seed, weather, hanging_up(4000), answering());
    many(0.98, None, set_up, |(caller, callee)| ended(Side::Local)(caller) && ended(Side::Remote)(callee));
}

#[test]
fn the_callee_hangs_up() {
    let callee = || Script { on_answer: vec![(ms(0), Act::HangUp)], ..answering() };
    let set_up = |seed, weather| link(seed, weather, Script::default(), callee());
    many(0.98, None, set_up, |(caller, callee)| ended(Side::Remote)(caller) && ended(Side::Local)(callee));
}

#[test]
fn both_hang_up_at_once() {
    let callee = || Script { on_answer: vec![(ms(1000), Act::HangUp)], ..answering() };
    let set_up = |seed, weather| link(seed, weather, hanging_up(1000), callee());
    many(0.98, None, set_up, |(caller, callee)| {
        matches!((caller, callee), (Some(SessionEvent::Ended { .. }), Some(SessionEvent::Ended { .. })))
    });
}

#[test]
fn the_callee_is_busy() {
    let callee = || Script { on_incoming: vec![(ms(300), Act::Reject(486))], ..Script::default() };
    let set_up = |seed, weather| link(seed, weather, Script::default(), callee());
    many(0.98, None, set_up, |(caller, callee)| {
        matches!(caller, Some(SessionEvent::Failed(Failure::Status { code: 486, .. }))) && callee.is_none()
    });
}

#[test]
fn the_caller_cancels_a_ringing_phone() {
    // The callee gives up in the end: when every provisional response is lost, no CANCEL may be sent (RFC 3261 §9.1).
    let on_incoming = || vec![(ms(100), Act::Ring), (ms(180_000), Act::Reject(480))];
    let callee = || Script { on_incoming: on_incoming(), ..Script::default() };
    let caller = || Script { on_start: vec![(ms(6000), Act::Cancel)], ..Script::default() };
    let set_up = |seed, weather| link(seed, weather, caller(), callee());
    let cancelled = || failed(Failure::Cancelled);
    many(0.97, None, set_up, |(caller, callee)| cancelled()(caller) && cancelled()(callee));
}

#[test]
fn the_answer_crosses_the_cancel() {
    // Cancel lands around the answer: the call is either cancelled, or answered and hung up; never left standing.
    let (mut cancelled, mut hung_up) = (0, 0);
    for seed in 0..SEEDS {
        let caller = Script { on_start: vec![(ms(2990 + seed % 40), Act::Cancel)], ..hanging_up(3000) };
        let weather = if seed < 100 { CLEAR } else { weather(seed) };
        let mut link = link(seed, weather, caller, answering());
        link.call(None);
        link.run();
        assert_orderly(&link, seed);
        match (verdict(&link.parties[0]), verdict(&link.parties[1])) {
            (
                Some(SessionEvent::Failed(Failure::Cancelled)),
                Some(SessionEvent::Failed(Failure::Cancelled)),
            ) => cancelled += 1,
            (
                Some(SessionEvent::Failed(Failure::Cancelled)),
                Some(SessionEvent::Ended { by: Side::Remote, .. }),
            ) => hung_up += 1,
            (
                Some(SessionEvent::Ended { by: Side::Local, .. }),
                Some(SessionEvent::Ended { by: Side::Remote, .. }),
            ) => {}
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    assert!(cancelled > 5 && hung_up > 5, "the race was not met: {cancelled} {hung_up}");
}

#[test]
fn nobody_is_there() {
    let mut link = link(1, CLEAR, Script::default(), Script::default());
    link.parties[1].deaf = true;
    link.call(None);
    link.run();
    assert_eq!(verdict(&link.parties[0]), Some(SessionEvent::Failed(Failure::Timeout)));
    assert_eq!(link.now - link.start, Duration::from_secs(32));
    assert!(link.parties[0].finished());
}

/// Hops that nobody answers at: a silent one, one where nobody listens, one that says 503.
#[test]
fn a_call_goes_to_the_next_address_of_its_server() {
    let silent = Hop::udp("192.0.2.7:5060".parse().unwrap());
    let closed = Hop::tcp("192.0.2.8:5060".parse().unwrap());
    for seed in 0..SEEDS {
        let weather = if seed == 0 { CLEAR } else { weather(seed) };
        let mut link = link(seed, weather, hanging_up(1000), answering());
        link.parties.push(Party::new(
            "192.0.2.9:5060",
            seed + 2_000_000,
            Script { on_incoming: vec![(ms(10), Act::Reject(503))], ..Script::default() },
        ));
        link.detours = vec![silent, closed, Hop::udp("192.0.2.9:5060".parse().unwrap())];
        link.refusing.insert(closed);
        link.call(None);
        link.run();
        let ended = matches!(verdict(&link.parties[0]), Some(SessionEvent::Ended { .. }));
        assert!(ended, "seed {seed}: {:?}", link.parties[0].events);
        assert!(link.parties.iter().all(|party| party.sessions.is_empty()), "seed {seed}");
    }
}

#[test]
fn when_every_address_is_closed_the_call_fails_at_once() {
    let closed = Hop::tcp("192.0.2.8:5060".parse().unwrap());
    let mut link = link(1, CLEAR, Script::default(), answering());
    link.detours = vec![closed];
    link.refusing = [closed, Hop::udp("192.0.2.2:5070".parse().unwrap())].into();
    link.call(None);
    link.run();
    assert_eq!(verdict(&link.parties[0]), Some(SessionEvent::Failed(Failure::Unreachable)));
    assert_eq!(link.now, link.start);
}

/// Over streams nothing is sent twice by timers, and everything is over as soon as it is answered.
#[test]
fn a_call_over_tcp_lingers_only_for_accepted_invites() {
    let mut link = link(1, CLEAR, hanging_up(1000), answering());
    link.transport = Transport::Tcp;
    link.call(None);
    link.run();
    assert!(matches!(verdict(&link.parties[0]), Some(SessionEvent::Ended { .. })));
    assert_eq!(link.sent, 10, "INVITE, 100, 180, 183, PRACK, 200, 200, ACK, BYE, 200");
    let mut refused = self::link(
        2,
        CLEAR,
        Script::default(),
        Script { on_incoming: vec![(ms(10), Act::Reject(486))], ..Script::default() },
    );
    refused.transport = Transport::Tcp;
    refused.call(None);
    refused.run();
    assert_eq!(refused.now - refused.start, ms(40), "INVITE, 10 ms of thought, 486, ACK: nothing lingers");
}

#[test]
fn cancelling_somebody_who_never_spoke_ends_with_timer_b() {
    let caller = Script { on_start: vec![(ms(100), Act::Cancel)], ..Script::default() };
    let mut link = link(1, CLEAR, caller, Script::default());
    link.parties[1].deaf = true;
    link.call(None);
    link.run();
    assert_eq!(verdict(&link.parties[0]), Some(SessionEvent::Failed(Failure::Cancelled)));
    assert!(link.parties[0].finished());
}

#[test]
fn an_answer_that_is_never_acknowledged_is_released() {
    let callee =
        Script { on_incoming: vec![(ms(100), Act::Ring), (ms(3000), Act::Accept)], ..Script::default() };
    let mut link = link(1, CLEAR, Script::default(), callee);
    link.call(None);
    link.parties[0].deaf = true;
    // The caller hears nothing and times out; the callee answers in vain.
    link.run();
    assert_eq!(verdict(&link.parties[0]), Some(SessionEvent::Failed(Failure::Timeout)));
    assert_eq!(verdict(&link.parties[1]), Some(SessionEvent::Failed(Failure::AckMissing)));
    assert!(link.parties[1].finished());
}

fn challenged(seed: u64, weather: Weather, proxies: &[bool]) -> Link {
    let mut link = link(seed, weather, hanging_up(2000), answering());
    let algorithms = [[Algorithm::MD5, Algorithm::SHA_256], [Algorithm::SHA_256, Algorithm::MD5]];
    for (number, proxy) in proxies.iter().enumerate() {
        let realm = format!("realm {number}");
        let life = Duration::from_secs(60);
        link.parties[1].challengers.push(Challenger::new(
            &realm,
            &algorithms[number % 2],
            life,
            *proxy,
            seed,
        ));
    }
    link
}

#[test]
fn challenges_are_answered() {
    for proxies in [&[false][..], &[true], &[true, false], &[false, true]] {
        many(
            0.97,
            Some("secret"),
            |seed, weather| challenged(seed, weather, proxies),
            |(caller, callee)| ended(Side::Local)(caller) && ended(Side::Remote)(callee),
        );
    }
}

#[test]
fn a_wrong_password_is_not_tried_twice() {
    for password in [None, Some("guess")] {
        let mut link = challenged(1, CLEAR, &[true]);
        link.call(password);
        link.run();
        assert_eq!(verdict(&link.parties[0]), Some(SessionEvent::Failed(Failure::Unauthorized)));
        assert_orderly(&link, 1);
        let invites =
            link.parties[1].events.iter().filter(|(_, event)| *event == SessionEvent::Finished).count();
        assert_eq!(invites, if password.is_some() { 2 } else { 1 });
    }
}
