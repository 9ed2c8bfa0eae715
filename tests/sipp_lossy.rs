//! SIPp's own scenarios as caller and as callee, and as caller with every tenth message lost both ways: every call ends as it
//! should. What `-lost` drops of SIPp's own messages it never sends again: a call whose ACK and BYE it has dropped so must end
//! on our side by itself; and as callee it could not lose anything, for it would not answer the INVITE's retransmissions.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test talks to a real program and may panic"
)]

#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/peer.rs"]
mod peer;
#[path = "support/phones.rs"]
mod phones;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use callahead::engine::signalling::Signalling;
use callahead::sip::session::Failure;
use peer::{Peer, free_port, logs};
use phones::{Tally, answer_calls, endpoint, place_call};

const CALLS: usize = 100;

/// SIPp with `arguments`, on loopback, its own scenario; every tenth message of both directions lost when `lossy`.
fn sipp(arguments: &[&str], lossy: bool) -> Command {
    let mut command = Command::new("sipp");
    command.args(arguments).args(["-i", "127.0.0.1", "-nostdin", "-trace_err", "-error_file", "errors.log"]);
    if lossy {
        command.args(["-lost", "10"]);
    }
    command
}

async fn sipp_calls_us(lossy: bool) {
    let signalling =
        Signalling::bind(SocketAddr::from(([127, 0, 0, 1], 0)), endpoint(1000), 7).await.unwrap();
    let (sender, unclaimed) = Signalling::unclaimed();
    let tally = Arc::new(Tally::default());
    let answering = tokio::spawn(answer_calls(signalling.clone(), unclaimed, tally.clone()));
    let receiving = tokio::spawn({
        let signalling = signalling.clone();
        async move { signalling.run(sender).await }
    });
    let folder = tempfile::tempdir().unwrap();
    let (us, port) = (signalling.local_addr().to_string(), free_port().port().to_string());
    let count = CALLS.to_string();
    let mut command = sipp(&["-sn", "uac", &us, "-m", &count, "-r", "50", "-d", "200", "-p", &port], lossy);
    let path = folder.path().to_owned();
    let status = tokio::task::spawn_blocking(move || {
        Peer::start("sipp", "sip-tester", &mut command, &path).wait(&path)
    });
    let status = status.await.unwrap();
    assert!(status.success(), "SIPp: {status}\n{}", logs(folder.path()));
    // The last transactions: 32 s when SIPp has dropped its ACK and its BYE.
    for _ in 0..100 {
        if tally.finished.load(Relaxed) == CALLS {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let failures = tally.failures.lock().unwrap();
    assert!(failures.iter().all(|failure| lossy && *failure == Failure::AckMissing), "{failures:?}");
    assert_eq!((tally.ended.load(Relaxed) + failures.len(), tally.finished.load(Relaxed)), (CALLS, CALLS));
    drop(failures);
    answering.abort();
    receiving.abort();
}

async fn we_call_sipp() {
    let signalling =
        Signalling::bind(SocketAddr::from(([127, 0, 0, 1], 0)), endpoint(1000), 8).await.unwrap();
    let (sender, _unclaimed) = Signalling::unclaimed();
    let receiving = tokio::spawn({
        let signalling = signalling.clone();
        async move { signalling.run(sender).await }
    });
    let folder = tempfile::tempdir().unwrap();
    let target = free_port();
    let (count, port) = (CALLS.to_string(), target.port().to_string());
    let mut command = sipp(&["-sn", "uas", "-m", &count, "-p", &port], false);
    let path = folder.path().to_owned();
    let mut peer = Peer::start("sipp", "sip-tester", &mut command, &path);
    peer.wait_for_port(target.port(), &path);
    let tally = Arc::new(Tally::default());
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..CALLS {
        tokio::time::sleep(Duration::from_millis(20)).await;
        calls.spawn(place_call(signalling.clone(), target, Duration::from_millis(200), tally.clone()));
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    assert_eq!(*tally.failures.lock().unwrap(), []);
    assert_eq!(tally.answered.load(Relaxed), CALLS);
    assert_eq!((tally.ended.load(Relaxed), tally.finished.load(Relaxed)), (CALLS, CALLS));
    let status = tokio::task::spawn_blocking(move || peer.wait(&path)).await.unwrap();
    assert!(status.success(), "SIPp: {status}\n{}", logs(folder.path()));
    receiving.abort();
}

#[tokio::test]
async fn sipp_calls() {
    sipp_calls_us(false).await;
}

#[tokio::test]
async fn sipp_calls_over_a_lossy_network() {
    sipp_calls_us(true).await;
}

#[tokio::test]
async fn sipp_is_called() {
    we_call_sipp().await;
}
