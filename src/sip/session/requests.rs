//! Our own requests in a call that stands: INFO, REFER, NOTIFY, MESSAGE, OPTIONS (RFC 3261 §12.2.1).
//!
//! One is under way at a time, the others wait their turn. Were two in flight, a lost first one would arrive after the second,
//! with the lower sequence number, and be refused (§12.2.2): a typed digit would be gone.

use std::collections::VecDeque;
use std::time::Instant;

use super::{Failure, Phase, Session, SessionEvent};
use crate::sip::body::Body;
use crate::sip::dialog::via;
use crate::sip::exchange::Outcome;
use crate::sip::hops::Hops;
use crate::sip::message::{Header, HeaderName, Message, Method};
use crate::sip::transaction::{ClientNonInvite, Fired};
use crate::sip::{Hop, Transport, branch};

/// The most requests that wait for the one under way.
const MAX_WAITING: usize = 32;
/// The most challenges that one request answers.
const MAX_CHALLENGES: u8 = 5;

/// Names a request within its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// The call does not stand, or too many requests wait already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no request can be sent in this call now")]
pub struct CannotRequest;

/// Whose request it is, and so who learns what came of it.
#[derive(Debug)]
pub(super) enum Asker {
    /// Whoever owns the session.
    Owner(RequestId),
    /// [`Session::refer`].
    Refer,
    /// [`Session::report_refer`].
    Report,
}

#[derive(Debug)]
pub(super) struct Ask {
    pub(super) asker: Asker,
    pub(super) method: Method,
    pub(super) headers: Vec<Header>,
    pub(super) body: Option<Body>,
    challenges: u8,
}

impl Ask {
    pub(super) fn new(asker: Asker, method: Method, headers: Vec<Header>, body: Option<Body>) -> Self {
        Self { asker, method, headers, body, challenges: 0 }
    }
}

#[derive(Debug)]
struct UnderWay {
    ask: Ask,
    transaction: ClientNonInvite,
    hops: Hops,
}

/// Our requests: the one under way, and those that wait.
#[derive(Debug, Default)]
pub(super) struct Asking {
    under_way: Option<UnderWay>,
    waiting: VecDeque<Ask>,
    last: u64,
}

impl Asking {
    pub(super) fn is_busy(&self) -> bool {
        self.under_way.is_some()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.under_way.as_ref().and_then(|asked| asked.transaction.poll_timeout())
    }

    /// The sequence number of the request under way, if it is of that method.
    pub(super) fn number_of(&self, method: &Method) -> Option<u32> {
        let asked = self.under_way.as_ref().filter(|asked| asked.ask.method == *method)?;
        asked.transaction.request().cseq().map(|cseq| cseq.number)
    }
}

impl Session {
    /// Sends a request in the call, or queues it behind the one under way. [`SessionEvent::Answer`] tells what came of it;
    /// challenges are answered before. A 481 ends the call (RFC 5057 §5.1). For methods other than INVITE, ACK, CANCEL and
    /// BYE.
    ///
    /// # Errors
    /// The call does not stand, or 32 requests wait already.
    pub fn request(
        &mut self,
        now: Instant,
        method: Method,
        headers: Vec<Header>,
        body: Option<Body>,
    ) -> Result<RequestId, CannotRequest> {
        let id = RequestId(self.asking.last + 1);
        self.enqueue(now, Ask::new(Asker::Owner(id), method, headers, body))?;
        self.asking.last = id.0;
        Ok(id)
    }

    pub(super) fn enqueue(&mut self, now: Instant, ask: Ask) -> Result<(), CannotRequest> {
        let full = self.asking.waiting.len() >= MAX_WAITING;
        if full || self.phase != Phase::Established || self.dialog.is_none() {
            return Err(CannotRequest);
        }
        self.asking.waiting.push_back(ask);
        self.ask_next(now);
        Ok(())
    }

    fn ask_next(&mut self, now: Instant) {
        if self.asking.under_way.is_none()
            && let Some(ask) = self.asking.waiting.pop_front()
        {
            self.send_ask(now, ask);
        }
    }

