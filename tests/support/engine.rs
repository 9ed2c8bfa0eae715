//! The real engine in this process: a copy of `sip-config` with one trunk that leads to a test's peer, a data folder and a
//! dialplan of the test's own, and ports that the system chose.
#![allow(dead_code)] // each test binary uses its part

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use callahead::config::Config;
use callahead::engine::{self, Running};
use callahead::pii::Redacted;
use callahead::store::attempts::{self, Attempt};
use callahead::store::calls::{self, Call, NewCall};
use callahead::store::recordings::{self, Recording};
use callahead::store::transcripts::{self, Transcript};
use callahead::store::{CallState, RecordingState, Store, Vars};
use callahead::transcribe::Transcriber;
use callahead::transcribe::queue::{Outcome, run_once};
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use uuid::Uuid;

/// Nothing here takes nearly as long; a test that waits for more has failed.
const PATIENCE: Duration = Duration::from_secs(180);

/// What a test's plan is called.
pub const PLAN: &str = "test-plan";

/// A plan that only takes a message.
pub const MESSAGE: &str = r#"
title    = "Take a message"
start    = "take"
language = ["en"]

[step.take]
record = { max = "90s", silence = "3s", beep = false }
on     = { done = "thanks", silence = "nothing" }

[step.thanks]
outcome = "instructions"
hangup  = true

[step.nothing]
outcome = "no_response"
hangup  = true
"#;

/// Plays a prompt, then takes a message.
pub const PROMPT_AND_MESSAGE: &str = r#"
title    = "Say something and take a message"
start    = "greet"
language = ["en"]

[step.greet]
play = "conf-getpin.wav"
next = "take"

[step.take]
record = { max = "90s", silence = "3s", beep = false }
on     = { done = "thanks", silence = "nothing" }

[step.thanks]
outcome = "instructions"
hangup  = true

[step.nothing]
outcome = "no_response"
hangup  = true
"#;

/// The username and password that the trunk file names.
pub const CREDENTIALS: (&str, &str) = ("depot42", "s3cret-trunk");

/// A running engine; dropping it ends it at once and removes its folder.
pub struct TestEngine {
    running: Running,
    store: Store,
    folder: TempDir,
}

impl TestEngine {
    /// Starts one whose only trunk is `peer`, with `plan` and beside it the `prompts`, named as their files are.
    pub async fn start(peer: SocketAddr, plan: &str, prompts: &[&Path], password: &str) -> Self {
        Self::start_over(peer, "", "\"127.0.0.1:0\"", plan, prompts, password).await
    }

    /// The same with more lines in the trunk's file, and another value of `listen` with the lines after it.
    pub async fn start_over(
        peer: SocketAddr,
        trunk: &str,
        listen: &str,
        plan: &str,
        prompts: &[&Path],
        password: &str,
    ) -> Self {
        Self::build(peer, trunk, listen, plan, prompts, password, |_| ()).await
    }

    /// As [`Self::start`], with more done to the folder of the configuration before it is read.
    pub async fn start_with(
        peer: SocketAddr,
        plan: &str,
        prompts: &[&Path],
        password: &str,
        edit: impl FnOnce(&Path),
    ) -> Self {
        Self::build(peer, "", "\"127.0.0.1:0\"", plan, prompts, password, edit).await
    }

    async fn build(
        peer: SocketAddr,
        trunk: &str,
        listen: &str,
        plan: &str,
        prompts: &[&Path],
        password: &str,
        edit: impl FnOnce(&Path),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config_dir = folder.path().join("sip-config");
        configure(&config_dir, peer, trunk, listen, password);
        let dialplans = folder.path().join("dialplans");
        fs::create_dir(&dialplans).unwrap();
        fs::write(dialplans.join(format!("{PLAN}.toml")), plan).unwrap();
        for prompt in prompts {
            fs::copy(prompt, dialplans.join(prompt.file_name().unwrap())).unwrap();
        }
        edit(&config_dir);
        let config = Config::load(&config_dir).unwrap_or_else(|found| {
            let all: Vec<String> = found.iter().map(ToString::to_string).collect();
            panic!("{}", all.join("\n"))
        });
        // No model: the engine would start this test program as its worker. Tests transcribe with the right one.
        let no_models = folder.path().join("models");
        let running = engine::start(&config_dir, config, &no_models).await.unwrap();
        let store = Store::open(folder.path().join("data/callahead.db")).await.unwrap();
        Self { running, store, folder }
    }

    /// Where it speaks SIP.
    pub fn sip_addr(&self) -> SocketAddr {
        self.running.sip_addr()
    }

    /// The calls that it knows, newest first.
    pub async fn calls(&self) -> Vec<Call> {
        calls::list(&self.store, &calls::CallFilter::default(), 100).await.unwrap()
    }

    /// A call that is due now, tried once.
    pub async fn call(&self, number: &str) -> Uuid {
        let now = Timestamp::now();
        let new = NewCall {
            number: Redacted::new(number.to_owned()),
            plan: PLAN.to_owned(),
            vars: Vars::default(),
            language: String::new(),
            delivery_id: None,
            due_at: now,
            not_after: now + SignedDuration::from_hours(1),
            max_attempts: 1,
            idempotency_key: None,
        };
        calls::create(&self.store, now, new).await.unwrap().0.id
    }

