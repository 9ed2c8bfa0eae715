//! What connections may cost: times, numbers, counters, and how often the log hears of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The bounds of connections. The defaults are those of the program; tests shorten them.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long connecting may take, with the TLS handshake.
    pub connect: Duration,
    /// How long the TLS and WebSocket handshakes of an incoming connection may take.
    pub handshake: Duration,
    /// How long a message may take from its first byte to its last.
    pub message: Duration,
    /// How long a peer may leave what we send unread.
    pub write: Duration,
    /// A connection without a message for this long is closed, unless it is kept open (`Signalling::keep_open`).
    pub idle: Duration,
    /// How often a connection is pinged: ours by two line breaks (RFC 5626 §3.5.1), WebSockets by their own ping.
    pub ping: Duration,
    /// How long the answer to a ping may take, of a peer that has answered one before.
    pub pong: Duration,
    /// Connections from one address that is no trunk's.
    pub per_address: usize,
    /// Connections from addresses that are no trunk's, in all.
    pub strangers: usize,
    /// Connections from trunks, in all, and connections of ours.
    pub known: usize,
    /// Messages that wait to be written to one connection.
    pub queue: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(4),
            handshake: Duration::from_secs(5),
            message: Duration::from_secs(30),
            write: Duration::from_secs(10),
            idle: Duration::from_secs(600),
            ping: Duration::from_secs(30),
            pong: Duration::from_secs(10),
            per_address: 20,
            strangers: 4096,
            known: 4096,
            queue: 64,
        }
    }
}

/// Counters of the SIP sockets since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages received, over all transports.
    pub received: AtomicU64,
    /// Messages dropped: garbage, strangers, responses to nothing of ours.
    pub dropped: AtomicU64,
    /// Messages that found a session's inbox full.
    pub overflowed: AtomicU64,
    /// Incoming connections that were taken.
    pub accepted: AtomicU64,
    /// Incoming connections that were closed at once: from nobody we know, or one too many.
    pub turned_away: AtomicU64,
    /// Incoming connections whose TLS or WebSocket handshake failed or took too long.
    pub handshakes_failed: AtomicU64,
    /// Connections closed because what came was no SIP.
    pub unframeable: AtomicU64,
    /// Connections closed because a message trickled in, a ping was not answered, or nothing was read.
    pub stalled: AtomicU64,
    /// Connections closed because nothing was said on them.
    pub idle: AtomicU64,
    /// Connections of ours that stood.
    pub opened: AtomicU64,
    /// Connections of ours that could not be made.
    pub unreachable: AtomicU64,
    /// Connections that stand now, handshakes under way included.
    pub open: AtomicU64,
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Says a thing at most once in ten seconds: strangers must not be able to fill the log.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    last: Mutex<Option<Instant>>,
    unsaid: AtomicU64,
}

impl Seldom {
    /// `Some` when it may be said, with how often it was not said since the last time.
    pub(super) fn may_say(&self) -> Option<u64> {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| now.duration_since(last) < Duration::from_secs(10)) {
            count(&self.unsaid);
            return None;
        }
        *last = Some(now);
        Some(self.unsaid.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_time_in_a_row_is_not_said_but_counted() {
        let seldom = Seldom::default();
        assert_eq!(seldom.may_say(), Some(0));
        assert_eq!(seldom.may_say(), None);
        assert_eq!(seldom.unsaid.load(Ordering::Relaxed), 1);
    }
}
