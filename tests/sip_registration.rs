//! A registration against a registrar written by hand.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests begin at some time, read their data and may panic"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use callahead::pii::Secret;
use callahead::sip::Hop;
use callahead::sip::auth::{Algorithm, Challenger, Credentials, Verdict};
use callahead::sip::endpoint::{Accept, Endpoint, EndpointConfig, Received};
use callahead::sip::message::{Header, HeaderName, Message, Uri};
use callahead::sip::registration::{Registration, RegistrationConfig, RegistrationEvent, RegistrationOutput};
use callahead::sip::session::Failure;
use callahead::sip::transaction::Timing;

fn hop(text: &str) -> Hop {
    Hop::udp(address(text))
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn uri(text: &str) -> Uri {
    Uri::parse(text).unwrap()
}

struct Bench {
    now: Instant,
    endpoint: Endpoint,
    registration: Registration,
    sent: Vec<Message>,
    events: Vec<RegistrationEvent>,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        let config = EndpointConfig {
            user_agent: "bench/1".into(),
            accept: Accept::All,
            incoming: false,
            registrar: false,
            messages: false,
            max_sessions: 1,
        };
        let mut endpoint = Endpoint::new(config, 3);
        let config = RegistrationConfig {
            registrar: uri("sip:example.com"),
            address: uri("sip:ada@example.com"),
            contact: uri("sip:ada@192.0.2.1:5060"),
            hops: vec![hop("198.51.100.1:5060")],
            routes: vec!["<sip:proxy.example.com;lr>".into()],
            local: address("192.0.2.1:5060"),
            credentials: Some(Credentials { username: "ada".into(), password: Secret::new("secret") }),
            expires: Duration::from_secs(600),
            timing: Timing::default(),
        };
        let registration = Registration::new(now, endpoint.register(), config);
        let mut bench = Self { now, endpoint, registration, sent: Vec::new(), events: Vec::new() };
        bench.drain();
        bench
    }

    fn drain(&mut self) {
        while let Some(output) = self.registration.poll_output() {
            match output {
                RegistrationOutput::Transmit(transmit) => {
                    self.sent.push(Message::parse(&transmit.bytes).unwrap())
                }
                RegistrationOutput::Event(event) => self.events.push(event),
            }
        }
    }

    fn reply(&mut self, status: u16, headers: &[Header]) {
        let request = self.sent.last().unwrap();
        let mut response = Message::response(request.headers(), status, Some("r"), hop("192.0.2.1:5060"));
        headers.iter().for_each(|header| response.push_header(header.clone()));
        let received = self.endpoint.handle_message(
            self.now,
            hop("198.51.100.1:5060"),
            address("192.0.2.1:5060"),
            &response.to_bytes(),
        );
        let Received::Registration(id, message) = received else { panic!("{received:?}") };
        assert_eq!(id, self.registration.id());
        self.registration.handle_message(self.now, *message);
        self.drain();
    }

    /// Lets time jump to the next timer; the seconds that passed.
    fn jump(&mut self) -> f64 {
        let at = self.registration.poll_timeout().unwrap();
        let passed = at.duration_since(self.now).as_secs_f64();
        self.now = at;
        self.registration.handle_timeout(at);
        self.drain();
        passed
    }

    fn last(&self, name: HeaderName) -> String {
        self.sent.last().unwrap().header(name).unwrap().into_owned()
    }
}

fn registered(seconds: u64, service_route: &[&str]) -> RegistrationEvent {
    let service_route = service_route.iter().map(|route| route.to_string()).collect();
    RegistrationEvent::Registered { expires: Duration::from_secs(seconds), service_route }
}

#[test]
fn the_way_to_the_registrar_and_the_way_that_it_gives_us() {
    let mut bench = Bench::new();
    assert_eq!(bench.last(HeaderName::Supported), "path");
    assert_eq!(bench.last(HeaderName::Route), "<sip:proxy.example.com;lr>");
    let route = |value| Header::new(HeaderName::ServiceRoute, value);
    let routes = ["<sip:p2.example.com;lr>", "<sip:h,2.example.com;lr>", "<sip:p3.example.com;lr>"];
    let fields = [route("<sip:p2.example.com;lr>, <sip:h,2.example.com;lr>"), route(routes[2])];
    bench.reply(200, &fields);
    assert_eq!(bench.events, [registered(600, &routes)]);
    // The next answer has none: nothing of the old way is left (RFC 3608 §6.1).
    bench.jump();
    bench.reply(200, &[]);
    assert_eq!(bench.events[1], registered(600, &[]));
    bench.jump();
    bench.reply(200, &[route(&"<sip:x;lr>,".repeat(100))]);
    let RegistrationEvent::Registered { service_route, .. } = &bench.events[2] else { panic!() };
    assert_eq!(service_route.len(), 16);
}

