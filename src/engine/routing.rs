//! Which trunk a call takes: the choice with its reasons, the ticket that is handed back, and what a call says about its trunk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tracing::warn;

use super::Engine;
use super::onnet::Peer;
use super::trunks::Line;
use crate::call::{Conclusion, EndCause};
use crate::config::Trunk;
use crate::media::Statistics;
use crate::route::{self, Candidate, Choice, Number, Skipped, Strategy, Ticket, TrunkState, Verdict};
use crate::store::attempts::Route;

/// How long a failover waits for room on the next trunk.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long a call waits that no trunk may carry, at most, before it is looked at again.
const WAIT: Duration = Duration::from_secs(60);

/// Fewer packets than these, two seconds of sound, say nothing about quality.
const ENOUGH_PACKETS: u64 = 100;

/// The trunks that failed in one chain of attempts, each with why.
pub(super) type Failed = Vec<(String, String)>;

/// A call's place on a trunk. Dropped without an end, it says nothing about the trunk.
pub(super) struct OnTrunk {
    engine: Arc<Engine>,
    ticket: Option<Ticket>,
}

/// Where the call goes, and why.
pub(super) struct Way {
    pub on_trunk: OnTrunk,
    /// What the attempt's row keeps.
    pub route: Route,
    to: To,
}

enum To {
    Trunk(Arc<Trunk>),
    /// The telephone of this name.
    Telephone(String),
}

/// What an attempt's row keeps.
#[derive(Serialize)]
struct Why {
    trunk: String,
    strategy: Strategy,
    reason: String,
    per_minute: Option<route::Price>,
    quality: u32,
    /// Who would be next.
    others: Vec<Candidate>,
    skipped: Vec<Skipped>,
}

/// The same for a call that takes no trunk.
#[derive(Serialize)]
struct OnNet {
    trunk: String,
    reason: String,
}

/// Why no trunk carries a call now. Texts name no times, so that the same reason is always the same text.
#[derive(Debug, thiserror::Error)]
pub enum NoWay {
    /// The engine as a whole has no room; nor has it for any other call.
    #[error("no_free_trunk: {0}")]
    EngineFull(route::Full),
    /// Room comes back by itself when a call ends or a second passes.
    #[error("no_free_trunk: {0}")]
    Full(String),
    /// Not before some time has passed, or an admin has done something.
    #[error("{reason}")]
    Later {
        /// What is shown on the page.
        reason: String,
        /// When to look again.
        wait: Duration,
    },
}

/// Chooses the best trunk for `number` that has not `failed` in this chain, and takes a place on it. A number of the house
/// takes none.
///
/// # Errors
/// See [`NoWay`]; then nothing was taken.
pub(super) fn take(engine: &Arc<Engine>, number: &Number, failed: &Failed) -> Result<Way, NoWay> {
    let now = Instant::now();
    let config = engine.config();
    let mut routes = engine.routes();
    if let Some(prefix) = routes.forbidden(number) {
        let reason = format!(
            "forbidden: numbers that begin with {prefix} are never called: see [routing] in callahead.toml"
        );
        return Err(NoWay::Later { reason, wait: WAIT });
    }
    routes.check(now).map_err(NoWay::EngineFull)?;
    if let Some(phone) = config.telephone(number) {
        let trunk = format!("phone:{}", phone.name);
        let ticket = routes.begin_on_net(&trunk, now).map_err(NoWay::EngineFull)?;
        drop(routes);
        let on_trunk = OnTrunk { engine: engine.clone(), ticket: Some(ticket) };
        let why = OnNet { trunk: trunk.clone(), reason: phone.on_net() };
        return Ok(Way { on_trunk, route: route(trunk, 0, &why), to: To::Telephone(phone.name.clone()) });
    }
    let Choice { strategy, mut candidates, skipped } = routes.choose(number, failed, now);
    if candidates.is_empty() {
        return Err(no_way(&skipped, now));
    }
    let best = candidates.remove(0);
    // A reload changes the routes before the configuration.
    let Some(trunk) = config.trunks.get(&best.trunk) else {
        return Err(NoWay::Full(format!("{}: its file is being reloaded", best.trunk)));
    };
    let ticket = match routes.begin(&best.trunk, now) {
        Some(Ok(ticket)) => ticket,
        Some(Err(skip)) => return Err(NoWay::Full(format!("{}: {skip}", best.trunk))),
        None => return Err(NoWay::Full(format!("{}: its file was removed", best.trunk))),
    };
    drop(routes);
    let why = Why {
        trunk: best.trunk.clone(),
        strategy,
        reason: best.reason,
        per_minute: best.per_minute,
        quality: best.quality,
        others: candidates,
        skipped,
    };
    let failover = u32::try_from(failed.len()).unwrap_or(u32::MAX);
    let on_trunk = OnTrunk { engine: engine.clone(), ticket: Some(ticket) };
    Ok(Way { on_trunk, route: route(best.trunk, failover, &why), to: To::Trunk(Arc::new(trunk.clone())) })
}

