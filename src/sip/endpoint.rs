//! The endpoint: whose is this message?
//!
//! What belongs to a session goes to it by Call-ID and our tag, or by the transaction of its INVITE. The rest is answered on
//! the spot as RFC 3261 §8.2 orders, or dropped with a [`DropReason`]. The endpoint has no timers; what it remembers is
//! bounded and swept when it is used.

mod glance;
mod house;
mod judge;
mod replies;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub use self::house::House;

use self::glance::Glance;
use self::house::Door;
use self::judge::Judgement;
use self::replies::Replies;
use super::message::{Defect, Header, HeaderName, Malformed, Message, Method};
use super::session::IncomingCall;
use super::transaction::ServerKey;
use super::{
    ExchangeId, ExchangeSeed, Hop, RegistrationId, RegistrationSeed, SessionId, SessionSeed, Transmit, token,
};

/// Whose first messages are looked at. Messages of a call that stands are taken from anywhere: they name its tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accept {
    /// Everybody's.
    All,
    /// Only these addresses', whatever the port.
    From(HashSet<IpAddr>),
}

impl Accept {
    /// Whether first messages from `source` are looked at, and its connections are taken.
    pub fn admits(&self, source: Hop) -> bool {
        match self {
            Self::All => true,
            Self::From(addresses) => addresses.contains(&source.address.ip()),
        }
    }

    /// Whether `source` is admitted by its address: a trunk, which may have as many connections as it likes.
    pub fn names(&self, source: Hop) -> bool {
        match self {
            Self::All => false,
            Self::From(addresses) => addresses.contains(&source.address.ip()),
        }
    }
}

/// What an endpoint is told at its start.
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// For User-Agent and Server.
    pub user_agent: String,
    /// Whose messages are looked at.
    pub accept: Accept,
    /// Whether incoming calls are handed up; otherwise they get 403.
    pub incoming: bool,
    /// Whether REGISTER is handed up as [`Received::Request`]; otherwise it gets 405.
    pub registrar: bool,
    /// The most sessions at once; further INVITEs get 503.
    pub max_sessions: usize,
}

/// What became of a datagram.
#[derive(Debug)]
pub enum Received {
    /// For a session.
    Session(SessionId, Box<Message>),
    /// For a registration.
    Registration(RegistrationId, Box<Message>),
    /// For an exchange.
    Exchange(ExchangeId, Box<Message>),
    /// A new call: make a session of it, or forget it with [`Endpoint::remove`].
    Incoming(Box<IncomingCall>),
    /// A request outside of calls for whoever asked for it (a registrar). Answer with [`Endpoint::respond`].
    Request(Box<Message>),
    /// Answered at once: send this.
    Reply(Transmit),
    /// Nothing to do.
    Dropped(DropReason),
}

/// Why a datagram was dropped; whoever owns the endpoint counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// Line breaks only: keeps a NAT binding open.
    KeepAlive,
    /// From an address that is not accepted, and for no call of ours.
    UnknownSource,
    /// A REGISTER more than its source, or all strangers together, may send.
    TooMany,
    /// No SIP message, or one that may not be answered.
    Malformed,
    /// A response to nothing of ours.
    UnmatchedResponse,
    /// An ACK to nothing of ours.
    UnmatchedAck,
    /// A response with further Vias: it was meant for a proxy (RFC 3261 §8.1.3.3).
    ForeignVia,
}

/// Demultiplexes messages, and mints names and seeds. See the module's page.
#[derive(Debug)]
pub struct Endpoint {
    config: EndpointConfig,
    rng: StdRng,
    next_id: u64,
    /// Sessions by Call-ID and our tag.
    dialogs: HashMap<(String, String), SessionId>,
    /// Incoming sessions by the transaction of their INVITE: its retransmissions and CANCEL do not know our tag.
    invites: HashMap<ServerKey, SessionId>,
    /// Incoming sessions by Call-ID, caller's tag and CSeq: the same INVITE on another path (RFC 3261 §8.2.2.2).
    origins: HashMap<(String, String, u32), SessionId>,
    /// The keys of each session in the three maps above.
    sessions: HashMap<SessionId, Keys>,
    registrations: HashMap<(String, String), RegistrationId>,
    exchanges: HashMap<(String, String), ExchangeId>,
    /// How many sessions and registrations have a Call-ID: what strangers send is read only if they know one.
    call_ids: HashMap<String, u32>,
    door: Door,
    replies: Replies,
}

#[derive(Debug)]
struct Keys {
    dialog: (String, String),
    incoming: Option<(ServerKey, (String, String, u32))>,
}

