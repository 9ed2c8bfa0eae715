//! Linear 16-bit mono sound with its rate, and the few measurements that prompts and recordings need.

use std::time::Duration;

/// One channel of linear PCM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pcm {
    /// Samples per second; 8000 on a telephone line. Never 0 in a value made by this crate.
    pub rate: u32,
    /// The samples in order of time.
    pub samples: Vec<i16>,
}

impl Pcm {
    /// Joins a rate (Hz) and samples.
    pub fn new(rate: u32, samples: Vec<i16>) -> Self {
        Self { rate, samples }
    }

    /// How long the sound lasts; zero for a rate of 0.
    pub fn duration(&self) -> Duration {
        match self.rate {
            0 => Duration::ZERO,
            rate => Duration::from_secs_f64(self.samples.len() as f64 / f64::from(rate)),
        }
    }

    /// The largest magnitude, 0 to 32768.
    pub fn peak(&self) -> u16 {
        peak(&self.samples)
    }

    /// Root mean square of all samples, 0.0 to 32768.0; 0.0 when there are none.
    pub fn rms(&self) -> f64 {
        rms(&self.samples)
    }

    /// Scales the sound towards `target_rms`, less where the peak would pass `max_peak` (both in sample units):
    /// nothing is ever clipped. Digital silence stays as it is.
    pub fn normalise(&mut self, target_rms: f64, max_peak: u16) {
        let (rms, peak) = (self.rms(), f64::from(self.peak()));
        if rms <= 0.0 || peak <= 0.0 {
            return;
        }
        let gain = (target_rms / rms).min(f64::from(max_peak.min(32767)) / peak);
        for sample in &mut self.samples {
            *sample = to_i16(f64::from(*sample) * gain);
        }
    }

    /// Cuts what is quiet off both ends: 10 ms windows whose RMS is below `floor` (sample units), keeping `margin`
    /// of them next to the sound so that soft onsets survive. A sound that is quiet throughout becomes empty.
    pub fn trim_silence(&mut self, floor: f64, margin: Duration) {
        let window = (self.rate as usize / 100).max(1);
        let loud = |chunk: &[i16]| rms(chunk) >= floor;
        let Some(first) = self.samples.chunks(window).position(loud) else {
            self.samples.clear();
            return;
        };
        let last = self.samples.chunks(window).rposition(loud).unwrap_or(first);
        let margin = (margin.as_secs_f64() * f64::from(self.rate)) as usize;
        let end = (last + 1).saturating_mul(window).saturating_add(margin).min(self.samples.len());
        self.samples.truncate(end);
        self.samples.drain(..(first * window).saturating_sub(margin));
    }
}

/// The largest magnitude in `samples`, 0 to 32768.
pub fn peak(samples: &[i16]) -> u16 {
    samples.iter().map(|s| s.unsigned_abs()).max().unwrap_or(0)
}

/// Root mean square of `samples`; 0.0 when there are none.
pub fn rms(samples: &[i16]) -> f64 {
    if samples.is_empty() {
        return 0.0;
    }
    let energy: f64 = samples.iter().map(|&s| f64::from(s) * f64::from(s)).sum();
    (energy / samples.len() as f64).sqrt()
}

/// Rounds to the nearest sample value and saturates at the ends of the range.
pub fn to_i16(value: f64) -> i16 {
    // A float-to-integer `as` saturates, and maps NaN to 0.
    value.round() as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(amplitude: f64, len: usize) -> Vec<i16> {
        (0..len).map(|i| to_i16(amplitude * (i as f64 * std::f64::consts::TAU / 8.0).sin())).collect()
    }

    #[test]
    fn measures_duration_peak_and_rms() {
        let pcm = Pcm::new(8000, tone(10_000.0, 4000));
        assert_eq!(pcm.duration(), Duration::from_millis(500));
        assert_eq!(pcm.peak(), 10_000);
        assert!((pcm.rms() - 7071.0).abs() < 1.0, "{}", pcm.rms());
        assert_eq!(Pcm::new(8000, vec![i16::MIN]).peak(), 32768);
        let empty = Pcm::new(0, vec![]);
        assert_eq!((empty.duration(), empty.peak(), empty.rms()), (Duration::ZERO, 0, 0.0));
    }

    #[test]
    fn normalise_reaches_the_level_but_never_clips() {
        let mut quiet = Pcm::new(8000, tone(100.0, 800));
        quiet.normalise(3000.0, 20_000);
        assert!((quiet.rms() - 3000.0).abs() < 60.0, "{}", quiet.rms());

        let mut spiky = Pcm::new(8000, tone(100.0, 800));
        spiky.samples[400] = -30_000;
        spiky.normalise(30_000.0, 20_000);
        assert_eq!(spiky.peak(), 20_000);

        let mut silence = Pcm::new(8000, vec![0; 80]);
        silence.normalise(3000.0, 20_000);
        assert_eq!(silence.samples, vec![0; 80]);
    }

    #[test]
    fn trim_keeps_the_sound_and_its_margin() {
        let mut samples = vec![0; 800];
        samples.extend(tone(5000.0, 1600));
        samples.extend(vec![3; 2400]);
        let mut pcm = Pcm::new(8000, samples);
        pcm.trim_silence(100.0, Duration::from_millis(20));
        assert_eq!(pcm.samples.len(), 160 + 1600 + 160);
        assert_eq!(pcm.samples[..160], [0; 160]);

        let mut hush = Pcm::new(8000, vec![5; 800]);
        hush.trim_silence(100.0, Duration::ZERO);
        assert!(hush.samples.is_empty());
    }
}
