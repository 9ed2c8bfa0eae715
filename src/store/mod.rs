//! The store: everything that must survive a crash, in one SQLite file through sqlx. All SQL of the crate is here, a file a table.
//!
//! - **One writer.** [`Store`] holds one connection for writing and a few for reading. Every write is a `BEGIN IMMEDIATE`
//!   transaction, so what it read cannot change under it, in this process or in another one on the same file.
//! - **Durable means fsynced.** `journal_mode=WAL` with `synchronous=FULL`: when a function that writes has returned, the
//!   row is on the disk. That is what makes [`attempts::begin_dialing`] the "dial exactly once or say unknown" rule.
//! - **Changes are events.** A change of something that people watch appends to [`events`] in the same transaction, and
//!   wakes readers after the commit.
//! - **No clock.** `now` is an argument everywhere; identifiers are UUIDv7 made from it.
//!
//! The functions are free functions in the module of their table and take the [`Store`] first:
//! `store::calls::due(&store, now, 10).await?`.

mod error;
mod open;
mod planning;
mod row;
mod tx;
mod vars;
mod word;

pub mod api_keys;
pub mod attempts;
pub mod backlog;
pub mod calls;
pub mod deliveries;
pub mod delivery_list;
pub mod do_not_call;
pub mod engine;
pub mod events;
pub mod inbound;
pub mod jobs;
pub mod recordings;
pub mod secret;
pub mod sessions;
pub mod sip_messages;
pub mod transcripts;
pub mod users;

#[cfg(test)]
mod tests;

pub use crate::call::state::{AttemptState, EndCause};
pub use error::{Result, StoreError};
pub use open::Store;
pub use planning::{CallTerms, Planner};
pub use vars::Vars;
pub use word::{CallState, Direction, JobState, RecordingState, Role, TranscriptState};
