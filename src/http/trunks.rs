//! `/trunks`: where the trunks are and how they stand.

use axum::Json;
use axum::extract::State;
use serde_json::json;

use super::AppState;
use super::auth::Principal;
use super::problem::Result;
use crate::store::Role;

/// `GET`: all, by name.
pub(super) async fn list(
    State(state): State<AppState>,
    principal: Principal,
) -> Result<Json<serde_json::Value>> {
    principal.require(Role::Dispatcher)?;
    Ok(Json(json!({ "items": state.engine.trunks() })))
}
