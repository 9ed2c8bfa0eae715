//! Text to speech by programs of the distribution, offline: festival, flite and espeak-ng.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::file::{self, AudioFileError};
use crate::audio::{Pcm, RATE, level};

/// The longest text that is spoken, in characters.
pub const MAX_TEXT: usize = 2_000;

/// How long a program may take for one text.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// The loudest sample of a rendered prompt: 3 dB below full scale.
const PEAK: f32 = 23_200.0;

/// Samples quieter than this at both ends are cut off, but for [`EDGE`].
const FLOOR: i16 = 200;

/// What is kept before the first and after the last sound: 60 ms.
const EDGE: usize = RATE as usize * 60 / 1000;

/// A program that speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// `text2wave` of festival; the voice as festival names it without `voice_`: `cmu_us_slt_arctic_hts`.
    Festival,
    /// `flite`: `slt`, `rms`, `awb`, `kal16`.
    Flite,
    /// `espeak-ng`: a language such as `es` or `en-us`.
    EspeakNg,
}

/// An engine's voice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Voice {
    /// The program.
    pub engine: Engine,
    /// The voice, by the program's own name.
    pub name: String,
}

/// Which voice speaks which language.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Voices(BTreeMap<String, Voice>);

impl Voices {
    /// Adds or replaces the voice of a language (`en`, `es-MX`).
    #[must_use]
    pub fn with(mut self, language: &str, voice: Voice) -> Self {
        self.0.insert(language.to_ascii_lowercase(), voice);
        self
    }

    /// The voice for `language`: its own, else that of its main language (`es` for `es-MX`).
    pub fn get(&self, language: &str) -> Option<&Voice> {
        let language = language.to_ascii_lowercase();
        let main = language.split(['-', '_']).next().unwrap_or(&language);
        self.0.get(&language).or_else(|| self.0.get(main))
    }
}

/// Why a text was not spoken. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SpeechError {
    /// The program is not installed.
    #[error("`{program}` is not installed; install the Debian package `{package}`")]
    Missing {
        /// Its name.
        program: &'static str,
        /// Where it comes from.
        package: &'static str,
    },
    /// The language has no voice.
    #[error("there is no voice for the language `{0}`; add one to [voices] in callahead.toml")]
    NoVoice(String),
    /// The text is over [`MAX_TEXT`].
    #[error("a prompt of {0} characters is too long; the limit is {MAX_TEXT}")]
    TooLong(usize),
    /// The program said no or nothing: mostly an unknown voice.
    #[error("`{program}` did not speak with the voice `{voice}`: {reason}; see [voices] in callahead.toml")]
    Refused {
        /// Its name.
        program: &'static str,
        /// The wanted voice.
        voice: String,
        /// The end of what it wrote.
        reason: String,
    },
    /// It took longer than allowed.
    #[error("`{program}` did not finish in {} s", TIME_LIMIT.as_secs())]
    Timeout {
        /// Its name.
        program: &'static str,
    },
    /// The sound that it made cannot be read.
    #[error(transparent)]
    Audio(#[from] AudioFileError),
    /// A temporary file or the program's pipes.
    #[error("speech: {0}")]
    Io(#[from] std::io::Error),
}

impl Engine {
    fn program(self) -> &'static str {
        match self {
            Self::Festival => "text2wave",
            Self::Flite => "flite",
            Self::EspeakNg => "espeak-ng",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Festival => "festival",
            Self::Flite => "flite",
            Self::EspeakNg => "espeak-ng",
        }
    }
}

/// Speaks `text` and returns it at 8 kHz, trimmed and at telephone level. `scratch` is a folder for temporary files.
///
/// # Errors
/// See [`SpeechError`].
pub async fn render(voice: &Voice, text: &str, scratch: &Path) -> Result<Pcm, SpeechError> {
    let count = text.chars().count();
    if count > MAX_TEXT {
        return Err(SpeechError::TooLong(count));
    }
    let name = uuid::Uuid::now_v7();
    let (input, output) = (scratch.join(format!("{name}.txt")), scratch.join(format!("{name}.tmp.wav")));
    let spoken = speak(voice, text, &input, &output).await;
    // Both may be missing when the program failed; nothing else can be done about a leftover temporary file.
    drop((tokio::fs::remove_file(&input).await, ()));
    let pcm = match spoken {
        Ok(()) => file::load(&output, RATE).map_err(SpeechError::from),
        Err(error) => Err(error),
    };
    drop((tokio::fs::remove_file(&output).await, ()));
    pcm.map(level_and_trim)
}

