//! Keeps what was said: rendered texts on disk under the hash of what made them, and recent sounds in memory.
//!
//! The same text asked for many times at once is rendered once, and at most two synthesisers run at a time, so a batch
//! of calls cannot take the processor from the calls that are up.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::{OnceCell, Semaphore};

use super::file::{self, AudioFileError, AudioLimits};
use super::render::{RATE, RenderLimits, SpeechError, Synthesiser};
use super::voice::{Engine, Voice, Voices};
use crate::audio::Pcm;

/// Part of every hash: raise it when rendering changes what a text sounds like.
const VERSION: &str = "1";
/// Synthesisers that run at the same time.
const RENDERS: usize = 2;
/// Files on disk are counted again after this many were written.
const SWEEP_EVERY: u64 = 64;

/// Bounds on a [`PromptCache`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// Samples kept in memory over all sounds, at 2 bytes each. A sound larger than this is not kept.
    pub memory_samples: usize,
    /// Bytes of rendered files on disk; the least recently used go first.
    pub disk_bytes: u64,
    /// Bounds on one rendering.
    pub render: RenderLimits,
    /// Bounds on one prompt file.
    pub audio: AudioLimits,
}

impl Default for CacheLimits {
    /// 32 MiB in memory (half an hour of speech), 512 MiB on disk.
    fn default() -> Self {
        Self {
            memory_samples: 16 << 20,
            disk_bytes: 512 << 20,
            render: RenderLimits::default(),
            audio: AudioLimits::default(),
        }
    }
}

/// Sounds for calls, at 8 kHz. Share it in an [`Arc`].
#[derive(Debug)]
pub struct PromptCache {
    dir: PathBuf,
    voices: Voices,
    synthesiser: Synthesiser,
    limits: CacheLimits,
    memory: Mutex<Memory>,
    flights: Mutex<HashMap<Key, Flight>>,
    permits: Semaphore,
    renders: AtomicU64,
    written: AtomicU64,
}

type Sound = Arc<[i16]>;

/// Work that several callers wait for.
#[derive(Debug, Default)]
struct Flight {
    result: Arc<OnceCell<Result<Sound, SpeechError>>>,
    passengers: usize,
}

impl PromptCache {
    /// Opens the cache in `dir`, which is created for this user alone (rendered texts may hold names).
    ///
    /// # Errors
    /// [`SpeechError::Io`] when the directory cannot be created or read.
    pub fn new(dir: impl Into<PathBuf>, voices: Voices) -> Result<Self, SpeechError> {
        Self::with(dir, voices, Synthesiser::default(), CacheLimits::default())
    }

    /// As [`PromptCache::new`], with programs and bounds of the caller's choice.
    ///
    /// # Errors
    /// As [`PromptCache::new`].
    pub fn with(
        dir: impl Into<PathBuf>,
        voices: Voices,
        synthesiser: Synthesiser,
        limits: CacheLimits,
    ) -> Result<Self, SpeechError> {
        let dir = dir.into();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(SpeechError::io("create the prompt cache's directory"))?;
        sweep(&dir, limits.disk_bytes).map_err(SpeechError::io("read the prompt cache's directory"))?;
        Ok(Self {
            dir,
            voices,
            synthesiser,
            limits,
            memory: Mutex::default(),
            flights: Mutex::default(),
            permits: Semaphore::new(RENDERS),
            renders: AtomicU64::new(0),
            written: AtomicU64::new(0),
        })
    }

    /// `text` spoken in `language`, from memory, from disk, or rendered now.
    ///
    /// # Errors
    /// [`SpeechError`] of the rendering; it is not remembered, so the next call tries again.
    pub async fn text(&self, language: &str, text: &str) -> Result<Arc<[i16]>, SpeechError> {
        let voice = self.voices.voice_for(language);
        match self.spoken(&voice, text).await {
            // A name in another script: eSpeak NG reads any, in the same language. A stranger's voice for one sentence
            // beats a customer who is never called.
            Err(SpeechError::Unspeakable { engine, .. }) if engine != Engine::EspeakNg => {
                let primary = language.split(['-', '_']).next().unwrap_or(language);
                tracing::warn!(engine = engine.as_str(), language, "the voice cannot read this script; espeak-ng speaks");
                self.spoken(&Voice::new(Engine::EspeakNg, primary), text).await
            }
            spoken => spoken,
        }
    }

