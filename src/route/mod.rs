//! Which number, over which trunk, and whether there is room: pure, with time as an argument.
//!
//! [`Routes`] knows every trunk: what it serves and costs, what runs on it, how its last calls went and whether it is left
//! alone. [`Routes::choose`] says which may carry a call to a number, in which order and why, and why the others may not;
//! [`Routes::begin`] and [`Routes::end`] frame each call and take in what it said about its trunk.

mod breaker;
mod health;
mod limits;
mod number;
mod prefix;
mod quality;
mod strategy;
mod trunks;

pub use breaker::{Breaker, BreakerLimits, BreakerState, Pass, Tripped};
pub use health::{Health, HealthState};
pub use limits::{Full, Gate, TokenBucket};
pub use number::{Country, Number, NumberError, NumberFormat};
pub use prefix::{
    Callees, CallerId, Prefix, PrefixError, Price, Rate, Rewrite, caller_id, price, write_number,
};
pub use quality::{Quality, Sample, Score, mos};
pub use strategy::{Candidate, Standing, Strategy};
pub use trunks::{Choice, RouteRules, Routes, Skip, Skipped, Ticket, TrunkLimits, TrunkState, Verdict};

#[cfg(test)]
mod tests;
