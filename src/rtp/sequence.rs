//! Extended sequence numbers and the loss they imply (RFC 3550 appendix A.1, A.3), and the interarrival jitter
//! (appendix A.8).

use std::time::{Duration, Instant};

/// A forward step of at least this many packets is not loss but another stream (RFC 3550 A.1).
const MAX_DROPOUT: u16 = 3000;
/// A backward step of at most this many packets is reordering (RFC 3550 A.1).
const MAX_MISORDER: u16 = 100;

/// What a sequence number says about its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Newer than all before it; the extended number.
    New(u64),
    /// Older than the newest, reordered or a duplicate; the extended number.
    Old(u64),
    /// The sender started again (two packets in sequence after a great jump); the extended number.
    Restarted(u64),
    /// A great jump that the next packet must confirm; drop this packet.
    Suspect,
}

/// The sequence numbers of one source.
#[derive(Clone, Debug)]
pub struct Sequence {
    highest: u64,
    base: u64,
    received: u64,
    /// The number that would confirm a restart.
    confirming: Option<u16>,
}

impl Sequence {
    /// Starts with the source's first packet. The extended number begins one cycle up, so that packets
    /// reordered around the first one have a number as well.
    pub fn new(first: u16) -> Self {
        let base = 0x1_0000 + u64::from(first);
        Self { highest: base, base, received: 1, confirming: None }
    }

    /// The extended number of the newest packet.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// Counts `sequence` and places it.
    pub fn update(&mut self, sequence: u16) -> Arrival {
        let newest = self.highest as u16;
        let ahead = sequence.wrapping_sub(newest);
        let behind = newest.wrapping_sub(sequence);
        if ahead != 0 && ahead < MAX_DROPOUT {
            self.highest += u64::from(ahead);
            self.received += 1;
            self.confirming = None;
            return Arrival::New(self.highest);
        }
        if behind <= MAX_MISORDER {
            let extended = self.highest - u64::from(behind);
            self.received += 1;
            return Arrival::Old(extended);
        }
        if self.confirming == Some(sequence) {
            return Arrival::Restarted(self.restart(sequence));
        }
        self.confirming = Some(sequence.wrapping_add(1));
        Arrival::Suspect
    }

    /// Packets missing so far: expected less received, duplicates counted as received (RFC 3550 A.3).
    pub fn lost(&self) -> u64 {
        (self.highest - self.base + 1).saturating_sub(self.received)
    }

    /// A restarted sender continues above all numbers used before; loss is not counted over the jump.
    fn restart(&mut self, sequence: u16) -> u64 {
        let lost = self.lost();
        let mut next = (self.highest & !0xffff) + u64::from(sequence);
        if next <= self.highest {
            next += 0x1_0000;
        }
        self.highest = next;
        self.received += 1;
        // Keep `lost` as it was: expected - received = lost.
        self.base = (next + 1).saturating_sub(self.received + lost);
        self.confirming = None;
        next
    }
}

/// Interarrival jitter (RFC 3550 A.8) for an 8 kHz clock.
#[derive(Clone, Debug, Default)]
pub struct Jitter {
    last: Option<(Instant, u32)>,
    /// In timestamp units, times 16 as in the RFC's integer form.
    scaled: u64,
}

impl Jitter {
    /// Takes one packet's arrival and timestamp.
    pub fn update(&mut self, now: Instant, timestamp: u32) {
        if let Some((before, previous)) = self.last {
            let arrival = (now.saturating_duration_since(before).as_micros() / 125) as i64;
            let sent = i64::from(timestamp.wrapping_sub(previous) as i32);
            // A jump of the timeline is not jitter.
            let difference = (arrival - sent).unsigned_abs().min(8000);
            self.scaled = self.scaled + difference - ((self.scaled + 8) >> 4);
        }
        self.last = Some((now, timestamp));
    }

    /// Forgets the last packet, for another source, and keeps the estimate.
    pub fn break_off(&mut self) {
        self.last = None;
    }

    /// The estimate.
    pub fn value(&self) -> Duration {
        Duration::from_micros((self.scaled >> 4) * 125)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_extend_over_the_wrap() {
        let mut sequence = Sequence::new(65_534);
        assert_eq!(sequence.update(65_535), Arrival::New(0x1_ffff));
        assert_eq!(sequence.update(1), Arrival::New(0x2_0001));
        assert_eq!(sequence.lost(), 1);
        assert_eq!(sequence.update(0), Arrival::Old(0x2_0000));
        assert_eq!(sequence.lost(), 0);
        assert_eq!(sequence.update(65_533), Arrival::Old(0x1_fffd), "before the first");
    }

    #[test]
    fn a_jump_needs_a_second_packet() {
        let mut sequence = Sequence::new(10);
        assert_eq!(sequence.update(12), Arrival::New(0x1_000c));
        assert_eq!(sequence.update(40_000), Arrival::Suspect);
        assert_eq!(sequence.update(13), Arrival::New(0x1_000d), "one stray packet changes nothing");
        assert_eq!(sequence.update(40_000), Arrival::Suspect);
        assert_eq!(sequence.update(40_001), Arrival::Restarted(0x1_9c41));
        assert_eq!(sequence.lost(), 1, "the jump is not loss");
        assert_eq!(sequence.update(40_003), Arrival::New(0x1_9c43));
        assert_eq!(sequence.lost(), 2);
    }

    #[test]
    fn jitter_follows_the_rfc() {
        let start = Instant::now();
        let mut jitter = Jitter::default();
        for i in 0..200_u32 {
            let late = if i % 2 == 0 { 0 } else { 8 };
            jitter.update(start + Duration::from_millis(u64::from(i) * 20 + late), i * 160);
        }
        let value = jitter.value().as_millis();
        assert!((7..=8).contains(&value), "{value} ms after packets that alternate by 8 ms");
    }
}
