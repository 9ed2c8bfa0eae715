//! From the end of a call to the text of what the customer said.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use callahead::audio::{Codec, RATE};
use callahead::speech::file::{AudioLimits, load};
use callahead::store::{TranscriptState, attempts, recordings, transcripts};
use callahead::transcribe::wer;
use jiff::Timestamp;
use uuid::Uuid;

use super::callee::Callee;
use super::prompts;
use super::stage::{Stage, Trunk};
use super::usage::seconds;

/// How long the customer speaks.
const ANSWER: f64 = 10.0;
/// How often; the first also loads the model and is told apart.
const CALLS: usize = 6;

const PLAN: &str = r#"
title    = "Records an answer"
start    = "ask"
language = ["en"]

[step.ask]
record = { max = "40s", silence = "2s", beep = true }
on     = { done = "end", silence = "end", failed = "end" }

[step.end]
outcome = "instructions"
hangup  = true
"#;

/// One answer's way.
struct Seen {
    waited: f64,
    worked: f64,
    recorded: f64,
    wer: wer::Wer,
}

/// Makes the calls one after the other and prints how long the text took.
pub async fn run(folder: &Path) -> Result<()> {
    let (speech, text) = answer()?;
    let callee = Callee::start(&folder.join("sipp"), &speech, false)?;
    let trunks = [Trunk { name: "sipp", port: callee.port, max_calls: 10, priority: 1 }];
    let models = prompts::models().canonicalize().context("no models; callahead model fetch")?;
    let stage = Stage::set(folder, &trunks, PLAN, &models).await?;
    let mut seen = Vec::new();
    for _ in 0..CALLS {
        let id = stage.add_calls(1, Timestamp::now()).await?.pop().context("no call")?;
        seen.push(follow(&stage, id, &text).await?);
    }
    let mut later: Vec<f64> = seen.iter().skip(1).map(|seen| seen.waited).collect();
    later.sort_by(f64::total_cmp);
    let [first, ..] = seen.as_slice() else { bail!("no answer") };
    let median = later.get(later.len() / 2).copied().unwrap_or(f64::NAN);
    println!(
        "seconds from hang-up to the text of an answer of {ANSWER:.0} s ({} words): median of {} {median:.2}",
        first.wer.words,
        later.len()
    );
    println!("  each {}", list(&later));
    println!("  the first of all, which loads the model: {:.2}", first.waited);
    println!(
        "  of these for the model itself: {}",
        list(&seen.iter().skip(1).map(|seen| seen.worked).collect::<Vec<_>>())
    );
    println!("  recordings of {}s", list(&seen.iter().map(|seen| seen.recorded).collect::<Vec<_>>()));
    println!("  words wrong: {:?}", seen.iter().map(|seen| seen.wer.errors).collect::<Vec<_>>());
    Ok(())
}

fn list(values: &[f64]) -> String {
    values.iter().map(|value| format!("{value:.2} ")).collect()
}

/// Human prompts of about ten seconds in mu-law after a second of silence, and what is said in them.
fn answer() -> Result<(Vec<u8>, String)> {
    let second = RATE as usize;
    let mut samples = vec![0; second];
    let mut text = String::new();
    for prompt in prompts::some(40) {
        let pcm = load(&prompt.path, RATE, AudioLimits::default())?;
        let length = pcm.duration().as_secs_f64();
        if samples.len() as f64 / f64::from(RATE) - 1.0 + length <= ANSWER + 0.3 {
            samples.extend(pcm.samples);
            samples.extend(vec![0; second / 5]);
            text += &format!("{} ", prompt.text);
        }
    }
    samples.extend(vec![0; second * 4]);
    Ok((samples.into_iter().map(|sample| Codec::Pcmu.encode(sample)).collect(), text))
}

/// Waits for one call's text.
async fn follow(stage: &Stage, call: Uuid, text: &str) -> Result<Seen> {
    let begun = Instant::now();
    loop {
        if begun.elapsed() > Duration::from_secs(120) {
            bail!("no transcript after {} s: {:?}", begun.elapsed().as_secs(), stage.warnings()?);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let Some(recording) = recordings::of_call(&stage.store, call).await?.pop() else { continue };
        let Some(transcript) = transcripts::of_recording(&stage.store, recording.id).await? else { continue };
        let Some(finished) = transcript.finished_at else { continue };
        if transcript.state != TranscriptState::Done {
            bail!("the transcript is {:?}: {:?}", transcript.state, transcript.reason);
        }
        let attempts = attempts::of_call(&stage.store, call).await?;
        let ended = attempts.last().and_then(|attempt| attempt.ended_at).context("the call has no end")?;
        return Ok(Seen {
            waited: seconds(ended, finished),
            worked: transcript.seconds.unwrap_or(f64::NAN),
            recorded: recording.duration_ms.unwrap_or_default() as f64 / 1e3,
            wer: wer::compare(text, transcript.text.reveal()),
        });
    }
}
