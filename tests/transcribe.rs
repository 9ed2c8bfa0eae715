//! Transcription with the real model in a real worker process: human speech, silence, noise, ranges, and a worker that is
//! killed in the middle of a job.

#![allow(clippy::unwrap_used)] // also in the functions that the tests share

mod prompts;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use callahead::pii::Redacted;
use callahead::store::calls::NewCall;
use callahead::store::recordings::{AnswerRange, Finished};
use callahead::store::{Store, TranscriptState, Vars, attempts, calls, jobs, recordings, transcripts};
use callahead::transcribe::queue::{Outcome, run_once};
use callahead::transcribe::wer::{self, Wer};
use callahead::transcribe::{Clip, Range, TranscribeError, Transcriber, Transcript};
use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

fn transcriber() -> Transcriber {
    Transcriber::with_program(Path::new(env!("CARGO_BIN_EXE_callahead")), &prompts::model())
}

fn clip(path: &Path) -> Clip {
    let (path, language) = (path.to_owned(), "en".to_owned());
    Clip { path, channel: 0, ranges_ms: Vec::new(), language, length: None }
}

fn read(path: &Path) -> Vec<i16> {
    hound::WavReader::open(path).unwrap().into_samples().collect::<Result<_, _>>().unwrap()
}

/// Writes a stereo recording as the recorder does: 8 kHz, left the customer, right what we said.
fn record(path: &Path, left: &[i16], right: &[i16]) -> Duration {
    let spec = hound::WavSpec {
        channels: 2,
        sample_rate: 8000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    let length = left.len().max(right.len());
    for at in 0..length {
        for side in [left, right] {
            writer.write_sample(side.get(at).copied().unwrap_or(0)).unwrap();
        }
    }
    writer.finalize().unwrap();
    Duration::from_millis(length as u64 / 8)
}

fn text(transcript: &Transcript) -> &str {
    transcript.text.reveal()
}

#[tokio::test]
async fn understands_human_telephone_speech() {
    let transcriber = transcriber();
    let mut sum = Wer::default();
    for prompt in prompts::some(8) {
        let transcript = transcriber.transcribe(&clip(&prompt.path)).await.unwrap();
        let wer = wer::compare(&prompt.text, text(&transcript));
        println!(
            "{:>2}/{:<2} said  {}\n      heard {}",
            wer.errors,
            wer.words,
            prompt.text,
            text(&transcript)
        );
        sum += wer;
        let ordered = transcript.words.windows(2).all(|pair| pair[0].start_ms <= pair[1].start_ms);
        assert!(
            ordered && transcript.words.iter().all(|word| word.start_ms <= word.end_ms),
            "{transcript:?}"
        );
    }
    println!("WER {:.1} % of {} words", sum.percent(), sum.words);
    assert!(sum.percent() < 15.0, "WER {:.1} %", sum.percent());
}

#[tokio::test]
async fn invents_nothing_for_silence_and_noise() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.wav");
    let transcriber = transcriber();
    let mut rng = StdRng::seed_from_u64(7);
    for level in [0i16, 1, 300, 3000, 20_000] {
        let noise: Vec<i16> = (0..64_000).map(|_| rng.random_range(-level..=level)).collect();
        record(&path, &noise, &[]);
        let transcript = transcriber.transcribe(&clip(&path)).await.unwrap();
        assert!(transcript.no_speech && text(&transcript).is_empty(), "at {level}: {:?}", text(&transcript));
        assert_eq!(transcript.words, [], "at {level}");
    }
}

#[tokio::test]
async fn hears_the_ranges_of_one_channel_in_the_files_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.wav");
    let [full, pin, muted] =
        ["conf-full", "conf-getpin", "conf-muted"].map(|name| read(&prompts::named(name).path));
    let pause = vec![0i16; 8000 * 3];
    let left = [full.as_slice(), &pause, &pin, &pause].concat();
    record(&path, &left, &muted);
    let start_ms = (full.len() + pause.len()) as u64 / 8;
    let end_ms = start_ms + pin.len() as u64 / 8;
    let transcriber = transcriber();

    let ranges_ms = vec![Range { start_ms, end_ms }];
    let transcript = transcriber.transcribe(&Clip { ranges_ms, ..clip(&path) }).await.unwrap();
    assert_eq!(wer::compare("please enter the conference pin number", text(&transcript)).errors, 0);
    let (first, last) = (transcript.words.first().unwrap(), transcript.words.last().unwrap());
    assert!(first.start_ms.abs_diff(start_ms) < 400 && last.end_ms.abs_diff(end_ms) < 700, "{transcript:?}");

    let right = transcriber.transcribe(&Clip { channel: 1, ..clip(&path) }).await.unwrap();
    assert!(text(&right).contains("muted"), "{:?}", text(&right));

    let both =
        vec![Range { start_ms: 0, end_ms: full.len() as u64 / 8 }, Range { start_ms, end_ms: end_ms + 1000 }];
    let transcript = transcriber.transcribe(&Clip { ranges_ms: both, ..clip(&path) }).await.unwrap();
    let said = "that conference is full please enter the conference pin number";
    assert_eq!(wer::compare(said, text(&transcript)).errors, 0, "{:?}", text(&transcript));
}

