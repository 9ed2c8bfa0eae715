//! Which trunks may carry a call, in which order, and why the others may not.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::breaker::{Breaker, BreakerLimits, BreakerState, Pass, Tripped};
use super::limits::{Full, Gate};
use super::number::Number;
use super::prefix::{Prefix, Price, Rate, price};
use super::quality::{Quality, Sample, Score};
use super::strategy::{Candidate, Standing, Strategy};

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
    /// The numbers that it may carry; empty is all.
    pub serves: Vec<Prefix>,
    /// What a minute costs.
    pub rates: Vec<Rate>,
    /// When it is left alone.
    pub breaker: BreakerLimits,
}

/// What routing needs to know of the engine as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRules {
    /// The most calls at once, over all trunks.
    pub max_calls: u32,
    /// The most new calls in a second, over all trunks.
    pub calls_per_second: u32,
    /// What decides between trunks.
    pub strategy: Strategy,
    /// Numbers that are never called.
    pub forbidden: Vec<Prefix>,
    /// The trunks.
    pub trunks: Vec<TrunkLimits>,
}

/// Why a trunk cannot carry a call now. As text it names no time, so that the same reason is always the same text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Skip {
    /// Its `serves` has no prefix of this number.
    #[error("it does not serve this number")]
    NotServed,
    /// There is no room.
    #[error(transparent)]
    Full(#[from] Full),
    /// Its breaker is open.
    #[error(transparent)]
    Tripped(#[from] Tripped),
    /// It was found out not to be there.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// It failed in this very chain of attempts.
    #[error("it failed just now: {0}")]
    Failed(String),
}

/// A trunk that was passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Its name.
    pub trunk: String,
    /// One word: `not_served`, `full`, `calls_per_second`, `breaker_open`, `breaker_probing`, `unreachable`, `failed`.
    pub code: &'static str,
    /// Why, for a person.
    pub reason: String,
    /// When it may carry a call again, if that is known.
    #[serde(skip)]
    pub ready: Option<Instant>,
    /// The same, in seconds from when this was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_in_s: Option<u64>,
}

/// The trunks for one number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// What decided.
    pub strategy: Strategy,
    /// Those that may carry the call, the first to try first.
    pub candidates: Vec<Candidate>,
    /// The others, by name.
    pub skipped: Vec<Skipped>,
}

/// How a trunk stands, as one process tells another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrunkState {
    /// How many calls run on it.
    pub active: u32,
    /// Its breaker.
    pub breaker: BreakerState,
    /// Why it is passed over, if watching it found out that it does not answer.
    pub unreachable: Option<String>,
    /// How its last calls went.
    pub score: Score,
}

/// A call that was let through to a trunk; [`Routes::end`] takes it back.
#[derive(Debug)]
#[must_use = "the trunk counts the call until it is handed back"]
pub struct Ticket {
    trunk: String,
    pass: Pass,
    began: Instant,
    post_dial: Option<Duration>,
}

/// What a call said about its trunk.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// It carried the call to somebody who answered.
    Answered {
        /// How the callee sounded, 1 to 5, if anything was heard.
        mos: Option<f64>,
    },
    /// It works, but nobody answered: busy, no answer, a wrong number.
    Unanswered,
    /// The trunk or the network to it failed.
    Failed,
    /// Nothing: we gave up ourselves, or nothing was dialled.
    Nothing,
}

/// All trunks with what is running on them, and the bounds of the engine as a whole.
#[derive(Debug, Clone)]
pub struct Routes {
    engine: Gate,
    strategy: Strategy,
    forbidden: Vec<Prefix>,
    trunks: BTreeMap<String, Trunk>,
}

#[derive(Debug, Clone)]
struct Trunk {
    limits: TrunkLimits,
    gate: Gate,
    breaker: Breaker,
    quality: Quality,
    unreachable: Option<String>,
}

impl Routes {
    /// Nothing running.
    pub fn new(rules: RouteRules, now: Instant) -> Self {
        let mut routes = Self {
            engine: Gate::new(rules.max_calls, rules.calls_per_second, now),
            strategy: rules.strategy,
            forbidden: Vec::new(),
            trunks: BTreeMap::new(),
        };
        routes.update(rules, now);
        routes
    }

