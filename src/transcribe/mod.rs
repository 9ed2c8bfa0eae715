//! Speech to text, on this machine: the model, the worker process that runs it, and the queue that feeds it.

pub mod convert;
pub mod model;
mod wheel;
