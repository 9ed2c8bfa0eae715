//! A tap with the position at which its recording began.

use super::{Side, Tap};
use crate::audio::Codec;

pub(super) struct Recording {
    tap: Box<dyn Tap>,
    origin: u64,
}

impl Recording {
    pub fn new(tap: Box<dyn Tap>, origin: u64) -> Self {
        Self { tap, origin }
    }

    /// Passes one frame on; what lies before the recording's start is cut off.
    pub fn frame(&mut self, side: Side, position: u64, codec: Codec, payload: &[u8]) {
        let before = usize::try_from(self.origin.saturating_sub(position)).unwrap_or(usize::MAX);
        if let Some(rest) = payload.get(before..)
            && !rest.is_empty()
        {
            self.tap.frame(side, position.saturating_sub(self.origin), codec, rest);
        }
    }

    pub fn clock(&mut self, position: u64) {
        self.tap.clock(position.saturating_sub(self.origin));
    }
}
