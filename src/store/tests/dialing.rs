//! "Dial exactly once or say unknown".

use uuid::Uuid;

use super::{at, call, dialing, store};
use crate::store::attempts::{self, End, Next};
use crate::store::calls::{self, Cancelled};
use crate::store::{AttemptState, CallState, EndCause, Store, StoreError, do_not_call, engine};

fn busy() -> End {
    End { cause: EndCause::Busy, sip_status: Some(486), reason: None }
}

#[tokio::test]
async fn an_attempt_is_durable_before_the_invite_leaves() {
    let (store, dir) = store().await;
    let (call, attempt) = dialing(&store).await;
    // Another process reads the file while the first still has it open: what it sees is what a crash would leave.
    let other = Store::open(dir.path().join("callahead.db")).await.unwrap();
    assert_eq!(attempts::get(&other, attempt.id).await.unwrap(), attempt);
    assert_eq!(attempt.state, AttemptState::Dialing);
    assert_eq!((attempt.ordinal, attempt.trunk.as_str()), (1, "main"));
    assert_eq!(calls::get(&other, call.id).await.unwrap().state, CallState::Active);
}

#[tokio::test]
async fn two_engines_cannot_both_claim_a_call() {
    let (first, dir) = store().await;
    let second = Store::open(dir.path().join("callahead.db")).await.unwrap();
    for _ in 0..20 {
        let (call, _) = calls::create(&first, at("08:00:00"), call()).await.unwrap();
        let claims = (0..8).map(|n| {
            let store = if n % 2 == 0 { first.clone() } else { second.clone() };
            tokio::spawn(async move {
                attempts::begin_dialing(&store, at("09:00:00"), Uuid::now_v7(), call.id, "main").await.unwrap()
            })
        });
        let mut won = 0;
        for claim in claims.collect::<Vec<_>>() {
            won += usize::from(claim.await.unwrap().is_some());
        }
        assert_eq!(won, 1);
        assert_eq!(attempts::of_call(&first, call.id).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_call_is_claimed_only_inside_its_window() {
    let (store, _dir) = store().await;
    let (call, _) = calls::create(&store, at("08:00:00"), call()).await.unwrap();
    for early_or_late in ["08:59:59", "12:00:00"] {
        assert!(calls::due(&store, at(early_or_late), 10).await.unwrap().is_empty());
        assert_eq!(attempts::begin_dialing(&store, at(early_or_late), Uuid::now_v7(), call.id, "main").await.unwrap(), None);
    }
    assert_eq!(calls::due(&store, at("09:00:00"), 10).await.unwrap().len(), 1);
    assert!(calls::expire(&store, at("11:59:59")).await.unwrap().is_empty());
    assert_eq!(calls::expire(&store, at("12:00:00")).await.unwrap(), [call.id]);
    assert_eq!(calls::get(&store, call.id).await.unwrap().outcome.as_deref(), Some("expired"));
}

#[tokio::test]
async fn the_end_of_an_attempt_sets_the_next_step() {
    let (store, _dir) = store().await;
    let (call, attempt) = dialing(&store).await;
    attempts::ringing(&store, at("09:00:01"), attempt.id).await.unwrap();
    attempts::answered(&store, at("09:00:05"), attempt.id).await.unwrap();
    attempts::ringing(&store, at("09:00:06"), attempt.id).await.unwrap(); // a late 180 changes nothing
    let seen = attempts::get(&store, attempt.id).await.unwrap();
    assert_eq!((seen.state, seen.ringing_at), (AttemptState::Answered, Some(at("09:00:01"))));

    let next = Next::Retry { at: at("09:10:00"), counts: true };
    let after = attempts::ended(&store, at("09:00:09"), attempt.id, &busy(), &next).await.unwrap();
    assert_eq!((after.state, after.due_at, after.attempts_made), (CallState::Pending, at("09:10:00"), 1));
    let again = attempts::ended(&store, at("09:00:10"), attempt.id, &busy(), &next).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");

    let second = attempts::begin_dialing(&store, at("09:10:00"), Uuid::now_v7(), call.id, "spare").await.unwrap().unwrap();
    assert_eq!(second.ordinal, 2);
    let failover = Next::Retry { at: at("09:10:01"), counts: false };
    let after = attempts::ended(&store, at("09:10:01"), second.id, &busy(), &failover).await.unwrap();
    assert_eq!(after.attempts_made, 1, "a failover is not a try");
    let third = attempts::begin_dialing(&store, at("09:10:01"), Uuid::now_v7(), call.id, "main").await.unwrap().unwrap();
    let done = Next::Done { outcome: "home".to_owned() };
    let after = attempts::ended(&store, at("09:11:00"), third.id, &busy(), &done).await.unwrap();
    assert_eq!((after.state, after.outcome.as_deref()), (CallState::Done, Some("home")));
}

#[tokio::test]
async fn an_attempt_keeps_why_it_went_to_its_trunk() {
    let (store, _dir) = store().await;
    let (call, _) = calls::create(&store, at("08:00:00"), call()).await.unwrap();
    let why = serde_json::json!({ "strategy": "cost", "reason": "0.008 a minute", "skipped": [] });
    let route = attempts::Route { trunk: "spare".to_owned(), failover: 1, why: Some(why.clone()) };
    let attempt = attempts::begin_dialing(&store, at("09:00:00"), Uuid::now_v7(), call.id, route).await.unwrap().unwrap();
    let kept = attempts::get(&store, attempt.id).await.unwrap();
    assert_eq!((kept.trunk.as_str(), kept.failover, kept.route_why), ("spare", 1, Some(why)));
}

#[tokio::test]
async fn what_a_crash_leaves_is_unknown_and_never_dialled_again() {
    let (store, dir) = store().await;
    let (ringing, first) = dialing(&store).await;
    attempts::ringing(&store, at("09:00:01"), first.id).await.unwrap();
    let (talking, second) = dialing(&store).await;
    attempts::answered(&store, at("09:00:02"), second.id).await.unwrap();
    let (waiting, _) = calls::create(&store, at("08:00:00"), call()).await.unwrap();
    drop(store);

    let store = Store::open(dir.path().join("callahead.db")).await.unwrap();
    let found = attempts::recover_after_crash(&store, at("09:01:00")).await.unwrap();
    assert_eq!(
        found.iter().map(|a| a.state).collect::<Vec<_>>(),
        [AttemptState::Ringing, AttemptState::Answered]
    );
    for (call, attempt) in [(ringing, first), (talking, second)] {
        let attempt = attempts::get(&store, attempt.id).await.unwrap();
        assert_eq!((attempt.state, attempt.cause), (AttemptState::Ended, Some(EndCause::Unknown)));
        let call = calls::get(&store, call.id).await.unwrap();
        assert_eq!((call.state, call.outcome.as_deref()), (CallState::Done, Some("unknown")));
    }
    let due = calls::due(&store, at("09:01:00"), 10).await.unwrap();
    assert_eq!(due.iter().map(|call| call.id).collect::<Vec<_>>(), [waiting.id]);
    assert!(attempts::recover_after_crash(&store, at("09:02:00")).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_cancelled_call_is_not_tried_again() {
    let (store, _dir) = store().await;
    let (pending, _) = calls::create(&store, at("08:00:00"), call()).await.unwrap();
    assert_eq!(calls::cancel(&store, at("08:01:00"), pending.id).await.unwrap(), Cancelled::Done);
    assert_eq!(calls::cancel(&store, at("08:02:00"), pending.id).await.unwrap(), Cancelled::AlreadyDone);
    assert_eq!(attempts::begin_dialing(&store, at("09:00:00"), Uuid::now_v7(), pending.id, "main").await.unwrap(), None);

    let (active, attempt) = dialing(&store).await;
    assert_eq!(calls::cancel(&store, at("09:00:01"), active.id).await.unwrap(), Cancelled::Active);
    let next = Next::Retry { at: at("09:10:00"), counts: true };
    let after = attempts::ended(&store, at("09:00:02"), attempt.id, &busy(), &next).await.unwrap();
    assert_eq!((after.state, after.outcome.as_deref()), (CallState::Done, Some("cancelled")));
}

#[tokio::test]
async fn waiting_says_why_and_stops_saying_it_when_the_call_begins() {
    let (store, _dir) = store().await;
    let (call, _) = calls::create(&store, at("08:00:00"), call()).await.unwrap();
    calls::wait(&store, at("09:00:00"), call.id, "no_free_trunk", at("09:00:05")).await.unwrap();
    assert!(calls::due(&store, at("09:00:04"), 10).await.unwrap().is_empty());
    assert_eq!(
        calls::due(&store, at("09:00:05"), 10).await.unwrap()[0].waiting.as_deref(),
        Some("no_free_trunk")
    );
    attempts::begin_dialing(&store, at("09:00:05"), Uuid::now_v7(), call.id, "main").await.unwrap().unwrap();
    assert_eq!(calls::get(&store, call.id).await.unwrap().waiting, None);
}

#[tokio::test]
async fn an_idempotency_key_makes_one_call() {
    let (store, _dir) = store().await;
    let keyed = || calls::NewCall { idempotency_key: Some("k1".to_owned()), ..call() };
    let (first, created) = calls::create(&store, at("08:00:00"), keyed()).await.unwrap();
    assert!(created);
    let (again, created) = calls::create(&store, at("08:00:01"), keyed()).await.unwrap();
    assert_eq!((again.id, created), (first.id, false));
    let other = calls::NewCall { plan: "opt-out".to_owned(), ..keyed() };
    assert!(matches!(calls::create(&store, at("08:00:02"), other).await, Err(StoreError::Conflict(_))));
}

#[tokio::test]
async fn one_engine_serves_a_database() {
    let (store, _dir) = store().await;
    let alive = |_| false;
    let first = engine::claim(&store, at("09:00:00"), 10, alive).await.unwrap().unwrap();
    assert_eq!(engine::claim(&store, at("09:00:05"), 11, alive).await.unwrap().unwrap_err().pid, 10);
    assert_eq!(engine::current(&store, at("09:00:05")).await.unwrap().unwrap().pid, 10);
    let second = engine::claim(&store, at("09:00:05"), 11, |pid| pid == 10).await.unwrap().unwrap();
    assert!(!engine::beat(&store, at("09:00:06"), first.instance, &serde_json::json!({})).await.unwrap());
    let trunks = serde_json::json!({ "main": { "active": 3 } });
    assert!(engine::beat(&store, at("09:00:20"), second.instance, &trunks).await.unwrap());
    assert_eq!(engine::current(&store, at("09:00:21")).await.unwrap().unwrap().trunks, trunks);
    assert!(engine::current(&store, at("09:00:31")).await.unwrap().is_none());
    engine::release(&store, at("09:00:31"), second.instance).await.unwrap();
    assert!(engine::claim(&store, at("09:00:31"), 12, alive).await.unwrap().is_ok());
}

#[tokio::test]
async fn who_opted_out_is_not_called_again_until_they_opt_in() {
    let (store, _dir) = store().await;
    let (first, attempt) = dialing(&store).await;
    let end = End { cause: EndCause::Human, sip_status: None, reason: None };
    let next = Next::Done { outcome: do_not_call::OPT_OUT.to_owned() };
    attempts::ended(&store, at("09:01:00"), attempt.id, &end, &next).await.unwrap();
    assert!(do_not_call::contains(&store, &first.number).await.unwrap());

    let (again, _) = calls::create(&store, at("09:30:00"), call()).await.unwrap();
    let begun = attempts::begin_dialing(&store, at("10:00:00"), Uuid::now_v7(), again.id, "main").await.unwrap();
    assert_eq!(begun, None);
    let again = calls::get(&store, again.id).await.unwrap();
    assert_eq!((again.state, again.outcome.as_deref()), (CallState::Done, Some(do_not_call::NOT_CALLED)));
}
