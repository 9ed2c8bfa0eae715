//! The mel filter bank that Whisper was trained with: 80 triangles on Slaney's scale over a 400-point spectrum at 16 kHz.
//! It is computed, so that no table has to be shipped.

/// Filters in the bank.
pub const BANDS: usize = 80;
/// Bins of the spectrum: 400 / 2 + 1.
pub const BINS: usize = 201;

const RATE: f64 = 16_000.0;
const SPECTRUM: f64 = 400.0;
/// Slaney's scale is linear up to 1 kHz (15 mel), logarithmic above: 27 mel for each factor of 6.4.
const LINEAR_HZ: f64 = 200.0 / 3.0;
const KNEE_HZ: f64 = 1000.0;
const KNEE_MEL: f64 = KNEE_HZ / LINEAR_HZ;

/// The filters, one row of [`BINS`] weights for each band, each of the same area.
pub fn filters() -> Vec<f32> {
    let top = mel(RATE / 2.0);
    let edge = |index: usize| hertz(top * index as f64 / (BANDS + 1) as f64);
    let mut weights = Vec::with_capacity(BANDS * BINS);
    for band in 0..BANDS {
        let (low, centre, high) = (edge(band), edge(band + 1), edge(band + 2));
        let area = 2.0 / (high - low);
        for bin in 0..BINS {
            let frequency = bin as f64 * RATE / SPECTRUM;
            let rising = (frequency - low) / (centre - low);
            let falling = (high - frequency) / (high - centre);
            weights.push((rising.min(falling).max(0.0) * area) as f32);
        }
    }
    weights
}

fn mel(hertz: f64) -> f64 {
    if hertz < KNEE_HZ { hertz / LINEAR_HZ } else { KNEE_MEL + (hertz / KNEE_HZ).ln() / step() }
}

fn hertz(mel: f64) -> f64 {
    if mel < KNEE_MEL { mel * LINEAR_HZ } else { KNEE_HZ * (step() * (mel - KNEE_MEL)).exp() }
}

fn step() -> f64 {
    6.4f64.ln() / 27.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_published_bank_where_it_is_easy_to_check() {
        let bank = filters();
        assert_eq!(bank.len(), BANDS * BINS);
        // The first values of the bank that OpenAI publishes (mel_80): [0, 0.02486259, 0...], [0, 0.00199082, 0.02287177...].
        assert!((bank[1] - 0.024_862_59).abs() < 1e-7, "{}", bank[1]);
        assert!((bank[BINS + 1] - 0.001_990_82).abs() < 1e-7, "{}", bank[BINS + 1]);
        assert!((bank[BINS + 2] - 0.022_871_77).abs() < 1e-7, "{}", bank[BINS + 2]);
        assert_eq!(bank[0], 0.0);
    }

    #[test]
    fn the_scale_and_its_inverse_agree() {
        for frequency in [0.0, 40.0, 999.0, 1000.0, 4321.0, 8000.0] {
            assert!((hertz(mel(frequency)) - frequency).abs() < 1e-9);
        }
    }
}
