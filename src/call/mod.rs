//! One call: a SIP session, its media leg and its dialplan interpreter, as one machine without I/O.

pub mod state;

pub use state::{AttemptState, EndCause};
