//! What a telephone brings besides one clear sentence: tones and music that are no words, long pauses, and a parent that dies.

mod prompts;

use std::f32::consts::TAU;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use callahead::transcribe::{Clip, Transcriber, Transcript, wer};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn transcriber() -> Transcriber {
    Transcriber::with_program(Path::new(env!("CARGO_BIN_EXE_callahead")), &prompts::model())
}

fn read(path: &Path) -> Vec<i16> {
    hound::WavReader::open(path).unwrap().into_samples().collect::<Result<_, _>>().unwrap()
}

/// Writes 8 kHz mono.
fn write(path: &Path, samples: &[i16]) {
    let sample_format = hound::SampleFormat::Int;
    let spec = hound::WavSpec { channels: 1, sample_rate: 8000, bits_per_sample: 16, sample_format };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    samples.iter().for_each(|sample| writer.write_sample(*sample).unwrap());
    writer.finalize().unwrap();
}

async fn hear(transcriber: &Transcriber, path: &Path) -> Transcript {
    let language = "en".to_owned();
    let clip = Clip { path: path.to_owned(), channel: 0, ranges_ms: Vec::new(), language, length: None };
    transcriber.transcribe(&clip).await.unwrap()
}

/// Sines together for `on` ms, then silence for `off` ms, `times` over.
fn tone(frequencies: &[f32], on: usize, off: usize, times: usize) -> Vec<i16> {
    let level = 12_000.0 / frequencies.len() as f32;
    let sample = |at: usize| {
        let sum: f32 = frequencies.iter().map(|hz| (TAU * hz * at as f32 / 8000.0).sin()).sum();
        (sum * level) as i16
    };
    let once: Vec<i16> = (0..on * 8).map(sample).chain(std::iter::repeat_n(0, off * 8)).collect();
    once.repeat(times)
}

/// A plucked string (Karplus and Strong), half a second of it.
fn pluck(frequency: f32) -> Vec<f32> {
    let period = (8000.0 / frequency) as usize;
    let mut string: Vec<f32> = (0..period).map(|i| if (i * 7919) % 13 < 6 { 1.0 } else { -1.0 }).collect();
    for at in 0..4000 {
        string.push(0.498 * (string[at] + string[at + 1]));
    }
    string
}

/// Broken chords with their notes held: what a waiting loop plays.
fn music() -> Vec<i16> {
    let mut sound = vec![0.0f32; 80_000];
    for (beat, chord) in [[196.0, 247.0, 294.0], [220.0, 262.0, 330.0], [175.0, 220.0, 262.0]]
        .iter()
        .cycle()
        .take(18)
        .enumerate()
    {
        for (note, frequency) in chord.iter().enumerate() {
            let start = beat * 4000 + note * 1000;
            for (sample, value) in sound.iter_mut().skip(start).zip(pluck(*frequency)) {
                *sample += 6000.0 * value;
            }
        }
    }
    sound.into_iter().map(|sample| sample.clamp(-32_000.0, 32_000.0) as i16).collect()
}

#[tokio::test]
async fn tones_and_music_are_no_words() {
    let keys = [[697.0, 1336.0], [770.0, 1209.0], [852.0, 1477.0], [941.0, 1336.0]];
    let sounds = [
        ("ringing", tone(&[440.0, 480.0], 2000, 4000, 2)),
        ("busy", tone(&[425.0], 480, 480, 8)),
        ("special information", [950.0, 1400.0, 1800.0].map(|hz| tone(&[hz], 330, 0, 1)).concat()),
        ("beep", tone(&[1000.0], 500, 3000, 1)),
        ("fax", tone(&[1100.0], 500, 3000, 3)),
        ("digits", keys.map(|key| tone(&key, 200, 200, 1)).concat().repeat(3)),
        ("mains hum", tone(&[50.0, 150.0, 250.0], 8000, 0, 1)),
        ("music", music()),
    ];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.wav");
    let transcriber = transcriber();
    for (name, samples) in sounds {
        write(&path, &samples);
        let transcript = hear(&transcriber, &path).await;
        assert!(
            transcript.no_speech && transcript.words.is_empty(),
            "{name}: {:?}",
            transcript.text.reveal()
        );
    }
}

