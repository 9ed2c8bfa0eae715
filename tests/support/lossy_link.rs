//! Endpoints that talk through a link which loses, doubles, delays and reorders datagrams, all from one seed.
//!
//! Time jumps to the next thing that is due: a datagram's arrival, a timer, or what a party planned.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use callahead::pii::Secret;
use callahead::sip::auth::{Challenger, Credentials, Verdict};
use callahead::sip::endpoint::{Accept, Endpoint, EndpointConfig, Received};
use callahead::sip::message::{Address, Uri};
use callahead::sip::session::{IncomingCall, OutgoingInvite, Session, SessionEvent, SessionOutput};
use callahead::sip::transaction::Timing;
use callahead::sip::{Hop, SessionId, Transmit, Transport};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// What a party does with its session.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Act {
    Ring,
    EarlyMedia,
    Accept,
    Reject(u16),
    HangUp,
    Cancel,
    AnswerOffer,
    RejectOffer(u16),
    /// Offers this in a re-INVITE as soon as that may be; an empty text asks for an offer.
    Reinvite(&'static str),
    /// The same with UPDATE.
    Update(&'static str),
}

/// What a callee does with a call, and when, counted from the INVITE; and when either side hangs up, counted from the answer.
#[derive(Debug, Clone, Default)]
pub struct Script {
    pub on_incoming: Vec<(Duration, Act)>,
    pub on_answer: Vec<(Duration, Act)>,
    /// Lives with the caller, counted from the INVITE.
    pub on_start: Vec<(Duration, Act)>,
}

pub struct Party {
    pub address: SocketAddr,
    pub endpoint: Endpoint,
    pub sessions: HashMap<SessionId, Session>,
    pub events: Vec<(SessionId, SessionEvent)>,
    pub script: Script,
    /// Asked one after the other.
    pub challengers: Vec<Challenger>,
    /// Deaf: nothing arrives.
    pub deaf: bool,
    /// Offers to be made as soon as they may be.
    pub wanted: VecDeque<(SessionId, Act)>,
    /// The offer under way.
    pub made: Option<Act>,
    /// How offers are met; answered unless this says otherwise.
    pub refuse_offers: Option<u16>,
}

impl Party {
    pub fn new(address: &str, seed: u64, script: Script) -> Self {
        let config = EndpointConfig {
            user_agent: "link/1".into(),
            accept: Accept::All,
            incoming: true,
            registrar: false,
            max_sessions: 100,
        };
        Self {
            address: address.parse().unwrap(),
            endpoint: Endpoint::new(config, seed),
            sessions: HashMap::new(),
            events: Vec::new(),
            script,
            challengers: Vec::new(),
            deaf: false,
            wanted: VecDeque::new(),
            made: None,
            refuse_offers: None,
        }
    }

    pub fn finished(&self) -> bool {
        let finished = self.events.iter().filter(|(_, event)| *event == SessionEvent::Finished).count();
        self.sessions.is_empty() && finished > 0
    }
}

/// How bad the link is.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    pub loss: f64,
    pub duplication: f64,
    pub delay: (u64, u64),
}

pub struct Link {
    pub now: Instant,
    pub start: Instant,
    pub parties: Vec<Party>,
    pub lost: usize,
    weather: Weather,
    rng: StdRng,
    flying: Vec<(Instant, SocketAddr, Transmit)>,
    /// Where nobody listens: the sender hears of it at once.
    pub refusing: HashSet<Hop>,
    /// What carries the call.
    pub transport: Transport,
    /// Messages sent, lost ones included.
    pub sent: usize,
    /// Tried before the callee.
    pub detours: Vec<Hop>,
    agenda: Vec<(Instant, usize, SessionId, Act)>,
}

impl Link {
    pub fn new(seed: u64, weather: Weather, parties: Vec<Party>) -> Self {
        let now = Instant::now();
        let rng = StdRng::seed_from_u64(seed);
        Self {
            now,
            start: now,
            parties,
            lost: 0,
            weather,
            rng,
            flying: Vec::new(),
            refusing: HashSet::new(),
            transport: Transport::Udp,
            sent: 0,
            detours: Vec::new(),
            agenda: Vec::new(),
        }
    }

