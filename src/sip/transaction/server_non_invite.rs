//! The non-INVITE server transaction (RFC 3261 §17.2.2). Over streams Timer J takes no time.
//!
//! ```text
//!   request received, final response sent
//!                 v
//!           +-----------+
//!  resend ->| Completed |--J--> Terminated
//!           +-----------+
//! ```
//! We answer every such request at once, so the states Trying and Proceeding are never entered.

use std::time::Instant;

use super::{ServerKey, Timer, Timers, Timing};
use crate::sip::message::Message;
use crate::sip::{Hop, Transmit};

/// A request from the other side that we have answered.
#[derive(Debug)]
pub struct ServerNonInvite {
    key: ServerKey,
    response: Transmit,
    timers: Timers,
}

impl ServerNonInvite {
    /// Answers `request`; send what comes back.
    pub fn new(
        now: Instant,
        request: &Message,
        source: Hop,
        response: &Message,
        timing: Timing,
    ) -> (Self, Transmit) {
        let transmit =
            Transmit { destination: request.response_destination(source), bytes: response.to_bytes() };
        let mut timers = Timers::default();
        let reliable = transmit.destination.transport.is_reliable();
        timers.start(Timer::J, if reliable { now } else { now + timing.transaction_limit() });
        (Self { key: ServerKey::of(request), response: transmit.clone(), timers }, transmit)
    }

    /// The transaction's name.
    pub fn key(&self) -> &ServerKey {
        &self.key
    }

    /// The request came again: the same response.
    pub fn handle_retransmission(&self) -> Transmit {
        self.response.clone()
    }

    /// The next deadline.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Handles a due timer.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.timers.expire(now);
    }

    /// Whether it is over.
    pub fn is_terminated(&self) -> bool {
        self.timers.next().is_none()
    }
}
