//! Whether a trunk lives, by asking it again and again: two failures in a row and it is down, one answer and it is up.

use jiff::Timestamp;

/// How many failures in a row make a trunk down. One alone is a lost packet.
const FAILURES: u32 = 2;

/// What is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HealthState {
    /// It was not asked yet, or is not asked at all.
    #[default]
    Unknown,
    /// It answers.
    Up,
    /// It does not.
    Down,
}

impl HealthState {
    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// The health of one trunk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    state: HealthState,
    since: Option<Timestamp>,
    /// Why the last question failed; gone with the first answer.
    reason: Option<String>,
    failures: u32,
}

impl Health {
    /// What is known.
    pub fn state(&self) -> HealthState {
        self.state
    }

    /// Since when; `None` while nothing is known.
    pub fn since(&self) -> Option<Timestamp> {
        self.since
    }

    /// Why the last question failed.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// It answered. True: it is up from now on.
    pub fn answered(&mut self, now: Timestamp) -> bool {
        self.failures = 0;
        self.reason = None;
        self.become_now(HealthState::Up, now)
    }

    /// It did not answer. True: it is down from now on.
    pub fn failed(&mut self, now: Timestamp, reason: String) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.reason = Some(reason);
        self.failures >= FAILURES && self.become_now(HealthState::Down, now)
    }

    /// Whether it failed and one more failure would make it down: ask again soon.
    pub fn is_doubtful(&self) -> bool {
        self.failures > 0 && self.state != HealthState::Down
    }

    fn become_now(&mut self, state: HealthState, now: Timestamp) -> bool {
        let changed = self.state != state;
        if changed {
            (self.state, self.since) = (state, Some(now));
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_failures_in_a_row_are_down_and_one_answer_is_up() {
        use HealthState::{Down, Unknown, Up};
        // What happens, what it is then, whether that is news, since which step, whether it is asked again soon.
        let table = [
            ("-", Unknown, false, None, true),
            ("+", Up, true, Some(1), false),
            ("-", Up, false, Some(1), true),
            ("+", Up, false, Some(1), false),
            ("-", Up, false, Some(1), true),
            ("-", Down, true, Some(5), false),
            ("-", Down, false, Some(5), false),
            ("+", Up, true, Some(7), false),
        ];
        let mut health = Health::default();
        for (step, (what, state, news, since, doubtful)) in table.into_iter().enumerate() {
            let at = |step: usize| Timestamp::from_second(i64::try_from(step).unwrap()).unwrap();
            let changed = match what {
                "+" => health.answered(at(step)),
                _ => health.failed(at(step), "silence".to_owned()),
            };
            let seen = (health.state(), changed, health.since(), health.is_doubtful());
            assert_eq!(seen, (state, news, since.map(at), doubtful), "step {step}");
            assert_eq!(health.reason().is_some(), what == "-");
        }
    }
}
