//! A stream in which no two frames are alike, so that a recording can be checked frame by frame.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use callahead::audio::Codec;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Samples of 20 ms at 8 kHz.
const FRAME: usize = 160;

/// Noise of `frames` frames in mu-law. It is what a voice detector least expects and costs it what speech does.
pub fn unique(frames: usize) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(7);
    // 0x7f is a second zero, which decodes to the sample of 0xff: left out, so that decoding loses nothing.
    let byte = |_| match rng.random::<u8>() {
        0x7f => 0xff,
        byte => byte,
    };
    (0..frames * FRAME).map(byte).collect()
}

/// What a recording holds of the stream.
#[derive(Debug, Default, Clone, Copy)]
pub struct Found {
    /// Frames of the stream, whole.
    pub whole: usize,
    /// Frames that should be between the first and the last one, and are not.
    pub missing: usize,
    /// Seconds of the file.
    pub seconds: f64,
}

/// Looks for the stream's frames in the left channel, the customer's, of a stereo WAV file.
pub fn find(path: &Path, stream: &[u8]) -> Result<Found> {
    let mut wav = hound::WavReader::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let samples = wav.samples::<i16>().step_by(2).collect::<Result<Vec<i16>, _>>()?;
    let decoded: Vec<i16> = stream.iter().map(|byte| Codec::Pcmu.decode(*byte)).collect();
    let index: HashMap<&[i16], usize> =
        decoded.chunks_exact(FRAME).enumerate().map(|(number, frame)| (frame, number)).collect();
    let (mut at, mut found, mut last) = (0, Found::default(), None::<usize>);
    found.seconds = samples.len() as f64 / 8000.0;
    while let Some(frame) = samples.get(at..at + FRAME) {
        let Some(number) = index.get(frame).copied() else {
            // Not at a frame's beginning, or not a whole frame.
            at += 1;
            continue;
        };
        found.whole += 1;
        if let Some(last) = last {
            let distance = (number + index.len() - last) % index.len();
            found.missing += distance.saturating_sub(1);
        }
        last = Some(number);
        at += FRAME;
    }
    Ok(found)
}
