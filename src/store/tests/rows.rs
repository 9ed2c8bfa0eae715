//! Deliveries and their list, events, users, sessions, keys, opening and a full disk.

use std::time::Duration;
use uuid::Uuid;

use super::{at, call, delivery, planner, seconds, store};
use crate::pii::Secret;
use crate::store::calls::CallFilter;
use crate::store::delivery_list::{self, Cursor, DeliveryFilter};
use crate::store::users::{self, NewUser};
use crate::store::{
    CallState, Role, Store, StoreError, api_keys, attempts, calls, deliveries, events, recordings, sessions,
};

#[tokio::test]
async fn the_same_order_is_the_same_delivery_and_one_call() {
    let (store, _dir) = store().await;
    let (first, created) =
        deliveries::upsert(&store, at("08:00:00"), &delivery("A1"), &planner()).await.unwrap();
    assert!(created);
    let (again, created) =
        deliveries::upsert(&store, at("08:00:01"), &delivery("A1"), &planner()).await.unwrap();
    assert_eq!((again.id, created), (first.id, false));
    let planned = calls::list(&store, &CallFilter::default(), 10).await.unwrap();
    assert_eq!(planned.len(), 1);
    assert_eq!((planned[0].due_at, planned[0].not_after), (at("09:30:00"), at("10:00:00")));
    assert_eq!(planned[0].vars.0["eta"], "10:00");
    assert_eq!(planned[0].vars.0["name"], "Ada Lovelace");
    assert_eq!(planned[0].vars.0.keys().collect::<Vec<_>>(), ["address", "agent", "eta", "name", "order"]);
}

#[tokio::test]
async fn a_new_eta_replans_the_pending_call() {
    let (store, _dir) = store().await;
    let (stored, _) = deliveries::upsert(&store, at("08:00:00"), &delivery("A1"), &planner()).await.unwrap();
    let later = |d: &mut deliveries::NewDelivery| d.eta = at("11:15:00");
    deliveries::update(&store, at("08:10:00"), stored.id, &planner(), later).await.unwrap();
    let planned = calls::list(&store, &CallFilter::default(), 10).await.unwrap();
    assert_eq!((planned.len(), planned[0].due_at), (1, at("10:45:00")));
    assert_eq!(planned[0].vars.0["eta"], "11:15");

    attempts::begin_dialing(&store, at("10:45:00"), Uuid::now_v7(), planned[0].id, "main").await.unwrap().unwrap();
    let again = |d: &mut deliveries::NewDelivery| d.eta = at("12:00:00");
    deliveries::update(&store, at("10:45:01"), stored.id, &planner(), again).await.unwrap();
    assert_eq!(
        calls::get(&store, planned[0].id).await.unwrap().due_at,
        at("10:45:00"),
        "an active call stays"
    );
}

#[tokio::test]
async fn a_delivery_without_a_plan_calls_nobody() {
    let (store, _dir) = store().await;
    let (stored, _) = deliveries::upsert(&store, at("08:00:00"), &delivery("A1"), &planner()).await.unwrap();
    let silent = |d: &mut deliveries::NewDelivery| d.plan = None;
    deliveries::update(&store, at("08:10:00"), stored.id, &planner(), silent).await.unwrap();
    let view = delivery_list::get(&store, stored.id, None).await.unwrap();
    assert_eq!(view.call.unwrap().outcome.as_deref(), Some("cancelled"));
}

#[tokio::test]
async fn an_order_reference_cannot_be_taken_from_another_delivery() {
    let (store, _dir) = store().await;
    deliveries::upsert(&store, at("08:00:00"), &delivery("A1"), &planner()).await.unwrap();
    let (second, _) = deliveries::upsert(&store, at("08:00:00"), &delivery("A2"), &planner()).await.unwrap();
    let rename = |d: &mut deliveries::NewDelivery| d.order_ref = "A1".to_owned();
    let taken = deliveries::update(&store, at("08:10:00"), second.id, &planner(), rename).await;
    assert!(matches!(taken, Err(StoreError::Taken { what: "order_ref", .. })), "{taken:?}");
}

