//! The bounded queue of a stream's findings.

use std::collections::VecDeque;

use super::StreamEvent;

/// Findings caused by the peer that may wait; more are dropped and counted.
const MAX_FOUND: usize = 128;

#[derive(Debug, Default)]
pub(super) struct Events {
    queue: VecDeque<StreamEvent>,
    pub dropped: u64,
}

impl Events {
    /// Queues what the peer causes at will: digits, speech, tones.
    pub fn found(&mut self, event: StreamEvent) {
        if self.queue.len() < MAX_FOUND {
            self.queue.push_back(event);
        } else {
            self.dropped += 1;
        }
    }

    /// Queues what our own commands and timers bound: it is never dropped.
    pub fn must(&mut self, event: StreamEvent) {
        self.queue.push_back(event);
    }

    pub fn pop(&mut self) -> Option<StreamEvent> {
        self.queue.pop_front()
    }
}
