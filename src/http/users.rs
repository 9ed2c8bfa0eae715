//! `/users`: who may sign in. For admins.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::AppState;
use super::auth::Principal;
use super::extract::{Body, Id};
use super::problem::{Problem, Result};
use crate::pii::Secret;
use crate::store::Role;
use crate::store::secret::{MAX_PASSWORD, MIN_PASSWORD};
use crate::store::users::{self, NewUser, User};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserInput {
    username: String,
    display_name: Option<String>,
    role: Role,
    password: Secret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserChange {
    role: Option<Role>,
    password: Option<Secret>,
    disabled: Option<bool>,
}

/// `GET`: all, by name.
pub(super) async fn list(
    State(state): State<AppState>,
    principal: Principal,
) -> Result<Json<serde_json::Value>> {
    principal.require(Role::Admin)?;
    Ok(Json(json!({ "items": users::list(&state.store).await? })))
}

/// `GET /{id}`.
pub(super) async fn get(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id,
) -> Result<Json<User>> {
    principal.require(Role::Admin)?;
    Ok(Json(users::get(&state.store, id).await?))
}

/// `POST`.
pub(super) async fn create(
    State(state): State<AppState>,
    principal: Principal,
    Body(input): Body<UserInput>,
) -> Result<Response> {
    principal.require(Role::Admin)?;
    let username = input.username.trim().to_lowercase();
    let is_plain = |c: char| c.is_alphanumeric() || "._-@".contains(c);
    if username.is_empty() || username.chars().count() > 64 || !username.chars().all(is_plain) {
        return Err(Problem::field("username", "write 1 to 64 letters, digits or any of . _ - @"));
    }
    check_password(&input.password)?;
    let display_name = input.display_name.unwrap_or_else(|| username.clone());
    let new = NewUser { username, display_name, role: input.role, password: input.password };
    let user = users::add(&state.store, Timestamp::now(), &new).await?;
    let location = format!("/api/v1/users/{}", user.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(user)).into_response())
}

/// `PATCH /{id}`: role, password, disabled. An admin cannot take their own power away: somebody must keep it.
pub(super) async fn patch(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id,
    Body(change): Body<UserChange>,
) -> Result<Json<User>> {
    principal.require(Role::Admin)?;
    let weakens = change.disabled == Some(true) || change.role.is_some_and(|role| role != Role::Admin);
    if principal.user_id() == Some(id) && weakens {
        return Err(Problem::conflict("you cannot take your own admin role away: ask another admin"));
    }
    if let Some(password) = &change.password {
        check_password(password)?;
    }
    let now = Timestamp::now();
    if let Some(role) = change.role {
        users::set_role(&state.store, now, id, role).await?;
    }
    if let Some(password) = &change.password {
        users::set_password(&state.store, now, id, password).await?;
    }
    if let Some(disabled) = change.disabled {
        users::set_disabled(&state.store, now, id, disabled).await?;
    }
    Ok(Json(users::get(&state.store, id).await?))
}

fn check_password(password: &Secret) -> Result<()> {
    if password.reveal().chars().count() < MIN_PASSWORD || password.reveal().len() > MAX_PASSWORD {
        let message = format!("write at least {MIN_PASSWORD} characters and at most {MAX_PASSWORD} bytes");
        return Err(Problem::field("password", message));
    }
    Ok(())
}
