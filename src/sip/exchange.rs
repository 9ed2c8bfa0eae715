//! One request outside of calls and its answer: MESSAGE (RFC 3428), OPTIONS (RFC 3261 §11), or any other method that makes
//! no dialog.
//!
//! Challenged requests are sent again with credentials, a 401 after a 407 included; hops that are silent, unreachable or
//! answer 503 are followed by the next one (RFC 3263 §4.3). Whatever else comes back is the answer: what it means is for
//! whoever asked.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::auth::{Credentials, DigestClient};
use super::body::Body;
use super::dialog::via;
use super::hop::{Hop, Transport};
use super::hops::Hops;
use super::message::{Address, Header, HeaderName, Message, Method, Uri};
use super::session::Failure;
use super::transaction::{ClientNonInvite, Fired, Timing};
use super::{ExchangeId, ExchangeSeed, Transmit, branch};

/// The most challenges that one exchange answers.
const MAX_CHALLENGES: u8 = 5;

/// A request to make.
#[derive(Debug, Clone)]
pub struct OutgoingRequest {
    /// MESSAGE, OPTIONS, ...; not INVITE, ACK or CANCEL, which need a session.
    pub method: Method,
    /// The Request-URI.
    pub target: Uri,
    /// From, without a tag.
    pub from: Address,
    /// To.
    pub to: Address,
    /// Contact; a MESSAGE has none (RFC 3428 §4).
    pub contact: Option<Uri>,
    /// Route values, the nearest first: an outbound proxy, a Service-Route (RFC 3608).
    pub routes: Vec<String>,
    /// Where it is sent: each in turn until one answers (RFC 3263 §4.3). Not empty.
    pub hops: Vec<Hop>,
    /// Our address as the other side sees it, for Via.
    pub local: SocketAddr,
    /// For 401 and 407.
    pub credentials: Option<Credentials>,
    /// More fields.
    pub headers: Vec<Header>,
    /// The body.
    pub body: Option<Body>,
    /// T1, T2, T4.
    pub timing: Timing,
}

/// One thing that an exchange wants done or known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExchangeOutput {
    /// Send this.
    Transmit(Transmit),
    /// What came of it. Nothing follows: drop the exchange and remove it from the endpoint.
    Outcome(Outcome),
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A final response: 200 to 699. A 401 or 407 means that our credentials were refused, or that there are none.
    Answered {
        /// Who answered.
        hop: Hop,
        /// The response.
        response: Box<Message>,
    },
    /// No hop answered: [`Failure::Timeout`] or [`Failure::Unreachable`], of the last one tried.
    Unanswered(Failure),
}

/// One request. Do one thing, then drain [`Exchange::poll_output`].
#[derive(Debug)]
pub struct Exchange {
    seed: ExchangeSeed,
    request: OutgoingRequest,
    rng: StdRng,
    auth: DigestClient,
    hops: Option<Hops>,
    outputs: VecDeque<ExchangeOutput>,
    transaction: Option<ClientNonInvite>,
    cseq: u32,
    challenges: u8,
}

impl Exchange {
    /// Starts; the request is the first output.
    pub fn new(now: Instant, seed: ExchangeSeed, request: OutgoingRequest) -> Self {
        let mut exchange = Self {
            rng: StdRng::seed_from_u64(seed.rng_seed),
            auth: DigestClient::new(request.credentials.clone()),
            hops: Hops::new(&request.hops),
            seed,
            request,
            outputs: VecDeque::new(),
            transaction: None,
            cseq: 0,
            challenges: 0,
        };
        exchange.send(now);
        exchange
    }

    /// The name under which the endpoint knows it.
    pub fn id(&self) -> ExchangeId {
        self.seed.id
    }