fn route(trunk: String, failover: u32, why: &impl Serialize) -> Route {
    let why = serde_json::to_value(why).inspect_err(|error| warn!(%error, "a route's reasons are not kept"));
    Route { trunk, failover, why: why.ok() }
}

fn no_way(skipped: &[Skipped], now: Instant) -> NoWay {
    if skipped.is_empty() {
        let reason = "no_trunk: no trunk is configured; add one to sip-config/trunks".to_owned();
        return NoWay::Later { reason, wait: WAIT };
    }
    if skipped.iter().all(|skip| skip.code == "not_served") {
        let reason = "no_trunk: no trunk serves this number: see `serves` in sip-config/trunks".to_owned();
        return NoWay::Later { reason, wait: WAIT };
    }
    let useful = skipped.iter().filter(|skip| skip.code != "not_served");
    let reasons: Vec<_> = useful.map(|skip| format!("{}: {}", skip.trunk, skip.reason)).collect();
    let reasons = reasons.join("; ");
    if skipped.iter().any(|skip| matches!(skip.code, "full" | "calls_per_second")) {
        return NoWay::Full(reasons);
    }
    let ready = skipped.iter().filter_map(|skip| skip.ready).min();
    let wait = ready.map_or(WAIT, |at| at.saturating_duration_since(now));
    NoWay::Later {
        reason: format!("no_free_trunk: {reasons}"),
        wait: wait.clamp(Duration::from_secs(1), WAIT),
    }
}

/// Finds where the telephone or the chosen trunk is. A trunk that has no address has failed, and the next is taken.
///
/// # Errors
/// No trunk is left.
pub(super) async fn resolve(
    engine: &Arc<Engine>,
    number: &Number,
    mut way: Way,
    failed: &mut Failed,
) -> Result<(Way, Peer), NoWay> {
    loop {
        let trunk = match &way.to {
            To::Telephone(name) => {
                let peer = Peer::telephone(engine, name);
                return Ok((way, peer));
            }
            To::Trunk(trunk) => trunk.clone(),
        };
        let error = match Line::resolve(trunk.clone(), &engine.resolver).await {
            Ok(mut line) => {
                let watched = engine.watched().of(&trunk.name).clone();
                line.seen_at = watched.seen_at;
                line.service_route = watched.service_route;
                return Ok((way, Peer::Trunk(line)));
            }
            Err(error) => error,
        };
        warn!(trunk = trunk.name, %error, "the trunk's host has no address");
        failed.push((trunk.name.clone(), format!("its host has no address: {error}")));
        way.on_trunk.end(Verdict::Failed);
        way = take(engine, number, failed)?;
    }
}

/// The next trunk of a chain of attempts, if there is one. It waits a little for room, because the callee was not reached.
pub(super) async fn another(
    engine: &Arc<Engine>,
    number: &Number,
    failed: &mut Failed,
) -> Option<(Way, Peer)> {
    let deadline = Instant::now() + PATIENCE;
    while !engine.is_draining() {
        match take(engine, number, failed) {
            Ok(way) => return resolve(engine, number, way, failed).await.ok(),
            Err(NoWay::EngineFull(_) | NoWay::Full(_)) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(_) => return None,
        }
    }
    None
}

/// How the trunks stand, for commands in other processes: [`TrunkState`] by name.
pub(super) fn states(engine: &Engine) -> serde_json::Value {
    let states: BTreeMap<String, TrunkState> = engine.routes().states(Instant::now());
    serde_json::to_value(states).unwrap_or_default()
}

/// Whether the call may be tried on another trunk at once: this one or the network to it failed, and the callee has not heard
/// of it.
pub(super) fn may_fail_over(conclusion: &Conclusion) -> bool {
    is_trunks(conclusion.cause) && !conclusion.reached
}

/// What a call's end says about its trunk; `sound` are the media leg's counters.
pub(super) fn verdict(conclusion: &Conclusion, sound: Option<&Statistics>) -> Verdict {
    match conclusion.cause {
        // It was picked up, and then nothing was heard.
        EndCause::NetworkError if conclusion.answered => Verdict::Answered { mos: Some(1.0) },
        _ if conclusion.answered => Verdict::Answered { mos: sound.and_then(mos) },
        EndCause::Cancelled | EndCause::Unknown => Verdict::Nothing,
        cause if is_trunks(cause) => Verdict::Failed,
        _ => Verdict::Unanswered,
    }
}

fn is_trunks(cause: EndCause) -> bool {
    matches!(cause, EndCause::TrunkError | EndCause::NetworkError)
}

