//! Where received audio belongs: RTP timestamps placed on the stream's clock.
//!
//! The first packet is anchored at its arrival; later ones lie where their timestamps say, so that network jitter
//! does not tear the recording and silence suppression leaves its hole. A timestamp that runs backwards, or away from
//! the clock, anchors anew at arrival.

/// How far ahead of the clock timestamps may lead: a first packet may have been delayed by this much.
const AHEAD: u64 = 2 * 8000;
/// How far behind the clock: a burst after a network stall.
const BEHIND: u64 = 10 * 8000;

#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// The timestamp and position of the last packet.
    last: Option<(u32, u64)>,
    /// The position after the last packet.
    end: u64,
}

impl Timeline {
    /// The position of a packet of `samples` samples with `timestamp`, arriving at `arrival`; packets come in order.
    pub fn place(&mut self, arrival: u64, timestamp: u32, samples: u64) -> u64 {
        let continued = self.last.and_then(|(last, position)| {
            let step = timestamp.wrapping_sub(last) as i32;
            let position = position + u64::try_from(step).ok()?;
            (position <= arrival + AHEAD && position + BEHIND >= arrival).then_some(position)
        });
        // Audio placed anew never covers what is there, unless that has run far ahead itself.
        let position = continued.unwrap_or_else(|| arrival.max(self.end.min(arrival + AHEAD)));
        self.last = Some((timestamp, position));
        self.end = position + samples;
        position
    }

    /// Forgets the timestamps of one source; the next packet is anchored at its arrival.
    pub fn break_off(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(arrivals: &[(u64, u32)]) -> Vec<u64> {
        let mut timeline = Timeline::default();
        arrivals.iter().map(|(arrival, timestamp)| timeline.place(*arrival, *timestamp, 160)).collect()
    }

    #[test]
    fn timestamps_rule_and_jitter_does_not() {
        let wrapped = u32::MAX - 159;
        assert_eq!(place(&[(1000, wrapped), (1200, 0), (1290, 160), (1480, 320)]), [1000, 1160, 1320, 1480]);
    }

    #[test]
    fn suppressed_silence_leaves_its_hole() {
        assert_eq!(place(&[(0, 0), (160, 160), (40_000, 40_000)]), [0, 160, 40_000]);
    }

    #[test]
    fn a_late_burst_keeps_its_place() {
        assert_eq!(place(&[(0, 0), (30_000, 160), (30_000, 320)]), [0, 160, 320]);
    }

    #[test]
    fn jumps_anchor_at_arrival() {
        assert_eq!(place(&[(0, 0), (160, 1_000_000), (320, 1_000_160)]), [0, 160, 320], "forward");
        assert_eq!(place(&[(0, 5_000_000), (160, 100), (310, 260)]), [0, 160, 320], "backward");
        assert_eq!(place(&[(0, 5000), (100, 4000)]), [0, 160], "never over what is there");
        assert_eq!(place(&[(0, 0), (200_000, 160)]), [0, 200_000], "too far behind");
    }

    #[test]
    fn another_source_is_anchored_at_arrival() {
        let mut timeline = Timeline::default();
        timeline.place(0, 0, 160);
        timeline.break_off();
        assert_eq!(timeline.place(900, 320, 160), 900);
        assert_eq!(timeline.place(1100, 480, 160), 1060);
    }
}
