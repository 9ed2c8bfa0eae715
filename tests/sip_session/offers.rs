//! Offers after the first, and the session timer, against messages written by hand.

use super::*;

fn challenge(bytes: &[u8]) -> Vec<u8> {
    with(bytes, "WWW-Authenticate: Digest realm=\"x\", nonce=\"y\", qop=\"auth\"")
}

/// An outgoing call that stands; the callee's tag is `remote`.
fn called(extra: &str) -> Bench {
    let mut bench = Bench::caller();
    let answer = bench.reply(&Method::Invite, 200, "remote", "answer");
    bench.receive(&with(&answer, extra));
    bench.taken();
    bench.told();
    bench
}

/// A request of the callee of [`called`].
fn from_callee(bench: &Bench, method: &str, number: u32, body: &str) -> Vec<u8> {
    let bytes = request(method, &number.to_string(), &bench.tag, &format!("z9hG4bK{method}{number}"), body);
    let text = String::from_utf8(bytes).unwrap();
    text.replace("Call-ID: incoming", &format!("Call-ID: {}", bench.session.call_id())).into_bytes()
}

fn field(message: &Message, name: &str) -> String {
    message.header_named(name).map(|value| value.into_owned()).unwrap_or_default()
}

const UPDATES: &str = "Allow: INVITE, ACK, BYE, CANCEL, UPDATE";

#[test]
fn a_challenged_reinvite_is_sent_again() {
    let mut bench = called(UPDATES);
    bench.act(|session, now| session.reinvite(now, Some(b"hold")).unwrap());
    assert!(bench.session.reinvite(bench.now, Some(b"again")).is_err());
    let challenged = challenge(&bench.reply(&Method::Invite, 401, "remote", ""));
    bench.receive(&challenged);
    assert_eq!(bench.sent.last().unwrap().sdp(), Some(&b"hold"[..]));
    let answer = bench.reply(&Method::Invite, 200, "remote", "held");
    assert_eq!(bench.taken(), ["INVITE remote", "ACK remote", "INVITE remote"]);
    bench.receive(&answer);
    assert!(bench.sent[0].header(HeaderName::Authorization).is_some());
    // The answer comes again, long after everything: so does the ACK.
    bench.pass(Duration::from_secs(40));
    bench.receive(&answer);
    assert_eq!(bench.taken(), ["ACK remote", "ACK remote"]);
    assert_eq!(bench.told(), [SessionEvent::OfferAnswered { sdp: Some(b"held".to_vec()) }]);
    // Refused once more, the call goes on.
    bench.act(|session, now| session.reinvite(now, Some(b"more")).unwrap());
    let refused = bench.reply(&Method::Invite, 401, "remote", "");
    bench.receive(&refused);
    assert_eq!(bench.told(), [SessionEvent::OfferRefused { status: 401 }]);
    assert!(bench.session.can_offer());
}

#[test]
fn a_large_reinvite_goes_by_tcp_and_back_to_udp_where_nobody_listens() {
    let mut bench = called(UPDATES);
    let large = vec![b'x'; 1300];
    bench.act(|session, now| session.reinvite(now, Some(&large)).unwrap());
    let via = |message: &Message| field(message, "Via").split(' ').next().unwrap().to_owned();
    assert_eq!(via(&bench.sent[0]), "SIP/2.0/TCP");
    let tcp = Hop::tcp(peer().address);
    bench.act(|session, now| session.handle_unreachable(now, tcp));
    assert_eq!(via(&bench.sent[1]), "SIP/2.0/UDP");
    assert!(bench.told().is_empty());
    bench.act(|session, now| session.handle_unreachable(now, peer()));
    assert_eq!(bench.told(), [SessionEvent::OfferRefused { status: 503 }]);
    assert!(bench.session.can_offer());
}

#[test]
fn refusals_that_mean_the_call_is_gone_end_it() {
    for status in [408, 481] {
        for update in [false, true] {
            let mut bench = called(UPDATES);
            let method = if update { Method::Update } else { Method::Invite };
            bench.act(|session, now| match update {
                true => session.update(now, b"hold").unwrap(),
                false => session.reinvite(now, Some(b"hold")).unwrap(),
            });
            let gone = bench.reply(&method, status, "remote", "");
            bench.taken();
            bench.receive(&gone);
            assert_eq!(bench.taken().last().unwrap(), "BYE remote", "{status} {method}");
            assert!(matches!(bench.told()[..], [SessionEvent::Ended { by: Side::Local, reason: Some(_) }]));
        }
    }
}

