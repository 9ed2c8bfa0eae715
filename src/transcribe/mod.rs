//! Speech to text, on this machine: the model, the worker process that runs it, and the queue that feeds it.
//!
//! Whisper runs in a child process of its own: what it takes (memory, processor time) is bounded there, and when it dies
//! it takes nothing with it. [`Transcriber`] is the parent's side, [`worker`] the child's, [`queue`] does one job of the
//! store's. The model's files come from [`model`].

pub mod cli;
pub mod convert;
mod install;
pub mod model;
pub mod queue;
mod supervisor;
mod vad;
pub mod wer;
mod wheel;
pub mod whisper;
mod words;
pub mod worker;

pub use supervisor::{Clip, MEMORY_BYTES, TranscribeError, Transcriber};

use serde::{Deserialize, Serialize};

use crate::pii::Redacted;

/// One word and where it was said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// The word with its punctuation, without spaces around it.
    pub text: Redacted,
    /// Its start in milliseconds from the file's beginning.
    pub start_ms: u64,
    /// Its end, not before its start.
    pub end_ms: u64,
    /// How sure the model is, 0 to 1.
    pub confidence: f32,
}

/// What was said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transcript {
    /// The text; empty when nobody spoke.
    pub text: Redacted,
    /// Nobody spoke.
    pub no_speech: bool,
    /// The language transcribed in, as whisper names it (`en`).
    pub language: String,
    /// The model's name.
    pub model: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The words in order.
    pub words: Vec<Word>,
}

/// A stretch of a recording, in milliseconds from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// Where it starts.
    pub start_ms: u64,
    /// Where it ends.
    pub end_ms: u64,
}
