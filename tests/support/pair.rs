//! Two sessions in one call over a seeded link that loses, doubles and delays; time jumps to what is due next.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use callahead::pii::Secret;
use callahead::sip::auth::Credentials;
use callahead::sip::endpoint::{Accept, Endpoint, EndpointConfig, Received};
use callahead::sip::identity::Identity;
use callahead::sip::message::{Address, Header, HeaderName, Message, Method, Uri};
use callahead::sip::session::{OutgoingInvite, Session, SessionEvent, SessionOutput};
use callahead::sip::transaction::Timing;
use callahead::sip::{Hop, Transmit};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Loss, doubling, and the delay in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Weather(pub f64, pub f64, pub (u64, u64));

pub const CLEAR: Weather = Weather(0.0, 0.0, (10, 10));
pub const STORM: Weather = Weather(0.25, 0.1, (1, 300));

/// What a side does when it is told something.
type Reaction = Box<dyn FnMut(&mut Session, Instant, &SessionEvent)>;

pub struct End {
    pub address: SocketAddr,
    pub endpoint: Endpoint,
    pub session: Session,
    pub events: Vec<SessionEvent>,
    /// Everything that it sent, lost or not.
    pub sent: Vec<Message>,
    reaction: Option<Reaction>,
}

/// End 0 has called end 1.
pub struct Pair {
    pub now: Instant,
    pub ends: [End; 2],
    weather: Weather,
    rng: StdRng,
    flying: Vec<(Instant, SocketAddr, Transmit)>,
}

pub fn uri(text: &str) -> Uri {
    Uri::parse(text).unwrap()
}

pub fn endpoint(seed: u64) -> Endpoint {
    let config = EndpointConfig {
        user_agent: "pair/1".into(),
        accept: Accept::All,
        incoming: true,
        registrar: false,
        messages: false,
        max_sessions: 10,
    };
    Endpoint::new(config, seed)
}

pub fn outgoing(local: SocketAddr, to: SocketAddr) -> OutgoingInvite {
    OutgoingInvite {
        target: uri(&format!("sip:bob@{to}")),
        from: Address::new(uri("sip:ada@example.com")),
        to: Address::new(uri("sip:bob@example.com")),
        contact: uri(&format!("sip:ada@{local}")),
        hops: vec![Hop::udp(to)],
        routes: Vec::new(),
        identity: Identity::default(),
        local,
        credentials: Some(Credentials { username: "ada".into(), password: Secret::new("secret") }),
        sdp_offer: b"offer".to_vec(),
        extra_headers: Vec::new(),
        timing: Timing::default(),
    }
}

impl Pair {
    /// A call that stands: its set-up sees fair weather.
    pub fn new(seed: u64, weather: Weather) -> Self {
        let now = Instant::now();
        let address = ["192.0.2.1:5060", "198.51.100.1:5060"].map(|text| text.parse().unwrap());
        let mut endpoints = [endpoint(seed), endpoint(seed + 1_000_000)];
        let mut caller = Session::invite(now, endpoints[0].connect(), outgoing(address[0], address[1]));
        let Some(SessionOutput::Transmit(invite)) = caller.poll_output() else { panic!() };
        let source = Hop::udp(address[0]);
        let got = endpoints[1].handle_message(now, source, address[1], &invite.bytes);
        let Received::Incoming(call) = got else { panic!("{got:?}") };
        let callee =
            Session::incoming(now, *call, uri(&format!("sip:bob@{}", address[1])), Timing::default());
        let [near, far] = endpoints;
        let end = |address, endpoint, session| End {
            address,
            endpoint,
            session,
            events: Vec::new(),
            sent: Vec::new(),
            reaction: None,
        };
        let ends = [end(address[0], near, caller), end(address[1], far, callee)];
        let rng = StdRng::seed_from_u64(seed);
        let mut pair = Self { now, ends, weather: CLEAR, rng, flying: Vec::new() };
        pair.act(1, |session, now| session.accept(now, b"answer"));
        pair.pass(Duration::from_millis(100));
        pair.weather = weather;
        pair.ends.iter_mut().for_each(|end| {
            end.events.clear();
            end.sent.clear();
        });
        pair
    }

    pub fn react(&mut self, end: usize, react: impl FnMut(&mut Session, Instant, &SessionEvent) + 'static) {
        self.ends[end].reaction = Some(Box::new(react));
    }

    pub fn act<T>(&mut self, end: usize, act: impl FnOnce(&mut Session, Instant) -> T) -> T {
        let done = act(&mut self.ends[end].session, self.now);
        self.drain(end);
        done
    }

    pub fn told(&mut self, end: usize) -> Vec<SessionEvent> {
        std::mem::take(&mut self.ends[end].events)
    }