impl Endpoint {
    /// An endpoint whose names and randomness all come from `seed`.
    pub fn new(config: EndpointConfig, seed: u64) -> Self {
        Self {
            config,
            rng: StdRng::seed_from_u64(seed),
            next_id: 0,
            dialogs: HashMap::new(),
            invites: HashMap::new(),
            origins: HashMap::new(),
            sessions: HashMap::new(),
            registrations: HashMap::new(),
            exchanges: HashMap::new(),
            call_ids: HashMap::new(),
            door: Door::default(),
            replies: Replies::default(),
        }
    }

    /// Changes whose first messages are looked at, when trunks are reloaded.
    pub fn set_accept(&mut self, accept: Accept) {
        self.config.accept = accept;
    }

    /// Changes who may register from anywhere, and from where who has registered may call.
    pub fn set_house(&mut self, house: House) {
        self.door.set_house(house);
    }

    /// How many sessions are known.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Says whose a message is that came from `source`. `local` is the address that it was sent to.
    pub fn handle_message(&mut self, now: Instant, source: Hop, local: SocketAddr, bytes: &[u8]) -> Received {
        if !self.is_worth_reading(source, bytes) {
            return Received::Dropped(DropReason::UnknownSource);
        }
        match Message::parse(bytes) {
            Ok(message) if message.is_response() => self.route_response(source, message),
            Ok(message) => self.route_request(now, source, local, message),
            Err(Malformed { defect: Defect::Empty, .. }) => Received::Dropped(DropReason::KeepAlive),
            Err(_) if !self.is_known(source) => Received::Dropped(DropReason::UnknownSource),
            Err(Malformed { answerable: None, .. }) => Received::Dropped(DropReason::Malformed),
            Err(Malformed { defect, answerable: Some(headers) }) => {
                // Nothing in it can be trusted, its Via included: the answer goes where it came from.
                let mut response =
                    Message::response(&headers, defect.status(), Some(&token(&mut self.rng)), source);
                self.name_server(&mut response);
                response.set_body(None);
                Received::Reply(Transmit { destination: source, bytes: response.to_bytes() })
            }
        }
    }

    /// Names a call to be made; its messages are routed to the name from now on.
    pub fn connect(&mut self) -> SessionSeed {
        let call_id = format!("{}{}", token(&mut self.rng), token(&mut self.rng));
        self.mint(call_id, None)
    }

    /// Names a registration; its messages are routed to the name from now on.
    pub fn register(&mut self) -> RegistrationSeed {
        let call_id = format!("{}{}", token(&mut self.rng), token(&mut self.rng));
        let local_tag = token(&mut self.rng);
        self.next_id += 1;
        let id = RegistrationId(self.next_id);
        self.count_call_id(&call_id);
        self.registrations.insert((call_id.clone(), local_tag.clone()), id);
        let user_agent = self.config.user_agent.clone();
        RegistrationSeed { id, call_id, local_tag, rng_seed: self.rng.next_u64(), user_agent }
    }

    /// Names a request outside of calls; its answers are routed to the name from now on.
    pub fn exchange(&mut self) -> ExchangeSeed {
        let call_id = format!("{}{}", token(&mut self.rng), token(&mut self.rng));
        let local_tag = token(&mut self.rng);
        self.next_id += 1;
        let id = ExchangeId(self.next_id);
        self.count_call_id(&call_id);
        self.exchanges.insert((call_id.clone(), local_tag.clone()), id);
        let user_agent = self.config.user_agent.clone();
        ExchangeSeed { id, call_id, local_tag, rng_seed: self.rng.next_u64(), user_agent }
    }

    /// Forgets a session.
    pub fn remove(&mut self, id: SessionId) {
        let Some(keys) = self.sessions.remove(&id) else { return };
        self.dialogs.remove(&keys.dialog);
        self.forget_call_id(&keys.dialog.0);
        if let Some((key, origin)) = keys.incoming {
            self.invites.remove(&key);
            self.origins.remove(&origin);
        }
    }

    /// Forgets a registration.
    pub fn remove_registration(&mut self, id: RegistrationId) {
        let gone: Vec<_> = self.registrations.extract_if(|_, known| *known == id).collect();
        gone.iter().for_each(|((call_id, _), _)| self.forget_call_id(call_id));
    }

    /// Forgets an exchange.
    pub fn remove_exchange(&mut self, id: ExchangeId) {
        let gone: Vec<_> = self.exchanges.extract_if(|_, known| *known == id).collect();
        gone.iter().for_each(|((call_id, _), _)| self.forget_call_id(call_id));
    }

    /// Answers a [`Received::Request`] that came from `source`. Retransmissions of it get the same answer for 32 s.
    pub fn respond(
        &mut self,
        now: Instant,
        source: Hop,
        request: &Message,
        status: u16,
        headers: &[Header],
    ) -> Transmit {
        let mut response = Message::response(request.headers(), status, Some(&token(&mut self.rng)), source);
        self.name_server(&mut response);
        headers.iter().for_each(|header| response.push_header(header.clone()));
        response.set_body(None);
        let transmit =
            Transmit { destination: request.response_destination(source), bytes: response.to_bytes() };
        self.replies.keep(now, ServerKey::of(request), transmit.clone());
        transmit
    }

