//! What is kept and counted of real calls: SIPp is the trunk, `callahead trace` and tshark read what was kept, and `/metrics`
//! is scraped before and after.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod prompts;
#[allow(dead_code, reason = "each test binary uses its part")]
mod support {
    pub mod engine;
    pub mod peer;
    pub mod sipp;
}

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use callahead::call::EndCause;
use callahead::sip::Transport;
use callahead::store::attempts::Attempt;
use callahead::store::sip_messages::{self, Trace};
use callahead::store::{Role, api_keys};
use callahead::trace::{Direction, Traced, capture, mask};
use jiff::Timestamp;
use support::engine::{CREDENTIALS, MESSAGE, TestEngine};
use support::sipp::Sipp;

const NUMBER: &str = "+12025550123";

/// The ladder of a call that is asked for a password, asks twice itself, and finds the callee on the phone. Times, ports and
/// identifiers differ from run to run and are replaced; see [`normalised`].
const BUSY: &str = "\
call ID, attempt 1 over peer
from TIME UTC on
SIP Call-ID ID
trunk peer 127.0.0.1:PEER udp, we are 127.0.0.1:US

       ms  us                                                                             trunk peer
        #  │──── INVITE sip:…23@127.0.0.1:PEER ─►│
           │     SDP 127.0.0.1:RTP PCMU, telephone-event, sendrecv │
        #  │◄─ 407 Proxy Authentication Required (INVITE) ────│
           │     asks for credentials, realm \"carrier.example\" │
        #  │──── ACK sip:…23@127.0.0.1:PEER ─►│
        #  │──── INVITE sip:…23@127.0.0.1:PEER ─►│
           │     SDP 127.0.0.1:RTP PCMU, telephone-event, sendrecv │
           │     with credentials for the proxy │
           │     again at # ms (2nd time) │
        #  │◄─ 180 Ringing (INVITE) ────│
        #  │◄─ 486 Busy Here (INVITE) ────│
           │     Reason: Q.850;cause=17;text=\"User busy\" │
        #  │──── ACK sip:…23@127.0.0.1:PEER ─►│

