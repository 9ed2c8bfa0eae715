//! Reads a sound file into [`Pcm`]: WAV (linear, A-law, mu-law), MP3, FLAC and Ogg Vorbis, mixed to mono or one channel
//! of it, at the rate the caller wants.
//!
//! The work is CPU-bound and blocking: call it from a blocking thread.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler};
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as DecodeError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream};
use symphonia::core::meta::MetadataOptions;

use crate::audio::Pcm;
use crate::audio::pcm::to_i16;

/// Rates a file may have, in Hz: outside this range a header is nonsense rather than sound.
const RATES: std::ops::RangeInclusive<u32> = 4_000..=192_000;

/// Bounds on what [`load`] accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioLimits {
    /// The longest sound.
    pub max_duration: Duration,
    /// The largest file, in bytes.
    pub max_bytes: u64,
}

impl Default for AudioLimits {
    /// Ten minutes and 64 MiB: more than any prompt or answer.
    fn default() -> Self {
        Self { max_duration: Duration::from_secs(600), max_bytes: 64 << 20 }
    }
}

/// Why a sound file could not be used. Every message names the file and what to do about it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AudioFileError {
    /// The file cannot be opened or read.
    #[error("cannot read sound file {}: {source}; check that it exists and that this user may read it", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// The contents are not sound in a format this build decodes.
    #[error(
        "{} is not a sound file that can be decoded ({detail}); convert it to WAV, MP3, FLAC or Ogg Vorbis", path.display()
    )]
    NotAudio {
        /// The file.
        path: PathBuf,
        /// What the decoder found.
        detail: String,
    },
    /// The file ends before, or is damaged within, the sound that its header announces.
    #[error("{} is truncated or damaged ({detail}); copy or record it again", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// What is missing.
        detail: String,
    },
    /// No samples at all.
    #[error("{} contains no sound; record it again", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Longer than the limit.
    #[error("{} lasts longer than the limit of {} s; shorten it or split it", path.display(), limit.as_secs_f64())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The longest duration accepted.
        limit: Duration,
    },
    /// More bytes than the limit.
    #[error("{} has {bytes} bytes, more than the limit of {limit}; shorten it or compress it", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The largest size accepted.
        limit: u64,
    },
    /// A channel was asked for that the file lacks.
    #[error("{} has {channels} channel(s), so there is no channel {channel} (they count from 0)", path.display())]
    NoSuchChannel {
        /// The file.
        path: PathBuf,
        /// The channel asked for, from 0.
        channel: usize,
        /// How many there are.
        channels: usize,
    },
}

/// Reads the whole file, mixes its channels to mono and converts it to `rate` Hz.
///
/// # Errors
/// [`AudioFileError`], naming the file and the remedy.
pub fn load(path: &Path, rate: u32, limits: AudioLimits) -> Result<Pcm, AudioFileError> {
    decode(path, None, limits).map(|(source, mono)| finish(source, mono, rate, path))?
}

/// Reads one channel of the file, counted from 0 (of a stereo file: 0 left, 1 right), at `rate` Hz.
///
/// # Errors
/// As for [`load`], and [`AudioFileError::NoSuchChannel`].
pub fn load_channel(
    path: &Path,
    channel: usize,
    rate: u32,
    limits: AudioLimits,
) -> Result<Pcm, AudioFileError> {
    decode(path, Some(channel), limits).map(|(source, mono)| finish(source, mono, rate, path))?
}

/// Converts the rate and the sample format.
fn finish(source: u32, mono: Vec<f32>, rate: u32, path: &Path) -> Result<Pcm, AudioFileError> {
    let mono = resample(mono, source, rate)
        .map_err(|detail| AudioFileError::NotAudio { path: path.to_owned(), detail })?;
    Ok(Pcm::new(rate, mono.into_iter().map(|s| to_i16(f64::from(s) * 32768.0)).collect()))
}

/// Band-limited conversion of `samples` (full scale 1.0) from one rate to another, in Hz.
fn resample(samples: Vec<f32>, from: u32, to: u32) -> Result<Vec<f32>, String> {
    if from == to {
        return Ok(samples);
    }
    let mut resampler = Fft::<f32>::new(from as usize, to as usize, 1024, 1, FixedSync::Input)
        .map_err(|e| format!("cannot convert {from} Hz to {to} Hz: {e}"))?;
    let input = InterleavedSlice::new(&samples, 1, samples.len()).map_err(|e| e.to_string())?;
    let output = resampler.process_all(&input, samples.len(), None).map_err(|e| e.to_string())?;
    Ok(output.take_data())
}

