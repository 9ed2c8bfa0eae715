//! The worker process: requests on standard input, replies on standard output, one JSON object a line.
//!
//! It bounds its own memory and lowers its own priority before it loads anything. Its logs go to standard error. When its
//! parent dies it ends within a second, also in the middle of a job: nobody waits for the reply.

use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::getppid;
use serde::{Deserialize, Serialize};

use super::whisper::{RATE, Whisper, WhisperError};
use super::{Range, Transcript};
use crate::speech::file::{AudioFileError, AudioLimits, load_channel};

/// A line longer than this (4 MiB) is no request or reply of ours.
pub const LONGEST_LINE: u64 = 4 << 20;
/// How much less important than everything else it is.
const NICE: i32 = 10;
/// The longest sound that is transcribed: an hour, which as a recording has 115 MB.
const LIMITS: AudioLimits = AudioLimits { max_duration: Duration::from_secs(3600), max_bytes: 256 << 20 };

/// How often it looks whether its parent lives.
const LOOK: Duration = Duration::from_secs(1);
/// The exit code of a worker whose parent died.
const ORPHANED: i32 = 3;

/// What to transcribe.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Comes back with the reply.
    pub id: u64,
    /// The sound file.
    pub path: PathBuf,
    /// Which channel of it, from 0 (left).
    pub channel: u16,
    /// The stretches to transcribe, each by itself; empty for the whole channel.
    pub ranges_ms: Vec<Range>,
    /// The language's code; empty for English.
    pub language: String,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reply {
    /// The request's.
    pub id: u64,
    /// The transcript, or why there is none.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// A reply's outcome.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// What was said.
    Ok(Transcript),
    /// Why it could not be transcribed.
    Error(String),
}

/// Why the worker stops before its input ends.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The limits could not be set.
    #[error("limiting this process: {0}")]
    Limit(#[from] io::Error),
    /// The model could not be loaded.
    #[error("{}: {source}", path.display())]
    Model {
        /// The model's file.
        path: PathBuf,
        /// What whisper said.
        source: WhisperError,
    },
    /// Standard input or output is gone.
    #[error("standard input or output: {0}")]
    Pipe(io::Error),
}

/// Serves requests until standard input ends, with at most `memory_bytes` of address space.
///
/// # Errors
/// [`WorkerError`]. A request that fails is answered, not an error.
pub fn run(model: &Path, memory_bytes: u64) -> Result<(), WorkerError> {
    setrlimit(Resource::RLIMIT_AS, memory_bytes, memory_bytes).map_err(io::Error::from)?;
    rustix::process::nice(NICE).map_err(io::Error::from)?;
    end_with_parent()?;
    let mut whisper =
        Whisper::load(model).map_err(|source| WorkerError::Model { path: model.to_owned(), source })?;
    serve(io::stdin().lock(), io::stdout().lock(), |request| answer(&mut whisper, request))
        .map_err(WorkerError::Pipe)
}

/// A thread of its own ends this process when its parent has died. (The kernel's signal for it would come when the *thread*
/// that started us ends, which for a runtime's threads means nothing.)
fn end_with_parent() -> io::Result<()> {
    let parent = getppid();
    let watch = move || {
        while getppid() == parent {
            thread::sleep(LOOK);
        }
        std::process::exit(ORPHANED);
    };
    thread::Builder::new().name("parent".to_owned()).spawn(watch).map(drop)
}

/// One channel of a sound file as whisper wants it: 16 kHz, -1 to 1.
///
/// # Errors
/// [`AudioFileError`], naming the file and the remedy.
pub fn samples(path: &Path, channel: u16) -> Result<Vec<f32>, AudioFileError> {
    let pcm = load_channel(path, usize::from(channel), RATE, LIMITS)?;
    Ok(pcm.samples.into_iter().map(|sample| f32::from(sample) / 32_768.0).collect())
}

/// Answers line by line. A line that is no request ends the worker: whoever wrote it speaks another language.
fn serve(
    mut input: impl BufRead,
    mut output: impl Write,
    mut answer: impl FnMut(&Request) -> Result<Transcript, String>,
) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if io::Read::take(&mut input, LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let request: Request = serde_json::from_slice(&line)?;
        let outcome = answer(&request).map_or_else(Outcome::Error, Outcome::Ok);
        serde_json::to_writer(&mut output, &Reply { id: request.id, outcome })?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
}

fn answer(whisper: &mut Whisper, request: &Request) -> Result<Transcript, String> {
    let clip = samples(&request.path, request.channel).map_err(|error| error.to_string())?;
    whisper.transcribe(&clip, &request.ranges_ms, &request.language).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pii::Redacted;

    fn silence() -> Transcript {
        let [language, model] = ["en", "base"].map(str::to_owned);
        Transcript {
            text: Redacted::new(String::new()),
            no_speech: true,
            language,
            model,
            seconds: 0.5,
            words: vec![],
        }
    }

    #[test]
    fn answers_each_line_with_its_number() {
        let input =
            br#"{"id":7,"path":"a.wav","channel":0,"ranges_ms":[{"start_ms":1,"end_ms":2}],"language":"en"}
{"id":8,"path":"b.wav","channel":1,"ranges_ms":[],"language":""}
"#;
        let mut output = Vec::new();
        serve(&input[..], &mut output, |request| match request.channel {
            0 => Ok(silence()),
            _ => Err("no such channel".to_owned()),
        })
        .unwrap();
        let replies: Vec<Reply> = output
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect();
        assert!(matches!(&replies[..], [Reply { id: 7, outcome: Outcome::Ok(transcript) },
            Reply { id: 8, outcome: Outcome::Error(error) }] if *transcript == silence() && error == "no such channel"));
    }

    #[test]
    fn a_line_that_is_no_request_ends_it() {
        let mut output = Vec::new();
        assert!(serve(&b"hello\n"[..], &mut output, |_| Ok(silence())).is_err());
        assert!(output.is_empty());
    }
}
