//! What the API may ask of the engine.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::mpsc::error::TrySendError;
use uuid::Uuid;

use super::Engine;
use super::drive::Control;
use crate::dialplan::Interpreter;
use crate::config::Trunk;
use crate::metrics::{self, Metrics};
use crate::http::{EngineControl, EngineStatus, PlanInfo, TrunkInfo, VarProblem};
use crate::store::Vars;
use crate::route::{BreakerState, Number};

impl EngineControl for Engine {
    fn wake(&self) {
        self.wake.notify_one();
    }

    fn hang_up(&self, call_id: Uuid) -> bool {
        let running = self.running();
        // A full queue holds a hang-up already.
        running.get(&call_id).is_some_and(|call| {
            !matches!(call.try_send(Control::HangUp), Err(TrySendError::Closed(_)))
        })
    }

    fn plans(&self) -> Vec<PlanInfo> {
        let info = |plan: &Arc<crate::dialplan::Plan>| PlanInfo {
            name: plan.name().to_owned(),
            title: plan.title().to_owned(),
            languages: plan.languages().to_vec(),
            required_vars: plan.vars().iter().filter(|(_, var)| var.required).map(|(name, _)| name.clone()).collect(),
        };
        self.config().plans.values().map(info).collect()
    }

    fn check_number(&self, raw: &str) -> Result<String, String> {
        let number = Number::parse(raw, Some(self.config().calls.default_country)).map_err(|error| error.to_string())?;
        match self.routes().forbidden(&number) {
            Some(prefix) => Err(format!("numbers that begin with {prefix} are never called")),
            None => Ok(number.e164().to_owned()),
        }
    }

    fn check_vars(&self, plan: &str, vars: &Vars, language: &str) -> Result<(), VarProblem> {
        let problem = |name: &str, message: String| VarProblem { name: name.to_owned(), message };
        let config = self.config();
        let found = config.plans.get(plan);
        let plan = found.ok_or_else(|| problem("plan", format!("there is no dialplan `{plan}`")))?;
        let mut vars = vars.0.clone();
        vars.entry("depot".to_owned()).or_insert_with(|| config.depot.clone());
        match Interpreter::new(plan.clone(), vars, language) {
            Ok(_) => Ok(()),
            Err(error) => Err(problem(error.variable(), error.to_string())),
        }
    }

    fn trunks(&self) -> Vec<TrunkInfo> {
        let (config, states) = (self.config(), self.routes().states(Instant::now()));
        let mut watched = self.watched();
        let info = |trunk: &Trunk| {
            let (seen, state) = (watched.of(&trunk.name), states.get(&trunk.name));
            let score = state.map(|state| state.score).filter(|score| score.calls > 0);
            let failure = seen.registration_failure.clone();
            TrunkInfo {
                name: trunk.name.clone(),
                host: trunk.host.clone(),
                hops: seen.hops.iter().map(ToString::to_string).collect(),
                registers: trunk.register.is_some(),
                registered_since: seen.registered_since,
                registration_failed_at: failure.as_ref().map(|(at, _)| *at),
                registration_failure: failure.map(|(_, why)| why),
                seen_at: seen.seen_at.map(|address| address.to_string()),
                health: seen.health.state().as_str(),
                health_since: seen.health.since(),
                health_reason: seen.health.reason().map(str::to_owned),
                breaker: match state.map(|state| state.breaker) {
                    Some(BreakerState::Open { .. }) => "open",
                    Some(BreakerState::Probing) => "probing",
                    Some(BreakerState::Closed { .. }) | None => "closed",
                },
                active_calls: state.map_or(0, |state| state.active),
                known_calls: score.map_or(0, |score| score.calls),
                answer_rate: score.map(|score| score.answered),
            }
        };
        config.trunks.values().map(info).collect()
    }

    fn measure(&self, metrics: &Metrics) {
        let (now, media) = (self.media.statistics(), &metrics.media);
        media.legs.set(i64::try_from(now.legs).unwrap_or(i64::MAX));
        metrics::set(&media.packets_in, now.packets_in);
        metrics::set(&media.packets_out, now.packets_out);
        metrics::set(&media.send_errors, now.send_errors);
        metrics::set(&media.ticks, now.ticks);
        metrics::set(&media.late_ticks, now.late_ticks);
        metrics.sip.set_overflowed(self.signalling.counters.overflowed.load(Ordering::Relaxed));
        media.set_lateness(now.lateness.p99, now.lateness.max);
    }

    fn status(&self) -> EngineStatus {
        let config = self.config();
        let mut problems = Vec::new();
        if config.trunks.is_empty() {
            problems.push("no trunk is configured; add one to sip-config/trunks".to_owned());
        }
        if let Err(error) = self.recorder.check_space() {
            problems.push(error.to_string());
        }
        let draining = self.draining.load(Ordering::Relaxed);
        EngineStatus { ready: !draining, draining, active_calls: self.routes().active() + self.arrivals.running(), problems }
    }
}
