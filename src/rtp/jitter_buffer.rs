//! A small reorder buffer: packets come out in the order of their extended sequence numbers.
//!
//! Nobody listens to a received stream while it runs, so the buffer does not pace a play-out. It restores the
//! order for the detectors (voice, digits, tones) and gives a missing packet a bounded chance to arrive:
//!
//! ```text
//! in   1  2  4  5  3        -> 1 2 3 4 5
//! in   1  2  4  5  6  7     -> 1 2 | 4 5 6 7   when DEPTH packets wait, or one has waited HOLD
//! in   1  2  2  1           -> 1 2             duplicates
//! ```
//! A packet in order is never copied; held packets reuse their slot's memory.

use std::time::{Duration, Instant};

use super::packet::{Header, Packet};

/// Packets that may wait for a missing one.
const DEPTH: usize = 4;
/// How long a packet may wait for a missing one.
const HOLD: Duration = Duration::from_millis(80);

/// What became of a packet given to [`JitterBuffer::insert`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insert {
    /// It is the next one: process it now, then drain [`JitterBuffer::take`].
    Deliver,
    /// It waits for a missing one; drain [`JitterBuffer::take`] all the same.
    Held,
    /// It was here before.
    Duplicate,
    /// Its place has been passed over.
    Late,
}

#[derive(Debug, Default)]
struct Slot {
    held: Option<Held>,
    payload: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    number: u64,
    header: Header,
    since: Instant,
}

/// The buffer of one source.
#[derive(Debug, Default)]
pub struct JitterBuffer {
    /// The extended number that is delivered next.
    next: Option<u64>,
    /// Which of the last 64 numbers before `next` were delivered; bit 0 is `next - 1`.
    delivered: u64,
    slots: [Slot; DEPTH],
}

impl JitterBuffer {
    /// Offers the packet with the extended sequence number `number`.
    pub fn insert(&mut self, now: Instant, number: u64, packet: &Packet<'_>) -> Insert {
        let next = *self.next.get_or_insert(number);
        if number == next {
            self.step_to(number);
            return Insert::Deliver;
        }
        if number < next {
            let age = next - 1 - number;
            let seen = age < 64 && self.delivered >> age & 1 == 1;
            return if seen { Insert::Duplicate } else { Insert::Late };
        }
        if self.slots.iter().any(|slot| slot.held.is_some_and(|held| held.number == number)) {
            return Insert::Duplicate;
        }
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.held.is_none()) else {
            // Full: `take` frees a slot whenever the buffer is full, so only a caller who does not drain
            // comes here. Losing this packet is then the bounded answer.
            return Insert::Late;
        };
        slot.held = Some(Held { number, header: packet.header, since: now });
        slot.payload.clear();
        slot.payload.extend_from_slice(packet.payload);
        Insert::Held
    }

    /// The next packet that is in order, or whose missing predecessor is given up.
    pub fn take(&mut self, now: Instant) -> Option<Packet<'_>> {
        let next = self.next?;
        let full = self.slots.iter().all(|slot| slot.held.is_some());
        let (index, held) = self.oldest()?;
        let expired = now.saturating_duration_since(held.since) >= HOLD;
        if held.number != next && !full && !expired {
            return None;
        }
        Some(self.release(index, held))
    }

    /// The next held packet whether or not one before it is missing: for the end of a source.
    pub fn flush(&mut self) -> Option<Packet<'_>> {
        let (index, held) = self.oldest()?;
        Some(self.release(index, held))
    }

    /// Starts again at whatever number comes next; held packets are dropped.
    pub fn reset(&mut self) {
        self.next = None;
        self.delivered = 0;
        self.slots.iter_mut().for_each(|slot| slot.held = None);
    }

    fn oldest(&self) -> Option<(usize, Held)> {
        let held = self.slots.iter().enumerate().filter_map(|(i, slot)| Some((i, slot.held?)));
        held.min_by_key(|(_, held)| held.number)
    }

    fn release(&mut self, index: usize, held: Held) -> Packet<'_> {
        self.step_to(held.number);
        let slot = &mut self.slots[index];
        slot.held = None;
        Packet { header: held.header, payload: &slot.payload }
    }

    fn step_to(&mut self, number: u64) {
        let steps = self.next.map_or(1, |next| number + 1 - next);
        self.delivered = if steps < 64 { self.delivered << steps | 1 } else { 1 };
        self.next = Some(number + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `(milliseconds, number)` pairs and returns what came out, with `-` for nothing new.
    fn run(arrivals: &[(u64, u64)]) -> (Vec<u32>, Vec<Insert>) {
        let start = Instant::now();
        let mut buffer = JitterBuffer::default();
        let (mut out, mut verdicts) = (Vec::new(), Vec::new());
        for (at, number) in arrivals {
            let now = start + Duration::from_millis(*at);
            let header = Header {
                payload_type: 0,
                marker: false,
                sequence: *number as u16,
                timestamp: *number as u32,
                ssrc: 1,
            };
            let payload = [*number as u8];
            let verdict = buffer.insert(now, *number, &Packet { header, payload: &payload });
            if verdict == Insert::Deliver {
                out.push(header.timestamp);
            }
            verdicts.push(verdict);
            while let Some(packet) = buffer.take(now) {
                assert_eq!(packet.payload, [packet.header.timestamp as u8]);
                out.push(packet.header.timestamp);
            }
        }
        while let Some(packet) = buffer.flush() {
            out.push(packet.header.timestamp);
        }
        (out, verdicts)
    }

    #[test]
    fn order_is_restored() {
        let (out, verdicts) = run(&[(0, 1), (20, 2), (40, 4), (60, 5), (61, 3), (80, 6)]);
        assert_eq!(out, [1, 2, 3, 4, 5, 6]);
        assert_eq!(verdicts[2..5], [Insert::Held, Insert::Held, Insert::Deliver]);
    }

    #[test]
    fn a_lost_packet_is_given_up() {
        let (out, _) = run(&[(0, 1), (20, 3), (40, 4), (60, 5), (80, 6), (100, 2), (120, 7)]);
        assert_eq!(out, [1, 3, 4, 5, 6, 7], "by number of waiting packets; 2 came too late");
        let (out, verdicts) = run(&[(0, 1), (20, 3), (120, 4), (121, 2)]);
        assert_eq!(out, [1, 3, 4], "by time");
        assert_eq!(verdicts[3], Insert::Late);
    }

    #[test]
    fn duplicates_come_out_once() {
        let (out, verdicts) = run(&[(0, 1), (0, 1), (20, 3), (21, 3), (40, 2), (41, 2), (60, 4)]);
        assert_eq!(out, [1, 2, 3, 4]);
        assert_eq!(verdicts.iter().filter(|v| **v == Insert::Duplicate).count(), 3);
    }

    #[test]
    fn what_is_held_is_flushed_in_order() {
        let (out, _) = run(&[(0, 1), (20, 5), (21, 3)]);
        assert_eq!(out, [1, 3, 5]);
    }
}
