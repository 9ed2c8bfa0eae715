//! REFER both ways with its reports: blind transfers over good and bad links, refusals, timeouts, and what may not come.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    dead_code,
    reason = "tests begin at some time, read their data and may panic, and each uses a part of the pair"
)]

#[path = "support/pair.rs"]
mod pair;

use std::time::Duration;

use callahead::sip::message::{HeaderName, Method};
use callahead::sip::refer::ReferTo;
use callahead::sip::session::{Failure, Referral, SessionEvent, Side};
use pair::{CLEAR, Pair, STORM, Weather, uri};

const TARGET: &str = "sip:carol@203.0.113.7";
const DEAD: Weather = Weather(1.0, 0.0, (10, 10));

fn refer(pair: &mut Pair) {
    pair.act(0, |session, now| session.refer(now, &ReferTo::new(uri(TARGET)))).unwrap();
}

fn referrals(events: &[SessionEvent]) -> Vec<Referral> {
    let referral = |event: &SessionEvent| match event {
        SessionEvent::Referral(referral) => Some(referral.clone()),
        _ => None,
    };
    events.iter().filter_map(referral).collect()
}

/// End 1 accepts and reports these.
fn accepting(pair: &mut Pair, statuses: &'static [u16]) {
    pair.react(1, |session, now, event| {
        if let SessionEvent::Refer { target, replaces, referred_by } = event {
            assert_eq!((target.as_str(), replaces), (TARGET, &None));
            assert_eq!(referred_by.as_ref().unwrap().as_str(), "sip:ada@192.0.2.1:5060");
            session.accept_refer(now);
            statuses.iter().for_each(|status| session.report_refer(now, *status));
        }
    });
}

#[test]
fn a_blind_transfer_is_reported_step_by_step() {
    let mut pair = Pair::new(1, CLEAR);
    accepting(&mut pair, &[180, 200]);
    refer(&mut pair);
    assert!(
        pair.act(0, |session, now| session.refer(now, &ReferTo::new(uri(TARGET)))).is_err(),
        "one at a time"
    );
    pair.pass(Duration::from_secs(1));
    let expected = [
        Referral::Accepted { reported: true },
        Referral::Progress { status: 100 },
        Referral::Progress { status: 180 },
        Referral::Finished { status: Some(200) },
    ];
    assert_eq!(referrals(&pair.told(0)), expected);
    assert_eq!(pair.answers(1, &Method::Refer), [202]);
    let notifies = pair.requests(1, &Method::Notify);
    let states: Vec<_> =
        notifies.iter().map(|one| one.header(HeaderName::SubscriptionState).unwrap()).collect();
    assert_eq!(states, ["active;expires=180", "active;expires=180", "terminated;reason=noresource"]);
    assert_eq!(notifies[0].header(HeaderName::Event).unwrap(), "refer");
    assert_eq!(notifies[1].body(), b"SIP/2.0 180 Ringing\r\n");
    assert!(notifies[0].header(HeaderName::Contact).is_some());
    // A second transfer names its REFER in the reports.
    refer(&mut pair);
    pair.pass(Duration::from_secs(1));
    assert_eq!(referrals(&pair.told(0)), expected);
    let number = pair.requests(0, &Method::Refer)[1].cseq().unwrap().number;
    let last = pair.requests(1, &Method::Notify)[3];
    assert_eq!(last.header(HeaderName::Event).unwrap(), format!("refer;id={number}"));
}

/// Whatever is lost: accepted once, finished once with the right status, and then both hang up.
#[test]
fn over_a_bad_link_a_transfer_has_one_outcome() {
    for seed in 0..150 {
        let mut pair = Pair::new(seed, STORM);
        let fails = seed % 3 == 0;
        accepting(&mut pair, if fails { &[180, 486] } else { &[180, 200] });
        pair.react(0, |session, now, event| {
            if let SessionEvent::Referral(Referral::Finished { .. }) = event {
                session.hang_up(now, None);
            }
        });
        refer(&mut pair);
        pair.pass(Duration::from_secs(300));
        let told = pair.told(0);
        let all = referrals(&told);
        let accepted = Referral::Accepted { reported: true };
        assert_eq!(all.iter().filter(|one| **one == accepted).count(), 1, "seed {seed}: {all:?}");
        let status = Some(if fails { 486 } else { 200 });
        assert_eq!(all.last(), Some(&Referral::Finished { status }), "seed {seed}");
        let ended = |events: &[SessionEvent]| {
            events.iter().filter(|event| matches!(event, SessionEvent::Ended { .. })).count()
        };
        assert_eq!((ended(&told), told.last()), (1, Some(&SessionEvent::Finished)), "seed {seed}");
        let far = pair.told(1);
        assert_eq!((ended(&far), far.last()), (1, Some(&SessionEvent::Finished)), "seed {seed}");
    }
}