#[test]
fn it_is_challenged_bound_refreshed_and_removed() {
    let mut bench = Bench::new();
    let mut challenger =
        Challenger::new("example", &[Algorithm::SHA_256], Duration::from_secs(3600), false, 9);
    let know = |_: &str| Some(Secret::new("secret"));
    let Verdict::Challenge(fields) = challenger.verify(bench.now, &bench.sent[0], know) else { panic!() };
    bench.reply(401, &fields);
    assert_eq!(bench.last(HeaderName::CSeq), "2 REGISTER");
    let verdict = challenger.verify(bench.now, bench.sent.last().unwrap(), know);
    assert_eq!(verdict, Verdict::Accepted { username: "ada".into() });
    let contact = "<sip:other@x>;expires=10, <sip:ada@192.0.2.1:5060>;expires=\"120\"";
    bench.reply(200, &[Header::new(HeaderName::Contact, contact), Header::new(HeaderName::Expires, "900")]);
    assert_eq!(bench.events, [registered(120, &[])]);
    let refresh = bench.jump();
    assert!((84.0..96.0).contains(&refresh), "{refresh}");
    assert_eq!(bench.last(HeaderName::CSeq), "3 REGISTER");
    assert_eq!(bench.sent[0].call_id(), bench.sent[2].call_id());
    bench.reply(200, &[]);
    bench.registration.unregister(bench.now);
    bench.drain();
    assert_eq!(bench.last(HeaderName::Expires), "0");
    bench.reply(200, &[]);
    assert_eq!(bench.events.last(), Some(&RegistrationEvent::Unregistered));
    assert_eq!(bench.registration.poll_timeout(), None);
}

#[test]
fn too_brief_is_asked_again_for_longer() {
    let mut bench = Bench::new();
    bench.reply(423, &[Header::new(HeaderName::MinExpires, "1800")]);
    assert_eq!(bench.last(HeaderName::Expires), "1800");
    // A registrar that is never content does not make us loop.
    bench.reply(423, &[Header::new(HeaderName::MinExpires, "1800")]);
    assert!(matches!(
        bench.events[..],
        [RegistrationEvent::Refused { failure: Failure::Status { code: 423, .. }, .. }]
    ));
}

#[test]
fn failures_back_off_with_jitter_and_recover() {
    let mut bench = Bench::new();
    for (attempt, most) in [30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1800.0, 1800.0].into_iter().enumerate() {
        bench.reply(500, &[]);
        let waited = bench.jump();
        assert!((most / 2.0..=most).contains(&waited), "attempt {attempt}: {waited}");
    }
    bench.reply(503, &[Header::new(HeaderName::RetryAfter, "1700")]);
    assert!(bench.jump() >= 900.0);
    bench.reply(200, &[]);
    bench.jump();
    bench.reply(500, &[]);
    assert!(bench.jump() <= 30.0, "a success starts the count anew");
}

#[test]
fn silence_times_out_and_is_tried_again() {
    let mut bench = Bench::new();
    while bench.events.is_empty() {
        bench.jump();
    }
    assert!(matches!(bench.events[..], [RegistrationEvent::Refused { failure: Failure::Timeout, .. }]));
    let sent = bench.sent.len();
    bench.jump();
    assert_eq!(bench.sent.len(), sent + 1);
}

#[test]
fn wrong_credentials_are_named() {
    let mut bench = Bench::new();
    let challenge = |nonce: &str| {
        let text = format!("Digest realm=\"x\", nonce=\"{nonce}\", qop=\"auth\"");
        [Header::new(HeaderName::WwwAuthenticate, &text)]
    };
    bench.reply(401, &challenge("a"));
    bench.reply(401, &challenge("b"));
    assert!(matches!(bench.events[..], [RegistrationEvent::Refused { failure: Failure::Unauthorized, .. }]));
}