    /// The call and its one attempt, once both are over and the attempt's recording, if there is one, is finished.
    pub async fn ended(&self, call: Uuid) -> Ended {
        let begun = Instant::now();
        loop {
            let (call, attempts) = calls::get_with_attempts(&self.store, call).await.unwrap();
            let recordings = recordings::of_call(&self.store, call.id).await.unwrap();
            let finished = recordings.iter().all(|recording| recording.state != RecordingState::Recording);
            if call.state == CallState::Done && finished {
                let [attempt] = <[Attempt; 1]>::try_from(attempts).unwrap();
                return Ended { call, attempt, recordings };
            }
            assert!(begun.elapsed() < PATIENCE, "{call:?} {attempts:?} {recordings:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The attempt of a call while it runs, as soon as `wanted` holds for it.
    pub async fn seen(&self, call: Uuid, wanted: impl Fn(&Attempt) -> bool) -> Attempt {
        let begun = Instant::now();
        loop {
            let attempts = attempts::of_call(&self.store, call).await.unwrap();
            if let Some(attempt) = attempts.iter().find(|attempt| wanted(attempt)) {
                return attempt.clone();
            }
            assert!(begun.elapsed() < PATIENCE, "{attempts:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Both channels of a finished recording: what the customer said, and what we said.
    pub fn channels(&self, recording: &Recording) -> (Vec<i16>, Vec<i16>) {
        assert_eq!(recording.state, RecordingState::Ready, "{recording:?}");
        let mut reader = hound::WavReader::open(self.data().join(&recording.path)).unwrap();
        let spec = reader.spec();
        assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (2, 8000, 16));
        let samples: Vec<i16> = reader.samples().collect::<Result<_, _>>().unwrap();
        samples.chunks_exact(2).map(|pair| (pair[0], pair[1])).unzip()
    }

    /// Does the one transcription job that waits, with the model in `model`.
    pub async fn transcribe(&self, recording: &Recording, model: &Path) -> Transcript {
        let transcriber = Transcriber::with_program(Path::new(env!("CARGO_BIN_EXE_callahead")), model);
        let outcome =
            run_once(&self.store, &transcriber, &self.data(), "en", Timestamp::now()).await.unwrap();
        assert!(matches!(outcome, Outcome::Done { recording: id, .. } if id == recording.id), "{outcome:?}");
        transcripts::of_recording(&self.store, recording.id).await.unwrap().unwrap()
    }

    /// What lies in the recordings folder.
    pub fn recorded_files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.data().join("recordings")).unwrap();
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect()
    }

    /// Ends the engine in good order, which waits for its last transactions (Timers D and M of RFC 3261 and RFC 6026: 32 s).
    pub async fn stop(self) {
        self.store.close().await;
        self.running.stop(std::future::pending()).await;
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Where the API is.
    pub fn http(&self) -> SocketAddr {
        self.running.http_addr()
    }

    /// The folder of the settings.
    pub fn config_dir(&self) -> PathBuf {
        self.folder.path().join("sip-config")
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

/// A call that is over.
pub struct Ended {
    /// The call.
    pub call: Call,
    /// Its attempt.
    pub attempt: Attempt,
    /// What was recorded.
    pub recordings: Vec<Recording>,
}

impl Ended {
    /// The recording of a call that has exactly one.
    pub fn recording(&self) -> &Recording {
        let [recording] = self.recordings.as_slice() else { panic!("{:?}", self.recordings) };
        recording
    }
}

/// Copies this repository's settings with other ports, and a trunk of the test's.
fn configure(config_dir: &Path, peer: SocketAddr, trunk: &str, listen: &str, password: &str) {
    let trunks = config_dir.join("trunks");
    fs::create_dir_all(&trunks).unwrap();
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("sip-config/callahead.toml");
    let mut text = fs::read_to_string(ours).unwrap();
    for (from, to) in [
        ("listen = \"127.0.0.1:8088\"", "listen = \"127.0.0.1:0\"".to_owned()),
        ("listen = \"127.0.0.1:5060\"", format!("listen = {listen}")),
        ("min_free_mb = 500", "min_free_mb = 1".to_owned()),
        ("calls_per_second = 5 ", "calls_per_second = 50 ".to_owned()),
        ("default_plan    = \"delivery-confirm\"", format!("default_plan = \"{PLAN}\"")),
    ] {
        assert!(text.contains(from), "sip-config/callahead.toml no longer says `{from}`");
        text = text.replace(from, &to);
    }
    fs::write(config_dir.join("callahead.toml"), text).unwrap();
    let (host, port, username) = (peer.ip(), peer.port(), CREDENTIALS.0);
    let text = format!(
        "host = \"{host}\"\nport = {port}\nusername = \"{username}\"\npassword = {{ file = \"peer.password\" }}\n\
         caller_id = \"+12025550100\"\ncountry = \"US\"\noptions_every = \"0s\"\ncodecs = [\"PCMU\"]\nmax_calls = 30\nmax_cps = 50\n{trunk}\n"
    );
    fs::write(trunks.join("peer.toml"), text).unwrap();
    fs::write(trunks.join("peer.password"), password).unwrap();
}
