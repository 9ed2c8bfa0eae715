//! Recordings, their transcription jobs and leases.

use uuid::Uuid;

use super::{at, dialing, seconds, store};
use crate::pii::Redacted;
use crate::store::jobs::{self, Again, MAX_TRIES, TRANSCRIBE};
use crate::store::recordings::{self, AnswerRange, Finished};
use crate::store::transcripts::{self, NewTranscript, Word};
use crate::store::{RecordingState, Store, StoreError, TranscriptState};

fn file() -> Finished {
    Finished {
        path: "recordings/a.wav".to_owned(),
        duration_ms: 9_500,
        bytes: 304_044,
        sha256: "ab".repeat(32),
        answer_ranges: vec![AnswerRange { start_ms: 4_000, end_ms: 9_000 }],
    }
}

fn text() -> NewTranscript {
    let word =
        Word { text: Redacted::new("porch".to_owned()), start_ms: 4_100, end_ms: 4_600, confidence: 0.9 };
    NewTranscript {
        text: Redacted::new("Leave it on the porch.".to_owned()),
        no_speech: false,
        language: "en".to_owned(),
        model: "base-q8_0".to_owned(),
        seconds: 1.25,
        words: vec![word],
    }
}

async fn ready(store: &Store) -> Uuid {
    let (_, attempt) = dialing(store).await;
    let id = Uuid::now_v7();
    recordings::begin(store, at("09:00:00"), id, attempt.id, "recordings/a.part").await.unwrap();
    assert_eq!(recordings::unfinished(store).await.unwrap()[0].id, id);
    recordings::finished(store, at("09:00:20"), id, &file(), true).await.unwrap();
    id
}

#[tokio::test]
async fn a_recording_brings_its_transcription_job() {
    let (store, _dir) = store().await;
    let id = ready(&store).await;
    recordings::finished(&store, at("09:00:21"), id, &file(), true).await.unwrap();
    assert_eq!(jobs::open(&store, TRANSCRIBE).await.unwrap(), 1, "finishing twice enqueues once");
    assert_eq!(transcripts::of_recording(&store, id).await.unwrap().unwrap().state, TranscriptState::Queued);

    let job = jobs::claim(&store, TRANSCRIBE, at("09:00:30"), seconds(60)).await.unwrap().unwrap();
    assert_eq!((job.subject, job.tries), (id, 1));
    assert_eq!(transcripts::of_recording(&store, id).await.unwrap().unwrap().state, TranscriptState::Running);
    assert_eq!(jobs::claim(&store, TRANSCRIBE, at("09:00:31"), seconds(60)).await.unwrap(), None);

    transcripts::finish(&store, at("09:00:32"), &job, &text()).await.unwrap();
    let transcript = transcripts::of_recording(&store, id).await.unwrap().unwrap();
    assert_eq!(transcript.state, TranscriptState::Done);
    assert_eq!(transcript.text.reveal(), "Leave it on the porch.");
    assert_eq!(transcript.words, text().words);
    assert_eq!(jobs::open(&store, TRANSCRIBE).await.unwrap(), 0);
    let recording = recordings::get(&store, id).await.unwrap();
    assert_eq!((recording.state, recording.bytes), (RecordingState::Ready, Some(304_044)));
    assert_eq!(recording.answer_ranges, file().answer_ranges);
}

#[tokio::test]
async fn a_killed_worker_loses_its_lease_and_its_late_result() {
    let (store, dir) = store().await;
    let id = ready(&store).await;
    let dead = jobs::claim(&store, TRANSCRIBE, at("09:01:00"), seconds(60)).await.unwrap().unwrap();
    assert!(jobs::extend(&store, at("09:01:30"), &dead, seconds(60)).await.unwrap());
    assert_eq!(jobs::claim(&store, TRANSCRIBE, at("09:02:29"), seconds(60)).await.unwrap(), None);
    let other = Store::open(dir.path().join("callahead.db")).await.unwrap();
    let successor = jobs::claim(&other, TRANSCRIBE, at("09:02:30"), seconds(60)).await.unwrap().unwrap();
    assert_eq!((successor.id, successor.tries), (dead.id, 2));

    assert!(!jobs::extend(&store, at("09:02:31"), &dead, seconds(60)).await.unwrap());
    let late = transcripts::finish(&store, at("09:02:31"), &dead, &text()).await;
    assert!(matches!(late, Err(StoreError::Conflict(_))), "{late:?}");
    assert_eq!(transcripts::of_recording(&store, id).await.unwrap().unwrap().text.reveal(), "");
    let silent =
        NewTranscript { text: Redacted::new(String::new()), no_speech: true, words: vec![], ..text() };
    transcripts::finish(&other, at("09:02:32"), &successor, &silent).await.unwrap();
    assert_eq!(
        transcripts::of_recording(&store, id).await.unwrap().unwrap().state,
        TranscriptState::NoSpeech
    );
}

#[tokio::test]
async fn tries_are_bounded() {
    let (store, _dir) = store().await;
    let id = ready(&store).await;
    for n in 1..=MAX_TRIES {
        let now = at(&format!("09:{n:02}:00"));
        let job = jobs::claim(&store, TRANSCRIBE, now, seconds(10)).await.unwrap().unwrap();
        let again = jobs::fail(&store, now, &job, "worker crashed", Again::At(now)).await.unwrap();
        assert_eq!(again, n < MAX_TRIES);
    }
    assert_eq!(jobs::claim(&store, TRANSCRIBE, at("10:00:00"), seconds(10)).await.unwrap(), None);
    let transcript = transcripts::of_recording(&store, id).await.unwrap().unwrap();
    assert_eq!(
        (transcript.state, transcript.reason.as_deref()),
        (TranscriptState::Failed, Some("worker crashed"))
    );
}

#[tokio::test]
async fn a_job_that_kills_every_worker_is_given_up() {
    let (store, _dir) = store().await;
    let id = ready(&store).await;
    for n in 1..=MAX_TRIES {
        let now = at(&format!("09:{n:02}:00"));
        assert!(jobs::claim(&store, TRANSCRIBE, now, seconds(10)).await.unwrap().is_some());
    }
    assert_eq!(jobs::claim(&store, TRANSCRIBE, at("10:00:00"), seconds(10)).await.unwrap(), None);
    assert_eq!(transcripts::of_recording(&store, id).await.unwrap().unwrap().state, TranscriptState::Failed);
    assert_eq!(jobs::open(&store, TRANSCRIBE).await.unwrap(), 0);
}