#[tokio::test]
async fn one_word_is_heard() {
    let transcriber = transcriber();
    let sounds = prompts::named("conf-full").path.parent().unwrap().to_owned();
    for (name, word) in
        [("digits/1", "one"), ("digits/6", "six"), ("letters/b", "b"), ("letters/dash", "dash")]
    {
        let transcript = hear(&transcriber, &sounds.join(name).with_extension("wav")).await;
        assert_eq!(
            wer::compare(word, transcript.text.reveal()).errors,
            0,
            "{name}: {:?}",
            transcript.text.reveal()
        );
    }
}

#[tokio::test]
async fn a_long_pause_costs_little_and_keeps_the_times() {
    let [pin, full] = ["conf-getpin", "conf-full"].map(|name| read(&prompts::named(name).path));
    let samples = [&vec![0; 8000][..], &pin, &vec![0; 8000 * 50], &full, &vec![0; 16_000]].concat();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.wav");
    write(&path, &samples);
    let transcript = hear(&transcriber(), &path).await;
    let said = "please enter the conference pin number that conference is full";
    assert_eq!(wer::compare(said, transcript.text.reveal()).errors, 0, "{:?}", transcript.text.reveal());
    let second = (8000 * 51 + pin.len()) as u64 / 8;
    let [.., that, conference, is, full_] = &transcript.words[..] else { panic!("{transcript:?}") };
    assert!(that.start_ms.abs_diff(second) < 500, "{that:?}, said at {second}");
    assert!(full_.end_ms <= samples.len() as u64 / 8 && is.start_ms >= conference.start_ms, "{transcript:?}");
}

/// The engine may be killed while its worker is busy with half a minute of speech.
#[test]
fn a_worker_whose_parent_dies_ends_too() {
    let dir = tempfile::tempdir().unwrap();
    let requests = dir.path().join("requests");
    let path = prompts::named("basic-pbx-ivr-main").path;
    let line = |id: usize| {
        format!("{{\"id\":{id},\"path\":{path:?},\"channel\":0,\"ranges_ms\":[],\"language\":\"en\"}}\n")
    };
    fs::write(&requests, (0..100).map(line).collect::<String>()).unwrap(); // minutes of work
    let mut parent = Command::new("sh")
        .arg("-c")
        .arg("\"$0\" worker --model \"$1\" < \"$2\" > /dev/null 2>&1 & echo $! > \"$2.pid\"; wait")
        .args([Path::new(env!("CARGO_BIN_EXE_callahead")), &prompts::model(), &requests])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let patience = Duration::from_secs(20);
    let pid = loop {
        let written = fs::read_to_string(requests.with_extension("pid")).unwrap_or_default();
        match written.trim().parse::<i32>() {
            Ok(pid) if Path::new(&format!("/proc/{pid}")).exists() => break pid,
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
        assert!(started.elapsed() < patience, "the worker did not start");
    };
    std::thread::sleep(Duration::from_secs(2)); // it is at work, and has seen that its parent lives
    assert!(Path::new(&format!("/proc/{pid}")).exists(), "the worker works");
    kill(Pid::from_raw(i32::try_from(parent.id()).unwrap()), Signal::SIGKILL).unwrap();
    parent.wait().unwrap();
    let killed = Instant::now();
    let gone = || {
        // whoever inherits it may be slow to reap it
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.is_empty() || status.contains("State:\tZ")
    };
    while !gone() {
        assert!(killed.elapsed() < patience, "the worker works on for nobody");
        std::thread::sleep(Duration::from_millis(50));
    }
}
