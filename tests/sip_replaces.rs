//! Attended transfers: one party sends the second to the third, whose call with the first is replaced. And what Replaces may
//! not name.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    dead_code,
    reason = "tests begin at some time, read their data and may panic, and each uses a part of the pair"
)]

#[path = "support/pair.rs"]
mod pair;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use callahead::sip::endpoint::{Endpoint, Received};
use callahead::sip::message::Message;
use callahead::sip::refer::{ReferTo, Replaces};
use callahead::sip::session::{Failure, IncomingCall, Referral, Session, SessionEvent, SessionOutput, Side};
use callahead::sip::transaction::Timing;
use callahead::sip::{Hop, SessionId, Transmit};
use pair::{Weather, endpoint, outgoing, uri};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const MILD: Weather = Weather(0.15, 0.1, (1, 200));
const CLEAR: Weather = Weather(0.0, 0.0, (10, 10));

/// A phone that takes every call and every transfer.
struct Phone {
    address: SocketAddr,
    endpoint: Endpoint,
    sessions: BTreeMap<SessionId, Session>,
    events: Vec<(SessionId, SessionEvent)>,
    sent: Vec<Message>,
    /// The session whose REFER a new call of ours serves.
    serving: Option<(SessionId, SessionId)>,
    /// Whether calls are picked up.
    picks_up: bool,
}

struct Office {
    now: Instant,
    phones: Vec<Phone>,
    weather: Weather,
    rng: StdRng,
    flying: Vec<(Instant, SocketAddr, Transmit)>,
}

impl Office {
    fn new(seed: u64, weather: Weather) -> Self {
        let phone = |at: u64| Phone {
            address: format!("192.0.2.{}:5060", at + 1).parse().unwrap(),
            endpoint: endpoint(seed * 10 + at),
            sessions: BTreeMap::new(),
            events: Vec::new(),
            sent: Vec::new(),
            serving: None,
            picks_up: true,
        };
        let rng = StdRng::seed_from_u64(seed);
        Self { now: Instant::now(), phones: (0..3).map(phone).collect(), weather, rng, flying: Vec::new() }
    }

    fn call(&mut self, from: usize, to: SocketAddr, replaces: Option<&Replaces>) -> SessionId {
        let mut invite = outgoing(self.phones[from].address, to);
        invite.extra_headers = replaces.map(Replaces::fields).unwrap_or_default();
        let seed = self.phones[from].endpoint.connect();
        let id = seed.id;
        self.phones[from].sessions.insert(id, Session::invite(self.now, seed, invite));
        self.drain(from, id);
        id
    }

