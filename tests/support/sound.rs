//! Finding one sound in another.

/// The samples of a mono WAV file at 8 kHz.
pub fn read(path: &std::path::Path) -> Vec<i16> {
    let reader = hound::WavReader::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let spec = reader.spec();
    assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (1, 8000, 16), "{}", path.display());
    reader.into_samples().collect::<Result<_, _>>().unwrap()
}

/// Writes such a file.
pub fn write(path: &std::path::Path, samples: &[i16]) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    samples.iter().for_each(|sample| writer.write_sample(*sample).unwrap());
    writer.finalize().unwrap();
}

/// Where in `whole` the sound of `part` is, by normalised cross-correlation of its loudest 100 ms, and how alike the two are
/// over the whole of `part`: 1 is the same but for its volume, 0 is unrelated.
pub fn find(whole: &[i16], part: &[i16]) -> (isize, f64) {
    const EXCERPT: usize = 800;
    let starts = (0..=part.len() - EXCERPT).step_by(80);
    let loudest =
        starts.max_by(|a, b| energy(&part[*a..*a + EXCERPT]).total_cmp(&energy(&part[*b..*b + EXCERPT])));
    let loudest = loudest.unwrap();
    let excerpt = &part[loudest..loudest + EXCERPT];
    let best = whole.windows(EXCERPT).enumerate().map(|(at, window)| (at, likeness(window, excerpt)));
    let (at, _) = best.max_by(|a, b| a.1.total_cmp(&b.1)).expect("the whole is longer than 100 ms");
    let offset = at as isize - loudest as isize;
    let sample =
        |index: usize| usize::try_from(offset + index as isize).ok().and_then(|at| whole.get(at)).copied();
    let heard: Vec<i16> = (0..part.len()).map(|index| sample(index).unwrap_or(0)).collect();
    (offset, likeness(&heard, part))
}

/// Normalised correlation of two sounds of the same length.
pub fn likeness(a: &[i16], b: &[i16]) -> f64 {
    let product: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    let power = (energy(a) * energy(b)).sqrt();
    if power == 0.0 { 0.0 } else { product / power }
}

fn energy(samples: &[i16]) -> f64 {
    samples.iter().map(|sample| f64::from(*sample).powi(2)).sum()
}
