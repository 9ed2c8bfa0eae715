//! Audio at 8 kHz: G.711, tones, levels and voice activity. Core: samples in, samples or findings out.

pub mod g711;
pub mod level;
pub mod pcm;
pub mod tones;
pub mod vad;

pub use g711::Codec;
pub use pcm::Pcm;

/// The rate of everything on a telephone leg, in samples a second.
pub const RATE: u32 = 8000;
/// The samples of one 20 ms frame at [`RATE`].
pub const FRAME: usize = 160;
