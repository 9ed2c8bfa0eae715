//! One session against messages written by hand: what a well-behaved peer never sends, and what comes at the wrong time.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests begin at some time, read their data and may panic"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use callahead::pii::Secret;
use callahead::sip::Hop;
use callahead::sip::auth::Credentials;
use callahead::sip::endpoint::{Accept, DropReason, Endpoint, EndpointConfig, Received};
use callahead::sip::message::{Address, HeaderName, Message, Method, Uri};
use callahead::sip::session::{Failure, OutgoingInvite, Session, SessionEvent, SessionOutput, Side};
use callahead::sip::transaction::Timing;

#[path = "sip_session/offers.rs"]
mod offers;
#[path = "sip_session/reliable.rs"]
mod reliable;

struct Bench {
    now: Instant,
    endpoint: Endpoint,
    session: Session,
    sent: Vec<Message>,
    events: Vec<SessionEvent>,
    /// Our tag in outgoing calls.
    tag: String,
}

fn ours() -> SocketAddr {
    "192.0.2.1:5060".parse().unwrap()
}

fn peer() -> Hop {
    Hop::udp("198.51.100.1:5060".parse().unwrap())
}

fn uri(text: &str) -> Uri {
    Uri::parse(text).unwrap()
}

fn endpoint(accept: Accept) -> Endpoint {
    let user_agent = "bench/1".to_owned();
    Endpoint::new(EndpointConfig { user_agent, accept, incoming: true, registrar: false, max_sessions: 1 }, 5)
}

impl Bench {
    fn caller() -> Self {
        let now = Instant::now();
        let mut endpoint = endpoint(Accept::All);
        let invite = OutgoingInvite {
            target: uri("sip:bob@example.com"),
            from: Address::new(uri("sip:ada@example.com")),
            to: Address::new(uri("sip:bob@example.com")),
            contact: uri("sip:ada@192.0.2.1"),
            hops: vec![peer()],
            local: ours(),
            credentials: Some(Credentials { username: "ada".into(), password: Secret::new("secret") }),
            sdp_offer: b"offer".to_vec(),
            extra_headers: Vec::new(),
            timing: Timing::default(),
        };
        let session = Session::invite(now, endpoint.connect(), invite);
        let mut bench =
            Self { now, endpoint, session, sent: Vec::new(), events: Vec::new(), tag: String::new() }
                .drained();
        bench.tag = bench.sent[0].from_tag().unwrap();
        bench
    }

    fn callee(body: &str) -> Self {
        Self::callee_of(&request("INVITE", "1", "", "z9hG4bKinvite", body))
    }

    fn callee_of(bytes: &[u8]) -> Self {
        let now = Instant::now();
        let mut endpoint = endpoint(Accept::All);
        let Received::Incoming(call) = arrive(&mut endpoint, now, bytes) else { panic!() };
        let session = Session::incoming(now, *call, uri("sip:bob@192.0.2.1"), Timing::default());
        let tag = String::new();
        Self { now, endpoint, session, sent: Vec::new(), events: Vec::new(), tag }.drained()
    }

    fn drained(mut self) -> Self {
        self.drain();
        self
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                SessionOutput::Transmit(transmit) => self.sent.push(Message::parse(&transmit.bytes).unwrap()),
                SessionOutput::Event(event) => self.events.push(event),
            }
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        match arrive(&mut self.endpoint, self.now, bytes) {
            Received::Session(id, message) => {
                assert_eq!(id, self.session.id());
                self.session.handle_message(self.now, peer(), *message);
            }
            other => panic!("{other:?}"),
        }
        self.drain();
    }

    fn act(&mut self, act: impl FnOnce(&mut Session, Instant)) {
        act(&mut self.session, self.now);
        self.drain();
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.session.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.session.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// A response to the last message of ours with that method.
    fn reply(&self, method: &Method, status: u16, tag: &str, body: &str) -> Vec<u8> {
        let request = self.sent.iter().rfind(|message| message.method() == Some(method)).unwrap();
        let mut response = Message::response(request.headers(), status, Some(tag), Hop::udp(ours()));
        response.push(HeaderName::Contact, &format!("<sip:bob-{tag}@198.51.100.1>"));
        response.set_body((!body.is_empty()).then_some(("application/sdp", body.as_bytes())));
        response.to_bytes()
    }

    /// What was sent since the last time, as methods and statuses.
    fn taken(&mut self) -> Vec<String> {
        let name = |message: Message| match message.status() {
            Some(status) => status.to_string(),
            None => format!("{} {}", message.method().unwrap(), message.to_tag().unwrap_or_default())
                .trim()
                .to_owned(),
        };
        self.sent.drain(..).map(name).collect()
    }

    fn local_tag(&self) -> String {
        self.sent.iter().rev().find_map(Message::to_tag).unwrap()
    }

    fn told(&mut self) -> Vec<SessionEvent> {
        std::mem::take(&mut self.events)
    }
}

