//! When to call: pure functions of rows and wall time.
//!
//! Calling windows, holidays and the policies per reason have their place in [`due`] and [`retry`]: both answer with a moment,
//! which a window would move.

mod due;
mod retry;

pub use due::{Due, Pending, Picked, due_at, pick};
pub use retry::{GiveUp, NextAttempt, RetryPolicy, is_retriable, next_attempt};
