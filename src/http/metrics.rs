//! `/metrics` for Prometheus, and the counting of requests.

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::header::{CONTENT_TYPE, FORWARDED, HeaderName};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

use super::AppState;
use super::auth::Principal;
use super::problem::{Problem, Result};
use crate::metrics::MEDIA_TYPE;
use crate::store::{Role, backlog};

/// `GET /metrics`: for everybody on this machine while the API listens for this machine only, otherwise for admins.
pub(super) async fn show(State(state): State<AppState>, mut parts: Parts) -> Result<Response> {
    if !state.config.open_metrics || is_forwarded(&parts.headers) {
        Principal::from_request_parts(&mut parts, &state).await?.require(Role::Admin)?;
    }
    state.engine.measure(&state.metrics);
    state.metrics.set_backlog(&backlog::read(&state.store, Timestamp::now()).await?);
    let text = state.metrics.text().map_err(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the metrics could not be written")
    })?;
    Ok(([(CONTENT_TYPE, MEDIA_TYPE)], text).into_response())
}

/// A proxy on this machine brings requests from anywhere.
fn is_forwarded(headers: &HeaderMap) -> bool {
    let by_proxy =
        [FORWARDED, HeaderName::from_static("x-forwarded-for"), HeaderName::from_static("x-real-ip")];
    by_proxy.iter().any(|name| headers.contains_key(name))
}

/// Counts each request by the route that took it.
pub(super) async fn count(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    state.metrics.http_answered(route.as_ref().map(MatchedPath::as_str), response.status().as_u16());
    response
}