    fn act<T>(&mut self, phone: usize, id: SessionId, act: impl FnOnce(&mut Session, Instant) -> T) -> T {
        let done = act(self.phones[phone].sessions.get_mut(&id).unwrap(), self.now);
        self.drain(phone, id);
        done
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let sessions = self.phones.iter().flat_map(|phone| phone.sessions.values());
            let timers = sessions.filter_map(Session::poll_timeout);
            let next = timers.chain(self.flying.iter().map(|(at, ..)| *at)).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            while let Some(at) = self.flying.iter().position(|(at, ..)| *at <= self.now) {
                let (_, source, transmit) = self.flying.remove(at);
                self.arrive(Hop::udp(source), &transmit);
            }
            for phone in 0..self.phones.len() {
                let ids: Vec<SessionId> = self.phones[phone].sessions.keys().copied().collect();
                for id in ids {
                    let due =
                        self.phones[phone].sessions[&id].poll_timeout().is_some_and(|at| at <= self.now);
                    if due {
                        self.act(phone, id, |session, now| session.handle_timeout(now));
                    }
                }
            }
        }
        self.now = end;
    }

    fn arrive(&mut self, source: Hop, transmit: &Transmit) {
        let (now, address) = (self.now, transmit.destination.address);
        let Some(at) = self.phones.iter().position(|phone| phone.address == address) else { return };
        match self.phones[at].endpoint.handle_message(now, source, address, &transmit.bytes) {
            Received::Session(id, message) if self.phones[at].sessions.contains_key(&id) => {
                self.act(at, id, |session, now| session.handle_message(now, source, *message));
            }
            Received::Incoming(call) => self.incoming(at, *call),
            Received::Reply(reply) => self.fly(at, reply),
            _ => {}
        }
    }

    /// As [`IncomingCall::replaces`] asks: accept the new one and hang up the old one, or reject the new one.
    fn incoming(&mut self, at: usize, call: IncomingCall) {
        let (id, replaces) = (call.seed.id, call.replaces.clone());
        let contact = uri(&format!("sip:bob@{}", self.phones[at].address));
        let session = Session::incoming(self.now, call, contact, Timing::default());
        self.phones[at].sessions.insert(id, session);
        let verdict =
            replaces.as_ref().map(|(old, replaces)| self.phones[at].sessions[old].may_be_replaced(replaces));
        match verdict {
            Some(Err(status)) => self.act(at, id, |session, now| session.reject(now, status, &[])),
            _ if self.phones[at].picks_up => self.act(at, id, |session, now| session.accept(now, b"answer")),
            _ => self.act(at, id, |session, now| session.ring(now, 180, None)),
        }
        if let (Some((old, _)), Some(Ok(()))) = (replaces, verdict) {
            self.act(at, old, |session, now| session.hang_up(now, None));
        }
    }

    fn drain(&mut self, at: usize, id: SessionId) {
        while let Some(output) = self.phones[at].sessions.get_mut(&id).and_then(Session::poll_output) {
            match output {
                SessionOutput::Transmit(transmit) => self.fly(at, transmit),
                SessionOutput::Event(event) => self.told(at, id, event),
            }
        }
    }

    fn told(&mut self, at: usize, id: SessionId, event: SessionEvent) {
        let now = self.now;
        self.phones[at].events.push((id, event.clone()));
        let report = |office: &mut Self, status| {
            if let Some((referred, _)) = office.phones[at].serving.filter(|(_, new)| *new == id) {
                office.act(at, referred, |session, now| session.report_refer(now, status));
            }
        };
        match event {
            SessionEvent::Refer { target, replaces, .. } => {
                self.phones[at].sessions.get_mut(&id).unwrap().accept_refer(now);
                let to = target.socket_addr().unwrap();
                let new = self.call(at, to, replaces.as_ref());
                self.phones[at].serving = Some((id, new));
            }
            SessionEvent::Answered { .. } => report(self, 200),
            SessionEvent::Failed(Failure::Status { code, .. }) => report(self, code),
            SessionEvent::Referral(Referral::Finished { status: Some(200) }) => {
                self.phones[at].sessions.get_mut(&id).unwrap().hang_up(now, None);
            }
            SessionEvent::Finished => {
                self.phones[at].sessions.remove(&id);
                self.phones[at].endpoint.remove(id);
            }
            _ => {}
        }
    }

    fn fly(&mut self, from: usize, transmit: Transmit) {
        self.phones[from].sent.push(Message::parse(&transmit.bytes).unwrap());
        let Weather(loss, doubling, (least, most)) = self.weather;
        for _ in 0..1 + usize::from(self.rng.random_bool(doubling)) {
            if !self.rng.random_bool(loss) {
                let delay = Duration::from_millis(self.rng.random_range(least..=most));
                self.flying.push((self.now + delay, self.phones[from].address, transmit.clone()));
            }
        }
    }

    fn heard(&self, phone: usize, id: SessionId) -> Vec<&SessionEvent> {
        let of = self.phones[phone].events.iter().filter(|(known, _)| *known == id);
        of.map(|(_, event)| event).collect()
    }
}

