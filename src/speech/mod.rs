//! Speech for prompts: text through an offline voice, audio files through symphonia, both at 8 kHz and cached.
//!
//! | file | what it is |
//! |---|---|
//! | [`file`] | WAV, MP3, FLAC and Ogg files to samples at the wanted rate |
//! | [`voice`] | text to speech by festival, flite or espeak-ng, as child processes with bounds |
//! | [`cache`] | what was rendered once is not rendered again |

pub mod cache;
pub mod file;
pub mod voice;

pub use cache::PromptCache;
pub use file::{AudioFileError, load, load_channel};
pub use voice::{Engine, SpeechError, Voice, Voices};
