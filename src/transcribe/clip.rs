//! tmp
use std::path::Path;
/// tmp
pub fn load(path: &Path, channel: u16) -> anyhow::Result<Vec<f32>> {
    let mut reader = hound::WavReader::open(path)?;
    let spec = reader.spec();
    let all: Vec<f32> =
        reader.samples::<i16>().map(|s| s.map(|s| f32::from(s) / 32768.0)).collect::<Result<_, _>>()?;
    let mono: Vec<f32> =
        all.into_iter().skip(usize::from(channel)).step_by(usize::from(spec.channels)).collect();
    if spec.sample_rate == 16_000 {
        return Ok(mono);
    }
    anyhow::ensure!(spec.sample_rate == 8000);
    let taps: Vec<f32> = (0..32)
        .map(|i| {
            let x = std::f32::consts::PI * (i as f32 - 15.5);
            (x.sin() / x) * (0.5 + 0.5 * (x / 16.0).cos())
        })
        .collect();
    let at = |i: isize| usize::try_from(i).ok().and_then(|i| mono.get(i)).copied().unwrap_or(0.0);
    Ok((0..mono.len() as isize)
        .flat_map(|n| [at(n), taps.iter().enumerate().map(|(k, t)| t * at(n + k as isize - 15)).sum()])
        .collect())
}
