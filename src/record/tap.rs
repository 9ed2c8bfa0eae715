//! The media thread's end of a recording.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rtrb::Producer;

use crate::audio::{Codec, FRAME, RATE};
use crate::media::Side;

/// Frames of both sides that may wait for the recorder: 2.5 s.
pub(super) const RING: usize = 256;

/// A recording ends after a day; what lies beyond, in samples, is dropped and counted.
pub(super) const LONGEST: u64 = 24 * 3600 * RATE as u64;

/// One side's 20 ms or less.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub side: Side,
    pub codec: Codec,
    pub length: u8,
    pub position: u64,
    pub payload: [u8; FRAME],
}

/// What tap, recorder and handle share.
#[derive(Default)]
pub(super) struct Shared {
    /// The recording's clock in 8 kHz samples.
    pub clock: AtomicU64,
    /// Frames that found the ring full, or lie beyond [`LONGEST`].
    pub overrun: AtomicU64,
    /// Frames that the disk did not take.
    pub unwritten: AtomicU64,
    /// Bytes in the journal.
    pub bytes: AtomicU64,
}

/// Takes a stream's audio into its recording; never waits. Dropping it ends the recording.
pub struct Tap {
    pub(super) frames: Producer<Frame>,
    pub(super) shared: Arc<Shared>,
}

impl crate::media::Tap for Tap {
    fn frame(&mut self, side: Side, position: u64, codec: Codec, payload: &[u8]) {
        let mut position = position;
        for piece in payload.chunks(FRAME) {
            let mut frame = Frame { side, codec, length: piece.len() as u8, position, payload: [0; FRAME] };
            frame.payload[..piece.len()].copy_from_slice(piece);
            position = position.saturating_add(piece.len() as u64);
            if position > LONGEST || self.frames.push(frame).is_err() {
                self.shared.overrun.fetch_add(1, Relaxed);
            }
        }
    }

    fn clock(&mut self, position: u64) {
        self.shared.clock.store(position, Relaxed);
    }
}
