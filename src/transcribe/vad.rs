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
/// The pitch of human voices, as periods in samples at 8 kHz: 400 Hz to 60 Hz.
const PERIODS: Range<usize> = 20..134;
/// How much of the signal is compared with itself a period later (20 ms at 8 kHz).
const WINDOW: usize = 160;
/// How alike they must be. White noise stays below 0.4; vowels are above 0.7.
const ALIKE: f32 = 0.55;

/// The stretch of `samples` (16 kHz, -1 to 1) that holds all the speech; `None` when nobody speaks.
pub fn speech(samples: &[f32]) -> Option<Range<usize>> {
    let mut detector = Detector::default_boxed();
    let frames = samples.as_chunks::<FRAME>().0.iter();
    let voiced: Vec<usize> = frames
        .enumerate()
        .filter(|(_, frame)| detector.predict_f32(&frame.map(|sample| sample.clamp(-1.0, 1.0))) >= VOICE)
        .map(|(index, _)| index * FRAME)
        .collect();
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
        assert_eq!(speech(&vec![0.0; 32_000]), None);
        assert_eq!(speech(&[]), None);
        let mut rng = StdRng::seed_from_u64(1);
        for level in [0.001, 0.01, 0.03, 0.1, 0.5, 1.0] {
            let noise: Vec<f32> = (0..80_000).map(|_| rng.random_range(-level..level)).collect();
            assert_eq!(speech(&noise), None, "white noise at {level}");
            let telephone: Vec<f32> = noise.windows(3).map(|w| (w[0] + w[1] + w[2]) / 3.0).collect();
            assert_eq!(speech(&telephone), None, "dull noise at {level}");
            let sudden = [vec![0.0; 16_000], noise].concat();
            assert_eq!(speech(&sudden), None, "sudden noise at {level}");
        }
    }

    #[test]
    fn a_period_is_found_in_a_buzz_only() {
        let buzz: Vec<f32> = (0..1000).map(|i| if i % 130 < 20 { 0.5 } else { -0.1 }).collect();
        assert!(has_pitch(&buzz));
        assert!(!has_pitch(&buzz[..300]), "too short to tell");
        assert!(!has_pitch(&[0.0; 1000]));
    }
}
