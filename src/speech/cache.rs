//! What was rendered once is not rendered again: a folder of WAV files by content hash, and the most used ones in memory.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use ring::digest::{SHA256, digest};
use tokio::sync::{OnceCell, Semaphore};

use super::file::{self, AudioFileError};
use super::voice::{self, SpeechError, Voice, Voices};
use crate::audio::{Pcm, RATE};

/// Changes when the same text would be rendered differently.
const VERSION: u32 = 1;

/// How many samples are kept in memory: 64 MB, over an hour of prompts.
const MEMORY: usize = 32 << 20;

/// Renders at once.
const RENDERS: usize = 2;

/// Why a prompt cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// A text was not spoken.
    #[error(transparent)]
    Speech(#[from] SpeechError),
    /// A file was not read.
    #[error(transparent)]
    File(#[from] AudioFileError),
}

type Cell = Arc<OnceCell<Arc<[i16]>>>;

/// The cache.
pub struct PromptCache {
    folder: PathBuf,
    voices: Mutex<Voices>,
    memory: Mutex<Memory>,
    renders: Semaphore,
}

#[derive(Default)]
struct Memory {
    cells: HashMap<String, Cell>,
    /// Oldest first.
    order: VecDeque<String>,
    samples: usize,
}

impl PromptCache {
    /// A cache in `folder`, which exists or can be made.
    pub fn new(folder: PathBuf, voices: Voices) -> Self {
        Self { folder, voices: Mutex::new(voices), memory: Mutex::default(), renders: Semaphore::new(RENDERS) }
    }

    /// Takes over other voices; what was rendered with the old ones stays for when they come back.
    pub fn set_voices(&self, voices: Voices) {
        *self.voices.lock().unwrap_or_else(PoisonError::into_inner) = voices;
    }

    /// `text` in the voice of `language`, 8 kHz. Callers who want the same at once share one rendering.
    ///
    /// # Errors
    /// The text could not be spoken.
    pub async fn text(&self, language: &str, text: &str) -> Result<Arc<[i16]>, PromptError> {
        let voice = self.voices.lock().unwrap_or_else(PoisonError::into_inner).get(language).cloned();
        let voice = voice.ok_or_else(|| SpeechError::NoVoice(language.to_owned()))?;
        let key = hash(&format!("{VERSION}\0{:?}\0{}\0{text}", voice.engine, voice.name));
        let cell = self.cell(&key);
        let samples = cell.get_or_try_init(|| self.read_or_render(&key, &voice, text)).await?;
        self.count(&key, samples.len());
        Ok(samples.clone())
    }

    /// The audio file at `path`, 8 kHz; read again when it has changed.
    ///
    /// # Errors
    /// The file is no audio.
    pub async fn file(&self, path: &Path) -> Result<Arc<[i16]>, PromptError> {
        let io_error = |source| AudioFileError::Io { path: path.to_owned(), source };
        let metadata = tokio::fs::metadata(path).await.map_err(io_error)?;
        let changed = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let key = hash(&format!("{}\0{changed:?}\0{}", path.display(), metadata.len()));
        let cell = self.cell(&key);
        let samples = cell.get_or_try_init(|| async {
            let path = path.to_owned();
            let loaded = tokio::task::spawn_blocking(move || file::load(&path, RATE)).await;
            let pcm = loaded.map_err(|error| io_error(io::Error::other(error)))??;
            Ok::<_, PromptError>(Arc::from(pcm.samples))
        });
        let samples = samples.await?;
        self.count(&key, samples.len());
        Ok(samples.clone())
    }

    async fn read_or_render(&self, key: &str, voice: &Voice, text: &str) -> Result<Arc<[i16]>, PromptError> {
        let path = self.folder.join(format!("{key}.wav"));
        if let Ok(pcm) = file::load(&path, RATE) {
            return Ok(pcm.samples.into());
        }
        // The semaphore is never closed; were it, rendering without a permit is right.
        let _permit = self.renders.acquire().await;
        tokio::fs::create_dir_all(&self.folder).await.map_err(SpeechError::Io)?;
        let pcm = voice::render(voice, text, &self.folder).await?;
        if let Err(error) = keep(&path, &pcm) {
            tracing::warn!(path = %path.display(), %error, "a rendered prompt is not kept; it is rendered again next time");
        }
        Ok(pcm.samples.into())
    }

    fn cell(&self, key: &str) -> Cell {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.cells.entry(key.to_owned()).or_default().clone()
    }

    /// Counts a cell's samples the first time and lets go of the oldest when there are too many.
    fn count(&self, key: &str, samples: usize) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.order.iter().rev().any(|known| known == key) {
            return;
        }
        memory.order.push_back(key.to_owned());
        memory.samples += samples;
        while memory.samples > MEMORY && memory.order.len() > 1 {
            let Some(oldest) = memory.order.pop_front() else { break };
            let freed = memory.cells.remove(&oldest).and_then(|cell| cell.get().map(|samples| samples.len()));
            memory.samples -= freed.unwrap_or(0).min(memory.samples);
        }
    }
}

/// Writes under a temporary name and renames, so that a crash leaves no half prompt.
fn keep(path: &Path, pcm: &Pcm) -> Result<(), hound::Error> {
    let temporary = path.with_extension("part");
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: pcm.rate,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(&temporary, spec)?;
    pcm.samples.iter().try_for_each(|sample| writer.write_sample(*sample))?;
    writer.finalize()?;
    std::fs::rename(&temporary, path)?;
    Ok(())
}

fn hash(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speech::voice::Engine;

    fn cache(folder: &Path) -> PromptCache {
        let voice = Voice { engine: Engine::EspeakNg, name: "en-us".to_owned() };
        PromptCache::new(folder.to_owned(), Voices::default().with("en", voice))
    }

    #[tokio::test]
    async fn the_second_time_comes_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let first = cache(folder.path()).text("en", "Hello.").await.unwrap();
        let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().path()).collect();
        assert_eq!(files.len(), 1);
        // What is in the file is what is played: an edit shows that nothing was rendered.
        keep(&files[0], &Pcm { rate: RATE, samples: vec![7; 800] }).unwrap();
        let second = cache(folder.path()).text("en", "Hello.").await.unwrap();
        assert_eq!((second.len(), second[0]), (800, 7));
        assert_ne!(first.len(), 800);
        // A damaged file is rendered again.
        std::fs::write(&files[0], b"RIFF").unwrap();
        assert_eq!(cache(folder.path()).text("en", "Hello.").await.unwrap(), first);
    }

    #[tokio::test]
    async fn the_same_text_at_once_is_rendered_once() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        let (a, b) = tokio::join!(cache.text("en", "One rendering."), cache.text("en", "One rendering."));
        assert!(Arc::ptr_eq(&a.unwrap(), &b.unwrap()));
    }

    #[tokio::test]
    async fn a_changed_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, cache) = (folder.path().join("prompt.wav"), cache(folder.path()));
        keep(&path, &Pcm { rate: RATE, samples: vec![1; 100] }).unwrap();
        assert_eq!(cache.file(&path).await.unwrap().len(), 100);
        keep(&path, &Pcm { rate: RATE, samples: vec![1; 200] }).unwrap();
        assert_eq!(cache.file(&path).await.unwrap().len(), 200);
    }
}