/// An opened file: the container, the decoder of its first sound track, and what the header says about it.
struct Source {
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    /// Frames the header announces, when it does.
    announced: Option<u64>,
}

fn open(path: &Path, limits: AudioLimits) -> Result<Source, AudioFileError> {
    let read = |e: io::Error| AudioFileError::Read { path: path.to_owned(), source: Arc::new(e) };
    let not_audio = |detail: &dyn ToString| AudioFileError::NotAudio {
        path: path.to_owned(),
        detail: detail.to_string(),
    };
    let file = File::open(path).map_err(read)?;
    let metadata = file.metadata().map_err(read)?;
    if !metadata.is_file() {
        return Err(not_audio(&"not a regular file"));
    }
    if metadata.len() > limits.max_bytes {
        return Err(AudioFileError::TooLarge {
            path: path.to_owned(),
            bytes: metadata.len(),
            limit: limits.max_bytes,
        });
    }
    if metadata.len() == 0 {
        return Err(AudioFileError::Empty { path: path.to_owned() });
    }
    // No hint from the extension: files are often misnamed, and the contents decide.
    let source = whole_wav(file, metadata.len()).map_err(read)?;
    let format = symphonia::default::get_probe()
        .probe(
            &Hint::new(),
            MediaSourceStream::new(source, Default::default()),
            FormatOptions::default(),
            MetadataOptions::default(),
        )
        .map_err(|e| not_audio(&e))?;
    let track = format.default_track(TrackType::Audio).ok_or_else(|| not_audio(&"no sound track"))?;
    let parameters = track
        .codec_params
        .as_ref()
        .and_then(|p| p.audio())
        .ok_or_else(|| not_audio(&"no codec parameters"))?;
    let decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(|e| not_audio(&e))?;
    let (track, announced) = (track.id, track.num_frames);
    Ok(Source { format, decoder, track, announced })
}

/// The file itself, or its bytes with the sizes put right if it is a WAV whose writer could not know them: a program that
/// writes to a pipe leaves 0, or about two or four gigabytes, in the header.
fn whole_wav(mut file: File, bytes: u64) -> io::Result<Box<dyn MediaSource>> {
    /// Sizes from here on are no sizes: whoever writes them means "until the end".
    const UNKNOWN: u32 = 0x7fff_0000;
    let mut head = [0; 12];
    let read = file.read(&mut head)?;
    file.rewind()?;
    let [b'R', b'I', b'F', b'F', a, b, c, d, b'W', b'A', b'V', b'E'] = head else {
        return Ok(Box::new(file));
    };
    let size = u32::from_le_bytes([a, b, c, d]);
    if read < head.len() || (1..UNKNOWN).contains(&size) {
        return Ok(Box::new(file));
    }
    let mut all = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
    file.take(bytes).read_to_end(&mut all)?;
    let rest = |at: usize| u32::try_from(all.len().saturating_sub(at)).unwrap_or(u32::MAX).to_le_bytes();
    let mut sizes = vec![(4, rest(8))];
    let mut at = 12;
    while let Some(&[i, d, e, f, a, b, c, g]) = all.get(at..).and_then(|chunk| chunk.first_chunk::<8>()) {
        if [i, d, e, f] == *b"data" {
            sizes.push((at + 4, rest(at + 8)));
            break;
        }
        let size = u32::from_le_bytes([a, b, c, g]) as usize;
        at = at.saturating_add(8).saturating_add(size.next_multiple_of(2));
    }
    for (at, size) in sizes {
        all.iter_mut().skip(at).zip(size).for_each(|(byte, new)| *byte = new);
    }
    Ok(Box::new(io::Cursor::new(all)))
}