#[tokio::test]
async fn the_worker_refuses_what_is_no_sound_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.wav");
    fs::write(&path, "no sound").unwrap();
    let transcriber = transcriber();
    let refused = transcriber.transcribe(&clip(&path)).await;
    assert!(matches!(refused, Err(TranscribeError::Refused(_))), "{refused:?}");
    let pid = transcriber.pid().unwrap();
    let language = Clip { language: "tlh".to_owned(), ..clip(&prompts::named("conf-full").path) };
    assert!(matches!(transcriber.transcribe(&language).await, Err(TranscribeError::Refused(_))));
    let channel = Clip { channel: 5, ..clip(&prompts::named("conf-full").path) };
    assert!(matches!(transcriber.transcribe(&channel).await, Err(TranscribeError::Refused(_))));
    assert_eq!(transcriber.pid(), Some(pid), "one worker did it all");
}

#[tokio::test]
async fn a_worker_without_memory_or_model_is_an_error() {
    let prompt = clip(&prompts::named("conf-full").path);
    let starved = transcriber().with_memory(64 << 20);
    assert!(matches!(starved.transcribe(&prompt).await, Err(TranscribeError::Died(_))));
    let program = Path::new(env!("CARGO_BIN_EXE_callahead"));
    let without = Transcriber::with_program(program, Path::new("nonexistent.bin"));
    assert!(matches!(without.transcribe(&prompt).await, Err(TranscribeError::Died(_))));
}

fn at(text: &str) -> Timestamp {
    format!("2026-03-02T{text}Z").parse().unwrap()
}

/// A finished recording in the store, in which the customer says `left`, with its transcription job.
async fn recorded(store: &Store, folder: &Path, left: &[i16], ranges: Vec<AnswerRange>) -> Uuid {
    let new = NewCall {
        number: Redacted::new("+442071838750".to_owned()),
        plan: "delivery-confirm".to_owned(),
        vars: Vars::from([("name", "Ada")]),
        language: String::new(),
        delivery_id: None,
        due_at: at("09:00:00"),
        not_after: at("12:00:00"),
        max_attempts: 3,
        idempotency_key: None,
    };
    let (call, _) = calls::create(store, at("08:00:00"), new).await.unwrap();
    let attempt = attempts::begin_dialing(store, at("09:00:00"), uuid::Uuid::now_v7(), call.id, "main")
        .await
        .unwrap()
        .unwrap();
    let id = Uuid::now_v7();
    recordings::begin(store, at("09:00:00"), id, attempt.id, "a.part").await.unwrap();
    let length = record(&folder.join("a.wav"), left, &read(&prompts::named("conf-muted").path));
    let file = Finished {
        path: "a.wav".to_owned(),
        duration_ms: u64::try_from(length.as_millis()).unwrap(),
        bytes: fs::metadata(folder.join("a.wav")).unwrap().len(),
        sha256: "ab".repeat(32),
        answer_ranges: ranges,
    };
    recordings::finished(store, at("09:01:00"), id, &file, true).await.unwrap();
    id
}

async fn open() -> (Store, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Store::open(dir.path().join("callahead.db")).await.unwrap(), dir)
}

