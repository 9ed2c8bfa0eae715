//! Takes transcription jobs one after the other and hands them to worker processes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::Engine;
use crate::transcribe::{Transcriber, model, queue};

/// How often jobs are looked for when nobody says that there is one: their retry times and leases pass by themselves.
const LOOK: Duration = Duration::from_secs(2);

/// Starts as many workers as configured. Without a model, recordings wait for it and the log says how to get it.
pub(super) fn spawn(engine: &Arc<Engine>, models: &Path, tasks: &mut JoinSet<()>) {
    let config = engine.config();
    let path = match model::locate(models, &config.whisper.model) {
        Ok(path) => path,
        Err(error) => return warn!(%error, "recordings wait for their transcripts"),
    };
    let language = config.plans.get(&config.calls.default_plan).map_or("en", |plan| plan.language_for(""));
    for _ in 0..config.whisper.workers {
        match Transcriber::new(&path) {
            Ok(transcriber) => drop(tasks.spawn(work(engine.clone(), transcriber, language.to_owned()))),
            Err(error) => error!(%error, "no transcription worker: this program's own file is not found"),
        }
    }
}

/// `language` is spoken in calls that name none.
async fn work(engine: Arc<Engine>, transcriber: Transcriber, language: String) {
    let mut stop = engine.stop.subscribe();
    let folder = engine.config().data.clone();
    loop {
        let done = tokio::select! {
            outcome = queue::run_once(&engine.store, &transcriber, &folder, &language, Timestamp::now()) => outcome,
            // The job's lease runs out and the next start takes it up again.
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match done {
            Ok(queue::Outcome::Idle) => {}
            Ok(outcome) => {
                info!(?outcome, "transcription");
                continue;
            }
            Err(error) => error!(%error, "transcription"),
        }
        tokio::select! {
            () = engine.transcribe.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}