/// A request of the remote caller `ada`.
fn request(method: &str, number: &str, to_tag: &str, branch: &str, body: &str) -> Vec<u8> {
    let tag = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "{method} sip:bob@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.1;rport;branch={branch}\r\nFrom: <sip:ada@b>;tag=remote\r\nTo: <sip:bob@192.0.2.1>{tag}\r\nCall-ID: incoming\r\nCSeq: {number} {method}\r\nContact: <sip:ada@198.51.100.1>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A datagram from the peer.
fn arrive(endpoint: &mut Endpoint, now: Instant, bytes: &[u8]) -> Received {
    endpoint.handle_message(now, peer(), ours(), bytes)
}

/// The message with more fields.
fn with(bytes: &[u8], fields: &str) -> Vec<u8> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    text.replacen("Contact:", &format!("{fields}\r\nContact:"), 1).into_bytes()
}

#[test]
fn forked_answers_are_acknowledged_and_hung_up() {
    let mut bench = Bench::caller();
    let (one, two) =
        (bench.reply(&Method::Invite, 200, "one", "answer"), bench.reply(&Method::Invite, 200, "two", "x"));
    bench.taken();
    bench.receive(&one);
    assert_eq!(bench.taken(), ["ACK one"]);
    bench.receive(&one);
    assert_eq!(bench.taken(), ["ACK one"]);
    bench.receive(&two);
    assert_eq!(bench.taken(), ["ACK two", "BYE two"]);
    bench.receive(&two);
    assert_eq!(bench.taken(), ["ACK two"]);
    assert_eq!(bench.told(), [SessionEvent::Answered { sdp: Some(b"answer".to_vec()) }]);
    // Long after Timer M the first callee still repeats its 2xx.
    bench.pass(Duration::from_secs(40));
    bench.taken();
    bench.receive(&one);
    assert_eq!(bench.taken(), ["ACK one"]);
}

#[test]
fn an_answer_without_sdp_takes_the_early_one_of_the_same_callee() {
    for (tag, expected) in [("a", Some(b"early".to_vec())), ("b", None)] {
        let mut bench = Bench::caller();
        let (early, answer) =
            (bench.reply(&Method::Invite, 183, "a", "early"), bench.reply(&Method::Invite, 200, tag, ""));
        bench.receive(&early);
        bench.receive(&early);
        bench.receive(&answer);
        let answered: Vec<_> =
            bench.told().into_iter().filter(|event| !matches!(event, SessionEvent::Ringing { .. })).collect();
        let expected =
            [SessionEvent::EarlyMedia { sdp: b"early".to_vec() }, SessionEvent::Answered { sdp: expected }];
        assert_eq!(answered, expected);
    }
}

#[test]
fn cancel_waits_for_a_provisional_and_a_crossing_answer_is_hung_up() {
    let mut bench = Bench::caller();
    let (trying, answer) =
        (bench.reply(&Method::Invite, 100, "", ""), bench.reply(&Method::Invite, 200, "a", "answer"));
    bench.taken();
    bench.act(|session, now| session.cancel(now));
    assert!(bench.taken().is_empty());
    bench.receive(&trying);
    assert_eq!(bench.taken(), ["CANCEL"]);
    bench.act(|session, now| session.cancel(now));
    bench.receive(&answer);
    assert_eq!(bench.taken(), ["ACK a", "BYE a"]);
    assert_eq!(bench.told(), [SessionEvent::Failed(Failure::Cancelled)]);
    bench.pass(Duration::from_secs(33));
    assert_eq!(bench.told(), [SessionEvent::Finished]);
}