#[test]
fn after_glare_the_owner_of_the_call_id_waits_longer() {
    let mut bench = called(UPDATES);
    bench.act(|session, now| session.reinvite(now, Some(b"hold")).unwrap());
    // Theirs meets ours and is refused, and ours theirs.
    let theirs = from_callee(&bench, "INVITE", 1, "x");
    let glare = bench.reply(&Method::Invite, 491, "remote", "");
    bench.taken();
    bench.receive(&theirs);
    assert_eq!(bench.taken(), ["491"]);
    bench.receive(&glare);
    assert_eq!(bench.told(), [SessionEvent::OfferRefused { status: 491 }]);
    bench.pass(Duration::from_millis(2090));
    assert!(!bench.session.can_offer());
    bench.pass(Duration::from_millis(1920));
    assert!(bench.session.can_offer());
}

#[test]
fn an_update_is_answered_and_without_an_offer_moves_the_target() {
    let (mut bench, tag) = standing();
    let update = |number: u32, body: &str| {
        request("UPDATE", &number.to_string(), &tag, &format!("z9hG4bKupdate{number}"), body)
    };
    bench.receive(&update(2, "hold"));
    bench.receive(&update(2, "hold"));
    assert_eq!(bench.told(), [SessionEvent::Offer { sdp: Some(b"hold".to_vec()) }]);
    // Another offer meanwhile: 500 with a time to wait (RFC 3311 §5.2).
    bench.receive(&update(3, "more"));
    let wait: u32 = field(&bench.sent[0], "Retry-After").parse().unwrap();
    assert!(wait <= 10);
    assert_eq!(bench.taken(), ["500"]);
    bench.act(|session, now| session.answer_offer(now, b"held"));
    bench.receive(&update(2, "hold"));
    assert_eq!(bench.sent.iter().filter(|message| message.sdp() == Some(b"held")).count(), 2);
    assert_eq!(bench.taken(), ["200", "200"]);
    bench.receive(&update(4, "bad"));
    bench.act(|session, now| session.reject_offer(now, 488));
    let text = String::from_utf8(update(5, "")).unwrap();
    bench.receive(text.replace("<sip:ada@198.51.100.1>", "<sip:moved@198.51.100.1>").as_bytes());
    bench.act(|session, now| session.hang_up(now, None));
    assert_eq!(bench.sent.last().unwrap().uri().unwrap().as_str(), "sip:moved@198.51.100.1");
    assert_eq!(bench.taken(), ["488", "200", "BYE remote"]);
}

#[test]
fn hanging_up_answers_what_still_asks() {
    let (mut bench, tag) = standing();
    bench.receive(&request("UPDATE", "2", &tag, "z9hG4bKupdate", "hold"));
    bench.act(|session, now| session.hang_up(now, None));
    bench.act(|session, now| session.answer_offer(now, b"too late"));
    assert_eq!(bench.taken(), ["487", "BYE remote"]);
    // Our own re-INVITE is under way when we hang up: its late answer still gets an ACK.
    let mut bench = called(UPDATES);
    bench.act(|session, now| session.reinvite(now, None).unwrap());
    bench.act(|session, now| session.hang_up(now, None));
    let answer = bench.reply(&Method::Invite, 200, "remote", "v=0\r\nm=audio 5 RTP/AVP 0\r\n");
    bench.taken();
    bench.receive(&answer);
    let refusal = String::from_utf8(bench.sent[0].sdp().unwrap().to_vec()).unwrap();
    assert!(refusal.contains("m=audio 0 RTP/AVP 0\r\n"), "{refusal}");
    assert_eq!(bench.taken(), ["ACK remote"]);
    bench.pass(Duration::from_secs(33));
    assert!(bench.told().contains(&SessionEvent::Finished));
}

#[test]
fn updates_meet() {
    let mut bench = called(UPDATES);
    bench.act(|session, now| session.update(now, b"hold").unwrap());
    bench.receive(&from_callee(&bench, "UPDATE", 1, "x"));
    assert_eq!(bench.taken(), ["UPDATE remote", "491"]);
    // Who never said that it knows UPDATE gets none.
    let mut bench = called("Subject: none");
    assert!(!bench.session.can_update() && bench.session.can_offer());
    assert!(bench.session.update(bench.now, b"hold").is_err());
}