#[tokio::test]
async fn the_list_pages_and_filters() {
    let (store, _dir) = store().await;
    for n in 0..7 {
        let mut new = delivery(&format!("A{n}"));
        new.eta = at(&format!("1{}:00:00", n % 3)); // ties are broken by the identifier
        new.agent = if n == 6 { "alan" } else { "grace" }.to_owned();
        deliveries::upsert(&store, at("08:00:00"), &new, &planner()).await.unwrap();
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let filter = DeliveryFilter { after, ..DeliveryFilter::default() };
        let page = delivery_list::list(&store, &filter, None, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(Cursor { eta: last.delivery.details.eta, id: last.delivery.id });
        seen.extend(
            page.into_iter().map(|view| (view.delivery.details.eta, view.delivery.details.order_ref)),
        );
    }
    assert_eq!(seen.len(), 7);
    assert!(seen.is_sorted_by_key(|(eta, _)| *eta), "{seen:?}");

    let count =
        async |filter: DeliveryFilter| delivery_list::list(&store, &filter, None, 50).await.unwrap().len();
    assert_eq!(count(DeliveryFilter { agent: Some("alan".into()), ..Default::default() }).await, 1);
    assert_eq!(count(DeliveryFilter { eta_from: Some(at("11:00:00")), ..Default::default() }).await, 4);
    assert_eq!(count(DeliveryFilter { eta_before: Some(at("11:00:00")), ..Default::default() }).await, 3);
    assert_eq!(count(DeliveryFilter { state: Some(CallState::Done), ..Default::default() }).await, 0);
    assert_eq!(count(DeliveryFilter { text: Some("lovelace".into()), ..Default::default() }).await, 7);
    assert_eq!(count(DeliveryFilter { text: Some("%".into()), ..Default::default() }).await, 0);
}

#[tokio::test]
async fn events_are_numbered_resumable_and_wake_readers() {
    let (store, dir) = store().await;
    let other = Store::open(dir.path().join("callahead.db")).await.unwrap();
    deliveries::upsert(&store, at("08:00:00"), &delivery("A1"), &planner()).await.unwrap();
    let first = events::since(&store, 0, None, 100).await.unwrap();
    assert_eq!(
        first.iter().map(|e| e.kind.as_str()).collect::<Vec<_>>(),
        ["delivery.created", "call.created"]
    );
    assert_eq!(first[0].delivery_id, first[1].delivery_id);
    assert!(events::since(&store, 0, Some("alan"), 100).await.unwrap().is_empty());

    let seen = first[1].seq;
    let readers = [store.clone(), other]
        .map(|store| tokio::spawn(async move { events::wait_after(&store, seen).await }));
    calls::create(&store, at("08:00:01"), call()).await.unwrap();
    for reader in readers {
        tokio::time::timeout(Duration::from_secs(10), reader).await.expect("woken").unwrap().unwrap();
    }
    assert_eq!(events::since(&store, seen, None, 100).await.unwrap().len(), 1);

    assert_eq!(events::prune(&store, at("09:00:00"), seconds(60)).await.unwrap(), 2);
    assert_eq!(events::first(&store).await.unwrap(), seen + 1);
    assert_eq!(events::last(&store).await.unwrap(), seen + 1, "the newest stays, so that numbers go on");
}

#[tokio::test]
async fn users_sign_in_and_sessions_end() {
    let (store, _dir) = store().await;
    let password = Secret::new("correct horse");
    let new = NewUser {
        username: "Grace".to_owned(),
        display_name: "Grace H.".to_owned(),
        role: Role::Agent,
        password: password.clone(),
    };
    let user = users::add(&store, at("08:00:00"), &new).await.unwrap();
    assert!(matches!(users::add(&store, at("08:00:00"), &new).await, Err(StoreError::Taken { .. })));
    assert_eq!(users::verify(&store, " GRACE", &password).await.unwrap(), Some(user.clone()));
    assert_eq!(users::verify(&store, "grace", &Secret::new("wrong")).await.unwrap(), None);
    assert_eq!(users::verify(&store, "nobody", &password).await.unwrap(), None);

    let token = sessions::open(&store, at("08:00:00"), user.id).await.unwrap();
    assert_eq!(sessions::find(&store, at("08:00:01"), &token).await.unwrap().unwrap().id, user.id);
    let expired = at("08:00:00").saturating_add(sessions::LIFETIME).unwrap();
    assert!(sessions::find(&store, expired, &token).await.unwrap().is_none());
    users::set_disabled(&store, at("08:00:02"), user.id, true).await.unwrap();
    assert!(sessions::find(&store, at("08:00:03"), &token).await.unwrap().is_none());
    assert!(users::verify(&store, "grace", &password).await.unwrap().is_none());
}

#[tokio::test]
async fn keys_work_until_they_are_revoked() {
    let (store, _dir) = store().await;
    let (key, secret) = api_keys::add(&store, at("08:00:00"), "erp", Role::Dispatcher).await.unwrap();
    assert!(secret.reveal().starts_with(api_keys::PREFIX));
    assert_eq!(api_keys::find(&store, &secret).await.unwrap().unwrap().id, key.id);
    api_keys::revoke(&store, at("08:00:01"), key.id).await.unwrap();
    assert!(api_keys::find(&store, &secret).await.unwrap().is_none());
    assert!(api_keys::add(&store, at("08:00:00"), "driver", Role::Agent).await.is_err());
}

#[tokio::test]
async fn a_full_disk_has_a_name_and_costs_nothing_that_was_there() {
    let (store, _dir) = store().await;
    let (first, _) = calls::create(&store, at("08:00:00"), call()).await.unwrap();
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&store.writer).await.unwrap();
    let limit = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}")));
    limit.fetch_one(&store.writer).await.unwrap();
    let mut full = None;
    for _ in 0..200 {
        if let Err(error) = calls::create(&store, at("08:00:01"), call()).await {
            full = Some(error);
            break;
        }
    }
    let full = full.expect("the limit is met");
    assert!(matches!(&full, StoreError::DiskFull { path } if path == store.path()), "{full}");
    assert!(full.to_string().contains("callahead.db"), "{full}");
    assert_eq!(calls::get(&store, first.id).await.unwrap().id, first.id);
}