    /// The requests of that method that `end` sent, without repetitions.
    pub fn requests(&self, end: usize, method: &Method) -> Vec<&Message> {
        let mut seen = Vec::new();
        let sent = self.ends[end].sent.iter().filter(|message| message.method() == Some(method));
        sent.filter(|message| {
            let branch = message.branch();
            let new = !seen.contains(&branch);
            seen.push(branch);
            new
        })
        .collect()
    }

    /// The statuses that `end` answered to requests of that method, repetitions included.
    pub fn answers(&self, end: usize, method: &Method) -> Vec<u16> {
        let sent = self.ends[end].sent.iter();
        sent.filter(|message| message.cseq().is_some_and(|cseq| cseq.method == *method))
            .filter_map(Message::status)
            .collect()
    }

    /// Runs until `time` has passed.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let timers = self.ends.iter().filter_map(|end| end.session.poll_timeout());
            let next = timers.chain(self.flying.iter().map(|(at, ..)| *at)).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            self.step();
        }
        self.now = end;
    }

    fn step(&mut self) {
        let now = self.now;
        while let Some(at) = self.flying.iter().position(|(at, ..)| *at <= now) {
            let (_, source, transmit) = self.flying.remove(at);
            self.arrive(Hop::udp(source), &transmit);
        }
        for end in 0..2 {
            if self.ends[end].session.poll_timeout().is_some_and(|at| at <= now) {
                self.ends[end].session.handle_timeout(now);
                self.drain(end);
            }
        }
    }

    fn arrive(&mut self, source: Hop, transmit: &Transmit) {
        let (now, destination) = (self.now, transmit.destination.address);
        let Some(at) = self.ends.iter().position(|end| end.address == destination) else { return };
        let end = &mut self.ends[at];
        match end.endpoint.handle_message(now, source, destination, &transmit.bytes) {
            Received::Session(id, message) if id == end.session.id() => {
                end.session.handle_message(now, source, *message);
                self.drain(at);
            }
            Received::Reply(reply) => self.fly(at, reply),
            _ => {}
        }
    }

    /// Gives `end` a request of the other end written by hand; `fields` are lines with their ends.
    pub fn inject(&mut self, end: usize, method: &str, number: u32, fields: &str, body: &str) {
        let theirs = self.ends[1 - end].address;
        let sample = self.sample(end);
        let line = |name| sample.header(name).unwrap().into_owned();
        // A request or response that `end` sent, turned round.
        let ours_in_from = sample.method().is_some();
        let (from, to) = match ours_in_from {
            true => (line(HeaderName::To), line(HeaderName::From)),
            false => (line(HeaderName::From), line(HeaderName::To)),
        };
        let text = format!(
            "{method} sip:x@{} SIP/2.0\r\nVia: SIP/2.0/UDP {theirs};rport;branch=z9hG4bKinject{method}{number}\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {number} {method}\r\nContact: <sip:x@{theirs}>\r\n{fields}Content-Length: {}\r\n\r\n{body}",
            self.ends[end].address,
            line(HeaderName::CallId),
            body.len()
        );
        let transmit = Transmit { destination: Hop::udp(self.ends[end].address), bytes: text.into_bytes() };
        self.arrive(Hop::udp(theirs), &transmit);
    }

    fn sample(&mut self, end: usize) -> Message {
        if self.ends[end].sent.is_empty() {
            self.act(end, |session, now| session.request(now, Method::Info, Vec::new(), None)).unwrap();
            let weather = std::mem::replace(&mut self.weather, CLEAR);
            self.pass(Duration::from_millis(50));
            self.weather = weather;
            self.ends[end].events.clear();
        }
        self.ends[end].sent[0].clone()
    }

    /// What `end` sent last.
    pub fn last(&self, end: usize) -> &Message {
        self.ends[end].sent.last().unwrap()
    }

    fn drain(&mut self, at: usize) {
        while let Some(output) = self.ends[at].session.poll_output() {
            match output {
                SessionOutput::Transmit(transmit) => {
                    self.ends[at].sent.push(Message::parse(&transmit.bytes).unwrap());
                    self.fly(at, transmit);
                }
                SessionOutput::Event(event) => {
                    let now = self.now;
                    let end = &mut self.ends[at];
                    if let Some(react) = &mut end.reaction {
                        react(&mut end.session, now, &event);
                    }
                    end.events.push(event);
                }
            }
        }
    }

    fn fly(&mut self, from: usize, transmit: Transmit) {
        let Weather(loss, doubling, (least, most)) = self.weather;
        for _ in 0..1 + usize::from(self.rng.random_bool(doubling)) {
            if !self.rng.random_bool(loss) {
                let delay = Duration::from_millis(self.rng.random_range(least..=most));
                self.flying.push((self.now + delay, self.ends[from].address, transmit.clone()));
            }
        }
    }
}

/// A field by its name.
pub fn field(name: &str, value: &str) -> Header {
    Header::new(HeaderName::from_token(name), value)
}
