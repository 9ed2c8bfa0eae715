//! `/calls/{id}/trace` and `/calls/{id}/trace.pcap`: the SIP messages of a call, for admins.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::AppState;
use super::auth::Principal;
use super::extract::{Id, Params};
use super::problem::{Problem, Result};
use crate::store::attempts::Attempt;
use crate::store::sip_messages::{self, Trace};
use crate::store::{Role, Store, calls};
use crate::trace::ladder::Ladder;
use crate::trace::{Traced, capture, explain, redact, transport_word};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TraceParams {
    /// Only this attempt, counted from 1.
    attempt: Option<u32>,
    /// Phone numbers and names are written out.
    #[serde(default)]
    numbers: bool,
}

/// `GET /trace`: each attempt with its ladder and its messages.
pub(super) async fn get(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id,
    Params(params): Params<TraceParams>,
) -> Result<Json<Value>> {
    principal.require(Role::Admin)?;
    let (call, attempts) = traced(&state.store, id, params.attempt).await?;
    let number = if params.numbers { call.number.reveal().clone() } else { call.number.to_string() };
    let attempts: Vec<Value> =
        attempts.iter().map(|(attempt, trace)| view(attempt, trace.as_ref(), params.numbers)).collect();
    Ok(Json(json!({ "call_id": id, "number": number, "attempts": attempts })))
}

/// `GET /trace.pcap`: the messages as a capture for Wireshark; numbers are written out in it.
pub(super) async fn pcap(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id,
    Params(params): Params<TraceParams>,
) -> Result<Response> {
    principal.require(Role::Admin)?;
    let (_, attempts) = traced(&state.store, id, params.attempt).await?;
    let traces = attempts.into_iter().filter_map(|(_, trace)| trace);
    let messages: Vec<Traced> = traces.flat_map(|trace| trace.messages).collect();
    let file = capture::file(&messages).map_err(|error| {
        tracing::error!(%error, call = %id, "a capture could not be made");
        Problem::new(
            axum::http::StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the capture could not be made",
        )
    })?;
    let name = format!("attachment; filename=\"callahead-{id}.pcap\"");
    let headers = [
        (header::CONTENT_TYPE, "application/vnd.tcpdump.pcap".to_owned()),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, file).into_response())
}

/// The attempts of a call, or the one that was asked for, each with what is kept of it.
async fn traced(
    store: &Store,
    call: Uuid,
    ordinal: Option<u32>,
) -> Result<(calls::Call, Vec<(Attempt, Option<Trace>)>)> {
    let (call, attempts) = calls::get_with_attempts(store, call).await?;
    let mut found = Vec::new();
    for attempt in
        attempts.into_iter().filter(|attempt| ordinal.is_none_or(|ordinal| attempt.ordinal == ordinal))
    {
        let trace = sip_messages::get(store, &attempt.id.to_string()).await?;
        found.push((attempt, trace));
    }
    match (found.is_empty(), ordinal) {
        (true, Some(_)) => Err(Problem::not_found("attempt")),
        _ => Ok((call, found)),
    }
}

fn view(attempt: &Attempt, trace: Option<&Trace>, numbers: bool) -> Value {
    let messages = trace.map_or(&[][..], |trace| &trace.messages);
    json!({
        "attempt": attempt,
        "explanation": attempt.cause.map(|cause| explain::cause(cause, attempt.sip_status)),
        "sip_call_id": trace.map(|trace| &trace.head.sip_call_id),
        "dropped": trace.map_or(0, |trace| trace.dropped),
        "ladder": Ladder::of(messages, numbers),
        "messages": messages.iter().map(|message| text(message, numbers)).collect::<Vec<_>>(),
    })
}

fn text(message: &Traced, numbers: bool) -> Value {
    let text = String::from_utf8_lossy(&message.bytes);
    json!({
        "at": Timestamp::from_microsecond(message.at_us).ok(),
        "direction": message.direction,
        "transport": transport_word(message.transport),
        "local": message.local,
        "remote": message.remote,
        "text": if numbers { text.into_owned() } else { redact::message(&text) },
    })
}