#[test]
fn a_cancel_that_is_never_honoured_is_given_up() {
    let mut bench = Bench::caller();
    let trying = bench.reply(&Method::Invite, 180, "a", "");
    bench.receive(&trying);
    bench.act(|session, now| session.cancel(now));
    bench.pass(Duration::from_secs(33));
    assert_eq!(
        bench.told(),
        [
            SessionEvent::Ringing { status: 180 },
            SessionEvent::Failed(Failure::Cancelled),
            SessionEvent::Finished
        ]
    );
}

#[test]
fn refusals_keep_their_details() {
    let mut bench = Bench::caller();
    let text = String::from_utf8(bench.reply(&Method::Invite, 503, "a", "")).unwrap();
    let text = text.replace(
        "Content-Length",
        "Retry-After: 18 (busy);duration=3\r\nReason: Q.850;cause=34\r\nContent-Length",
    );
    bench.taken();
    bench.receive(text.as_bytes());
    assert_eq!(bench.taken(), ["ACK a"]);
    let expected = Failure::Status {
        code: 503,
        reason_phrase: "Service Unavailable".into(),
        retry_after: Some(Duration::from_secs(18)),
        reason: Some("Q.850;cause=34".into()),
    };
    assert_eq!(bench.told(), [SessionEvent::Failed(expected)]);
    bench.receive(text.as_bytes());
    assert_eq!(bench.taken(), ["ACK a"]);
}

#[test]
fn a_reinvite_in_our_own_invite_is_glare() {
    let mut bench = Bench::caller();
    let invite = bench.sent[0].clone();
    bench.taken();
    let text =
        String::from_utf8(request("INVITE", "1", &invite.from_tag().unwrap(), "z9hG4bKglare", "x")).unwrap();
    bench.receive(text.replace("Call-ID: incoming", &format!("Call-ID: {}", invite.call_id())).as_bytes());
    assert_eq!(bench.taken(), ["491"]);
}

fn standing() -> (Bench, String) {
    let mut bench = Bench::callee("offer");
    assert_eq!(bench.session.remote_offer(), Some(&b"offer"[..]));
    bench.act(|session, now| session.ring(now, 180, None));
    bench.act(|session, now| session.accept(now, b"answer"));
    let tag = bench.local_tag();
    assert_eq!(bench.taken(), ["100", "180", "200"]);
    bench.receive(&request("ACK", "1", &tag, "z9hG4bKack", ""));
    assert_eq!(bench.told(), [SessionEvent::Acknowledged { sdp: None }]);
    (bench, tag)
}

#[test]
fn a_reinvite_is_offered_answered_and_acknowledged() {
    let (mut bench, tag) = standing();
    let reinvite = request("INVITE", "2", &tag, "z9hG4bKre", "hold");
    bench.receive(&reinvite);
    assert_eq!(bench.told(), [SessionEvent::Offer { sdp: Some(b"hold".to_vec()) }]);
    // Another one meanwhile must wait (RFC 3261 §14.2).
    bench.receive(&request("INVITE", "3", &tag, "z9hG4bKre3", "again"));
    assert_eq!(bench.taken(), ["500"]);
    bench.receive(&request("ACK", "3", &tag, "z9hG4bKre3", ""));
    bench.act(|session, now| session.answer_offer(now, b"held"));
    assert_eq!(bench.sent[0].sdp(), Some(&b"held"[..]));
    assert_eq!(bench.taken(), ["200"]);
    bench.receive(&reinvite);
    assert!(bench.taken().is_empty());
    bench.pass(Duration::from_millis(600));
    assert_eq!(bench.taken(), ["200"]);
    bench.receive(&request("ACK", "2", &tag, "z9hG4bKack2", ""));
    assert_eq!(bench.told(), [SessionEvent::Acknowledged { sdp: None }]);
    bench.pass(Duration::from_secs(3));
    assert!(!bench.taken().contains(&"200".to_owned()));
    bench.receive(&request("INVITE", "4", &tag, "z9hG4bKre4", "bad"));
    bench.act(|session, now| session.reject_offer(now, 488));
    assert!(bench.taken().contains(&"488".to_owned()));
    bench.receive(&request("BYE", "5", &tag, "z9hG4bKbye", ""));
    assert_eq!(bench.taken(), ["200"]);
    assert_eq!(bench.told()[1..], [SessionEvent::Ended { by: Side::Remote, reason: None }]);
}

