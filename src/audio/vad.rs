//! Voice activity on 8 kHz audio: when somebody starts and stops speaking.
//!
//! `earshot` scores 16 ms frames at 16 kHz; the upsampler in front of it is an eight-tap half-band interpolator. One
//! frame costs about 20 us, so a leg runs a detector only while somebody wants to know. A loud pure tone right after speech
//! can be taken for more of it; whoever cares watches for the tone as well ([`super::tones::ToneDetector`]).

use std::time::Duration;

use earshot::Detector;

use super::RATE;

/// Samples at 8 kHz in one scored frame.
const BLOCK: usize = 128;
/// Half-sample interpolation, symmetric: sinc times a raised cosine, normalised to a sum of one half a side.
const TAPS: [f32; 4] = [0.6104, -0.1462, 0.0392, -0.0034];

/// When speech counts as begun and ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VadConfig {
    /// The score above which a frame is speech, 0..1.
    pub threshold: f32,
    /// Speech frames (16 ms), less silent ones between, that make a start.
    pub onset_frames: u32,
    /// Silence after the last speech frame that makes an end.
    pub hangover: Duration,
}

impl Default for VadConfig {
    fn default() -> Self {
        Self { threshold: 0.5, onset_frames: 4, hangover: Duration::from_millis(400) }
    }
}

/// An edge of speech; positions are those of the samples given to [`Vad::push`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VadEdge {
    /// Somebody began to speak at this position.
    Started(u64),
    /// The last speech ended at this position (the hangover has passed since).
    Ended(u64),
}

/// One listener.
pub struct Vad {
    config: VadConfig,
    detector: Box<Detector>,
    /// The last samples, for the interpolation: eight of the past, then the block.
    window: [i16; 8 + BLOCK],
    filled: usize,
    /// The position after the last sample taken.
    position: Option<u64>,
    /// Speech frames less silent ones, while not speaking.
    onset: u32,
    onset_at: u64,
    last_speech: u64,
    speaking: bool,
}

impl Vad {
    /// A detector that has heard nothing. Allocates about 8 kB.
    pub fn new(config: VadConfig) -> Self {
        Self {
            config,
            detector: Detector::default_boxed(),
            window: [0; 8 + BLOCK],
            filled: 0,
            position: None,
            onset: 0,
            onset_at: 0,
            last_speech: 0,
            speaking: false,
        }
    }

    /// Whether somebody is speaking, hangover included.
    pub fn is_speaking(&self) -> bool {
        self.speaking
    }

    /// Takes the samples that begin at `position` (in 8 kHz samples) and reports the edges within them. A hole
    /// before them is heard as silence, up to half a second of it.
    pub fn push(&mut self, position: u64, samples: &[i16], mut edge: impl FnMut(VadEdge)) {
        let expected = *self.position.get_or_insert(position);
        let hole = position.saturating_sub(expected);
        if hole > 0 {
            // Half a second outlasts the detector's memory; the skipped rest is made up for in the position.
            let heard = hole.min(u64::from(RATE) / 2);
            self.position = Some(position - heard);
            (0..heard).for_each(|_| self.sample(0, &mut edge));
        }
        self.position = Some(position);
        samples.iter().for_each(|sample| self.sample(*sample, &mut edge));
    }

    /// Tells that it is `position` now and nothing more has arrived: a peer that stops sending ends its speech.
    pub fn idle(&mut self, position: u64, mut edge: impl FnMut(VadEdge)) {
        if self.speaking && position > self.last_speech + 2 * self.hangover_samples() {
            self.end(&mut edge);
        }
    }

    fn sample(&mut self, sample: i16, edge: &mut impl FnMut(VadEdge)) {
        self.window[8 + self.filled] = sample;
        self.filled += 1;
        let position = self.position.unwrap_or(0) + 1;
        self.position = Some(position);
        if self.filled == BLOCK {
            self.filled = 0;
            let score = self.score();
            self.judge(score > self.config.threshold, position, edge);
        }
    }

    fn score(&mut self) -> f32 {
        let mut frame = [0_i16; 2 * BLOCK];
        for (pair, near) in frame.chunks_exact_mut(2).zip(self.window.windows(8)) {
            let between: f32 = TAPS
                .iter()
                .enumerate()
                .map(|(i, tap)| tap * (f32::from(near[3 - i]) + f32::from(near[4 + i])))
                .sum();
            pair[0] = near[3];
            pair[1] = between as i16; // the cast saturates
        }
        self.window.copy_within(BLOCK.., 0);
        self.detector.predict_i16(&frame)
    }

