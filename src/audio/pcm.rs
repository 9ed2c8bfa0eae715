//! Linear audio with its rate.

use std::time::Duration;

/// Mono 16-bit samples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pcm {
    /// Samples a second, above 0.
    pub rate: u32,
    /// The samples.
    pub samples: Vec<i16>,
}

impl Pcm {
    /// How long the audio lasts; zero when the rate is zero.
    pub fn duration(&self) -> Duration {
        if self.rate == 0 {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(self.samples.len() as f64 / f64::from(self.rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_counts_samples() {
        assert_eq!(Pcm { rate: 8000, samples: vec![0; 12_000] }.duration(), Duration::from_millis(1500));
        assert_eq!(Pcm::default().duration(), Duration::ZERO);
    }
}
