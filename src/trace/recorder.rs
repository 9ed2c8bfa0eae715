//! One call's messages, bounded: the oldest are kept, because they say how a call came about; later ones are counted.

use std::collections::HashSet;

use super::{Traced, mask};

/// The most messages kept of one call.
pub const MAX_MESSAGES: usize = 200;

/// The most bytes kept of one call.
pub const MAX_BYTES: usize = 256 * 1024;

/// What has been recorded since the last [`Recorder::take`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The place of the first message in the whole trace, from 0.
    pub first: u32,
    /// The messages, in the order in which they came and went.
    pub messages: Vec<Traced>,
    /// How many messages of the whole trace did not fit.
    pub dropped: u32,
}

/// Collects the messages of one call.
#[derive(Debug, Default)]
pub struct Recorder {
    waiting: Vec<Traced>,
    count: usize,
    bytes: usize,
    dropped: u32,
    /// `dropped` of the last batch.
    told: u32,
    seen: HashSet<u64>,
}

impl Recorder {
    /// Takes a message, masks its secrets and keeps it if there is room. True: it is a retransmission, the same bytes to or
    /// from the same address as before.
    pub fn note(&mut self, mut message: Traced) -> bool {
        let mark = message.mark();
        let again = self.seen.contains(&mark);
        if self.seen.len() < MAX_MESSAGES {
            self.seen.insert(mark);
        }
        if self.count >= MAX_MESSAGES || self.bytes + message.bytes.len() > MAX_BYTES {
            self.dropped = self.dropped.saturating_add(1);
            return again;
        }
        mask::secrets(&mut message.bytes);
        self.count += 1;
        self.bytes += message.bytes.len();
        self.waiting.push(message);
        again
    }

    /// Whether [`Recorder::take`] has anything to give.
    pub fn has_news(&self) -> bool {
        !self.waiting.is_empty() || self.dropped != self.told
    }

    /// What was recorded since it was last called.
    pub fn take(&mut self) -> Batch {
        let messages = std::mem::take(&mut self.waiting);
        let first = u32::try_from(self.count - messages.len()).unwrap_or(u32::MAX);
        self.told = self.dropped;
        Batch { first, messages, dropped: self.dropped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::Transport;
    use crate::trace::Direction;

    fn message(bytes: Vec<u8>) -> Traced {
        let (local, remote) = ("192.0.2.1:5060".parse().unwrap(), "192.0.2.9:5060".parse().unwrap());
        Traced { at_us: 0, direction: Direction::Out, transport: Transport::Udp, local, remote, bytes }
    }

    #[test]
    fn keeps_the_first_messages_and_counts_the_others() {
        let mut recorder = Recorder::default();
        for n in 0..MAX_MESSAGES + 7 {
            assert!(!recorder.note(message(format!("BYE {n}").into_bytes())));
        }
        let batch = recorder.take();
        assert_eq!((batch.first, batch.messages.len(), batch.dropped), (0, MAX_MESSAGES, 7));
        assert_eq!(batch.messages[3].bytes, b"BYE 3");
        assert!(!recorder.has_news());
        recorder.note(message(b"BYE".to_vec()));
        assert!(recorder.has_news(), "a drop is news");
        assert_eq!(recorder.take(), Batch { first: MAX_MESSAGES as u32, messages: Vec::new(), dropped: 8 });
    }

    #[test]
    fn keeps_no_more_bytes_than_its_bound() {
        let mut recorder = Recorder::default();
        for n in 0..10_u8 {
            recorder.note(message(vec![n; 60_000]));
        }
        let batch = recorder.take();
        assert_eq!((batch.messages.len(), batch.dropped), (4, 6));
        recorder.note(message(b"small".to_vec()));
        assert_eq!(recorder.take().first, 4, "what is small still fits");
    }

    #[test]
    fn knows_a_retransmission() {
        let mut recorder = Recorder::default();
        assert!(!recorder.note(message(b"INVITE".to_vec())));
        assert!(recorder.note(message(b"INVITE".to_vec())));
        let answer = Traced { direction: Direction::In, ..message(b"INVITE".to_vec()) };
        assert!(!recorder.note(answer), "the other way it is another message");
    }
}
