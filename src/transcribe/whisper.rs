//! Whisper itself: one model kept loaded, one thread, the settings that were measured best for short telephone answers.
//!
//! Only the worker process uses it. The encoder looks at the speech and two seconds more instead of always 30 s, which
//! costs a sixth; an answer that looks wrong (loops, too many words, low probability) is done again with the full context.

use std::ops;
use std::path::Path;
use std::time::Instant;

use whisper_rs::{FullParams, SamplingStrategy, WhisperContext, WhisperContextParameters, WhisperState};

use super::words::{self, Token};
use super::{Range, Transcript, model, vad};
use crate::pii::Redacted;

/// Whisper's sample rate, in Hz.
pub const RATE: u32 = 16_000;
/// Shorter input is padded with silence to this (1.05 s): whisper.cpp refuses less than one second.
const SHORTEST: usize = 16_800;
/// Positions of the encoder for 30 s, and for each second.
const FULL_CONTEXT: u32 = 1500;
const POSITIONS_PER_SECOND: f32 = 50.0;
/// The encoder sees this much more than the speech, in seconds.
const CONTEXT_MARGIN: f32 = 2.0;
/// Nobody says more tokens in a second; more is a loop.
const TOKENS_PER_SECOND: f32 = 7.0;
/// Below this mean log-probability a result is not trusted.
const TRUSTED: f32 = -1.0;

/// Why a clip could not be transcribed.
#[derive(Debug, thiserror::Error)]
pub enum WhisperError {
    /// The model file could not be loaded.
    #[error("the model could not be loaded: {0}")]
    Load(whisper_rs::WhisperError),
    /// whisper.cpp failed.
    #[error("whisper failed: {0}")]
    Run(#[from] whisper_rs::WhisperError),
    /// Whisper does not know the language.
    #[error("whisper has no language {0:?}")]
    Language(String),
    /// An English model was asked for another language.
    #[error("the model {model} is for English only, not {language:?}; use a multilingual one")]
    EnglishOnly {
        /// The model.
        model: String,
        /// The language asked for.
        language: String,
    },
}

/// A loaded model.
pub struct Whisper {
    context: WhisperContext,
    state: WhisperState,
    name: String,
}

impl Whisper {
    /// Loads a ggml file. whisper.cpp's messages go to `tracing`.
    ///
    /// # Errors
    /// [`WhisperError::Load`].
    pub fn load(path: &Path) -> Result<Self, WhisperError> {
        whisper_rs::install_logging_hooks();
        let parameters = WhisperContextParameters::default();
        let context = WhisperContext::new_with_params(path, parameters).map_err(WhisperError::Load)?;
        let state = context.create_state().map_err(WhisperError::Load)?;
        Ok(Self { context, state, name: model::name_of(path) })
    }

    /// Transcribes what is spoken in the stretches `ranges` of `samples` ([`RATE`], -1 to 1), each by itself; the whole when there are none.
    /// `language` is a code such as `en` or `de-CH`; empty means English.
    ///
    /// # Errors
    /// [`WhisperError`].
    pub fn transcribe(
        &mut self,
        samples: &[f32],
        ranges: &[Range],
        language: &str,
    ) -> Result<Transcript, WhisperError> {
        let started = Instant::now();
        let language = self.language(language)?;
        let mut tokens = Vec::new();
        for stretch in stretches(samples.len(), ranges) {
            let clip = samples.get(stretch.clone()).unwrap_or_default();
            for speech in vad::speech(clip) {
                let offset = stretch.start + speech.start;
                let heard = self.clip(clip.get(speech).unwrap_or_default(), &language)?;
                tokens.extend(heard.tokens(offset));
            }
        }
        let words = words::merge(&tokens);
        Ok(Transcript {
            text: Redacted::new(words::text(&words)),
            no_speech: words.is_empty(),
            language,
            model: self.name.clone(),
            seconds: started.elapsed().as_secs_f64(),
            words,
        })
    }

    /// Whisper's code for a language tag.
    fn language(&self, tag: &str) -> Result<String, WhisperError> {
        let code = tag.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase();
        let code = if code.is_empty() { "en".to_owned() } else { code };
        let known = !code.contains('\0') && whisper_rs::get_lang_id(&code).is_some();
        if !known {
            return Err(WhisperError::Language(tag.to_owned()));
        }
        if code != "en" && !self.context.is_multilingual() {
            return Err(WhisperError::EnglishOnly { model: self.name.clone(), language: tag.to_owned() });
        }
        Ok(code)
    }

    fn clip(&mut self, samples: &[f32], language: &str) -> Result<Heard, WhisperError> {
        let mut padded = samples.to_vec();
        padded.resize(samples.len().max(SHORTEST), 0.0);
        let seconds = padded.len() as f32 / RATE as f32;
        let first = self.run(&padded, quick(seconds, language))?;
        if !first.doubtful(seconds) {
            return Ok(first);
        }
        tracing::debug!(seconds, "a doubtful transcript: again with the full context");
        self.run(&padded, thorough(language))
    }

