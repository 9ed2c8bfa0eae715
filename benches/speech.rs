//! Accuracy and cost of transcription on up to 100 human telephone prompts: `cargo bench --bench speech [-- COUNT]`.
//!
//! Prints the word error rate and the processor time, beside those that were measured when the settings were chosen.

// what fails here fails the bench
#![allow(clippy::unwrap_used)]

#[path = "../tests/prompts/mod.rs"]
mod prompts;

use std::path::Path;

use callahead::audio::Codec;
use callahead::transcribe::wer::{self, Wer};
use callahead::transcribe::whisper::Whisper;
use callahead::transcribe::worker;
use nix::sys::resource::{UsageWho, getrusage};

fn main() {
    let count = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(100);
    let prompts = prompts::some(count);
    let mut whisper = Whisper::load(&prompts::model()).unwrap();
    let (mut sum, mut seconds) = (Wer::default(), 0.0);
    let before = processor_seconds();
    let dir = tempfile::tempdir().unwrap();
    let line = dir.path().join("line.wav");
    for prompt in &prompts {
        through_a_telephone(&prompt.path, &line);
        let samples = worker::samples(&line, 0).unwrap();
        seconds += samples.len() as f64 / 16_000.0;
        let transcript = whisper.transcribe(&samples, &[], "en").unwrap();
        let wer = wer::compare(&prompt.text, transcript.text.reveal());
        if wer.errors > 0 {
            println!(
                "{}/{} said  {}\n    heard {}",
                wer.errors,
                wer.words,
                prompt.text,
                transcript.text.reveal()
            );
        }
        sum += wer;
    }
    let spent = processor_seconds() - before;
    println!("\n                prompts  audio s  words  WER %  CPU s  CPU s per audio s");
    let per = spent / seconds;
    println!(
        "now             {:>7} {seconds:>8.0} {:>6} {:>6.2} {spent:>6.1} {per:>18.3}",
        prompts.len(),
        sum.words,
        sum.percent()
    );
    println!("when chosen         100      383    970   2.99   33.0              0.086   (base q8_0)");
    println!("full context        100      383    970   2.89  220.0              0.574   (base f16)");
}

/// What arrives at the other end of a mu-law line.
fn through_a_telephone(from: &Path, to: &Path) {
    let mut reader = hound::WavReader::open(from).unwrap();
    let mut samples: Vec<i16> = reader.samples().collect::<Result<_, _>>().unwrap();
    let mut bytes = vec![0; samples.len()];
    Codec::Pcmu.encode_into(&samples, &mut bytes);
    Codec::Pcmu.decode_into(&bytes, &mut samples);
    let mut writer = hound::WavWriter::create(to, reader.spec()).unwrap();
    samples.iter().for_each(|sample| writer.write_sample(*sample).unwrap());
    writer.finalize().unwrap();
}

fn processor_seconds() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}
