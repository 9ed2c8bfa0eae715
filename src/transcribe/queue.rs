//! One job of the store's queue: claim it, find the recording, transcribe the customer's side, store the words.
//!
//! The lease is short and renewed while the worker works: when this process dies, somebody else has the job soon; when the
//! worker dies, the job goes back into the queue and is tried again with a new worker.

use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use uuid::Uuid;

use super::{Clip, Range, TranscribeError, Transcriber, Transcript};
use crate::store::jobs::{self, Again, Job, TRANSCRIBE};
use crate::store::recordings::{self, Recording};
use crate::store::transcripts::{self, NewTranscript};
use crate::store::{Result, Store, StoreError, attempts, calls};

/// How long a claim lasts unless it is renewed.
const LEASE: SignedDuration = SignedDuration::from_secs(90);
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(30);
/// How long a failed job waits for its second try; four times as long for each further one.
const FIRST_WAIT_SECONDS: i64 = 10;
/// The recording's left channel is the customer, the right one what we said.
const CUSTOMER: u16 = 0;

/// What [`run_once`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing waits.
    Idle,
    /// A recording was transcribed and stored.
    Done {
        /// The recording.
        recording: Uuid,
        /// Nobody spoke in it.
        no_speech: bool,
    },
    /// A recording could not be transcribed this time.
    Failed {
        /// The recording.
        recording: Uuid,
        /// Why.
        error: String,
        /// It will be tried again.
        again: bool,
    },
    /// The claim ran out in the meantime: somebody else has the job, the result was dropped.
    Lost {
        /// The recording.
        recording: Uuid,
    },
}

/// Claims one transcription job and does it. `folder` is what the recordings' paths are relative to; `language` is for
/// calls that name none; `now` is the time of the call (what happens later is dated by how long it took).
///
/// # Errors
/// What the store met. A failing transcription is an [`Outcome`].
pub async fn run_once(
    store: &Store,
    transcriber: &Transcriber,
    folder: &Path,
    language: &str,
    now: Timestamp,
) -> Result<Outcome> {
    let clock = Clock { now, started: Instant::now() };
    let Some(job) = jobs::claim(store, TRANSCRIBE, now, LEASE).await? else { return Ok(Outcome::Idle) };
    let recording = recordings::get(store, job.subject).await?;
    let clip = clip(store, &recording, folder, language).await?;
    let Some(result) = work(store, transcriber, &job, &clip, clock).await? else {
        return Ok(Outcome::Lost { recording: job.subject });
    };
    let stored = match result {
        Ok(transcript) => finish(store, clock.now(), &job, transcript).await,
        Err(error) => fail(store, clock.now(), &job, &error).await,
    };
    match stored {
        Err(StoreError::Conflict(_)) => Ok(Outcome::Lost { recording: job.subject }),
        other => other,
    }
}

/// The time of the call and how long it has been going on.
#[derive(Clone, Copy)]
struct Clock {
    now: Timestamp,
    started: Instant,
}

impl Clock {
    fn now(self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.started.elapsed()).unwrap_or_default();
        self.now.saturating_add(elapsed).unwrap_or(Timestamp::MAX)
    }
}

async fn clip(store: &Store, recording: &Recording, folder: &Path, language: &str) -> Result<Clip> {
    let attempt = attempts::get(store, recording.attempt_id).await?;
    let call = calls::get(store, attempt.call_id).await?;
    let ranges = recording.answer_ranges.iter();
    Ok(Clip {
        path: folder.join(&recording.path),
        channel: CUSTOMER,
        ranges_ms: ranges.map(|range| Range { start_ms: range.start_ms, end_ms: range.end_ms }).collect(),
        language: if call.language.is_empty() { language.to_owned() } else { call.language },
        length: recording.duration_ms.map(Duration::from_millis),
    })
}

/// Transcribes while renewing the lease; `None` when the lease was lost, which also ends the worker.
async fn work(
    store: &Store,
    transcriber: &Transcriber,
    job: &Job,
    clip: &Clip,
    clock: Clock,
) -> Result<Option<std::result::Result<Transcript, TranscribeError>>> {
    let mut work = std::pin::pin!(transcriber.transcribe(clip));
    let mut renewal = interval_at(Instant::now() + RENEW, RENEW);
    renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            result = &mut work => return Ok(Some(result)),
            _ = renewal.tick() => {
                if !jobs::extend(store, clock.now(), job, LEASE).await? {
                    return Ok(None);
                }
            }
        }
    }
}

async fn finish(store: &Store, now: Timestamp, job: &Job, transcript: Transcript) -> Result<Outcome> {
    let no_speech = transcript.no_speech;
    let words = transcript.words.into_iter().map(|word| transcripts::Word {
        text: word.text,
        start_ms: word.start_ms,
        end_ms: word.end_ms,
        confidence: word.confidence,
    });
    let new = NewTranscript {
        text: transcript.text,
        no_speech,
        language: transcript.language,
        model: transcript.model,
        seconds: transcript.seconds,
        words: words.collect(),
    };
    transcripts::finish(store, now, job, &new).await?;
    tracing::info!(recording = %job.subject, no_speech, seconds = new.seconds, "transcribed");
    Ok(Outcome::Done { recording: job.subject, no_speech })
}

async fn fail(store: &Store, now: Timestamp, job: &Job, error: &TranscribeError) -> Result<Outcome> {
    let error = error.to_string();
    let wait = FIRST_WAIT_SECONDS.saturating_mul(4i64.saturating_pow(job.tries.saturating_sub(1)));
    let at = now.saturating_add(SignedDuration::from_secs(wait)).unwrap_or(Timestamp::MAX);
    let again = jobs::fail(store, now, job, &error, Again::At(at)).await?;
    tracing::warn!(recording = %job.subject, error, again, "a transcription failed");
    Ok(Outcome::Failed { recording: job.subject, error, again })
}
