//! The queue of clips to play, without a gap between them.

use std::collections::VecDeque;
use std::sync::Arc;

use thiserror::Error;

use super::StreamEvent;
use super::events::Events;
use crate::audio::FRAME;

/// Clips that may wait.
const MAX_CLIPS: usize = 256;

/// A clip that cannot be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PlayError {
    /// Too many clips wait already.
    #[error("more than {MAX_CLIPS} clips wait to be played")]
    TooMany,
}

#[derive(Debug, Default)]
pub(super) struct Player {
    clips: VecDeque<Clip>,
}

#[derive(Debug)]
struct Clip {
    id: u64,
    samples: Arc<[i16]>,
    played: usize,
}

impl Player {
    pub fn play(&mut self, id: u64, samples: Arc<[i16]>) -> Result<(), PlayError> {
        if self.clips.len() >= MAX_CLIPS {
            return Err(PlayError::TooMany);
        }
        self.clips.push_back(Clip { id, samples, played: 0 });
        Ok(())
    }

    pub fn stop(&mut self) {
        self.clips.clear();
    }

    /// Fills the next frame, the end of the last clip padded with silence; `false` when there is nothing to play.
    /// A clip whose last sample is in the frame is done.
    pub fn fill(&mut self, frame: &mut [i16; FRAME], events: &mut Events) -> bool {
        let mut filled = 0;
        while let Some(clip) = self.clips.front_mut() {
            let left = clip.samples.get(clip.played..).unwrap_or_default();
            let count = left.len().min(FRAME - filled);
            frame[filled..filled + count].copy_from_slice(&left[..count]);
            filled += count;
            clip.played += count;
            if clip.played < clip.samples.len() {
                break;
            }
            events.must(StreamEvent::PlayDone { id: clip.id });
            self.clips.pop_front();
            if filled == FRAME {
                break;
            }
        }
        frame[filled..].fill(0);
        filled > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clips_follow_each_other_within_a_frame() {
        let mut player = Player::default();
        let mut events = Events::default();
        player.play(1, Arc::from(vec![1; 200])).unwrap();
        player.play(2, Arc::from(vec![])).unwrap();
        player.play(3, Arc::from(vec![3; 100])).unwrap();
        let mut frame = [9; FRAME];
        assert!(player.fill(&mut frame, &mut events));
        assert_eq!(frame, [1; FRAME]);
        assert_eq!(events.pop(), None);
        assert!(player.fill(&mut frame, &mut events));
        assert_eq!(frame[..40], [1; 40]);
        assert_eq!(frame[40..140], [3; 100]);
        assert_eq!(frame[140..], [0; 20]);
        for id in 1..=3 {
            assert_eq!(events.pop(), Some(StreamEvent::PlayDone { id }));
        }
        assert!(!player.fill(&mut frame, &mut events));
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut player = Player::default();
        for id in 0..MAX_CLIPS as u64 {
            player.play(id, Arc::from(vec![0])).unwrap();
        }
        assert_eq!(player.play(0, Arc::from(vec![0])), Err(PlayError::TooMany));
        player.stop();
        assert!(!player.fill(&mut [0; FRAME], &mut Events::default()));
    }
}
