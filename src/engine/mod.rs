//! The engine: everything that a running Callahead does, around the pure core.
//!
//! | file | what it is |
//! |---|---|
//! | [`start`] | builds the parts in the order in which they can fail, recovers from a crash, runs until told to stop |
//! | `scheduler` | finds due calls, asks the routes for room, spawns attempts |
//! | `attempt` | one attempt from a due call to its stored end |
//! | `drive` | the loop that carries out what a [`crate::call::Call`] wants |
//! | `routing` | which trunk a call takes, and what its end says about the trunk |
//! | `inbound` | who may call us, and which plan answers |
//! | `phones` | telephones of the house that register |
//! | `onnet` | calls to those telephones, past the trunks |
//! | `answering` | one call that came in, to its stored end |
//! | `trunks` | where a trunk is, and the INVITE that it gets |
//! | `resolver` | names to hops, by the DNS and `/etc/hosts` |
//! | `health` | asks trunks by OPTIONS whether they live; what was seen of each |
//! | `registrar` | keeps trunks' addresses known and registrations alive |
//! | [`signalling`] | one endpoint over the transports: messages to the tasks of their sessions |
//! | `transport` | UDP, TCP, TLS and WebSocket: sockets, connections, their limits |
//! | [`media`] | the media threads |
//! | `recordings` | journals become files, files become transcription jobs |
//! | `transcription` | takes transcription jobs and hands them to worker processes |
//! | `trace` | keeps the SIP messages of calls and registrations |
//! | `control` | what the API may ask |
//! | `reload` | an edited file is read, validated and swapped; running calls keep what they began with |
//!
//! Shutdown: SIGTERM or Ctrl-C begins a drain. No new calls begin, running ones finish (bounded), then everything stops.

mod answering;
mod attempt;
mod control;
mod drive;
mod health;
mod inbound;
pub mod media;
mod onnet;
mod phones;
mod recordings;
mod registrar;
mod reload;
mod resolver;
mod routing;
mod scheduler;
pub mod signalling;
mod start;
mod trace;
mod transcription;
mod transport;
mod trunks;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::record::Recorder;
use crate::route::Routes;
use crate::speech::PromptCache;
use crate::store::Store;

pub use start::{Running, StartError, start};

/// How long running calls may go on after the engine was told to stop.
pub const DRAIN: Duration = Duration::from_secs(120);

/// The parts that every task of the engine shares.
pub struct Engine {
    store: Store,
    config_dir: PathBuf,
    config: RwLock<Arc<Config>>,
    routes: Mutex<Routes>,
    signalling: Arc<signalling::Signalling>,
    resolver: Arc<resolver::Resolver>,
    /// What was seen of each trunk.
    watched: Mutex<health::AllWatched>,
    media: media::MediaPool,
    metrics: Arc<Metrics>,
    /// The way to the writer of traces.
    traces: mpsc::Sender<trace::Entry>,
    arrivals: inbound::Arrivals,
    phones: phones::Phones,
    recorder: Recorder,
    prompts: RwLock<Arc<PromptCache>>,
    /// Calls with an attempt under way, and how to reach them.
    running: Mutex<HashMap<Uuid, mpsc::Sender<drive::Control>>>,
    /// Calls that the scheduler has taken and whose attempt is not yet stored as over.
    in_hand: Mutex<HashSet<Uuid>>,
    /// Calls that are concluded and whose last SIP transactions go on.
    lingering: Mutex<JoinSet<()>>,
    wake: Notify,
    transcribe: Notify,
    trunks_changed: Notify,
    draining: AtomicBool,
    stop: watch::Sender<bool>,
    /// The SIP socket outlives the other tasks: the last BYEs need it.
    sockets_stop: watch::Sender<bool>,
}

impl Engine {
    /// The configuration of this moment; a call keeps the one it began with.
    fn config(&self) -> Arc<Config> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn prompts(&self) -> Arc<PromptCache> {
        self.prompts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watched(&self) -> MutexGuard<'_, health::AllWatched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Uuid, mpsc::Sender<drive::Control>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_hand(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lingering(&self) -> MutexGuard<'_, JoinSet<()>> {
        let mut tasks = self.lingering.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}
