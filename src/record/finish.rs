//! A journal into a stereo WAV file.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use hound::{SampleFormat, WavSpec, WavWriter};
use nix::fcntl::{Flock, FlockArg};

use super::journal::{Entry, Reader, hash_file};
use super::recorder::{free_bytes, sync};
use super::tap::LONGEST;
use super::{FinishedRecording, RecordError};
use crate::audio::RATE;
use crate::media::Side;

/// Samples of the timeline held back for frames that come out of order: 20 s.
const WINDOW: usize = 20 * RATE as usize;

/// Finishes the journal at `journal` into a WAV file beside it and removes the journal. Both may run again after a
/// crash at any point: the result is the same.
///
/// A journal that a recorder still writes is left alone ([`RecordError::Live`]).
pub fn finish(journal: &Path) -> Result<FinishedRecording, RecordError> {
    let error = || RecordError::io(journal);
    let file = File::open(journal).map_err(error())?;
    let length = file.metadata().map_err(error())?.len();
    let lock = match Flock::lock(file.try_clone().map_err(error())?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => return Err(RecordError::Live(journal.into())),
        Err((_, errno)) => return Err(error()(errno.into())),
    };
    let reader = Reader::open(file).map_err(error())?;
    let mut reader = reader.ok_or_else(|| RecordError::NotAJournal(journal.into()))?;
    let directory = journal.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    let path = journal.with_extension("wav");
    let partial = journal.with_extension("wav.partial");
    let written = write_wav(&mut reader, &partial).map_err(|failure| {
        // Half a file would only take the space that the next try needs; `failure` is the error to report.
        let half = fs::metadata(&partial).map_or(0, |half| half.len());
        let _ = fs::remove_file(&partial);
        // A byte of the journal is a sample of one side; in the file it takes two, and two more for the other's silence.
        refused(directory, &partial, half.max(length.saturating_mul(4)), failure)
    })?;
    let bytes = written.file.metadata().map_err(RecordError::io(&partial))?.len();
    fs::rename(&partial, &path).map_err(RecordError::io(&path))?;
    sync(directory).map_err(RecordError::io(directory))?;
    fs::remove_file(journal).map_err(error())?;
    drop(lock);
    Ok(FinishedRecording {
        torn_bytes: length.saturating_sub(reader.good()),
        spec: reader.spec,
        path,
        duration: Duration::from_micros(written.samples * 125),
        bytes,
        channels: 2,
        gaps: written.gaps,
        sha256: written.sha256,
    })
}

/// Why the WAV file cannot be written: a full disk by its name, so that the admin reads what to do about it.
pub(super) fn refused(directory: &Path, partial: &Path, needed: u64, failure: io::Error) -> RecordError {
    match (failure.kind(), free_bytes(directory)) {
        (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded, Ok(free)) => {
            RecordError::NoSpace { free, needed, path: directory.into() }
        }
        _ => RecordError::io(partial)(failure),
    }
}

/// What the store keeps of a finished file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// How long it lasts.
    pub duration: Duration,
    /// The file's size.
    pub bytes: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

/// Measures a file that [`finish`] made at some other time.
pub fn measure(path: &Path) -> Result<Measured, RecordError> {
    let error = || RecordError::io(path);
    let reader = hound::WavReader::open(path).map_err(|failure| error()(io_error(failure)))?;
    let duration = Duration::from_micros(u64::from(reader.duration()) * 125);
    let mut file = File::open(path).map_err(error())?;
    let bytes = file.metadata().map_err(error())?.len();
    Ok(Measured { duration, bytes, sha256: hash_file(&mut file).map_err(error())? })
}

struct Written {
    file: File,
    samples: u64,
    gaps: u64,
    sha256: String,
}

fn write_wav(reader: &mut Reader, partial: &Path) -> io::Result<Written> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(partial)?;
    let spec =
        WavSpec { channels: 2, sample_rate: RATE, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let writer = WavWriter::new(BufWriter::new(file.try_clone()?), spec).map_err(io_error)?;
    let mut timeline = Timeline { writer, base: 0, window: VecDeque::new() };
    let (mut gaps, mut result) = (0, Ok(()));
    let mut entry = |entry: Entry<'_>| match entry {
        Entry::Lost(frames) => gaps += frames,
        Entry::Audio { side, codec, position, payload } => {
            for (offset, byte) in payload.iter().enumerate() {
                let put = timeline.put(position.saturating_add(offset as u64), side, codec.decode(*byte));
                if put.is_err() {
                    result = put;
                    return;
                }
            }
        }
    };
    while reader.block(&mut entry)? {}
    result?;
    let samples = timeline.finish()?;
    file.sync_all()?;
    io::Seek::rewind(&mut file)?;
    let sha256 = hash_file(&mut file)?;
    Ok(Written { file, samples, gaps, sha256 })
}

/// Both channels' samples from `base` on, those before it written already.
struct Timeline {
    writer: WavWriter<BufWriter<File>>,
    base: u64,
    window: VecDeque<[i16; 2]>,
}

impl Timeline {
    /// Puts one sample where it belongs. What is later than the window allows, or beyond a day, has no place.
    fn put(&mut self, position: u64, side: Side, sample: i16) -> io::Result<()> {
        if position < self.base || position > LONGEST {
            return Ok(());
        }
        while position - self.base >= self.window.len() as u64 {
            if self.window.len() == WINDOW {
                self.write_first()?;
            } else {
                self.window.push_back([0; 2]);
            }
        }
        let offset = (position - self.base) as usize;
        if let Some(pair) = self.window.get_mut(offset) {
            pair[usize::from(side == Side::Sent)] = sample;
        }
        Ok(())
    }

    fn write_first(&mut self) -> io::Result<()> {
        let pair = self.window.pop_front().unwrap_or_default();
        self.base += 1;
        pair.into_iter().try_for_each(|sample| self.writer.write_sample(sample)).map_err(io_error)
    }

    fn finish(mut self) -> io::Result<u64> {
        while !self.window.is_empty() {
            self.write_first()?;
        }
        self.writer.finalize().map_err(io_error)?;
        Ok(self.base)
    }
}

fn io_error(error: hound::Error) -> io::Error {
    match error {
        hound::Error::IoError(error) => error,
        other => io::Error::other(other),
    }
}
