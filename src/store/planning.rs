//! From a delivery to the terms of its call: when it is due, until when it makes sense, and what its prompts may say.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::Vars;
use super::deliveries::NewDelivery;

/// What does not come from the delivery itself.
#[derive(Debug, Clone)]
pub struct Planner {
    /// The zone in which prompts say times.
    pub zone: TimeZone,
    /// Who is calling, as prompts say it; empty: the plan's own default.
    pub depot: String,
    /// How often a customer is tried, at most; at least 1.
    pub max_attempts: u32,
}

/// When and with what a delivery's call is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallTerms {
    /// The dialplan's name.
    pub plan: String,
    /// Its variables.
    pub vars: Vars,
    /// The call is made from here on.
    pub due_at: Timestamp,
    /// A call that has not begun by then is given up: the driver is there.
    pub not_after: Timestamp,
    /// How often the customer is tried, at most.
    pub max_attempts: u32,
}

impl Planner {
    /// The terms for `delivery`, or `None` if it names no plan: nobody is to be called.
    ///
    /// The variables are those that every plan knows, as far as there is a value: `name`, `order`, `address`, `agent`, `depot`
    /// and `eta`, the last as `HH:MM` on the clock of the zone.
    pub fn terms(&self, delivery: &NewDelivery) -> Option<CallTerms> {
        let plan = delivery.plan.clone()?;
        let lead = SignedDuration::from_secs(i64::from(delivery.call_lead_seconds));
        let eta = delivery.eta.to_zoned(self.zone.clone()).strftime("%H:%M").to_string();
        let vars = Vars::from([
            ("name", delivery.customer_name.reveal().clone()),
            ("order", delivery.order_ref.clone()),
            ("address", delivery.address.reveal().clone()),
            ("agent", delivery.agent.clone()),
            ("depot", self.depot.clone()),
            ("eta", eta),
        ]);
        let vars = Vars(vars.0.into_iter().filter(|(_, value)| !value.is_empty()).collect());
        let due_at = delivery.eta.checked_sub(lead).unwrap_or(Timestamp::MIN);
        Some(CallTerms {
            plan,
            vars,
            due_at,
            not_after: delivery.eta,
            max_attempts: self.max_attempts.max(1),
        })
    }
}