#[tokio::test]
async fn an_old_database_is_copied_before_it_is_migrated() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (dir.path().join("callahead.db"), dir.path().join("migrations"));
    std::fs::create_dir(&old).unwrap();
    std::fs::write(old.join("0001_first.sql"), include_str!("../migrations/0001_first.sql")).unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::migrate::Migrator::new(old).await.unwrap().run(&pool).await.unwrap();
    let (call, attempt) = (uuid::Uuid::now_v7(), uuid::Uuid::now_v7());
    let rows = format!(
        "INSERT INTO calls (id, number, plan, vars, language, state, due_at, not_after, max_attempts, created_at)
         VALUES ('{call}', '+442071838750', 'p', '{{}}', '', 'active', '{0}', '{0}', 1, '{0}');
         INSERT INTO attempts (id, call_id, ordinal, trunk, state, dialing_at) VALUES ('{attempt}', '{call}', 1, 'main', 'dialing', '{0}')",
        "2026-11-21T08:00:00.000Z"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(rows)).execute(&pool).await.unwrap();
    pool.close().await;

    let store = Store::open(&path).await.unwrap();
    let attempt = attempts::get(&store, attempt).await.unwrap();
    assert_eq!((attempt.trunk.as_str(), attempt.failover, attempt.route_why), ("main", 0, None));
    store.close().await;
    let copy = sqlx::SqlitePool::connect_with(
        sqlx::sqlite::SqliteConnectOptions::new().filename(dir.path().join("callahead.db.before-2")),
    );
    let copy = copy.await.unwrap();
    let version: i64 = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations").fetch_one(&copy).await.unwrap();
    assert_eq!(version, 1, "the copy is as it was before");
}

#[tokio::test]
async fn a_newer_database_is_refused_by_version() {
    let (store, dir) = store().await;
    let newer = "UPDATE _sqlx_migrations SET version = 9999 WHERE version = (SELECT max(version) FROM _sqlx_migrations)";
    sqlx::query(newer).execute(&store.writer).await.unwrap();
    store.close().await;
    let refused = Store::open(dir.path().join("callahead.db")).await.unwrap_err().to_string();
    assert!(refused.contains("a newer callahead (migration 9999)"), "{refused}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("callahead.db");
    std::fs::write(&path, "this is not a database, and it is long enough to be looked at".repeat(20))
        .unwrap();
    let error = Store::open(&path).await.unwrap_err();
    assert!(error.to_string().contains("callahead.db"), "{error}");
}

#[tokio::test]
async fn the_view_joins_the_recording_and_the_listener() {
    let (store, _dir) = store().await;
    let (stored, _) = deliveries::upsert(&store, at("08:00:00"), &delivery("A1"), &planner()).await.unwrap();
    let call = calls::list(&store, &CallFilter::default(), 1).await.unwrap().remove(0);
    let attempt = attempts::begin_dialing(&store, at("09:30:00"), Uuid::now_v7(), call.id, "main").await.unwrap().unwrap();
    let id = uuid::Uuid::now_v7();
    recordings::begin(&store, at("09:30:01"), id, attempt.id, "a.part").await.unwrap();
    let file = recordings::Finished {
        path: "a.wav".to_owned(),
        duration_ms: 5_000,
        bytes: 10,
        sha256: String::new(),
        answer_ranges: vec![recordings::AnswerRange { start_ms: 1_500, end_ms: 4_000 }],
    };
    recordings::finished(&store, at("09:31:00"), id, &file, true).await.unwrap();
    let new = NewUser {
        username: "grace".to_owned(),
        display_name: "Grace".to_owned(),
        role: Role::Agent,
        password: Secret::new("correct horse"),
    };
    let user = users::add(&store, at("08:00:00"), &new).await.unwrap();
    let view = delivery_list::get(&store, stored.id, Some(user.id)).await.unwrap().recording.unwrap();
    assert_eq!((view.listened, view.answer_start_ms, view.duration_ms), (false, 1_500, Some(5_000)));
    recordings::mark_listened(&store, at("09:40:00"), id, user.id).await.unwrap();
    recordings::mark_listened(&store, at("09:41:00"), id, user.id).await.unwrap();
    assert!(delivery_list::get(&store, stored.id, Some(user.id)).await.unwrap().recording.unwrap().listened);
    assert!(!delivery_list::get(&store, stored.id, None).await.unwrap().recording.unwrap().listened);
    assert_eq!(recordings::listened(&store, id).await.unwrap()[0].at, at("09:40:00"));
    assert_eq!(recordings::agent_of(&store, id).await.unwrap().as_deref(), Some("grace"));
}
