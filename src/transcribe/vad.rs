//! Whether somebody speaks, and from when to when. Whisper invents words for silence ("Thank you."), with certainty; so it
//! only hears what passed here.
//!
//! Two witnesses must agree, because each alone is fooled: the neural detector takes loud or sudden noise for a voice, and
//! many sounds that are no voice have a pitch. Somebody who only whispers has none and is not heard.

use std::ops::Range;

use earshot::Detector;

/// Samples in a frame: 16 ms at 16 kHz.
const FRAME: usize = 256;
/// The score from which a frame counts as voice.
const VOICE: f32 = 0.5;
/// Frames with voice and pitch that make speech (64 ms): shorter than the shortest "no", longer than a click.
const SPEECH_FRAMES: usize = 4;
/// What is kept around the speech (0.5 s): soft beginnings and endings that score below [`VOICE`].
const MARGIN: usize = 8000;
/// A pause longer than this (3 s) divides: hearing both sides by themselves costs less than hearing the pause as well, and
/// in a pause whisper invents words.
const PAUSE: usize = 48_000;
/// The pitch of human voices, as periods in samples at 8 kHz: 400 Hz to 60 Hz.
const PERIODS: Range<usize> = 20..134;
/// How much of the signal is compared with itself a period later (20 ms at 8 kHz).
const WINDOW: usize = 160;
/// How alike they must be. White noise stays below 0.4; vowels are above 0.7.
const ALIKE: f32 = 0.55;

/// The stretches of `samples` (16 kHz, -1 to 1) in which somebody speaks, in order, apart from each other; none when nobody
/// does.
pub fn speech(samples: &[f32]) -> Vec<Range<usize>> {
    let mut detector = Detector::default_boxed();
    let frames = samples.as_chunks::<FRAME>().0.iter();
    let voiced: Vec<usize> = frames
        .enumerate()
        .filter(|(_, frame)| detector.predict_f32(&frame.map(|sample| sample.clamp(-1.0, 1.0))) >= VOICE)
        .map(|(index, _)| index * FRAME)
        .collect();
    let near = |before: &usize, after: &usize| after - before <= PAUSE;
    voiced.chunk_by(near).filter_map(|voiced| stretch(samples, voiced)).collect()
}

/// From the first voiced frame to the last, with a margin; `None` when too few of them have a voice's pitch.
fn stretch(samples: &[f32], voiced: &[usize]) -> Option<Range<usize>> {
    let (first, last) = (voiced.first()?, voiced.last()?);
    let range = first.saturating_sub(MARGIN)..(last + FRAME + MARGIN).min(samples.len());
    let pitched = voiced.iter().filter(|start| has_pitch(samples.get(**start..).unwrap_or_default()));
    (pitched.take(SPEECH_FRAMES).count() == SPEECH_FRAMES).then_some(range)
}

/// The signal's beginning repeats itself after a voice's period.
fn has_pitch(samples: &[f32]) -> bool {
    let halved: Vec<f32> = samples.iter().step_by(2).take(WINDOW + PERIODS.end).copied().collect();
    let Some(first) = halved.get(..WINDOW) else { return false };
    let energy = product(first, first);
    PERIODS.filter_map(|period| halved.get(period..period + WINDOW)).any(|later| {
        let both = (energy * product(later, later)).sqrt();
        both > f32::EPSILON && product(first, later) > ALIKE * both
    })
}

fn product(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[test]
    fn silence_and_noise_are_not_speech() {
        assert!(speech(&vec![0.0; 32_000]).is_empty());
        assert!(speech(&[]).is_empty());
        let mut rng = StdRng::seed_from_u64(1);
        for level in [0.001, 0.01, 0.03, 0.1, 0.5, 1.0] {
            let noise: Vec<f32> = (0..80_000).map(|_| rng.random_range(-level..level)).collect();
            assert!(speech(&noise).is_empty(), "white noise at {level}");
            let telephone: Vec<f32> = noise.windows(3).map(|w| (w[0] + w[1] + w[2]) / 3.0).collect();
            assert!(speech(&telephone).is_empty(), "dull noise at {level}");
            let sudden = [vec![0.0; 16_000], noise].concat();
            assert!(speech(&sudden).is_empty(), "sudden noise at {level}");
        }
    }

    /// Pulses of a voice's kind: 125 Hz, through the resonances of an "a", a syllable every half second.
    fn vowels(seconds: usize) -> Vec<f32> {
        let mut rng = StdRng::seed_from_u64(2);
        let formants = [(700.0f32, 0.97f32), (1220.0, 0.96), (2600.0, 0.93)];
        let mut states = [[0.0f32; 2]; 3];
        let wave = (0..seconds * 16_000).map(|i| {
            let syllable = (std::f32::consts::TAU * i as f32 / 8000.0).sin().max(0.0);
            let mut sample = if i % 128 == 0 { syllable } else { 0.0 } + rng.random_range(-0.002..0.002);
            for ((frequency, radius), state) in formants.iter().zip(&mut states) {
                let turn = 2.0 * radius * (std::f32::consts::TAU * frequency / 16_000.0).cos();
                sample += turn * state[0] - radius * radius * state[1];
                *state = [sample, state[0]];
            }
            sample
        });
        let wave: Vec<f32> = wave.collect();
        let peak = wave.iter().fold(0.0f32, |peak, sample| peak.max(sample.abs()));
        wave.into_iter().map(|sample| 0.5 * sample / peak).collect()
    }

    #[test]
    fn a_long_pause_divides_and_a_short_one_does_not() {
        let pause = |seconds: usize| vec![0.0; seconds * 16_000];
        let spoken = [pause(1), vowels(2), pause(2), vowels(2), pause(5), vowels(1), pause(9)].concat();
        let found = speech(&spoken);
        let [first, second] = &found[..] else { panic!("{found:?}") };
        let near = |sample: usize, second: usize| sample.abs_diff(second * 16_000) < 12_000;
        assert!(near(first.start, 1) && near(first.end, 7), "{found:?}");
        assert!(near(second.start, 12) && near(second.end, 13), "{found:?}");
    }

    #[test]
    fn a_noise_far_from_the_speech_is_left_out() {
        let mut rng = StdRng::seed_from_u64(3);
        let noise: Vec<f32> = (0..32_000).map(|_| rng.random_range(-0.5..0.5)).collect();
        let found = speech(&[vowels(2), vec![0.0; 64_000], noise].concat());
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].end < 96_000, "{found:?}");
    }

    #[test]
    fn a_period_is_found_in_a_buzz_only() {
        let buzz: Vec<f32> = (0..1000).map(|i| if i % 130 < 20 { 0.5 } else { -0.1 }).collect();
        assert!(has_pitch(&buzz));
        assert!(!has_pitch(&buzz[..300]), "too short to tell");
        assert!(!has_pitch(&[0.0; 1000]));
    }
}
