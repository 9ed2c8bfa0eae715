//! Registrations and calls of the real engine through Kamailio, a proxy that others wrote and that carriers run: over UDP, TCP
//! and TLS, with a digest for each REGISTER and INVITE, in the path of the call, and killed and started again in mid-call.
//! SIPp is the callee behind it.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod prompts;
#[allow(dead_code, reason = "other tests use more of it")]
mod support {
    pub mod certificates;
    pub mod engine;
    pub mod kamailio;
    pub mod peer;
    pub mod sipp;
    pub mod sound;
}

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use callahead::call::EndCause;
use support::certificates::Authority;
use support::engine::{CREDENTIALS, Ended, MESSAGE, TestEngine};
use support::kamailio::Kamailio;
use support::sipp::Sipp;
use support::sound;

const NUMBER: &str = "+12025550123";
const V4: &str = "\"127.0.0.1:0\"";

/// The longest that a registration may take, with the gaps between attempts that fail.
const PATIENCE: Duration = Duration::from_secs(120);

/// The engine, registering with the proxy at `peer`; `more` is about the transport.
async fn engine(peer: SocketAddr, more: &str, plan: &str) -> TestEngine {
    let trunk = format!("register = true\nexpires = \"60s\"\n{more}");
    TestEngine::start_over(peer, &trunk, V4, plan, &[], CREDENTIALS.1).await
}

/// Waits until the engine says so, or no longer.
async fn registered(engine: &TestEngine, wanted: bool) {
    let line = format!("callahead_trunk_registered{{trunk=\"peer\"}} {}", u8::from(wanted));
    let url = format!("http://{}/metrics", engine.http());
    let begun = Instant::now();
    loop {
        let metrics = ureq::get(&url).call().unwrap().body_mut().read_to_string().unwrap();
        if metrics.lines().any(|each| each == line) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "no `{line}`:\n{metrics}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Asserts that what was said is in the recording, and that the call ended as it should.
fn assert_heard(engine: &TestEngine, ended: &Ended, said: &[i16]) {
    assert_eq!(ended.attempt.cause, Some(EndCause::Human), "{:?}", ended.attempt);
    assert_eq!(ended.call.outcome.as_deref(), Some("instructions"), "{:?}", ended.call);
    let (left, _) = engine.channels(ended.recording());
    let (_, likeness) = sound::find(&left, said);
    assert!(likeness > 0.95, "what was said and what was heard are only {likeness} alike");
}

/// Asserts that the proxy challenged and led on what it should have, over this transport.
fn assert_routed(log: &str, transport: &str, lines: &[&str]) {
    for line in lines {
        let line = format!("{line} from {transport}\n");
        assert!(log.contains(&line), "Kamailio did not log `{line}`:\n{log}");
    }
    assert!(!log.contains("no route in"), "a request went past Record-Route:\n{log}");
}

/// A registration with its first refresh, and a call.
async fn registers_and_calls(transport: &str) {
    let sound = prompts::named("conf-getpin").path;
    let authority = Authority::new();
    let certificate = (transport == "tls").then(|| authority.issue("trunk", &["127.0.0.1"]));
    let callee = Sipp::start("proxied", 1, std::slice::from_ref(&sound));
    let proxy = Kamailio::start(callee.address, certificate.as_ref());
    let (peer, tls) = match certificate {
        Some(_) => (proxy.secure, format!("tls = {{ ca = \"{}\" }}", authority.ca().display())),
        None => (proxy.address, String::new()),
    };
    let engine = engine(peer, &format!("transport = \"{transport}\"\n{tls}"), MESSAGE).await;
    registered(&engine, true).await;
    assert_heard(&engine, &engine.ended(engine.call(NUMBER).await).await, &callee.said());
    callee.finish();
    proxy.wait_for_log(&registration(&proxy, 60, transport), 2);
    registered(&engine, true).await;
    engine.stop().await;
    proxy.wait_for_log(&registration(&proxy, 0, transport), 1);
    let lines = ["challenged REGISTER", "challenged INVITE", "leads INVITE on", "routed ACK", "routed BYE"];
    assert_routed(&proxy.log(), transport, &lines);
}

/// A call that outlives its proxy, and the registration after it.
async fn outlives_the_proxy(transport: &str) {
    let sound = prompts::named("conf-getpin").path;
    let callee = Sipp::start("proxied", 1, std::slice::from_ref(&sound));
    let mut proxy = Kamailio::start(callee.address, None);
    // Long enough for the proxy to be back before we hang up.
    let plan = MESSAGE.replace("silence = \"3s\"", "silence = \"15s\"");
    assert_ne!(plan, MESSAGE);
    let engine = engine(proxy.address, &format!("transport = \"{transport}\""), &plan).await;
    registered(&engine, true).await;
    let call = engine.call(NUMBER).await;
    engine.seen(call, |attempt| attempt.answered_at.is_some()).await;
    proxy.wait_for_log(&format!("routed ACK from {transport}\n"), 1);
    proxy.kill();
    proxy.start_again();
    let log = proxy.log();
    assert!(!log.contains("routed BYE"), "we hung up before the proxy was back:\n{log}");

    assert_heard(&engine, &engine.ended(call).await, &callee.said());
    callee.finish();
    proxy.wait_for_log(&registration(&proxy, 60, transport), 1);
    registered(&engine, true).await;
    assert_routed(&proxy.log(), transport, &["challenged REGISTER", "routed BYE"]);
}

/// A call whose proxy is gone for good when we hang up, and the registration once the proxy is there again.
async fn outlasts_the_proxy(transport: &str) {
    let sound = prompts::named("conf-getpin").path;
    let callee = Sipp::start("proxied", 1, std::slice::from_ref(&sound));
    let mut proxy = Kamailio::start(callee.address, None);
    let engine = engine(proxy.address, &format!("transport = \"{transport}\""), MESSAGE).await;
    registered(&engine, true).await;
    let call = engine.call(NUMBER).await;
    proxy.wait_for_log(&format!("routed ACK from {transport}\n"), 1);
    proxy.kill();
    assert_heard(&engine, &engine.ended(call).await, &callee.said());
    registered(&engine, false).await;
    proxy.start_again();
    registered(&engine, true).await;
    proxy.wait_for_log(&registration(&proxy, 60, transport), 1);
}

/// The line that Kamailio logs of a registration that it took for us.
fn registration(proxy: &Kamailio, seconds: u32, transport: &str) -> String {
    format!("registered {}@{} for {seconds} s from {transport}\n", CREDENTIALS.0, proxy.address.ip())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registers_and_calls_over_udp() {
    registers_and_calls("udp").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registers_and_calls_over_tcp() {
    registers_and_calls("tcp").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registers_and_calls_over_tls() {
    registers_and_calls("tls").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_over_udp_outlives_the_proxy() {
    outlives_the_proxy("udp").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_over_tcp_outlives_the_proxy() {
    outlives_the_proxy("tcp").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_over_udp_ends_without_its_proxy() {
    outlasts_the_proxy("udp").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_over_tcp_ends_without_its_proxy() {
    outlasts_the_proxy("tcp").await;
}