    /// Takes over a new configuration; running calls stay counted, and what is known of a trunk stays known.
    pub fn update(&mut self, rules: RouteRules, now: Instant) {
        self.engine.set_limits(rules.max_calls, rules.calls_per_second, now);
        (self.strategy, self.forbidden) = (rules.strategy, rules.forbidden);
        let mut old = std::mem::take(&mut self.trunks);
        for limits in rules.trunks {
            let trunk = match old.remove(&limits.name) {
                Some(mut trunk) => {
                    trunk.gate.set_limits(limits.max_calls, limits.max_cps, now);
                    trunk.breaker.set_limits(limits.breaker);
                    Trunk { limits, ..trunk }
                }
                None => Trunk {
                    gate: Gate::new(limits.max_calls, limits.max_cps, now),
                    breaker: Breaker::new(limits.breaker),
                    quality: Quality::default(),
                    unreachable: None,
                    limits,
                },
            };
            self.trunks.insert(trunk.limits.name.clone(), trunk);
        }
    }

    /// The forbidden prefix that `number` begins with.
    pub fn forbidden(&self, number: &Number) -> Option<&Prefix> {
        self.forbidden.iter().find(|prefix| prefix.matches(number))
    }

    /// Every trunk for `number`: those that may carry it, in order, and why the others may not. `failed` are those that this
    /// chain of attempts has been to already.
    pub fn choose(&self, number: &Number, failed: &[(String, String)], now: Instant) -> Choice {
        let (mut standings, mut skipped) = (Vec::new(), Vec::new());
        for (name, trunk) in &self.trunks {
            let before = failed.iter().find(|(failed, _)| failed == name);
            let skip = match before {
                Some((_, why)) => Some(Skip::Failed(why.clone())),
                None => trunk.check(number, now).err(),
            };
            match skip {
                Some(skip) => skipped.push(skip.of(name, now)),
                None => standings.push(trunk.standing(number, now)),
            }
        }
        Choice { strategy: self.strategy, candidates: self.strategy.order(standings), skipped }
    }

    /// Whether the engine as a whole has room.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, now: Instant) -> Result<(), Full> {
        self.engine.check(now)
    }

    /// Whether any trunk could take a call, to whatever number it serves.
    pub fn has_room(&self, now: Instant) -> bool {
        self.trunks.values().any(|trunk| trunk.check_room(now).is_ok())
    }

    /// Begins a call on a trunk that [`Routes::choose`] named. `None` when there is no such trunk.
    ///
    /// # Errors
    /// Why it may not begin, on the trunk or in the engine; then nothing was taken.
    pub fn begin(&mut self, trunk: &str, now: Instant) -> Option<Result<Ticket, Skip>> {
        let found = self.trunks.get_mut(trunk)?;
        let room = self.engine.check(now).and_then(|()| found.gate.check(now)).map_err(Skip::from);
        Some(room.and_then(|()| {
            let pass = found.breaker.take(now)?;
            found.gate.take(now)?;
            self.engine.take(now)?;
            Ok(Ticket { trunk: trunk.to_owned(), pass, began: now, post_dial: None })
        }))
    }

    /// Begins a call that takes no trunk: it counts in the engine only. `peer` is no trunk's name.
    ///
    /// # Errors
    /// The engine is full.
    pub fn begin_on_net(&mut self, peer: &str, now: Instant) -> Result<Ticket, Full> {
        self.engine.take(now)?;
        Ok(Ticket { trunk: peer.to_owned(), pass: Pass::Ordinary, began: now, post_dial: None })
    }

    /// The trunk has brought the call to the callee: it rings, or was answered. Only the first time counts.
    pub fn reached(&mut self, ticket: &mut Ticket, now: Instant) {
        if ticket.post_dial.is_some() {
            return;
        }
        ticket.post_dial = Some(now.saturating_duration_since(ticket.began));
        // It has told what it was to find out; what comes of the call later is an ordinary call's end.
        ticket.pass = Pass::Ordinary;
        if let Some(trunk) = self.trunks.get_mut(&ticket.trunk) {
            trunk.breaker.succeeded();
        }
    }

    /// Ends a call that was begun.
    pub fn end(&mut self, ticket: Ticket, verdict: Verdict, now: Instant) {
        self.engine.release();
        let Some(trunk) = self.trunks.get_mut(&ticket.trunk) else { return };
        trunk.gate.release();
        let (answered, mos) = match verdict {
            Verdict::Answered { mos } => (true, mos),
            Verdict::Unanswered | Verdict::Failed => (false, None),
            Verdict::Nothing => return trunk.breaker.abandoned(ticket.pass, now),
        };
        match verdict {
            Verdict::Failed => trunk.breaker.failed(ticket.pass, now),
            // A long call says nothing about the trunk of this moment; it did so when it was answered.
            _ if ticket.post_dial.is_some() => {}
            _ => trunk.breaker.succeeded(),
        }
        trunk.quality.note(Sample { at: now, answered, post_dial: ticket.post_dial, mos });
    }

    /// What watching the trunk has found out: `None`, it answers; otherwise why it is passed over until it does again.
    pub fn set_unreachable(&mut self, trunk: &str, why: Option<String>) {
        if let Some(trunk) = self.trunks.get_mut(trunk) {
            trunk.unreachable = why;
        }
    }

    /// How many calls run, over all trunks.
    pub fn active(&self) -> u32 {
        self.engine.active()
    }

    /// How many calls run on a trunk; 0 if there is no such trunk.
    pub fn active_on(&self, trunk: &str) -> u32 {
        self.trunks.get(trunk).map_or(0, |trunk| trunk.gate.active())
    }

    /// How each trunk stands.
    pub fn states(&self, now: Instant) -> BTreeMap<String, TrunkState> {
        let state = |trunk: &Trunk| TrunkState {
            active: trunk.gate.active(),
            breaker: trunk.breaker.state(now),
            unreachable: trunk.unreachable.clone(),
            score: trunk.quality.score(now),
        };
        self.trunks.iter().map(|(name, trunk)| (name.clone(), state(trunk))).collect()
    }

    /// Takes a trunk to stand as another process said that it did `age` ago. Without effect on a trunk that is not there.
    pub fn suppose(&mut self, trunk: &str, state: &TrunkState, age: Duration, now: Instant) {
        if let Some(trunk) = self.trunks.get_mut(trunk) {
            trunk.gate.suppose(state.active);
            trunk.breaker.suppose(state.breaker, age, now);
            trunk.unreachable.clone_from(&state.unreachable);
            trunk.quality = Quality::supposed(state.score);
        }
    }
}

