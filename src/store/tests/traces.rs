//! Traces: appended to, found by a beginning, pruned, and gone with their call.

use jiff::SignedDuration;

use super::{at, dialing, store};
use crate::sip::Transport;
use crate::store::sip_messages::{self, Head, Named, TRUNK_MESSAGES};
use crate::trace::{Batch, Direction, Traced};

fn message(at_us: i64, text: &str) -> Traced {
    Traced {
        at_us,
        direction: Direction::Out,
        transport: Transport::Tls,
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: "[2001:db8::9]:5061".parse().unwrap(),
        bytes: text.as_bytes().to_vec(),
    }
}

fn head(id: impl ToString) -> Head {
    Head { id: id.to_string(), sip_call_id: "Abc%123@x".to_owned(), peer: "main".to_owned() }
}

#[tokio::test]
async fn a_trace_grows_and_is_found_by_its_beginning() {
    let (store, _dir) = store().await;
    let (call, attempt) = dialing(&store).await;
    let head = head(attempt.id);
    let first = Batch { first: 0, messages: vec![message(1, "a"), message(2, "b")], dropped: 0 };
    let second = Batch { first: 2, messages: vec![message(3, "c\0\u{ff}")], dropped: 4 };
    for batch in [&first, &second, &second] {
        sip_messages::append(&store, at("09:00:00"), &[(head.clone(), batch.clone())]).await.unwrap();
    }
    let trace = sip_messages::get(&store, &attempt.id.to_string()).await.unwrap().unwrap();
    assert_eq!((trace.head, trace.dropped), (head, 4));
    assert_eq!(trace.messages, [message(1, "a"), message(2, "b"), message(3, "c\0\u{ff}")]);

    let find = async |start: &str| sip_messages::find(&store, start).await.unwrap();
    assert_eq!(find(&call.id.to_string()).await, [Named::Call(call.id)]);
    assert_eq!(find(&attempt.id.to_string().to_uppercase()[..35]).await, [Named::Attempt(attempt.id)]);
    assert_eq!(find("Abc%").await, [Named::Attempt(attempt.id)]);
    for other in ["", "abc%", "Abc_", "%", "zzz"] {
        assert_eq!(find(other).await, [], "{other}");
    }
}

#[tokio::test]
async fn old_traces_go_and_a_trunks_newest_messages_stay() {
    let (store, _dir) = store().await;
    let trunk = head(sip_messages::trunk_id("main"));
    let many: Vec<Traced> = (0..100).map(|n| message(n, "REGISTER")).collect();
    sip_messages::append_newest(&store, at("07:00:00"), &trunk, &many).await.unwrap();
    sip_messages::append_newest(&store, at("07:00:00"), &trunk, &[message(100, "REGISTER")]).await.unwrap();
    for (time, id) in [("08:00:00", "old"), ("09:30:00", "new")] {
        let batch = Batch { first: 0, messages: vec![message(1, "a")], dropped: 0 };
        sip_messages::append(&store, at(time), &[(head(id), batch)]).await.unwrap();
    }
    let gone = sip_messages::prune(&store, at("10:00:00"), SignedDuration::from_hours(1)).await.unwrap();
    assert_eq!(gone, 1);
    assert_eq!(sip_messages::get(&store, "old").await.unwrap(), None);
    assert!(sip_messages::get(&store, "new").await.unwrap().is_some());
    let kept = sip_messages::get(&store, &trunk.id).await.unwrap().unwrap().messages;
    assert_eq!(kept.len(), TRUNK_MESSAGES as usize);
    assert_eq!(kept.last().unwrap().at_us, 100);
    let orphans = "SELECT count(*) FROM sip_messages WHERE trace_id = 'old'";
    assert_eq!(sqlx::query_scalar::<_, i64>(orphans).fetch_one(&store.reader).await.unwrap(), 0);
}

#[tokio::test]
async fn a_deleted_call_leaves_no_messages() {
    let (store, _dir) = store().await;
    let (call, attempt) = dialing(&store).await;
    let batch = Batch { first: 0, messages: vec![message(1, "a")], dropped: 0 };
    sip_messages::append(&store, at("09:00:00"), &[(head(attempt.id), batch)]).await.unwrap();
    let delete = sqlx::query("DELETE FROM calls WHERE id = ?").bind(call.id.to_string());
    delete.execute(&store.writer).await.unwrap();
    assert_eq!(sip_messages::get(&store, &attempt.id.to_string()).await.unwrap(), None);
}
