//! Figures of the media threads, written by them and read by anybody.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// The width of a lateness bucket.
const BUCKET: Duration = Duration::from_micros(50);
/// A tick that comes later than this, half of its period, is late.
const LATE: Duration = Duration::from_millis(10);
/// Buckets up to 50 ms; what is later counts in the last one.
const BUCKETS: usize = 1000;

pub(super) struct ThreadStatistics {
    legs: AtomicUsize,
    packets_in: AtomicU64,
    packets_out: AtomicU64,
    send_errors: AtomicU64,
    latest: AtomicU64,
    late: [AtomicU64; BUCKETS],
}

impl Default for ThreadStatistics {
    fn default() -> Self {
        Self {
            legs: AtomicUsize::new(0),
            packets_in: AtomicU64::new(0),
            packets_out: AtomicU64::new(0),
            send_errors: AtomicU64::new(0),
            latest: AtomicU64::new(0),
            late: [const { AtomicU64::new(0) }; BUCKETS],
        }
    }
}

impl ThreadStatistics {
    pub fn legs(&self) -> usize {
        self.legs.load(Relaxed)
    }

    pub fn opened(&self) {
        self.legs.fetch_add(1, Relaxed);
    }

    pub fn closed(&self) {
        self.legs.fetch_sub(1, Relaxed);
    }

    /// Adds the packets of one slot.
    pub fn packets(&self, packets_in: u64, packets_out: u64, send_errors: u64) {
        self.packets_in.fetch_add(packets_in, Relaxed);
        self.packets_out.fetch_add(packets_out, Relaxed);
        self.send_errors.fetch_add(send_errors, Relaxed);
    }

    /// Notes one leg's tick that came `late` after its deadline.
    pub fn tick(&self, late: Duration) {
        let bucket = (late.as_micros() / BUCKET.as_micros()) as usize;
        if let Some(count) = self.late.get(bucket.min(BUCKETS - 1)) {
            count.fetch_add(1, Relaxed);
        }
        self.latest.fetch_max(late.as_micros() as u64, Relaxed);
    }
}

/// The figures of all media threads since they started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStatistics {
    /// Media threads.
    pub threads: usize,
    /// Open legs.
    pub legs: usize,
    /// Datagrams read.
    pub packets_in: u64,
    /// Datagrams sent.
    pub packets_out: u64,
    /// Datagrams that the system refused to send.
    pub send_errors: u64,
    /// Ticks of all legs.
    pub ticks: u64,
    /// Ticks that came 10 ms late or later.
    pub late_ticks: u64,
    /// How late ticks came.
    pub lateness: Lateness,
}

/// How late ticks came after their deadlines: upper bounds of 50 us buckets; percentiles end at 50 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lateness {
    /// Half of the ticks came sooner.
    pub p50: Duration,
    /// 99 of 100 ticks came sooner.
    pub p99: Duration,
    /// The latest.
    pub max: Duration,
}

/// Ticks of all legs since the start, and how many of them were late; two of these tell what happened in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LateTicks {
    ticks: u64,
    late: u64,
}

impl LateTicks {
    pub(super) fn of<'a>(threads: impl Iterator<Item = &'a ThreadStatistics>) -> Self {
        let first_late = (LATE.as_micros() / BUCKET.as_micros()) as usize;
        let mut sum = Self::default();
        for (bucket, count) in threads.flat_map(|thread| thread.late.iter().enumerate()) {
            let count = count.load(Relaxed);
            sum.ticks += count;
            sum.late += if bucket >= first_late { count } else { 0 };
        }
        sum
    }

    /// How many of a thousand ticks since `before` were late; 0 when there were none.
    pub fn per_mille_since(&self, before: &Self) -> u32 {
        let ticks = self.ticks.saturating_sub(before.ticks).max(1);
        u32::try_from(self.late.saturating_sub(before.late) * 1000 / ticks).unwrap_or(u32::MAX)
    }
}

impl PoolStatistics {
    pub(super) fn of<'a>(threads: impl Iterator<Item = &'a ThreadStatistics>) -> Self {
        let mut sum = Self::default();
        let mut late = [0; BUCKETS];
        for thread in threads {
            sum.threads += 1;
            sum.legs += thread.legs();
            sum.packets_in += thread.packets_in.load(Relaxed);
            sum.packets_out += thread.packets_out.load(Relaxed);
            sum.send_errors += thread.send_errors.load(Relaxed);
            let latest = Duration::from_micros(thread.latest.load(Relaxed));
            sum.lateness.max = sum.lateness.max.max(latest);
            late.iter_mut().zip(&thread.late).for_each(|(sum, count)| *sum += count.load(Relaxed));
        }
        sum.ticks = late.iter().sum();
        sum.late_ticks = late.iter().skip((LATE.as_micros() / BUCKET.as_micros()) as usize).sum();
        sum.lateness.p50 = percentile(&late, sum.ticks, 50);
        sum.lateness.p99 = percentile(&late, sum.ticks, 99);
        sum
    }
}

fn percentile(late: &[u64; BUCKETS], total: u64, percent: u64) -> Duration {
    let wanted = (total * percent).div_ceil(100);
    let mut seen = 0;
    let reaches = |count: &u64| {
        seen += count;
        seen >= wanted && total > 0
    };
    late.iter().position(reaches).map_or(Duration::ZERO, |bucket| BUCKET * (bucket as u32 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_known_ticks() {
        let threads = [ThreadStatistics::default(), ThreadStatistics::default()];
        assert_eq!(PoolStatistics::of(threads.iter()).lateness, Lateness::default());
        (0..98).for_each(|i| threads[i % 2].tick(Duration::from_micros(120)));
        threads[0].tick(Duration::from_micros(990));
        threads[1].tick(Duration::from_millis(70));
        let sum = PoolStatistics::of(threads.iter());
        assert_eq!((sum.ticks, sum.late_ticks), (100, 1));
        assert_eq!(sum.lateness.p50, Duration::from_micros(150));
        assert_eq!(sum.lateness.p99, Duration::from_millis(1));
        assert_eq!(sum.lateness.max, Duration::from_millis(70));
        let ticks = LateTicks::of(threads.iter());
        assert_eq!(ticks.per_mille_since(&LateTicks::default()), 10, "one of a hundred");
        (0..9).for_each(|_| threads[1].tick(Duration::from_micros(9990)));
        threads[1].tick(Duration::from_millis(10));
        assert_eq!(LateTicks::of(threads.iter()).per_mille_since(&ticks), 100);
        assert_eq!(ticks.per_mille_since(&ticks), 0);
    }
}
