//! One call that came in, from its INVITE to its stored end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::Engine;
use super::attempt::{self, NotBegun};
use super::drive::Drive;
use super::media::{Leg, LegConfig};
use super::recordings::LiveRecording;
use super::signalling::{self, Inbound};
use super::trace::CallTrace;
use crate::call::{Call, Conclusion, EndCause, Limits, Offered, Talk};
use crate::config::{Config, Did};
use crate::dialplan::Interpreter;
use crate::pii::Redacted;
use crate::record::Tap;
use crate::sdp::{Codec, MediaPolicy, SessionOrigin};
use crate::sip::Hop;
use crate::sip::session::{IncomingCall, Session, SessionEvent, SessionOutput};
use crate::sip::transaction::Timing;
use crate::store::attempts::{self, End, Next};
use crate::store::inbound::{self, Arrival};
use crate::store::{self, StoreError, Vars};

/// Who calls.
pub(super) struct Caller {
    /// E.164, or empty.
    pub number: Redacted,
    /// A trunk's name, or `phone:` and a telephone's.
    pub via: String,
    /// What is spoken there.
    pub codecs: Vec<Codec>,
}

/// A call that is taken.
pub(super) struct Expected {
    /// Who calls.
    pub caller: Caller,
    /// Our number, E.164.
    pub called: Redacted,
    /// What answers.
    pub did: Did,
}

/// Everything that is ready before the phone rings.
struct Prepared {
    talk: Talk,
    leg: Leg,
    ours: Offered,
    tap: Tap,
    recording: LiveRecording,
}

/// Rings, answers, and returns when the call's end is stored.
pub(super) async fn answer(
    engine: &Arc<Engine>,
    config: Arc<Config>,
    call: IncomingCall,
    mut inbox: mpsc::Receiver<Inbound>,
    expected: Expected,
) {
    let (id, source) = (call.seed.id, call.source);
    let local = engine.signalling.address_towards(source).ok();
    let contact = local.and_then(|local| signalling::contact("callahead", local, source.transport).ok());
    let (Some(local), Some(contact)) = (local, contact) else {
        warn!(from = %source, "no route back to a caller");
        return engine.signalling.release(id);
    };
    let attempt = Uuid::now_v7();
    let mut trace = CallTrace::new(engine, attempt, &expected.caller.via, &call.seed.call_id, local);
    trace.received(&Inbound { source, message: call.request.clone() });
    let mut session = Session::incoming(Instant::now(), call, contact, Timing::default());
    // The 100 goes out before anything that takes time.
    if send_all(engine, &mut trace, &mut session).await.is_some() {
        // An INVITE without a way back: it has its 400.
        drain(engine, trace, session, inbox).await;
        return engine.signalling.release(id);
    }
    let begun = begin(engine, &config, source, attempt, &expected).await;
    // What came meanwhile: a CANCEL, or the INVITE once more.
    while let Ok(inbound) = inbox.try_recv() {
        trace.received(&inbound);
        session.handle_message(Instant::now(), inbound.source, inbound.message);
    }
    match begun {
        Ok((stored, prepared)) => {
            let line = Line { engine, config: &config, attempt, session, inbox, trace };
            line.talk(&stored, prepared, &expected).await;
        }
        Err(reason) => {
            error!(from = %source, %reason, "a call could not be answered");
            session.reject(Instant::now(), 500, &[]);
            drain(engine, trace, session, inbox).await;
            engine.signalling.release(id);
        }
    }
}

async fn begin(
    engine: &Engine,
    config: &Config,
    peer: Hop,
    attempt: Uuid,
    expected: &Expected,
) -> Result<(store::calls::Call, Prepared), NotBegun> {
    let Expected { caller, called, did } = expected;
    let plan = config.plans.get(&did.plan).ok_or_else(|| NotBegun::UnknownPlan(did.plan.clone()))?;
    let mut vars: BTreeMap<String, String> = did.vars.clone();
    vars.entry("depot".to_owned()).or_insert_with(|| config.depot.clone());
    let language = did.language.clone().unwrap_or_default();
    let bad = |error: crate::dialplan::VarError| NotBegun::Variables(error.to_string());
    let prompts = plan.prompts(vars.clone(), &language).map_err(bad)?;
    let interpreter = Interpreter::new(plan.clone(), vars, &language).map_err(bad)?;
    let talk = Talk::new(interpreter, attempt::render(engine, prompts).await?);
    let local = engine.signalling.address_towards(peer)?;
    let leg = engine.media.open(&LegConfig::new(local.ip(), Some(config.media.rtp_timeout)))?;
    let ours = Offered {
        media: MediaPolicy { codecs: caller.codecs.clone(), telephone_event: true, ptime_ms: 20 },
        origin: SessionOrigin { id: Timestamp::now().as_second().unsigned_abs(), version: 1 },
        local_rtp: leg.local_addr(),
    };
    let (tap, recording) = LiveRecording::begin(engine, attempt).await?;
    let now = Timestamp::now();
    let arrival = Arrival {
        attempt,
        number: caller.number.clone(),
        called: called.clone(),
        plan: did.plan.clone(),
        vars: Vars(did.vars.clone()),
        language,
        via: caller.via.clone(),
        deliveries: today(now, config),
    };
    match inbound::begin(&engine.store, now, &arrival).await {
        Ok(stored) => Ok((stored, Prepared { talk, leg, ours, tap, recording })),
        Err(error) => {
            drop(tap);
            recording.discard().await;
            Err(error.into())
        }
    }
}

