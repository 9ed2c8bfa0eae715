//! The non-INVITE client transaction (RFC 3261 §17.1.2). Over streams Timer E never starts, and Timer K takes no time.
//!
//! ```text
//!            request sent
//!                 v
//!  E: resend  +--------+  F: timed out
//!   +-------->| Trying |------------------+
//!   +---------|        |                  |
//!             +--------+--200-699: pass-+ |
//!       1xx: pass |                     | |
//!                 v                     | |
//!  E: resend +------------+             | |
//!  (gap T2) >| Proceeding |-F-----------|-+--> Terminated
//!            +------------+             |            ^
//!      200-699: pass |                  v            |
//!                    +-----------> Completed ---K----+
//! ```

use std::time::{Duration, Instant};

use super::{Fired, Taken, Timer, Timers, Timing};
use crate::sip::message::{Message, Method};
use crate::sip::{Hop, Transmit};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Trying,
    Proceeding,
    Completed,
    Terminated,
}

/// A request of ours, other than INVITE and ACK, on its way.
#[derive(Debug)]
pub struct ClientNonInvite {
    state: State,
    request: Message,
    transmit: Transmit,
    branch: String,
    method: Method,
    timing: Timing,
    /// The current gap of Timer E.
    gap: Duration,
    timers: Timers,
}

impl ClientNonInvite {
    /// Starts the transaction; send what comes back.
    pub fn new(now: Instant, request: Message, destination: Hop, timing: Timing) -> (Self, Transmit) {
        let transmit = Transmit { destination, bytes: request.to_bytes() };
        let mut timers = Timers::default();
        if !destination.transport.is_reliable() {
            timers.start(Timer::E, now + timing.t1);
        }
        timers.start(Timer::F, now + timing.transaction_limit());
        let branch = request.branch().unwrap_or_default();
        let method = request.method().cloned().unwrap_or(Method::Options);
        let (state, gap) = (State::Trying, timing.t1);
        (Self { state, request, transmit: transmit.clone(), branch, method, timing, gap, timers }, transmit)
    }

    /// The request.
    pub fn request(&self) -> &Message {
        &self.request
    }

    /// Where the request went.
    pub fn destination(&self) -> Hop {
        self.transmit.destination
    }

    /// Whether a response belongs here (RFC 3261 §17.1.3).
    pub fn matches(&self, response: &Message) -> bool {
        response.branch().is_some_and(|branch| branch == self.branch)
            && response.cseq().is_some_and(|cseq| cseq.method == self.method)
    }

    /// Takes a response that [`Self::matches`].
    pub fn handle_response(&mut self, now: Instant, response: &Message) -> Taken {
        let live = matches!(self.state, State::Trying | State::Proceeding);
        if live {
            if response.status().is_some_and(|status| status < 200) {
                self.state = State::Proceeding;
            } else {
                self.timers.clear();
                let reliable = self.transmit.destination.transport.is_reliable();
                self.timers.start(Timer::K, if reliable { now } else { now + self.timing.t4 });
                self.state = State::Completed;
            }
        }
        Taken { pass: live, transmit: None }
    }

    /// Waits for the first response until `at` only, because there is another hop to try.
    pub fn give_up_at(&mut self, at: Instant) {
        if self.state == State::Trying {
            self.timers.start(Timer::F, at);
        }
    }

    /// Whether nothing at all came back yet.
    pub fn is_trying(&self) -> bool {
        self.state == State::Trying
    }

    /// The next deadline.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Handles the timer that is due first.
    pub fn handle_timeout(&mut self, now: Instant) -> Fired {
        match self.timers.expire(now) {
            Some((Timer::E, at)) => {
                let doubled = if self.state == State::Proceeding { self.timing.t2 } else { self.gap * 2 };
                self.gap = doubled.min(self.timing.t2);
                self.timers.start(Timer::E, at + self.gap);
                Fired::Send(self.transmit.clone())
            }
            Some((timer, _)) => {
                self.timers.clear();
                self.state = State::Terminated;
                if timer == Timer::F { Fired::TimedOut } else { Fired::Nothing }
            }
            None => Fired::Nothing,
        }
    }

    /// Whether it is over.
    pub fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }
}
