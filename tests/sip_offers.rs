//! Offers after the first, between two endpoints over a seeded bad link: re-INVITE and UPDATE both ways, before the answer
//! and after, glare, and the session timer.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests begin at some time, read their data and may panic"
)]

#[path = "support/lossy_link.rs"]
mod lossy_link;

use std::time::Duration;

use callahead::sip::session::{SessionEvent, Side};
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

fn answering() -> Script {
    Script { on_incoming: vec![(ms(100), Act::Ring), (ms(900), Act::Accept)], ..Script::default() }
}

fn link(seed: u64, weather: Weather, caller: &[(u64, Act)], callee: &[(u64, Act)]) -> Link {
    let acts = |acts: &[(u64, Act)]| acts.iter().map(|(after, act)| (ms(*after), *act)).collect();
    let caller = Script { on_answer: acts(caller), ..Script::default() };
    let callee = Script { on_answer: acts(callee), ..answering() };
    let parties = vec![
        Party::new("192.0.2.1:5060", seed, caller),
        Party::new("192.0.2.2:5070", seed + 1_000_000, callee),
    ];
    let mut link = Link::new(seed, weather, parties);
    link.call(None);
    link
}

/// What a party was told after the answer.
fn told(link: &Link, party: usize) -> Vec<SessionEvent> {
    let events = link.parties[party].events.iter().map(|(_, event)| event.clone());
    let begun = |event: &SessionEvent| {
        !matches!(event, SessionEvent::Answered { .. } | SessionEvent::Acknowledged { .. })
    };
    events.skip_while(begun).skip(1).collect()
}

fn count(link: &Link, party: usize, wanted: impl Fn(&SessionEvent) -> bool) -> usize {
    link.parties[party].events.iter().filter(|(_, event)| wanted(event)).count()
}

fn text(sdp: &str) -> Option<Vec<u8>> {
    Some(sdp.as_bytes().to_vec())
}

fn hung_up() -> SessionEvent {
    SessionEvent::Ended { by: Side::Local, reason: Some("Q.850;cause=16".into()) }
}

#[test]
fn a_reinvite_is_answered() {
    let mut link = link(1, CLEAR, &[(1000, Act::Reinvite("hold")), (3000, Act::HangUp)], &[]);
    link.run();
    let answered = SessionEvent::OfferAnswered { sdp: text("reanswer") };
    assert_eq!(told(&link, 0), [answered, hung_up(), SessionEvent::Finished]);
    assert_eq!(
        told(&link, 1)[..2],
        [SessionEvent::Offer { sdp: text("hold") }, SessionEvent::Acknowledged { sdp: None }]
    );
}

#[test]
fn the_callee_may_reinvite_too_and_be_refused() {
    let mut link = link(1, CLEAR, &[], &[(1000, Act::Reinvite("hold")), (3000, Act::HangUp)]);
    link.parties[0].refuse_offers = Some(488);
    link.run();
    let refused = SessionEvent::OfferRefused { status: 488 };
    assert_eq!(told(&link, 1), [refused, hung_up(), SessionEvent::Finished]);
    assert_eq!(told(&link, 0)[0], SessionEvent::Offer { sdp: text("hold") });
}

#[test]
fn a_late_offer_is_answered_in_the_ack() {
    let mut link = link(1, CLEAR, &[(1000, Act::Reinvite("")), (3000, Act::HangUp)], &[]);
    link.run();
    // Asked for an offer, the callee says "reanswer"; the caller answers it in the ACK with the same word.
    assert_eq!(told(&link, 0)[0], SessionEvent::Offer { sdp: text("reanswer") });
    assert_eq!(
        told(&link, 1)[..2],
        [SessionEvent::Offer { sdp: None }, SessionEvent::Acknowledged { sdp: text("reanswer") }]
    );
}

#[test]
fn a_late_offer_that_cannot_be_taken_ends_the_call() {
    let mut link = link(1, CLEAR, &[(1000, Act::Reinvite(""))], &[]);
    link.parties[0].refuse_offers = Some(488);
    link.run();
    let ends = |party: usize, side: Side| {
        count(&link, party, |event| matches!(event, SessionEvent::Ended { by, .. } if *by == side))
    };
    assert_eq!((ends(0, Side::Local), ends(1, Side::Remote)), (1, 1));
}

#[test]
fn offers_survive_a_bad_link() {
    for offer in [Act::Reinvite("hold"), Act::Reinvite(""), Act::Update("hold")] {
        let (mut done, mut lost) = (0, 0);
        for seed in 0..SEEDS {
            let acts = [(1000, offer), (2000, Act::Reinvite("resume")), (60_000, Act::HangUp)];
            let (caller, callee) = if seed % 2 == 0 { (&acts[..], &[][..]) } else { (&[][..], &acts[..]) };
            let mut link = link(seed, weather(seed), caller, callee);
            link.run();
            lost += link.lost;
            let us = (seed % 2) as usize;
            let ours = count(&link, us, |event| {
                matches!(event, SessionEvent::OfferAnswered { .. } | SessionEvent::Offer { .. })
            });
            let theirs = count(&link, 1 - us, |event| matches!(event, SessionEvent::Offer { .. }));
            assert!(ours <= 2 && theirs <= 2, "seed {seed}: an offer was told twice");
            done += usize::from(ours == 2 && theirs == 2);
            assert!(link.parties.iter().all(Party::finished), "seed {seed}");
        }
        assert!(lost > 500, "the link was too good to prove anything");
        assert!(done >= SEEDS as usize * 97 / 100, "{offer:?}: only {done} of {SEEDS}");
    }
}

