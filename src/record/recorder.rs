//! The recorder thread: all recordings' rings into their journals.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use rtrb::{Consumer, RingBuffer};
use tokio::sync::oneshot;

use super::journal::Encoder;
use super::tap::{Frame, RING, Shared, Tap};
use super::{RecordError, RecordingSpec};

/// How often the rings are emptied into the journals.
const WRITE_EVERY: Duration = Duration::from_millis(250);
/// How often the journals are synced.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// With more journals than this to sync, the file system is synced at once instead of each file.
const SYNC_EACH: usize = 16;
/// Recordings that may wait to be taken over.
const BEGINNINGS: usize = 1024;

/// Where recordings go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecorderConfig {
    /// The directory; made when it is not there.
    pub directory: PathBuf,
    /// A recording begins only with this many bytes free; [`Recorder::set_min_free`] changes it.
    pub min_free_bytes: u64,
}

/// The recorder thread. Dropping it lets the thread end when its last recording has ended.
pub struct Recorder {
    directory: PathBuf,
    min_free_bytes: AtomicU64,
    beginnings: SyncSender<Live>,
}

/// The call task's end of a recording.
pub struct Handle {
    journal: PathBuf,
    shared: Arc<Shared>,
    closed: oneshot::Receiver<()>,
}

impl Recorder {
    /// Makes the directory and starts the thread.
    pub fn start(config: RecorderConfig) -> Result<Self, RecordError> {
        fs::create_dir_all(&config.directory).map_err(RecordError::io(&config.directory))?;
        let (beginnings, incoming) = sync_channel(BEGINNINGS);
        let run = move || Writer { incoming, live: Vec::new(), synced: Instant::now() }.run();
        let builder = thread::Builder::new().name("recorder".into());
        builder.spawn(run).map_err(RecordError::io(&config.directory))?;
        let min_free_bytes = AtomicU64::new(config.min_free_bytes);
        Ok(Self { directory: config.directory, min_free_bytes, beginnings })
    }

    /// Begins a recording: its journal exists, synced, when this returns. Blocks for the time of that sync.
    ///
    /// Refuses with [`RecordError::NoSpace`] when the disk is nearly full.
    pub fn begin(&self, spec: &RecordingSpec) -> Result<(Tap, Handle), RecordError> {
        let directory = &self.directory;
        self.check_space()?;
        let journal = directory.join(format!("{}.journal", spec.id));
        let error = || RecordError::io(&journal);
        let (encoder, header) = Encoder::new(spec).map_err(|json| error()(json.into()))?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&journal);
        let file = Flock::lock(file.map_err(error())?, FlockArg::LockExclusiveNonblock);
        let mut file = file.map_err(|(_, errno)| error()(errno.into()))?;
        let started = file.write_all(&header).and_then(|()| file.sync_all()).and_then(|()| sync(directory));
        if let Err(failure) = started {
            // What could not be begun is not left behind as half a header; the first error is the one to report.
            let _ = fs::remove_file(&journal);
            return Err(error()(failure));
        }
        let (frames, ring) = RingBuffer::new(RING);
        let shared = Arc::new(Shared::default());
        shared.bytes.store(header.len() as u64, Relaxed);
        let (done, closed) = oneshot::channel();
        let handle = Handle { journal: journal.clone(), shared: shared.clone(), closed };
        let live = Live {
            file,
            journal,
            ring,
            shared: shared.clone(),
            encoder,
            good: header.len() as u64,
            noted: 0,
            dirty: false,
            failed: false,
            done,
        };
        self.beginnings.try_send(live).map_err(|_| RecordError::Stopped)?;
        Ok((Tap { frames, shared }, handle))
    }
}

impl Recorder {
    /// Where recordings are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// From now on a recording begins only with this many bytes free.
    pub fn set_min_free(&self, bytes: u64) {
        self.min_free_bytes.store(bytes, Relaxed);
    }

    /// Whether a recording may begin.
    ///
    /// # Errors
    /// [`RecordError::NoSpace`].
    pub fn check_space(&self) -> Result<(), RecordError> {
        check_space(&self.directory, self.min_free_bytes.load(Relaxed))
    }
}

impl Handle {
    /// The journal's path, for [`super::finish`].
    pub fn journal(&self) -> &Path {
        &self.journal
    }

    /// How far the recording is: the offset in the finished file of what is said now, to 20 ms.
    pub fn position(&self) -> Duration {
        Duration::from_micros(self.shared.clock.load(Relaxed) * 125)
    }

    /// Frames (20 ms of one side) lost so far to a slow or full disk.
    pub fn gaps(&self) -> u64 {
        lost(&self.shared)
    }

    /// Bytes in the journal.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Relaxed)
    }

    /// Waits until the tap has been dropped and the journal is complete, synced and free to be finished.
    pub async fn closed(self) -> Ended {
        // An error means that the recorder thread is gone, and its locks with it: just as free.
        let _ = self.closed.await;
        Ended { gaps: lost(&self.shared), journal: self.journal }
    }

    /// [`Handle::closed`] for a thread that may block; panics within an async runtime.
    pub fn wait_closed(self) -> Ended {
        let _ = self.closed.blocking_recv(); // see `closed`
        Ended { gaps: lost(&self.shared), journal: self.journal }
    }
}

