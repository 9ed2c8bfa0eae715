//! `/events`: changes as server-sent events. A reader resumes with `Last-Event-ID` or `?after=`, and loses nothing.
//!
//! A reader whose last number is older than the log reaches back is sent `event: reset` first: read the lists anew.
//!
//! The stream is written by a task into a small pipe. A reader that is slow fills the pipe and is dropped after a while; it
//! reconnects and resumes. A stream ends by itself after an hour, so that an ended session does not listen on.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};
use tokio_util::io::ReaderStream;

use super::AppState;
use super::auth::Principal;
use super::extract::Params;
use super::problem::{Problem, Result};
use crate::store::events::{self, Event};
use crate::store::{Store, StoreError};

/// A line is sent at least this often, so that proxies and phones keep the connection.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a reader may leave the pipe full.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a stream lasts.
const LIFETIME: Duration = Duration::from_secs(3600);
/// The pipe, in bytes.
const PIPE: usize = 32 * 1024;
/// How many events are read at once.
const BATCH: u32 = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamParams {
    after: Option<i64>,
}

/// `GET`: begins after `Last-Event-ID` (an event source that reconnects), else after `?after=`, else with what comes now.
pub(super) async fn stream(
    State(state): State<AppState>,
    principal: Principal,
    Params(params): Params<StreamParams>,
    headers: HeaderMap,
) -> Result<Response> {
    let Ok(permit) = Arc::clone(&state.streams).try_acquire_owned() else {
        let detail = "too many event streams are open: close one or try later";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", detail).after(10));
    };
    let resumed = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let last = events::last(&state.store).await?;
    let after = resumed.or(params.after).unwrap_or(last).clamp(0, last);
    let agent = principal.only_agent().map(str::to_owned);
    let (pipe, reader) = tokio::io::duplex(PIPE);
    let writer = Writer { store: state.store, agent, after, pipe, _permit: permit };
    tokio::spawn(writer.run());
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(ReaderStream::new(reader))).into_response())
}

struct Writer {
    store: Store,
    agent: Option<String>,
    after: i64,
    pipe: DuplexStream,
    _permit: OwnedSemaphorePermit,
}

/// Why a stream ended.
enum Over {
    /// The reader has gone or is too slow.
    Reader,
    Store(StoreError),
}

impl From<StoreError> for Over {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Writer {
    async fn run(mut self) {
        match timeout(LIFETIME, self.write_all()).await {
            Ok(Err(Over::Store(error))) => tracing::warn!(%error, "an event stream ended"),
            Ok(Ok(()) | Err(Over::Reader)) | Err(_) => {}
        }
    }

    async fn write_all(&mut self) -> std::result::Result<(), Over> {
        // The number goes out first: a reader that loses the connection before the first event resumes from here.
        self.send(&format!("retry: 2000\nid: {}\nevent: hello\ndata: {{}}\n\n", self.after)).await?;
        if self.after > 0 && events::first(&self.store).await? > self.after + 1 {
            self.send("event: reset\ndata: {}\n\n").await?;
        }
        let mut beat = Instant::now() + HEARTBEAT;
        loop {
            let found = events::since(&self.store, self.after, self.agent.as_deref(), BATCH).await?;
            for event in &found {
                self.send(&event_text(event)).await?;
            }
            if let Some(last) = found.last() {
                self.after = last.seq;
                continue;
            }
            self.wait(&mut beat).await?;
        }
    }

    /// Waits for a newer event of anyone; those of other agents are skipped by their number.
    async fn wait(&mut self, beat: &mut Instant) -> std::result::Result<(), Over> {
        let newest = events::last(&self.store).await?;
        if events::since(&self.store, self.after, self.agent.as_deref(), 1).await?.is_empty() {
            self.after = self.after.max(newest);
        }
        match tokio::time::timeout_at(*beat, events::wait_after(&self.store, self.after)).await {
            Ok(waited) => waited?,
            Err(_) => {
                *beat = Instant::now() + HEARTBEAT;
                self.send(":\n\n").await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self, text: &str) -> std::result::Result<(), Over> {
        let sent = timeout(PATIENCE, self.pipe.write_all(text.as_bytes())).await;
        sent.map_err(|_| Over::Reader)?.map_err(|_| Over::Reader)
    }
}

fn event_text(event: &Event) -> String {
    // JSON text has no line breaks of its own, so that one `data` line holds it.
    let data = serde_json::json!(event);
    format!("id: {}\ndata: {data}\n\n", event.seq)
}
