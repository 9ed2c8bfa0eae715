//! Requests outside of calls: against answers written by hand, and between two endpoints over a link that loses half.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests begin at some time, read their data and may panic"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use callahead::pii::Secret;
use callahead::sip::auth::{Algorithm, Challenger, Credentials, Verdict};
use callahead::sip::body::Body;
use callahead::sip::endpoint::{Accept, Endpoint, EndpointConfig, Received};
use callahead::sip::exchange::{Exchange, ExchangeOutput, Outcome, OutgoingRequest};
use callahead::sip::message::{Address, Header, HeaderName, Message, Method, Uri};
use callahead::sip::session::Failure;
use callahead::sip::transaction::Timing;
use callahead::sip::{Hop, Transmit};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const OURS: &str = "192.0.2.1:5060";
const FIRST: &str = "198.51.100.1:5060";
const SECOND: &str = "198.51.100.2:5060";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn hop(text: &str) -> Hop {
    Hop::udp(address(text))
}

fn endpoint(seed: u64) -> Endpoint {
    let config = EndpointConfig {
        user_agent: "bench/1".into(),
        accept: Accept::All,
        incoming: false,
        registrar: false,
        max_sessions: 1,
    };
    Endpoint::new(config, seed)
}

fn asking(method: Method, hops: &[&str]) -> OutgoingRequest {
    let uri = |text: &str| Uri::parse(text).unwrap();
    OutgoingRequest {
        target: uri("sip:bob@example.com"),
        from: Address::new(uri("sip:ada@example.com")),
        to: Address::new(uri("sip:bob@example.com")),
        contact: (method == Method::Options).then(|| uri("sip:ada@192.0.2.1")),
        routes: vec!["<sip:proxy.example.com;lr>".into()],
        hops: hops.iter().map(|text| hop(text)).collect(),
        local: address(OURS),
        credentials: Some(Credentials { username: "ada".into(), password: Secret::new("secret") }),
        headers: Vec::new(),
        body: (method == Method::Message).then(|| Body::new("text/plain", b"the lorry is late")),
        method,
        timing: Timing::default(),
    }
}

struct Bench {
    now: Instant,
    endpoint: Endpoint,
    exchange: Exchange,
    sent: Vec<(Hop, Message)>,
    outcomes: Vec<Outcome>,
}

impl Bench {
    fn new(request: OutgoingRequest) -> Self {
        let (now, mut endpoint) = (Instant::now(), endpoint(3));
        let exchange = Exchange::new(now, endpoint.exchange(), request);
        let mut bench = Self { now, endpoint, exchange, sent: Vec::new(), outcomes: Vec::new() };
        bench.drain();
        bench
    }

    fn drain(&mut self) {
        while let Some(output) = self.exchange.poll_output() {
            match output {
                ExchangeOutput::Transmit(transmit) => {
                    self.sent.push((transmit.destination, Message::parse(&transmit.bytes).unwrap()))
                }
                ExchangeOutput::Outcome(outcome) => self.outcomes.push(outcome),
            }
        }
    }

    /// Answers the last request.
    fn reply(&mut self, status: u16, headers: &[Header]) {
        let (source, request) = self.sent.last().unwrap();
        let mut response = Message::response(request.headers(), status, Some("r"), hop(OURS));
        headers.iter().for_each(|header| response.push_header(header.clone()));
        let bytes = response.to_bytes();
        let received = self.endpoint.handle_message(self.now, *source, address(OURS), &bytes);
        let Received::Exchange(id, message) = received else { panic!("{received:?}") };
        assert_eq!(id, self.exchange.id());
        self.exchange.handle_message(self.now, *message);
        self.drain();
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.exchange.poll_timeout().filter(|at| *at <= end) {
            self.now = at;
            self.exchange.handle_timeout(at);
            self.drain();
        }
        self.now = end;
    }

    fn last(&self) -> &Message {
        &self.sent.last().unwrap().1
    }

    fn status(&self) -> Option<u16> {
        match &self.outcomes[..] {
            [Outcome::Answered { response, .. }] => response.status(),
            _ => None,
        }
    }
}

#[test]
fn a_message_carries_its_text_and_no_contact() {
    let mut bench = Bench::new(asking(Method::Message, &[FIRST]));
    let request = bench.last();
    assert_eq!((request.method(), request.body()), (Some(&Method::Message), &b"the lorry is late"[..]));
    assert_eq!(request.header(HeaderName::Contact), None);
    assert_eq!(request.list(HeaderName::Route), ["<sip:proxy.example.com;lr>"]);
    assert_eq!(request.header(HeaderName::ContentType).unwrap(), "text/plain");
    bench.reply(100, &[]);
    assert!(bench.outcomes.is_empty());
    bench.reply(202, &[]);
    assert_eq!(bench.status(), Some(202));
    assert_eq!(bench.exchange.poll_timeout(), None, "nothing is left to wait for");
}

