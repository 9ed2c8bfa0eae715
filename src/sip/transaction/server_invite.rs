//! The INVITE server transaction (RFC 3261 §17.2.1 as amended by RFC 6026 §7.1). Over streams Timer G never starts, and Timer I takes no time.
//!
//! ```text
//!            INVITE received
//!                 v
//!  INVITE: resend +------------+
//!  the last 1xx ->| Proceeding |--2xx sent----------+
//!                 +------------+                    v
//!  300-699 sent |                              +----------+ INVITE: absorbed
//!               v                              | Accepted |<--+
//!  G, INVITE: +-----------+                    +----------+---+
//!  resend --->| Completed |--H: no ACK---+          | L
//!             +-----------+              |          |
//!        ACK |                           v          v
//!            v                        Terminated <--+
//!        +-----------+                   ^
//!        | Confirmed |--I----------------+
//!        +-----------+
//! ```
//! Retransmitting the 2xx until its ACK is the session's (RFC 3261 §13.3.1.4).

use std::time::{Duration, Instant};

use super::{Fired, ServerKey, Timer, Timers, Timing};
use crate::sip::message::Message;
use crate::sip::{Hop, Transmit};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Proceeding,
    Accepted,
    Completed,
    Confirmed,
    Terminated,
}

/// An INVITE from the other side.
#[derive(Debug)]
pub struct ServerInvite {
    state: State,
    key: ServerKey,
    destination: Hop,
    last: Option<Transmit>,
    timing: Timing,
    /// The current gap of Timer G.
    gap: Duration,
    timers: Timers,
}

impl ServerInvite {
    /// Takes the INVITE that came from `source`.
    pub fn new(request: &Message, source: Hop, timing: Timing) -> Self {
        Self {
            state: State::Proceeding,
            key: ServerKey::of(request),
            destination: request.response_destination(source),
            last: None,
            timing,
            gap: timing.t1,
            timers: Timers::default(),
        }
    }

    /// The transaction's name; CANCEL and the ACK of a refusal bear the same.
    pub fn key(&self) -> &ServerKey {
        &self.key
    }

    /// Sends a response; `None` after a final one.
    pub fn respond(&mut self, now: Instant, response: &Message) -> Option<Transmit> {
        if self.state != State::Proceeding {
            return None;
        }
        let transmit = Transmit { destination: self.destination, bytes: response.to_bytes() };
        self.last = Some(transmit.clone());
        match response.status() {
            Some(200..300) => {
                self.timers.start(Timer::L, now + self.timing.transaction_limit());
                self.state = State::Accepted;
            }
            Some(300..) => {
                if !self.destination.transport.is_reliable() {
                    self.timers.start(Timer::G, now + self.timing.t1);
                }
                self.timers.start(Timer::H, now + self.timing.transaction_limit());
                self.state = State::Completed;
            }
            _ => {}
        }
        Some(transmit)
    }

    /// The INVITE came again.
    pub fn handle_retransmission(&self) -> Option<Transmit> {
        match self.state {
            State::Proceeding | State::Completed => self.last.clone(),
            State::Accepted | State::Confirmed | State::Terminated => None,
        }
    }

    /// The ACK of a refusal came.
    pub fn handle_ack(&mut self, now: Instant) {
        if self.state == State::Completed {
            self.timers.clear();
            let reliable = self.destination.transport.is_reliable();
            self.timers.start(Timer::I, if reliable { now } else { now + self.timing.t4 });
            self.state = State::Confirmed;
        }
    }

    /// The next deadline.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Handles the timer that is due first.
    pub fn handle_timeout(&mut self, now: Instant) -> Fired {
        match self.timers.expire(now) {
            Some((Timer::G, at)) => {
                self.gap = (self.gap * 2).min(self.timing.t2);
                self.timers.start(Timer::G, at + self.gap);
                self.last.clone().map_or(Fired::Nothing, Fired::Send)
            }
            Some((timer, _)) => {
                self.timers.clear();
                self.state = State::Terminated;
                if timer == Timer::H { Fired::TimedOut } else { Fired::Nothing }
            }
            None => Fired::Nothing,
        }
    }

    /// Whether it is over.
    pub fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }
}
