//! When to call: pure functions of rows and wall time.
//!
//! What is due now is a question to the store, which has the rows; what follows an attempt is decided here.

mod retry;

pub use retry::{GiveUp, NextAttempt, RetryPolicy, is_retriable, next_attempt};
