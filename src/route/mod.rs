//! Which number, over which trunk, and whether there is room: pure, with time as an argument.

mod breaker;
mod limits;
mod number;
mod prefix;
mod strategy;
mod trunks;

pub use breaker::{Breaker, BreakerLimits, Pass, Tripped};
pub use limits::{Full, Gate, TokenBucket};
pub use number::{Country, Number, NumberError, NumberFormat};
pub use prefix::{
    CallerId, Callees, Prefix, PrefixError, Price, Rate, Rewrite, caller_id, price, write_number,
};
pub use strategy::Strategy;
pub use trunks::{Candidate, Routes, TrunkLimits};