/// A recording whose journal waits to be finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// For [`super::finish`].
    pub journal: PathBuf,
    /// All frames lost, those included that came too late for the journal to note them.
    pub gaps: u64,
}

fn lost(shared: &Shared) -> u64 {
    shared.overrun.load(Relaxed) + shared.unwritten.load(Relaxed)
}

/// Bytes of the directory's file system that are free to us.
pub(super) fn free_bytes(directory: &Path) -> Result<u64, RecordError> {
    let statistics = nix::sys::statvfs::statvfs(directory)
        .map_err(|errno| RecordError::Io { path: directory.into(), source: errno.into() })?;
    Ok(statistics.blocks_available().saturating_mul(statistics.fragment_size()))
}

fn check_space(directory: &Path, needed: u64) -> Result<(), RecordError> {
    let free = free_bytes(directory)?;
    if free < needed {
        return Err(RecordError::NoSpace { free, needed, path: directory.into() });
    }
    Ok(())
}

/// Makes a directory's entries durable.
pub(super) fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

struct Writer {
    incoming: Receiver<Live>,
    live: Vec<Live>,
    synced: Instant,
}

struct Live {
    file: Flock<File>,
    journal: PathBuf,
    ring: Consumer<Frame>,
    shared: Arc<Shared>,
    encoder: Encoder,
    /// The journal's length up to its last whole block.
    good: u64,
    /// Lost frames that the journal knows of.
    noted: u64,
    dirty: bool,
    /// The last write failed; reported once.
    failed: bool,
    done: oneshot::Sender<()>,
}

impl Writer {
    fn run(mut self) {
        let mut open = true;
        while open || !self.live.is_empty() {
            open &= self.wait();
            let mut ended = Vec::new();
            for live in &mut self.live {
                // Asked before emptying the ring: frames pushed before the tap went are then in this block.
                let over = live.ring.is_abandoned();
                live.write();
                ended.push(over);
            }
            let any_ended = ended.iter().any(|over| *over);
            if any_ended || self.synced.elapsed() >= SYNC_EVERY {
                self.sync();
            }
            let mut over = ended.into_iter();
            for live in self.live.extract_if(.., |_| over.next() == Some(true)) {
                live.close();
            }
        }
    }

    /// Takes new recordings until it is time to write; `false` when no more can come.
    fn wait(&mut self) -> bool {
        if self.live.is_empty() {
            let Ok(live) = self.incoming.recv() else { return false };
            self.live.push(live);
        }
        let deadline = Instant::now() + WRITE_EVERY;
        loop {
            match self.incoming.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(live) => self.live.push(live),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => {
                    thread::sleep(deadline.saturating_duration_since(Instant::now()));
                    return false;
                }
            }
        }
    }

    fn sync(&mut self) {
        let dirty: Vec<&mut Live> = self.live.iter_mut().filter(|live| live.dirty).collect();
        if dirty.len() > SYNC_EACH
            && let Some(first) = dirty.first()
            && nix::unistd::syncfs(&*first.file).is_ok()
        {
            dirty.into_iter().for_each(|live| live.dirty = false);
        } else {
            dirty.into_iter().for_each(Live::sync);
        }
        self.synced = Instant::now();
    }
}

impl Live {
    /// Empties the ring into one block. A block that the disk does not take is cut off again and counted as lost.
    fn write(&mut self) {
        let mut frames = 0;
        while frames < RING as u64
            && let Ok(frame) = self.ring.pop()
        {
            self.encoder.frame(&frame);
            frames += 1;
        }
        let lost = lost(&self.shared);
        if lost > self.noted {
            self.encoder.lost(lost - self.noted);
        }
        let Some(block) = self.encoder.block() else { return };
        let length = block.len() as u64;
        match self.file.write_all(block) {
            Ok(()) => {
                self.encoder.written();
                self.good += length;
                self.noted = lost;
                self.dirty = true;
                self.failed = false;
                self.shared.bytes.store(self.good, Relaxed);
            }
            Err(error) => {
                self.encoder.unwritten();
                self.shared.unwritten.fetch_add(frames, Relaxed);
                self.cut_back(&error);
            }
        }
    }

    /// After a failed write: the journal ends again where its last whole block does.
    fn cut_back(&mut self, error: &io::Error) {
        let cut = self.file.set_len(self.good).and_then(|()| {
            let mut file: &File = &self.file;
            io::Seek::seek(&mut file, io::SeekFrom::Start(self.good))
        });
        if !std::mem::replace(&mut self.failed, true) {
            let journal = self.journal.display();
            tracing::error!(%journal, %error, cut = ?cut.err(), "a recording has a gap: its journal cannot be written");
        }
    }

    fn sync(&mut self) {
        self.dirty = false;
        if let Err(error) = self.file.sync_data()
            && !std::mem::replace(&mut self.failed, true)
        {
            tracing::error!(journal = %self.journal.display(), %error, "a recording's journal cannot be synced");
        }
    }

    /// Lets go of the lock before telling the waiter that the journal is free.
    fn close(self) {
        let Self { file, done, .. } = self;
        drop(file);
        // Nobody waits when the call task has gone; the journal is finished at the next start.
        let _ = done.send(());
    }
}