/// Decodes to one channel at the file's own rate.
fn decode(
    path: &Path,
    channel: Option<usize>,
    limits: AudioLimits,
) -> Result<(u32, Vec<f32>), AudioFileError> {
    let Source { mut format, mut decoder, track, announced } = open(path, limits)?;
    let damaged = |detail: String| AudioFileError::Truncated { path: path.to_owned(), detail };
    let mut mono: Vec<f32> = Vec::new();
    let mut interleaved: Vec<f32> = Vec::new();
    let mut rate = None;
    loop {
        let packet = match format.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(DecodeError::IoError(e)) if e.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(damaged("it ends in the middle".to_owned()));
            }
            Err(e) => return Err(damaged(e.to_string())),
        };
        if packet.track_id != track {
            continue;
        }
        let decoded = decoder.decode(&packet).map_err(|e| damaged(e.to_string()))?;
        let (packet_rate, channels) = (decoded.spec().rate(), decoded.spec().channels().count());
        if *rate.get_or_insert(packet_rate) != packet_rate || !RATES.contains(&packet_rate) || channels == 0 {
            return Err(AudioFileError::NotAudio {
                path: path.to_owned(),
                detail: format!("{packet_rate} Hz, {channels} channels"),
            });
        }
        if let Some(channel) = channel.filter(|&c| c >= channels) {
            return Err(AudioFileError::NoSuchChannel { path: path.to_owned(), channel, channels });
        }
        decoded.copy_to_vec_interleaved(&mut interleaved);
        mix(&interleaved, channels, channel, &mut mono);
        if mono.len() as f64 > limits.max_duration.as_secs_f64() * f64::from(packet_rate) {
            return Err(AudioFileError::TooLong { path: path.to_owned(), limit: limits.max_duration });
        }
    }
    let Some(rate) = rate.filter(|_| !mono.is_empty()) else {
        return Err(AudioFileError::Empty { path: path.to_owned() });
    };
    match announced {
        Some(frames) if (mono.len() as u64) < frames => {
            Err(damaged(format!("{} of {frames} samples", mono.len())))
        }
        _ => Ok((rate, mono)),
    }
}