/// Ada (0) talks to Bob (1), asks Carol (2), and connects the two.
#[test]
fn an_attended_transfer_leaves_the_other_two_talking() {
    for seed in 0..60 {
        let mut office = Office::new(seed, CLEAR);
        let (bob, carol) = (office.phones[1].address, office.phones[2].address);
        let (to_bob, to_carol) = (office.call(0, bob, None), office.call(0, carol, None));
        office.pass(Duration::from_secs(1));
        office.weather = if seed == 0 { CLEAR } else { MILD };
        let replaces = office.phones[0].sessions[&to_carol].to_be_replaced();
        assert!(replaces.is_some());
        let refer_to = ReferTo { target: uri(&format!("sip:carol@{carol}")), replaces };
        office.act(0, to_bob, |session, now| session.refer(now, &refer_to)).unwrap();
        office.pass(Duration::from_secs(250));
        let finished = SessionEvent::Referral(Referral::Finished { status: Some(200) });
        assert!(office.heard(0, to_bob).contains(&&finished), "seed {seed}: {:?}", office.heard(0, to_bob));
        let ended = |by: Side, events: &[&SessionEvent]| {
            events.iter().any(|event| matches!(event, SessionEvent::Ended { by: who, .. } if *who == by))
        };
        assert!(ended(Side::Local, &office.heard(0, to_bob)), "seed {seed}");
        // Carol hung up on Ada, for Bob took Ada's place.
        assert!(ended(Side::Remote, &office.heard(0, to_carol)), "seed {seed}");
        assert!(office.phones[0].sessions.is_empty(), "seed {seed}");
        let left = [1, 2].map(|phone| office.phones[phone].sessions.len());
        assert_eq!(left, [1, 1], "seed {seed}");
        // And they can hang up on each other.
        let id = *office.phones[1].sessions.keys().next().unwrap();
        office.act(1, id, |session, now| session.hang_up(now, None));
        office.pass(Duration::from_secs(100));
        assert!(office.phones.iter().all(|phone| phone.sessions.is_empty()), "seed {seed}");
    }
}

/// What the INVITE with this Replaces comes to: `Ok` when it was answered.
fn replacing(office: &mut Office, replaces: &Replaces) -> Result<(), u16> {
    let carol = office.phones[2].address;
    let id = office.call(1, carol, Some(replaces));
    office.pass(Duration::from_secs(1));
    office
        .heard(1, id)
        .iter()
        .find_map(|event| match event {
            SessionEvent::Answered { .. } => Some(Ok(())),
            SessionEvent::Failed(Failure::Status { code, .. }) => Some(Err(*code)),
            _ => None,
        })
        .unwrap()
}

#[test]
fn replaces_that_names_no_call_is_refused() {
    let mut office = Office::new(1, CLEAR);
    let carol = office.phones[2].address;
    let id = office.call(0, carol, None);
    office.pass(Duration::from_secs(1));
    let right = office.phones[0].sessions[&id].to_be_replaced().unwrap();
    let table = [
        (Replaces { call_id: "unknown".into(), ..right.clone() }, Err(481)),
        (Replaces { to_tag: "unknown".into(), ..right.clone() }, Err(481)),
        (Replaces { from_tag: "unknown".into(), ..right.clone() }, Err(481)),
        (Replaces { early_only: true, ..right.clone() }, Err(486)),
        (right.clone(), Ok(())),
        // It is over now.
        (right, Err(603)),
    ];
    for (replaces, expected) in table {
        assert_eq!(replacing(&mut office, &replaces), expected, "{replaces:?}");
    }
}

/// Carol's call to Ada rings: Bob may take Ada's place.
#[test]
fn only_who_rings_somebody_can_be_picked_up() {
    let mut office = Office::new(1, CLEAR);
    let ada = office.phones[0].address;
    office.phones[0].picks_up = false;
    let ringing = office.call(2, ada, None);
    office.pass(Duration::from_secs(1));
    let rings = office.phones[0].sent.last().unwrap();
    let replaces = Replaces {
        call_id: rings.call_id().into_owned(),
        to_tag: rings.from_tag().unwrap(),
        from_tag: rings.to_tag().unwrap(),
        early_only: true,
    };
    assert_eq!(replacing(&mut office, &Replaces { from_tag: "other".into(), ..replaces.clone() }), Err(481));
    assert_eq!(replacing(&mut office, &replaces), Ok(()));
    let heard = office.heard(2, ringing);
    assert!(heard.contains(&&SessionEvent::Failed(Failure::Cancelled)), "{heard:?}");
}
