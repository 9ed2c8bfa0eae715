//! `/calls`: the wish to reach a customer, its attempts, and ending it.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::AppState;
use super::auth::Principal;
use super::delivery_input::known_plan;
use super::extract::{Body, Id, Params, page_size};
use super::problem::{FieldError, Problem, Result};
use crate::pii::Redacted;
use crate::store::calls::{self, Call, CallFilter, Cancelled, NewCall};
use crate::store::{CallState, Role, Vars, recordings};

/// How long after it is due a call may still begin, where the request does not say.
const DEFAULT_WINDOW: SignedDuration = SignedDuration::from_hours(1);
/// How many variables a call may bring, and how long each may be in characters.
const MAX_VARS: usize = 50;
const MAX_VAR: usize = 1000;
/// How many attempts may be asked for.
const MAX_ATTEMPTS: u32 = 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallInput {
    number: Redacted,
    plan: String,
    #[serde(default)]
    vars: Vars,
    #[serde(default)]
    language: String,
    delivery_id: Option<Uuid>,
    due_at: Option<Timestamp>,
    not_after: Option<Timestamp>,
    max_attempts: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    state: Option<CallState>,
    delivery_id: Option<Uuid>,
    after: Option<Uuid>,
    limit: Option<u32>,
}

/// `POST`: 201 with the call, due now unless it says otherwise; 200 when the `Idempotency-Key` made it before.
pub(super) async fn create(
    State(state): State<AppState>,
    principal: Principal,
    headers: HeaderMap,
    Body(input): Body<CallInput>,
) -> Result<Response> {
    principal.require(Role::Dispatcher)?;
    let new = checked(&state, &headers, input, Timestamp::now())?;
    let (call, created) = calls::create(&state.store, Timestamp::now(), new).await?;
    state.engine.wake();
    let location = format!("/api/v1/calls/{}", call.id);
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, [(header::LOCATION, location)], Json(call)).into_response())
}

/// `GET`: newest first.
pub(super) async fn list(
    State(state): State<AppState>,
    principal: Principal,
    Params(params): Params<ListParams>,
) -> Result<Json<serde_json::Value>> {
    let size = page_size(params.limit);
    let filter = CallFilter {
        state: params.state,
        delivery_id: params.delivery_id,
        agent: principal.only_agent().map(str::to_owned),
        before: params.after,
    };
    let mut items = calls::list(&state.store, &filter, size + 1).await?;
    let more = items.len() > size as usize;
    items.truncate(size as usize);
    let next = items.last().filter(|_| more).map(|call| call.id);
    Ok(Json(json!({ "items": items, "next": next })))
}

/// `GET /{id}`: with its attempts and recordings.
pub(super) async fn get(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id,
) -> Result<Json<serde_json::Value>> {
    let (call, attempts) = calls::get_with_attempts(&state.store, id).await?;
    principal.may_see(call.agent.as_deref(), "call")?;
    let recordings = recordings::of_call(&state.store, id).await?;
    Ok(Json(json!({ "call": call, "attempts": attempts, "recordings": recordings })))
}

/// `POST /{id}/cancel`: a pending call never begins; an active one is hung up and not tried again.
pub(super) async fn cancel(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id,
) -> Result<Json<Call>> {
    principal.require(Role::Dispatcher)?;
    match calls::cancel(&state.store, Timestamp::now(), id).await? {
        Cancelled::AlreadyDone => return Err(Problem::conflict("the call is done already")),
        Cancelled::Active if !state.engine.hang_up(id) => {
            tracing::warn!(call = %id, "a call that is active in the store is not in the engine");
        }
        _ => {}
    }
    Ok(Json(calls::get(&state.store, id).await?))
}

/// `POST /{id}/hang-up`: ends the attempt in progress; what follows is the retry policy's.
pub(super) async fn hang_up(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id,
) -> Result<StatusCode> {
    principal.require(Role::Dispatcher)?;
    calls::get(&state.store, id).await?;
    if !state.engine.hang_up(id) {
        return Err(Problem::conflict("the call is not in progress"));
    }
    Ok(StatusCode::ACCEPTED)
}

fn checked(state: &AppState, headers: &HeaderMap, input: CallInput, now: Timestamp) -> Result<NewCall> {
    let mut errors = Vec::new();
    let mut wrong = |field: String, message: String| errors.push(FieldError { field, message });
    let number = state.engine.check_number(input.number.reveal());
    let number = number.map_err(|message| wrong("number".to_owned(), message)).unwrap_or_default();
    if let Err(message) = known_plan(state, input.plan.clone()) {
        wrong("plan".to_owned(), message);
    } else if let Err(problem) = state.engine.check_vars(&input.plan, &input.vars, &input.language) {
        wrong(format!("vars.{}", problem.name), problem.message);
    }
    if input.vars.0.len() > MAX_VARS || input.vars.0.values().any(|value| value.chars().count() > MAX_VAR) {
        wrong("vars".to_owned(), format!("write at most {MAX_VARS} of at most {MAX_VAR} characters"));
    }
    let due_at = input.due_at.unwrap_or(now);
    let not_after =
        input.not_after.unwrap_or_else(|| due_at.saturating_add(DEFAULT_WINDOW).unwrap_or(Timestamp::MAX));
    if not_after <= due_at || not_after <= now {
        wrong("not_after".to_owned(), "must be after `due_at` and in the future".to_owned());
    }
    let max_attempts = input.max_attempts.unwrap_or(state.config.planner.max_attempts);
    if !(1..=MAX_ATTEMPTS).contains(&max_attempts) {
        wrong("max_attempts".to_owned(), format!("is {max_attempts}: write 1 to {MAX_ATTEMPTS}"));
    }
    let key =
        headers.get("idempotency-key").map(|value| value.to_str().unwrap_or_default().trim().to_owned());
    if key.as_ref().is_some_and(|key| key.is_empty() || key.len() > 200) {
        wrong("Idempotency-Key".to_owned(), "write 1 to 200 ASCII characters".to_owned());
    }
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    Ok(NewCall {
        number: Redacted::new(number),
        plan: input.plan,
        vars: input.vars,
        language: input.language,
        delivery_id: input.delivery_id,
        due_at,
        not_after,
        max_attempts,
        idempotency_key: key,
    })
}
