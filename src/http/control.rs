//! What the API needs from the engine.

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

    /// Sets the figures that are counted elsewhere and read when somebody asks.
    fn measure(&self, metrics: &Metrics);

    /// How it is.
    fn status(&self) -> EngineStatus;
}
