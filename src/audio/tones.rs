//! Tones at 8 kHz: the beep before a recording, test signals, and a Goertzel detector for one frequency.

use std::f32::consts::TAU;
use std::time::Duration;

use super::{FRAME, RATE};

/// The frequency of [`beep`] in Hz.
pub const BEEP_FREQUENCY: f32 = 1000.0;
/// The length of [`beep`].
pub const BEEP_DURATION: Duration = Duration::from_millis(300);

/// Silence in samples at 8 kHz.
pub fn silence(duration: Duration) -> Vec<i16> {
    vec![0; samples_in(duration)]
}

/// A sine of `frequency` Hz whose peak is `level` dB relative to full scale (0 or below), with 5 ms ramps against
/// clicks.
pub fn sine(frequency: f32, duration: Duration, level: f32) -> Vec<i16> {
    let count = samples_in(duration);
    let amplitude = 32_767.0 * 10_f32.powf(level.min(0.0) / 20.0);
    let ramp = (RATE / 200) as usize;
    let sample = |i: usize| {
        let edge = i.min(count - 1 - i).min(ramp) as f32 / ramp as f32;
        // Turns are counted in f64, which stays exact in long tones.
        let turns = f64::from(frequency) * i as f64 / f64::from(RATE);
        (amplitude * edge * (TAU * turns.fract() as f32).sin()) as i16
    };
    (0..count).map(sample).collect()
}

/// The beep after which a caller may speak.
pub fn beep() -> Vec<i16> {
    sine(BEEP_FREQUENCY, BEEP_DURATION, -9.0)
}

fn samples_in(duration: Duration) -> usize {
    (duration.as_millis() * u128::from(RATE) / 1000) as usize
}

/// The edges that [`ToneDetector::push`] reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToneEdge {
    /// The tone has lasted long enough to be one.
    Started,
    /// It has stopped.
    Ended,
}

/// Finds one steady frequency: in every 20 ms block, the Goertzel energy at that frequency against the whole.
#[derive(Clone, Debug)]
pub struct ToneDetector {
    coefficient: f32,
    previous: [f32; 2],
    energy: f32,
    filled: usize,
    /// Blocks in a row that have (positive) or lack (negative) the tone.
    run: i32,
    present: bool,
}

/// Blocks of 20 ms that make a tone, and whose absence ends it.
const BLOCKS: i32 = 4;
/// The part of a block's energy that must be the tone's.
const PURITY: f32 = 0.7;
/// Mean square below which a block is silence: -45 dBFS.
const QUIET: f32 = 32_768.0 * 32_768.0 * 3.16e-5;

impl ToneDetector {
    /// A detector for `frequency` Hz, below 4,000; it resolves about 50 Hz.
    pub fn new(frequency: f32) -> Self {
        let coefficient = 2.0 * (TAU * frequency / RATE as f32).cos();
        Self { coefficient, previous: [0.0; 2], energy: 0.0, filled: 0, run: 0, present: false }
    }

    /// Whether the tone is sounding.
    pub fn is_present(&self) -> bool {
        self.present
    }

    /// Takes samples in stream order and returns the last edge within them.
    pub fn push(&mut self, samples: &[i16]) -> Option<ToneEdge> {
        let mut edge = None;
        for sample in samples {
            let sample = f32::from(*sample);
            let [first, second] = self.previous;
            self.previous = [sample + self.coefficient * first - second, first];
            self.energy += sample * sample;
            self.filled += 1;
            if self.filled == FRAME {
                edge = self.block().or(edge);
            }
        }
        edge
    }

    fn block(&mut self) -> Option<ToneEdge> {
        let [first, second] = self.previous;
        let power = first * first + second * second - self.coefficient * first * second;
        // A pure tone of amplitude A gives power A²N²/4 and energy A²N/2.
        let purity = 2.0 * power / (FRAME as f32 * self.energy.max(1.0));
        let heard = self.energy / FRAME as f32 > QUIET && purity > PURITY;
        (self.previous, self.energy, self.filled) = ([0.0; 2], 0.0, 0);
        self.run = if heard { self.run.max(0) + 1 } else { self.run.min(0) - 1 };
        if !self.present && self.run >= BLOCKS {
            self.present = true;
            return Some(ToneEdge::Started);
        }
        if self.present && -self.run >= BLOCKS {
            self.present = false;
            return Some(ToneEdge::Ended);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::{Codec, level};

    fn edges(samples: &[i16]) -> Vec<(usize, ToneEdge)> {
        let mut detector = ToneDetector::new(BEEP_FREQUENCY);
        let blocks = samples.chunks(FRAME).enumerate();
        blocks.filter_map(|(i, block)| Some((i, detector.push(block)?))).collect()
    }

    #[test]
    fn a_beep_through_g711_is_found_once() {
        let mut samples = silence(Duration::from_millis(200));
        samples.extend(beep());
        samples.extend(silence(Duration::from_millis(200)));
        let through = |sample: &i16| Codec::Pcmu.decode(Codec::Pcmu.encode(*sample));
        let samples: Vec<i16> = samples.iter().map(through).collect();
        assert_eq!(edges(&samples), [(13, ToneEdge::Started), (28, ToneEdge::Ended)]);
    }

    #[test]
    fn other_tones_noise_and_clicks_are_not_the_beep() {
        let second = Duration::from_secs(1);
        for frequency in [440.0, 697.0, 941.0, 1209.0, 2000.0] {
            assert_eq!(edges(&sine(frequency, second, -6.0)), [], "{frequency} Hz");
        }
        let mut state = 1_u32;
        let noise = (0..8000).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 18) as i16
        });
        assert_eq!(edges(&noise.collect::<Vec<_>>()), []);
        assert_eq!(edges(&sine(1000.0, Duration::from_millis(50), -6.0)), [], "too short");
        assert_eq!(edges(&sine(1000.0, second, -60.0)), [], "too quiet");
    }

    #[test]
    fn tones_have_the_length_and_level_asked_for() {
        let tone = sine(500.0, Duration::from_secs(2), -12.0);
        assert_eq!(tone.len(), 16_000);
        assert!((level::rms_dbfs(&tone) + 15.0).abs() < 0.2);
        assert_eq!((tone[0], tone[15_999]), (0, 0));
        assert!(sine(500.0, Duration::ZERO, 0.0).is_empty());
    }
}
