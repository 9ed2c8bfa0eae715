//! The program as processes that are killed, fed garbage and given bad files: nothing is lost, nothing is dialled twice,
//! and whatever is wrong is named with its remedy.

#[path = "resilience/depot.rs"]
mod depot;

use std::fs;
use std::net::UdpSocket;

use callahead::store::{AttemptState, CallState, EndCause, RecordingState, calls, recordings};
use depot::{Depot, until};
use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

/// Talks for a long time as soon as they have picked up.
const TALKER: &str = r#"
[[customer]]
number = "+12025550101"
name   = "a talker"
voice  = { engine = "espeak-ng", name = "en-us" }
does   = [
  { say = "Hello? Who is there? I was in the garden and did not hear the telephone at first." },
  { say = "The parcel, yes, please leave it with my neighbour at number twelve, the house with the green door." },
  { wait = "60s" },
]
"#;

/// Presses 1 when the prompt is over.
const PRESSER: &str = r#"
[[customer]]
number = "+12025550102"
name   = "a presser"
does   = [{ wait = "quiet" }, { press = "1" }, { wait = "60s" }]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_engine_keeps_the_recording_and_does_not_dial_again() {
    let depot = Depot::new(TALKER);
    let (carrier, engine) = (depot.carrier(), depot.serve());
    let store = depot.store().await;
    let id = depot.call(&store, "+12025550101").await;
    until(&store, id, |call| call.state == CallState::Active).await;
    // Until the journal holds some seconds of both sides: 16 kB a second.
    let journal = loop {
        let folder = fs::read_dir(depot.folder.path().join("data/recordings")).unwrap();
        let journal = folder
            .map(|file| file.unwrap().path())
            .find(|path| path.extension().is_some_and(|e| e == "journal"));
        if let Some(path) = journal
            && fs::metadata(&path).unwrap().len() > 80_000
        {
            break path;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    engine.kill();
    let written = fs::metadata(&journal).unwrap().len();
    drop(store);

    let engine = depot.serve();
    let store = depot.store().await;
    let (call, attempts) = calls::get_with_attempts(&store, id).await.unwrap();
    assert_eq!((call.state, call.outcome.as_deref()), (CallState::Done, Some("unknown")));
    assert_eq!(attempts.len(), 1);
    assert_eq!((attempts[0].state, attempts[0].cause), (AttemptState::Ended, Some(EndCause::Unknown)));
    let kept = recordings::of_call(&store, id).await.unwrap();
    assert_eq!(kept.len(), 1, "its row was there before the answer");
    assert_eq!(kept[0].state, RecordingState::Ready);
    let wav = hound::WavReader::open(depot.folder.path().join("data").join(&kept[0].path)).unwrap();
    assert_eq!((wav.spec().channels, wav.spec().sample_rate), (2, 8000));
    // Two sides of at most 8,000 bytes a second, and what frames cost: everything that was written is there.
    let least = written / 17_500 * 1000;
    assert!(kept[0].duration_ms.unwrap() >= least, "{} ms of {written} bytes", kept[0].duration_ms.unwrap());
    assert!(!journal.exists());
    let loudest = wav.into_samples::<i16>().map(|sample| sample.unwrap().unsigned_abs()).max();
    assert!(loudest > Some(5_000), "it is not silence");
    // The engine has looked at what is due; the customer's phone rang once.
    let other = depot.call(&store, "+12025550199").await;
    until(&store, other, |call| call.state == CallState::Done).await;
    assert_eq!(carrier.log().matches("call for a talker").count(), 1);
    assert!(engine.log().contains("is not dialled again by itself"), "{}", engine.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_for_a_recording_nobody_is_called() {
    let depot = Depot::new(PRESSER);
    depot.edit("sip-config/callahead.toml", "min_free_mb = 1", "min_free_mb = 99999999");
    let (carrier, engine) = (depot.carrier(), depot.serve());
    let store = depot.store().await;
    let id = depot.call(&store, "+12025550102").await;
    let call = until(&store, id, |call| call.waiting.is_some()).await;
    let reason = call.waiting.unwrap();
    assert!(reason.starts_with("disk_full:") && reason.contains("min_free_mb"), "{reason}");
    assert_eq!((call.state, call.attempts_made), (CallState::Pending, 0));
    assert!(!carrier.log().contains("call for"));
    engine.signal(Signal::SIGTERM);
    assert_eq!(engine.exit_code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_changes_nothing_for_a_running_call() {
    let depot = Depot::new(PRESSER);
    let (_carrier, engine) = (depot.carrier(), depot.serve());
    let store = depot.store().await;
    let id = depot.call(&store, "+12025550102").await;
    until(&store, id, |call| call.state == CallState::Active).await;
    let (socket, mut rng) = (UdpSocket::bind("127.0.0.1:0").unwrap(), StdRng::seed_from_u64(1));
    for round in 0..2_000_u16 {
        let mut datagram = vec![0; rng.random_range(0..1400)];
        rng.fill_bytes(&mut datagram);
        if round % 3 == 0 {
            datagram.splice(0..0, *b"INVITE sip:a@b SIP/2.0\r\nVia: ");
        }
        if round % 5 == 0 {
            datagram.splice(0..0, [0x80, 0]); // looks like RTP
        }
        let port = if round % 2 == 0 { depot.sip.port() } else { depot.rtp + (round % 200) };
        socket.send_to(&datagram, ("127.0.0.1", port)).unwrap();
        if round % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let call = until(&store, id, |call| call.state == CallState::Done).await;
    assert_eq!(call.outcome.as_deref(), Some("confirmed"));
    engine.signal(Signal::SIGTERM);
    engine.wait_for("stopped");
    let log = engine.log();
    let dropped = log.split("sip_dropped=").nth(1).and_then(|rest| rest.split_whitespace().next());
    assert!(dropped.and_then(|count| count.parse::<u32>().ok()) > Some(500), "counted at the end: {log}");
    assert_eq!(engine.exit_code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_the_running_call_finish() {
    let depot = Depot::new(PRESSER);
    let (_carrier, engine) = (depot.carrier(), depot.serve());
    let store = depot.store().await;
    let id = depot.call(&store, "+12025550102").await;
    until(&store, id, |call| call.state == CallState::Active).await;
    engine.signal(Signal::SIGTERM);
    engine.wait_for("draining");
    let late = depot.call(&store, "+12025550102").await;
    assert_eq!(engine.exit_code(), Some(0));
    let call = calls::get(&store, id).await.unwrap();
    assert_eq!((call.state, call.outcome.as_deref()), (CallState::Done, Some("confirmed")));
    assert_eq!(
        calls::get(&store, late).await.unwrap().state,
        CallState::Pending,
        "it waits for the next start"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_engine_a_data_folder() {
    let depot = Depot::new(PRESSER);
    let _engine = depot.serve();
    depot.edit("sip-config/callahead.toml", &depot.sip.to_string(), "127.0.0.1:0");
    let second = depot.run(&["serve"]);
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1));
    assert!(said.contains("another engine (process ") && said.contains("--data"), "{said}");
}

#[test]
fn a_bad_file_is_named_with_line_and_remedy_and_nothing_starts() {
    let broken = [
        (
            "dialplans/delivery-confirm.toml",
            "gather = { digits = 1",
            "gather = { digit = 1",
            "did you mean `digits`",
        ),
        ("dialplans/opt-out.toml", "hangup  = true", "hangup  = tru", "opt-out.toml:"),
        ("sip-config/trunks/practice.toml", "\"practice.password\" }", "\"nowhere\" }", "nowhere"),
        ("sip-config/trunks/practice.toml", "{ file = \"practice.password\" }", "\"hunter2\"", "{ file = "),
        ("sip-config/callahead.toml", "min_free_mb = 1", "min_free_mb = \"a\"", "callahead.toml:"),
    ];
    for (file, old, new, words) in broken {
        let depot = Depot::new(PRESSER);
        depot.edit(file, old, new);
        for command in ["check", "serve"] {
            let output = depot.run(&[command]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{command} with {file}: {said}");
            assert!(said.contains(words) && said.contains(file), "{command} with {file}: {said}");
            assert!(!said.contains("hunter2"), "a secret is not printed: {said}");
            assert!(!said.contains("ready:"));
        }
        assert!(!depot.folder.path().join("data").exists(), "nothing was begun");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_is_taken_over_and_a_bad_one_is_not() {
    let depot = Depot::new(PRESSER);
    let engine = depot.serve();
    depot.edit("dialplans/opt-out.toml", "hangup  = true", "hangup  = tru");
    engine.signal(Signal::SIGHUP);
    engine.wait_for("the edit is not taken");
    engine.wait_for("opt-out.toml:");
    depot.edit("dialplans/opt-out.toml", "hangup  = tru\n", "hangup  = true\n");
    depot.edit("dialplans/opt-out.toml", "title ", "# an edit\ntitle ");
    engine.signal(Signal::SIGHUP);
    engine.wait_for("configuration reloaded");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_call_command_shows_the_steps_or_what_to_do() {
    let depot = Depot::new(PRESSER);
    let call = |words: &[&str]| depot.run(&[&["call"], words].concat());
    let given = ["+12025550102", "--set", "name=Ada", "--set", "eta=14:30", "--no-wait"];
    let refused = [
        (vec!["12"], "cannot be called"),
        (vec!["+12025550102", "--plan", "delivery-confrim"], "delivery-confirm"),
        (vec!["+12025550102"], "--set"),
        (vec!["911"], "cannot be called"),
        (given.to_vec(), "no engine serves"),
    ];
    for (words, remedy) in refused {
        let output = call(&words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        assert!(said.contains(remedy), "{words:?}: {said}");
    }
    let (_carrier, _engine) = (depot.carrier(), depot.serve());
    let output = call(&given);
    assert!(output.status.success(), "{output:?}");
    let id = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
    let done = until(&depot.store().await, id, |call| call.state == CallState::Done).await;
    assert_eq!(done.outcome.as_deref(), Some("confirmed"));
}
