//! `/session`: signing in and out, and who one is.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use axum::Json;
use axum::extract::{ConnectInfo, FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::AppState;
use super::auth::{COOKIE_NAME, Principal, session_token};
use super::extract::Body;
use super::problem::{Problem, Result};
use crate::pii::Secret;
use crate::store::users::{self, User};
use crate::store::{StoreError, sessions};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignIn {
    username: String,
    password: Secret,
}

/// The address a request comes from; `None` where the server was not told to keep it.
pub(super) struct From(Option<IpAddr>);

impl<S: Send + Sync> FromRequestParts<S> for From {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> std::result::Result<Self, Self::Rejection> {
        Ok(Self(parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip())))
    }
}

/// `POST`: a right name and password open a session; its token goes into a cookie that scripts cannot read.
pub(super) async fn sign_in(
    State(state): State<AppState>,
    From(address): From,
    Body(asked): Body<SignIn>,
) -> Result<Response> {
    if let Some(wait) = state.throttle.wait(Instant::now(), address, &asked.username) {
        let detail = "too many wrong passwords: wait some minutes";
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "throttled", detail);
        return Err(problem.after(wait.as_secs().max(1)));
    }
    let permit = state.password_checks.acquire().await;
    let _permit = permit.map_err(|error| Problem::from(StoreError::Hash(error.to_string())))?;
    let Some(user) = users::verify(&state.store, &asked.username, &asked.password).await? else {
        state.throttle.failed(Instant::now(), address, &asked.username);
        let detail = "the name or the password is wrong";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "wrong_credentials", detail));
    };
    state.throttle.succeeded(address, &asked.username);
    let token = sessions::open(&state.store, Timestamp::now(), user.id).await?;
    let cookie = cookie(&state, token.reveal(), sessions::LIFETIME.as_secs())?;
    Ok((StatusCode::CREATED, [(header::SET_COOKIE, cookie)], Json(person(&user))).into_response())
}

/// `GET`: who one is.
pub(super) async fn me(principal: Principal) -> Json<serde_json::Value> {
    Json(match &principal {
        Principal::Person(user) => person(user),
        Principal::System { role } => json!({ "role": role }),
    })
}

/// `DELETE`: ends the session and forgets the cookie. Without a session there is nothing to do.
pub(super) async fn sign_out(State(state): State<AppState>, headers: HeaderMap) -> Result<Response> {
    if let Some(token) = session_token(&headers) {
        sessions::close(&state.store, Timestamp::now(), &token).await?;
    }
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie(&state, "", 0)?)]).into_response())
}

fn person(user: &User) -> serde_json::Value {
    json!({ "id": user.id, "username": user.username, "display_name": user.display_name, "role": user.role })
}

fn cookie(state: &AppState, token: &str, seconds: i64) -> Result<HeaderValue> {
    let secure = if state.config.secure_cookies { "; Secure" } else { "" };
    let text = format!("{COOKIE_NAME}={token}; HttpOnly; SameSite=Strict; Path=/; Max-Age={seconds}{secure}");
    HeaderValue::from_str(&text).map_err(|error| Problem::from(StoreError::Hash(error.to_string())))
}
