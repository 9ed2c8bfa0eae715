//! Speaks a text by running a synthesiser as a child process.
//!
//! The text goes to the child in a private file and never through a shell; the child has a time limit and dies with the
//! caller. A missing program or voice is an error that names the package to install: no other voice steps in, because
//! customers would hear the difference and nobody would be told.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Command;

use super::file::{self, AudioFileError, AudioLimits};
use super::voice::{Engine, Voice};
use crate::audio::Pcm;

/// The rate of what is rendered, in Hz: the telephone's.
pub const RATE: u32 = 8000;
/// The level that speech is brought to: -20 dB below full scale, RMS.
const TARGET_RMS: f64 = 3277.0;
/// No sample passes -3 dB below full scale.
const MAX_PEAK: u16 = 23_197;
/// Silence kept at both ends.
const MARGIN: Duration = Duration::from_millis(40);

/// Bounds on one rendering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenderLimits {
    /// The longest text, in characters.
    pub max_chars: usize,
    /// How long the synthesiser may take.
    pub timeout: Duration,
    /// The longest speech that may come out.
    pub max_duration: Duration,
}

impl Default for RenderLimits {
    /// 2000 characters, 20 s of work, five minutes of speech.
    fn default() -> Self {
        Self { max_chars: 2000, timeout: Duration::from_secs(20), max_duration: Duration::from_secs(300) }
    }
}

/// Why nothing was said. No message repeats the text, which may hold a customer's name.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SpeechError {
    /// Only spaces and punctuation.
    #[error("the text has nothing to say: no letter and no digit")]
    NothingToSay,
    /// Longer than [`RenderLimits::max_chars`].
    #[error("the text has {chars} characters, more than the limit of {limit}; split it into several prompts")]
    TextTooLong {
        /// Characters in the text.
        chars: usize,
        /// The most accepted.
        limit: usize,
    },
    /// The English synthesisers know Latin letters only.
    #[error("{} cannot say the character U+{:04X}; choose an espeak-ng voice for this language", engine.as_str(), u32::from(*character))]
    Unspeakable {
        /// The synthesiser.
        engine: Engine,
        /// The first character it cannot say.
        character: char,
    },
    /// See [`Voice::is_well_formed`].
    #[error("{:?} cannot be the name of a {} voice", voice.name, voice.engine.as_str())]
    BadVoiceName {
        /// The voice of the configuration.
        voice: Voice,
    },
    /// The synthesiser is not installed.
    #[error("the program `{program}` is missing; install it with `apt install {package}`")]
    ProgramMissing {
        /// Its name.
        program: &'static str,
        /// The Debian package.
        package: &'static str,
    },
    /// The synthesiser is installed, its voice is not.
    #[error(
        "{} has no voice `{}` here; install it with `apt install {}`, or choose another one",
        voice.engine.as_str(), voice.name, voice.package()
    )]
    VoiceMissing {
        /// The voice.
        voice: Voice,
    },
    /// The child was killed after [`RenderLimits::timeout`].
    #[error("`{program}` took longer than {} s and was stopped", limit.as_secs_f64())]
    Timeout {
        /// Its name.
        program: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The child failed, or wrote no sound.
    #[error("`{program}` failed: {detail}")]
    Failed {
        /// Its name.
        program: &'static str,
        /// Exit status, and its own words where they do not quote the text.
        detail: String,
    },
    /// A file or process operation of ours failed.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// A sound file, of the operator or of the synthesiser, cannot be used.
    #[error(transparent)]
    Sound(#[from] AudioFileError),
}

impl SpeechError {
    /// Wraps an error of the operating system with what was tried, as in "cannot `action`".
    pub(super) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |e| Self::Io { action, source: Arc::new(e) }
    }
}

/// Renders with the programs on the `PATH`. See [`Synthesiser::render`].
///
/// # Errors
/// [`SpeechError`].
pub async fn render(voice: &Voice, text: &str, limits: RenderLimits) -> Result<Pcm, SpeechError> {
    Synthesiser::default().render(voice, text, limits).await
}

