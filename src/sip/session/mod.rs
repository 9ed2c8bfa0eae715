//! One call: the INVITE session of a caller or callee (RFC 3261 §13-15), with the transactions and the dialog that it needs.
//!
//! ```text
//!  invite()   -> Inviting --2xx--------> Established --BYE, hang_up--> Over -> Finished
//!                   \--refused, cancel, timeout----------------------/
//!  incoming() -> Ringing --accept------> Established
//!                   \--reject, CANCEL--> Over
//! ```
//! `Over` lingers until every transaction is done, so that lost packets are repeated and late ones answered.
//!
//! | file | what it does |
//! |---|---|
//! | `caller`, `callee` | the first INVITE of either side; the callee's also answers re-INVITEs |
//! | `offers` | whose turn it is to offer and answer; back-off after glare |
//! | `reinvite`, `update` | our re-INVITE; UPDATE both ways |
//! | `reliable` | provisional responses that want a PRACK, both ways; the minute's reminder that it rings |
//! | `refresh` | the session timer |
//! | `in_dialog` | everything else within the call |
//!
//! Do one thing (a message, a command, a timeout), then drain [`Session::poll_output`].

mod callee;
mod caller;
mod event;
mod in_dialog;
mod offers;
mod refresh;
mod reinvite;
mod reliable;
mod update;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

pub use event::{Failure, SessionEvent, SessionOutput, Side};
pub use offers::CannotOffer;
pub(crate) use refresh::too_brief;

use self::callee::{PendingInvite, UnackedAnswer};
use self::caller::{Ack, Calling};
use self::in_dialog::Request;
use self::offers::Offers;
use self::refresh::Refresh;
use self::reliable::Reliable;
use super::auth::{Credentials, DigestClient};
use super::dialog::Dialog;
use super::message::{Address, Header, HeaderName, Message, Method, Uri, decimal, lex};
use super::transaction::{Fired, ServerInvite, ServerNonInvite, Timing};
use super::{Hop, SessionId, SessionSeed, Transmit};

/// The most transactions of one kind that a session keeps; further requests are dropped, and come again.
const MAX_TRANSACTIONS: usize = 32;

/// A call to make.
#[derive(Debug, Clone)]
pub struct OutgoingInvite {
    /// The Request-URI.
    pub target: Uri,
    /// From, without a tag.
    pub from: Address,
    /// To.
    pub to: Address,
    /// Our Contact: where in-dialog requests reach us.
    pub contact: Uri,
    /// Where the INVITE is sent: each in turn until one answers, the first first (RFC 3263 §4.3). Not empty.
    pub hops: Vec<Hop>,
    /// Our address as the other side sees it, for Via.
    pub local: SocketAddr,
    /// For 401 and 407.
    pub credentials: Option<Credentials>,
    /// The offer.
    pub sdp_offer: Vec<u8>,
    /// More fields for the INVITE.
    pub extra_headers: Vec<Header>,
    /// T1, T2, T4.
    pub timing: Timing,
}

/// A call that came in, from [`super::endpoint::Received::Incoming`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncomingCall {
    /// The names and the seed.
    pub seed: SessionSeed,
    /// The INVITE.
    pub request: Message,
    /// Who sent it.
    pub source: Hop,
    /// Our address that it was sent to.
    pub local: SocketAddr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Inviting,
    Ringing,
    Established,
    Over,
}

/// One call. See the module's page.
#[derive(Debug)]
pub struct Session {
    seed: SessionSeed,
    rng: StdRng,
    local: SocketAddr,
    contact: Uri,
    timing: Timing,
    phase: Phase,
    finished: bool,
    outputs: VecDeque<SessionOutput>,
    auth: DigestClient,
    dialog: Option<Dialog>,
    /// The caller's INVITE.
    calling: Option<Calling>,
    /// The ACKs of 2xx that we sent.
    acks: Vec<Ack>,
    /// Offers after the first.
    offers: Offers,
    /// Provisional responses that want a PRACK, both ways.
    reliable: Reliable,
    /// The session timer.
    refresh: Refresh,
    /// An INVITE or re-INVITE that we have not answered finally.
    pending: Option<PendingInvite>,
    /// Our 2xx that waits for its ACK.
    unacked: Option<UnackedAnswer>,
    /// Answered INVITEs whose transactions are not over.
    answered: Vec<ServerInvite>,
    /// CANCEL and BYE on their way.
    requests: Vec<Request>,
    /// Requests that we have answered.
    served: Vec<ServerNonInvite>,
}

