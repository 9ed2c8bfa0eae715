//! Deliveries as clients write them, checked field by field.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use super::AppState;
use super::problem::{FieldError, Problem, Result};
use crate::pii::Redacted;
use crate::store::deliveries::{Delivery, NewDelivery};

/// The longest text of a field, in characters.
const MAX_TEXT: usize = 500;
/// The longest lead, in seconds: a week.
const MAX_LEAD: u32 = 7 * 24 * 3600;

/// The fields of a delivery; all may be left out of a change, some of a new one.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DeliveryInput {
    order_ref: Option<String>,
    stop: Option<String>,
    customer_name: Option<Redacted>,
    phone: Option<Redacted>,
    address: Option<Redacted>,
    eta: Option<Timestamp>,
    language: Option<String>,
    agent: Option<String>,
    instructions: Option<String>,
    /// Left out: the default plan. `null`: nobody is called.
    #[serde(deserialize_with = "given")]
    plan: Option<Option<String>>,
    call_lead_seconds: Option<u32>,
}

/// Tells a `null` from a field that is left out.
fn given<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Checks one new delivery.
pub(super) fn one(state: &AppState, input: DeliveryInput) -> Result<NewDelivery> {
    let mut errors = Errors { prefix: String::new(), found: Vec::new() };
    let new = new_delivery(state, input, &mut errors);
    errors.or(new)
}

/// Checks many; every wrong field of every one is reported.
pub(super) fn many(state: &AppState, inputs: Vec<DeliveryInput>) -> Result<Vec<NewDelivery>> {
    let mut errors = Errors { prefix: String::new(), found: Vec::new() };
    let mut all = Vec::with_capacity(inputs.len());
    for (n, input) in inputs.into_iter().enumerate() {
        errors.prefix = format!("[{n}].");
        all.extend(new_delivery(state, input, &mut errors));
    }
    errors.or(Some(all))
}

/// Checks a change of `delivery` and returns what it becomes.
pub(super) fn change(state: &AppState, delivery: &Delivery, input: DeliveryInput) -> Result<NewDelivery> {
    let mut errors = Errors { prefix: String::new(), found: Vec::new() };
    let known = &delivery.details;
    let whole = DeliveryInput {
        order_ref: input.order_ref.or_else(|| Some(known.order_ref.clone())),
        stop: input.stop.or_else(|| Some(known.stop.clone())),
        customer_name: input.customer_name.or_else(|| Some(known.customer_name.clone())),
        phone: input.phone.or_else(|| Some(known.phone.clone())),
        address: input.address.or_else(|| Some(known.address.clone())),
        eta: input.eta.or(Some(known.eta)),
        language: input.language.or_else(|| Some(known.language.clone())),
        agent: input.agent.or_else(|| Some(known.agent.clone())),
        instructions: input.instructions.or_else(|| Some(known.instructions.clone())),
        plan: input.plan.or_else(|| Some(known.plan.clone())),
        call_lead_seconds: input.call_lead_seconds.or(Some(known.call_lead_seconds)),
    };
    let new = new_delivery(state, whole, &mut errors);
    errors.or(new)
}

fn new_delivery(state: &AppState, input: DeliveryInput, errors: &mut Errors) -> Option<NewDelivery> {
    let config = &state.config;
    let order_ref = errors.required("order_ref", input.order_ref);
    let customer_name = errors.required("customer_name", input.customer_name.map(Redacted::into_inner));
    let phone = errors.required("phone", input.phone.map(Redacted::into_inner));
    let phone = phone.and_then(|raw| errors.check("phone", state.engine.check_number(&raw)));
    let eta = errors.required_value("eta", input.eta);
    let plan = input.plan.unwrap_or_else(|| config.default_plan.clone());
    let plan = plan.map(|name| errors.check("plan", known_plan(state, name)));
    let lead = input.call_lead_seconds.unwrap_or(config.default_lead_seconds);
    if lead > MAX_LEAD {
        errors.add("call_lead_seconds", format!("is {lead}: write at most {MAX_LEAD} (a week)"));
    }
    let text =
        |errors: &mut Errors, field, value: Option<String>| errors.short(field, value.unwrap_or_default());
    let new = NewDelivery {
        stop: text(errors, "stop", input.stop),
        address: Redacted::new(text(errors, "address", input.address.map(Redacted::into_inner))),
        language: text(errors, "language", input.language),
        agent: text(errors, "agent", input.agent).trim().to_lowercase(),
        instructions: text(errors, "instructions", input.instructions),
        order_ref: order_ref?,
        customer_name: Redacted::new(customer_name?),
        phone: Redacted::new(phone?),
        eta: eta?,
        plan: plan.flatten(),
        call_lead_seconds: lead,
    };
    if let Some(terms) = config.planner.terms(&new)
        && let Err(problem) = state.engine.check_vars(&terms.plan, &terms.vars, &new.language)
    {
        errors.add(
            "plan",
            format!("`{}` cannot call this customer: {}: {}", terms.plan, problem.name, problem.message),
        );
    }
    Some(new)
}

/// The plan's name, if the engine has loaded it.
pub(super) fn known_plan(state: &AppState, name: String) -> std::result::Result<String, String> {
    let plans = state.engine.plans();
    if plans.iter().any(|plan| plan.name == name) {
        return Ok(name);
    }
    let names = plans.iter().map(|plan| plan.name.as_str()).collect::<Vec<_>>().join(", ");
    Err(format!("there is no plan `{name}`; the plans are: {names}"))
}

/// The wrong fields found so far.
struct Errors {
    prefix: String,
    found: Vec<FieldError>,
}

impl Errors {
    fn add(&mut self, field: &str, message: impl Into<String>) {
        self.found.push(FieldError { field: format!("{}{field}", self.prefix), message: message.into() });
    }

    fn check<T>(&mut self, field: &str, checked: std::result::Result<T, String>) -> Option<T> {
        checked.map_err(|message| self.add(field, message)).ok()
    }

    fn required(&mut self, field: &str, value: Option<String>) -> Option<String> {
        let value = value.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let value = self.required_value(field, value)?;
        Some(self.short(field, value))
    }

    fn required_value<T>(&mut self, field: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.add(field, "is missing");
        }
        value
    }

    fn short(&mut self, field: &str, value: String) -> String {
        if value.chars().count() > MAX_TEXT {
            self.add(field, format!("is longer than {MAX_TEXT} characters"));
        }
        value
    }

    /// The value, or all that is wrong.
    fn or<T>(self, value: Option<T>) -> Result<T> {
        match value {
            Some(value) if self.found.is_empty() => Ok(value),
            _ => Err(Problem::fields(self.found)),
        }
    }
}
