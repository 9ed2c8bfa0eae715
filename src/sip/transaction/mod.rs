//! Transactions.
use std::time::Duration;

/// The base values of the timers (RFC 3261 §17.1.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// T1: the round-trip estimate, 500 ms.
    pub t1: Duration,
    /// T2: the longest gap between retransmissions, 4 s.
    pub t2: Duration,
    /// T4: how long a message may live in the network, 5 s.
    pub t4: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    }
}
