//! Which connections stand, by hop, and how many from whom.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::limits::{Counters, Limits};
use crate::sip::Hop;

/// Whether a connection can carry messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Being made.
    Opening,
    /// It stands.
    Open,
    /// It could not be made.
    Failed,
}

/// What others know of a connection: how to give it messages.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Tells it from an earlier connection of the same hop.
    pub(super) number: u64,
    /// What is to be written. The connection closes when the last sender is gone.
    pub(super) queue: mpsc::Sender<Vec<u8>>,
    pub(super) state: watch::Receiver<State>,
    pub(super) activity: Arc<Activity>,
}

/// When a connection was used, and until when it is kept.
#[derive(Debug)]
pub(super) struct Activity {
    begun: Instant,
    /// Milliseconds after `begun`, both.
    last: AtomicU64,
    kept_until: AtomicU64,
}

impl Default for Activity {
    fn default() -> Self {
        Self { begun: Instant::now(), last: AtomicU64::new(0), kept_until: AtomicU64::new(0) }
    }
}

impl Activity {
    /// A message came or went.
    pub(super) fn touch(&self) {
        self.last.store(self.milliseconds(Instant::now()), Ordering::Relaxed);
    }

    /// Not idle before `until`.
    pub(super) fn keep(&self, until: Instant) {
        self.kept_until.fetch_max(self.milliseconds(until), Ordering::Relaxed);
    }

    /// When it becomes idle, if nothing happens until then.
    pub(super) fn idle_at(&self, idle: Duration) -> Instant {
        let after = |counter: &AtomicU64| self.begun + Duration::from_millis(counter.load(Ordering::Relaxed));
        (after(&self.last) + idle).max(after(&self.kept_until))
    }

    fn milliseconds(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.begun).as_millis()).unwrap_or(u64::MAX)
    }
}

/// The connections. Shared by all their tasks.
#[derive(Debug)]
pub(super) struct Table {
    entries: Mutex<HashMap<Hop, Entry>>,
    seats: Mutex<Seats>,
    next: AtomicU64,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Seats {
    by_address: HashMap<IpAddr, usize>,
    strangers: usize,
    known: usize,
}

/// One connection's place among the bounded number; dropping it frees the place.
#[derive(Debug)]
pub(super) struct Seat {
    table: Arc<Table>,
    /// `None` for connections of trunks and of ours.
    stranger: Option<IpAddr>,
}

/// A connection's place in the table; dropping it takes it out.
#[derive(Debug)]
pub(super) struct Listed {
    table: Arc<Table>,
    hop: Hop,
    number: u64,
}

impl Table {
    pub(super) fn new(counters: Arc<Counters>) -> Arc<Self> {
        Arc::new(Self {
            entries: Mutex::default(),
            seats: Mutex::default(),
            next: AtomicU64::new(0),
            counters,
        })
    }

    /// The connection of this hop, if there is one.
    pub(super) fn find(&self, hop: Hop) -> Option<Entry> {
        self.lock().get(&hop).cloned()
    }

    /// Lists a connection. `Err` is the one that is there already.
    pub(super) fn list(
        self: &Arc<Self>,
        hop: Hop,
        queue: mpsc::Sender<Vec<u8>>,
        state: watch::Receiver<State>,
    ) -> Result<(Entry, Listed), Entry> {
        let mut entries = self.lock();
        if let Some(entry) = entries.get(&hop).filter(|entry| !entry.queue.is_closed()) {
            return Err(entry.clone());
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let entry = Entry { number, queue, state, activity: Arc::default() };
        entries.insert(hop, entry.clone());
        Ok((entry, Listed { table: self.clone(), hop, number }))
    }

    /// Takes a connection out, so that nobody gives it messages any more.
    pub(super) fn forget(&self, hop: Hop, number: u64) {
        let mut entries = self.lock();
        if entries.get(&hop).is_some_and(|entry| entry.number == number) {
            entries.remove(&hop);
        }
    }

    /// Closes the connections for which `wanted` holds, after what waits in their queues.
    pub(super) fn close(&self, wanted: impl Fn(&Hop) -> bool) {
        self.lock().retain(|hop, _| !wanted(hop));
    }

    /// A place for a connection from `address`; `known` is a trunk or one of ours. `None`: there are too many.
    pub(super) fn seat(self: &Arc<Self>, address: IpAddr, known: bool, limits: &Limits) -> Option<Seat> {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if known {
            seats.known = Some(seats.known + 1).filter(|count| *count <= limits.known)?;
        } else {
            let here = seats.by_address.get(&address).copied().unwrap_or_default();
            if here >= limits.per_address || seats.strangers >= limits.strangers {
                return None;
            }
            seats.strangers += 1;
            seats.by_address.insert(address, here + 1);
        }
        self.counters.open.fetch_add(1, Ordering::Relaxed);
        Some(Seat { table: self.clone(), stranger: (!known).then_some(address) })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Hop, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.table.seats.lock().unwrap_or_else(PoisonError::into_inner);
        self.table.counters.open.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = self.stranger else {
            seats.known = seats.known.saturating_sub(1);
            return;
        };
        seats.strangers = seats.strangers.saturating_sub(1);
        match seats.by_address.get_mut(&address) {
            Some(here) if *here > 1 => *here -= 1,
            _ => {
                seats.by_address.remove(&address);
            }
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.table.forget(self.hop, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_bounded_by_address_and_in_all_and_come_back() {
        let table = Table::new(Arc::default());
        let limits = Limits { per_address: 2, strangers: 3, known: 1, ..Limits::default() };
        let take = |from: &str, known| table.seat(address(from), known, &limits);
        let (one, two) = (take("192.0.2.1", false).unwrap(), take("192.0.2.1", false).unwrap());
        assert!(take("192.0.2.1", false).is_none(), "a third from one address");
        let three = take("192.0.2.2", false).unwrap();
        assert!(take("192.0.2.3", false).is_none(), "a fourth in all");
        let trunk = take("192.0.2.1", true).unwrap();
        assert!(take("192.0.2.9", true).is_none(), "trunks are bounded as well");
        assert_eq!(table.counters.open.load(Ordering::Relaxed), 4);
        drop((one, trunk));
        assert!(take("192.0.2.1", false).is_some() && take("192.0.2.9", true).is_some());
        drop((two, three));
        assert_eq!(table.counters.open.load(Ordering::Relaxed), 0);
        assert!(table.seats.lock().unwrap().by_address.is_empty());
    }

    #[test]
    fn an_old_connection_does_not_take_its_successor_out() {
        let table = Table::new(Arc::default());
        let hop = Hop::tcp("192.0.2.1:5060".parse().unwrap());
        let (queue, old_queue) = mpsc::channel(1);
        let (_, state) = watch::channel(State::Open);
        let (old, listed) = table.list(hop, queue.clone(), state.clone()).unwrap();
        assert_eq!(table.list(hop, queue, state.clone()).unwrap_err().number, old.number);
        drop(old_queue);
        let (queue, _open) = mpsc::channel(1);
        let (new, _listed) = table.list(hop, queue, state).unwrap();
        drop(listed);
        assert_eq!(table.find(hop).unwrap().number, new.number);
        table.close(|_| true);
        assert!(table.find(hop).is_none());
    }

    #[test]
    fn a_kept_connection_is_not_idle() {
        let activity = Activity::default();
        let now = Instant::now();
        assert!(activity.idle_at(Duration::from_secs(1)) <= now + Duration::from_secs(1));
        activity.keep(now + Duration::from_secs(60));
        assert!(activity.idle_at(Duration::from_secs(1)) > now + Duration::from_secs(58));
    }
}
