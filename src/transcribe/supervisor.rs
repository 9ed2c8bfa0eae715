//! The parent's side of the worker: starts it when there is work, bounds how long it may take, replaces it when it dies.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::Level;

use super::worker::{LONGEST_LINE, Outcome, Reply, Request};
use super::{Range, Transcript};

/// What a worker may take of memory when nothing else is said: 2 GiB.
pub const MEMORY_BYTES: u64 = 2 << 30;
/// What a job may take besides: starting, loading the model, a busy machine.
const GRACE: Duration = Duration::from_secs(60);
/// What each second of sound may take. It takes a tenth; a retry at every temperature two.
const FACTOR: u32 = 6;
/// No telephone sound has fewer bytes a second (8 kbit/s): bounds a file's length by its size.
const LEAST_BYTES_PER_SECOND: u64 = 1000;
/// A line of the worker's log that is longer than this (8 KiB) is taken for several.
const LONGEST_LOG_LINE: u64 = 8 << 10;
/// However long the file, a job ends (6 h).
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// What to transcribe.
#[derive(Debug, Clone)]
pub struct Clip {
    /// The sound file.
    pub path: PathBuf,
    /// Which channel of it, from 0 (left).
    pub channel: u16,
    /// The stretches to transcribe, each by itself; empty for the whole channel.
    pub ranges_ms: Vec<Range>,
    /// The language's code; empty for English.
    pub language: String,
    /// The file's length if known; it bounds the time a job may take. Otherwise the file's size does.
    pub length: Option<Duration>,
}

/// Why there is no transcript.
#[derive(Debug, thiserror::Error)]
pub enum TranscribeError {
    /// The file is not there, or is not readable.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The worker could not be started.
    #[error("the transcription worker could not be started: {0}")]
    Start(io::Error),
    /// The worker ended in the middle of a job.
    #[error("the transcription worker died ({0}); its log says why")]
    Died(String),
    /// The worker took too long and was ended.
    #[error("the transcription took longer than {} s", .0.as_secs())]
    TooLong(Duration),
    /// The worker said something that is no reply.
    #[error("the transcription worker answered nonsense: {0}")]
    Nonsense(String),
    /// The worker says the clip cannot be transcribed.
    #[error("{0}")]
    Refused(String),
}

/// One worker process and the queue before it: it does one clip at a time. For several at once, have several.
#[derive(Debug)]
pub struct Transcriber {
    program: PathBuf,
    model: PathBuf,
    memory_bytes: u64,
    worker: Mutex<Option<Worker>>,
    /// The living worker's process number; 0 when there is none.
    pid: AtomicU32,
    next_id: AtomicU64,
}

impl Transcriber {
    /// A transcriber that runs this very program as its worker. Nothing is started yet.
    ///
    /// # Errors
    /// When the program's own path cannot be learnt.
    pub fn new(model: &Path) -> io::Result<Self> {
        Ok(Self::with_program(&std::env::current_exe()?, model))
    }

    /// A transcriber that runs `program worker --model MODEL --memory-bytes N`.
    pub fn with_program(program: &Path, model: &Path) -> Self {
        Self {
            program: program.to_owned(),
            model: model.to_owned(),
            memory_bytes: MEMORY_BYTES,
            worker: Mutex::new(None),
            pid: AtomicU32::new(0),
            next_id: AtomicU64::new(1),
        }
    }

    /// The same with another limit for the worker's memory.
    pub fn with_memory(self, memory_bytes: u64) -> Self {
        Self { memory_bytes, ..self }
    }

    /// The worker's process number; `None` before the first job, and after a worker's death up to the next job.
    pub fn pid(&self) -> Option<u32> {
        match self.pid.load(Ordering::Relaxed) {
            0 => None,
            pid => Some(pid),
        }
    }

    /// How long a clip may take.
    ///
    /// # Errors
    /// [`TranscribeError::File`] when the file's size is needed and cannot be had.
    pub fn limit(&self, clip: &Clip) -> Result<Duration, TranscribeError> {
        let file = |source| TranscribeError::File { path: clip.path.clone(), source };
        let length = match clip.length {
            Some(length) => length,
            None => {
                Duration::from_secs(fs::metadata(&clip.path).map_err(file)?.len() / LEAST_BYTES_PER_SECOND)
            }
        };
        Ok((GRACE + length.saturating_mul(FACTOR)).min(LONGEST))
    }

