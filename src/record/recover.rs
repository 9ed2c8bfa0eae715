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

/// Finishes every journal in `directory` that no recorder is writing, and removes half-written files without a journal.
pub fn recover(directory: &Path) -> Result<Vec<Recovered>, RecordError> {
    let error = || RecordError::io(directory);
    let mut recovered = Vec::new();
    for entry in fs::read_dir(directory).map_err(error())? {
        let journal = entry.map_err(error())?.path();
        if journal.to_str().is_some_and(|path| path.ends_with(".wav.partial")) {
            remove_orphan(&journal)?;
            continue;
        }
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

/// Half a file whose journal is gone can never be finished; beside a journal, finishing that replaces it.
fn remove_orphan(partial: &Path) -> Result<(), RecordError> {
    if partial.with_extension("").with_extension("journal").exists() {
        return Ok(());
    }
    fs::remove_file(partial).map_err(RecordError::io(partial))
}