async fn speak(voice: &Voice, text: &str, input: &Path, output: &Path) -> Result<(), SpeechError> {
    tokio::fs::write(input, text).await?;
    let program = voice.engine.program();
    let mut command = Command::new(program);
    match voice.engine {
        Engine::Festival => {
            command.arg("-eval").arg(format!("(voice_{})", voice.name)).arg("-o").arg(output).arg(input)
        }
        Engine::Flite => command.arg("-voice").arg(&voice.name).arg("-f").arg(input).arg("-o").arg(output),
        Engine::EspeakNg => command.arg("-v").arg(&voice.name).arg("-f").arg(input).arg("-w").arg(output),
    };
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let running = tokio::time::timeout(TIME_LIMIT, command.output());
    let ended = match running.await {
        Err(_) => return Err(SpeechError::Timeout { program }),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(SpeechError::Missing { program, package: voice.engine.package() });
        }
        Ok(ended) => ended?,
    };
    // festival exits with 0 after an error; a missing or empty file is what counts.
    let made = tokio::fs::metadata(output).await.is_ok_and(|file| file.len() > 44);
    if ended.status.success() && made {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    let reason = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it wrote no sound").to_owned();
    Err(SpeechError::Refused { program, voice: voice.name.clone(), reason })
}

fn level_and_trim(mut pcm: Pcm) -> Pcm {
    let loud = |sample: &i16| sample.unsigned_abs() > FLOOR.unsigned_abs();
    let first = pcm.samples.iter().position(loud).unwrap_or(0).saturating_sub(EDGE);
    let last = pcm.samples.iter().rposition(loud).map_or(0, |at| at + 1 + EDGE).min(pcm.samples.len());
    pcm.samples.truncate(last);
    pcm.samples.drain(..first.min(last));
    let gain = PEAK / f32::from(level::peak(&pcm.samples).max(1));
    pcm.samples.iter_mut().for_each(|sample| *sample = (f32::from(*sample) * gain) as i16);
    pcm
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENTENCE: &str = "Hello Ada. Your parcel arrives at half past two.";

    #[tokio::test]
    async fn each_engine_speaks() {
        let folder = tempfile::tempdir().unwrap();
        let voices = [
            (Engine::Festival, "cmu_us_slt_arctic_hts"),
            (Engine::Flite, "rms"),
            (Engine::EspeakNg, "en-us"),
        ];
        for (engine, name) in voices {
            let voice = Voice { engine, name: name.to_owned() };
            let pcm = render(&voice, SENTENCE, folder.path()).await.unwrap();
            let seconds = pcm.duration().as_secs_f64();
            assert!(pcm.rate == RATE && (1.5..7.0).contains(&seconds), "{name}: {seconds} s");
            assert!(level::peak(&pcm.samples) > 20_000 && level::rms_dbfs(&pcm.samples) > -30.0, "{name}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "no temporary file stays");
    }

    #[tokio::test]
    async fn an_unknown_voice_is_no_silence() {
        let folder = tempfile::tempdir().unwrap();
        for engine in [Engine::Festival, Engine::EspeakNg] {
            let voice = Voice { engine, name: "nobody".to_owned() };
            let error = render(&voice, SENTENCE, folder.path()).await.unwrap_err().to_string();
            assert!(error.contains("nobody") && error.contains("[voices]"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_novel_is_too_long() {
        let voice = Voice { engine: Engine::EspeakNg, name: "en".to_owned() };
        let error = render(&voice, &"word ".repeat(500), Path::new("/")).await.unwrap_err();
        assert!(matches!(error, SpeechError::TooLong(2500)), "{error}");
    }

    #[test]
    fn the_nearest_voice() {
        let slt = Voice { engine: Engine::Flite, name: "slt".to_owned() };
        let voices = Voices::default().with("en", slt.clone());
        assert_eq!(voices.get("en-GB"), Some(&slt));
        assert_eq!(voices.get("fr-CA"), None);
    }
}
