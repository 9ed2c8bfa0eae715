//! Finds due calls, asks the routes for room, and spawns their attempts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::Engine;
use super::attempt::{self, NotBegun};
use super::routing::{self, NoWay, Way};
use crate::route::Number;
use crate::store::{StoreError, calls, events};

/// How often the store is looked at when nobody wakes us: the command line adds calls from another process.
const LOOK: Duration = Duration::from_millis(500);

/// Calls taken from the store in one look.
const BATCH: u32 = 200;

/// How long a call waits that could not begin, before it is looked at again.
const WAIT: Duration = Duration::from_secs(60);

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
    let mut said_full = false;
    for call in calls::due(&engine.store, Timestamp::now(), BATCH).await? {
        if engine.in_hand().contains(&call.id) {
            continue;
        }
        let number = match Number::parse(call.number.reveal(), None) {
            Ok(number) => number,
            Err(error) => {
                calls::wait(&engine.store, Timestamp::now(), call.id, &format!("bad_number: {error}"), later(WAIT)).await?;
                continue;
            }
        };
        let way = match routing::take(engine, &number, &Vec::new()) {
            Ok(way) => way,
            Err(NoWay::Later { reason, wait }) => {
                calls::wait(&engine.store, Timestamp::now(), call.id, &reason, later(wait)).await?;
                continue;
            }
            // Room comes back by itself; the due time stays as it is. One call that says so is enough.
            Err(full) => {
                let reason = full.to_string();
                if !said_full && call.waiting.as_ref() != Some(&reason) {
                    calls::wait(&engine.store, Timestamp::now(), call.id, &reason, call.due_at).await?;
                }
                said_full = true;
                let elsewhere = !engine.config().phones.is_empty() || engine.routes().has_room(Instant::now());
                if matches!(full, NoWay::EngineFull(_)) || !elsewhere {
                    return Ok(());
                }
                continue; // another number may go over another trunk, or to a telephone of the house
            }
        };
        engine.in_hand().insert(call.id);
        let engine = engine.clone();
        attempts.spawn(async move {
            begin(&engine, &call, &number, way).await;
            engine.in_hand().remove(&call.id);
            engine.wake.notify_one();
        });
    }
    Ok(())
}

async fn begin(engine: &Arc<Engine>, call: &calls::Call, number: &Number, way: Way) {
    let Err(reason) = attempt::make(engine, engine.config(), call, number, way).await else { return };
    warn!(call = %call.id, %reason, "the call waits");
    let wait = match &reason {
        NotBegun::NoWay(NoWay::Later { wait, .. }) => *wait,
        _ => WAIT,
    };
    if let Err(error) = calls::wait(&engine.store, Timestamp::now(), call.id, &reason.to_string(), later(wait)).await {
        error!(call = %call.id, %error, "cannot note why the call waits");
    }
}

async fn expire(engine: &Engine) {
    match calls::expire(&engine.store, Timestamp::now()).await {
        Ok(expired) if !expired.is_empty() => info!(calls = expired.len(), "calls expired: their delivery has come"),
        Ok(_) => {}
        Err(error) => error!(%error, "cannot close expired calls"),
    }
}

fn later(wait: Duration) -> Timestamp {
    Timestamp::now().saturating_add(wait).unwrap_or(Timestamp::MAX)
}