    async fn spoken(&self, voice: &Voice, text: &str) -> Result<Sound, SpeechError> {
        let hash = hash(voice, text);
        let key = Key::Text(hash.clone());
        if let Some(sound) = lock(&self.memory).get(&key, None) {
            return Ok(sound);
        }
        self.once(key.clone(), async {
            // A flight that landed between the look above and this one has left its sound.
            if let Some(sound) = lock(&self.memory).get(&key, None) {
                return Ok(sound);
            }
            let sound = self.read_or_render(voice, text, self.dir.join(format!("{hash}.wav"))).await?;
            lock(&self.memory).put(key.clone(), None, &sound, self.limits.memory_samples);
            Ok(sound)
        })
        .await
    }

    /// The sound file at `path`, read again when its time of change or its size differs.
    ///
    /// # Errors
    /// [`SpeechError::Sound`], naming the file.
    pub async fn file(&self, path: &Path) -> Result<Arc<[i16]>, SpeechError> {
        let stamp = stamp(path).await?;
        let key = Key::File(path.to_owned(), stamp);
        let name = Key::File(path.to_owned(), Stamp::default());
        if let Some(sound) = lock(&self.memory).get(&name, Some(stamp)) {
            return Ok(sound);
        }
        self.once(key, async {
            if let Some(sound) = lock(&self.memory).get(&name, Some(stamp)) {
                return Ok(sound);
            }
            let (path, limits) = (path.to_owned(), self.limits.audio);
            let pcm = blocking(move || file::load(&path, RATE, limits)).await??;
            let sound: Sound = pcm.samples.into();
            lock(&self.memory).put(name.clone(), Some(stamp), &sound, self.limits.memory_samples);
            Ok(sound)
        })
        .await
    }

    /// How many times a synthesiser was run for this cache.
    pub fn renders(&self) -> u64 {
        self.renders.load(Ordering::Relaxed)
    }

    /// Runs `work` unless the same key is being worked on already: then waits for that. Should the caller that does
    /// the work be dropped, one of those waiting takes it over.
    async fn once(
        &self,
        key: Key,
        work: impl Future<Output = Result<Sound, SpeechError>>,
    ) -> Result<Sound, SpeechError> {
        let result = {
            let mut flights = lock(&self.flights);
            let flight = flights.entry(key.clone()).or_default();
            flight.passengers += 1;
            flight.result.clone()
        };
        let _seat = Seat { flights: &self.flights, key };
        result.get_or_init(|| work).await.clone()
    }

    async fn read_or_render(&self, voice: &Voice, text: &str, path: PathBuf) -> Result<Sound, SpeechError> {
        let from = path.clone();
        match blocking(move || read(&from)).await? {
            Ok(Some(samples)) => return Ok(samples.into()),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a cached prompt is damaged; rendering it again");
            }
        }
        let permit = self
            .permits
            .acquire()
            .await
            .map_err(|e| SpeechError::io("wait for a synthesiser")(io::Error::other(e)))?;
        self.renders.fetch_add(1, Ordering::Relaxed);
        let pcm = self.synthesiser.render(voice, text, self.limits.render).await?;
        drop(permit);
        let sweeping = self.written.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1;
        let (dir, disk_bytes) = (self.dir.clone(), self.limits.disk_bytes);
        let (samples, kept) = blocking(move || {
            let kept = write(&dir, &path, &pcm);
            let swept = if sweeping { sweep(&dir, disk_bytes) } else { Ok(()) };
            (pcm.samples, kept.and(swept))
        })
        .await?;
        if let Err(error) = kept {
            // The call can be made: only the next one pays again.
            tracing::warn!(dir = %self.dir.display(), %error, "cannot keep a rendered prompt; check space and rights");
        }
        Ok(samples.into())
    }
}

/// What identifies a sound.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    /// Hash of voice and text.
    Text(String),
    /// A file, and for one being read the state it is read in.
    File(PathBuf, Stamp),
}

