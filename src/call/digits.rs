//! One key press that arrives twice: equipment often sends it as a telephone-event in RTP and as an INFO too.

use std::time::{Duration, Instant};

/// How far apart the two may arrive: an INFO comes at the key's end, and late when its first datagrams are lost.
const WINDOW: Duration = Duration::from_millis(1500);
/// The most presses that wait for their twin.
const MAX_PRESSES: usize = 16;

/// Where a key press was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DigitSource {
    /// A telephone-event in RTP (RFC 4733).
    Rtp,
    /// A SIP INFO (RFC 6086).
    Info,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Press {
    at: Instant,
    source: DigitSource,
    digit: char,
}

/// The presses of the last moments that came one way only so far.
#[derive(Debug, Default)]
pub struct Presses(Vec<Press>);

impl Presses {
    /// Takes a press: `false` when it came the other way already. Each press has one twin, so that a key pressed twice and
    /// told both ways each time counts twice.
    pub fn take(&mut self, now: Instant, source: DigitSource, digit: char) -> bool {
        self.0.retain(|press| now.saturating_duration_since(press.at) <= WINDOW);
        let twin = self.0.iter().position(|press| press.source != source && press.digit == digit);
        if let Some(twin) = twin {
            self.0.remove(twin);
            return false;
        }
        if self.0.len() >= MAX_PRESSES {
            self.0.remove(0);
        }
        self.0.push(Press { at: now, source, digit });
        true
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test begins at some time")]
mod tests {
    use super::DigitSource::{Info, Rtp};
    use super::*;

    /// Presses by millisecond, way and digit; the digits that count.
    fn counted(presses: &[(u64, DigitSource, char)]) -> String {
        let (start, mut known) = (Instant::now(), Presses::default());
        let counts = |(at, source, digit): &&(u64, DigitSource, char)| {
            known.take(start + Duration::from_millis(*at), *source, *digit)
        };
        presses.iter().filter(counts).map(|(_, _, digit)| *digit).collect()
    }

    #[test]
    fn a_press_told_both_ways_counts_once() {
        assert_eq!(counted(&[(0, Rtp, '1'), (200, Info, '1')]), "1");
        assert_eq!(counted(&[(0, Info, '1'), (5, Rtp, '1')]), "1");
        // Twice, interleaved in any way.
        assert_eq!(counted(&[(0, Rtp, '1'), (200, Info, '1'), (400, Rtp, '1'), (600, Info, '1')]), "11");
        assert_eq!(counted(&[(0, Rtp, '1'), (300, Rtp, '1'), (350, Info, '1'), (650, Info, '1')]), "11");
        assert_eq!(counted(&[(0, Rtp, '1'), (100, Rtp, '2'), (150, Info, '1'), (250, Info, '2')]), "12");
    }

    #[test]
    fn presses_told_one_way_all_count() {
        assert_eq!(counted(&[(0, Info, '1'), (100, Info, '1'), (200, Info, '1')]), "111");
        assert_eq!(counted(&[(0, Rtp, '1'), (100, Info, '2')]), "12");
        // Too far apart to be the same press.
        assert_eq!(counted(&[(0, Rtp, '1'), (1501, Info, '1')]), "11");
        let many: Vec<_> = (0..100).map(|at| (at, Info, '7')).collect();
        assert_eq!(counted(&many).len(), 100);
    }
}