    /// Transcribes a clip. Starts the worker if none lives. After any error but [`TranscribeError::Refused`] the worker is
    /// gone, and the next call starts another. Dropping the future ends the worker, too.
    ///
    /// # Errors
    /// [`TranscribeError`].
    pub async fn transcribe(&self, clip: &Clip) -> Result<Transcript, TranscribeError> {
        let limit = self.limit(clip)?;
        let mut place = self.worker.lock().await;
        // out of its place for the time of the job: whatever goes wrong, it is dropped, and killed by that
        let worker = match place.take() {
            Some(worker) => worker,
            None => self.start()?,
        };
        let mut guard = Living { pid: &self.pid, worker: Some(worker) };
        let Some(worker) = guard.worker.as_mut() else {
            return Err(TranscribeError::Died("at once".to_owned()));
        };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let request = Request {
            id,
            path: clip.path.clone(),
            channel: clip.channel,
            ranges_ms: clip.ranges_ms.clone(),
            language: clip.language.clone(),
        };
        let reply =
            timeout(limit, worker.ask(&request)).await.map_err(|_| TranscribeError::TooLong(limit))??;
        if reply.id != id {
            return Err(TranscribeError::Nonsense(format!("the reply to {} instead of {id}", reply.id)));
        }
        *place = guard.worker.take();
        match reply.outcome {
            Outcome::Ok(transcript) => Ok(transcript),
            Outcome::Error(error) => Err(TranscribeError::Refused(error)),
        }
    }

    fn start(&self) -> Result<Worker, TranscribeError> {
        let mut child = Command::new(&self.program)
            .arg("worker")
            .arg("--model")
            .arg(&self.model)
            .arg("--memory-bytes")
            .arg(self.memory_bytes.to_string())
            // or ggml, when it runs out of memory, starts a debugger on itself
            .env("GGML_NO_BACKTRACE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(TranscribeError::Start)?;
        let pipes = child.stdin.take().zip(child.stdout.take()).zip(child.stderr.take());
        let ((stdin, stdout), stderr) =
            pipes.ok_or_else(|| TranscribeError::Start(io::ErrorKind::BrokenPipe.into()))?;
        tokio::spawn(pass_on_log(stderr, child.id()));
        self.pid.store(child.id().unwrap_or(0), Ordering::Relaxed);
        tracing::debug!(pid = child.id(), "started a transcription worker");
        Ok(Worker { child, stdin, stdout: BufReader::new(stdout) })
    }
}

/// A worker at its job. When it is dropped with the worker still in it, the job failed, and nobody lives there any more.
struct Living<'a> {
    pid: &'a AtomicU32,
    worker: Option<Worker>,
}

impl Drop for Living<'_> {
    fn drop(&mut self) {
        if self.worker.is_some() {
            self.pid.store(0, Ordering::Relaxed);
        }
    }
}

#[derive(Debug)]
struct Worker {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Worker {
    async fn ask(&mut self, request: &Request) -> Result<Reply, TranscribeError> {
        let mut line =
            serde_json::to_vec(request).map_err(|error| TranscribeError::Nonsense(error.to_string()))?;
        line.push(b'\n');
        if self.stdin.write_all(&line).await.is_err() {
            return Err(self.died().await);
        }
        line.clear();
        let read = (&mut self.stdout).take(LONGEST_LINE).read_until(b'\n', &mut line).await;
        if !matches!(read, Ok(1..)) {
            return Err(self.died().await);
        }
        serde_json::from_slice(&line).map_err(|error| TranscribeError::Nonsense(error.to_string()))
    }

    /// Its pipes are closed: it is dead or about to be.
    async fn died(&mut self) -> TranscribeError {
        let status = timeout(Duration::from_secs(5), self.child.wait()).await;
        let status = status.ok().and_then(Result::ok).as_ref().map(ExitStatus::to_string);
        TranscribeError::Died(status.unwrap_or_else(|| "it closed its output".to_owned()))
    }
}

/// Repeats the worker's log in ours, line by line, until the worker ends.
async fn pass_on_log(stderr: ChildStderr, pid: Option<u32>) {
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut stderr).take(LONGEST_LOG_LINE).read_until(b'\n', &mut line).await {
            Ok(1..) => {}
            Ok(0) => return,
            Err(error) => return tracing::warn!(pid, %error, "the worker's log cannot be read any more"),
        }
        let line = String::from_utf8_lossy(&line);
        match line.trim() {
            "" => {}
            line => match level_of(line) {
                Level::ERROR => tracing::error!(pid, line, "worker"),
                Level::WARN => tracing::warn!(pid, line, "worker"),
                _ => tracing::debug!(pid, line, "worker"),
            },
        }
    }
}