    fn judge(&mut self, speech: bool, end: u64, edge: &mut impl FnMut(VadEdge)) {
        if speech {
            self.last_speech = end;
        }
        if self.speaking {
            if end >= self.last_speech + self.hangover_samples() {
                self.end(edge);
            }
            return;
        }
        if !speech {
            self.onset = self.onset.saturating_sub(1);
            return;
        }
        if self.onset == 0 {
            self.onset_at = end.saturating_sub(BLOCK as u64);
        }
        self.onset += 1;
        if self.onset >= self.config.onset_frames {
            self.speaking = true;
            edge(VadEdge::Started(self.onset_at));
        }
    }

    fn end(&mut self, edge: &mut impl FnMut(VadEdge)) {
        self.speaking = false;
        self.onset = 0;
        edge(VadEdge::Ended(self.last_speech));
    }

    fn hangover_samples(&self) -> u64 {
        (self.config.hangover.as_millis() as u64) * u64::from(RATE) / 1000
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::audio::{Codec, tones};

    /// Vowel-like sound: a 130 Hz buzz through a few resonances, in syllables of 250 ms.
    pub(crate) fn syllables(count: usize) -> Vec<i16> {
        let mut samples = Vec::new();
        for _ in 0..count {
            for i in 0..2000_usize {
                let t = i as f32 / 8000.0;
                let envelope = (std::f32::consts::PI * i as f32 / 2000.0).sin();
                let harmonic = |k: i32| {
                    let frequency = 130.0 * k as f32;
                    let formant = |centre: f32| 1.0 / (1.0 + ((frequency - centre) / 120.0).powi(2));
                    let weight = formant(650.0) + 0.6 * formant(1100.0) + 0.3 * formant(2500.0) + 0.02;
                    weight * (std::f32::consts::TAU * frequency * t).sin()
                };
                let value: f32 = (1..28).map(harmonic).sum();
                samples.push((envelope * value * 6000.0) as i16);
            }
            samples.extend([0; 400]);
        }
        samples
    }

    fn edges(samples: &[i16]) -> Vec<VadEdge> {
        let mut vad = Vad::new(VadConfig::default());
        let mut edges = Vec::new();
        for (i, frame) in samples.chunks(160).enumerate() {
            vad.push(i as u64 * 160, frame, |edge| edges.push(edge));
        }
        edges
    }

    #[test]
    fn speech_between_silences_has_two_edges() {
        let mut samples = vec![0; 8000];
        samples.extend(syllables(4));
        samples.extend([0; 16_000]);
        let through = |sample: &i16| Codec::Pcma.decode(Codec::Pcma.encode(*sample));
        let samples: Vec<i16> = samples.iter().map(through).collect();
        let found = edges(&samples);
        let [VadEdge::Started(start), VadEdge::Ended(end)] = found[..] else { panic!("{found:?}") };
        assert!((7200..10_400).contains(&start), "started at {start}");
        assert!((15_000..20_000).contains(&end), "ended at {end}");
    }

    #[test]
    fn silence_noise_and_the_beep_are_not_speech() {
        assert_eq!(edges(&vec![0; 40_000]), []);
        assert_eq!(edges(&tones::beep()), []);
        let mut state = 1_u32;
        let noise = (0..40_000).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as i16 / 64
        });
        assert_eq!(edges(&noise.collect::<Vec<_>>()), []);
    }

    #[test]
    fn a_peer_that_stops_sending_ends_its_speech() {
        let mut vad = Vad::new(VadConfig::default());
        let mut found = Vec::new();
        let speech = syllables(2);
        vad.push(500, &speech, |edge| found.push(edge));
        assert!(vad.is_speaking());
        let end = 500 + speech.len() as u64;
        vad.idle(end + 80, |edge| found.push(edge));
        assert!(vad.is_speaking());
        vad.idle(end + 8000, |edge| found.push(edge));
        assert!(matches!(found[..], [VadEdge::Started(_), VadEdge::Ended(_)]), "{found:?}");
    }

    #[test]
    fn a_hole_is_heard_as_silence() {
        let mut vad = Vad::new(VadConfig::default());
        let mut found = Vec::new();
        let speech = syllables(2);
        vad.push(0, &speech, |edge| found.push(edge));
        let later = speech.len() as u64 + 80_000;
        vad.push(later, &speech, |edge| found.push(edge));
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(matches!(found[2], VadEdge::Started(at) if at >= later), "{found:?}");
    }
}