/// Where the synthesisers' programs are.
#[derive(Debug, Clone, Default)]
pub struct Synthesiser {
    programs: Option<PathBuf>,
}

impl Synthesiser {
    /// Takes the programs from `directory` alone instead of from the `PATH`.
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        Self { programs: Some(directory.into()) }
    }

    /// Speaks `text` with `voice`: mono at [`RATE`], silence cut off both ends, at about -20 dBFS without clipping.
    ///
    /// # Errors
    /// [`SpeechError`]; dropping the future ends the child.
    pub async fn render(&self, voice: &Voice, text: &str, limits: RenderLimits) -> Result<Pcm, SpeechError> {
        if !voice.is_well_formed() {
            return Err(SpeechError::BadVoiceName { voice: voice.clone() });
        }
        let text = speakable(voice.engine, text, limits.max_chars)?;
        // Private to this user (0700), since the text may hold names; removed when dropped.
        let scratch = tempfile::Builder::new()
            .prefix("callahead-speech-")
            .tempdir()
            .map_err(SpeechError::io("create a temporary directory"))?;
        let input = scratch.path().join("prompt.txt");
        std::fs::write(&input, &text).map_err(SpeechError::io("write the text for the synthesiser"))?;

        if voice.engine == Engine::Flite {
            self.require_flite_voice(voice, scratch.path(), limits.timeout).await?;
        }
        let output = scratch.path().join("speech.wav");
        let arguments = arguments(voice, &input, &output);
        let (status, messages) =
            self.run(voice.engine, &arguments, scratch.path(), Stdio::null(), limits.timeout).await?;
        check(voice, status, &messages, &output, &text)?;

        let bounds = AudioLimits { max_duration: limits.max_duration, ..AudioLimits::default() };
        let pcm = tokio::task::spawn_blocking(move || file::load(&output, RATE, bounds))
            .await
            .map_err(|e| SpeechError::io("decode the speech")(io::Error::other(e)))??;
        let pcm = level(pcm);
        if pcm.samples.is_empty() {
            return Err(failed(voice.engine, "it wrote silence".to_owned()));
        }
        Ok(pcm)
    }

    /// Runs the engine's program to its end. Returns its exit status and the start of what it wrote to stderr.
    async fn run(
        &self,
        engine: Engine,
        arguments: &[String],
        scratch: &Path,
        stdout: Stdio,
        timeout: Duration,
    ) -> Result<(ExitStatus, String), SpeechError> {
        let program = engine.program();
        let path = self.programs.as_ref().map_or_else(|| program.into(), |dir| dir.join(program));
        let messages = scratch.join("stderr.txt");
        let stderr =
            std::fs::File::create(&messages).map_err(SpeechError::io("create a file for messages"))?;
        let mut child = Command::new(path)
            .args(arguments)
            .current_dir(scratch)
            // No start-up file of whoever runs the engine may change the voice.
            .env("HOME", scratch)
            .env("TMPDIR", scratch)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| match e.kind() {
                io::ErrorKind::NotFound => SpeechError::ProgramMissing { program, package: engine.package() },
                _ => SpeechError::io("start the synthesiser")(e),
            })?;
        let Ok(status) = tokio::time::timeout(timeout, child.wait()).await else {
            child.kill().await.map_err(SpeechError::io("stop the synthesiser"))?;
            return Err(SpeechError::Timeout { program, limit: timeout });
        };
        let status = status.map_err(SpeechError::io("wait for the synthesiser"))?;
        Ok((status, head(&messages).map_err(SpeechError::io("read the synthesiser's messages"))?))
    }

    /// Flite speaks with its first voice, and exits with success, when it does not know the one it was asked for.
    async fn require_flite_voice(
        &self,
        voice: &Voice,
        scratch: &Path,
        timeout: Duration,
    ) -> Result<(), SpeechError> {
        let listing = scratch.join("voices.txt");
        let stdout =
            std::fs::File::create(&listing).map_err(SpeechError::io("create a file for the voices"))?;
        self.run(voice.engine, &["-lv".to_owned()], scratch, stdout.into(), timeout).await?;
        let listing = head(&listing).map_err(SpeechError::io("read the list of voices"))?;
        if listing.split_whitespace().any(|word| word == voice.name) {
            return Ok(());
        }
        Err(SpeechError::VoiceMissing { voice: voice.clone() })
    }
}

