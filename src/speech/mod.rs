//! What the engine says: recorded prompts read from files, and text spoken by a synthesiser on the same machine.
//!
//! [`file`] decodes WAV, MP3, FLAC and Ogg Vorbis. [`voice`] maps a language to a synthesiser and a voice;
//! [`render`] runs it as a child process. [`PromptCache`] keeps what was rendered, on disk and in memory, so that a
//! call never waits for a synthesiser that has already said the same words.

pub mod cache;
pub mod file;
pub mod render;
pub mod voice;

pub use cache::PromptCache;
pub use file::{AudioFileError, AudioLimits};
pub use render::{RenderLimits, SpeechError, Synthesiser, render};
pub use voice::{Engine, Voice, Voices};
