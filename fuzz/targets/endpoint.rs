//! A sequence of datagrams and timeouts into an endpoint with one call that we make and those that come in.
//!
//! Steps stand between lines of `----`. `T` lets the next timer run out, `A`, `R`, `H` and `C` accept, reject, hang up
//! and cancel, `U` says that the peer cannot be reached, anything else is a datagram. In a datagram, `{call}`, `{tag}`, `{branch}` and `{cseq}` stand for what our last message
//! had: without them no input would ever belong to a call.

#![no_main]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use callahead::pii::Secret;
use callahead::sip::auth::Credentials;
use callahead::sip::endpoint::{Accept, Endpoint, EndpointConfig, Received};
use callahead::sip::message::{Address, Message, Uri};
use callahead::sip::session::{OutgoingInvite, Session, SessionOutput};
use callahead::sip::transaction::Timing;
use callahead::sip::{Hop, SessionId, Transmit};
use libfuzzer_sys::fuzz_target;

/// More steps show nothing new.
const MAX_STEPS: usize = 64;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let mut stage = Stage::new();
    for step in text.split("----\n").take(MAX_STEPS) {
        stage.step(step);
    }
    // Whatever happened, every call ends when nobody answers any more.
    stage.pass(Duration::from_secs(86_400));
});

struct Stage {
    now: Instant,
    endpoint: Endpoint,
    sessions: HashMap<SessionId, Session>,
    last: Option<Message>,
}

fn peer() -> Hop {
    Hop::udp("198.51.100.1:5060".parse().unwrap())
}

fn ours() -> SocketAddr {
    "192.0.2.1:5060".parse().unwrap()
}

fn uri(text: &str) -> Uri {
    Uri::parse(text).unwrap()
}

fn outgoing() -> OutgoingInvite {
    OutgoingInvite {
        target: uri("sip:bob@example.com"),
        from: Address::new(uri("sip:ada@example.com")),
        to: Address::new(uri("sip:bob@example.com")),
        contact: uri("sip:ada@192.0.2.1"),
        hops: vec![peer(), Hop::tcp(peer().address)],
        local: ours(),
        credentials: Some(Credentials { username: "ada".into(), password: Secret::new("secret") }),
        sdp_offer: b"v=0\r\n".to_vec(),
        extra_headers: Vec::new(),
        timing: Timing::default(),
    }
}

impl Stage {
    fn new() -> Self {
        let config = EndpointConfig {
            user_agent: "fuzz/1".into(),
            accept: Accept::All,
            incoming: true,
            registrar: true,
            messages: false,
            max_sessions: 8,
        };
        let now = Instant::now();
        let mut endpoint = Endpoint::new(config, 1);
        let session = Session::invite(now, endpoint.connect(), outgoing());
        let sessions = HashMap::from([(session.id(), session)]);
        let mut stage = Self { now, endpoint, sessions, last: None };
        stage.drain();
        stage
    }

    fn step(&mut self, step: &str) {
        match step.trim_end() {
            "T" => self.timeout(),
            "A" => self.each(|session, now| session.accept(now, b"v=0\r\n")),
            "R" => self.each(|session, now| session.reject(now, 486, &[])),
            "H" => self.each(|session, now| session.hang_up(now, None)),
            "U" => self.each(|session, now| session.handle_unreachable(now, peer())),
            "C" => self.each(|session, now| session.cancel(now)),
            _ => self.receive(step),
        }
        self.drain();
    }

    fn each(&mut self, act: impl Fn(&mut Session, Instant)) {
        self.sessions.values_mut().for_each(|session| act(session, self.now));
    }

    fn receive(&mut self, text: &str) {
        let last = self.last.as_ref();
        let call = last.map(|last| last.call_id().into_owned()).unwrap_or_default();
        let tag = last.and_then(|last| if last.is_response() { last.to_tag() } else { last.from_tag() });
        let branch = last.and_then(Message::branch).unwrap_or_default();
        let number = last.and_then(Message::cseq).map(|cseq| cseq.number.to_string()).unwrap_or_default();
        let text = text.replace("{call}", &call).replace("{tag}", &tag.unwrap_or_default());
        let text = text.replace("{branch}", &branch).replace("{cseq}", &number);
        match self.endpoint.handle_message(self.now, peer(), ours(), text.as_bytes()) {
            Received::Session(id, message) => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.handle_message(self.now, peer(), *message);
                }
            }
            Received::Incoming(call) => {
                let session = Session::incoming(self.now, *call, uri("sip:bob@192.0.2.1"), Timing::default());
                self.sessions.insert(session.id(), session);
            }
            Received::Reply(transmit) => self.sent(&transmit),
            Received::Request(request) => {
                let reply = self.endpoint.respond(self.now, peer(), &request, 200, &[]);
                self.sent(&reply);
            }
            Received::Registration(..) | Received::Dropped(_) => {}
        }
        assert!(self.sessions.len() <= 8, "no more calls than allowed");
    }

    fn timeout(&mut self) {
        let Some(at) = self.sessions.values().filter_map(Session::poll_timeout).min() else { return };
        self.now = at.max(self.now);
        self.each(Session::handle_timeout);
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut steps = 0;
        while self.sessions.values().filter_map(Session::poll_timeout).any(|at| at <= end) {
            self.timeout();
            self.drain();
            steps += 1;
            assert!(steps < 100_000, "timers run in circles");
        }
    }

    fn drain(&mut self) {
        let mut outputs = Vec::new();
        for session in self.sessions.values_mut() {
            while let Some(output) = session.poll_output() {
                outputs.push(output);
                assert!(outputs.len() < 1000, "one step asks for more than a thousand things");
            }
        }
        for output in outputs {
            if let SessionOutput::Transmit(transmit) = output {
                self.sent(&transmit);
            }
        }
    }

    /// What we send can be read, except that an answer carries a malformed Via back.
    fn sent(&mut self, transmit: &Transmit) {
        if let Ok(message) = Message::parse(&transmit.bytes) {
            self.last = Some(message);
        }
    }
}