#[test]
fn an_update_before_the_answer_changes_the_description() {
    let mut bench = Bench::caller();
    let (ringing, answer) = (
        with(
            &bench.reply(&Method::Invite, 183, "remote", "early"),
            &format!("Require: 100rel\r\nRSeq: 9\r\n{UPDATES}"),
        ),
        bench.reply(&Method::Invite, 200, "remote", "early"),
    );
    assert!(!bench.session.can_update());
    bench.receive(&ringing);
    // The PRACK first: an UPDATE that overtakes it would make it too old.
    assert!(!bench.session.can_update());
    let acknowledged = bench.reply(&Method::Prack, 200, "remote", "");
    bench.receive(&acknowledged);
    bench.act(|session, now| session.update(now, b"ours").unwrap());
    let updated = bench.reply(&Method::Update, 200, "remote", "theirs");
    bench.receive(&updated);
    let update = from_callee(&bench, "UPDATE", 1, "newest");
    bench.receive(&update);
    bench.act(|session, now| session.answer_offer(now, b"fine"));
    assert_eq!(bench.taken(), ["INVITE", "PRACK remote", "UPDATE remote", "200"]);
    bench.receive(&answer);
    assert_eq!(
        bench.told()[2..],
        [
            SessionEvent::OfferAnswered { sdp: Some(b"theirs".to_vec()) },
            SessionEvent::Offer { sdp: Some(b"newest".to_vec()) },
            SessionEvent::Answered { sdp: Some(b"newest".to_vec()) },
        ]
    );
}

#[test]
fn too_small_an_interval_is_asked_for_again_once() {
    let mut bench = Bench::caller();
    assert_eq!(field(&bench.sent[0], "Session-Expires"), "1800;refresher=uac");
    assert_eq!(field(&bench.sent[0], "Min-SE"), "90");
    let small = with(&bench.reply(&Method::Invite, 422, "a", ""), "Min-SE: 3600");
    bench.receive(&small);
    let again = bench.sent.last().unwrap();
    assert_eq!(
        (field(again, "Session-Expires"), field(again, "Min-SE")),
        ("3600;refresher=uac".into(), "3600".into())
    );
    let small = with(&bench.reply(&Method::Invite, 422, "a", ""), "Min-SE: 3600");
    bench.receive(&small);
    assert!(matches!(bench.told()[..], [SessionEvent::Failed(Failure::Status { code: 422, .. })]));
}

#[test]
fn as_caller_we_refresh_at_half_the_interval() {
    for (allow, method) in [(UPDATES, Method::Update), ("Subject: none", Method::Invite)] {
        let mut bench = called(&format!("Session-Expires: 600;refresher=uac\r\n{allow}"));
        bench.pass(Duration::from_secs(299));
        assert!(bench.taken().is_empty());
        bench.pass(Duration::from_secs(1));
        let refresh = bench.sent.last().unwrap();
        assert_eq!(refresh.method(), Some(&method));
        assert_eq!(field(refresh, "Session-Expires"), "600;refresher=uac");
        assert_eq!(refresh.sdp(), (method == Method::Invite).then_some(&b"offer"[..]));
        let done = with(&bench.reply(&method, 200, "remote", ""), "Session-Expires: 600;refresher=uac");
        bench.receive(&done);
        bench.taken();
        bench.pass(Duration::from_secs(299));
        assert!(bench.taken().is_empty(), "{method}");
        bench.pass(Duration::from_secs(1));
        let gone = bench.reply(&method, 481, "remote", "");
        bench.told();
        bench.receive(&gone);
        assert_eq!(bench.taken().last().unwrap(), "BYE remote", "{method}");
        assert!(matches!(bench.told()[..], [SessionEvent::Ended { by: Side::Local, .. }]));
    }
}

#[test]
fn a_refused_refresh_is_tried_again_until_the_session_expires() {
    let mut bench = called(&format!("Session-Expires: 600;refresher=uac\r\n{UPDATES}"));
    bench.pass(Duration::from_secs(300));
    let refused = bench.reply(&Method::Update, 405, "remote", "");
    bench.receive(&refused);
    bench.taken();
    // Without UPDATE then; 568 s after the answer it is over.
    let mut refused = 0;
    for _ in 300..567 {
        bench.pass(Duration::from_secs(1));
        if bench.sent.iter().any(|message| message.method() == Some(&Method::Invite)) {
            let refusal = bench.reply(&Method::Invite, 503, "remote", "");
            bench.receive(&refusal);
            refused += 1;
        }
        assert!(!bench.taken().contains(&"BYE remote".to_owned()));
    }
    assert!(refused >= 3 && bench.told().is_empty(), "{refused}");
    bench.pass(Duration::from_secs(1));
    assert!(matches!(bench.told()[..], [SessionEvent::Ended { by: Side::Local, .. }]));
    assert_eq!(bench.taken(), ["BYE remote"]);
}