    /// Takes a response that the endpoint routed here.
    pub fn handle_message(&mut self, now: Instant, response: Message) {
        let asked = self.transaction.as_mut().filter(|transaction| transaction.matches(&response));
        let Some(transaction) = asked else { return };
        let taken = transaction.handle_response(now, &response);
        let (hop, status) = (transaction.destination(), response.status().unwrap_or_default());
        if !taken.pass || status < 200 {
            return;
        }
        // Retransmissions of this response name a branch that we no longer know: nothing is left to absorb them for.
        self.transaction = None;
        match status {
            401 | 407 if self.challenges < MAX_CHALLENGES && self.auth.take_challenges(&response) => {
                self.challenges += 1;
                self.send(now);
            }
            503 if self.next_hop(now, hop) => {}
            _ => self.conclude(Outcome::Answered { hop, response: Box::new(response) }),
        }
    }

    /// The shell could not send to `hop`: the next one is tried at once.
    pub fn handle_unreachable(&mut self, now: Instant, hop: Hop) {
        let waits = |asked: &mut ClientNonInvite| asked.is_trying() && asked.destination() == hop;
        if self.transaction.take_if(waits).is_some() {
            self.lose(now, hop, Failure::Unreachable);
        }
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.transaction.as_ref().and_then(ClientNonInvite::poll_timeout)
    }

    /// Handles what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while self.poll_timeout().is_some_and(|at| at <= now)
            && let Some(transaction) = &mut self.transaction
        {
            let hop = transaction.destination();
            match transaction.handle_timeout(now) {
                Fired::Send(transmit) => self.outputs.push_back(ExchangeOutput::Transmit(transmit)),
                Fired::TimedOut => {
                    self.transaction = None;
                    self.lose(now, hop, Failure::Timeout);
                }
                Fired::Nothing => {}
            }
        }
    }

    /// What the exchange wants done or known; `None` when everything was taken.
    pub fn poll_output(&mut self) -> Option<ExchangeOutput> {
        self.outputs.pop_front()
    }

    fn conclude(&mut self, outcome: Outcome) {
        self.outputs.push_back(ExchangeOutput::Outcome(outcome));
    }

    fn lose(&mut self, now: Instant, hop: Hop, failure: Failure) {
        if !self.next_hop(now, hop) {
            self.conclude(Outcome::Unanswered(failure));
        }
    }

    /// The request to the hop after `failed`: `false` when there is none.
    fn next_hop(&mut self, now: Instant, failed: Hop) -> bool {
        let another = self.hops.as_mut().is_some_and(|hops| hops.give_up(failed));
        if another {
            self.send(now);
        }
        another
    }

    fn send(&mut self, now: Instant) {
        self.cseq += 1;
        let mut message = self.message();
        self.auth.authorize(&mut message, &mut self.rng);
        let Some(hops) = &self.hops else {
            return self.conclude(Outcome::Unanswered(Failure::Unreachable));
        };
        let hop = hops.carry(&mut message);
        let timing = self.request.timing;
        let (mut transaction, transmit) = ClientNonInvite::new(now, message, hop, timing);
        if let Some(patience) = hops.patience(timing.t1) {
            transaction.give_up_at(now + patience);
        }
        self.transaction = Some(transaction);
        self.outputs.push_back(ExchangeOutput::Transmit(transmit));
    }

    fn message(&mut self) -> Message {
        let OutgoingRequest { method, target, from, to, contact, routes, headers, body, local, .. } =
            &self.request;
        let mut message = Message::request(method.clone(), target.clone());
        message.push(HeaderName::Via, &via(Transport::Udp, *local, &branch(&mut self.rng)));
        routes.iter().for_each(|route| message.push(HeaderName::Route, route));
        message.push(HeaderName::MaxForwards, "70");
        message.push(HeaderName::From, &format!("{from};tag={}", self.seed.local_tag));
        message.push(HeaderName::To, &to.to_string());
        message.push(HeaderName::CallId, &self.seed.call_id);
        message.push(HeaderName::CSeq, &format!("{} {method}", self.cseq));
        if let Some(contact) = contact {
            message.push(HeaderName::Contact, &format!("<{contact}>"));
        }
        if !self.seed.user_agent.is_empty() {
            message.push(HeaderName::UserAgent, &self.seed.user_agent);
        }
        headers.iter().for_each(|header| message.push_header(header.clone()));
        Body::fill(body.as_ref(), &mut message);
        message
    }
}
