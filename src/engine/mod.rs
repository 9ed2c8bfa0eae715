//! (to be written)
pub mod media;