    fn send_ask(&mut self, now: Instant, ask: Ask) {
        let Some(dialog) = &mut self.dialog else {
            return self.report(ask.asker, Outcome::Unanswered(Failure::Cancelled));
        };
        let mut request = dialog.request(ask.method.clone(), &branch(&mut self.rng));
        let hops = Hops::one(dialog.destination());
        if matches!(ask.method, Method::Refer | Method::Notify | Method::Options | Method::Subscribe) {
            request.push(HeaderName::Contact, &format!("<{}>", self.contact));
        }
        if !self.seed.user_agent.is_empty() {
            request.push(HeaderName::UserAgent, &self.seed.user_agent);
        }
        ask.headers.iter().for_each(|header| request.push_header(header.clone()));
        Body::fill(ask.body.as_ref(), &mut request);
        self.auth.authorize(&mut request, &mut self.rng);
        self.carry_ask(now, ask, request, hops);
    }

    fn carry_ask(&mut self, now: Instant, ask: Ask, mut request: Message, hops: Hops) {
        let hop = hops.carry(&mut request);
        let (transaction, transmit) = ClientNonInvite::new(now, request, hop, self.timing);
        self.asking.under_way = Some(UnderWay { ask, transaction, hops });
        self.send(transmit);
    }

    /// Takes a response to the request under way; `false`: it is not to that one.
    pub(super) fn handle_asked_response(&mut self, now: Instant, response: &Message) -> bool {
        let asked = self.asking.under_way.as_mut().filter(|asked| asked.transaction.matches(response));
        let Some(asked) = asked else { return false };
        let taken = asked.transaction.handle_response(now, response);
        let status = response.status().unwrap_or_default();
        // Retransmissions of a final response find no transaction and are dropped.
        if taken.pass
            && status >= 200
            && let Some(UnderWay { mut ask, transaction, .. }) = self.asking.under_way.take()
        {
            let again = matches!(status, 401 | 407)
                && ask.challenges < MAX_CHALLENGES
                && self.phase == Phase::Established
                && self.auth.take_challenges(response);
            if again {
                ask.challenges += 1;
                self.send_ask(now, ask);
                return true;
            }
            if status < 300 {
                self.auth.accepted();
            }
            let (hop, response) = (transaction.destination(), Box::new(response.clone()));
            self.conclude(now, ask, Outcome::Answered { hop, response });
            self.ask_next(now);
        }
        true
    }

    /// The shell could not send to `hop`.
    pub(super) fn lose_ask(&mut self, now: Instant, hop: Hop) {
        let lost =
            |asked: &mut UnderWay| asked.transaction.is_trying() && asked.transaction.destination() == hop;
        let Some(UnderWay { ask, transaction, mut hops }) = self.asking.under_way.take_if(lost) else {
            return;
        };
        if hops.give_up(hop) {
            let mut request = transaction.request().clone();
            request.set(HeaderName::Via, &via(Transport::Udp, self.local, &branch(&mut self.rng)));
            return self.carry_ask(now, ask, request, hops);
        }
        self.conclude(now, ask, Outcome::Unanswered(Failure::Unreachable));
        self.ask_next(now);
    }

    pub(super) fn time_asking(&mut self, now: Instant) {
        while let Some(asked) = &mut self.asking.under_way
            && asked.transaction.poll_timeout().is_some_and(|at| at <= now)
        {
            match asked.transaction.handle_timeout(now) {
                Fired::Send(transmit) => self.send(transmit),
                Fired::TimedOut => {
                    if let Some(asked) = self.asking.under_way.take() {
                        self.conclude(now, asked.ask, Outcome::Unanswered(Failure::Timeout));
                    }
                    self.ask_next(now);
                }
                Fired::Nothing => {}
            }
        }
    }

    /// The call is over: what still waits is never sent.
    pub(super) fn drop_asks(&mut self) {
        while let Some(ask) = self.asking.waiting.pop_front() {
            self.report(ask.asker, Outcome::Unanswered(Failure::Cancelled));
        }
    }

    fn report(&mut self, asker: Asker, outcome: Outcome) {
        match asker {
            Asker::Owner(request) => self.tell(SessionEvent::Answer { request, outcome }),
            Asker::Refer => self.refer_answered(outcome),
            Asker::Report => self.report_answered(&outcome),
        }
    }

    fn conclude(&mut self, now: Instant, ask: Ask, outcome: Outcome) {
        let unknown =
            matches!(&outcome, Outcome::Answered { response, .. } if response.status() == Some(481));
        // A NOTIFY belongs to a subscription: a 481 ends that alone (RFC 5057 §5.1).
        let ends = unknown && ask.method != Method::Notify;
        self.report(ask.asker, outcome);
        // Silence does not end the call, though RFC 3261 §12.2.1.2 would: there are peers that never answer an INFO.
        if ends {
            self.lose_dialog(now, "the other side does not know the call any more");
        }
    }
}
