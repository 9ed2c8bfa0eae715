//! Recordings around a call: the row before the answer, the file after the end, the job for its transcript.

use jiff::Timestamp;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::Engine;
use crate::call::Conclusion;
use crate::record::{self, Finished};
use crate::store::recordings::{self, AnswerRange};

/// Stores the row of a recording that has begun.
pub(super) async fn begin(engine: &Engine, recording: &record::Handle, attempt: Uuid) {
    let path = recording.wav_path().display().to_string();
    if let Err(error) = recordings::begin(&engine.store, Timestamp::now(), recording.id(), attempt, &path).await {
        error!(%attempt, %error, "the recording's row could not be stored; its file is kept all the same");
    }
}

/// Turns the journal into a WAV file and asks for its transcript; of a call that nobody answered nothing is kept.
pub(super) async fn finish(engine: &Engine, recording: record::Handle, conclusion: &Conclusion) {
    let id = recording.id();
    if !conclusion.answered {
        recording.discard().await;
        if let Err(error) = recordings::discard(&engine.store, id).await {
            error!(recording = %id, %error, "the row of an unanswered call's recording could not be removed");
        }
        return;
    }
    let ranges = conclusion.answers.iter().map(|range| AnswerRange { start_ms: range.start_ms, end_ms: range.end_ms });
    match recording.finish().await {
        Ok(finished) => store(engine, id, &finished, ranges.collect()).await,
        Err(error) => {
            error!(recording = %id, %error, "the recording could not be finished; its journal is kept");
            fail(engine, id, &error.to_string()).await;
        }
    }
}

/// Finishes what a crash left in the recordings folder.
pub(super) async fn recover(engine: &Engine) {
    let folder = engine.recorder.dir().to_owned();
    let recovered = tokio::task::spawn_blocking(move || record::recover(&folder)).await.unwrap_or_default();
    for one in recovered {
        match one.result {
            Ok(finished) => {
                info!(recording = %one.id, seconds = finished.duration_ms / 1000, "recording recovered after a crash");
                store(engine, one.id, &finished, Vec::new()).await;
            }
            Err(error) => warn!(recording = %one.id, %error, "a journal left by a crash could not be finished"),
        }
    }
    match recordings::unfinished(&engine.store).await {
        Ok(rows) => {
            for row in rows {
                fail(engine, row.id, "the engine stopped before anything was recorded").await;
            }
        }
        Err(error) => error!(%error, "cannot look for unfinished recordings"),
    }
}

async fn store(engine: &Engine, id: Uuid, finished: &Finished, answer_ranges: Vec<AnswerRange>) {
    let file = recordings::Finished {
        path: finished.path.display().to_string(),
        duration_ms: finished.duration_ms,
        bytes: finished.bytes,
        sha256: finished.sha256.clone(),
        answer_ranges,
    };
    match recordings::finished(&engine.store, Timestamp::now(), id, &file, true).await {
        Ok(()) => engine.transcribe.notify_one(),
        Err(error) => error!(recording = %id, %error, "a finished recording could not be stored; its file is kept"),
    }
}

async fn fail(engine: &Engine, id: Uuid, reason: &str) {
    if let Err(error) = recordings::failed(&engine.store, Timestamp::now(), id, reason).await {
        error!(recording = %id, %error, "cannot mark a recording as failed");
    }
}