#[test]
fn a_late_offer_is_answered_by_the_ack() {
    let mut bench = Bench::callee("");
    assert_eq!(bench.session.remote_offer(), None);
    bench.act(|session, now| session.accept(now, b"our offer"));
    let tag = bench.local_tag();
    bench.receive(&request("INVITE", "2", &tag, "z9hG4bKre", "x"));
    assert_eq!(bench.taken(), ["100", "200", "491"]);
    bench.receive(&request("ACK", "1", &tag, "z9hG4bKack", "their answer"));
    assert_eq!(bench.told(), [SessionEvent::Acknowledged { sdp: Some(b"their answer".to_vec()) }]);
}

#[test]
fn the_caller_takes_a_reinvite_and_a_crossing_bye() {
    let mut bench = Bench::caller();
    let invite = bench.sent[0].clone();
    let answer = bench.reply(&Method::Invite, 200, "remote", "answer");
    bench.receive(&answer);
    bench.taken();
    let from_callee = |method: &str, number: &str| {
        let bytes = request(method, number, &invite.from_tag().unwrap(), &format!("z9hG4bK{method}"), "x");
        String::from_utf8(bytes)
            .unwrap()
            .replace("Call-ID: incoming", &format!("Call-ID: {}", invite.call_id()))
            .into_bytes()
    };
    bench.receive(&from_callee("INVITE", "1"));
    assert_eq!(bench.told()[1..], [SessionEvent::Offer { sdp: Some(b"x".to_vec()) }]);
    // Hanging up answers what still waits.
    bench.act(|session, now| session.hang_up(now, None));
    assert_eq!(bench.taken(), ["487", "BYE remote"]);
    bench.receive(&from_callee("BYE", "2"));
    assert_eq!(bench.taken(), ["200"]);
    assert_eq!(bench.told(), [SessionEvent::Ended { by: Side::Local, reason: None }]);
}

#[test]
fn a_challenged_bye_is_sent_again_with_credentials() {
    let mut bench = Bench::caller();
    let answer = bench.reply(&Method::Invite, 200, "remote", "answer");
    bench.receive(&answer);
    bench.act(|session, now| session.hang_up(now, None));
    let challenge = "Proxy-Authenticate: Digest realm=\"x\", nonce=\"y\", qop=\"auth\"\r\nContent-Length";
    let challenged = String::from_utf8(bench.reply(&Method::Bye, 407, "remote", "")).unwrap();
    bench.taken();
    bench.receive(challenged.replace("Content-Length", challenge).as_bytes());
    assert_eq!(bench.taken(), ["BYE remote"]);
    assert!(bench.told().contains(&SessionEvent::Ended { by: Side::Local, reason: None }));
}

#[test]
fn the_callee_hangs_up_only_after_the_ack() {
    let mut bench = Bench::callee("offer");
    bench.act(|session, now| session.accept(now, b"answer"));
    let tag = bench.local_tag();
    bench.act(|session, now| session.hang_up(now, None));
    assert_eq!(bench.taken(), ["100", "200"]);
    assert_eq!(bench.told(), [SessionEvent::Ended { by: Side::Local, reason: None }]);
    bench.receive(&request("ACK", "1", &tag, "z9hG4bKack", ""));
    assert_eq!(bench.taken(), ["BYE remote"]);
}