#[test]
fn both_offer_at_once_and_both_come_through() {
    let table: [[Kind; 2]; 3] =
        [[Act::Reinvite, Act::Reinvite], [Act::Update, Act::Update], [Act::Reinvite, Act::Update]];
    for kinds in table {
        meet(kinds);
    }
}

/// How an offer is made.
type Kind = fn(&'static str) -> Act;

fn meet([one, two]: [Kind; 2]) {
    let (mut done, mut glare) = (0, 0);
    for seed in 0..SEEDS {
        let conditions = if seed < 100 { CLEAR } else { weather(seed) };
        let mut link =
            link(seed, conditions, &[(1005, one("one")), (60_000, Act::HangUp)], &[(1000, two("two"))]);
        link.run();
        let refused =
            |party| count(&link, party, |event| *event == SessionEvent::OfferRefused { status: 491 });
        let answered =
            |party| count(&link, party, |event| matches!(event, SessionEvent::OfferAnswered { .. }));
        glare += usize::from(refused(0) + refused(1) > 0);
        done += usize::from(answered(0) == 1 && answered(1) == 1);
        assert!(link.parties.iter().all(Party::finished), "seed {seed}");
    }
    assert!(glare > 80, "the race was met only {glare} times");
    assert!(done >= SEEDS as usize * 97 / 100, "only {done} of {SEEDS}");
}

#[test]
fn a_lost_peer_ends_the_call() {
    let mut link = link(1, CLEAR, &[(1000, Act::Reinvite("hold"))], &[]);
    link.run_until(ms(1500));
    link.parties[1].deaf = true;
    link.run_until(ms(90_000));
    let reason = "the other side did not answer a re-INVITE".to_owned();
    assert_eq!(told(&link, 0)[0], SessionEvent::Ended { by: Side::Local, reason: Some(reason) });
    assert!(link.parties[0].finished());
}

/// Rings with early media, and answers five seconds later.
fn early() -> Vec<(Duration, Act)> {
    vec![(ms(100), Act::Ring), (ms(500), Act::EarlyMedia), (ms(20_000), Act::Accept)]
}

#[test]
fn offers_before_the_answer_survive_a_bad_link() {
    let (mut done, mut lost) = (0, 0);
    for seed in 0..SEEDS {
        let conditions = if seed < 2 { CLEAR } else { weather(seed) };
        let update = vec![(ms(600), Act::Update("new"))];
        let (caller, callee) =
            if seed % 2 == 0 { (update, early()) } else { (vec![], [early(), update].concat()) };
        let on_answer = vec![(ms(2000), Act::HangUp)];
        let caller = Script { on_start: caller, on_answer, ..Script::default() };
        let callee = Script { on_incoming: callee, ..Script::default() };
        let parties = vec![
            Party::new("192.0.2.1:5060", seed, caller),
            Party::new("192.0.2.2:5070", seed + 1_000_000, callee),
        ];
        let mut link = Link::new(seed, conditions, parties);
        link.call(None);
        link.run();
        lost += link.lost;
        let us = (seed % 2) as usize;
        let offered = SessionEvent::Offer { sdp: text("new") };
        let answered = SessionEvent::OfferAnswered { sdp: text("reanswer") };
        let (told, taken) =
            (count(&link, 1 - us, |event| *event == offered), count(&link, us, |event| *event == answered));
        assert!(told <= 1 && taken <= 1, "seed {seed}");
        assert!(link.parties.iter().all(Party::finished), "seed {seed}");
        let early_media = count(&link, 0, |event| matches!(event, SessionEvent::EarlyMedia { .. }));
        let ended = count(&link, 1, |event| matches!(event, SessionEvent::Ended { by: Side::Remote, .. }));
        done += usize::from((told, taken, early_media, ended) == (1, 1, 1, 1));
        if seed < 2 {
            let sdp = if us == 0 { text("reanswer") } else { text("new") };
            assert_eq!(count(&link, 0, |event| *event == SessionEvent::Answered { sdp: sdp.clone() }), 1);
        }
    }
    assert!(lost > 500, "the link was too good to prove anything");
    assert!(done >= SEEDS as usize * 95 / 100, "only {done} of {SEEDS}");
}

#[test]
fn a_call_of_hours_is_refreshed_and_a_vanished_peer_is_noticed() {
    let hours = Duration::from_secs(3 * 3600);
    for (gone, seed) in [(0, 0), (1, 1), (0, 2), (1, 3)] {
        let conditions = if seed < 2 { CLEAR } else { weather(seed) };
        let mut link = link(seed, conditions, &[], &[]);
        link.run_until(hours);
        let ends =
            |link: &Link, party| count(link, party, |event| matches!(event, SessionEvent::Ended { .. }));
        assert_eq!((ends(&link, 0), ends(&link, 1)), (0, 0), "seed {seed}");
        link.parties[gone].deaf = true;
        link.run_until(hours + Duration::from_secs(1900));
        // Who refreshes hears no answer; who waits for a refresh hangs up in time.
        assert_eq!((ends(&link, 0), ends(&link, 1)), (1, 1), "seed {seed}: {gone}");
    }
}
