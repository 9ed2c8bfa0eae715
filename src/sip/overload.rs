//! Whether a new call is taken: calls that run come first (RFC 3261 §21.5.4, RFC 7339's aim without its feedback).
//!
//! The decision looks at how many calls run, at how late the media threads are and at how much work waits. Once media was
//! late, new calls are shed until it is clearly in time again, so that the engine does not swing between the two.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// With more late ticks than this of a thousand, calls begin to suffer.
const LATE: u32 = 10;
/// Media is in time again when no more than this are late.
const IN_TIME: u32 = 2;
/// How much of the queue of new calls may be filled, in hundredths.
const QUEUE_PERCENT: usize = 75;
/// The shortest and the longest Retry-After, in seconds: spread, so that who was shed does not come back all at once.
const RETRY: std::ops::RangeInclusive<u64> = 5..=20;

/// How busy the engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Calls that run, in both directions.
    pub running: u32,
    /// The most that may run.
    pub max_calls: u32,
    /// How many of a thousand ticks of the media threads came late in the last second or so, by half of the 20 ms between
    /// packets or more.
    pub late_per_mille: u32,
    /// New calls that wait to be looked at.
    pub queued: usize,
    /// How many may wait.
    pub queue: usize,
    /// The engine is about to stop.
    pub draining: bool,
}

/// Why a new call is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Shed {
    /// The engine is about to stop.
    #[error("the engine is stopping")]
    Draining,
    /// As many calls run as may.
    #[error("all the calls allowed are running")]
    Calls,
    /// The media threads are late.
    #[error("the media threads are late")]
    Media,
    /// Too many new calls wait.
    #[error("too many new calls wait")]
    Queue,
}

/// Decides for each new call.
#[derive(Debug)]
pub struct Overload {
    late: bool,
    rng: StdRng,
}

impl Overload {
    /// `seed` spreads Retry-After.
    pub fn new(seed: u64) -> Self {
        Self { late: false, rng: StdRng::seed_from_u64(seed) }
    }

    /// Whether a new call is taken.
    ///
    /// # Errors
    /// Why not, and after how long the caller may try again: the Retry-After of a 503.
    pub fn admit(&mut self, load: &Load) -> Result<(), (Shed, Duration)> {
        let threshold = if self.late { IN_TIME } else { LATE };
        self.late = load.late_per_mille > threshold;
        let shed = if load.draining {
            Shed::Draining
        } else if load.running >= load.max_calls {
            Shed::Calls
        } else if self.late {
            Shed::Media
        } else if load.queued * 100 > load.queue * QUEUE_PERCENT {
            Shed::Queue
        } else {
            return Ok(());
        };
        Err((shed, Duration::from_secs(self.rng.random_range(RETRY))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Load =
        Load { running: 0, max_calls: 10, late_per_mille: 0, queued: 0, queue: 100, draining: false };

    fn why(overload: &mut Overload, load: Load) -> Option<Shed> {
        overload.admit(&load).err().map(|(shed, _)| shed)
    }

    #[test]
    fn each_bound_sheds_by_itself() {
        let mut overload = Overload::new(1);
        assert_eq!(why(&mut overload, QUIET), None);
        assert_eq!(why(&mut overload, Load { running: 9, ..QUIET }), None);
        assert_eq!(why(&mut overload, Load { running: 10, ..QUIET }), Some(Shed::Calls));
        assert_eq!(why(&mut overload, Load { draining: true, ..QUIET }), Some(Shed::Draining));
        assert_eq!(why(&mut overload, Load { queued: 75, ..QUIET }), None);
        assert_eq!(why(&mut overload, Load { queued: 76, ..QUIET }), Some(Shed::Queue));
    }

    #[test]
    fn late_media_sheds_until_it_is_clearly_in_time() {
        let mut overload = Overload::new(1);
        let late = |late_per_mille| Load { late_per_mille, ..QUIET };
        let seen = [9, 11, 9, 3, 2, 9].map(|ticks| why(&mut overload, late(ticks)).is_some());
        assert_eq!(seen, [false, true, true, true, false, false]);
    }

    #[test]
    fn retry_after_is_spread() {
        let mut overload = Overload::new(1);
        let full = Load { running: 10, ..QUIET };
        let waits: Vec<_> =
            (0..200).filter_map(|_| overload.admit(&full).err()).map(|(_, wait)| wait).collect();
        assert!(waits.iter().all(|wait| RETRY.contains(&wait.as_secs())));
        let different: std::collections::HashSet<_> = waits.into_iter().collect();
        assert!(different.len() > 10, "{different:?}");
    }
}
