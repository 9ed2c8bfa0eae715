//! Reliable provisional responses (RFC 3262), with the offers and answers in them.

use super::*;

fn prack(number: u32, tag: &str, rack: &str, body: &str) -> Vec<u8> {
    let branch = format!("z9hG4bKprack{number}");
    with(&request("PRACK", &number.to_string(), tag, &branch, body), &format!("RAck: {rack}"))
}

/// What an outgoing call gets: a reliable response with this RSeq.
fn reliable(bench: &Bench, status: u16, rseq: u32, body: &str) -> Vec<u8> {
    let bytes = bench.reply(&Method::Invite, status, "a", body);
    with(&bytes, &format!("Require: 100rel\r\nRSeq: {rseq}"))
}

fn rack(message: &Message) -> String {
    message.header_named("RAck").unwrap().into_owned()
}

#[test]
fn the_caller_acknowledges_in_order_and_once() {
    let mut bench = Bench::caller();
    assert_eq!(bench.sent[0].list(HeaderName::Supported)[0], "100rel");
    let table = [
        (183, 500, "early", Some("500 1 INVITE")),
        (183, 500, "early", None),
        (180, 502, "", None),
        (180, 501, "", Some("501 1 INVITE")),
        (180, 502, "", Some("502 1 INVITE")),
        (183, 500, "early", None),
    ];
    let responses: Vec<_> =
        table.iter().map(|(status, rseq, body, _)| reliable(&bench, *status, *rseq, body)).collect();
    let answer = bench.reply(&Method::Invite, 200, "a", "");
    bench.taken();
    for (response, (_, rseq, _, expected)) in responses.iter().zip(table) {
        bench.receive(response);
        let sent: Vec<_> = bench.sent.drain(..).map(|message| rack(&message)).collect();
        assert_eq!(sent.first().map(String::as_str), expected, "RSeq {rseq}");
    }
    bench.receive(&answer);
    bench.act(|session, now| session.hang_up(now, None));
    let events = [
        SessionEvent::Ringing { status: 183 },
        SessionEvent::EarlyMedia { sdp: b"early".to_vec() },
        SessionEvent::Ringing { status: 180 },
        SessionEvent::Ringing { status: 180 },
        SessionEvent::Answered { sdp: Some(b"early".to_vec()) },
        SessionEvent::Ended { by: Side::Local, reason: None },
    ];
    assert_eq!(bench.told(), events);
    // The three PRACKs counted on in the dialog.
    assert_eq!(bench.sent.last().unwrap().cseq().unwrap().number, 5);
}

#[test]
fn a_challenged_prack_is_sent_again() {
    let mut bench = Bench::caller();
    let ringing = reliable(&bench, 180, 7, "");
    bench.receive(&ringing);
    let challenged = bench.reply(&Method::Prack, 401, "a", "");
    bench.taken();
    bench.receive(&with(&challenged, "WWW-Authenticate: Digest realm=\"x\", nonce=\"y\", qop=\"auth\""));
    assert_eq!(rack(&bench.sent[0]), "7 1 INVITE");
    assert!(bench.sent[0].header(HeaderName::Authorization).is_some());
}

fn callee(extra: &str, body: &str) -> Bench {
    Bench::callee_of(&with(&request("INVITE", "1", "", "z9hG4bKinvite", body), extra))
}

/// Rings with early media and returns our tag and the RAck that it wants.
fn early(bench: &mut Bench, status: u16, sdp: Option<&[u8]>) -> (String, String) {
    bench.act(|session, now| session.ring(now, status, sdp));
    let sent = bench.sent.last().unwrap();
    assert_eq!(sent.list(HeaderName::Require), ["100rel"]);
    (sent.to_tag().unwrap(), format!("{} 1 INVITE", sent.header_named("RSeq").unwrap()))
}

#[test]
fn the_callee_repeats_until_the_prack_and_answers_after_it() {
    let mut bench = callee("Supported: 100rel", "offer");
    let (tag, rack) = early(&mut bench, 183, Some(b"early"));
    // Said again without SDP, for that would be another offer; then the repeats at 0.5, 1.5 and 3.5 s.
    bench.act(|session, now| session.ring(now, 183, Some(b"early")));
    assert_eq!(bench.sent.last().unwrap().sdp(), None);
    bench.act(|session, now| session.accept(now, b"answer"));
    bench.pass(Duration::from_millis(3600));
    assert_eq!(bench.taken(), ["100", "183", "183", "183", "183", "183"]);
    for wrong in ["1 1 INVITE", "x", "", &rack.replace(" 1 ", " 2 "), &rack.replace("INVITE", "BYE")] {
        let number = 10 + u32::try_from(wrong.len()).unwrap();
        bench.receive(&prack(number, &tag, wrong, ""));
        assert_eq!(bench.taken(), ["481"], "{wrong}");
    }
    bench.receive(&prack(30, &tag, &rack, ""));
    assert_eq!(bench.sent.last().unwrap().sdp(), None, "the answer was in the 183");
    assert_eq!(bench.taken(), ["200", "200"]);
    bench.receive(&request("ACK", "1", &tag, "z9hG4bKack", ""));
    assert_eq!(bench.told(), [SessionEvent::Acknowledged { sdp: None }]);
}