/// When a file changed last and its size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Stamp {
    changed: Option<SystemTime>,
    bytes: u64,
}

async fn stamp(path: &Path) -> Result<Stamp, AudioFileError> {
    match tokio::fs::metadata(path).await {
        Ok(metadata) => Ok(Stamp { changed: metadata.modified().ok(), bytes: metadata.len() }),
        Err(e) => Err(AudioFileError::Read { path: path.to_owned(), source: Arc::new(e) }),
    }
}

/// A place in a flight, given up also when its future is dropped; the last one out removes the flight.
struct Seat<'a> {
    flights: &'a Mutex<HashMap<Key, Flight>>,
    key: Key,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut flights = lock(self.flights);
        if let Some(flight) = flights.get_mut(&self.key) {
            flight.passengers -= 1;
            if flight.passengers == 0 {
                flights.remove(&self.key);
            }
        }
    }
}

/// Recently used sounds.
#[derive(Debug, Default)]
struct Memory {
    sounds: HashMap<Key, Kept>,
    samples: usize,
    clock: u64,
}

#[derive(Debug)]
struct Kept {
    sound: Sound,
    stamp: Option<Stamp>,
    used: u64,
}

impl Memory {
    /// The sound for `key`, unless it was made from another state of its file.
    fn get(&mut self, key: &Key, stamp: Option<Stamp>) -> Option<Sound> {
        self.clock += 1;
        let kept = self.sounds.get_mut(key).filter(|kept| kept.stamp == stamp)?;
        kept.used = self.clock;
        Some(kept.sound.clone())
    }

    /// Keeps a sound, and drops those used longest ago until all fit into `limit` samples.
    fn put(&mut self, key: Key, stamp: Option<Stamp>, sound: &Sound, limit: usize) {
        self.remove(&key);
        if sound.len() > limit {
            return;
        }
        while self.samples + sound.len() > limit {
            let Some(oldest) = self.sounds.iter().min_by_key(|(_, kept)| kept.used).map(|(k, _)| k.clone())
            else {
                break;
            };
            self.remove(&oldest);
        }
        self.clock += 1;
        self.samples += sound.len();
        self.sounds.insert(key, Kept { sound: sound.clone(), stamp, used: self.clock });
    }

    fn remove(&mut self, key: &Key) {
        if let Some(kept) = self.sounds.remove(key) {
            self.samples -= kept.sound.len();
        }
    }
}

/// SHA-256, in hexadecimal, of all that decides the sound. Each part is preceded by its length, so that no two
/// sequences of parts read the same.
fn hash(voice: &Voice, text: &str) -> String {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in [VERSION, voice.engine.as_str(), &voice.name, text] {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part.as_bytes());
    }
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a file of the cache; `None` when there is none.
fn read(path: &Path) -> Result<Option<Vec<i16>>, hound::Error> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let reader = hound::WavReader::new(io::BufReader::new(&file))?;
    if reader.spec() != WAV || reader.duration() == 0 {
        return Err(hound::Error::FormatError("not written by this cache"));
    }
    let samples = reader.into_samples().collect::<Result<Vec<i16>, _>>()?;
    // Marks it as used, for the sweep.
    file.set_modified(SystemTime::now())?;
    Ok(Some(samples))
}

const WAV: hound::WavSpec = hound::WavSpec {
    channels: 1,
    sample_rate: RATE,
    bits_per_sample: 16,
    sample_format: hound::SampleFormat::Int,
};

const PARTIAL: &str = "partial-";

/// Writes beside the target and renames, so that a reader sees a whole file or none.
fn write(dir: &Path, path: &Path, pcm: &Pcm) -> io::Result<()> {
    let wav_error = |e| match e {
        hound::Error::IoError(e) => e,
        other => io::Error::other(other),
    };
    let mut partial = tempfile::Builder::new().prefix(PARTIAL).tempfile_in(dir)?;
    let mut writer =
        hound::WavWriter::new(io::BufWriter::new(partial.as_file_mut()), WAV).map_err(wav_error)?;
    for &sample in &pcm.samples {
        writer.write_sample(sample).map_err(wav_error)?;
    }
    writer.finalize().map_err(wav_error)?;
    partial.as_file().sync_all()?;
    partial.persist(path).map_err(|e| e.error)?;
    Ok(())
}