#[test]
fn a_declined_transfer_leaves_the_call() {
    let mut pair = Pair::new(1, CLEAR);
    pair.react(1, |session, now, event| {
        if matches!(event, SessionEvent::Refer { .. }) {
            session.decline_refer(now, 603);
        }
    });
    refer(&mut pair);
    pair.pass(Duration::from_secs(1));
    let told = referrals(&pair.told(0));
    assert!(matches!(told[..], [Referral::Refused(Failure::Status { code: 603, .. })]), "{told:?}");
    assert!(pair.requests(1, &Method::Notify).is_empty());
    pair.act(0, |session, now| session.hang_up(now, None));
    pair.pass(Duration::from_secs(1));
    assert!(matches!(pair.told(1).last(), Some(SessionEvent::Ended { by: Side::Remote, .. })));
}

#[test]
fn nobody_decides_and_it_is_declined() {
    let mut pair = Pair::new(1, CLEAR);
    refer(&mut pair);
    pair.pass(Duration::from_secs(15));
    assert!(pair.answers(1, &Method::Refer).is_empty());
    pair.pass(Duration::from_secs(2));
    assert!(pair.answers(1, &Method::Refer).iter().all(|status| *status == 603));
    assert_eq!(referrals(&pair.told(0)).len(), 1);
    // Also when the call ends meanwhile, and nobody waits for ever.
    let mut pair = Pair::new(2, CLEAR);
    refer(&mut pair);
    pair.pass(Duration::from_millis(50));
    pair.act(1, |session, now| session.hang_up(now, None));
    pair.pass(Duration::from_secs(60));
    assert!(pair.answers(1, &Method::Refer).contains(&603));
    assert_eq!(pair.told(1).last(), Some(&SessionEvent::Finished));
    assert_eq!(pair.told(0).last(), Some(&SessionEvent::Finished));
}

#[test]
fn reports_that_never_come_end_too() {
    let mut pair = Pair::new(1, CLEAR);
    accepting(&mut pair, &[]);
    refer(&mut pair);
    pair.pass(Duration::from_secs(170));
    assert_eq!(referrals(&pair.told(0)).len(), 2, "accepted, 100");
    pair.pass(Duration::from_secs(20));
    assert_eq!(referrals(&pair.told(0)), [Referral::Finished { status: None }]);
    // The other end's subscription is over as well.
    pair.act(1, |session, now| session.report_refer(now, 200));
    assert_eq!(pair.requests(1, &Method::Notify).len(), 1);
}

#[test]
fn a_lost_transferee_is_told() {
    let mut pair = Pair::new(1, DEAD);
    refer(&mut pair);
    pair.pass(Duration::from_secs(33));
    assert_eq!(referrals(&pair.told(0)), [Referral::Refused(Failure::Timeout)]);
}

#[test]
fn reports_that_are_refused_stop() {
    let mut pair = Pair::new(1, CLEAR);
    let to = "Refer-To: <sip:carol@203.0.113.7>\r\n";
    pair.inject(1, "REFER", 100, to, "");
    // End 0 never sent this REFER: it answers the report with 481.
    pair.act(1, |session, now| session.accept_refer(now));
    pair.pass(Duration::from_secs(1));
    assert_eq!(pair.answers(0, &Method::Notify), [481]);
    pair.act(1, |session, now| session.report_refer(now, 200));
    pair.pass(Duration::from_secs(1));
    assert_eq!(pair.requests(1, &Method::Notify).len(), 1);
    assert!(
        !pair.told(1).iter().any(|event| matches!(event, SessionEvent::Ended { .. })),
        "the call goes on"
    );
}

