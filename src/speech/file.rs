//! Audio files: WAV, MP3, FLAC and Ogg Vorbis, mixed to one channel and resampled.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler};
use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::errors::Error as DecodeError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;

use crate::audio::Pcm;

/// The longest audio that is read.
pub const MAX_DURATION: Duration = Duration::from_secs(4 * 3600);

/// The largest file that is read, in bytes.
pub const MAX_BYTES: u64 = 4 << 30;

/// Rates that are believed, in samples a second.
const RATES: std::ops::RangeInclusive<u32> = 4_000..=384_000;

/// Frames that the resampler takes at a time.
const CHUNK: usize = 1024;

/// Why a file gives no audio. Each names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum AudioFileError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No known format.
    #[error("{}: this is no WAV, MP3, FLAC or Ogg Vorbis file; convert it, for example with `sox in out.wav`", .0.display())]
    NotAudio(PathBuf),
    /// It begins as audio and then breaks.
    #[error("{}: the file is damaged or cut off ({reason}); export it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        reason: String,
    },
    /// It holds no sample.
    #[error("{}: the file holds no sound; record it again", .0.display())]
    Empty(PathBuf),
    /// Over [`MAX_DURATION`] or [`MAX_BYTES`].
    #[error("{}: the file is longer than four hours or larger than 4 GiB; cut it into parts", .0.display())]
    TooLong(PathBuf),
    /// The wanted channel is not there.
    #[error("{}: there is no channel {channel}; the file has {channels}", path.display())]
    NoChannel {
        /// The file.
        path: PathBuf,
        /// The wanted one, from 0.
        channel: usize,
        /// How many there are.
        channels: usize,
    },
}

/// Reads a file, mixes its channels and resamples it to `rate`.
///
/// # Errors
/// See [`AudioFileError`].
pub fn load(path: &Path, rate: u32) -> Result<Pcm, AudioFileError> {
    let decoded = decode(path, None)?;
    Ok(resample(decoded, rate))
}

/// Reads one channel of a file, from 0, and resamples it to `rate`.
///
/// # Errors
/// See [`AudioFileError`].
pub fn load_channel(path: &Path, channel: usize, rate: u32) -> Result<Pcm, AudioFileError> {
    let decoded = decode(path, Some(channel))?;
    Ok(resample(decoded, rate))
}

struct Decoded {
    rate: u32,
    samples: Vec<f32>,
}

fn decode(path: &Path, channel: Option<usize>) -> Result<Decoded, AudioFileError> {
    let io_error = |source| AudioFileError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io_error)?;
    if file.metadata().map_err(io_error)?.len() > MAX_BYTES {
        return Err(AudioFileError::TooLong(path.to_owned()));
    }
    let mut hint = Hint::new();
    if let Some(extension) = path.extension().and_then(|extension| extension.to_str()) {
        hint.with_extension(extension);
    }
    let stream = MediaSourceStream::new(Box::new(file), Default::default());
    let probe = symphonia::default::get_probe();
    let reader = probe
        .probe(&hint, stream, FormatOptions::default(), MetadataOptions::default())
        .map_err(|_| AudioFileError::NotAudio(path.to_owned()))?;
    let decoded = decode_track(reader, path, channel)?;
    if decoded.samples.is_empty() {
        return Err(AudioFileError::Empty(path.to_owned()));
    }
    Ok(decoded)
}

fn decode_track(
    mut reader: Box<dyn FormatReader + '_>,
    path: &Path,
    wanted: Option<usize>,
) -> Result<Decoded, AudioFileError> {
    let damaged = |reason: String| AudioFileError::Damaged { path: path.to_owned(), reason };
    let not_audio = || AudioFileError::NotAudio(path.to_owned());
    let track = reader.default_track(TrackType::Audio).ok_or_else(not_audio)?;
    let id = track.id;
    let parameters = track.codec_params.as_ref().and_then(|params| params.audio()).ok_or_else(not_audio)?;
    let options = AudioDecoderOptions::default();
    let mut decoder =
        symphonia::default::get_codecs().make_audio_decoder(parameters, &options).map_err(|_| not_audio())?;
    let mut decoded = Decoded { rate: 0, samples: Vec::new() };
    let mut interleaved = Vec::new();
    let mut broken = 0_u32;
    loop {
        let packet = match reader.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(DecodeError::IoError(error)) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(damaged(error.to_string())),
        };
        if packet.track_id != id {
            continue;
        }
        let buffer = match decoder.decode(&packet) {
            Ok(buffer) => buffer,
            // One bad packet is a click; a file of them is no audio.
            Err(DecodeError::DecodeError(reason)) if broken < 10 => {
                tracing::debug!(path = %path.display(), reason, "a damaged packet was passed over");
                broken += 1;
                continue;
            }
            Err(error) => return Err(damaged(error.to_string())),
        };
        let (rate, channels) = (buffer.spec().rate(), buffer.num_planes());
        if !RATES.contains(&rate) || channels == 0 || (decoded.rate != 0 && decoded.rate != rate) {
            return Err(damaged(format!("{channels} channels at {rate} Hz")));
        }
        decoded.rate = rate;
        buffer.copy_to_vec_interleaved::<f32>(&mut interleaved);
        pick(&interleaved, channels, wanted, &mut decoded.samples)
            .ok_or(AudioFileError::NoChannel { path: path.to_owned(), channel: wanted.unwrap_or(0), channels })?;
        if decoded.samples.len() as u64 > MAX_DURATION.as_secs() * u64::from(rate) {
            return Err(AudioFileError::TooLong(path.to_owned()));
        }
    }
    Ok(decoded)
}