    /// Party 0 calls party 1.
    pub fn call(&mut self, password: Option<&str>) -> SessionId {
        let (caller, callee) = (self.parties[0].address, self.parties[1].address);
        let uri = |user: &str, host: SocketAddr| Uri::parse(&format!("sip:{user}@{host}")).unwrap();
        let seed = self.parties[0].endpoint.connect();
        let id = seed.id;
        let credentials =
            |password: &str| Credentials { username: "ada".into(), password: Secret::new(password) };
        let invite = OutgoingInvite {
            target: uri("bob", callee),
            from: Address::new(uri("ada", caller)).with_display("Ada \"A\""),
            to: Address::new(uri("bob", callee)),
            contact: uri("ada", caller),
            hops: self.detours.iter().copied().chain([Hop::new(self.transport, callee)]).collect(),
            local: caller,
            credentials: password.map(credentials),
            sdp_offer: b"offer".to_vec(),
            extra_headers: Vec::new(),
            timing: Timing::default(),
        };
        let session = Session::invite(self.now, seed, invite);
        self.parties[0].sessions.insert(id, session);
        let plans = self.parties[0].script.on_start.clone();
        self.plan(0, id, &plans);
        self.drain(0, id);
        id
    }

    /// Runs until nothing is left to happen. Panics when that does not end.
    pub fn run(&mut self) {
        let patience = Duration::from_secs(600);
        self.run_until(patience);
        assert!(self.now - self.start < patience, "the call goes on for ever");
    }

    /// Runs what happens in this time since the start.
    pub fn run_until(&mut self, end: Duration) {
        let end = self.start + end;
        for _ in 0..20_000 {
            let timers = self
                .parties
                .iter()
                .flat_map(|party| party.sessions.values().filter_map(Session::poll_timeout));
            let flights = self.flying.iter().map(|(at, ..)| *at);
            let plans = self.agenda.iter().map(|(at, ..)| *at);
            let Some(next) = timers.chain(flights).chain(plans).min() else { return };
            if next >= end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            self.step();
        }
        panic!("something never settles");
    }

    fn step(&mut self) {
        let now = self.now;
        while let Some(at) = self.flying.iter().position(|(at, ..)| *at <= now) {
            let (_, source, transmit) = self.flying.remove(at);
            self.arrive(source, transmit);
        }
        while let Some(at) = self.agenda.iter().position(|(at, ..)| *at <= now) {
            let (_, party, id, act) = self.agenda.remove(at);
            self.act(party, id, act);
        }
        for party in 0..self.parties.len() {
            let due = |session: &Session| session.poll_timeout().is_some_and(|at| at <= now);
            let sessions = self.parties[party].sessions.iter();
            let mut due: Vec<SessionId> =
                sessions.filter(|(_, session)| due(session)).map(|(id, _)| *id).collect();
            due.sort();
            for id in due {
                self.parties[party].sessions.get_mut(&id).unwrap().handle_timeout(now);
                self.drain(party, id);
            }
        }
    }

    fn arrive(&mut self, source: SocketAddr, transmit: Transmit) {
        let Some(at) = self.parties.iter().position(|party| party.address == transmit.destination.address)
        else {
            return;
        };
        let now = self.now;
        let party = &mut self.parties[at];
        if party.deaf {
            return;
        }
        let source = Hop::new(transmit.destination.transport, source);
        let local = transmit.destination.address;
        match party.endpoint.handle_message(now, source, local, &transmit.bytes) {
            Received::Session(id, message) => {
                if let Some(session) = party.sessions.get_mut(&id) {
                    session.handle_message(now, source, *message);
                    self.drain(at, id);
                }
            }
            Received::Incoming(call) => self.incoming(at, *call),
            Received::Reply(reply) => self.fly(local, reply),
            Received::Registration(..) | Received::Request(_) => panic!("nobody registers here"),
            Received::Dropped(_) => {}
        }
    }

    fn incoming(&mut self, at: usize, call: IncomingCall) {
        let now = self.now;
        let party = &mut self.parties[at];
        let id = call.seed.id;
        let know = |user: &str| (user == "ada").then(|| Secret::new("secret"));
        let refusal =
            party.challengers.iter_mut().find_map(|one| match one.verify(now, &call.request, know) {
                Verdict::Accepted { .. } => None,
                Verdict::Challenge(fields) | Verdict::Wrong(fields) => Some((one.status(), fields)),
            });
        let contact = Uri::parse(&format!("sip:bob@{}", party.address)).unwrap();
        let mut session = Session::incoming(now, call, contact, Timing::default());
        if let Some((status, fields)) = &refusal {
            session.reject(now, *status, fields);
        }
        party.sessions.insert(id, session);
        if refusal.is_none() {
            let plans = self.parties[at].script.on_incoming.clone();
            self.plan(at, id, &plans);
        }
        self.drain(at, id);
    }