#[test]
fn no_answer_about_timers_means_none() {
    let mut bench = called(UPDATES);
    bench.pass(Duration::from_secs(7200));
    assert!(bench.taken().is_empty() && bench.session.poll_timeout().is_none());
}

/// An incoming call that stands, with what our 200 said.
fn calling(extra: &str) -> (Bench, String, Message) {
    let mut bench = Bench::callee_of(&with(&request("INVITE", "1", "", "z9hG4bKinvite", "offer"), extra));
    bench.act(|session, now| session.accept(now, b"answer"));
    let (tag, answer) = (bench.local_tag(), bench.sent.last().unwrap().clone());
    bench.receive(&request("ACK", "1", &tag, "z9hG4bKack", ""));
    bench.taken();
    bench.told();
    (bench, tag, answer)
}

#[test]
fn who_does_not_refresh_is_hung_up_before_the_session_expires() {
    let (mut bench, tag, answer) =
        calling("Session-Expires: 90;refresher=uac\r\nSupported: timer\r\nMin-SE: 90");
    assert_eq!(field(&answer, "Session-Expires"), "90;refresher=uac");
    assert_eq!(answer.list(HeaderName::Require), ["timer"]);
    bench.pass(Duration::from_secs(50));
    let refresh = request("UPDATE", "2", &tag, "z9hG4bKrefresh", "");
    bench.receive(&with(&refresh, "Session-Expires: 90;refresher=uac\r\nSupported: timer"));
    assert_eq!(field(&bench.sent[0], "Session-Expires"), "90;refresher=uac");
    assert_eq!(bench.taken(), ["200"]);
    bench.pass(Duration::from_secs(59));
    assert!(bench.taken().is_empty());
    bench.pass(Duration::from_secs(1));
    assert!(field(&bench.sent[0], "Reason").starts_with("SIP;cause=408"));
    assert_eq!(bench.taken(), ["BYE remote"]);
}

#[test]
fn as_callee_we_refresh_when_the_caller_cannot() {
    let table = [
        ("Session-Expires: 100", "100;refresher=uas", 0),
        ("Session-Expires: 100;refresher=uas\r\nSupported: timer", "100;refresher=uas", 0),
        ("Session-Expires: 100\r\nSupported: timer", "100;refresher=uac", 1),
        ("x: 100;refresher=UAC\r\nk: timer", "100;refresher=uac", 1),
        ("Supported: timer", "", 0),
    ];
    for (extra, expected, required) in table {
        let (mut bench, _, answer) = calling(extra);
        assert_eq!(field(&answer, "Session-Expires"), expected, "{extra}");
        assert_eq!(answer.list(HeaderName::Require).len(), required, "{extra}");
        bench.pass(Duration::from_secs(50));
        let refreshes = bench.taken();
        assert_eq!(refreshes.contains(&"INVITE remote".to_owned()), expected.ends_with("uas"), "{extra}");
    }
}

#[test]
fn too_small_an_interval_of_theirs_is_refused() {
    let brief = "Session-Expires: 60\r\nSupported: timer";
    let mut endpoint = endpoint(Accept::All);
    let invite = with(&request("INVITE", "1", "", "z9hG4bKinvite", "offer"), brief);
    let Received::Reply(reply) = arrive(&mut endpoint, Instant::now(), &invite) else { panic!() };
    let refusal = Message::parse(&reply.bytes).unwrap();
    assert_eq!((refusal.status(), field(&refusal, "Min-SE")), (Some(422), "90".into()));
    let (mut bench, tag) = standing();
    for method in ["UPDATE", "INVITE"] {
        let number = if method == "UPDATE" { "2" } else { "3" };
        bench.receive(&with(&request(method, number, &tag, &format!("z9hG4bK{method}"), ""), brief));
        assert_eq!(field(&bench.sent[0], "Min-SE"), "90");
        assert_eq!(bench.taken(), ["422"]);
    }
}
