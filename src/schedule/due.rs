//! Which calls are due.

use std::cmp::Reverse;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

/// When a delivery's call is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// From this moment on.
    At(Timestamp),
    /// No more: the delivery has arrived.
    TooLate,
}

/// The moment of a delivery's call: `lead` before its ETA, at once if that has passed, never once the ETA has.
pub fn due_at(eta: Timestamp, lead: Duration, now: Timestamp) -> Due {
    if eta <= now {
        return Due::TooLate;
    }
    Due::At(eta.checked_sub(lead).unwrap_or(now).max(now))
}

/// A call that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The call.
    pub id: Uuid,
    /// Not before.
    pub due_at: Timestamp,
    /// Not from then on: usually the ETA.
    pub not_after: Option<Timestamp>,
    /// Higher goes first among those that are due.
    pub priority: i32,
}

/// What to do with the calls that wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picked {
    /// To begin now, in this order; as many as there is room for.
    pub start: Vec<Uuid>,
    /// To give up: their time has passed.
    pub expired: Vec<Uuid>,
    /// Calls that are due and found no room.
    pub waiting: usize,
    /// When the next call is due of those that are not yet.
    pub next_due: Option<Timestamp>,
}

/// Chooses among `pending` with room for `room` more calls: by priority, then the one whose time runs out first, then the
/// one that waits longest. The same rows and time give the same choice.
pub fn pick(now: Timestamp, pending: &[Pending], room: usize) -> Picked {
    let mut picked = Picked::default();
    let mut due = Vec::new();
    for call in pending {
        if call.not_after.is_some_and(|end| end <= now) {
            picked.expired.push(call.id);
        } else if call.due_at <= now {
            due.push(call);
        } else {
            picked.next_due = Some(picked.next_due.map_or(call.due_at, |next| next.min(call.due_at)));
        }
    }
    due.sort_by_key(|call| {
        (Reverse(call.priority), call.not_after.unwrap_or(Timestamp::MAX), call.due_at, call.id)
    });
    picked.waiting = due.len().saturating_sub(room);
    picked.start = due.into_iter().take(room).map(|call| call.id).collect();
    picked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
    }

    const LEAD: Duration = Duration::from_secs(45 * 60);

    #[test]
    fn calls_ahead_of_the_eta() {
        assert_eq!(due_at(at(100), LEAD, at(0)), Due::At(at(55)));
        assert_eq!(due_at(at(100), LEAD, at(70)), Due::At(at(70)));
        assert_eq!(due_at(at(100), LEAD, at(100)), Due::TooLate);
        assert_eq!(due_at(Timestamp::MIN, LEAD, at(0)), Due::TooLate);
        assert_eq!(due_at(at(1), Duration::MAX, at(0)), Due::At(at(0)));
    }

    fn call(id: u128, due: i64, end: Option<i64>, priority: i32) -> Pending {
        Pending { id: Uuid::from_u128(id), due_at: at(due), not_after: end.map(at), priority }
    }

    #[test]
    fn picks_what_is_due_most_urgent_first() {
        let pending = [
            call(1, -5, None, 0),
            call(2, -9, None, 0),
            call(3, 0, Some(8), 0),
            call(4, -1, Some(4), 0),
            call(5, 1, Some(50), 9),
            call(6, 3, None, 0),
            call(7, -90, Some(0), 9),
            call(8, 0, None, 1),
        ];
        let ids = |ids: &[u128]| ids.iter().map(|id| Uuid::from_u128(*id)).collect::<Vec<_>>();
        let picked = pick(at(0), &pending, 4);
        assert_eq!(picked.start, ids(&[8, 4, 3, 2]));
        assert_eq!((picked.expired, picked.waiting, picked.next_due), (ids(&[7]), 1, Some(at(1))));
        let none = pick(at(0), &pending, 0);
        assert_eq!((none.start.len(), none.waiting), (0, 5));
    }
}
