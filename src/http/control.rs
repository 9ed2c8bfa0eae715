//! What the API needs from the engine.

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::metrics::Metrics;
use crate::store::Vars;

/// A dialplan as callers of the API see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanInfo {
    /// The name used in requests: the file's name without its ending.
    pub name: String,
    /// Its title for people.
    pub title: String,
    /// Its languages; the first is the fallback.
    pub languages: Vec<String>,
    /// The variables a call must bring.
    pub required_vars: Vec<String>,
}

/// A variable that a plan does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VarProblem {
    /// Its name.
    pub name: String,
    /// What is wrong with it and what to write instead.
    pub message: String,
}

/// How the engine is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EngineStatus {
    /// It places calls when they are due.
    pub ready: bool,
    /// It finishes its calls and begins none.
    pub draining: bool,
    /// Calls in progress.
    pub active_calls: u32,
    /// What keeps it from working, for a person: an unregistered trunk, a full disk.
    pub problems: Vec<String>,
}

/// A trunk and how it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrunkInfo {
    /// Its name: the file's name without its ending.
    pub name: String,
    /// Its host, as configured.
    pub host: String,
    /// Where that is now, `udp:192.0.2.1:5060`, the first to try first.
    pub hops: Vec<String>,
    /// Whether we are to be registered.
    pub registers: bool,
    /// Since when we are.
    pub registered_since: Option<Timestamp>,
    /// When it last refused.
    pub registration_failed_at: Option<Timestamp>,
    /// Why.
    pub registration_failure: Option<String>,
    /// Our address as the trunk sees it.
    pub seen_at: Option<String>,
    /// Whether it lives: `unknown`, `up` or `down`.
    pub health: &'static str,
    /// Since when.
    pub health_since: Option<Timestamp>,
    /// Why the last question whether it lives failed.
    pub health_reason: Option<String>,
    /// Its circuit breaker: `closed`, `open` or `probing`.
    pub breaker: &'static str,
    /// Calls that run on it.
    pub active_calls: u32,
    /// How many of its last calls are known.
    pub known_calls: usize,
    /// The share of those that were answered, 0 to 1; none without any.
    pub answer_rate: Option<f64>,
}

/// The engine behind the API. No method blocks.
pub trait EngineControl: Send + Sync + 'static {
    /// Calls were added or changed in the store: look for due ones now.
    fn wake(&self);

    /// Ends an active call at once. False: this engine has no such call.
    fn hang_up(&self, call_id: Uuid) -> bool;

    /// The loaded dialplans.
    fn plans(&self) -> Vec<PlanInfo>;

    /// Whether a plan can begin with these variables.
    ///
    /// # Errors
    /// The variable that is missing, unknown or of the wrong type, and what to write instead.
    fn check_vars(&self, plan: &str, vars: &Vars, language: &str) -> Result<(), VarProblem>;

    /// The E.164 form of a number as a person wrote it.
    ///
    /// # Errors
    /// What is wrong with it and what to write instead.
    fn check_number(&self, raw: &str) -> Result<String, String>;

    /// The trunks, by name.
    fn trunks(&self) -> Vec<TrunkInfo>;

    /// Sets the figures that are counted elsewhere and read when somebody asks.
    fn measure(&self, metrics: &Metrics);

    /// How it is.
    fn status(&self) -> EngineStatus;
}