#[test]
fn requests_in_the_call_get_the_status_of_the_rfc() {
    let (mut bench, tag) = standing();
    let table = [
        ("OPTIONS", 200),
        ("INFO", 200),
        ("UPDATE", 200),
        ("PRACK", 481),
        ("MESSAGE", 405),
        ("REFER", 405),
        ("DANCE", 501),
    ];
    for (at, (method, status)) in table.into_iter().enumerate() {
        let bytes = request(method, &(10 + at).to_string(), &tag, &format!("z9hG4bK{method}"), "");
        bench.receive(&bytes);
        bench.receive(&bytes);
        assert_eq!(bench.taken(), [status.to_string(), status.to_string()], "{method}");
    }
    bench.receive(&request("OPTIONS", "3", &tag, "z9hG4bKold", ""));
    let strange = String::from_utf8(request("BYE", "30", &tag, "z9hG4bKstrange", "")).unwrap();
    bench.receive(strange.replace("tag=remote", "tag=other").as_bytes());
    bench.receive(&request("CANCEL", "1", "", "z9hG4bKinvite", ""));
    assert_eq!(bench.taken(), ["500", "481", "200"]);
    assert!(bench.told().is_empty());
}

#[test]
fn a_cancelled_invite_gets_487_and_both_answers_are_repeated() {
    let mut bench = Bench::callee("offer");
    bench.act(|session, now| session.ring(now, 180, None));
    let (invite, cancel) = (
        request("INVITE", "1", "", "z9hG4bKinvite", "offer"),
        request("CANCEL", "1", "", "z9hG4bKinvite", ""),
    );
    bench.receive(&invite);
    bench.receive(&cancel);
    bench.receive(&cancel);
    assert_eq!(bench.taken(), ["100", "180", "180", "200", "487", "200"]);
    assert_eq!(bench.told(), [SessionEvent::Failed(Failure::Cancelled)]);
    let tag = "x";
    bench.receive(&request("ACK", "1", tag, "z9hG4bKinvite", ""));
    bench.taken();
    bench.pass(Duration::from_secs(33));
    assert!(bench.taken().is_empty());
    assert_eq!(bench.told(), [SessionEvent::Finished]);
}

#[test]
fn the_endpoint_answers_what_belongs_to_nobody() {
    let now = Instant::now();
    let mut endpoint = endpoint(Accept::From([peer().address.ip()].into()));
    let mut status = |bytes: &[u8]| match endpoint.handle_message(now, peer(), ours(), bytes) {
        Received::Reply(reply) => Message::parse(&reply.bytes).unwrap().status(),
        Received::Incoming(_) => Some(0),
        other => panic!("{other:?}"),
    };
    assert_eq!(status(&request("OPTIONS", "1", "", "z9hG4bK1", "")), Some(200));
    assert_eq!(status(&request("BYE", "2", "nobody", "z9hG4bK2", "")), Some(481));
    assert_eq!(status(&request("INVITE", "3", "nobody", "z9hG4bK3", "")), Some(481));
    assert_eq!(status(&request("CANCEL", "4", "", "z9hG4bK4", "")), Some(481));
    assert_eq!(status(&request("REGISTER", "5", "", "z9hG4bK5", "")), Some(405));
    assert_eq!(status(&request("DANCE", "6", "", "z9hG4bK6", "")), Some(501));
    assert_eq!(status(&request("INVITE", "7", "", "z9hG4bK7", "")), Some(0));
    // The same INVITE on another path, and one too many.
    assert_eq!(status(&request("INVITE", "7", "", "z9hG4bK7b", "")), Some(482));
    assert_eq!(status(&request("INVITE", "8", "", "z9hG4bK8", "")), Some(503));
    let mut dropped = |source: Hop, bytes: &[u8]| match endpoint.handle_message(now, source, ours(), bytes) {
        Received::Dropped(reason) => reason,
        other => panic!("{other:?}"),
    };
    let stranger = Hop::udp("203.0.113.66:5060".parse().unwrap());
    assert_eq!(dropped(stranger, &request("INVITE", "9", "", "z9hG4bK9", "")), DropReason::UnknownSource);
    assert_eq!(dropped(stranger, b"\0\0\0\0"), DropReason::UnknownSource);
    assert_eq!(dropped(peer(), b"\0\0\0\0"), DropReason::Malformed);
    assert_eq!(dropped(peer(), b"\r\n\r\n"), DropReason::KeepAlive);
    assert_eq!(dropped(peer(), &request("ACK", "9", "", "z9hG4bK9", "")), DropReason::UnmatchedAck);
}