    /// Whether `source` is a trunk or a telephone of the house.
    fn is_known(&self, source: Hop) -> bool {
        self.config.accept.admits(source) || self.door.knows(source.address.ip())
    }

    /// Whether a message can be for us at all. What strangers send in floods is dropped here, unread and without a trace.
    fn is_worth_reading(&self, source: Hop, bytes: &[u8]) -> bool {
        if self.is_known(source) || bytes.trim_ascii().is_empty() {
            return true;
        }
        let glance = Glance::at(bytes);
        (glance.register && self.door.is_open())
            || glance.call_id.is_some_and(|call_id| self.call_ids.contains_key(call_id))
    }

    fn count_call_id(&mut self, call_id: &str) {
        *self.call_ids.entry(call_id.to_owned()).or_default() += 1;
    }

    fn forget_call_id(&mut self, call_id: &str) {
        if let Some(count) = self.call_ids.get_mut(call_id) {
            *count -= 1;
            if *count == 0 {
                self.call_ids.remove(call_id);
            }
        }
    }

    fn name_server(&self, response: &mut Message) {
        if !self.config.user_agent.is_empty() {
            response.push(HeaderName::Server, &self.config.user_agent);
        }
    }

    fn mint(&mut self, call_id: String, incoming: Option<(ServerKey, (String, String, u32))>) -> SessionSeed {
        self.next_id += 1;
        let id = SessionId(self.next_id);
        let local_tag = token(&mut self.rng);
        self.count_call_id(&call_id);
        let dialog = (call_id.clone(), local_tag.clone());
        self.dialogs.insert(dialog.clone(), id);
        if let Some((key, origin)) = &incoming {
            self.invites.insert(key.clone(), id);
            self.origins.insert(origin.clone(), id);
        }
        self.sessions.insert(id, Keys { dialog, incoming });
        let user_agent = self.config.user_agent.clone();
        SessionSeed { id, call_id, local_tag, rng_seed: self.rng.next_u64(), user_agent }
    }

    fn route_response(&self, source: Hop, response: Message) -> Received {
        let key = (response.call_id().into_owned(), response.from_tag().unwrap_or_default());
        let known = self.dialogs.contains_key(&key)
            || self.registrations.contains_key(&key)
            || self.exchanges.contains_key(&key);
        if !known {
            let stranger = !self.is_known(source);
            let reason = if stranger { DropReason::UnknownSource } else { DropReason::UnmatchedResponse };
            return Received::Dropped(reason);
        }
        if response.list(HeaderName::Via).len() > 1 {
            return Received::Dropped(DropReason::ForeignVia);
        }
        let response = Box::new(response);
        if let Some(id) = self.dialogs.get(&key) {
            Received::Session(*id, response)
        } else if let Some(id) = self.registrations.get(&key) {
            Received::Registration(*id, response)
        } else if let Some(id) = self.exchanges.get(&key) {
            Received::Exchange(*id, response)
        } else {
            Received::Dropped(DropReason::UnmatchedResponse)
        }
    }

    fn route_request(&mut self, now: Instant, source: Hop, local: SocketAddr, request: Message) -> Received {
        let to_tag = request.to_tag();
        let dialog = to_tag.clone().and_then(|tag| self.dialogs.get(&(request.call_id().into_owned(), tag)));
        let method = request.method().cloned().unwrap_or(Method::Options);
        let invite = match method {
            Method::Invite | Method::Ack | Method::Cancel => {
                self.invites.get(&ServerKey::of_invite(&request))
            }
            _ => None,
        };
        if let Some(id) = dialog.or(invite) {
            return Received::Session(*id, Box::new(request));
        }
        if !self.config.accept.admits(source)
            && let Err(reason) = self.door.admit(now, source.address.ip(), &method, &request)
        {
            return Received::Dropped(reason);
        }
        if method == Method::Ack {
            return Received::Dropped(DropReason::UnmatchedAck);
        }
        if let Some(again) = self.replies.find(now, &ServerKey::of(&request)) {
            return Received::Reply(again);
        }
        match self.judge(&method, to_tag.is_some(), &request) {
            Judgement::Answer(status, headers) => {
                Received::Reply(self.respond(now, source, &request, status, &headers))
            }
            Judgement::HandUp => Received::Request(Box::new(request)),
            Judgement::Call => {
                let origin = origin(&request);
                let seed = self.mint(origin.0.clone(), Some((ServerKey::of(&request), origin)));
                Received::Incoming(Box::new(IncomingCall { seed, request, source, local }))
            }
        }
    }
}

fn origin(request: &Message) -> (String, String, u32) {
    let number = request.cseq().map(|cseq| cseq.number).unwrap_or_default();
    (request.call_id().into_owned(), request.from_tag().unwrap_or_default(), number)
}
