//! What applies to every request: cross-site protection, security headers and a time limit.

use std::time::Duration;

use axum::extract::Request;
use axum::http::header::{self, AUTHORIZATION, HOST, HeaderName, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::{Problem, Result};

/// How long a handler may take to answer. Bodies that stream (sound, events) go on after it.
const TIME_LIMIT: Duration = Duration::from_secs(20);

/// Everything comes from this origin; nothing is inline, framed or sent elsewhere.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     media-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Refuses mutations that another site's page has the browser send. A request with an `Authorization` header is no such
/// request: a browser adds cookies by itself, never that.
pub(super) async fn same_site(request: Request, next: Next) -> Result<Response> {
    let is_safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !is_safe && !request.headers().contains_key(AUTHORIZATION) && is_cross_site(request.headers()) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "cross_site",
            "this request comes from another site's page; open Callahead itself",
        ));
    }
    Ok(next.run(request).await)
}

/// By `Sec-Fetch-Site` where the browser sends it, else by `Origin`. Neither: no browser that could be tricked.
fn is_cross_site(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get(HeaderName::from_static("sec-fetch-site")) {
        return site != "same-origin" && site != "none";
    }
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let origin_host = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    host.is_none() || origin_host != host
}

/// Answers 503 for a handler that takes too long.
pub(super) async fn time_limit(request: Request, next: Next) -> Response {
    match tokio::time::timeout(TIME_LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", "the server took too long: try again")
                .after(5)
                .into_response()
        }
    }
}

/// Adds the security headers; `Cache-Control: no-store` where the handler has said nothing else.
pub(super) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
