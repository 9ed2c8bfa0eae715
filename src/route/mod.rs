//! Which number, over which trunk, and whether there is room: pure, with time as an argument.

mod limits;
mod number;
mod trunks;

pub use limits::{Full, Gate, TokenBucket};
pub use number::{Country, Number, NumberError, NumberFormat};
pub use trunks::{Candidate, Routes, TrunkLimits};
