//! Finds due calls, asks the routes for room, and spawns their attempts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::Engine;
use super::attempt;
use super::trunks::Line;
use crate::route::{Number, Ticket, Verdict};
use crate::store::{StoreError, calls, events};

/// How often the store is looked at when nobody wakes us: the command line adds calls from another process.
const LOOK: Duration = Duration::from_millis(500);

/// Calls taken from the store in one look.
const BATCH: u32 = 200;

/// How long a call waits that could not begin, before it is looked at again.
const WAIT: SignedDuration = SignedDuration::from_secs(60);

/// How often calls whose delivery has passed are closed.
const EXPIRE_EVERY: Duration = Duration::from_secs(5);

/// How often old events are removed, and how long they are kept for readers who come back.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
const KEEP_EVENTS: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Runs until the engine stops; then waits for the attempts under way.
pub async fn run(engine: Arc<Engine>) {
    let mut stop = engine.stop.subscribe();
    let mut attempts = JoinSet::new();
    let (mut expired_at, mut pruned_at) = (Instant::now(), Instant::now());
    loop {
        if !engine.is_draining()
            && let Err(error) = look(&engine, &mut attempts).await
        {
            error!(%error, "the scheduler cannot read the database; it tries again");
        }
        if expired_at.elapsed() >= EXPIRE_EVERY {
            expired_at = Instant::now();
            expire(&engine).await;
        }
        if pruned_at.elapsed() >= PRUNE_EVERY {
            pruned_at = Instant::now();
            if let Err(error) = events::prune(&engine.store, Timestamp::now(), KEEP_EVENTS).await {
                error!(%error, "old events could not be removed");
            }
        }
        tokio::select! {
            () = engine.wake.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
            Some(ended) = attempts.join_next() => {
                if let Err(error) = ended {
                    error!(%error, "an attempt's task failed; its end is found at the next start");
                }
            }
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    while attempts.join_next().await.is_some() {}
}

async fn look(engine: &Arc<Engine>, attempts: &mut JoinSet<()>) -> Result<(), StoreError> {
    for call in calls::due(&engine.store, Timestamp::now(), BATCH).await? {
        if engine.in_hand().contains(&call.id) {
            continue;
        }
        let Ok(number) = Number::parse(call.number.reveal(), None) else {
            let reason = "bad_number: the stored number is no longer one that may be dialled";
            calls::wait(&engine.store, Timestamp::now(), call.id, reason, later()).await?;
            continue;
        };
        let ticket = match take_trunk(engine, &number) {
            Ok(ticket) => ticket,
            Err(NoTrunk::Full(reason)) => {
                // Room comes back by itself when a call ends or a second passes; the due time stays as it is.
                let reason = format!("no_free_trunk: {reason}");
                if call.waiting.as_ref() != Some(&reason) {
                    calls::wait(&engine.store, Timestamp::now(), call.id, &reason, call.due_at).await?;
                }
                return Ok(());
            }
            Err(NoTrunk::None) => {
                let reason = "no_trunk: no trunk is configured; add one to sip-config/trunks";
                calls::wait(&engine.store, Timestamp::now(), call.id, reason, later()).await?;
                continue;
            }
        };
        engine.in_hand().insert(call.id);
        let engine = engine.clone();
        attempts.spawn(async move {
            begin(&engine, &call, ticket.trunk()).await;
            engine.routes().end(ticket, Verdict::Nothing, Instant::now());
            engine.in_hand().remove(&call.id);
            engine.wake.notify_one();
        });
    }
    Ok(())
}

enum NoTrunk {
    None,
    Full(String),
}

/// The best trunk with room, taken: it must be released.
fn take_trunk(engine: &Engine, number: &Number) -> Result<Ticket, NoTrunk> {
    let now = Instant::now();
    let mut routes = engine.routes();
    let choice = routes.choose(number, &[], now);
    if choice.candidates.is_empty() && choice.skipped.is_empty() {
        return Err(NoTrunk::None);
    }
    let mut why: Vec<_> = choice.skipped.iter().map(|skip| format!("{}: {}", skip.trunk, skip.reason)).collect();
    for candidate in choice.candidates {
        match routes.begin(&candidate.trunk, now) {
            Some(Ok(ticket)) => return Ok(ticket),
            Some(Err(skip)) => why.push(format!("{}: {skip}", candidate.trunk)),
            None => {}
        }
    }
    Err(NoTrunk::Full(why.join("; ")))
}

async fn begin(engine: &Arc<Engine>, call: &calls::Call, trunk: &str) {
    let config = engine.config();
    let Some(trunk) = config.trunks.get(trunk).cloned() else { return };
    let made = match Line::resolve(Arc::new(trunk)).await {
        Ok(line) => attempt::make(engine, config, call, &line).await,
        Err(error) => Err(attempt::NotBegun::Trunk(error.to_string())),
    };
    if let Err(reason) = made {
        warn!(call = %call.id, %reason, "the call waits");
        if let Err(error) = calls::wait(&engine.store, Timestamp::now(), call.id, &reason.to_string(), later()).await {
            error!(call = %call.id, %error, "cannot note why the call waits");
        }
    }
}

async fn expire(engine: &Engine) {
    match calls::expire(&engine.store, Timestamp::now()).await {
        Ok(expired) if !expired.is_empty() => info!(calls = expired.len(), "calls expired: their delivery has come"),
        Ok(_) => {}
        Err(error) => error!(%error, "cannot close expired calls"),
    }
}

fn later() -> Timestamp {
    Timestamp::now().saturating_add(WAIT).unwrap_or(Timestamp::MAX)
}