/// The command line of each synthesiser.
fn arguments(voice: &Voice, input: &Path, output: &Path) -> Vec<String> {
    let (input, output) = (input.display().to_string(), output.display().to_string());
    let words: Vec<&str> = match voice.engine {
        Engine::Festival => {
            let select = format!("(voice_{})", voice.name);
            return vec!["-eval".to_owned(), select, "-o".to_owned(), output, input];
        }
        Engine::Flite => vec!["-voice", &voice.name, "-f", &input, "-o", &output],
        // -b 1: the text is UTF-8.
        Engine::EspeakNg => vec!["-v", &voice.name, "-b", "1", "-f", &input, "-w", &output],
    };
    words.into_iter().map(str::to_owned).collect()
}

/// The first 4 KiB of a file, as text.
fn head(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(4096).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Decides whether the run gave a sound. Festival exits with success whatever happens, so its messages count too.
fn check(
    voice: &Voice,
    status: ExitStatus,
    messages: &str,
    output: &Path,
    text: &str,
) -> Result<(), SpeechError> {
    let missing = match voice.engine {
        Engine::Festival => messages.contains(&format!("unbound variable : voice_{}", voice.name)),
        Engine::EspeakNg => messages.contains("voice does not exist"),
        Engine::Flite => false,
    };
    if missing {
        return Err(SpeechError::VoiceMissing { voice: voice.clone() });
    }
    if status.success() && output.exists() {
        return Ok(());
    }
    let first = messages.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no message");
    let quotes = text.split_whitespace().any(|word| word.len() > 2 && messages.contains(word));
    let said = if quotes { "(message withheld: it may quote the text)" } else { first };
    let said: String = said.chars().take(200).collect();
    Err(failed(voice.engine, format!("{status}, {said}")))
}

fn failed(engine: Engine, detail: String) -> SpeechError {
    SpeechError::Failed { program: engine.program(), detail }
}

/// Cuts the silence off and brings speech to the telephone's level.
fn level(mut pcm: Pcm) -> Pcm {
    // 46 dB below the loudest sample, and at least above rounding noise.
    let floor = (f64::from(pcm.peak()) / 200.0).max(4.0);
    pcm.trim_silence(floor, MARGIN);
    pcm.normalise(TARGET_RMS, MAX_PEAK);
    pcm
}

/// The text as the engine can take it: no control characters, none of the engine's own markup, and for the English
/// synthesisers no letters outside ASCII.
fn speakable(engine: Engine, text: &str, max_chars: usize) -> Result<String, SpeechError> {
    let chars = text.chars().count();
    if chars > max_chars {
        return Err(SpeechError::TextTooLong { chars, limit: max_chars });
    }
    if !text.chars().any(char::is_alphanumeric) {
        return Err(SpeechError::NothingToSay);
    }
    let mut plain = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        match character {
            // eSpeak NG reads [[...]] as phonemes.
            '[' | ']' => plain.push(' '),
            c if c.is_control() || c.is_whitespace() => plain.push(' '),
            c if c.is_ascii() || engine == Engine::EspeakNg => plain.push(c),
            c => plain.push_str(ascii(c).ok_or(SpeechError::Unspeakable { engine, character: c })?),
        }
    }
    plain.push('\n');
    Ok(plain)
}