/// Removes the least recently used files until the rest fit into `limit` bytes, and what a crash left half written.
fn sweep(dir: &Path, limit: u64) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // A file may vanish meanwhile: another process may share the directory.
        let Ok(metadata) = entry.metadata() else { continue };
        let age = metadata.modified()?.elapsed().unwrap_or_default();
        if entry.file_name().to_string_lossy().starts_with(PARTIAL) && age.as_secs() > 3600 {
            fs::remove_file(entry.path())?;
        } else if entry.path().extension().is_some_and(|e| e == "wav") {
            files.push((metadata.modified()?, metadata.len(), entry.path()));
        }
    }
    let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
    files.sort();
    for (_, bytes, path) in files {
        if total <= limit {
            break;
        }
        fs::remove_file(path)?;
        total -= bytes;
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, SpeechError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| SpeechError::io("finish work on a prompt")(io::Error::other(e)))
}

/// None of the guarded values is left half changed by a panic, so poison is ignored.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speech::voice::Engine;

    /// eSpeak NG throughout: the quickest.
    fn voices() -> Voices {
        let mut voices = Voices::default();
        voices.set("en", Voice::new(Engine::EspeakNg, "en"));
        voices
    }

    fn files(dir: &Path) -> Vec<PathBuf> {
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect()
    }

    #[tokio::test]
    async fn a_hit_needs_no_synthesiser() {
        let dir = tempfile::tempdir().unwrap();
        let cache = PromptCache::new(dir.path(), voices()).unwrap();
        let sound = cache.text("en", "Your order is near.").await.unwrap();
        assert!(sound.len() > 4000);
        let again = cache.text("en", "Your order is near.").await.unwrap();
        assert!(Arc::ptr_eq(&sound, &again));
        assert_eq!((cache.renders(), files(dir.path()).len()), (1, 1));

        // Another process, on a machine that has lost its synthesisers.
        let nothing = tempfile::tempdir().unwrap();
        let missing = Synthesiser::in_directory(nothing.path());
        let later = PromptCache::with(dir.path(), voices(), missing, CacheLimits::default()).unwrap();
        assert_eq!(later.text("en", "Your order is near.").await.unwrap(), sound);
        assert_eq!(later.renders(), 0);
        let error = later.text("en", "Something else.").await.unwrap_err();
        assert!(matches!(error, SpeechError::ProgramMissing { .. }), "{error}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn concurrent_requests_render_once() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Arc::new(PromptCache::new(dir.path(), voices()).unwrap());
        let tasks: Vec<_> = (0..24)
            .map(|i| {
                let cache = cache.clone();
                tokio::spawn(
                    async move { cache.text("en", ["one parcel", "two parcels"][i % 2]).await.unwrap() },
                )
            })
            .collect();
        for task in tasks {
            assert!(!task.await.unwrap().is_empty());
        }
        assert_eq!(cache.renders(), 2);
        assert!(lock(&cache.flights).is_empty());
    }

    #[tokio::test]
    async fn a_dropped_request_hands_its_work_over() {
        let dir = tempfile::tempdir().unwrap();
        let cache = PromptCache::new(dir.path(), voices()).unwrap();
        {
            let mut first = std::pin::pin!(cache.text("en", "Hello there"));
            let poll =
                std::future::poll_fn(|cx| std::task::Poll::Ready(first.as_mut().poll(cx).is_pending()));
            assert!(poll.await, "it is under way");
            assert_eq!(lock(&cache.flights).len(), 1);
        }
        assert!(lock(&cache.flights).is_empty());
        assert!(!cache.text("en", "Hello there").await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn no_more_than_two_synthesisers_run() {
        let dir = tempfile::tempdir().unwrap();
        let cache = PromptCache::new(dir.path(), voices()).unwrap();
        let both = cache.permits.try_acquire_many(2).unwrap();
        assert!(cache.permits.try_acquire().is_err());
        let third = cache.text("en", "A third prompt.");
        let waited = tokio::time::timeout(std::time::Duration::from_millis(300), third).await;
        assert!(waited.is_err() && cache.renders() == 0);
        drop(both);
        assert!(!cache.text("en", "A third prompt.").await.unwrap().is_empty());
        assert_eq!(cache.permits.available_permits(), 2);
    }

    #[tokio::test]
    async fn a_prompt_that_cannot_be_kept_is_still_said() {
        let dir = tempfile::tempdir().unwrap();
        let cache = PromptCache::new(dir.path().join("cache"), voices()).unwrap();
        fs::remove_dir(dir.path().join("cache")).unwrap();
        assert!(!cache.text("en", "The disk is gone.").await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn damaged_files_are_rendered_again() {
        let dir = tempfile::tempdir().unwrap();
        let open = || PromptCache::new(dir.path(), voices()).unwrap();
        let sound = open().text("en", "Please hold.").await.unwrap();
        let path = files(dir.path()).remove(0);
        let whole = fs::read(&path).unwrap();
        for damaged in [&whole[..whole.len() / 2], b"not a wav file".as_slice(), b"".as_slice()] {
            fs::write(&path, damaged).unwrap();
            let cache = open();
            assert_eq!(cache.text("en", "Please hold.").await.unwrap(), sound);
            assert_eq!(cache.renders(), 1);
            assert_eq!(fs::read(&path).unwrap(), whole);
        }
    }

    #[tokio::test]
    async fn a_changed_prompt_file_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/audio");
        let cache = PromptCache::new(dir.path().join("cache"), voices()).unwrap();
        let path = dir.path().join("welcome.wav");
        let error = cache.file(&path).await.unwrap_err();
        assert!(error.to_string().contains("welcome.wav"), "{error}");

        fs::copy(data.join("tone_8k.wav"), &path).unwrap();
        let first = cache.file(&path).await.unwrap();
        assert!(Arc::ptr_eq(&first, &cache.file(&path).await.unwrap()));
        fs::copy(data.join("stereo_16k.wav"), &path).unwrap();
        let second = cache.file(&path).await.unwrap();
        assert_eq!((first.len(), second.len()), (8000, 8000));
        assert_ne!(first, second);
        assert_eq!(lock(&cache.memory).sounds.len(), 1, "the old state is not kept");
    }

    #[test]
    fn memory_drops_what_was_used_longest_ago() {
        let mut memory = Memory::default();
        let key = |name: &str| Key::Text(name.to_owned());
        let sound: Sound = vec![1; 40].into();
        for name in ["a", "b"] {
            memory.put(key(name), None, &sound, 100);
        }
        assert!(memory.get(&key("a"), None).is_some());
        memory.put(key("c"), None, &sound, 100);
        assert!(memory.get(&key("b"), None).is_none());
        assert!(memory.get(&key("a"), None).is_some() && memory.get(&key("c"), None).is_some());
        memory.put(key("huge"), None, &vec![1; 101].into(), 100);
        assert!(memory.get(&key("huge"), None).is_none());
        assert_eq!(memory.samples, 80);
    }

    #[test]
    fn the_sweep_keeps_the_newest_files() {
        let dir = tempfile::tempdir().unwrap();
        for (i, name) in ["new.wav", "old.wav", "mid.wav", "partial-x", "other.txt"].into_iter().enumerate() {
            fs::write(dir.path().join(name), [0; 100]).unwrap();
            let age = [0, 9000, 5000, 7200, 9000][i];
            let file = fs::File::options().write(true).open(dir.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - std::time::Duration::from_secs(age)).unwrap();
        }
        sweep(dir.path(), 250).unwrap();
        let mut names: Vec<_> =
            files(dir.path()).into_iter().map(|p| p.file_name().unwrap().to_owned()).collect();
        names.sort();
        assert_eq!(names, ["mid.wav", "new.wav", "other.txt"]);
    }

    #[test]
    fn hashes_depend_on_every_part() {
        let base = hash(&Voice::new(Engine::Flite, "slt"), "hello");
        assert_eq!(base.len(), 64);
        for (engine, name, text) in [
            (Engine::Festival, "slt", "hello"),
            (Engine::Flite, "sl", "thello"),
            (Engine::Flite, "slt", "hell"),
        ] {
            assert_ne!(hash(&Voice::new(engine, name), text), base);
        }
    }
}
