//! Calls that came in.

use uuid::Uuid;

use super::{at, delivery, planner, seconds, store};
use crate::pii::Redacted;
use crate::store::attempts::{self, End, Next};
use crate::store::inbound::{self, Arrival};
use crate::store::{AttemptState, CallState, Direction, EndCause, Vars, calls, deliveries, do_not_call};

fn arrival(number: &str) -> Arrival {
    Arrival {
        attempt: Uuid::now_v7(),
        number: Redacted::new(number.to_owned()),
        called: Redacted::new("+12025550100".to_owned()),
        plan: "inbound-menu".to_owned(),
        vars: Vars::default(),
        language: String::new(),
        via: "main".to_owned(),
        deliveries: (at("00:00:00"), at("00:00:00") + seconds(86_400)),
    }
}

#[tokio::test]
async fn a_customer_who_calls_back_is_linked_with_the_nearest_delivery_of_the_day() {
    let (store, _dir) = store().await;
    let mut ids = Vec::new();
    for (order, eta) in
        [("early", at("10:00:00")), ("late", at("18:00:00")), ("gone", at("10:00:00") - seconds(86_400))]
    {
        let new = crate::store::deliveries::NewDelivery { eta, ..delivery(order) };
        ids.push(deliveries::upsert(&store, at("08:00:00"), &new, &planner()).await.unwrap().0.id);
    }
    let call = inbound::begin(&store, at("16:00:00"), &arrival("+442071838750")).await.unwrap();
    assert_eq!((call.delivery_id, call.direction), (Some(ids[1]), Direction::Inbound));
    assert_eq!(
        (call.state, call.attempts_made, call.agent.as_deref()),
        (CallState::Active, 1, Some("grace"))
    );
    // The call that we planned can still be planned anew.
    let moved = crate::store::deliveries::NewDelivery { eta: at("19:00:00"), ..delivery("late") };
    deliveries::upsert(&store, at("16:00:01"), &moved, &planner()).await.unwrap();
    let planned =
        calls::list(&store, &calls::CallFilter { delivery_id: Some(ids[1]), ..Default::default() }, 9)
            .await
            .unwrap();
    assert!(planned.iter().any(|call| call.due_at == at("18:30:00")), "{planned:?}");
    for stranger in ["+12025550142", ""] {
        let call = inbound::begin(&store, at("16:00:00"), &arrival(stranger)).await.unwrap();
        assert_eq!(call.delivery_id, None);
    }
}

#[tokio::test]
async fn a_caller_may_stop_our_calls_but_not_start_them() {
    let (store, _dir) = store().await;
    let number = Redacted::new("+442071838750".to_owned());
    for (outcome, listed) in [("opt_out", true), ("opt_in", true)] {
        let arrival = arrival(number.reveal());
        inbound::begin(&store, at("16:00:00"), &arrival).await.unwrap();
        let attempt = attempts::get(&store, arrival.attempt).await.unwrap();
        assert_eq!((attempt.state, attempt.trunk.as_str()), (AttemptState::Ringing, "main"));
        let end = End { cause: EndCause::Human, sip_status: None, reason: None };
        let next = Next::Done { outcome: outcome.to_owned() };
        let call = attempts::ended(&store, at("16:01:00"), arrival.attempt, &end, &next).await.unwrap();
        assert_eq!(call.outcome.as_deref(), Some(outcome));
        assert_eq!(do_not_call::contains(&store, &number).await.unwrap(), listed, "{outcome}");
    }
}

#[tokio::test]
async fn a_call_that_a_crash_cut_off_is_unknown() {
    let (store, _dir) = store().await;
    let call = inbound::begin(&store, at("16:00:00"), &arrival("")).await.unwrap();
    attempts::recover_after_crash(&store, at("16:05:00")).await.unwrap();
    assert_eq!(crate::store::calls::get(&store, call.id).await.unwrap().outcome.as_deref(), Some("unknown"));
}