#[test]
fn who_wants_no_reports_gets_none() {
    let mut pair = Pair::new(1, CLEAR);
    pair.inject(
        1,
        "REFER",
        100,
        "Refer-To: <sip:carol@203.0.113.7>\r\nRefer-Sub: false\r\nRequire: norefersub\r\n",
        "",
    );
    pair.act(1, |session, now| session.accept_refer(now));
    assert_eq!(pair.last(1).status(), Some(202));
    assert_eq!(pair.last(1).header(HeaderName::ReferSub).unwrap(), "false");
    pair.act(1, |session, now| session.report_refer(now, 200));
    pair.pass(Duration::from_secs(1));
    assert!(pair.requests(1, &Method::Notify).is_empty());
}

#[test]
fn refers_that_cannot_be_taken_get_the_status_of_the_rfc() {
    let mut pair = Pair::new(1, CLEAR);
    let table = [
        ("", 400),
        ("Refer-To: <sip:a@b>, <sip:c@d>\r\n", 400),
        ("Refer-To: <sip:a@b?Replaces=nonsense>\r\n", 400),
        ("Refer-To: <https://example.com>\r\n", 416),
        ("Refer-To: <sip:a@b;method=SUBSCRIBE>\r\n", 603),
        ("Refer-To: <sip:a@b>\r\nRequire: pizza\r\n", 420),
    ];
    let mut number = 100;
    for (fields, status) in table {
        number += 1;
        pair.inject(1, "REFER", number, fields, "");
        assert_eq!(pair.last(1).status(), Some(status), "{fields}");
    }
    assert!(pair.told(1).is_empty());
    // One at a time, and its retransmission is the same one.
    pair.inject(1, "REFER", 200, "Refer-To: <sip:a@b>\r\n", "");
    pair.inject(1, "REFER", 200, "Refer-To: <sip:a@b>\r\n", "");
    assert_eq!(pair.told(1).len(), 1);
    pair.inject(1, "REFER", 201, "Refer-To: <sip:a@b>\r\n", "");
    assert_eq!(pair.last(1).status(), Some(491));
    pair.act(1, |session, now| session.decline_refer(now, 603));
    pair.inject(1, "REFER", 200, "Refer-To: <sip:a@b>\r\n", "");
    assert_eq!(pair.last(1).status(), Some(603));
}

#[test]
fn reports_that_cannot_be_taken_get_the_status_of_the_rfc() {
    let mut pair = Pair::new(1, CLEAR);
    let fragment = "Content-Type: message/sipfrag;version=2.0\r\n";
    let active = "Event: refer\r\nSubscription-State: active;expires=60\r\n";
    pair.inject(0, "NOTIFY", 100, &format!("{active}{fragment}"), "SIP/2.0 100 Trying");
    assert_eq!(pair.last(0).status(), Some(481), "nobody was referred");
    accepting(&mut pair, &[]);
    refer(&mut pair);
    pair.pass(Duration::from_millis(100));
    let ours = pair.requests(0, &Method::Refer)[0].cseq().unwrap().number;
    pair.told(0);
    let table = [
        ("Event: presence\r\n".to_owned(), 489),
        (String::new(), 489),
        (format!("Event: refer;id={}\r\n", ours + 7), 481),
        (format!("{active}Content-Type: text/plain\r\n"), 415),
        (format!("{active}{fragment}"), 400),
    ];
    let mut number = 200;
    for (fields, status) in table {
        number += 1;
        pair.inject(0, "NOTIFY", number, &fields, "what?");
        assert_eq!(pair.last(0).status(), Some(status), "{fields}");
    }
    assert!(pair.told(0).is_empty());
    let named = format!("Event: refer;id={ours}\r\nSubscription-State: terminated;reason=giveup\r\n");
    pair.inject(0, "NOTIFY", 300, &named, "");
    assert_eq!(pair.last(0).status(), Some(200));
    assert_eq!(referrals(&pair.told(0)), [Referral::Finished { status: None }]);
}
