//! The INVITE client transaction (RFC 3261 §17.1.1 as amended by RFC 6026 §7.2). Over streams Timer A never starts.
//!
//! ```text
//!            INVITE sent
//!                 v
//!  A: resend  +---------+  B: timed out
//!   +-------->| Calling |--------------------------+
//!   +---------|         |---2xx: pass-----------+  |
//!             +---------+                       |  |
//!       1xx: pass |     \ 300-699: ACK, pass    |  |
//!                 v      \                      |  |
//!           +------------+\                     |  |
//!  1xx:pass | Proceeding |-\-2xx: pass--------+ |  |
//!           +------------+  \                 | |  |
//!  300-699: ACK, pass |      \                v v  |
//!                     v       v          +----------+  2xx: pass
//!                  +-----------+         | Accepted |<---+
//!  300-699: ACK -->| Completed |         +----------+----+
//!                  +-----------+              | M   |
//!                     | D                     v     v
//!                     +----------------> Terminated
//! ```
//! ACK of a 2xx is the session's (RFC 3261 §13.2.2.4). Timer B stops at the first provisional response: how long it may
//! ring is the call's decision.

use std::time::{Duration, Instant};

use super::{Fired, Taken, Timer, Timers, Timing};
use crate::sip::message::{HeaderName, Message, Method, lex};
use crate::sip::{Hop, Transmit, Transport};

/// Timer D: at least 32 s over UDP, nothing over streams.
fn timer_d(transport: Transport) -> Duration {
    if transport.is_reliable() { Duration::ZERO } else { Duration::from_secs(32) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Calling,
    Proceeding,
    Accepted,
    Completed,
    Terminated,
}

/// An INVITE of ours on its way.
#[derive(Debug)]
pub struct ClientInvite {
    state: State,
    request: Message,
    transmit: Transmit,
    ack: Option<Transmit>,
    branch: String,
    timing: Timing,
    /// The current gap of Timer A.
    gap: Duration,
    timers: Timers,
}

impl ClientInvite {
    /// Starts the transaction; send what comes back.
    pub fn new(now: Instant, request: Message, destination: Hop, timing: Timing) -> (Self, Transmit) {
        let transmit = Transmit { destination, bytes: request.to_bytes() };
        let mut timers = Timers::default();
        if !destination.transport.is_reliable() {
            timers.start(Timer::A, now + timing.t1);
        }
        timers.start(Timer::B, now + timing.transaction_limit());
        let branch = request.branch().unwrap_or_default();
        let state = State::Calling;
        let machine = Self {
            state,
            request,
            transmit: transmit.clone(),
            ack: None,
            branch,
            timing,
            gap: timing.t1,
            timers,
        };
        (machine, transmit)
    }

    /// The INVITE.
    pub fn request(&self) -> &Message {
        &self.request
    }

    /// Where the INVITE went.
    pub fn destination(&self) -> Hop {
        self.transmit.destination
    }

    /// Whether a response belongs here (RFC 3261 §17.1.3).
    pub fn matches(&self, response: &Message) -> bool {
        response.branch().is_some_and(|branch| branch == self.branch)
            && response.cseq().is_some_and(|cseq| cseq.method == Method::Invite)
    }

    /// Takes a response that [`Self::matches`].
    pub fn handle_response(&mut self, now: Instant, response: &Message) -> Taken {
        let status = response.status().unwrap_or_default();
        let pass = Taken { pass: true, transmit: None };
        let absorb = Taken { pass: false, transmit: None };
        match (self.state, status) {
            (State::Calling | State::Proceeding, 100..200) => {
                self.timers.clear();
                self.state = State::Proceeding;
                pass
            }
            (State::Calling | State::Proceeding, 200..300) => {
                self.timers.clear();
                self.timers.start(Timer::M, now + self.timing.transaction_limit());
                self.state = State::Accepted;
                pass
            }
            (State::Accepted, 200..300) => pass,
            (State::Calling | State::Proceeding, 300..700) => {
                let ack =
                    Transmit { destination: self.transmit.destination, bytes: self.ack(response).to_bytes() };
                self.ack = Some(ack.clone());
                self.timers.clear();
                self.timers.start(Timer::D, now + timer_d(self.transmit.destination.transport));
                self.state = State::Completed;
                Taken { pass: true, transmit: Some(ack) }
            }
            (State::Completed, 300..700) => Taken { pass: false, transmit: self.ack.clone() },
            _ => absorb,
        }
    }

    /// ACK of a refusal: the INVITE's Request-URI, topmost Via and Route, the response's To (RFC 3261 §17.1.1.3).
    fn ack(&self, response: &Message) -> Message {
        let mut ack = derive(&self.request, Method::Ack);
        if let Some(to) = response.headers().iter().find(|header| *header.name() == HeaderName::To) {
            ack.remove(&HeaderName::To);
            ack.push_header(to.clone());
        }
        ack.set_body(None);
        ack
    }

    /// CANCEL of this INVITE (RFC 3261 §9.1).
    pub fn cancel(&self) -> Message {
        let mut cancel = derive(&self.request, Method::Cancel);
        cancel.set_body(None);
        cancel
    }

    /// Waits for the first response until `at` only, because there is another hop to try.
    pub fn give_up_at(&mut self, at: Instant) {
        if self.state == State::Calling {
            self.timers.start(Timer::B, at);
        }
    }

    /// Whether nothing at all came back yet.
    pub fn is_calling(&self) -> bool {
        self.state == State::Calling
    }

    /// Whether a provisional response came and no final one: only then may it be cancelled (RFC 3261 §9.1).
    pub fn is_proceeding(&self) -> bool {
        self.state == State::Proceeding
    }

    /// The next deadline.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Handles the timer that is due first.
    pub fn handle_timeout(&mut self, now: Instant) -> Fired {
        match self.timers.expire(now) {
            Some((Timer::A, at)) => {
                self.gap *= 2;
                self.timers.start(Timer::A, at + self.gap);
                Fired::Send(self.transmit.clone())
            }
            Some((timer, _)) => {
                self.terminate();
                if timer == Timer::B { Fired::TimedOut } else { Fired::Nothing }
            }
            None => Fired::Nothing,
        }
    }

    /// Gives up: after a CANCEL that nobody honoured (RFC 3261 §9.1).
    pub fn terminate(&mut self) {
        self.timers.clear();
        self.state = State::Terminated;
    }

    /// Whether it is over.
    pub fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }
}

/// A request with the INVITE's Request-URI, topmost Via, From, To, Call-ID, CSeq number and Route set.
fn derive(invite: &Message, method: Method) -> Message {
    let Some(uri) = invite.uri() else { return invite.clone() };
    let mut request = Message::request(method.clone(), uri.clone());
    let via = invite.header(HeaderName::Via).unwrap_or_default();
    request.push(HeaderName::Via, lex::split(&via, b',').next().unwrap_or_default());
    for header in invite.headers() {
        use HeaderName as Name;
        if matches!(
            header.name(),
            Name::From | Name::To | Name::CallId | Name::Route | Name::MaxForwards | Name::UserAgent
        ) {
            request.push_header(header.clone());
        }
    }
    let number = invite.cseq().map(|cseq| cseq.number).unwrap_or_default();
    request.push(HeaderName::CSeq, &format!("{number} {method}"));
    request
}
