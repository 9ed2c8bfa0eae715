//! Answers given outside of sessions, kept for retransmissions of their requests (RFC 3261 §17.2.2, Timer J).

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::sip::Transmit;
use crate::sip::transaction::ServerKey;

/// 64*T1.
const LIFE: Duration = Duration::from_secs(32);
/// The most answers kept; the oldest go first.
const MAX_REPLIES: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Replies {
    by_key: HashMap<ServerKey, Transmit>,
    order: VecDeque<(Instant, ServerKey)>,
}

impl Replies {
    pub(super) fn find(&mut self, now: Instant, key: &ServerKey) -> Option<Transmit> {
        self.sweep(now, MAX_REPLIES);
        self.by_key.get(key).cloned()
    }

    pub(super) fn keep(&mut self, now: Instant, key: ServerKey, transmit: Transmit) {
        self.sweep(now, MAX_REPLIES - 1);
        if self.by_key.insert(key.clone(), transmit).is_none() {
            self.order.push_back((now, key));
        }
    }

    fn sweep(&mut self, now: Instant, most: usize) {
        while let Some((at, key)) = self.order.front()
            && (self.order.len() > most || now.saturating_duration_since(*at) > LIFE)
        {
            self.by_key.remove(key);
            self.order.pop_front();
        }
    }
}