/// Appends to `mono` the mean of all channels of each frame, or the one channel that is wanted.
fn mix(interleaved: &[f32], channels: usize, channel: Option<usize>, mono: &mut Vec<f32>) {
    let frames = interleaved.chunks_exact(channels);
    match channel {
        Some(channel) => mono.extend(frames.filter_map(|frame| frame.get(channel))),
        None => mono.extend(frames.map(|frame| frame.iter().sum::<f32>() / channels as f32)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/audio").join(name)
    }

    /// Amplitude of the sine of `frequency` Hz in `pcm` (one Fourier coefficient).
    fn amplitude(pcm: &Pcm, frequency: f64) -> f64 {
        let (mut re, mut im) = (0.0, 0.0);
        for (i, &s) in pcm.samples.iter().enumerate() {
            let angle = std::f64::consts::TAU * frequency * i as f64 / f64::from(pcm.rate);
            re += f64::from(s) * angle.cos();
            im += f64::from(s) * angle.sin();
        }
        2.0 * re.hypot(im) / pcm.samples.len() as f64
    }

    #[test]
    fn every_format_gives_the_same_tone_at_both_rates() {
        let files = ["tone_8k.wav", "tone_44k.wav", "tone_8bit.wav", "tone_24bit.wav", "tone_ulaw.wav"];
        for name in files.into_iter().chain(["tone.mp3", "tone.flac", "tone.ogg"]) {
            for rate in [8000, 16_000] {
                let pcm = load(&fixture(name), rate, AudioLimits::default()).unwrap();
                assert_eq!(pcm.rate, rate);
                // The MP3 encoder pads both ends; everything else lasts exactly a second.
                let spare = if name == "tone.mp3" { 0.08 } else { 0.001 };
                let seconds = pcm.duration().as_secs_f64();
                assert!((seconds - 1.0).abs() <= spare, "{name} {rate}: {seconds} s");
                // -12 dBFS: amplitude 8231, of a sine of 1000 Hz and of nothing else; away from the ends.
                let middle = pcm.samples[rate as usize / 10..rate as usize * 9 / 10].to_vec();
                let pcm = Pcm::new(rate, middle);
                let tone = amplitude(&pcm, 1000.0);
                // LAME scales by 0.95 on its own account.
                let wanted = if name == "tone.mp3" { 8231.0 * 0.95 } else { 8231.0 };
                assert!((tone / wanted - 1.0).abs() < 0.02, "{name} {rate}: {tone}");
                assert!(
                    (pcm.rms() * 2_f64.sqrt() / wanted - 1.0).abs() < 0.02,
                    "{name} {rate}: {}",
                    pcm.rms()
                );
                assert!(amplitude(&pcm, 2000.0) < 50.0, "{name} {rate}");
            }
        }
    }

    #[test]
    fn channels_are_mixed_or_taken_alone() {
        let path = fixture("stereo_16k.wav");
        let both = load(&path, 8000, AudioLimits::default()).unwrap();
        assert!((amplitude(&both, 500.0) - amplitude(&both, 1500.0)).abs() < 200.0);
        assert!((amplitude(&both, 500.0) - 4115.0).abs() < 300.0, "{}", amplitude(&both, 500.0));
        for (channel, here, absent) in [(0, 500.0, 1500.0), (1, 1500.0, 500.0)] {
            let one = load_channel(&path, channel, 16_000, AudioLimits::default()).unwrap();
            assert!((amplitude(&one, here) - 8231.0).abs() < 300.0, "{channel}");
            assert!(amplitude(&one, absent) < 20.0, "{channel}");
        }
        let error = load_channel(&path, 2, 8000, AudioLimits::default()).unwrap_err();
        assert!(matches!(error, AudioFileError::NoSuchChannel { channel: 2, channels: 2, .. }), "{error}");
    }

    #[test]
    fn what_lies_above_the_telephone_band_does_not_fold_back() {
        // 1500 Hz at a target rate of 2000 Hz is above the Nyquist frequency; naive decimation would show it at 500 Hz.
        let pcm = load_channel(&fixture("stereo_16k.wav"), 1, 2000, AudioLimits::default()).unwrap();
        assert!(pcm.rms() < 150.0, "{}", pcm.rms());
    }

    #[test]
    fn unusable_files_say_which_and_why() {
        let check = |name: &str, limits, wanted: &str| {
            let message = load(&fixture(name), 8000, limits).unwrap_err().to_string();
            assert!(message.contains(name) && message.contains(wanted), "{name}: {message}");
        };
        let usual = AudioLimits::default();
        check("text.wav", usual, "not a sound file");
        check("truncated.wav", usual, "truncated");
        check("truncated.flac", usual, "truncated");
        check("empty.wav", usual, "contains no sound");
        check("absent.wav", usual, "check that it exists");
        check(
            "tone.ogg",
            AudioLimits { max_duration: Duration::from_millis(900), ..usual },
            "limit of 0.9 s",
        );
        check("tone.flac", AudioLimits { max_bytes: 1000, ..usual }, "limit of 1000");
        assert!(matches!(load(&fixture(""), 8000, usual), Err(AudioFileError::NotAudio { .. })));
    }

    #[test]
    fn a_wav_written_to_a_pipe_is_read_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("piped.wav");
        let whole = std::fs::read(fixture("tone_8k.wav")).unwrap();
        let expected = load(&fixture("tone_8k.wav"), 8000, AudioLimits::default()).unwrap();
        for size in [0, 0x7fff_f000, 0xffff_ffff_u32] {
            let mut bytes = whole.clone();
            bytes[4..8].copy_from_slice(&size.to_le_bytes());
            bytes[40..44].copy_from_slice(&size.to_le_bytes());
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(load(&path, 8000, AudioLimits::default()).unwrap(), expected, "{size:#x}");
            std::fs::write(&path, &bytes[..44]).unwrap();
            let nothing = load(&path, 8000, AudioLimits::default());
            assert!(matches!(nothing, Err(AudioFileError::Empty { .. })), "{size:#x}: {nothing:?}");
            std::fs::write(&path, &bytes[..20]).unwrap();
            assert!(load(&path, 8000, AudioLimits::default()).is_err());
        }
    }

    #[test]
    fn damaged_bytes_never_panic() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("damaged");
        for name in ["tone_8k.wav", "tone.mp3", "tone.flac", "tone.ogg"] {
            let whole = std::fs::read(fixture(name)).unwrap();
            for step in 0..40_usize {
                let mut bytes = whole.clone();
                let at = (step * 37) % bytes.len().min(1500);
                bytes[at] ^= 0xff;
                bytes.truncate(whole.len() - step * 50);
                std::fs::write(&path, &bytes).unwrap();
                if let Ok(pcm) = load(&path, 8000, AudioLimits::default()) {
                    assert!(pcm.duration() <= AudioLimits::default().max_duration);
                }
            }
        }
    }
}