#[tokio::test]
async fn a_job_becomes_a_stored_transcript() {
    let (store, dir) = open().await;
    let transcriber = transcriber();
    let at_once = run_once(&store, &transcriber, dir.path(), "en", at("09:00:00")).await.unwrap();
    assert_eq!(at_once, Outcome::Idle);
    assert_eq!(transcriber.pid(), None, "no work, no worker");

    let prompt = prompts::named("conf-getpin");
    let left = [vec![0i16; 8000], read(&prompt.path)].concat();
    let ranges = vec![AnswerRange { start_ms: 900, end_ms: left.len() as u64 / 8 }];
    let id = recorded(&store, dir.path(), &left, ranges).await;
    let outcome = run_once(&store, &transcriber, dir.path(), "en", at("09:02:00")).await.unwrap();
    assert_eq!(outcome, Outcome::Done { recording: id, no_speech: false });
    let transcript = transcripts::of_recording(&store, id).await.unwrap().unwrap();
    assert_eq!(transcript.state, TranscriptState::Done);
    assert_eq!(wer::compare(&prompt.text, transcript.text.reveal()).errors, 0);
    assert_eq!(
        (transcript.language.as_deref(), transcript.model.as_deref()),
        (Some("en"), Some("base-q8_0"))
    );
    assert!(transcript.words[0].start_ms >= 900, "{:?}", transcript.words);
    assert_eq!(jobs::open(&store, jobs::TRANSCRIBE).await.unwrap(), 0);
}

#[tokio::test]
async fn a_missing_file_is_tried_again_and_given_up_in_the_end() {
    let (store, dir) = open().await;
    let transcriber = transcriber();
    let id = recorded(&store, dir.path(), &[0; 8000], Vec::new()).await;
    fs::remove_file(dir.path().join("a.wav")).unwrap();
    let mut now = at("09:02:00");
    for round in 1..=jobs::MAX_TRIES {
        let outcome = run_once(&store, &transcriber, dir.path(), "en", now).await.unwrap();
        let Outcome::Failed { recording, error, again } = outcome else { panic!("{outcome:?}") };
        assert_eq!((recording, again), (id, round < jobs::MAX_TRIES), "{error}");
        assert!(error.contains("a.wav"), "{error}");
        let early = run_once(&store, &transcriber, dir.path(), "en", now).await.unwrap();
        assert_eq!(early, Outcome::Idle, "a failed job waits");
        now += SignedDuration::from_hours(1);
    }
    let transcript = transcripts::of_recording(&store, id).await.unwrap().unwrap();
    assert_eq!(transcript.state, TranscriptState::Failed);
}

#[tokio::test]
async fn a_job_survives_its_killed_worker() {
    let (store, dir) = open().await;
    let prompt = prompts::named("basic-pbx-ivr-main"); // half a minute of speech: seconds of work
    let id = recorded(&store, dir.path(), &read(&prompt.path), Vec::new()).await;
    let transcriber = transcriber();
    let (outcome, killed) = tokio::join!(
        run_once(&store, &transcriber, dir.path(), "en", at("09:02:00")),
        kill_when_busy(&transcriber)
    );
    let outcome = outcome.unwrap();
    assert!(
        matches!(outcome, Outcome::Failed { recording, again: true, .. } if recording == id),
        "{outcome:?}"
    );
    assert_eq!(transcripts::of_recording(&store, id).await.unwrap().unwrap().state, TranscriptState::Queued);
    assert!(!Path::new(&format!("/proc/{killed}")).exists(), "the dead worker was reaped");

    let outcome = run_once(&store, &transcriber, dir.path(), "en", at("09:03:00")).await.unwrap();
    assert_eq!(outcome, Outcome::Done { recording: id, no_speech: false });
    assert_ne!(transcriber.pid(), Some(killed));
    let transcript = transcripts::of_recording(&store, id).await.unwrap().unwrap();
    assert_eq!(transcript.state, TranscriptState::Done);
    let wer = wer::compare(&prompt.text, transcript.text.reveal());
    assert!(wer.percent() < 20.0, "{wer:?}: {}", transcript.text.reveal());
}

/// Kills the worker once it has spent more processor time than loading a model takes.
async fn kill_when_busy(transcriber: &Transcriber) -> u32 {
    loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let Some(pid) = transcriber.pid() else { continue };
        if processor_seconds(pid) > 1.0 {
            kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
            return pid;
        }
    }
}

/// User time from `/proc/PID/stat`, which counts hundredths of a second.
fn processor_seconds(pid: u32) -> f64 {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    let stat = fs::read_to_string(path).unwrap_or_default();
    let behind_name = stat.rsplit(") ").next().unwrap_or_default();
    behind_name.split(' ').nth(11).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0) / 100.0
}
