//! Trunks that fail, and who carries the call instead: the program with two practice trunks.

#[path = "resilience/depot.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod depot;

use std::fs;
use std::net::UdpSocket;
use std::time::Duration;

use callahead::store::attempts::{self, Attempt};
use callahead::store::{CallState, EndCause, Store};
use depot::{Depot, Process, until};
use nix::sys::signal::Signal;
use uuid::Uuid;

/// Picks up and hangs up: a short call.
const ANSWERS: &str =
    "number = \"+12025550102\"\nname = \"answers\"\ndoes = [{ wait = \"200ms\" }, { hangup = true }]\n";

/// A customer who is refused with `status`.
fn refused(status: u16) -> String {
    format!("number = \"+12025550102\"\nname = \"refused\"\nstatus = {status}\n")
}

/// The breakers' open time.
const OPEN: Duration = Duration::from_secs(4);

/// A depot whose trunks are `first` and `second`, in this order.
struct Pair {
    depot: Depot,
}

impl Pair {
    fn new() -> Self {
        let depot = Depot::new("");
        let trunks = depot.folder.path().join("sip-config/trunks");
        let text = fs::read_to_string(trunks.join("practice.toml")).unwrap();
        fs::remove_file(trunks.join("practice.toml")).unwrap();
        for (name, priority, port) in [("first", 10, free_port()), ("second", 20, free_port())] {
            let text: String = text
                .lines()
                .filter(|line| {
                    !line.starts_with("port ")
                        && !line.starts_with("register ")
                        && !line.starts_with("expires ")
                })
                .map(|line| match line {
                    line if line.starts_with("priority ") => format!("priority = {priority}\n"),
                    line if line.starts_with("breaker ") => {
                        "breaker = { failures = 2, open = \"4s\" }\n".to_owned()
                    }
                    line => format!("{line}\n"),
                })
                .collect();
            fs::write(
                trunks.join(format!("{name}.toml")),
                format!("port = {port}\noptions_every = \"0s\"\n{text}"),
            )
            .unwrap();
        }
        depot.edit("sip-config/callahead.toml", "ring_timeout    = \"30s\"", "ring_timeout    = \"5s\"");
        Self { depot }
    }

    /// Starts the carrier behind a trunk, with one customer.
    fn carrier(&self, trunk: &str, customer: &str) -> Process {
        let file = self.depot.folder.path().join(format!("{trunk}.customers.toml"));
        fs::write(&file, format!("[[customer]]\n{customer}")).unwrap();
        self.depot.carrier_of(trunk, &file)
    }

    fn trunk_file(&self, name: &str) -> String {
        format!("sip-config/trunks/{name}.toml")
    }

    /// Calls the customer and returns the attempts when the call is over.
    async fn call(&self, store: &Store) -> (Option<String>, Vec<Attempt>) {
        let id = self.depot.call(store, "+12025550102").await;
        self.outcome(store, id).await
    }

    async fn outcome(&self, store: &Store, id: Uuid) -> (Option<String>, Vec<Attempt>) {
        let call = until(store, id, |call| call.state == CallState::Done).await;
        let attempts = attempts::of_call(store, id).await.unwrap();
        assert_eq!(call.attempts_made, 1, "a chain is one try: {attempts:?}");
        (call.outcome, attempts)
    }
}

fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn path(attempts: &[Attempt]) -> Vec<(&str, u32, Option<EndCause>)> {
    attempts.iter().map(|attempt| (attempt.trunk.as_str(), attempt.failover, attempt.cause)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_trunk_is_passed_over_then_left_alone_then_tried_again() {
    let pair = Pair::new();
    let broken = pair.carrier("first", &refused(503));
    let _second = pair.carrier("second", ANSWERS);
    let _engine = pair.depot.serve();
    let store = pair.depot.store().await;

    let (outcome, attempts) = pair.call(&store).await;
    assert_eq!(outcome.as_deref(), Some("answered"));
    assert_eq!(
        path(&attempts),
        [("first", 0, Some(EndCause::TrunkError)), ("second", 1, Some(EndCause::Human))]
    );
    let why = attempts[0].route_why.as_ref().unwrap();
    assert_eq!((&why["strategy"], &why["reason"]), (&"priority".into(), &"priority 10".into()), "{why}");
    assert_eq!(why["others"][0]["trunk"], "second");
    let skipped = &attempts[1].route_why.as_ref().unwrap()["skipped"][0];
    assert_eq!((&skipped["trunk"], &skipped["code"]), (&"first".into(), &"failed".into()));
    assert!(skipped["reason"].as_str().unwrap().contains("503"), "{skipped}");

    // The second failure in a row opens the breaker: then the other trunk is the first choice.
    pair.call(&store).await;
    let (outcome, attempts) = pair.call(&store).await;
    assert_eq!(
        (outcome.as_deref(), path(&attempts)),
        (Some("answered"), vec![("second", 0, Some(EndCause::Human))])
    );
    let skipped = &attempts[0].route_why.as_ref().unwrap()["skipped"][0];
    assert_eq!((&skipped["trunk"], &skipped["code"]), (&"first".into(), &"breaker_open".into()));
    assert!(skipped["ready_in_s"].as_u64().is_some_and(|seconds| (1..=8).contains(&seconds)), "{skipped}");

    // The command sees it as soon as the engine's next heartbeat has told it; nothing is dialled.
    let route = |words: &[&str]| {
        let output = pair.depot.run(&[&["route", "+12025550102"], words].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let json = (0..30).find_map(|_| {
        std::thread::sleep(Duration::from_millis(100));
        let json: serde_json::Value = serde_json::from_str(&route(&["--json"])).unwrap();
        (json["skipped"] != serde_json::json!([])).then_some(json)
    });
    let json = json.expect("a heartbeat tells within 2 s");
    assert_eq!((&json["live"], &json["strategy"]), (&true.into(), &"priority".into()), "{json}");
    assert_eq!(json["candidates"][0]["trunk"], "second", "{json}");
    assert_eq!(json["candidates"][0]["dials"], "+12025550102");
    assert_eq!(
        (&json["skipped"][0]["trunk"], &json["skipped"][0]["code"]),
        (&"first".into(), &"breaker_open".into())
    );
    assert!(route(&[]).contains("as the engine sees its trunks now"));

    // The trunk still fails: one call finds out, and the next ones stay away for twice as long.
    std::thread::sleep(OPEN);
    assert_eq!(path(&pair.call(&store).await.1)[0], ("first", 0, Some(EndCause::TrunkError)));
    assert_eq!(path(&pair.call(&store).await.1)[0].0, "second");

    // It works again, and one call finds out.
    drop(broken);
    let _first = pair.carrier("first", ANSWERS);
    std::thread::sleep(OPEN * 2);
    for _ in 0..2 {
        let (outcome, attempts) = pair.call(&store).await;
        assert_eq!(
            (outcome.as_deref(), path(&attempts)),
            (Some("answered"), vec![("first", 0, Some(EndCause::Human))])
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_trunk_fails_over_and_a_callees_own_no_does_not() {
    let pair = Pair::new();
    let _engine = pair.depot.serve();
    let second = pair.carrier("second", ANSWERS);
    let store = pair.depot.store().await;
    let (outcome, attempts) = pair.call(&store).await;
    assert_eq!(outcome.as_deref(), Some("answered"));
    assert_eq!(
        path(&attempts),
        [("first", 0, Some(EndCause::NetworkError)), ("second", 1, Some(EndCause::Human))]
    );
    drop(second);

    let _second = pair.carrier("second", &refused(503));
    for (status, cause) in [(486, EndCause::Busy), (603, EndCause::Rejected), (404, EndCause::InvalidNumber)]
    {
        let first = pair.carrier("first", &refused(status));
        let (outcome, attempts) = pair.call(&store).await;
        assert_eq!(path(&attempts), [("first", 0, Some(cause))], "{status}");
        assert_eq!(outcome.as_deref(), Some(cause.as_str()));
        drop(first);
    }
    // Both fail: the call ends as the last one did.
    let _first = pair.carrier("first", &refused(500));
    let (outcome, attempts) = pair.call(&store).await;
    let expected = [("first", 0, Some(EndCause::TrunkError)), ("second", 1, Some(EndCause::TrunkError))];
    assert_eq!((outcome.as_deref(), path(&attempts)), (Some("trunk_error"), expected.to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_invite_follows_the_trunks_rules() {
    let pair = Pair::new();
    let trunk = UdpSocket::bind("127.0.0.1:0").unwrap();
    trunk.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    fs::remove_file(pair.depot.folder.path().join(pair.trunk_file("second"))).unwrap();
    let file = pair.trunk_file("first");
    let text = fs::read_to_string(pair.depot.folder.path().join(&file)).unwrap();
    let port = text.lines().find(|line| line.starts_with("port = ")).unwrap();
    pair.depot.edit(&file, port, &format!("port = {}", trunk.local_addr().unwrap().port()));
    let rules = "rewrite = [{ prefix = \"+1202\", replace = \"9#0\" }, { prefix = \"+\", replace = \"00\" }]\n\
                 caller_ids = [{ country = \"DE\", caller_id = \"+493012345678\" }]\n\
                 anonymous = true\nasserted_identity = true\nmax_calls";
    pair.depot.edit(&file, "max_calls", rules);
    let engine = pair.depot.serve();
    let store = pair.depot.store().await;

    let invite = refuse_one(&pair.depot, &store, &trunk, "+12025550102").await;
    assert!(invite.starts_with("INVITE sip:9%2305550102@127.0.0.1"), "{invite}");
    assert!(invite.contains("From: \"Anonymous\" <sip:anonymous@anonymous.invalid>;tag="), "{invite}");
    assert!(invite.contains("Privacy: id\r\n"), "{invite}");
    let asserted = "P-Asserted-Identity: \"Riverside Depot\" <sip:+12025550100@127.0.0.1>\r\n";
    assert!(invite.contains(asserted), "{invite}");

    pair.depot.edit(&file, "anonymous = true\nasserted_identity = true\n", "");
    engine.signal(Signal::SIGHUP);
    engine.wait_for("configuration reloaded");
    let invite = refuse_one(&pair.depot, &store, &trunk, "+491711234567").await;
    assert!(invite.starts_with("INVITE sip:00491711234567@127.0.0.1"), "{invite}");
    assert!(invite.contains("From: \"Riverside Depot\" <sip:+493012345678@127.0.0.1>;tag="), "{invite}");
    assert!(!invite.contains("Privacy") && !invite.contains("P-Asserted-Identity"), "{invite}");
}

/// Calls `number`; the trunk says busy. Returns the INVITE.
async fn refuse_one(depot: &Depot, store: &Store, trunk: &UdpSocket, number: &str) -> String {
    let id = depot.call(store, number).await;
    let mut buffer = [0; 4096];
    let (invite, source) = loop {
        let (length, source) = trunk.recv_from(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if text.starts_with("INVITE ") {
            break (text, source);
        }
    };
    let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
    let mut busy = "SIP/2.0 486 Busy Here\r\n".to_owned();
    for line in invite.lines().filter(|line| copied.iter().any(|name| line.starts_with(name))) {
        let tag = if line.starts_with("To:") { ";tag=busy" } else { "" };
        busy += &format!("{line}{tag}\r\n");
    }
    busy += "Content-Length: 0\r\n\r\n";
    trunk.send_to(busy.as_bytes(), source).unwrap();
    let call = until(store, id, |call| call.state == CallState::Done).await;
    assert_eq!(call.outcome.as_deref(), Some("busy"));
    invite
}

#[test]
fn the_route_command_shows_order_prices_and_reasons_without_an_engine() {
    let pair = Pair::new();
    let route = |words: &[&str]| pair.depot.run(&[&["route"], words].concat());
    let rules = "cost = [{ prefix = \"+1202\", per_minute = 0.02 }]\nrewrite = [{ prefix = \"+1\", replace = \"001\" }]\nmax_calls";
    pair.depot.edit(&pair.trunk_file("first"), "max_calls", rules);
    let rules = "cost = [{ prefix = \"+1\", per_minute = 0.008 }]\nanonymous = true\nmax_calls";
    pair.depot.edit(&pair.trunk_file("second"), "max_calls", rules);
    pair.depot.edit("sip-config/callahead.toml", "strategy  = \"priority\"", "strategy = \"cost\"");
    let output = route(&["(202)", "555-0102"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("strategy cost, by the configuration only"), "{said}");
    let line = |trunk: &str| {
        said.lines().find(|line| line.contains(trunk)).unwrap().split_whitespace().collect::<Vec<_>>()
    };
    assert_eq!(
        line("second"),
        ["1", "second", "0.008", "63", "0.008", "a", "minute", "+12025550102", "anonymous"]
    );
    assert_eq!(
        line("first"),
        ["2", "first", "0.02", "63", "0.02", "a", "minute", "0012025550102", "+12025550100"]
    );
    assert!(!pair.depot.folder.path().join("data").exists(), "nothing was begun");

    for name in ["first", "second"] {
        pair.depot.edit(&pair.trunk_file(name), "max_calls", "serves = [\"+44\"]\nmax_calls");
    }
    for (number, said) in [
        ("+12025550102", "no trunk would carry this call now"),
        ("+19005550102", "`forbidden` in [routing] of callahead.toml has +1900"),
        ("911", "emergency number"),
        ("12", "cannot be called"),
    ] {
        let output = route(&[number]);
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains(said), "{output:?}");
    }
    let output = route(&["+12025550102"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("it does not serve this number"), "{output:?}");
    assert_eq!(route(&[]).status.code(), Some(2), "wrong use");
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_no_trunk_serves_wait_and_a_bad_edit_keeps_the_old_trunk() {
    let pair = Pair::new();
    let engine = pair.depot.serve();
    let _first = pair.carrier("first", ANSWERS);
    let store = pair.depot.store().await;
    let file = pair.trunk_file("first");
    pair.depot.edit(&file, "max_calls", "serves = [\"0044\"]\nmax_calls");
    engine.signal(Signal::SIGHUP);
    engine.wait_for("the edit is not taken");
    engine.wait_for("trunks/first.toml:");
    engine.wait_for("serves = [\"0044\"]");
    engine.wait_for("`0044` in `serves` is no prefix");
    engine.wait_for("write \"+44\"");
    let (outcome, attempts) = pair.call(&store).await;
    assert_eq!(
        (outcome.as_deref(), attempts[0].trunk.as_str()),
        (Some("answered"), "first"),
        "the old one goes on"
    );

    pair.depot.edit(&file, "0044", "+44");
    pair.depot.edit(&pair.trunk_file("second"), "max_calls", "serves = [\"+44\"]\nmax_calls");
    pair.depot.edit("sip-config/callahead.toml", "\"+1976\"", "\"+1976\", \"+1212\"");
    engine.signal(Signal::SIGHUP);
    engine.wait_for("configuration reloaded");
    for (number, why) in
        [("+12025550102", "no_trunk: no trunk serves this number"), ("+12125550102", "forbidden: ")]
    {
        let id = pair.depot.call(&store, number).await;
        let call = until(&store, id, |call| call.waiting.is_some()).await;
        assert!(call.waiting.as_deref().unwrap().starts_with(why), "{call:?}");
        assert!(attempts::of_call(&store, id).await.unwrap().is_empty());
    }
}