    fn plan(&mut self, party: usize, id: SessionId, plans: &[(Duration, Act)]) {
        self.agenda.extend(plans.iter().map(|(after, act)| (self.now + *after, party, id, *act)));
    }

    fn act(&mut self, party: usize, id: SessionId, act: Act) {
        let now = self.now;
        let Some(session) = self.parties[party].sessions.get_mut(&id) else { return };
        match act {
            Act::Ring => session.ring(now, 180, None),
            Act::EarlyMedia => session.ring(now, 183, Some(b"early")),
            Act::Accept => session.accept(now, b"answer"),
            Act::Reject(status) => session.reject(now, status, &[]),
            Act::HangUp => session.hang_up(now, Some("Q.850;cause=16")),
            Act::Cancel => session.cancel(now),
            Act::AnswerOffer => session.answer_offer(now, b"reanswer"),
            Act::RejectOffer(status) => session.reject_offer(now, status),
            Act::Reinvite(_) | Act::Update(_) => self.parties[party].wanted.push_back((id, act)),
        }
        self.drain(party, id);
    }

    fn drain(&mut self, party: usize, id: SessionId) {
        let source = self.parties[party].address;
        loop {
            let session = self.parties[party].sessions.get_mut(&id);
            let Some(output) = session.and_then(Session::poll_output) else {
                if self.offer(party) {
                    continue;
                }
                return;
            };
            match output {
                SessionOutput::Transmit(transmit) if self.refusing.contains(&transmit.destination) => {
                    let (now, hop) = (self.now, transmit.destination);
                    if let Some(session) = self.parties[party].sessions.get_mut(&id) {
                        session.handle_unreachable(now, hop);
                    }
                }
                SessionOutput::Transmit(transmit) => self.fly(source, transmit),
                SessionOutput::Event(event) => self.told(party, id, event),
            }
        }
    }

    /// Makes the next wanted offer when that may be; `false`: nothing to do.
    fn offer(&mut self, party: usize) -> bool {
        let now = self.now;
        let party = &mut self.parties[party];
        let Some((id, act)) = party.wanted.front().copied() else { return false };
        let may = |session: &&mut Session| match act {
            Act::Update(_) => session.can_update(),
            _ => session.can_offer(),
        };
        let Some(session) = party.sessions.get_mut(&id).filter(may) else { return false };
        let made = match act {
            Act::Reinvite("") => session.reinvite(now, None),
            Act::Reinvite(sdp) => session.reinvite(now, Some(sdp.as_bytes())),
            Act::Update(sdp) => session.update(now, sdp.as_bytes()),
            other => panic!("{other:?} is no offer"),
        };
        made.unwrap();
        party.made = Some(act);
        party.wanted.pop_front();
        true
    }

    fn told(&mut self, party: usize, id: SessionId, event: SessionEvent) {
        self.parties[party].events.push((id, event.clone()));
        match event {
            SessionEvent::Answered { .. } | SessionEvent::Acknowledged { .. } => {
                // Once: later ones acknowledge re-INVITEs.
                let begun = |(known, event): &&(SessionId, SessionEvent)| {
                    *known == id
                        && matches!(event, SessionEvent::Answered { .. } | SessionEvent::Acknowledged { .. })
                };
                if self.parties[party].events.iter().filter(begun).count() == 1 {
                    let plans = self.parties[party].script.on_answer.clone();
                    self.plan(party, id, &plans);
                }
            }
            SessionEvent::Offer { .. } => {
                let act = self.parties[party].refuse_offers.map_or(Act::AnswerOffer, Act::RejectOffer);
                self.plan(party, id, &[(Duration::from_millis(50), act)])
            }
            // Both offered at once: again.
            SessionEvent::OfferRefused { status: 491 } => {
                let party = &mut self.parties[party];
                party.wanted.extend(party.made.take().map(|act| (id, act)));
            }
            SessionEvent::Finished => {
                self.parties[party].sessions.remove(&id);
                self.parties[party].endpoint.remove(id);
            }
            _ => {}
        }
    }

    fn fly(&mut self, source: SocketAddr, transmit: Transmit) {
        self.sent += 1;
        let copies = 1 + usize::from(self.rng.random_bool(self.weather.duplication));
        for _ in 0..copies {
            if self.rng.random_bool(self.weather.loss) {
                self.lost += 1;
                continue;
            }
            let delay =
                Duration::from_millis(self.rng.random_range(self.weather.delay.0..=self.weather.delay.1));
            self.flying.push((self.now + delay, source, transmit.clone()));
        }
    }
}
