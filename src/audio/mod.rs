//! (to be written)
pub mod pcm;
pub use pcm::Pcm;
