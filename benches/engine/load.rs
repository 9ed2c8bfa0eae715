//! Many calls at once: what they cost, how evenly packets go out, and whether every recording is whole.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use callahead::audio::tones;
use callahead::store::attempts::{self, Attempt};
use callahead::store::{EndCause, RecordingState, calls, recordings};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::callee::Callee;
use super::frames::{self, Found};
use super::listener::Listener;
use super::stage::{Stage, Trunk};
use super::usage::{self, Sample, Sampler, cpu_between, seconds};

/// How long the dialplan plays, and how long it records.
const PHASE: i64 = 20;
/// Calls whose callee notes when packets come.
const LISTENERS: u32 = 5;

const PLAN: &str = r#"
title    = "Plays 20 s and records 20 s"
start    = "tell"
language = ["en"]

[step.tell]
play = "tone.wav"
next = "ask"

[step.ask]
record = { max = "20s", silence = "60s", beep = false }
on     = { done = "end", silence = "end", failed = "end" }

[step.end]
outcome = "instructions"
hangup  = true
"#;

/// CPU milliseconds for a second of one call of the peers: playing, recording, the whole run; and where they are known,
/// the farthest two packets. Measured once on a machine with 2 virtual processors, with 200 calls, the same callee and
/// the same 20 + 20 s; see docs/figures.md.
const PEERS: [(&str, &str, &str, [f64; 2]); 3] = [
    ("RustPBX 0.5.0", "1.4-1.8", "1.2-1.4", [1.6, 1.6]),
    ("Asterisk 22.10", "2.3", "0.7-1.1", [1.5, 1.9]),
    ("FreeSWITCH 1.10.12", "2.0-2.6", "2.3-3.3", [2.4, 3.3]),
];

/// Runs `count` calls, and prints what was seen.
pub async fn run(folder: &Path, count: u32) -> Result<()> {
    let stream = frames::unique(50 * 120);
    let callee = Callee::start(&folder.join("sipp"), &stream, true)?;
    let listener = Listener::start()?;
    write_tone(&folder.join("dialplans"))?;
    let trunks = [
        Trunk { name: "listener", port: listener.port, max_calls: LISTENERS, priority: 1 },
        Trunk { name: "sipp", port: callee.port, max_calls: count, priority: 2 },
    ];
    // No model: transcription is another process and would take the processors of this run.
    let stage = Stage::set(folder, &trunks, PLAN, &folder.join("no-models")).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let idle = usage::look(stage.pid())?;
    let due = Timestamp::now().checked_add(SignedDuration::from_secs(3))?;
    let ids = stage.add_calls(count + LISTENERS, due).await?;
    let callee_before = usage::look(callee.pid())?;
    let sampler = Sampler::start(stage.pid());
    let begun = Timestamp::now();
    let done = wait(&stage, &ids).await;
    let ended = Timestamp::now();
    let samples = sampler.finish()?;
    let callee_cpu = usage::look(callee.pid())?.cpu - callee_before.cpu;
    let deltas = distances(&listener.finish()?);
    let done = done?;
    let talked = report_calls(&done)?;
    println!(
        "SIPp's own processor time: {callee_cpu:.1} s of {:.0} s on this machine",
        seconds(begun, ended)
    );
    report_cpu(&samples, &done, &idle, cpu_between(&samples, begun, ended) * 1e3 / talked);
    report_deltas(deltas);
    report_recordings(&stage, &done, &stream).await?;
    let warnings = stage.warnings()?;
    println!("engine's warnings: {}", warnings.len().saturating_sub(1));
    warnings
        .iter()
        .filter(|line| !line.contains("recordings wait"))
        .take(3)
        .for_each(|line| println!("  {line}"));
    Ok(())
}

fn write_tone(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut wav = hound::WavWriter::create(folder.join("tone.wav"), spec)?;
    for sample in tones::sine(440.0, Duration::from_secs(PHASE.unsigned_abs()), -12.0) {
        wav.write_sample(sample)?;
    }
    Ok(wav.finalize()?)
}

