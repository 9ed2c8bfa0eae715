//! Which trunks may carry a call, in which order, and why the others may not.

use std::collections::BTreeMap;
use std::time::Instant;

use super::limits::{Full, Gate};

/// What routing needs to know of a trunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrunkLimits {
    /// Its name.
    pub name: String,
    /// Lower comes first; equal ones go by name.
    pub priority: u32,
    /// The most calls at once.
    pub max_calls: u32,
    /// The most new calls in a second.
    pub max_cps: u32,
}

/// A trunk in the order of preference, with the reason if it cannot be used now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub trunk: String,
    /// Its priority.
    pub priority: u32,
    /// Why there is no room on it.
    pub full: Option<Full>,
}

/// All trunks with what is running on them, and the bounds of the engine as a whole.
#[derive(Debug, Clone)]
pub struct Routes {
    engine: Gate,
    trunks: BTreeMap<String, (u32, Gate)>,
}

impl Routes {
    /// Nothing running.
    pub fn new(
        max_calls: u32,
        calls_per_second: u32,
        trunks: impl IntoIterator<Item = TrunkLimits>,
        now: Instant,
    ) -> Self {
        let mut routes =
            Self { engine: Gate::new(max_calls, calls_per_second, now), trunks: BTreeMap::new() };
        routes.update(max_calls, calls_per_second, trunks, now);
        routes
    }

    /// Takes over a new configuration; running calls stay counted.
    pub fn update(
        &mut self,
        max_calls: u32,
        calls_per_second: u32,
        trunks: impl IntoIterator<Item = TrunkLimits>,
        now: Instant,
    ) {
        self.engine.set_limits(max_calls, calls_per_second, now);
        let mut old = std::mem::take(&mut self.trunks);
        for trunk in trunks {
            let gate = match old.remove(&trunk.name) {
                Some((_, mut gate)) => {
                    gate.set_limits(trunk.max_calls, trunk.max_cps, now);
                    gate
                }
                None => Gate::new(trunk.max_calls, trunk.max_cps, now),
            };
            self.trunks.insert(trunk.name, (trunk.priority, gate));
        }
    }

    /// Every trunk, best first; those without room say why.
    pub fn candidates(&self, now: Instant) -> Vec<Candidate> {
        let candidate = |(name, (priority, gate)): (&String, &(u32, Gate))| Candidate {
            trunk: name.clone(),
            priority: *priority,
            full: gate.check(now).err(),
        };
        let mut all: Vec<_> = self.trunks.iter().map(candidate).collect();
        // Stable: equal priorities stay in the order of their names.
        all.sort_by_key(|candidate| candidate.priority);
        all
    }

    /// Whether the engine as a whole has room.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, now: Instant) -> Result<(), Full> {
        self.engine.check(now)
    }

    /// Begins a call on a trunk, to be matched by one [`Routes::release`]. `None` when there is no such trunk.
    pub fn take(&mut self, trunk: &str, now: Instant) -> Option<Result<(), Full>> {
        let (_, gate) = self.trunks.get_mut(trunk)?;
        let room = self.engine.check(now).and_then(|()| gate.take(now));
        Some(room.and_then(|()| self.engine.take(now)))
    }

    /// Ends a call that was begun on this trunk.
    pub fn release(&mut self, trunk: &str) {
        self.engine.release();
        if let Some((_, gate)) = self.trunks.get_mut(trunk) {
            gate.release();
        }
    }

    /// How many calls run, over all trunks.
    pub fn active(&self) -> u32 {
        self.engine.active()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limits(name: &str, priority: u32, max_calls: u32) -> TrunkLimits {
        TrunkLimits { name: name.to_owned(), priority, max_calls, max_cps: 10 }
    }

    fn order(routes: &Routes, now: Instant) -> Vec<(String, bool)> {
        routes
            .candidates(now)
            .into_iter()
            .map(|candidate| (candidate.trunk, candidate.full.is_none()))
            .collect()
    }

    #[test]
    fn orders_by_priority_then_name_and_says_who_is_full() {
        let now = Instant::now();
        let mut routes = Routes::new(9, 9, [limits("b", 1, 1), limits("c", 0, 1), limits("a", 1, 1)], now);
        let names =
            |flags: [bool; 3]| ["c", "a", "b"].map(str::to_owned).into_iter().zip(flags).collect::<Vec<_>>();
        assert_eq!(order(&routes, now), names([true, true, true]));
        assert_eq!(routes.take("c", now), Some(Ok(())));
        assert_eq!(order(&routes, now), names([false, true, true]));
        assert_eq!(routes.take("c", now), Some(Err(Full::Calls { max: 1 })));
        assert_eq!(routes.take("x", now), None);
        routes.release("c");
        assert_eq!(order(&routes, now), names([true, true, true]));
    }

    #[test]
    fn the_engine_has_its_own_bounds_and_a_refusal_takes_nothing() {
        let now = Instant::now();
        let mut routes = Routes::new(1, 9, [limits("a", 0, 5), limits("b", 0, 5)], now);
        assert_eq!(routes.take("a", now), Some(Ok(())));
        assert_eq!(routes.take("b", now), Some(Err(Full::Calls { max: 1 })));
        assert!(routes.check(now).is_err());
        routes.release("a");
        assert_eq!(routes.active(), 0);
        assert_eq!(routes.take("b", now), Some(Ok(())));
    }

    #[test]
    fn a_reload_keeps_what_is_running() {
        let now = Instant::now();
        let mut routes = Routes::new(9, 9, [limits("a", 0, 2), limits("b", 1, 2)], now);
        routes.take("a", now).unwrap().unwrap();
        routes.take("b", now).unwrap().unwrap();
        let later = now + Duration::from_secs(5);
        routes.update(9, 9, [limits("a", 0, 1), limits("c", 5, 1)], later);
        assert_eq!(order(&routes, later), [("a".to_owned(), false), ("c".to_owned(), true)]);
        assert_eq!(routes.active(), 2);
        routes.release("b");
        assert_eq!(routes.active(), 1, "a call on a trunk that is gone still ends");
    }
}