/// One channel, or the mean of all. `None`: there is no such channel.
fn pick(interleaved: &[f32], channels: usize, wanted: Option<usize>, out: &mut Vec<f32>) -> Option<()> {
    match wanted {
        Some(channel) if channel >= channels => return None,
        Some(channel) => out.extend(interleaved.iter().skip(channel).step_by(channels)),
        None => out.extend(interleaved.chunks_exact(channels).map(|frame| frame.iter().sum::<f32>() / channels as f32)),
    }
    Some(())
}

fn resample(decoded: Decoded, rate: u32) -> Pcm {
    let samples = if decoded.rate == rate { decoded.samples } else { resampled(&decoded, rate) };
    let to_i16 = |sample: &f32| (sample * 32_768.0).clamp(-32_768.0, 32_767.0).round() as i16;
    Pcm { rate, samples: samples.iter().map(to_i16).collect() }
}

/// Resamples by FFT, which also keeps out what the new rate cannot carry.
fn resampled(decoded: &Decoded, rate: u32) -> Vec<f32> {
    let frames = decoded.samples.len();
    let resampler = Fft::<f32>::new(decoded.rate as usize, rate as usize, CHUNK, 1, FixedSync::Input);
    let input = InterleavedSlice::new(&decoded.samples, 1, frames);
    match (resampler, input) {
        (Ok(mut resampler), Ok(input)) => match resampler.process_all(&input, frames, None) {
            Ok(output) => output.take_data(),
            Err(error) => {
                debug_assert!(false, "rubato refused checked input: {error}");
                Vec::new()
            }
        },
        _ => {
            debug_assert!(false, "rubato refused checked rates");
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::level;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/audio").join(name)
    }

    /// Zero crossings a second, halved: the frequency of a pure tone.
    fn frequency(pcm: &Pcm) -> f64 {
        let crossings = pcm.samples.windows(2).filter(|pair| (pair[0] < 0) != (pair[1] < 0)).count();
        crossings as f64 / 2.0 / pcm.duration().as_secs_f64()
    }

    #[test]
    fn every_format_gives_the_same_tone() {
        let names = ["8k.wav", "44k-stereo.wav", "u8.wav", "s24.wav", "mulaw.wav", "44k.mp3", "16k.flac", "22k.ogg"];
        for name in names {
            for rate in [8_000, 16_000] {
                let pcm = load(&fixture(name), rate).unwrap();
                let seconds = pcm.duration().as_secs_f64();
                assert!((0.95..1.15).contains(&seconds), "{name} at {rate}: {seconds} s");
                assert!((frequency(&pcm) - 440.0).abs() < 25.0, "{name} at {rate}: {} Hz", frequency(&pcm));
                let level = level::rms_dbfs(&pcm.samples);
                assert!((-14.0..-6.0).contains(&level), "{name} at {rate}: {level} dBFS");
            }
        }
    }

    #[test]
    fn one_channel_of_two() {
        let left = load_channel(&fixture("two-tones.wav"), 0, 8_000).unwrap();
        let right = load_channel(&fixture("two-tones.wav"), 1, 8_000).unwrap();
        assert!((frequency(&left) - 440.0).abs() < 25.0 && (frequency(&right) - 880.0).abs() < 25.0);
        let error = load_channel(&fixture("two-tones.wav"), 2, 8_000).unwrap_err();
        assert!(error.to_string().ends_with("there is no channel 2; the file has 2"), "{error}");
    }

    #[test]
    fn what_is_no_audio_says_so() {
        for (name, words) in [
            ("text.wav", "no WAV, MP3, FLAC or Ogg"),
            ("empty.wav", "no WAV, MP3, FLAC or Ogg"),
            ("no-samples.wav", "holds no sound"),
            ("missing.wav", "No such file"),
        ] {
            let error = load(&fixture(name), 8_000).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(words), "{name}: {error}");
        }
    }

    #[test]
    fn a_cut_off_file_gives_what_is_there() {
        let pcm = load(&fixture("cut.wav"), 8_000).unwrap();
        let seconds = pcm.duration().as_secs_f64();
        assert!((0.3..0.7).contains(&seconds), "{seconds} s");
    }
}
