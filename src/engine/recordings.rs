//! Recordings around a call: the row before the answer, the file after the end, the job for its transcript.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::Engine;
use crate::call::Conclusion;
use crate::record::{self, FinishedRecording, Handle, RecordError, RecordingSpec, Tap};
use crate::store::RecordingState;
use crate::store::recordings::{self, AnswerRange};

/// A recording under way, from its journal's first byte to its finished file.
pub(super) struct LiveRecording {
    spec: RecordingSpec,
    handle: Handle,
}

impl LiveRecording {
    /// Makes the journal. It stays empty until the leg gets the tap.
    pub async fn begin(engine: &Engine, attempt: Uuid) -> Result<(Tap, Self), RecordError> {
        let spec = RecordingSpec { id: Uuid::now_v7(), attempt, started_at: Timestamp::now() };
        // One sync of a small file; on a disk where that takes long, the call had better wait as well.
        let (tap, handle) = tokio::task::block_in_place(|| engine.recorder.begin(&spec))?;
        Ok((tap, Self { spec, handle }))
    }

    /// Stores the row, so that a crash leaves a file that belongs to somebody.
    pub async fn store_row(&self, engine: &Engine) {
        let path = stored_path(engine, &self.handle.journal().with_extension("wav"));
        let (id, attempt) = (self.spec.id, self.spec.attempt);
        if let Err(error) = recordings::begin(&engine.store, Timestamp::now(), id, attempt, &path).await {
            error!(%attempt, %error, "the recording's row could not be stored; its file is kept all the same");
        }
    }

    /// Removes journal and row: nobody answered, nothing was recorded.
    pub async fn forget(self, engine: &Engine) {
        let id = self.spec.id;
        self.discard().await;
        if let Err(error) = recordings::discard(&engine.store, Timestamp::now(), id).await {
            error!(recording = %id, %error, "the row of an unanswered call's recording could not be removed");
        }
    }

    /// Turns the journal into a WAV file and asks for its transcript.
    pub async fn finish(self, engine: &Engine, conclusion: &Conclusion) {
        let id = self.spec.id;
        let ranges = conclusion.answers.iter();
        let ranges = ranges.map(|range| AnswerRange { start_ms: range.start_ms, end_ms: range.end_ms }).collect();
        let journal = self.handle.closed().await.journal;
        match blocking(move || record::finish(&journal)).await {
            Ok(finished) => store(engine, id, &finished, ranges).await,
            Err(error) => {
                error!(recording = %id, %error, "the recording could not be finished; its journal is kept");
                fail(engine, id, &error.to_string()).await;
            }
        }
    }

    /// Removes the journal. The tap must have been dropped.
    pub async fn discard(self) {
        let journal = self.handle.closed().await.journal;
        if let Err(error) = tokio::fs::remove_file(&journal).await {
            warn!(path = %journal.display(), %error, "an unused journal could not be removed");
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RecordError> + Send + 'static,
) -> Result<T, RecordError> {
    spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(RecordError::Io { path: PathBuf::new(), source: std::io::Error::other(error) })
    })
}

/// Finishes what a crash left in the recordings folder.
pub(super) async fn recover(engine: &Engine) {
    let folder = engine.recorder.directory().to_owned();
    let recovered = match blocking(move || record::recover(&folder)).await {
        Ok(recovered) => recovered,
        Err(error) => {
            error!(%error, "cannot look for journals that a crash left");
            Vec::new()
        }
    };
    for one in recovered {
        match one.result {
            Ok(finished) => {
                let id = finished.spec.id;
                info!(recording = %id, seconds = finished.duration.as_secs(), "recording recovered after a crash");
                store(engine, id, &finished, Vec::new()).await;
            }
            Err(error) => warn!(journal = %one.journal.display(), %error, "a journal left by a crash is kept"),
        }
    }
    match recordings::unfinished(&engine.store).await {
        Ok(rows) => {
            for row in rows {
                take_up(engine, &row).await;
            }
        }
        Err(error) => error!(%error, "cannot look for unfinished recordings"),
    }
}

/// A row without a journal: its file was finished and the database did not hear of it, or nothing was ever recorded.
async fn take_up(engine: &Engine, row: &recordings::Recording) {
    let path = engine.config().data.join(&row.path);
    if !path.exists() {
        return fail(engine, row.id, "the engine stopped before anything was recorded").await;
    }
    match blocking(move || record::measure(&path)).await {
        Ok(measured) => {
            info!(recording = %row.id, "a finished recording that the database did not know is taken up");
            let file = recordings::Finished {
                path: row.path.clone(),
                duration_ms: milliseconds(measured.duration),
                bytes: measured.bytes,
                sha256: measured.sha256,
                answer_ranges: Vec::new(),
            };
            store_file(engine, row.id, &file).await;
        }
        Err(error) => fail(engine, row.id, &error.to_string()).await,
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A path as the store keeps it: relative to the data folder, so that the folder may be moved.
fn stored_path(engine: &Engine, path: &Path) -> String {
    path.strip_prefix(&engine.config().data).unwrap_or(path).display().to_string()
}

async fn store(engine: &Engine, id: Uuid, finished: &FinishedRecording, answer_ranges: Vec<AnswerRange>) {
    let file = recordings::Finished {
        path: stored_path(engine, &finished.path),
        duration_ms: milliseconds(finished.duration),
        bytes: finished.bytes,
        sha256: finished.sha256.clone(),
        answer_ranges,
    };
    store_file(engine, id, &file).await;
}

/// Told again while the disk is full or the database busy; what it never hears of is taken up at the next start.
async fn store_file(engine: &Engine, id: Uuid, file: &recordings::Finished) {
    for wait in [0, 1, 5, 15, 60] {
        tokio::time::sleep(Duration::from_secs(wait)).await;
        match recordings::finished(&engine.store, Timestamp::now(), id, file, true).await {
            Ok(()) => {
                engine.metrics.recording_ended(RecordingState::Ready.as_str());
                return engine.transcribe.notify_one();
            }
            Err(error) => {
                error!(recording = %id, %error, "a finished recording could not be stored; its file is kept");
                if !error.is_temporary() {
                    return;
                }
            }
        }
    }
}

async fn fail(engine: &Engine, id: Uuid, reason: &str) {
    engine.metrics.recording_ended(RecordingState::Failed.as_str());
    if let Err(error) = recordings::failed(&engine.store, Timestamp::now(), id, reason).await {
        error!(recording = %id, %error, "cannot mark a recording as failed");
    }
}