#[test]
fn a_proxy_and_then_the_server_challenge() {
    let mut bench = Bench::new(asking(Method::Message, &[FIRST]));
    let hour = Duration::from_secs(3600);
    let mut proxy = Challenger::new("proxy", &[Algorithm::MD5], hour, true, 8);
    let mut server = Challenger::new("server", &[Algorithm::SHA_256], hour, false, 9);
    let know = |_: &str| Some(Secret::new("secret"));
    for (challenger, status) in [(&mut proxy, 407), (&mut server, 401)] {
        let Verdict::Challenge(fields) = challenger.verify(bench.now, bench.last(), know) else { panic!() };
        bench.reply(status, &fields);
    }
    for challenger in [&mut proxy, &mut server] {
        let verdict = challenger.verify(bench.now, bench.last(), know);
        assert_eq!(verdict, Verdict::Accepted { username: "ada".into() });
    }
    assert_eq!(bench.last().header(HeaderName::CSeq).unwrap(), "3 MESSAGE");
    bench.reply(200, &[]);
    assert_eq!(bench.status(), Some(200));
}

#[test]
fn a_challenge_that_never_ends_does() {
    let mut bench = Bench::new(asking(Method::Options, &[FIRST]));
    for round in 0..20 {
        if !bench.outcomes.is_empty() {
            break;
        }
        let text = format!("Digest realm=\"x{round}\", nonce=\"{round}\", qop=\"auth\"");
        bench.reply(401, &[Header::new(HeaderName::WwwAuthenticate, &text)]);
    }
    assert_eq!((bench.status(), bench.sent.len()), (Some(401), 6));
}

#[test]
fn each_hop_is_tried_until_one_answers() {
    // Silence: after 8*T1 the next one.
    let mut bench = Bench::new(asking(Method::Options, &[FIRST, SECOND]));
    bench.pass(Duration::from_secs(4));
    assert_eq!(bench.sent.last().unwrap().0, hop(SECOND));
    bench.reply(404, &[]);
    assert!(matches!(&bench.outcomes[..], [Outcome::Answered { hop: at, .. }] if *at == hop(SECOND)));
    // 503 and nobody listening: at once.
    let mut bench = Bench::new(asking(Method::Options, &[FIRST, SECOND]));
    bench.reply(503, &[]);
    assert_eq!(bench.sent.last().unwrap().0, hop(SECOND));
    let now = bench.now;
    bench.exchange.handle_unreachable(now, hop(FIRST));
    bench.drain();
    assert!(bench.outcomes.is_empty(), "that one was given up before");
    bench.exchange.handle_unreachable(now, hop(SECOND));
    bench.drain();
    assert_eq!(bench.outcomes, [Outcome::Unanswered(Failure::Unreachable)]);
    // The last hop's 503 is the answer.
    let mut bench = Bench::new(asking(Method::Options, &[FIRST]));
    bench.reply(503, &[Header::new(HeaderName::RetryAfter, "5")]);
    assert_eq!(bench.status(), Some(503));
}

#[test]
fn silence_ends_after_timer_f() {
    let mut bench = Bench::new(asking(Method::Options, &[FIRST]));
    bench.pass(Duration::from_millis(31_900));
    assert!(bench.outcomes.is_empty());
    assert_eq!(bench.sent.len(), 11, "T1 doubling to T2");
    bench.pass(Duration::from_millis(200));
    assert_eq!(bench.outcomes, [Outcome::Unanswered(Failure::Timeout)]);
}

#[test]
fn no_hop_is_an_outcome_too() {
    let bench = Bench::new(asking(Method::Options, &[]));
    assert_eq!(bench.outcomes, [Outcome::Unanswered(Failure::Unreachable)]);
}

/// OPTIONS against a whole endpoint, over a link that loses half: one answer, or an honest timeout.
#[test]
fn over_a_lossy_link_every_exchange_has_one_outcome() {
    let mut answered = 0;
    for seed in 0..200 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut bench = Bench::new(asking(Method::Options, &[FIRST]));
        let mut far = endpoint(seed + 1000);
        let mut taken = 0;
        while bench.outcomes.is_empty() {
            while taken < bench.sent.len() && bench.outcomes.is_empty() {
                let bytes = bench.sent[taken].1.to_bytes();
                taken += 1;
                if rng.random_bool(0.5) {
                    continue;
                }
                let reply = far.handle_message(bench.now, hop(OURS), address(FIRST), &bytes);
                let Received::Reply(Transmit { bytes, .. }) = reply else { panic!("{reply:?}") };
                if rng.random_bool(0.5) {
                    continue;
                }
                let got = bench.endpoint.handle_message(bench.now, hop(FIRST), address(OURS), &bytes);
                let Received::Exchange(_, response) = got else { panic!("{got:?}") };
                bench.exchange.handle_message(bench.now, *response);
                bench.drain();
            }
            if let Some(at) = bench.exchange.poll_timeout() {
                bench.now = at;
                bench.exchange.handle_timeout(at);
                bench.drain();
            }
        }
        let known = match &bench.outcomes[..] {
            [Outcome::Answered { response, .. }] => response.status() == Some(200),
            [Outcome::Unanswered(Failure::Timeout)] => false,
            other => panic!("seed {seed}: {other:?}"),
        };
        answered += usize::from(known);
        bench.endpoint.remove_exchange(bench.exchange.id());
    }
    // Eleven tries at one in four.
    assert!(answered > 180, "{answered} of 200");
}
