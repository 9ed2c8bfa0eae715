//! `/recordings`: what was recorded, its sound, its transcript, and who has listened.

use std::io::SeekFrom;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::json;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::AppState;
use super::auth::Principal;
use super::extract::Id;
use super::problem::{Problem, Result};
use super::range::{self, Wanted};
use crate::store::recordings::{self, Recording};
use crate::store::{RecordingState, transcripts};

/// `GET /{id}`: with its transcript, words included, and its listeners.
pub(super) async fn get(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id,
) -> Result<Json<serde_json::Value>> {
    let recording = visible(&state, &principal, id).await?;
    let transcript = transcripts::of_recording(&state.store, id).await?;
    let listened = recordings::listened(&state.store, id).await?;
    Ok(Json(json!({ "recording": recording, "transcript": transcript, "listened": listened })))
}

/// `POST /{id}/listened`: the person who asks has heard it.
pub(super) async fn listened(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id,
) -> Result<StatusCode> {
    visible(&state, &principal, id).await?;
    let user = principal.user_id().ok_or_else(|| Problem::forbidden("only a person can listen"))?;
    recordings::mark_listened(&state.store, Timestamp::now(), id, user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET` and `HEAD /{id}/audio.wav`: the finished file, whole or a range of it.
pub(super) async fn audio(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id,
    method: Method,
    headers: HeaderMap,
) -> Result<Response> {
    let recording = visible(&state, &principal, id).await?;
    if recording.state != RecordingState::Ready {
        return Err(Problem::conflict(format!(
            "the recording is not ready: its state is {}",
            recording.state
        )));
    }
    let path = state.config.data_dir.join(&recording.path);
    let file = File::open(&path).await.map_err(|error| lost(id, &error))?;
    let length = file.metadata().await.map_err(|error| lost(id, &error))?.len();
    let etag = format!("\"{}\"", recording.sha256.as_deref().unwrap_or_default());
    let common = [
        (ETAG, etag.clone()),
        (ACCEPT_RANGES, "bytes".to_owned()),
        (CACHE_CONTROL, "private, max-age=0, must-revalidate".to_owned()),
        (CONTENT_DISPOSITION, format!("inline; filename=\"{id}.wav\"")),
    ];
    if range::is_known(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    // A range is defined for GET only (RFC 9110 §14.2); HEAD tells about the whole.
    let wanted = if method == Method::GET { range::wanted(&headers, &etag, length) } else { Wanted::Whole };
    let (status, first, count, content_range) = match wanted {
        Wanted::Whole => (StatusCode::OK, 0, length, None),
        Wanted::Part(first, last) => (
            StatusCode::PARTIAL_CONTENT,
            first,
            last - first + 1,
            Some(format!("bytes {first}-{last}/{length}")),
        ),
        Wanted::Unsatisfiable => {
            let detail = format!("the recording has {length} bytes");
            let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", detail);
            return Ok(([(CONTENT_RANGE, format!("bytes */{length}"))], problem).into_response());
        }
    };
    let body = if method == Method::HEAD { Body::empty() } else { part(file, first, count, id).await? };
    let type_and_length = [(CONTENT_TYPE, "audio/wav".to_owned()), (CONTENT_LENGTH, count.to_string())];
    let content_range = content_range.map(|text| [(CONTENT_RANGE, text)]);
    let mut response = (status, common, type_and_length, body).into_response();
    for (name, text) in content_range.into_iter().flatten() {
        response.headers_mut().extend(axum::http::HeaderValue::from_str(&text).map(|value| (name, value)));
    }
    Ok(response)
}

async fn part(mut file: File, first: u64, count: u64, id: Uuid) -> Result<Body> {
    file.seek(SeekFrom::Start(first)).await.map_err(|error| lost(id, &error))?;
    Ok(Body::from_stream(ReaderStream::new(file.take(count))))
}

async fn visible(state: &AppState, principal: &Principal, id: Uuid) -> Result<Recording> {
    let recording = recordings::get(&state.store, id).await?;
    if principal.only_agent().is_some() {
        let agent = recordings::agent_of(&state.store, id).await?;
        principal.may_see(agent.as_deref(), "recording")?;
    }
    Ok(recording)
}

fn lost(id: Uuid, error: &std::io::Error) -> Problem {
    tracing::error!(recording = %id, %error, "a recording's file cannot be read");
    let detail = "the sound of this recording is no longer on the server";
    Problem::new(StatusCode::GONE, "recording_lost", detail)
}