/// The depot's day.
fn today(now: Timestamp, config: &Config) -> (Timestamp, Timestamp) {
    let midnight = now.to_zoned(config.zone.clone()).start_of_day().map_or(now, |day| day.timestamp());
    (midnight, midnight.saturating_add(SignedDuration::from_hours(24)).unwrap_or(Timestamp::MAX))
}

/// A call with its session.
struct Line<'a> {
    engine: &'a Arc<Engine>,
    config: &'a Config,
    attempt: Uuid,
    session: Session,
    inbox: mpsc::Receiver<Inbound>,
    trace: CallTrace,
}

impl Line<'_> {
    async fn talk(self, stored: &store::calls::Call, prepared: Prepared, expected: &Expected) {
        let Line { engine, config, attempt, session, inbox, trace } = self;
        let Prepared { talk, leg, ours, tap, recording } = prepared;
        info!(call = %stored.id, from = %expected.caller.number, via = expected.caller.via, plan = stored.plan, "a call came in");
        recording.store_row(engine).await;
        let (control, orders) = mpsc::channel(4);
        engine.running().insert(stored.id, control);
        let limits = Limits { ring: expected.did.ring, duration: config.limits.max_call };
        let drive = Drive {
            engine: engine.clone(),
            attempt,
            session: session.id(),
            call: Call::incoming(Instant::now(), session, talk, ours, limits),
            leg: Some(leg),
            tap: Some(Box::new(tap)),
            inbox,
            orders,
            on_trunk: None,
            lost: engine.signalling.lost(),
            trace,
        };
        let conclusion = drive.run().await;
        engine.running().remove(&stored.id);
        conclude(engine, stored, attempt, conclusion, recording).await;
    }
}

async fn conclude(
    engine: &Engine,
    stored: &store::calls::Call,
    attempt: Uuid,
    conclusion: Option<Conclusion>,
    recording: LiveRecording,
) {
    let answered = conclusion.as_ref().filter(|conclusion| conclusion.answered);
    let end = match &conclusion {
        Some(end) => End { cause: end.cause, sip_status: end.sip_status, reason: end.reason.clone() },
        None => {
            let reason = "the call's machine ended without a conclusion".to_owned();
            End { cause: EndCause::Unknown, sip_status: None, reason: Some(reason) }
        }
    };
    let outcome = match answered {
        Some(conclusion) => conclusion.outcome.clone().unwrap_or_else(|| "answered".to_owned()),
        None => end.cause.to_string(),
    };
    info!(call = %stored.id, cause = %end.cause, outcome, "a call that came in ended");
    // The end first, for a long recording takes time; but nobody may see a recording that is about to vanish.
    match answered {
        Some(conclusion) => {
            store_end(engine, attempt, &end, outcome).await;
            recording.finish(engine, conclusion).await;
        }
        None => {
            recording.forget(engine).await;
            store_end(engine, attempt, &end, outcome).await;
        }
    }
}

/// Told again while the disk is full, as for a call that we made.
async fn store_end(engine: &Engine, attempt: Uuid, end: &End, outcome: String) {
    let next = Next::Done { outcome };
    for wait in [0, 1, 5].into_iter().chain(std::iter::repeat(15)) {
        tokio::time::sleep(Duration::from_secs(wait)).await;
        match attempts::ended(&engine.store, Timestamp::now(), attempt, end, &next).await {
            Ok(_) => return,
            Err(error @ (StoreError::NotFound { .. } | StoreError::Conflict(_))) => {
                return error!(%attempt, %error, "the end of a call could not be stored");
            }
            Err(error) => error!(%attempt, %error, "the end of a call could not be stored; trying again"),
        }
    }
}

/// Sends what a session wants sent; returns the last thing that it told.
async fn send_all(engine: &Engine, trace: &mut CallTrace, session: &mut Session) -> Option<SessionEvent> {
    let mut told = None;
    while let Some(output) = session.poll_output() {
        match output {
            SessionOutput::Transmit(transmit) => {
                trace.sent(&transmit);
                if engine.signalling.send(&transmit).await.is_err() {
                    session.handle_unreachable(Instant::now(), transmit.destination);
                }
            }
            SessionOutput::Event(event) => told = Some(event),
        }
    }
    told
}

/// Repeats a refusal until its ACK has come.
async fn drain(engine: &Engine, mut trace: CallTrace, mut session: Session, mut inbox: mpsc::Receiver<Inbound>) {
    while send_all(engine, &mut trace, &mut session).await != Some(SessionEvent::Finished) {
        let deadline = session.poll_timeout().unwrap_or_else(Instant::now);
        tokio::select! {
            Some(inbound) = inbox.recv() => {
                trace.received(&inbound);
                session.handle_message(Instant::now(), inbound.source, inbound.message);
            }
            () = tokio::time::sleep_until(deadline.into()) => session.handle_timeout(Instant::now()),
        }
    }
    trace.flush();
}
