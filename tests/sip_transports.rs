//! Calls from the real engine over TCP, TLS and IPv6 to programs that others wrote: SIPp and baresip.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod prompts;
#[allow(dead_code, reason = "other tests use more of it")]
mod support {
    pub mod baresip;
    pub mod certificates;
    pub mod engine;
    pub mod peer;
    pub mod sipp;
    pub mod sound;
}

use std::fs;

use callahead::call::EndCause;
use support::baresip::Baresip;
use support::certificates::Authority;
use support::engine::{CREDENTIALS, Ended, MESSAGE, TestEngine};
use support::sipp::Sipp;
use support::sound;

const NUMBER: &str = "+12025550123";
const V4: &str = "\"127.0.0.1:0\"";

/// Asserts that what was said is in the recording, and that the call ended as it should.
fn assert_heard(engine: &TestEngine, ended: &Ended, said: &[i16]) {
    assert_eq!(ended.attempt.cause, Some(EndCause::Human), "{:?}", ended.attempt);
    assert_eq!(ended.call.outcome.as_deref(), Some("instructions"), "{:?}", ended.call);
    let (left, _) = engine.channels(ended.recording());
    let (_, likeness) = sound::find(&left, said);
    assert!(likeness > 0.95, "what was said and what was heard are only {likeness} alike");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_takes_three_calls_over_one_tcp_connection() {
    let sound = prompts::named("conf-getpin").path;
    let peer = Sipp::start_over("127.0.0.1".parse().unwrap(), "t1", "speak", 3, std::slice::from_ref(&sound));
    let trunk = "transport = \"tcp\"";
    let engine = TestEngine::start_over(peer.address, trunk, V4, MESSAGE, &[], CREDENTIALS.1).await;
    let mut calls = Vec::new();
    for _ in 0..3 {
        calls.push(engine.call(NUMBER).await);
    }
    for call in calls {
        assert_heard(&engine, &engine.ended(call).await, &peer.said());
    }
    peer.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_takes_calls_over_ipv6_by_udp_and_tcp() {
    let sound = prompts::named("conf-getpin").path;
    for (flag, transport) in [("u1", "udp"), ("t1", "tcp")] {
        let peer = Sipp::start_over("::1".parse().unwrap(), flag, "speak", 1, std::slice::from_ref(&sound));
        let (trunk, listen) = (format!("transport = \"{transport}\""), "[\"127.0.0.1:0\", \"[::1]:0\"]");
        let engine = TestEngine::start_over(peer.address, &trunk, listen, MESSAGE, &[], CREDENTIALS.1).await;
        assert_heard(&engine, &engine.ended(engine.call(NUMBER).await).await, &peer.said());
        peer.finish();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn baresip_takes_a_call_over_tls_when_its_certificate_is_right() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("trunk", &["sip.trunk.example"]);
    let folder = tempfile::tempdir().unwrap();
    let both = folder.path().join("both.pem");
    fs::write(&both, fs::read_to_string(key).unwrap() + &fs::read_to_string(certificate).unwrap()).unwrap();
    let said = sound::read(&prompts::named("conf-getpin").path);
    let peer = Baresip::start_secure(NUMBER, &said, &both);
    let trunk = |ca: &Authority| {
        let ca = ca.ca();
        let ca = ca.display();
        format!("transport = \"tls\"\ntls = {{ ca = \"{ca}\", server_name = \"sip.trunk.example\" }}")
    };
    let good =
        TestEngine::start_over(peer.address, &trunk(&authority), V4, MESSAGE, &[], CREDENTIALS.1).await;
    assert_heard(&good, &good.ended(good.call(NUMBER).await).await, &said);

    let stranger = Authority::new();
    let bad = TestEngine::start_over(peer.address, &trunk(&stranger), V4, MESSAGE, &[], CREDENTIALS.1).await;
    let ended = bad.ended(bad.call(NUMBER).await).await;
    assert_eq!(ended.attempt.cause, Some(EndCause::NetworkError), "{:?}", ended.attempt);
    assert_eq!(ended.attempt.answered_at, None);
    peer.finish();
}
