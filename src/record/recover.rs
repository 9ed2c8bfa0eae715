//! What a crash left.

use std::fs;
use std::path::{Path, PathBuf};

use super::{FinishedRecording, RecordError, finish};

/// One journal that was found.
#[derive(Debug)]
pub struct Recovered {
    /// The journal; gone when `result` is good.
    pub journal: PathBuf,
    /// The recording, or why it could not be finished; the journal is then still there.
    pub result: Result<FinishedRecording, RecordError>,
}

/// Finishes every journal in `directory` that no recorder is writing.
pub fn recover(directory: &Path) -> Result<Vec<Recovered>, RecordError> {
    let error = || RecordError::io(directory);
    let mut recovered = Vec::new();
    for entry in fs::read_dir(directory).map_err(error())? {
        let journal = entry.map_err(error())?.path();
        if journal.extension().is_none_or(|extension| extension != "journal") {
            continue;
        }
        match finish(&journal) {
            Err(RecordError::Live(_)) => {}
            result => recovered.push(Recovered { journal, result }),
        }
    }
    Ok(recovered)
}
