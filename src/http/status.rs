//! Health, readiness, and what the engine has loaded.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::AppState;
use super::auth::Principal;
use super::control::{EngineStatus, PlanInfo};
use crate::store::Role;

/// `GET /healthz`: the process answers.
pub(super) async fn healthz() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// `GET /readyz`: the store answers and the engine places calls. Says no more than that to those not signed in.
pub(super) async fn readyz(State(state): State<AppState>) -> (StatusCode, Json<Value>) {
    let store = state.store.ping().await.is_ok();
    let engine = state.engine.status().ready;
    let status = if store && engine { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "store": store, "engine": engine })))
}

/// `GET /plans`.
pub(super) async fn plans(State(state): State<AppState>, _: Principal) -> Json<Vec<PlanInfo>> {
    Json(state.engine.plans())
}

/// `GET /status`.
pub(super) async fn status(
    State(state): State<AppState>,
    principal: Principal,
) -> super::problem::Result<Json<EngineStatus>> {
    principal.require(Role::Dispatcher)?;
    Ok(Json(state.engine.status()))
}