ended: busy (486 Busy Here)
The callee is on the phone. Another trunk would hear the same, so none was tried.
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_call_is_kept_shown_and_counted() {
    let peer = Sipp::start("busy-proxy", 1, &[]);
    let engine = TestEngine::start(peer.address, MESSAGE, &[], CREDENTIALS.1).await;
    let before = scrape(&engine, None);
    assert_eq!(before.get("callahead_attempts_begun_total{trunk=\"peer\"}"), None);

    let ended = engine.ended(engine.call(NUMBER).await).await;
    assert_eq!(ended.attempt.cause, Some(EndCause::Busy), "{:?}", ended.attempt);
    let trace = kept(&engine, &ended.attempt, 8).await;
    assert_eq!(trace.dropped, 0);
    assert_secrets_are_masked(&trace.messages);

    let call = ended.call.id.to_string();
    let ladder = show(&engine, &[&call]);
    println!("{ladder}");
    assert_eq!(normalised(&ladder, &peer), BUSY);
    for name in [&call[..30], &ended.attempt.id.to_string(), &trace.head.sip_call_id[..12]] {
        assert_eq!(normalised(&show(&engine, &[name]), &peer), BUSY, "{name}");
    }
    let raw = show(&engine, &[&call, "--raw"]);
    assert!(raw.contains("INVITE sip:…23@") && !raw.contains(&NUMBER[1..]), "{raw}");
    let raw = show(&engine, &[&call, "--raw", "--numbers"]);
    assert!(raw.contains(&format!("INVITE sip:{NUMBER}@")) && raw.contains("response=\"*****"), "{raw}");
    let wrong = callahead(&engine, &["0"]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("several; write more of it"), "{wrong:?}");
    let wrong = callahead(&engine, &[&call, "--attempt", "2"]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("no attempt 2; it has 1"), "{wrong:?}");

    assert_tshark_reads(&engine, &call, &trace.messages);
    assert_refusal_is_counted(&engine);
    peer.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answered_call_is_kept_to_its_last_message_and_given_to_admins() {
    let sound = prompts::named("conf-getpin").path;
    let peer = Sipp::start("speak", 1, std::slice::from_ref(&sound));
    let engine = TestEngine::start(peer.address, MESSAGE, &[], CREDENTIALS.1).await;
    let call = engine.call(NUMBER).await;
    let attempt = engine.seen(call, |attempt| attempt.answered_at.is_some()).await;
    kept(&engine, &attempt, 5).await; // INVITE, 100, 180, 200, ACK: they are there while the call goes on
    let running = scrape(&engine, None);
    assert_eq!(running["callahead_calls_running{trunk=\"peer\"}"], 1.0);
    let ended = engine.ended(call).await;
    let trace = kept(&engine, &ended.attempt, 7).await;
    let first: Vec<String> = trace.messages.iter().map(|message| first_words(&message.bytes)).collect();
    assert_eq!(
        first,
        ["INVITE", "SIP/2.0 100", "SIP/2.0 180", "SIP/2.0 200", "ACK", "BYE", "SIP/2.0 200"],
        "the whole call"
    );
    assert_tshark_reads(&engine, &call.to_string(), &trace.messages);

    let path = format!("/api/v1/calls/{call}/trace");
    assert_eq!(get(&engine, &path, None).0, 401);
    let (_, low) = api_keys::add(engine.store(), Timestamp::now(), "orders", Role::Dispatcher).await.unwrap();
    assert_eq!(get(&engine, &path, Some(low.reveal())).0, 403);
    let (_, key) = api_keys::add(engine.store(), Timestamp::now(), "admin", Role::Admin).await.unwrap();
    let (status, body) = get(&engine, &path, Some(key.reveal()));
    assert_eq!(status, 200);
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let steps = body["attempts"][0]["ladder"]["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 7);
    assert_eq!(steps[3]["what"], "200 OK (INVITE)");
    assert!(!body.to_string().contains(&NUMBER[1..]), "numbers are shortened unless asked for");
    let (_, body) = get(&engine, &format!("{path}?numbers=true"), Some(key.reveal()));
    assert!(String::from_utf8(body).unwrap().contains(NUMBER));
    let (status, body) = get(&engine, &format!("{path}.pcap"), Some(key.reveal()));
    let file = engine.data().join("api.pcap");
    std::fs::write(&file, body).unwrap();
    assert_eq!((status, tshark(&file, "sip", &["sip.CSeq.seq"]).len()), (200, 7));

    let after = scrape(&engine, None);
    for (series, value) in [
        ("callahead_attempts_answered_total{trunk=\"peer\"}", 1.0),
        ("callahead_attempts_ended_total{trunk=\"peer\",cause=\"human\"}", 1.0),
        ("callahead_calls_running{trunk=\"peer\"}", 0.0),
        ("callahead_recordings_total{state=\"ready\"}", 1.0),
        ("callahead_transcriptions{state=\"queued\"}", 1.0),
        ("callahead_http_requests_total{route=\"/api/v1/calls/{id}/trace\",status=\"403\"}", 1.0),
    ] {
        assert_eq!(after.get(series), Some(&value), "{series}");
    }
    for series in ["callahead_rtp_received_total", "callahead_rtp_sent_total", "callahead_media_ticks_total"]
    {
        assert!(after[series] > 100.0, "{series} {}", after[series]);
    }
    // A proxy on this machine brings strangers.
    let forwarded = [("x-forwarded-for", "203.0.113.9")];
    assert_eq!(request(&engine, "/metrics", None, &forwarded).0, 401);
    assert_eq!(request(&engine, "/metrics", Some(low.reveal()), &forwarded).0, 403);
    assert_eq!(request(&engine, "/metrics", Some(key.reveal()), &forwarded).0, 200);
    peer.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_is_kept_and_its_state_shown() {
    let peer = Sipp::start("registrar", 1, &[]);
    let engine = TestEngine::start(peer.address, MESSAGE, &[], CREDENTIALS.1).await;
    assert_eq!(scrape(&engine, None).get("callahead_trunk_registered{trunk=\"peer\"}"), None);
    let file = engine.config_dir().join("trunks/peer.toml");
    let text = std::fs::read_to_string(&file).unwrap() + "register = true\n";
    std::fs::write(&file, text).unwrap();
    let trace = kept_as(&engine, &sip_messages::trunk_id("peer"), 4).await;
    let text = show(&engine, &["--trunk", "peer"]);
    for part in [
        "──── REGISTER sip:127.0.0.1:",
        "401 Unauthorized (REGISTER)",
        "with credentials",
        "200 OK (REGISTER)",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let last = String::from_utf8_lossy(&trace.messages[2].bytes).into_owned();
    assert!(last.contains("response=\"****************"), "{last}");
    assert_eq!(scrape(&engine, None)["callahead_trunk_registered{trunk=\"peer\"}"], 1.0);
    peer.finish();
}

#[test]
fn tshark_reads_ipv6_and_streams() {
    let message = |direction, transport, local: &str, remote: &str, first: &str| {
        Traced {
        at_us: 1_772_442_000_123_456,
        direction,
        transport,
        local: local.parse().unwrap(),
        remote: remote.parse().unwrap(),
        bytes: format!(
            "{first}\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\nFrom: <sip:a@a>;tag=1\r\nTo: <sip:b@b>\r\nCall-ID: 1\r\n\
             CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        )
        .into_bytes(),
    }
    };
    let (asks, says) = ("OPTIONS sip:b SIP/2.0", "SIP/2.0 200 OK");
    let mut messages = Vec::new();
    for transport in Transport::ALL {
        for (local, remote) in
            [("192.0.2.1:5060", "192.0.2.9:443"), ("[2001:db8::1]:5060", "[2001:db8::9]:5061")]
        {
            messages.push(message(Direction::Out, transport, local, remote, asks));
            messages.push(message(Direction::In, transport, local, remote, says));
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.pcap");
    std::fs::write(&file, capture::file(&messages).unwrap()).unwrap();
    // UDP between ports that are not SIP's is recognised by its contents, a stream by the port 5060 of ours or theirs.
    let rows = tshark(&file, "sip", &["sip.Method", "sip.Status-Code"]);
    assert_eq!(rows.len(), messages.len(), "{rows:?}");
    assert!(tshark(&file, "_ws.malformed || tcp.checksum.status == 0", &["frame.number"]).is_empty());
}

/// The trace of an attempt, once it has that many messages: they are written up to a second after they have passed.
async fn kept(engine: &TestEngine, attempt: &Attempt, messages: usize) -> Trace {
    kept_as(engine, &attempt.id.to_string(), messages).await
}

async fn kept_as(engine: &TestEngine, id: &str, messages: usize) -> Trace {
    let begun = Instant::now();
    loop {
        let trace = sip_messages::get(engine.store(), id).await.unwrap();
        match trace {
            Some(trace) if trace.messages.len() >= messages => return trace,
            other => assert!(begun.elapsed() < Duration::from_secs(20), "{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn callahead(engine: &TestEngine, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callahead"));
    command.arg("trace").args(arguments).arg("--config").arg(engine.config_dir());
    command.arg("--data").arg(engine.data()).output().unwrap()
}

fn show(engine: &TestEngine, arguments: &[&str]) -> String {
    let output = callahead(engine, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let widest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    assert!(widest <= 100 || arguments.contains(&"--raw"), "{widest} columns:\n{text}");
    text
}

/// The ladder with what differs from run to run replaced, and its lines' fillers shortened.
fn normalised(text: &str, peer: &Sipp) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut line = line.replace(&format!(":{}", peer.address.port()), ":PEER");
        line = after(&line, "we are 127.0.0.1:", "US");
        line = after(&line, "SDP 127.0.0.1:", "RTP");
        line = after(&line, "again at ", "#");
        line = after(&line, "SIP Call-ID ", "ID");
        line = after(&line, "call ", "ID");
        if let Some(rest) = line.strip_prefix("from ") {
            let (_, end) = rest.split_at(26);
            line = format!("from TIME{end}");
        }
        if let Some((time, rest)) = line.split_once('│')
            && !time.trim().is_empty()
        {
            line = format!("{:>9}  │{rest}", "#");
        }
        while line.contains("──►") || line.contains("◄──") {
            line = line.replace("──►", "─►").replace("◄──", "◄─");
        }
        if let Some(text) = line.strip_suffix('│').filter(|line| line.starts_with("           │")) {
            line = format!("{} │", text.trim_end());
        }
        lines.push(line);
    }
    lines.join("\n") + "\n"
}

/// `line` with the word behind `mark` replaced.
fn after(line: &str, mark: &str, word: &str) -> String {
    let Some((before, rest)) = line.split_once(mark) else { return line.to_owned() };
    if !before.is_empty() && mark == "call " {
        return line.to_owned();
    }
    let end = rest.find([' ', ',']).unwrap_or(rest.len());
    format!("{before}{mark}{word}{}", &rest[end..])
}

fn assert_secrets_are_masked(messages: &[Traced]) {
    let texts: Vec<String> =
        messages.iter().map(|message| String::from_utf8(message.bytes.clone()).unwrap()).collect();
    let credentials: Vec<&str> = texts
        .iter()
        .flat_map(|text| text.lines())
        .filter(|line| line.starts_with("Proxy-Authorization:"))
        .collect();
    assert_eq!(credentials.len(), 2, "the second INVITE, twice: {texts:?}");
    let filler = char::from(mask::FILLER);
    for line in credentials {
        for name in ["response", "cnonce", "nonce"] {
            let value = line.split(&format!(" {name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
            let value = value.unwrap_or_else(|| panic!("{name} in {line}"));
            assert!(value.len() > 7 && value.chars().all(|c| c == filler), "{line}");
        }
        assert!(line.contains("username=\"depot42\""), "{line}");
    }
    // The challenge itself stays readable; nothing else holds its nonce.
    assert_eq!(texts.iter().filter(|text| text.contains("47364c23432d2e131a5fb210812c")).count(), 1);
}

/// The capture that the command writes has every message, at its time, between the right ports, and none is malformed.
fn assert_tshark_reads(engine: &TestEngine, call: &str, messages: &[Traced]) {
    let file = engine.data().join("call.pcap");
    show(engine, &[call, "--pcap", file.to_str().unwrap()]);
    let fields = ["frame.time_epoch", "udp.srcport", "udp.dstport", "sip.Method", "sip.Status-Code"];
    let rows = tshark(&file, "sip", &fields);
    assert_eq!(rows.len(), messages.len(), "{rows:?}");
    for (row, message) in rows.iter().zip(messages) {
        let (source, destination) = match message.direction {
            Direction::Out => (message.local, message.remote),
            Direction::In => (message.remote, message.local),
        };
        let seconds = format!("{}.{:06}", message.at_us / 1_000_000, message.at_us % 1_000_000);
        assert!(row[0].starts_with(&seconds), "{row:?} {seconds}");
        assert_eq!((&row[1], &row[2]), (&source.port().to_string(), &destination.port().to_string()));
        let first = first_words(&message.bytes);
        assert_eq!(first.trim_start_matches("SIP/2.0 "), format!("{}{}", row[3], row[4]), "{row:?}");
    }
    assert_eq!(
        tshark(
            &file,
            "_ws.malformed || ip.checksum.status == 0 || udp.checksum.status == 0",
            &["frame.number"]
        )
        .len(),
        0
    );
}

/// The fields of the packets that pass the filter.
fn tshark(file: &Path, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"]);
    command.args(["-Y", filter, "-T", "fields"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot start `tshark`: {error}; apt-get install tshark"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn assert_refusal_is_counted(engine: &TestEngine) {
    let after = scrape(engine, None);
    let message = |direction: &str, method: &str, class: &str, status: &str| {
        let series = format!(
            "callahead_sip_messages_total{{direction=\"{direction}\",transport=\"udp\",method=\"{method}\",class=\"{class}\",status=\"{status}\"}}"
        );
        after.get(&series).copied()
    };
    assert_eq!(message("out", "INVITE", "request", ""), Some(3.0));
    assert_eq!(message("out", "ACK", "request", ""), Some(2.0));
    assert_eq!(message("in", "INVITE", "4xx", "407"), Some(1.0));
    assert_eq!(message("in", "INVITE", "1xx", "180"), Some(1.0));
    assert_eq!(message("in", "INVITE", "4xx", "486"), Some(1.0));
    for (series, value) in [
        ("callahead_sip_retransmissions_total{direction=\"out\"}", 1.0),
        ("callahead_attempts_begun_total{trunk=\"peer\"}", 1.0),
        ("callahead_attempts_ended_total{trunk=\"peer\",cause=\"busy\"}", 1.0),
        ("callahead_calls_running{trunk=\"peer\"}", 0.0),
        ("callahead_calls_waiting{state=\"pending\"}", 0.0),
    ] {
        assert_eq!(after.get(series), Some(&value), "{series}");
    }
    assert_eq!(after.get("callahead_attempts_answered_total{trunk=\"peer\"}"), None);
    assert!(after["process_resident_memory_bytes"] > 1e6 && after["process_start_time_seconds"] > 1.7e9);
}

/// Every series of `/metrics` with its value.
fn scrape(engine: &TestEngine, key: Option<&str>) -> BTreeMap<String, f64> {
    let (status, body) = get(engine, "/metrics", key);
    assert_eq!(status, 200);
    let text = String::from_utf8(body).unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let series = text.lines().filter(|line| !line.starts_with('#'));
    series
        .map(|line| {
            line.rsplit_once(' ').map(|(name, value)| (name.to_owned(), value.parse().unwrap())).unwrap()
        })
        .collect()
}

fn get(engine: &TestEngine, path: &str, key: Option<&str>) -> (u16, Vec<u8>) {
    request(engine, path, key, &[])
}

fn request(engine: &TestEngine, path: &str, key: Option<&str>, headers: &[(&str, &str)]) -> (u16, Vec<u8>) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut request = agent.get(format!("http://{}{path}", engine.http()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let mut response = request.call().unwrap();
    (response.status().as_u16(), response.body_mut().read_to_vec().unwrap())
}

/// `INVITE`, or `SIP/2.0 200`.
fn first_words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let words: Vec<&str> = text.split(' ').collect();
    if words[0] == "SIP/2.0" { words[..2].join(" ") } else { words[0].to_owned() }
}
