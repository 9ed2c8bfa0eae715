//! What a customer does after picking up, step by step: a machine without I/O.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::media::StreamEvent;

/// One step.
#[derive(Debug, Clone)]
pub enum Step {
    /// Do nothing for a while.
    Wait(Duration),
    /// Until the caller's beep has ended.
    WaitForBeep,
    /// Until the caller has talked and then been quiet for [`QUIET`].
    WaitForQuiet,
    /// Press keys.
    Press(String),
    /// Speak: 8 kHz samples.
    Say(Arc<[i16]>),
    /// Hang up.
    HangUp,
}

/// What the customer's leg or session must do.
#[derive(Debug, Clone)]
pub enum Act {
    /// Press keys.
    Press(String),
    /// Speak.
    Say(Arc<[i16]>),
    /// Hang up.
    HangUp,
}

/// Longer than the pauses between the sentences of a prompt.
pub const QUIET: Duration = Duration::from_millis(1500);

/// The frequency that the engine beeps at before it records.
pub const BEEP_HZ: f32 = crate::audio::tones::BEEP_FREQUENCY;

/// Where a customer is in their script.
#[derive(Debug)]
pub struct Script {
    steps: VecDeque<Step>,
    waiting: Waiting,
    acts: VecDeque<Act>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Until(Instant),
    Beep,
    /// For the caller to begin, or to go on.
    Talk,
    /// The caller is quiet; at this time they have been so for long enough.
    Quiet(Instant),
    /// For our own voice or keys to be through.
    Sent,
    /// Nothing more to do: until the caller hangs up.
    Caller,
}

impl Script {
    /// The customer has picked up.
    pub fn start(now: Instant, steps: impl IntoIterator<Item = Step>) -> Self {
        let mut script =
            Self { steps: steps.into_iter().collect(), waiting: Waiting::Caller, acts: VecDeque::new() };
        script.next(now);
        script
    }

    /// Something was heard, or what we sent is through.
    pub fn handle_media(&mut self, now: Instant, event: &StreamEvent) {
        match (self.waiting, event) {
            (Waiting::Beep, StreamEvent::ToneEnded { .. })
            | (Waiting::Sent, StreamEvent::PlayDone { .. } | StreamEvent::DigitsSent) => self.next(now),
            (Waiting::Talk, StreamEvent::SpeechEnded { .. }) => self.waiting = Waiting::Quiet(now + QUIET),
            (Waiting::Quiet(_), StreamEvent::SpeechStarted { .. }) => self.waiting = Waiting::Talk,
            _ => {}
        }
    }

    /// When [`Script::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.waiting {
            Waiting::Until(at) | Waiting::Quiet(at) => Some(at),
            _ => None,
        }
    }

    /// The time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            self.next(now);
        }
    }

    /// What to do next.
    pub fn poll_act(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    fn next(&mut self, now: Instant) {
        self.waiting = match self.steps.pop_front() {
            Some(Step::Wait(time)) => Waiting::Until(now + time),
            Some(Step::WaitForBeep) => Waiting::Beep,
            Some(Step::WaitForQuiet) => Waiting::Talk,
            Some(Step::Press(keys)) => self.act(Act::Press(keys), Waiting::Sent),
            Some(Step::Say(samples)) => self.act(Act::Say(samples), Waiting::Sent),
            Some(Step::HangUp) => self.act(Act::HangUp, Waiting::Caller),
            None => Waiting::Caller,
        };
    }

    fn act(&mut self, act: Act, then: Waiting) -> Waiting {
        self.acts.push_back(act);
        then
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_the_end_of_the_prompt_then_presses_then_speaks_after_the_beep() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let words: Arc<[i16]> = vec![1; 8000].into();
        let steps = [Step::WaitForQuiet, Step::Press("2".into()), Step::WaitForBeep, Step::Say(words), Step::HangUp];
        let mut script = Script::start(start, steps);
        script.handle_media(at(100), &StreamEvent::SpeechStarted { at: at(100) });
        script.handle_media(at(900), &StreamEvent::SpeechEnded { at: at(900) });
        script.handle_media(at(1500), &StreamEvent::SpeechStarted { at: at(1500) });
        assert_eq!(script.poll_timeout(), None, "the caller went on");
        script.handle_media(at(2000), &StreamEvent::SpeechEnded { at: at(2000) });
        script.handle_timeout(at(3400));
        assert!(script.poll_act().is_none(), "not quiet for long enough");
        script.handle_timeout(at(3500));
        assert!(matches!(script.poll_act(), Some(Act::Press(keys)) if keys == "2"));
        script.handle_media(at(3700), &StreamEvent::DigitsSent);
        assert!(script.poll_act().is_none());
        script.handle_media(at(5000), &StreamEvent::ToneEnded { at: at(5000) });
        assert!(matches!(script.poll_act(), Some(Act::Say(_))));
        script.handle_media(at(6000), &StreamEvent::PlayDone { id: 0 });
        assert!(matches!(script.poll_act(), Some(Act::HangUp)));
    }
}
