//! The timers of RFC 3261 §17 and RFC 6026 as one table.

use std::time::{Duration, Instant};

/// The base values of the timers (RFC 3261 §17.1.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// T1: the round-trip estimate, 500 ms.
    pub t1: Duration,
    /// T2: the longest gap between retransmissions of non-INVITE requests and INVITE responses, 4 s.
    pub t2: Duration,
    /// T4: how long a message may live in the network, 5 s.
    pub t4: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    }
}

impl Timing {
    /// 64*T1: how long a transaction is tried, 32 s.
    pub fn transaction_limit(&self) -> Duration {
        self.t1 * 64
    }
}

/// A timer of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// INVITE request retransmission: T1, doubling.
    A,
    /// INVITE transaction timeout: 64*T1.
    B,
    /// Wait for response retransmissions after a refused INVITE: 32 s.
    D,
    /// Non-INVITE request retransmission: T1, doubling to T2.
    E,
    /// Non-INVITE transaction timeout: 64*T1.
    F,
    /// INVITE response retransmission: T1, doubling to T2.
    G,
    /// Wait for ACK: 64*T1.
    H,
    /// Wait for ACK retransmissions: T4.
    I,
    /// Wait for non-INVITE request retransmissions: 64*T1.
    J,
    /// Wait for response retransmissions: T4.
    K,
    /// Wait for retransmissions of an accepted INVITE (RFC 6026 §8.4): 64*T1.
    L,
    /// Wait for further 2xx, retransmitted or forked (RFC 6026 §8.4): 64*T1.
    M,
}

const COUNT: usize = Timer::M as usize + 1;

/// Deadlines by timer.
#[derive(Debug, Clone, Default)]
pub struct Timers([Option<(Timer, Instant)>; COUNT]);

impl Timers {
    /// Starts or restarts `timer`.
    pub fn start(&mut self, timer: Timer, at: Instant) {
        if let Some(slot) = self.0.get_mut(timer as usize) {
            *slot = Some((timer, at));
        }
    }

    /// Stops every timer.
    pub fn clear(&mut self) {
        self.0 = Default::default();
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Instant> {
        self.0.iter().flatten().map(|(_, at)| *at).min()
    }

    /// Takes the timer that is due first, with its deadline.
    pub fn expire(&mut self, now: Instant) -> Option<(Timer, Instant)> {
        let due = self.0.iter_mut().filter(|slot| slot.is_some_and(|(_, at)| at <= now));
        due.min_by_key(|slot| slot.map(|(_, at)| at))?.take()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test begins at some time")]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_is_due_first() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut timers = Timers::default();
        timers.start(Timer::B, at(32));
        timers.start(Timer::A, at(1));
        timers.start(Timer::M, at(3));
        assert_eq!(timers.next(), Some(at(1)));
        assert_eq!(timers.expire(now), None);
        assert_eq!(timers.expire(at(40)), Some((Timer::A, at(1))));
        assert_eq!(timers.expire(at(40)), Some((Timer::M, at(3))));
        timers.clear();
        assert_eq!((timers.expire(at(40)), timers.next()), (None, None));
    }
}
