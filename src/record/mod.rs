//! Recordings: a journal that survives a crash, and its finishing into a stereo WAV file.
//!
//! ```text
//! media thread -- Tap --> [ring] --> recorder thread --> <id>.journal --finish--> <id>.wav
//! ```
//! The [`Tap`] never waits: when its ring is full, because the disk stalls, frames are counted as lost. The recorder
//! thread writes a block for each recording a few times a second and syncs once a second, so a crash or power loss
//! costs the last second at most. [`finish`] lays both parties' frames on one timeline (left the customer, right what
//! we said), writes the WAV file under a temporary name, syncs and renames it, and only then removes the journal.
//! [`recover`] does the same to whatever a crash left. A live recorder holds a lock on its journal, so neither touches
//! one that is being written.

mod finish;
mod journal;
mod recorder;
mod recover;
mod tap;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

pub use finish::{Measured, finish, measure};
pub use recorder::{Ended, Handle, Recorder, RecorderConfig};
pub use recover::{Recovered, recover};
pub use tap::Tap;

/// Whose recording it is; kept in the journal, so that a crash cannot part them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingSpec {
    /// The recording; names its files.
    pub id: Uuid,
    /// The attempt it belongs to.
    pub attempt: Uuid,
    /// When it began.
    pub started_at: jiff::Timestamp,
}

/// A recording as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedRecording {
    /// Whose it is.
    pub spec: RecordingSpec,
    /// The WAV file: 8 kHz, 16 bits, left the customer, right what we said.
    pub path: PathBuf,
    /// How long it lasts.
    pub duration: Duration,
    /// The file's size.
    pub bytes: u64,
    /// Channels: 2.
    pub channels: u16,
    /// Frames (20 ms of one side) that a slow or full disk cost.
    pub gaps: u64,
    /// Bytes at the journal's end that a crash left half-written; they were not used.
    pub torn_bytes: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

/// Why a recording cannot begin or be finished.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The disk is nearly full.
    #[error("disk_full: {} has {} MB free and a recording needs {}; delete something or lower recordings.min_free_mb", path.display(), free >> 20, needed >> 20)]
    NoSpace {
        /// Bytes free to us.
        free: u64,
        /// Bytes that must be free.
        needed: u64,
        /// The recordings' directory.
        path: PathBuf,
    },
    /// The journal is being written at this moment.
    #[error("{} is being written", .0.display())]
    Live(PathBuf),
    /// The file is no journal, or not even its header is whole.
    #[error("{} is not a recording's journal", .0.display())]
    NotAJournal(PathBuf),
    /// A file operation failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The recorder thread has ended.
    #[error("the recorder is not running")]
    Stopped,
}

impl RecordError {
    fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
