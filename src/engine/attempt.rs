//! One attempt from a due call to its stored end: prompts rendered, journal and leg opened, made durable, dialled, driven,
//! concluded. When the trunk or the network failed before the callee heard of it, the next trunk is tried at once; the chain
//! counts as one try of the call. What can fail without dialling fails before the attempt is durable, and the call waits with the reason.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::Engine;
use super::drive::Drive;
use super::media::{Leg, LegConfig};
use super::onnet::Peer;
use super::recordings::LiveRecording;
use super::routing::{self, Failed, NoWay, OnTrunk, Way};
use super::trace::CallTrace;
use crate::call::{Call, Conclusion, EndCause, Limits, Offered, PromptAudio, Talk};
use crate::config::Config;
use crate::dialplan::{Interpreter, Prompt, VarError};
use crate::record::{self, RecordError};
use crate::route::Number;
use crate::schedule::{self, NextAttempt, RetryPolicy};
use crate::sdp::{self, Direction, SessionOrigin};
use crate::sip::session::{OutgoingInvite, Session};
use crate::store::attempts::{self, End, Next};
use crate::store::{self, CallState, StoreError};

/// Why a due call did not begin. The text is shown on the page; the call waits and is looked at again.
#[derive(Debug, thiserror::Error)]
pub enum NotBegun {
    /// The plan was renamed or removed since the call was made.
    #[error("unknown_plan: there is no dialplan `{0}`; put it back into the folder or cancel the call")]
    UnknownPlan(String),
    /// The call's variables do not fit the plan.
    #[error("bad_variables: {0}")]
    Variables(String),
    /// A prompt could not be spoken or read.
    #[error("prompt: {0}")]
    Prompt(String),
    /// There is no room for a recording, or its folder cannot be written.
    #[error("{0}")]
    Recording(#[from] RecordError),
    /// No port, socket or route for media.
    #[error("media: {0}")]
    Media(#[from] std::io::Error),
    /// The trunk's names make no URI.
    #[error("trunk: {0}")]
    Trunk(String),
    /// No trunk may carry it.
    #[error("{0}")]
    NoWay(#[from] NoWay),
    /// The database refused.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// Everything that is ready before the first INVITE.
struct Prepared {
    talk: Talk,
    leg: Leg,
    invite: OutgoingInvite,
    offered: Offered,
    tap: record::Tap,
    recording: LiveRecording,
}

/// One try of `call`: an attempt over the trunk that was chosen and, while trunks fail before the callee has heard of it, one
/// over each that is next. Returns when the last end is stored.
///
/// # Errors
/// Nothing was dialled, or nothing more after a trunk had failed, for the reason given.
pub async fn make(
    engine: &Arc<Engine>,
    config: Arc<Config>,
    call: &store::calls::Call,
    number: &Number,
    way: Way,
) -> Result<(), NotBegun> {
    let mut failed = Failed::new();
    let mut next = Some(routing::resolve(engine, number, way, &mut failed).await?);
    while let Some((way, line)) = next {
        next = one(engine, &config, call, number, (way, line), &mut failed).await?;
    }
    Ok(())
}

/// One attempt. `Some`: its trunk failed, it is stored as ended, and this is where the call goes next.
async fn one(
    engine: &Arc<Engine>,
    config: &Config,
    call: &store::calls::Call,
    number: &Number,
    (way, peer): (Way, Peer),
    failed: &mut Failed,
) -> Result<Option<(Way, Peer)>, NotBegun> {
    let attempt = Uuid::now_v7();
    if let Peer::Absent(name) = &peer {
        absent(engine, config, call, attempt, way, name).await?;
        return Ok(None);
    }
    let prepared = prepare(engine, config, call, number, attempt, &peer).await?;
    match attempts::begin_dialing(&engine.store, Timestamp::now(), attempt, call.id, way.route.clone()).await {
        Ok(Some(_)) => {}
        Ok(None) => {
            prepared.discard().await; // cancelled or taken meanwhile
            return Ok(None);
        }
        Err(error) => {
            prepared.discard().await;
            return Err(error.into());
        }
    }
    let trunk = &way.route.trunk;
    let (conclusion, recording) = dial(engine, config, call.id, attempt, trunk, prepared, way.on_trunk).await;
    info!(call = %call.id, trunk, cause = %conclusion.cause, outcome = conclusion.outcome, "attempt ended");
    if conclusion.answered {
        // The end first: it must not be lost while a long recording is finished.
        conclude(engine, attempt, &conclusion, &what_next(config, call, &conclusion)).await;
        recording.finish(engine, &conclusion).await;
        return Ok(None);
    }
    // Whoever sees the call done must not see a recording that is about to vanish.
    recording.forget(engine).await;
    let mut next = None;
    if matches!(peer, Peer::Trunk(_)) && routing::may_fail_over(&conclusion) {
        failed.push((trunk.clone(), conclusion.reason.clone().unwrap_or_else(|| conclusion.cause.to_string())));
        next = routing::another(engine, number, failed).await;
    }
    let then = match &next {
        Some(_) => Next::Retry { at: Timestamp::now(), counts: false },
        None => what_next(config, call, &conclusion),
    };
    let after = conclude(engine, attempt, &conclusion, &then).await;
    let goes_on = after.is_some_and(|call| call.state == CallState::Pending);
    if let Some((way, _)) = next.as_ref().filter(|_| goes_on) {
        warn!(call = %call.id, from = trunk, to = way.route.trunk, "the trunk failed: the next is tried");
    }
    Ok(next.filter(|_| goes_on))
}

/// The attempt to reach a telephone that has not registered: nobody answers it.
async fn absent(
    engine: &Engine,
    config: &Config,
    call: &store::calls::Call,
    attempt: Uuid,
    way: Way,
    name: &str,
) -> Result<(), NotBegun> {
    let begun = attempts::begin_dialing(&engine.store, Timestamp::now(), attempt, call.id, way.route).await?;
    if begun.is_some() {
        info!(call = %call.id, telephone = name, "a telephone that is not registered cannot be called");
        let reason = format!("the telephone {name} is not registered");
        let conclusion = unanswered(EndCause::NoAnswer, reason);
        conclude(engine, attempt, &conclusion, &what_next(config, call, &conclusion)).await;
    }
    Ok(())
}

fn unanswered(cause: EndCause, reason: String) -> Conclusion {
    Conclusion {
        cause,
        sip_status: None,
        reason: Some(reason),
        outcome: None,
        answers: Vec::new(),
        collected: BTreeMap::new(),
        answered: false,
        reached: false,
    }
}

impl Prepared {
    async fn discard(self) {
        drop(self.tap);
        self.recording.discard().await;
    }
}

async fn prepare(
    engine: &Engine,
    config: &Config,
    call: &store::calls::Call,
    number: &Number,
    attempt: Uuid,
    peer: &Peer,
) -> Result<Prepared, NotBegun> {
    let plan = config.plans.get(&call.plan).ok_or_else(|| NotBegun::UnknownPlan(call.plan.clone()))?;
    let mut vars: BTreeMap<String, String> = call.vars.0.clone();
    vars.entry("depot".to_owned()).or_insert_with(|| config.depot.clone());
    let bad_vars = |error: VarError| NotBegun::Variables(error.to_string());
    let prompts = plan.prompts(vars.clone(), &call.language).map_err(bad_vars)?;
    let interpreter = Interpreter::new(plan.clone(), vars, &call.language).map_err(bad_vars)?;
    let talk = Talk::new(interpreter, render(engine, prompts).await?);

    peer.tls_peers().for_each(|(address, peer)| engine.signalling.learn_tls_peer(address, peer));
    let nobody = || std::io::Error::from(std::io::ErrorKind::NotFound);
    let local = engine.signalling.address_towards(peer.hop().ok_or_else(nobody)?)?;
    let leg = engine.media.open(&LegConfig::new(local.ip(), Some(config.media.rtp_timeout)))?;
    let origin = SessionOrigin { id: Timestamp::now().as_second().unsigned_abs(), version: 1 };
    let offered = Offered { media: peer.media(), origin, local_rtp: peer.media_address(leg.local_addr()) };
    let sdp = sdp::offer(&offered.media, offered.origin, offered.local_rtp, Direction::SendRecv);
    let invite = peer.invite(number, local, sdp).ok_or_else(nobody)?;
    let invite = invite.map_err(|error| NotBegun::Trunk(error.to_string()))?;
    // Last, because it leaves a file: nothing after it fails without discarding it.
    let (tap, recording) = LiveRecording::begin(engine, attempt).await?;
    Ok(Prepared { talk, leg, invite, offered, tap, recording })
}

pub(super) async fn render(engine: &Engine, prompts: Vec<Prompt>) -> Result<PromptAudio, NotBegun> {
    let (cache, mut audio) = (engine.prompts(), PromptAudio::new());
    for prompt in prompts {
        let samples = match &prompt {
            Prompt::Text { language, text } => cache.text(language, text).await,
            Prompt::File(path) => cache.file(path).await,
        };
        audio.insert(prompt, samples.map_err(|error| NotBegun::Prompt(error.to_string()))?);
    }
    Ok(audio)
}

/// From the first INVITE to the last transaction's end.
async fn dial(
    engine: &Arc<Engine>,
    config: &Config,
    call: Uuid,
    attempt: Uuid,
    trunk: &str,
    prepared: Prepared,
    on_trunk: OnTrunk,
) -> (Conclusion, LiveRecording) {
    let Prepared { talk, leg, invite, offered, tap, recording } = prepared;
    // The recording's row exists before the answer.
    recording.store_row(engine).await;
    let (control, orders) = mpsc::channel(4);
    engine.running().insert(call, control);
    let (seed, inbox) = engine.signalling.connect();
    let (session_id, now) = (seed.id, Instant::now());
    let trace = CallTrace::new(engine, attempt, trunk, &seed.call_id, invite.local);
    let session = Session::invite(now, seed, invite);
    let limits = Limits { ring: config.calls.ring_timeout, duration: config.limits.max_call };
    let drive = Drive {
        engine: engine.clone(),
        attempt,
        session: session_id,
        call: Call::new(now, session, talk, offered, limits),
        leg: Some(leg),
        tap: Some(Box::new(tap)),
        inbox,
        lost: engine.signalling.lost(),
        orders,
        on_trunk: Some(on_trunk),
        trace,
    };
    let conclusion = drive.run().await.unwrap_or_else(|| {
        let reason = "the call's machine ended without a conclusion".to_owned();
        Conclusion { reached: true /* for all we know */, ..unanswered(EndCause::Unknown, reason) }
    });
    engine.running().remove(&call);
    (conclusion, recording)
}

/// Stores the end and what becomes of the call, which is returned. While the database refuses, for as long as the disk is full, it is told again
/// and again: an attempt that is found unfinished at the next start loses its outcome.
async fn conclude(
    engine: &Engine,
    attempt: Uuid,
    conclusion: &Conclusion,
    next: &Next,
) -> Option<store::calls::Call> {
    let end = End { cause: conclusion.cause, sip_status: conclusion.sip_status, reason: conclusion.reason.clone() };
    for wait in [0, 1, 5].into_iter().chain(std::iter::repeat(15)) {
        tokio::time::sleep(Duration::from_secs(wait)).await;
        match attempts::ended(&engine.store, Timestamp::now(), attempt, &end, next).await {
            Ok(call) => return Some(call),
            Err(error @ (StoreError::NotFound { .. } | StoreError::Conflict(_))) => {
                error!(%attempt, %error, "the end of an attempt could not be stored");
                return None;
            }
            Err(error) => error!(%attempt, %error, "the end of an attempt could not be stored; trying again"),
        }
    }
    None
}

fn what_next(config: &Config, call: &store::calls::Call, conclusion: &Conclusion) -> Next {
    if conclusion.answered {
        let outcome = conclusion.outcome.clone().unwrap_or_else(|| match conclusion.cause {
            EndCause::Human => "answered".to_owned(),
            cause => cause.to_string(),
        });
        return Next::Done { outcome };
    }
    let policy = RetryPolicy { max_attempts: call.max_attempts, retry_after: config.calls.retry_after };
    let made = call.attempts_made + 1;
    match schedule::next_attempt(Timestamp::now(), made, conclusion.cause, &policy, Some(call.not_after)) {
        NextAttempt::Retry { at } => Next::Retry { at, counts: true },
        NextAttempt::GiveUp { .. } => Next::Done { outcome: conclusion.cause.to_string() },
    }
}
