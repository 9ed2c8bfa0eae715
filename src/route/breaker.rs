//! A circuit breaker: a trunk whose network fails again and again is left alone for a while, then tried with one call.
//!
//! ```text
//!            N failures in a row                the open time is over: one call
//!   closed ──────────────────────► open ──────────────────────────────────────► half-open
//!     ▲                             ▲                                             │ │
//!     │                             └──────────── it fails: twice as long ────────┘ │
//!     └──────────────────────────────────── anything succeeds ──────────────────────┘
//! ```

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// An open time is not doubled beyond this.
const LONGEST_OPEN: Duration = Duration::from_secs(900);

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerLimits {
    /// How many failures in a row open it; at least 1.
    pub failures: u32,
    /// How long it stays open the first time; each probe that fails doubles it, up to 15 minutes.
    pub open: Duration,
}

impl Default for BreakerLimits {
    fn default() -> Self {
        Self { failures: 5, open: Duration::from_secs(30) }
    }
}

/// The breaker of one trunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    limits: BreakerLimits,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
        time: Duration,
    },
    /// One call is under way to find out.
    Probing {
        time: Duration,
    },
}

/// How a breaker stands, as one process tells another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls go through.
    Closed {
        /// Failures in a row.
        failures: u32,
    },
    /// No call goes through.
    Open {
        /// For so long, in milliseconds; 0: the next call finds out.
        ms: u64,
    },
    /// One call is finding out.
    Probing,
}

/// Why no call may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Tripped {
    /// Too many failures.
    #[error("the circuit breaker is open")]
    Open {
        /// When one call may try again.
        until: Instant,
    },
    /// The one call that may try is under way.
    #[error("the circuit breaker is open, and one call is finding out whether the trunk works again")]
    Probing,
}

/// What a call that was let through is, for the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// One of many.
    Ordinary,
    /// The one call that finds out whether the trunk works again. Its end must be told.
    Probe,
}

impl Breaker {
    /// A closed one.
    pub fn new(limits: BreakerLimits) -> Self {
        Self { limits, state: State::Closed { failures: 0 } }
    }

    /// Whether a call may begin.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, now: Instant) -> Result<(), Tripped> {
        match self.state {
            State::Closed { .. } => Ok(()),
            State::Open { until, .. } if until <= now => Ok(()),
            State::Open { until, .. } => Err(Tripped::Open { until }),
            State::Probing { .. } => Err(Tripped::Probing),
        }
    }

    /// Lets a call through; its end is told by [`Breaker::succeeded`], [`Breaker::failed`] or [`Breaker::abandoned`].
    ///
    /// # Errors
    /// Why it may not begin.
    pub fn take(&mut self, now: Instant) -> Result<Pass, Tripped> {
        self.check(now)?;
        match self.state {
            State::Open { time, .. } => {
                self.state = State::Probing { time };
                Ok(Pass::Probe)
            }
            _ => Ok(Pass::Ordinary),
        }
    }

    /// The trunk works: whatever was known against it is forgotten.
    pub fn succeeded(&mut self) {
        self.state = State::Closed { failures: 0 };
    }

    /// The trunk or the network to it failed. While the breaker is open, only the probe's failure says something new.
    pub fn failed(&mut self, pass: Pass, now: Instant) {
        self.state = match (self.state, pass) {
            (State::Closed { failures }, _) if failures + 1 < self.limits.failures => {
                State::Closed { failures: failures + 1 }
            }
            (State::Closed { .. }, _) => self.open(self.limits.open, now),
            (State::Probing { time }, Pass::Probe) => self.open(time * 2, now),
            (State::Open { .. } | State::Probing { .. }, _) => return,
        };
    }

    /// The call ended without saying anything about the trunk. If it was the probe, the next call is one.
    pub fn abandoned(&mut self, pass: Pass, now: Instant) {
        if let (State::Probing { time }, Pass::Probe) = (self.state, pass) {
            self.state = State::Open { until: now, time };
        }
    }

    /// How it stands.
    pub fn state(&self, now: Instant) -> BreakerState {
        match self.state {
            State::Closed { failures } => BreakerState::Closed { failures },
            State::Open { until, .. } => BreakerState::Open {
                ms: u64::try_from(until.saturating_duration_since(now).as_millis()).unwrap_or(u64::MAX),
            },
            State::Probing { .. } => BreakerState::Probing,
        }
    }

    /// Takes it to stand as another process said that it did `age` ago.
    pub fn suppose(&mut self, state: BreakerState, age: Duration, now: Instant) {
        let time = self.limits.open;
        self.state = match state {
            BreakerState::Closed { failures } => State::Closed { failures },
            BreakerState::Open { ms } => {
                let left = Duration::from_millis(ms).min(LONGEST_OPEN.max(time)).saturating_sub(age);
                State::Open { until: now + left, time }
            }
            BreakerState::Probing => State::Probing { time },
        };
    }

    /// Changes the limits; what is known stays known.
    pub fn set_limits(&mut self, limits: BreakerLimits) {
        self.limits = limits;
    }

    fn open(&self, time: Duration, now: Instant) -> State {
        let time = time.min(LONGEST_OPEN.max(self.limits.open));
        State::Open { until: now + time, time }
    }
}
