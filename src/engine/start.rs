//! Starting and stopping: the parts are built in the order in which they can fail, nothing is bound before the configuration
//! is known to be good, and what a crash left behind is put right before the first call is made.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::media::{MediaPool, PoolConfig};
use super::resolver::Resolver;
use super::signalling::{self, BindError, Listen, Signalling, TlsError};
use super::{
    DRAIN, Engine, health, inbound, phones, recordings, registrar, reload, routing, scheduler, trace, transcription,
};
use crate::config::{Config, Sip};
use crate::http;
use crate::metrics::Metrics;
use crate::record::{RecordError, Recorder, RecorderConfig};
use crate::route::Routes;
use crate::sip::endpoint::{Accept, EndpointConfig};
use crate::speech::{PromptCache, SpeechError};
use crate::store::{self, Planner, Store, StoreError};

/// Why the engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error("cannot listen on {what} {address}: {source}; is another engine running, or is the address not this machine's?")]
    Bind {
        /// Which socket.
        what: &'static str,
        /// The configured address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Another engine serves the data folder.
    #[error("another engine (process {pid}) serves {folder}; stop it first, or give this one another --data folder")]
    Taken {
        /// Its process.
        pid: u32,
        /// The data folder.
        folder: PathBuf,
    },
    /// A folder or file cannot be made or read.
    #[error("{path}: {source}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Our certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The recorder.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The folder of rendered prompts.
    #[error(transparent)]
    Speech(#[from] SpeechError),
    /// Threads or sockets for media.
    #[error("media threads: {0}")]
    Media(io::Error),
}

/// A running engine.
pub struct Running {
    engine: Arc<Engine>,
    tasks: JoinSet<()>,
    instance: uuid::Uuid,
    http: SocketAddr,
}

/// Starts everything. `config` is known to be good; `models` is the folder with the speech models.
///
/// # Errors
/// See [`StartError`]; nothing keeps running.
pub async fn start(config_dir: &Path, config: Config, models: &Path) -> Result<Running, StartError> {
    let folder = |path: &Path| {
        let path = path.to_owned();
        std::fs::create_dir_all(&path).map_err(|source| StartError::Folder { path: path.clone(), source }).map(|()| path)
    };
    let data = folder(&config.data)?;
    let store = Store::open(data.join("callahead.db")).await?;
    let claimed = store::engine::claim(&store, Timestamp::now(), std::process::id(), is_gone).await?;
    let instance = claimed.map_err(|other| StartError::Taken { pid: other.pid, folder: data.clone() })?.instance;

    let recordings_dir = folder(&data.join("recordings"))?;
    let recorder = Recorder::start(RecorderConfig {
        directory: recordings_dir,
        min_free_bytes: config.recordings.min_free_mb << 20,
    })?;
    let prompts = RwLock::new(Arc::new(prompts(&data, &config)?));
    let (signalling, media, listener) = bind(&config).await?;
    let routes = Routes::new(config.route_rules(), Instant::now());
    let metrics = Arc::new(Metrics::new(signalling.counts.clone()));
    let (traces, traced) = trace::queue();
    let phones = phones::Phones::new(&config);
    let (stop, _) = watch::channel(false);
    let (sockets_stop, _) = watch::channel(false);
    let engine = Arc::new(Engine {
        store: store.clone(),
        config_dir: config_dir.to_owned(),
        resolver: Arc::new(Resolver::new(&config.sip.dns)),
        config: RwLock::new(Arc::new(config)),
        routes: Mutex::new(routes),
        signalling,
        media,
        metrics,
        traces,
        arrivals: inbound::Arrivals::new(),
        phones,
        recorder,
        prompts,
        watched: Mutex::default(),
        running: Mutex::default(),
        in_hand: Mutex::default(),
        lingering: Mutex::default(),
        wake: Notify::new(),
        transcribe: Notify::new(),
        trunks_changed: Notify::new(),
        draining: AtomicBool::new(false),
        stop,
        sockets_stop,
    });
    put_right(&engine).await?;
    if store::users::list(&store).await?.is_empty() {
        warn!("nobody can sign in yet: callahead user add NAME --role admin");
    }
    let http = listener.local_addr().map_err(|source| StartError::Folder { path: data, source })?;
    let mut tasks = spawn(&engine, listener, models, instance).await;
    tasks.spawn(trace::run(engine.clone(), traced));
    Ok(Running { engine, tasks, instance, http })
}

/// The cache of rendered prompts for the configured voices.
pub(super) fn prompts(data: &Path, config: &Config) -> Result<PromptCache, SpeechError> {
    PromptCache::new(data.join("prompts"), config.voices.clone())
}

async fn bind(config: &Config) -> Result<(Arc<Signalling>, MediaPool, TcpListener), StartError> {
    let address = config.http.listen;
    let listener =
        TcpListener::bind(address).await.map_err(|source| StartError::Bind { what: "HTTP", address, source })?;
    let endpoint = EndpointConfig {
        user_agent: concat!("Callahead/", env!("CARGO_PKG_VERSION")).to_owned(),
        accept: Accept::From(HashSet::new()),
        incoming: true,
        registrar: false,
        messages: false,
        // Sessions linger after their call for up to 64*T1, so that late packets are answered.
        max_sessions: (config.limits.max_calls.saturating_mul(2))
            .saturating_add(config.limits.calls_per_second.saturating_mul(64)) as usize,
    };
    let signalling = Signalling::bind(listen(config)?, endpoint, rand::random())
        .await
        .map_err(|BindError { what, address, source }| StartError::Bind { what, address, source })?;
    let (first, last) = config.media.rtp_ports;
    let cores = || std::thread::available_parallelism().map_or(2, usize::from);
    let threads = config.media.threads.unwrap_or_else(cores);
    let pool = PoolConfig { threads, ports: first..=last, ..PoolConfig::default() };
    let media = MediaPool::start(&pool).map_err(StartError::Media)?;
    Ok((signalling, media, listener))
}

/// The SIP sockets, with our certificate where there is one.
fn listen(config: &Config) -> Result<Listen, StartError> {
    let Sip { listen, listen_tls, listen_ws, listen_wss, identity, keep_trace: _, dns: _ } = config.sip.clone();
    let identity = identity.map(|(certificate, key)| signalling::server_config(&certificate, &key)).transpose()?;
    Ok(Listen { plain: listen, tls: listen_tls, ws: listen_ws, wss: listen_wss, identity, ..Listen::default() })
}

/// What a crash left behind: attempts become `unknown`, journals become recordings.
async fn put_right(engine: &Engine) -> Result<(), StartError> {
    for attempt in store::attempts::recover_after_crash(&engine.store, Timestamp::now()).await? {
        warn!(attempt = %attempt.id, "the engine died during this attempt: it is `unknown` and is not dialled again by itself");
    }
    recordings::recover(engine).await;
    Ok(())
}

async fn spawn(engine: &Arc<Engine>, listener: TcpListener, models: &Path, instance: uuid::Uuid) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let signalling_stop = engine.sockets_stop.subscribe();
    let (unclaimed, arrivals) = Signalling::unclaimed();
    let signalling = engine.signalling.clone();
    tasks.spawn(async move {
        let mut stop = signalling_stop;
        tokio::select! {
            () = signalling.run(unclaimed) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    });
    tasks.spawn(inbound::run(engine.clone(), arrivals));
    tasks.spawn(beat(engine.clone(), instance));
    tasks.spawn(reload::run(engine.clone()));
    tasks.spawn(registrar::run(engine.clone()));
    tasks.spawn(health::run(engine.clone()));
    tasks.spawn(scheduler::run(engine.clone()));
    transcription::spawn(engine, models, &mut tasks);
    let app = http::router(http::AppState::new(engine.store.clone(), engine.clone(), engine.metrics.clone(), http_config(&engine.config())));
    let mut stop = engine.stop.subscribe();
    tasks.spawn(async move {
        let service = app.into_make_service_with_connect_info::<SocketAddr>();
        let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
        tokio::select! {
            served = axum::serve(listener, service) => {
                if let Err(error) = served {
                    error!(%error, "the HTTP server stopped");
                }
            }
            () = stopped => {}
        }
    });
    tasks
}

impl Running {
    /// Where the page is.
    pub fn http_addr(&self) -> SocketAddr {
        self.http
    }

    /// Where SIP is spoken.
    pub fn sip_addr(&self) -> SocketAddr {
        self.engine.signalling.local_addr()
    }

    /// Stops: no new calls, running ones finish within [`DRAIN`] or until `hurry` resolves, then everything ends.
    pub async fn stop(mut self, hurry: impl Future<Output = ()>) {
        self.engine.draining.store(true, Ordering::Relaxed);
        let drained = async {
            while !self.engine.in_hand().is_empty() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            () = drained => {}
            () = hurry => warn!("told to hurry: running calls are hung up"),
            () = tokio::time::sleep(DRAIN) => warn!("the drain took too long: running calls are hung up"),
        }
        let calls: Vec<_> = self.engine.running().values().cloned().collect();
        for call in calls {
            // A full or closed queue means that it is hanging up already.
            let _ = call.try_send(super::drive::Control::HangUp);
        }
        self.engine.stop.send_replace(true);
        let finish = async { while self.tasks.join_next().await.is_some() {} };
        let sockets = self.engine.sockets_stop.clone();
        tokio::select! {
            () = finish => {}
            () = async {
                // The scheduler waits for the last attempts, whose BYEs need the socket; then the socket goes as well.
                while !self.engine.in_hand().is_empty() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                // A peer that answers at all has answered our last BYE by then; what lingers on after it only absorbs
                // retransmissions.
                tokio::time::sleep(FAREWELL).await;
                sockets.send_replace(true);
                std::future::pending::<()>().await;
            } => {}
            () = tokio::time::sleep(LAST_WAIT) => warn!("some tasks did not end in time"),
        }
        if let Err(error) = store::engine::release(&self.engine.store, Timestamp::now(), self.instance).await {
            error!(%error, "the engine's place in the database was not released");
        }
        self.engine.store.close().await;
        let sip = &self.engine.signalling.counters;
        let media = self.engine.media.statistics();
        info!(
            sip_received = sip.received.load(Ordering::Relaxed),
            sip_dropped = sip.dropped.load(Ordering::Relaxed),
            sip_overflowed = sip.overflowed.load(Ordering::Relaxed),
            rtp_received = media.packets_in,
            rtp_sent = media.packets_out,
            "stopped"
        );
    }
}

/// For the last BYEs and for unregistering at the trunks: three transmissions of a lost one (RFC 3261 §17.1.2.2).
const FAREWELL: Duration = Duration::from_secs(2);

/// The longest that stopping may take after the drain: the timers of the last BYE (64*T1 = 32 s) and a little.
const LAST_WAIT: Duration = Duration::from_secs(40);

/// How often the engine says that it lives.
const BEAT: Duration = Duration::from_secs(2);

async fn beat(engine: Arc<Engine>, instance: uuid::Uuid) {
    let mut stop = engine.stop.subscribe();
    loop {
        match store::engine::beat(&engine.store, Timestamp::now(), instance, &routing::states(&engine)).await {
            Ok(true) => {}
            Ok(false) => {
                error!("another engine has taken over this data folder: no new calls are begun here");
                engine.draining.store(true, Ordering::Relaxed);
            }
            Err(error) => error!(%error, "the heartbeat could not be stored"),
        }
        tokio::select! {
            () = tokio::time::sleep(BEAT) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Whether no such process exists: after a `kill -9` the next start need not wait for the heartbeat to grow old.
fn is_gone(pid: u32) -> bool {
    !Path::new("/proc").join(pid.to_string()).exists()
}

fn http_config(config: &Config) -> http::HttpConfig {
    http::HttpConfig {
        planner: Planner {
            zone: config.zone.clone(),
            depot: config.depot.clone(),
            max_attempts: config.calls.max_attempts,
        },
        default_plan: Some(config.calls.default_plan.clone()),
        default_lead_seconds: u32::try_from(config.calls.lead.as_secs()).unwrap_or(u32::MAX),
        data_dir: config.data.clone(),
        secure_cookies: false,
        open_metrics: config.http.listen.ip().is_loopback(),
    }
}