impl Ticket {
    /// The trunk that carries the call.
    pub fn trunk(&self) -> &str {
        &self.trunk
    }
}

impl Trunk {
    fn check(&self, number: &Number, now: Instant) -> Result<(), Skip> {
        if !self.limits.serves.is_empty() && !self.limits.serves.iter().any(|prefix| prefix.matches(number)) {
            return Err(Skip::NotServed);
        }
        self.check_room(now)
    }

    fn check_room(&self, now: Instant) -> Result<(), Skip> {
        if let Some(why) = &self.unreachable {
            return Err(Skip::Unreachable(why.clone()));
        }
        self.breaker.check(now)?;
        Ok(self.gate.check(now)?)
    }

    fn standing(&self, number: &Number, now: Instant) -> Standing {
        let max = u64::from(self.limits.max_calls.max(1));
        let used = u64::from(self.gate.active()).min(max);
        Standing {
            trunk: self.limits.name.clone(),
            priority: self.limits.priority,
            price: self.price(number),
            score: self.quality.score(now),
            free: u32::try_from((max - used) * 100 / max).unwrap_or(100),
        }
    }

    fn price(&self, number: &Number) -> Option<Price> {
        price(number, &self.limits.rates)
    }
}

impl Skip {
    fn of(self, trunk: &str, now: Instant) -> Skipped {
        let (code, ready) = match &self {
            Self::NotServed => ("not_served", None),
            Self::Full(Full::Calls { .. }) => ("full", None),
            Self::Full(Full::Rate { ready }) => ("calls_per_second", Some(*ready)),
            Self::Tripped(Tripped::Open { until }) => ("breaker_open", Some(*until)),
            Self::Tripped(Tripped::Probing) => ("breaker_probing", None),
            Self::Unreachable(_) => ("unreachable", None),
            Self::Failed(_) => ("failed", None),
        };
        let seconds = |at: Instant| at.saturating_duration_since(now).as_secs_f64().ceil() as u64;
        Skipped {
            trunk: trunk.to_owned(),
            code,
            reason: self.to_string(),
            ready,
            ready_in_s: ready.map(seconds),
        }
    }
}