/// The level of a line that `tracing` wrote (time, level, message). Anything else is a panic or the last words of a library
/// that gave up, and deserves to be seen.
fn level_of(line: &str) -> Level {
    line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(Level::WARN)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A program in the worker's place: a shell script.
    fn program(dir: &Path, script: &str) -> PathBuf {
        let path = dir.join("program");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn clip() -> Clip {
        let (path, language) = (PathBuf::from("a.wav"), String::new());
        Clip { path, channel: 0, ranges_ms: Vec::new(), language, length: Some(Duration::from_secs(1)) }
    }

    const HELLO: &str =
        r#"{"text":"Hello.","no_speech":false,"language":"en","model":"m","seconds":1.0,"words":[]}"#;

    async fn outcome(script: &str) -> (Result<Transcript, TranscribeError>, Transcriber) {
        let dir = tempfile::tempdir().unwrap();
        let transcriber = Transcriber::with_program(&program(dir.path(), script), Path::new("m.bin"));
        (transcriber.transcribe(&clip()).await, transcriber)
    }

    #[tokio::test]
    async fn a_reply_is_a_transcript_and_the_worker_stays() {
        let (result, transcriber) =
            outcome(&format!("read a; echo '{{\"id\":1,\"ok\":{HELLO}}}'; read b")).await;
        assert_eq!(result.unwrap().text.reveal(), "Hello.");
        assert!(transcriber.pid().is_some());
    }

    #[tokio::test]
    async fn a_refusal_is_told_and_the_worker_stays() {
        let (result, transcriber) =
            outcome("read a; echo '{\"id\":1,\"error\":\"no such file\"}'; read b").await;
        assert!(matches!(result, Err(TranscribeError::Refused(error)) if error == "no such file"));
        assert!(transcriber.pid().is_some());
    }

    #[tokio::test]
    async fn nonsense_is_an_error_and_the_worker_goes() {
        for script in ["read a; echo hello; read b", "read a; echo '{\"id\":9,\"error\":\"x\"}'; read b"] {
            let (result, transcriber) = outcome(script).await;
            assert!(matches!(result, Err(TranscribeError::Nonsense(_))), "{result:?}");
            assert_eq!(transcriber.pid(), None);
        }
    }

    #[tokio::test]
    async fn endless_output_without_a_line_is_an_error() {
        let (result, _) = outcome("read a; cat /dev/zero").await;
        assert!(matches!(result, Err(TranscribeError::Nonsense(_))), "{result:?}");
    }

    #[tokio::test]
    async fn a_worker_that_logs_a_lot_is_not_held_up() {
        // more than a pipe holds, and a line without an end
        let script = format!(
            "read a; head -c 300000 /dev/zero | tr '\\0' x >&2; echo '{{\"id\":1,\"ok\":{HELLO}}}'; read b"
        );
        let (result, _) = outcome(&script).await;
        assert_eq!(result.unwrap().text.reveal(), "Hello.");
    }

    #[test]
    fn lines_keep_their_level_and_last_words_are_a_warning() {
        assert_eq!(level_of("2026-11-21T06:06:32.49Z ERROR probe: reached EOF"), Level::ERROR);
        assert_eq!(level_of("2026-11-21T06:06:32.49Z  INFO ready"), Level::INFO);
        assert_eq!(level_of("thread 'main' panicked at x.rs:1:1:"), Level::WARN);
        assert_eq!(level_of("GGML_ASSERT"), Level::WARN);
    }

    #[tokio::test]
    async fn death_says_how() {
        let (result, transcriber) = outcome("read a; exit 7").await;
        assert!(matches!(&result, Err(TranscribeError::Died(how)) if how.contains('7')), "{result:?}");
        assert_eq!(transcriber.pid(), None);
        let (result, _) = outcome("kill -9 $$").await;
        assert!(matches!(&result, Err(TranscribeError::Died(how)) if how.contains('9')), "{result:?}");
    }

    #[tokio::test]
    async fn after_a_death_the_next_job_starts_another_worker() {
        let dir = tempfile::tempdir().unwrap();
        let script = format!(
            "if mkdir '{0}/x' 2>/dev/null; then exit 1; fi; read a; echo '{{\"id\":2,\"ok\":{HELLO}}}'; read b",
            dir.path().display()
        );
        let transcriber = Transcriber::with_program(&program(dir.path(), &script), Path::new("m.bin"));
        assert!(matches!(transcriber.transcribe(&clip()).await, Err(TranscribeError::Died(_))));
        assert!(transcriber.transcribe(&clip()).await.is_ok());
    }

    #[tokio::test]
    async fn a_missing_program_is_an_error() {
        let transcriber = Transcriber::with_program(Path::new("/nonexistent/callahead"), Path::new("m.bin"));
        assert!(matches!(transcriber.transcribe(&clip()).await, Err(TranscribeError::Start(_))));
    }

    #[test]
    fn the_limit_grows_with_the_sound() {
        let transcriber = Transcriber::with_program(Path::new("p"), Path::new("m.bin"));
        assert_eq!(transcriber.limit(&clip()).unwrap(), Duration::from_secs(66));
        let unknown = Clip { length: None, path: "/nonexistent".into(), ..clip() };
        assert!(matches!(transcriber.limit(&unknown), Err(TranscribeError::File { .. })));
    }
}
