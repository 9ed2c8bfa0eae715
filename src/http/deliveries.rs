//! `/deliveries`: what is brought to whom, and how its call stands.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use serde::Deserialize;
use serde_json::json;

use super::AppState;
use super::auth::Principal;
use super::delivery_input::{self, DeliveryInput};
use super::extract::{Body, Id, Params, page_size};
use super::problem::{Problem, Result};
use crate::store::delivery_list::{self, Cursor, DeliveryFilter, DeliveryView};
use crate::store::{CallState, Role, deliveries, events};

/// How many deliveries one bulk request may bring.
const MAX_BULK: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    day: Option<Date>,
    agent: Option<String>,
    state: Option<CallState>,
    outcome: Option<String>,
    q: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

/// `GET`: by ETA. `last_event` is the number to open `/events?after=` with, so that no change is missed in between.
pub(super) async fn list(
    State(state): State<AppState>,
    principal: Principal,
    Params(params): Params<ListParams>,
) -> Result<Json<serde_json::Value>> {
    let last_event = events::last(&state.store).await?; // before the rows: a change may be seen twice, never not at all
    let size = page_size(params.limit);
    let filter = filter(&state, &principal, params)?;
    let mut items = delivery_list::list(&state.store, &filter, principal.user_id(), size + 1).await?;
    let more = items.len() > size as usize;
    items.truncate(size as usize);
    let next = items.last().filter(|_| more).map(cursor_text);
    Ok(Json(json!({ "items": items, "next": next, "last_event": last_event })))
}

/// `POST`: 201 for a new delivery, 200 when its `order_ref` is known (it is updated and its pending call re-planned).
pub(super) async fn create(
    State(state): State<AppState>,
    principal: Principal,
    Body(input): Body<DeliveryInput>,
) -> Result<Response> {
    principal.require(Role::Dispatcher)?;
    let new = delivery_input::one(&state, input)?;
    let (delivery, created) =
        deliveries::upsert(&state.store, Timestamp::now(), &new, &state.config.planner).await?;
    state.engine.wake();
    let view = delivery_list::get(&state.store, delivery.id, principal.user_id()).await?;
    let location = format!("/api/v1/deliveries/{}", delivery.id);
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, [(header::LOCATION, location)], Json(view)).into_response())
}

/// `POST /bulk`: an array; all are stored or none.
pub(super) async fn bulk(
    State(state): State<AppState>,
    principal: Principal,
    Body(inputs): Body<Vec<DeliveryInput>>,
) -> Result<Json<serde_json::Value>> {
    principal.require(Role::Dispatcher)?;
    if inputs.len() > MAX_BULK {
        let message = format!("has {} deliveries: send at most {MAX_BULK} at once", inputs.len());
        return Err(Problem::field("body", message));
    }
    let new = delivery_input::many(&state, inputs)?;
    let stored = deliveries::upsert_all(&state.store, Timestamp::now(), &new, &state.config.planner).await?;
    state.engine.wake();
    let created = stored.iter().filter(|(_, created)| *created).count();
    let ids = stored.iter().map(|(delivery, _)| delivery.id).collect::<Vec<_>>();
    Ok(Json(json!({ "ids": ids, "created": created, "updated": ids.len() - created })))
}

/// `GET /{id}`.
pub(super) async fn get(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id,
) -> Result<Json<DeliveryView>> {
    let view = delivery_list::get(&state.store, id, principal.user_id()).await?;
    principal.may_see(Some(&view.delivery.details.agent), "delivery")?;
    Ok(Json(view))
}

/// `PATCH /{id}`: the given fields change; a new ETA re-plans the pending call.
pub(super) async fn patch(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id,
    Body(input): Body<DeliveryInput>,
) -> Result<Json<DeliveryView>> {
    principal.require(Role::Dispatcher)?;
    let known = deliveries::get(&state.store, id).await?;
    let new = delivery_input::change(&state, &known, input)?;
    let replace = |details: &mut deliveries::NewDelivery| *details = new;
    deliveries::update(&state.store, Timestamp::now(), id, &state.config.planner, replace).await?;
    state.engine.wake();
    Ok(Json(delivery_list::get(&state.store, id, principal.user_id()).await?))
}

fn filter(state: &AppState, principal: &Principal, params: ListParams) -> Result<DeliveryFilter> {
    let (eta_from, eta_before) = match params.day {
        Some(day) => (Some(midnight(state, day)?), Some(midnight(state, day.saturating_add(1.day()))?)),
        None => (None, None),
    };
    Ok(DeliveryFilter {
        eta_from,
        eta_before,
        agent: principal.only_agent().map(str::to_owned).or(params.agent),
        state: params.state,
        outcome: params.outcome,
        text: params.q.filter(|text| !text.trim().is_empty()),
        after: params.after.map(|text| parse_cursor(&text)).transpose()?,
    })
}

/// A day begins in the depot's zone.
fn midnight(state: &AppState, day: Date) -> Result<Timestamp> {
    let zoned = day.to_zoned(state.config.planner.zone.clone());
    zoned.map(|zoned| zoned.timestamp()).map_err(|error| Problem::field("day", error.to_string()))
}

fn cursor_text(last: &DeliveryView) -> String {
    format!("{}_{}", last.delivery.details.eta, last.delivery.id)
}

fn parse_cursor(text: &str) -> Result<Cursor> {
    let cursor = text
        .split_once('_')
        .and_then(|(eta, id)| Some(Cursor { eta: eta.parse().ok()?, id: id.parse().ok()? }));
    cursor.ok_or_else(|| Problem::field("after", "is not a cursor: use `next` of the page before"))
}