#[test]
fn the_next_waits_for_the_prack_of_the_one_before() {
    let mut bench = callee("Require: 100rel", "offer");
    let (tag, first) = early(&mut bench, 180, None);
    bench.act(|session, now| session.ring(now, 183, Some(b"early")));
    assert_eq!(bench.taken(), ["100", "180"]);
    bench.receive(&prack(2, &tag, &first, ""));
    let last = bench.sent.last().unwrap();
    let second: u32 = last.header_named("RSeq").unwrap().parse().unwrap();
    assert_eq!(last.sdp(), Some(&b"early"[..]));
    assert_eq!(bench.taken(), ["200", "183"]);
    assert_eq!(first, format!("{} 1 INVITE", second - 1));
}

#[test]
fn without_a_prack_the_call_is_refused_with_504() {
    let mut bench = callee("Require: 100rel", "offer");
    early(&mut bench, 180, None);
    bench.pass(Duration::from_millis(31_900));
    assert_eq!(bench.taken(), ["100", "180", "180", "180", "180", "180", "180", "180"]);
    bench.pass(Duration::from_millis(200));
    assert_eq!(bench.taken(), ["504"]);
    assert_eq!(bench.told(), [SessionEvent::Failed(Failure::PrackMissing)]);
}

#[test]
fn an_offer_of_ours_is_answered_in_the_prack() {
    let mut bench = callee("Supported: 100rel", "");
    let (tag, rack) = early(&mut bench, 183, Some(b"our offer"));
    bench.act(|session, now| session.accept(now, b"ignored"));
    bench.taken();
    bench.receive(&prack(2, &tag, &rack, "their answer"));
    assert_eq!(bench.told(), [SessionEvent::OfferAnswered { sdp: Some(b"their answer".to_vec()) }]);
    assert!(bench.sent.iter().all(|message| message.sdp().is_none()));
    assert_eq!(bench.taken(), ["200", "200"]);
    bench.receive(&request("ACK", "1", &tag, "z9hG4bKack", ""));
    assert_eq!(bench.told(), [SessionEvent::Acknowledged { sdp: None }]);
    assert!(bench.session.can_offer());
}

#[test]
fn an_offer_in_a_prack_is_answered_in_its_200() {
    let mut bench = callee("Supported: 100rel", "offer");
    let (tag, rack) = early(&mut bench, 183, Some(b"early"));
    bench.act(|session, now| session.accept(now, b"answer"));
    bench.taken();
    let prack = prack(2, &tag, &rack, "second offer");
    bench.receive(&prack);
    bench.receive(&prack);
    assert!(bench.taken().is_empty());
    assert_eq!(bench.told(), [SessionEvent::Offer { sdp: Some(b"second offer".to_vec()) }]);
    bench.act(|session, now| session.answer_offer(now, b"second answer"));
    assert_eq!(bench.sent[0].sdp(), Some(&b"second answer"[..]));
    assert_eq!(bench.taken(), ["200", "200"]);
}

#[test]
fn a_prack_that_comes_after_the_answer_is_answered() {
    let mut bench = callee("Require: 100rel", "offer");
    let (tag, rack) = early(&mut bench, 180, None);
    bench.act(|session, now| session.accept(now, b"answer"));
    assert_eq!(bench.taken(), ["100", "180", "200"]);
    bench.receive(&prack(2, &tag, &rack, ""));
    bench.receive(&prack(2, &tag, &rack, ""));
    bench.receive(&prack(3, &tag, &rack, ""));
    assert_eq!(bench.taken(), ["200", "200", "481"]);
}

#[test]
fn it_is_said_each_minute_that_it_still_rings() {
    for (extra, said) in [("Subject: none", 3), ("Supported: 100rel", 3), ("Require: 100rel", 1)] {
        let mut bench = callee(extra, "offer");
        bench.act(|session, now| session.ring(now, 180, None));
        let sent = bench.sent.last().unwrap();
        if let Some(rseq) = sent.header_named("RSeq") {
            let (tag, rack) = (sent.to_tag().unwrap(), format!("{rseq} 1 INVITE"));
            bench.receive(&prack(2, &tag, &rack, ""));
        }
        bench.taken();
        bench.pass(Duration::from_secs(59));
        assert!(bench.taken().is_empty(), "{extra}");
        bench.pass(Duration::from_secs(if said == 1 { 1 } else { 122 }));
        assert_eq!(bench.taken(), vec!["180"; said], "{extra}");
        bench.act(|session, now| session.reject(now, 480, &[]));
        bench.taken();
        bench.pass(Duration::from_secs(100));
        assert!(!bench.taken().contains(&"180".to_owned()), "{extra}");
    }
}
