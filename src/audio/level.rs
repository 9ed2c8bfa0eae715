//! How loud a stretch of audio is.

/// What [`rms_dbfs`] says of digital silence.
pub const FLOOR_DBFS: f32 = -96.0;

/// The root mean square in dB relative to full scale: 0 is a full-scale square wave, a full-scale sine has -3.
/// Never below [`FLOOR_DBFS`], which an empty slice has as well.
pub fn rms_dbfs(samples: &[i16]) -> f32 {
    if samples.is_empty() {
        return FLOOR_DBFS;
    }
    let energy: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    let mean = energy / samples.len() as f64 / (32_768.0_f64 * 32_768.0);
    ((10.0 * mean.max(1e-12).log10()) as f32).max(FLOOR_DBFS)
}

/// The largest magnitude, 0..=32,768.
pub fn peak(samples: &[i16]) -> u16 {
    samples.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_known_signals() {
        assert_eq!(rms_dbfs(&[]), FLOOR_DBFS);
        assert_eq!(rms_dbfs(&[0; 160]), FLOOR_DBFS);
        assert!((rms_dbfs(&[16_384, -16_384]) + 6.02).abs() < 0.01);
        assert_eq!(peak(&[3, i16::MIN, 4]), 32_768);
    }
}
