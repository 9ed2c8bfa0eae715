//! The HTTP API under `/api/v1` and the embedded web page.
//!
//! A file a resource; a handler extracts, makes one call into the store or the engine, and maps the result. What applies to
//! all is in [`guard`] (who may do what, cross-site requests, headers, time limit) and [`problem`] (errors, RFC 9457).
//!
//! The engine is known by the trait [`EngineControl`] only, so that this module depends on no part of a call.

mod auth;
mod calls;
mod control;
mod deliveries;
mod delivery_input;
mod events;
mod extract;
mod guard;
mod metrics;
mod page;
mod problem;
mod range;
mod recordings;
mod session;
mod status;
mod throttle;
mod trace;
mod trunks;
mod users;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use tokio::sync::Semaphore;

pub use control::{EngineControl, EngineStatus, PlanInfo, TrunkInfo, VarProblem};

use crate::metrics::Metrics;
use crate::store::{Planner, Store};
use throttle::SignInThrottle;

/// The largest body of a request, in bytes, where nothing else is said.
const BODY_LIMIT: usize = 64 * 1024;
/// The largest body of a bulk request, in bytes: 1000 deliveries of 2 kB.
const BULK_BODY_LIMIT: usize = 2 * 1024 * 1024;
/// How many event streams may be open at once.
const EVENT_STREAMS: usize = 256;
/// How many passwords are hashed at once; each takes 19 MB and a core.
const PASSWORD_CHECKS: usize = 2;

/// What the handlers are told by the configuration.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// How a delivery becomes a call; its zone is also the zone of `?day=`.
    pub planner: Planner,
    /// The plan of a delivery that does not say; `None`: such a delivery is not called.
    pub default_plan: Option<String>,
    /// How long before its ETA a delivery that does not say is called, in seconds.
    pub default_lead_seconds: u32,
    /// Where recordings with a relative path are.
    pub data_dir: PathBuf,
    /// Marks the session cookie `Secure`: set it when the page is reached by HTTPS.
    pub secure_cookies: bool,
    /// `/metrics` asks for no login: the API listens for this machine only.
    pub open_metrics: bool,
}

/// What the handlers share. Cloning is cheap.
#[derive(Clone)]
pub struct AppState {
    store: Store,
    engine: Arc<dyn EngineControl>,
    metrics: Arc<Metrics>,
    config: Arc<HttpConfig>,
    throttle: Arc<SignInThrottle>,
    streams: Arc<Semaphore>,
    password_checks: Arc<Semaphore>,
}

impl AppState {
    /// Puts the parts together.
    pub fn new(store: Store, engine: Arc<dyn EngineControl>, metrics: Arc<Metrics>, config: HttpConfig) -> Self {
        Self {
            store,
            engine,
            metrics,
            config: Arc::new(config),
            throttle: Arc::new(SignInThrottle::default()),
            streams: Arc::new(Semaphore::new(EVENT_STREAMS)),
            password_checks: Arc::new(Semaphore::new(PASSWORD_CHECKS)),
        }
    }
}

/// The whole site. Serve it with `into_make_service_with_connect_info::<SocketAddr>()`, so that signing in is throttled by
/// address.
pub fn router(state: AppState) -> Router {
    let api = Router::new()
        .route("/session", get(session::me).post(session::sign_in).delete(session::sign_out))
        .route("/deliveries", get(deliveries::list).post(deliveries::create))
        .route("/deliveries/bulk", post(deliveries::bulk).layer(DefaultBodyLimit::max(BULK_BODY_LIMIT)))
        .route("/deliveries/{id}", get(deliveries::get).patch(deliveries::patch))
        .route("/calls", get(calls::list).post(calls::create))
        .route("/calls/{id}", get(calls::get))
        .route("/calls/{id}/trace", get(trace::get))
        .route("/calls/{id}/trace.pcap", get(trace::pcap))
        .route("/calls/{id}/cancel", post(calls::cancel))
        .route("/calls/{id}/hang-up", post(calls::hang_up))
        .route("/recordings/{id}", get(recordings::get))
        .route("/recordings/{id}/audio.wav", get(recordings::audio))
        .route("/recordings/{id}/listened", post(recordings::listened))
        .route("/events", get(events::stream))
        .route("/plans", get(status::plans))
        .route("/status", get(status::status))
        .route("/trunks", get(trunks::list))
        .route("/users", get(users::list).post(users::create))
        .route("/users/{id}", get(users::get).patch(users::patch));
    Router::new()
        .nest("/api/v1", api)
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .route("/metrics", get(metrics::show))
        .merge(page::routes())
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn(guard::time_limit))
        .layer(from_fn(guard::same_site))
        .layer(from_fn(guard::headers))
        .layer(from_fn_with_state(state.clone(), metrics::count))
        .with_state(state)
}