    fn run(&mut self, samples: &[f32], parameters: FullParams<'_, '_>) -> Result<Heard, WhisperError> {
        self.state.full(parameters, samples)?;
        let end_of_text = self.context.token_eot();
        let mut heard = Heard::default();
        for segment in self.state.as_iter() {
            for index in 0..segment.n_tokens() {
                let Some(token) = segment.get_token(index) else { continue };
                let data = token.token_data();
                if data.id >= end_of_text {
                    continue; // a timestamp or another mark
                }
                let bytes = token.to_bytes()?.to_vec();
                let (start, end) = (hundredths(data.t0), hundredths(data.t1));
                heard.0.push(HeardToken { id: data.id, bytes, start, end, log: data.plog, p: data.p });
            }
        }
        Ok(heard)
    }
}

/// Sample ranges for stretches in milliseconds, cut to the clip; the whole clip when there are none.
fn stretches(length: usize, ranges: &[Range]) -> Vec<ops::Range<usize>> {
    if ranges.is_empty() {
        return std::iter::once(0..length).collect();
    }
    let sample = |ms: u64| usize::try_from(ms.saturating_mul(16)).unwrap_or(usize::MAX).min(length);
    ranges
        .iter()
        .map(|range| sample(range.start_ms)..sample(range.end_ms))
        .filter(|r| r.start < r.end)
        .collect()
}

/// What both runs share.
fn settings<'a>(language: &'a str, best_of: i32) -> FullParams<'a, 'static> {
    let mut parameters = FullParams::new(SamplingStrategy::Greedy { best_of });
    parameters.set_n_threads(1); // ggml's threads wait busily: a second one costs ten times as much on a busy machine
    parameters.set_language(Some(language));
    parameters.set_no_context(true); // or one call's words leak into the next
    parameters.set_no_timestamps(false);
    parameters.set_token_timestamps(true);
    parameters.set_print_special(false);
    parameters.set_print_progress(false);
    parameters.set_print_realtime(false);
    parameters.set_print_timestamps(false);
    parameters
}

fn quick(seconds: f32, language: &str) -> FullParams<'_, 'static> {
    let mut parameters = settings(language, 1);
    parameters.set_audio_ctx(i32::try_from(audio_context(seconds)).unwrap_or(0));
    parameters.set_max_tokens((TOKENS_PER_SECOND * seconds) as i32 + 16);
    parameters.set_temperature_inc(0.0);
    parameters
}

/// whisper.cpp's own defaults: the full context, and higher temperatures when the result is poor.
fn thorough(language: &str) -> FullParams<'_, 'static> {
    settings(language, 5)
}

/// Positions of the encoder for a clip, in whole blocks of 64.
fn audio_context(seconds: f32) -> u32 {
    let needed = ((seconds + CONTEXT_MARGIN) * POSITIONS_PER_SECOND).ceil() as u32;
    needed.next_multiple_of(64).min(FULL_CONTEXT)
}

/// whisper.cpp counts in hundredths of a second, and says -1 when it does not know.
fn hundredths(time: i64) -> u64 {
    u64::try_from(time).unwrap_or(0) * 10
}

struct HeardToken {
    id: i32,
    bytes: Vec<u8>,
    start: u64,
    end: u64,
    log: f32,
    p: f32,
}

#[derive(Default)]
struct Heard(Vec<HeardToken>);

impl Heard {
    /// It loops, has more tokens than can be said, or the model itself is unsure.
    fn doubtful(&self, seconds: f32) -> bool {
        let count = self.0.len();
        if count == 0 {
            return false;
        }
        let mean = self.0.iter().map(|token| token.log).sum::<f32>() / count as f32;
        count as f32 > TOKENS_PER_SECOND * seconds + 12.0 || mean < TRUSTED || self.loops()
    }

    /// Four tokens in a row occur twice.
    fn loops(&self) -> bool {
        let ids: Vec<i32> = self.0.iter().map(|token| token.id).collect();
        let mut seen = std::collections::HashSet::new();
        ids.windows(4).any(|four| !seen.insert(four.to_vec()))
    }

    /// The tokens in the file's time, given the sample at which the clip began.
    fn tokens(self, offset: usize) -> impl Iterator<Item = Token> {
        let offset_ms = offset as u64 / 16;
        self.0.into_iter().map(move |token| Token {
            bytes: token.bytes,
            start_ms: offset_ms + token.start,
            end_ms: offset_ms + token.end.max(token.start),
            probability: token.p,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_covers_the_clip_and_two_seconds() {
        assert_eq!(audio_context(1.05), 192);
        assert_eq!(audio_context(4.0), 320);
        assert_eq!(audio_context(28.5), 1500);
        assert_eq!(audio_context(600.0), 1500);
    }

    #[test]
    fn stretches_are_cut_to_the_clip() {
        let range = |start_ms, end_ms| Range { start_ms, end_ms };
        assert_eq!(stretches(16_000, &[]).first(), Some(&(0..16_000)));
        assert_eq!(stretches(16_000, &[range(250, 500), range(900, 5000)]), [4000..8000, 14_400..16_000]);
        assert_eq!(
            stretches(16_000, &[range(2000, 3000), range(500, 500), range(u64::MAX, u64::MAX)]),
            Vec::<std::ops::Range<usize>>::new()
        );
    }

    fn heard(ids: &[i32], log: f32) -> Heard {
        let token =
            |id: &i32| HeardToken { id: *id, bytes: vec![b'a'], start: 0, end: 10, log, p: log.exp() };
        Heard(ids.iter().map(token).collect())
    }

    #[test]
    fn loops_floods_and_guesses_are_doubtful() {
        assert!(!heard(&[], 0.0).doubtful(1.0));
        assert!(!heard(&[1, 2, 3, 4, 1, 2, 3, 5], -0.1).doubtful(2.0));
        assert!(heard(&[1, 2, 3, 4, 1, 2, 3, 4], -0.1).doubtful(2.0));
        assert!(heard(&(0..20).collect::<Vec<_>>(), -0.1).doubtful(1.0));
        assert!(heard(&[1, 2], -1.1).doubtful(1.0));
    }
}
