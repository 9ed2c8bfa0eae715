//! The web page: plain HTML, CSS and JavaScript modules, embedded in the binary.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use ring::digest::{SHA256, digest};

use super::AppState;

/// Path, type and text of each file.
const FILES: &[(&str, &str, &str)] = &[
    ("/", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("/trace", "text/html; charset=utf-8", include_str!("page/trace.html")),
    ("/page/trace.css", "text/css; charset=utf-8", include_str!("page/trace.css")),
    ("/page/trace.js", "text/javascript; charset=utf-8", include_str!("page/trace.js")),
    ("/page/style.css", "text/css; charset=utf-8", include_str!("page/style.css")),
    ("/page/app.js", "text/javascript; charset=utf-8", include_str!("page/app.js")),
    ("/page/api.js", "text/javascript; charset=utf-8", include_str!("page/api.js")),
    ("/page/card.js", "text/javascript; charset=utf-8", include_str!("page/card.js")),
    ("/page/player.js", "text/javascript; charset=utf-8", include_str!("page/player.js")),
    ("/page/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    ("/page/manifest.json", "application/manifest+json", include_str!("page/manifest.json")),
];

/// The routes of the page.
pub(super) fn routes() -> Router<AppState> {
    FILES.iter().fold(Router::new(), |router, &(path, kind, text)| {
        let etag = etag(text);
        router.route(path, get(move |headers: HeaderMap| async move { file(&headers, kind, text, etag) }))
    })
}

/// Browsers ask each time whether the file is still the same, so that a new version of the binary shows at once.
fn file(headers: &HeaderMap, kind: &'static str, text: &'static str, etag: String) -> Response {
    let known = headers.get(IF_NONE_MATCH).is_some_and(|tag| tag.as_bytes() == etag.as_bytes());
    let common = [(ETAG, etag), (CACHE_CONTROL, "no-cache".to_owned())];
    if known {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, [(CONTENT_TYPE, kind)], text).into_response()
}

fn etag(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    let short: String = hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{short}\"")
}