fn mos(sound: &Statistics) -> Option<f64> {
    let sent = sound.received + sound.lost;
    let missing = (sound.lost + sound.late) as f64;
    (sent >= ENOUGH_PACKETS).then(|| route::mos(missing / sent as f64, sound.jitter))
}

impl OnTrunk {
    /// The callee's phone rings, or was picked up.
    pub fn reached(&mut self) {
        if let Some(ticket) = &mut self.ticket {
            self.engine.routes().reached(ticket, Instant::now());
        }
    }

    /// The call is over.
    pub fn end(mut self, verdict: Verdict) {
        self.hand_back(verdict);
    }

    fn hand_back(&mut self, verdict: Verdict) {
        if let Some(ticket) = self.ticket.take() {
            self.engine.routes().end(ticket, verdict, Instant::now());
        }
    }
}

impl Drop for OnTrunk {
    fn drop(&mut self) {
        self.hand_back(Verdict::Nothing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(cause: EndCause, answered: bool, reached: bool) -> Conclusion {
        let (answers, collected) = (Vec::new(), BTreeMap::new());
        Conclusion {
            cause,
            sip_status: None,
            reason: None,
            outcome: None,
            answers,
            collected,
            answered,
            reached,
        }
    }

    #[test]
    fn only_a_trunks_own_failure_that_nobody_heard_fails_over() {
        for cause in EndCause::ALL {
            let own = matches!(cause, EndCause::TrunkError | EndCause::NetworkError);
            assert_eq!(may_fail_over(&end(*cause, false, false)), own, "{cause}");
            assert!(!may_fail_over(&end(*cause, false, true)), "{cause}: it rang");
            assert!(!may_fail_over(&end(*cause, true, true)), "{cause}: it was picked up");
        }
    }

    #[test]
    fn what_each_end_says_about_the_trunk() {
        let table = [
            (end(EndCause::TrunkError, false, false), Verdict::Failed),
            (end(EndCause::NetworkError, false, false), Verdict::Failed),
            (end(EndCause::TrunkError, false, true), Verdict::Failed),
            (end(EndCause::Busy, false, false), Verdict::Unanswered),
            (end(EndCause::Rejected, false, true), Verdict::Unanswered),
            (end(EndCause::NoAnswer, false, true), Verdict::Unanswered),
            (end(EndCause::InvalidNumber, false, false), Verdict::Unanswered),
            (end(EndCause::Cancelled, false, true), Verdict::Nothing),
            (end(EndCause::Unknown, false, true), Verdict::Nothing),
            (end(EndCause::Human, true, true), Verdict::Answered { mos: None }),
            (end(EndCause::NetworkError, true, true), Verdict::Answered { mos: Some(1.0) }),
        ];
        for (conclusion, expected) in table {
            assert_eq!(verdict(&conclusion, None), expected, "{conclusion:?}");
        }
    }

    #[test]
    fn the_sound_of_a_call_counts_when_there_was_enough_of_it() {
        let heard = |received, lost| {
            let sound = Statistics { received, lost, ..Statistics::default() };
            match verdict(&end(EndCause::Human, true, true), Some(&sound)) {
                Verdict::Answered { mos } => mos,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(heard(99, 0), None);
        assert!(heard(1000, 0) > Some(4.3) && heard(900, 100) < Some(3.8));
    }

    #[test]
    fn why_no_trunk_is_free_decides_when_to_look_again() {
        let now = Instant::now();
        let skip = |trunk: &str, code, ready: Option<u64>| {
            let ready = ready.map(|seconds| now + Duration::from_secs(seconds));
            Skipped { trunk: trunk.to_owned(), code, reason: format!("is {code}"), ready, ready_in_s: None }
        };
        let table = [
            (vec![], "no_trunk: no trunk is configured", Some(60)),
            (vec![skip("a", "not_served", None)], "no_trunk: no trunk serves", Some(60)),
            (vec![skip("a", "not_served", None), skip("b", "full", None)], "no_free_trunk: b: is full", None),
            (
                vec![skip("a", "breaker_open", Some(20)), skip("b", "calls_per_second", Some(1))],
                "no_free_trunk: a: is",
                None,
            ),
            (
                vec![skip("a", "breaker_open", Some(20)), skip("b", "unreachable", None)],
                "no_free_trunk: a: is",
                Some(20),
            ),
            (vec![skip("a", "breaker_open", Some(0))], "no_free_trunk: a: is breaker_open", Some(1)),
            (vec![skip("a", "failed", None)], "no_free_trunk: a: is failed", Some(60)),
        ];
        for (skipped, text, seconds) in table {
            let found = no_way(&skipped, now);
            assert!(found.to_string().starts_with(text), "{found}");
            let wait = match found {
                NoWay::Later { wait, .. } => Some(wait.as_secs()),
                _ => None,
            };
            assert_eq!(wait, seconds, "{text}");
        }
    }
}