impl Session {
    fn new(
        seed: SessionSeed,
        local: SocketAddr,
        contact: Uri,
        timing: Timing,
        auth: DigestClient,
        phase: Phase,
    ) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed.rng_seed),
            seed,
            local,
            contact,
            timing,
            phase,
            finished: false,
            outputs: VecDeque::new(),
            auth,
            dialog: None,
            calling: None,
            acks: Vec::new(),
            offers: Offers::default(),
            reliable: Reliable::default(),
            refresh: Refresh::default(),
            pending: None,
            unacked: None,
            answered: Vec::new(),
            requests: Vec::new(),
            served: Vec::new(),
        }
    }

    /// The name under which the endpoint knows it.
    pub fn id(&self) -> SessionId {
        self.seed.id
    }

    /// The Call-ID, for logs and traces.
    pub fn call_id(&self) -> &str {
        &self.seed.call_id
    }

    /// Takes a message that the endpoint routed here.
    pub fn handle_message(&mut self, now: Instant, source: Hop, message: Message) {
        match message.method().cloned() {
            None => self.handle_response(now, &message),
            Some(method) => self.handle_request(now, source, &method, &message),
        }
        self.settle();
    }

    fn handle_response(&mut self, now: Instant, response: &Message) {
        match response.cseq().map(|cseq| cseq.method) {
            Some(Method::Invite) => self.handle_invite_response(now, response),
            Some(_) => self.handle_request_response(now, response),
            None => {}
        }
    }

    fn handle_request(&mut self, now: Instant, source: Hop, method: &Method, request: &Message) {
        match method {
            Method::Invite => self.handle_invite(now, source, request),
            Method::Ack => self.handle_ack(now, request),
            Method::Cancel => self.handle_cancel(now, source, request),
            _ => self.handle_in_dialog(now, source, method, request),
        }
    }

    /// Ends the call whatever its state: CANCEL before the answer, 480 to an unanswered caller, BYE afterwards. `reason` is
    /// the value of a Reason field (RFC 3326).
    pub fn hang_up(&mut self, now: Instant, reason: Option<&str>) {
        match self.phase {
            Phase::Inviting => self.cancel(now),
            Phase::Ringing => self.reject(now, 480, &[]),
            Phase::Established => {
                self.end(Side::Local, reason.map(str::to_owned));
                self.release(now, reason);
            }
            Phase::Over => {}
        }
        self.settle();
    }

    /// The shell could not send to `hop`: the connection was refused or is gone. Requests that wait for a first response
    /// from there go to the next hop or fail at once, instead of by Timer B or F.
    pub fn handle_unreachable(&mut self, now: Instant, hop: Hop) {
        self.lose_calling(now, hop);
        self.lose_requests(now, hop);
        self.lose_offers(now, hop);
        self.settle();
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let invites = self.answered.iter().map(ServerInvite::poll_timeout);
        let served = self.served.iter().map(ServerNonInvite::poll_timeout);
        let requests = self.requests.iter().map(|request| request.transaction.poll_timeout());
        let unacked = self.unacked.as_ref().map(UnackedAnswer::poll_timeout);
        let calling = self.calling.as_ref().and_then(Calling::poll_timeout);
        let own = [self.offers_timeout(), self.reliable.poll_timeout(), self.refresh_timeout()];
        invites.chain(served).chain(requests).chain([unacked, calling]).chain(own).flatten().min()
    }

    /// Handles what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.time_calling(now);
        self.time_unacked(now);
        self.time_requests(now);
        self.time_offers(now);
        self.time_reliable(now);
        self.time_refresh(now);
        let mut again = Vec::new();
        for invite in &mut self.answered {
            while invite.poll_timeout().is_some_and(|at| at <= now) {
                if let Fired::Send(transmit) = invite.handle_timeout(now) {
                    again.push(transmit);
                }
            }
        }
        self.served.iter_mut().for_each(|served| served.handle_timeout(now));
        again.into_iter().for_each(|transmit| self.send(transmit));
        self.settle();
    }

    /// What the session wants done or known; `None` when everything was taken.
    pub fn poll_output(&mut self) -> Option<SessionOutput> {
        self.outputs.pop_front()
    }

    fn send(&mut self, transmit: Transmit) {
        self.outputs.push_back(SessionOutput::Transmit(transmit));
    }

    fn tell(&mut self, event: SessionEvent) {
        self.outputs.push_back(SessionOutput::Event(event));
    }

    fn fail(&mut self, failure: Failure) {
        if self.phase != Phase::Over {
            self.phase = Phase::Over;
            self.tell(SessionEvent::Failed(failure));
        }
    }

    fn end(&mut self, by: Side, reason: Option<String>) {
        if self.phase != Phase::Over {
            self.phase = Phase::Over;
            self.tell(SessionEvent::Ended { by, reason });
        }
    }

    /// Drops what is over, and says so when nothing is left.
    fn settle(&mut self) {
        self.answered.retain(|invite| !invite.is_terminated());
        self.served.retain(|served| !served.is_terminated());
        self.requests.retain(|request| !request.transaction.is_terminated());
        let busy = self.calling.as_ref().is_some_and(Calling::is_busy)
            || self.pending.is_some()
            || self.unacked.is_some()
            || self.offers_busy()
            || self.reliable.is_busy()
            || !(self.answered.is_empty() && self.served.is_empty() && self.requests.is_empty());
        if self.phase == Phase::Over && !busy && !self.finished {
            self.finished = true;
            self.tell(SessionEvent::Finished);
        }
    }

    /// A response of ours with Server, and Contact, Allow and Supported where RFC 3261 §20 wants them.
    fn respond_to(&self, request: &Message, source: Hop, status: u16) -> Message {
        let mut response = Message::response(request.headers(), status, Some(&self.seed.local_tag), source);
        if !self.seed.user_agent.is_empty() {
            response.push(HeaderName::Server, &self.seed.user_agent);
        }
        if matches!(status, 200 | 405) {
            response.push(HeaderName::Allow, super::ALLOW);
            response.push(HeaderName::Supported, super::SUPPORTED);
        }
        response
    }
}

/// The Failure of a final response.
pub(crate) fn refusal(response: &Message) -> Failure {
    Failure::Status {
        code: response.status().unwrap_or_default(),
        reason_phrase: response.reason().unwrap_or_default().into_owned(),
        retry_after: retry_after(response),
        reason: response.header(HeaderName::Reason).map(|reason| reason.into_owned()),
    }
}

/// Retry-After: seconds, before a comment or parameters.
fn retry_after(response: &Message) -> Option<Duration> {
    let value = response.header(HeaderName::RetryAfter)?;
    let digits = value.split([';', '(', ' ']).next()?;
    decimal(digits).map(|seconds| Duration::from_secs(u64::from(seconds)))
}

/// The extensions that Require asks for and we do not know (RFC 3261 §8.2.2.3).
pub(crate) fn unsupported(request: &Message) -> Option<String> {
    let required = request.list(HeaderName::Require);
    let known = |name: &str| super::SUPPORTED.split(", ").any(|known| known.eq_ignore_ascii_case(name));
    let named: Vec<&str> =
        required.iter().map(String::as_str).filter(|name| lex::is_token(name) && !known(name)).collect();
    (!named.is_empty()).then(|| named.join(", "))
}