/// Waits until all calls are over and their recordings are files; returns their attempts.
async fn wait(stage: &Stage, ids: &[Uuid]) -> Result<Vec<Attempt>> {
    let patience = Duration::from_secs(180 + ids.len() as u64 / 20);
    let begun = std::time::Instant::now();
    let mut done = Vec::new();
    // Nothing is over before that, and looking costs processor time that the engine wants.
    tokio::time::sleep(Duration::from_secs(2 * PHASE.unsigned_abs())).await;
    for id in ids {
        loop {
            let over = calls::get(&stage.store, *id).await?.outcome.is_some();
            let made = recordings::of_call(&stage.store, *id).await?;
            if over && made.iter().all(|recording| recording.state != RecordingState::Recording) {
                break;
            }
            if begun.elapsed() > patience {
                bail!("{} of {} calls are not over", ids.len() - done.len(), ids.len());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        done.extend(attempts::of_call(&stage.store, *id).await?);
    }
    Ok(done)
}

/// Prints how the calls ended; returns their seconds from answer to end.
fn report_calls(done: &[Attempt]) -> Result<f64> {
    let completed = done.iter().filter(|attempt| attempt.cause == Some(EndCause::Human)).count();
    println!("calls: {completed} of {} answered and ended by the plan", done.len());
    let talked = |attempt: &Attempt| Some(seconds(attempt.answered_at?, attempt.ended_at?));
    let talked: f64 = done.iter().filter_map(talked).sum();
    if talked <= 0.0 {
        bail!("no call was answered");
    }
    Ok(talked)
}

fn report_cpu(samples: &[Sample], done: &[Attempt], idle: &Sample, whole: f64) {
    let answered = || done.iter().filter_map(|attempt| attempt.answered_at);
    let (Some(first), Some(last)) = (answered().min(), answered().max()) else { return };
    let later = |at: Timestamp, plus: i64| at.saturating_add(SignedDuration::from_secs(plus)).unwrap_or(at);
    let cost = |from: Timestamp, to: Timestamp| {
        cpu_between(samples, from, to) * 1e3 / (done.len() as f64 * seconds(from, to).max(0.001))
    };
    let play = cost(later(last, 1), later(first, PHASE));
    let record = cost(later(last, PHASE + 1), later(first, 2 * PHASE));
    let full = samples.iter().rfind(|sample| sample.at <= later(first, 2 * PHASE));
    println!("last answer {:.1} s after the first\n", seconds(first, last));
    println!("CPU ms per call-second        all play    all record    whole run    times ours");
    println!("{:<28}{play:>10.2}{record:>14.2}{whole:>13.2}{:>14}", "callahead", 1);
    for (name, play, record, [low, high]) in PEERS {
        let range = |low: f64, high: f64| match high > low {
            true => format!("{low:.1}-{high:.1}"),
            false => format!("{low:.1}"),
        };
        let times = range(low / whole, high / whole);
        println!("{name:<28}{play:>10}{record:>14}{:>13}{times:>14}", range(low, high));
    }
    if let Some(full) = full {
        println!(
            "\nRSS MB: idle {:.0}, with {} calls {:.0}; threads {}",
            idle.rss,
            done.len(),
            full.rss,
            full.threads
        );
    }
}

/// Milliseconds between packets of the same call, sorted.
fn distances(calls: &[Vec<Duration>]) -> Vec<f64> {
    let pairs = calls.iter().flat_map(|arrivals| arrivals.windows(2));
    let distance = |pair: &[Duration]| match pair {
        [before, after] => after.abs_diff(*before).as_secs_f64() * 1e3,
        _ => 0.0,
    };
    let mut all: Vec<f64> = pairs.map(distance).collect();
    all.sort_by(f64::total_cmp);
    all
}

fn report_deltas(deltas: Vec<f64>) {
    let at = |share: f64| {
        let index = (deltas.len() as f64 * share) as usize;
        deltas.get(index.min(deltas.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
    };
    let (p50, p99, p999, max) = (at(0.5), at(0.99), at(0.999), at(1.0));
    println!(
        "ms between packets, {} of {LISTENERS} calls: p50 {p50:.2}, p99 {p99:.2}, p99.9 {p999:.2}, max {max:.2}",
        deltas.len()
    );
}

async fn report_recordings(stage: &Stage, done: &[Attempt], stream: &[u8]) -> Result<()> {
    let mut found: Vec<Found> = Vec::new();
    let (mut ready, mut others) = (0, 0);
    for attempt in done {
        for recording in recordings::of_call(&stage.store, attempt.call_id).await? {
            match recording.state {
                RecordingState::Ready => ready += 1,
                _ => others += 1,
            }
            if recording.state == RecordingState::Ready && attempt.trunk == "sipp" {
                found.push(frames::find(&stage.path(&recording.path), stream)?);
            }
        }
    }
    let whole = |found: &&Found| found.missing == 0 && found.whole > 0;
    let (complete, missing) =
        (found.iter().filter(whole).count(), found.iter().map(|found| found.missing).sum::<usize>());
    let shortest = found.iter().map(|found| found.seconds).fold(f64::INFINITY, f64::min);
    let longest = found.iter().map(|found| found.seconds).fold(0.0, f64::max);
    let fewest = found.iter().map(|found| found.whole).min().context("no recording")?;
    println!(
        "recordings: {ready} ready, {others} not; {complete} of {} with SIPp whole, {missing} frames missing;",
        found.len()
    );
    println!("  {shortest:.2}-{longest:.2} s long, at least {fewest} of the callee's frames in each");
    Ok(())
}
