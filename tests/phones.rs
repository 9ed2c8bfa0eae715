//! Telephones of the house that others wrote: they register with a password, are called under their number without a trunk,
//! and are not when the password is wrong. What they said is compared with what we recorded, and what they heard with what
//! we said.

mod prompts;
#[allow(dead_code, reason = "other tests need more of it")]
mod support {
    pub mod baresip;
    pub mod engine;
    pub mod linphone;
    pub mod peer;
    pub mod sound;
}

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use callahead::call::EndCause;
use callahead::store::Direction;
use serde_json::json;
use support::baresip::Baresip;
use support::engine::{CREDENTIALS, Ended, MESSAGE, PLAN, PROMPT_AND_MESSAGE, TestEngine};
use support::linphone::Linphone;
use support::sound;

const DESK: &str = "+12025550180";

/// Our own number, which the plan answers.
const DID: &str = "+12025550100";

/// What libre, under baresip, needs to register: it gives up at the sight of SHA-256.
const MD5_ONLY: &str = "md5_only = true\n";

/// An engine with the telephone `desk` and these settings of it, and a trunk at an address where nobody is.
async fn engine(plan: &str, prompts: &[&Path], more: &'static str) -> TestEngine {
    let edit = move |folder: &Path| {
        let phones =
            format!("[phone.desk]\nnumber = \"{DESK}\"\npassword = {{ file = \"desk.password\" }}\n{more}");
        fs::write(folder.join("phones.toml"), phones).unwrap();
        let numbers = format!("[\"{DID}\"]\nplan = \"{PLAN}\"\nring = \"0s\"\n");
        fs::write(folder.join("numbers.toml"), numbers).unwrap();
        fs::write(folder.join("desk.password"), "desk-password").unwrap();
    };
    let nobody = "127.0.0.9:9".parse().unwrap();
    TestEngine::start_with(nobody, plan, prompts, CREDENTIALS.1, edit).await
}

fn assert_not_registered(ended: &Ended) {
    assert_eq!(ended.attempt.cause, Some(EndCause::NoAnswer), "{:?}", ended.attempt);
    assert_eq!(ended.attempt.reason.as_deref(), Some("the telephone desk is not registered"));
    assert_eq!((ended.attempt.sip_status, ended.attempt.answered_at), (None, None));
    assert_eq!(ended.call.outcome.as_deref(), Some("no_answer"));
    assert!(ended.recordings.is_empty(), "{:?}", ended.recordings);
}

fn assert_on_net(ended: &Ended) {
    assert_eq!(ended.attempt.trunk, "phone:desk");
    let why = json!({ "trunk": "phone:desk", "reason": "on-net: telephone desk" });
    assert_eq!(ended.attempt.route_why, Some(why));
}

/// Asserts that each side heard the other, the telephone at least the loudest `piece` samples of our prompt.
fn assert_both_heard(
    engine: &TestEngine,
    ended: &Ended,
    said: &[i16],
    prompt: &[i16],
    heard: &[i16],
    piece: usize,
) {
    assert_eq!(ended.attempt.cause, Some(EndCause::Human), "{:?}", ended.attempt);
    assert_eq!(ended.call.outcome.as_deref(), Some("instructions"), "{:?}", ended.call);
    let (left, right) = engine.channels(ended.recording());
    let loudness = |part: &&[i16]| part.iter().map(|sample| u64::from(sample.unsigned_abs())).sum::<u64>();
    let loudest = prompt.chunks_exact(piece).max_by_key(loudness).unwrap();
    for (what, whole, part) in [
        ("the telephone heard our prompt", heard, loudest),
        ("our recording has our prompt", &right, prompt),
        ("our recording has what was said at the telephone", &left, said),
    ] {
        let (at, likeness) = sound::find(whole, part);
        println!("{what}, from sample {at} on, correlation {likeness:.4}");
        assert!(likeness > 0.9, "{what}: {likeness:.4} at sample {at} of {}", whole.len());
    }
    let (_, control) = sound::find(&left, prompt);
    assert!(control < 0.3, "what was said is not our own prompt: {control:.4}");
}

/// What the telephone says, and our prompt.
fn sounds() -> (Vec<i16>, std::path::PathBuf) {
    let said = sound::read(&prompts::named("basic-pbx-ivr-main").path)[..8 * 8000].to_vec();
    (said, prompts::named("conf-getpin").path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn baresip_registers_and_is_called_without_a_trunk() {
    let (said, prompt) = sounds();
    let engine = engine(PROMPT_AND_MESSAGE, &[&prompt], MD5_ONLY).await;
    let early = engine.ended(engine.call(DESK).await).await;
    assert_not_registered(&early);
    assert_on_net(&early);

    let mut peer = Baresip::start_registering(engine.sip_addr(), "desk", "desk-password", &said);
    peer.wait_for_output("200 OK");
    let ended = engine.ended(engine.call(DESK).await).await;
    assert_on_net(&ended);
    assert!(ended.attempt.ringing_at.is_some());
    assert_both_heard(
        &engine,
        &ended,
        &said,
        &sound::read(&prompt),
        &peer.finish(),
        sound::read(&prompt).len(),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn baresip_with_a_wrong_password_is_refused_and_not_called() {
    let engine = engine(MESSAGE, &[], MD5_ONLY).await;
    let mut peer = Baresip::start_registering(engine.sip_addr(), "desk", "guessed", &[]);
    peer.wait_for_output("403 Forbidden");
    let ended = engine.ended(engine.call(DESK).await).await;
    assert_not_registered(&ended);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn linphone_registers_with_sha_256_is_called_and_calls() {
    let (said, prompt) = sounds();
    let engine = engine(PROMPT_AND_MESSAGE, &[&prompt], "").await;
    let mut peer = Linphone::start(engine.sip_addr(), "desk", "desk-password", &said);
    peer.wait_until_registered();
    let called = engine.ended(engine.call(DESK).await).await;
    assert_on_net(&called);

    peer.dial(DID);
    let incoming = loop {
        let calls = engine.calls().await;
        if let Some(call) = calls.iter().find(|call| call.direction == Direction::Inbound) {
            break call.id;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let dialled = engine.ended(incoming).await;
    assert_eq!((dialled.call.number.reveal().as_str(), dialled.attempt.trunk.as_str()), (DESK, "phone:desk"));
    let heard = peer.finish();
    for ended in [&called, &dialled] {
        // What it keeps of what it hears is now and then a frame short or long.
        assert_both_heard(&engine, ended, &said, &sound::read(&prompt), &heard, 4000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn route_names_the_telephone_and_no_trunk() {
    let engine = engine(MESSAGE, &[], "").await;
    let route = |number: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callahead"));
        command.arg("route").arg(number).arg("--config").arg(engine.config_dir());
        let output = command.arg("--data").arg(engine.data()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(route(DESK), format!("{DESK}, on-net: telephone desk\n"));
    let other = route("+12025550181");
    assert!(other.contains("strategy") && !other.contains("on-net"), "{other}");
}