/// How an English voice says a character outside ASCII: Latin letters lose their marks, signs become words.
fn ascii(character: char) -> Option<&'static str> {
    let lower = character.to_lowercase().next().unwrap_or(character);
    Some(match lower {
        '‘' | '’' | '‚' | '′' => "'",
        '“' | '”' | '„' | '«' | '»' => "\"",
        '‐'..='―' => "-",
        '…' => "...",
        '£' => " pounds ",
        '€' => " euros ",
        '°' => " degrees ",
        '½' => " and a half ",
        '\u{300}'..='\u{36f}' | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{feff}' => "",
        'à'..='å' | 'ā' | 'ă' | 'ą' => "a",
        'æ' => "ae",
        'ç' | 'ć' | 'ĉ' | 'ċ' | 'č' => "c",
        'ð' | 'ď' | 'đ' => "d",
        'è'..='ë' | 'ē' | 'ĕ' | 'ė' | 'ę' | 'ě' => "e",
        'ĝ' | 'ğ' | 'ġ' | 'ģ' => "g",
        'ĥ' | 'ħ' => "h",
        'ì'..='ï' | 'ĩ' | 'ī' | 'ĭ' | 'į' | 'ı' => "i",
        'ĵ' => "j",
        'ķ' => "k",
        'ĺ' | 'ļ' | 'ľ' | 'ł' => "l",
        'ñ' | 'ń' | 'ņ' | 'ň' => "n",
        'ò'..='ö' | 'ø' | 'ō' | 'ŏ' | 'ő' => "o",
        'œ' => "oe",
        'ŕ' | 'ř' => "r",
        'ś' | 'ŝ' | 'ş' | 'š' | 'ș' => "s",
        'ß' => "ss",
        'ţ' | 'ť' | 'ŧ' | 'ț' => "t",
        'þ' => "th",
        'ù'..='ü' | 'ũ' | 'ū' | 'ŭ' | 'ů' | 'ű' | 'ų' => "u",
        'ŵ' => "w",
        'ý' | 'ÿ' | 'ŷ' => "y",
        'ź' | 'ż' | 'ž' => "z",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENTENCE: &str = "Your delivery from the depot will arrive between two and three this afternoon.";

    async fn sane(engine: Engine, name: &str, text: &str) -> Pcm {
        let pcm = render(&Voice::new(engine, name), text, RenderLimits::default()).await.unwrap();
        assert_eq!(pcm.rate, 8000);
        let seconds = pcm.duration().as_secs_f64();
        assert!((2.5..9.0).contains(&seconds), "{name}: {seconds} s");
        assert!((1600.0..3400.0).contains(&pcm.rms()), "{name}: rms {}", pcm.rms());
        assert!(pcm.peak() <= MAX_PEAK, "{name}: peak {}", pcm.peak());
        // Trimmed: something is heard within 150 ms of both ends.
        assert!(crate::audio::pcm::peak(&pcm.samples[..1200]) > 300, "{name}");
        assert!(crate::audio::pcm::peak(&pcm.samples[pcm.samples.len() - 1200..]) > 300, "{name}");
        pcm
    }

    #[tokio::test]
    async fn festival_and_flite_speak_english() {
        sane(Engine::Festival, "cmu_us_slt_arctic_hts", SENTENCE).await;
        let rms = sane(Engine::Flite, "rms", SENTENCE).await;
        let slt = sane(Engine::Flite, "slt", SENTENCE).await;
        assert_ne!(rms, slt);
    }

    #[tokio::test]
    async fn espeak_ng_speaks_other_languages() {
        sane(Engine::EspeakNg, "en-us", SENTENCE).await;
        sane(Engine::EspeakNg, "de", "Ihre Lieferung kommt heute zwischen vierzehn und fünfzehn Uhr.").await;
        sane(
            Engine::EspeakNg,
            "fr+f3",
            "Votre livraison arrivera cet après-midi entre deux et trois heures.",
        )
        .await;
    }

    #[tokio::test]
    async fn text_is_never_code() {
        for (engine, name) in
            [(Engine::Festival, "cmu_us_slt_arctic_hts"), (Engine::Flite, "slt"), (Engine::EspeakNg, "en")]
        {
            let voice = Voice::new(engine, name);
            let text = "-w /x $(exit) `id` (quit) \"; José [[h@]] <say/> Müller’s 2 “parcels”";
            let pcm = render(&voice, text, RenderLimits::default()).await.unwrap();
            assert!(pcm.duration() > Duration::from_millis(1500), "{name}: {:?}", pcm.duration());
        }
    }

    #[tokio::test]
    async fn a_missing_voice_names_its_package() {
        let cases = [
            (Engine::Festival, "nope", "festvox"),
            (Engine::Flite, "nope", "apt install flite"),
            (Engine::EspeakNg, "zz", "espeak-ng-data"),
        ];
        for (engine, name, wanted) in cases {
            let voice = Voice::new(engine, name);
            let error = render(&voice, SENTENCE, RenderLimits::default()).await.unwrap_err();
            assert!(matches!(error, SpeechError::VoiceMissing { .. }), "{error}");
            assert!(error.to_string().contains(wanted), "{error}");
        }
    }

    #[tokio::test]
    async fn a_missing_program_names_its_package() {
        let nothing = tempfile::tempdir().unwrap();
        let synthesiser = Synthesiser::in_directory(nothing.path());
        for engine in [Engine::Festival, Engine::Flite, Engine::EspeakNg] {
            let voice = Voice::new(engine, "en");
            let error = synthesiser.render(&voice, SENTENCE, RenderLimits::default()).await.unwrap_err();
            let wanted = format!("apt install {}", engine.as_str());
            assert!(matches!(error, SpeechError::ProgramMissing { .. }), "{error}");
            assert!(error.to_string().contains(&wanted), "{error}");
        }
    }

    #[tokio::test]
    async fn children_that_hang_or_fail_are_reported() {
        let programs = tempfile::tempdir().unwrap();
        let espeak = programs.path().join("espeak-ng");
        let synthesiser = Synthesiser::in_directory(programs.path());
        let voice = Voice::new(Engine::EspeakNg, "en");

        std::os::unix::fs::symlink("/bin/false", &espeak).unwrap();
        let error = synthesiser.render(&voice, SENTENCE, RenderLimits::default()).await.unwrap_err();
        assert!(matches!(error, SpeechError::Failed { .. }), "{error}");
        assert!(error.to_string().contains("exit status: 1"), "{error}");

        std::fs::remove_file(&espeak).unwrap();
        std::os::unix::fs::symlink("/bin/true", &espeak).unwrap();
        let error = synthesiser.render(&voice, SENTENCE, RenderLimits::default()).await.unwrap_err();
        assert!(matches!(error, SpeechError::Failed { .. }), "no file was written: {error}");

        let voice = Voice::new(Engine::Festival, "cmu_us_slt_arctic_hts");
        let limits = RenderLimits { timeout: Duration::from_millis(1), ..RenderLimits::default() };
        let error = render(&voice, SENTENCE, limits).await.unwrap_err();
        assert!(matches!(error, SpeechError::Timeout { .. }), "{error}");
    }

    #[tokio::test]
    async fn unusable_texts_and_voices_are_refused_before_a_child_starts() {
        let nothing = tempfile::tempdir().unwrap();
        let synthesiser = Synthesiser::in_directory(nothing.path());
        let limits = RenderLimits { max_chars: 10, ..RenderLimits::default() };
        let slt = Voice::new(Engine::Flite, "slt");
        let refused =
            async |voice: &Voice, text: &str| synthesiser.render(voice, text, limits).await.unwrap_err();
        assert!(matches!(
            refused(&slt, "12345678901").await,
            SpeechError::TextTooLong { chars: 11, limit: 10 }
        ));
        assert!(matches!(refused(&slt, " ... ").await, SpeechError::NothingToSay));
        assert!(matches!(refused(&slt, "Привет").await, SpeechError::Unspeakable { character: 'П', .. }));
        let code = Voice::new(Engine::Festival, "x) (quit");
        assert!(matches!(refused(&code, "hello").await, SpeechError::BadVoiceName { .. }));
    }

    #[test]
    fn english_voices_get_ascii_and_others_get_the_text() {
        let fold = |text| speakable(Engine::Festival, text, 100).unwrap();
        assert_eq!(fold("Łukasz’s Ærø\tparcel – Groß"), "lukasz's aero parcel - Gross\n");
        assert_eq!(speakable(Engine::EspeakNg, "Größe [[x]]\u{7}", 100).unwrap(), "Größe   x   \n");
    }
}
