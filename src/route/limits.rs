//! How many calls at once and how many in a second.

use std::time::{Duration, Instant};

/// Lets `rate` things happen in a second, with a burst of as many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBucket {
    interval: Duration,
    burst: u32,
    /// When the bucket was or will be full: each token taken moves it one interval further.
    full_at: Instant,
}

impl TokenBucket {
    /// A full bucket; `rate` is in tokens per second, at least 1.
    pub fn new(rate: u32, now: Instant) -> Self {
        let rate = rate.max(1);
        Self { interval: Duration::from_secs(1) / rate, burst: rate, full_at: now }
    }

    /// Takes a token, or says when there will be one.
    ///
    /// # Errors
    /// The time of the next token.
    pub fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let ready = self.ready_at(now);
        if ready > now {
            return Err(ready);
        }
        self.full_at = self.full_at.max(now) + self.interval;
        Ok(())
    }

    /// When there is a token; not after `now` if there is one.
    pub fn ready_at(&self, now: Instant) -> Instant {
        let room = self.interval * (self.burst - 1);
        (self.full_at.max(now)).checked_sub(room).unwrap_or(now)
    }

    /// Changes the rate; what was taken stays taken.
    pub fn set_rate(&mut self, rate: u32, now: Instant) {
        let rate = rate.max(1);
        let missing = self.full_at.saturating_duration_since(now);
        let interval = Duration::from_secs(1) / rate;
        self.full_at = now + missing.min(Duration::from_secs(1));
        (self.interval, self.burst) = (interval, rate);
    }
}

/// The bounds of a trunk or of the engine as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    max_calls: u32,
    active: u32,
    rate: TokenBucket,
}

/// Why there is no room for another call now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// All the calls allowed are running.
    #[error("{max} calls are running, which is the limit")]
    Calls {
        /// The limit.
        max: u32,
    },
    /// All the calls allowed in this second were begun.
    #[error("the limit of new calls per second is reached")]
    Rate {
        /// When the next may begin.
        ready: Instant,
    },
}

impl Gate {
    /// A gate with nothing running.
    pub fn new(max_calls: u32, calls_per_second: u32, now: Instant) -> Self {
        Self { max_calls, active: 0, rate: TokenBucket::new(calls_per_second, now) }
    }

    /// Whether a call may begin.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, now: Instant) -> Result<(), Full> {
        if self.active >= self.max_calls {
            return Err(Full::Calls { max: self.max_calls });
        }
        match self.rate.ready_at(now) {
            ready if ready > now => Err(Full::Rate { ready }),
            _ => Ok(()),
        }
    }

    /// Begins a call, to be matched by one [`Gate::release`].
    ///
    /// # Errors
    /// Why it may not begin; then nothing was taken.
    pub fn take(&mut self, now: Instant) -> Result<(), Full> {
        self.check(now)?;
        self.rate.take(now).map_err(|ready| Full::Rate { ready })?;
        self.active += 1;
        Ok(())
    }

    /// Ends a call.
    pub fn release(&mut self) {
        self.active = self.active.saturating_sub(1);
    }

    /// Takes so many calls to be running.
    pub fn suppose(&mut self, active: u32) {
        self.active = active;
    }

    /// How many calls are running.
    pub fn active(&self) -> u32 {
        self.active
    }

    /// Changes the bounds; running calls stay counted.
    pub fn set_limits(&mut self, max_calls: u32, calls_per_second: u32, now: Instant) {
        self.max_calls = max_calls;
        self.rate.set_rate(calls_per_second, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn lets_a_burst_through_and_then_one_each_interval() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(4, start);
        for _ in 0..4 {
            bucket.take(start).unwrap();
        }
        assert_eq!(bucket.take(start), Err(start + ms(250)));
        assert_eq!(bucket.take(start + ms(249)), Err(start + ms(250)));
        bucket.take(start + ms(250)).unwrap();
        assert_eq!(bucket.take(start + ms(250)), Err(start + ms(500)));
        let later = start + ms(60_000);
        assert_eq!(
            (0..9).filter(|_| bucket.take(later).is_ok()).count(),
            4,
            "an idle minute saves up one burst only"
        );
    }

    #[test]
    fn one_a_second_is_one_a_second() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(1, start);
        let taken: Vec<_> = (0..5000).step_by(10).filter(|at| bucket.take(start + ms(*at)).is_ok()).collect();
        assert_eq!(taken, [0, 1000, 2000, 3000, 4000]);
    }

    #[test]
    fn a_gate_counts_calls_and_keeps_them_when_limits_change() {
        let start = Instant::now();
        let mut gate = Gate::new(2, 10, start);
        gate.take(start).unwrap();
        gate.take(start).unwrap();
        assert_eq!(gate.take(start), Err(Full::Calls { max: 2 }));
        gate.set_limits(3, 1, start);
        assert_eq!(gate.active(), 2);
        gate.release();
        assert!(matches!(gate.take(start), Err(Full::Rate { .. })));
        gate.take(start + ms(1000)).unwrap();
        for _ in 0..9 {
            gate.release();
        }
        assert_eq!(gate.active(), 0);
    }
}
