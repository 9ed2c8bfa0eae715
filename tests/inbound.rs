//! Calls that come in: SIPp calls one of our numbers and speaks; and what strangers, wrong numbers and a full engine get.

mod prompts;
#[allow(dead_code, reason = "other tests need more of it")]
mod support {
    pub mod engine;
    pub mod peer;
    pub mod sipp;
}

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use callahead::call::EndCause;
use callahead::pii::Secret;
use callahead::sip::auth::{Credentials, DigestClient};
use callahead::sip::message::Message;
use callahead::store::{Direction, attempts};
use rand::SeedableRng;
use rand::rngs::StdRng;
use support::engine::{CREDENTIALS, Ended, MESSAGE, PLAN, TestEngine};
use support::sipp::Sipp;
use uuid::Uuid;

const DID: &str = "+12025550100";
const CALLER: &str = "+12025550142";

/// An engine that answers [`DID`] after `ring`, its trunk at this machine's 127.0.0.1.
async fn engine(ring: &'static str, max_calls: u32) -> TestEngine {
    let edit = move |folder: &Path| {
        let numbers = format!("[\"{DID}\"]\nplan = \"{PLAN}\"\nring = \"{ring}\"\n");
        std::fs::write(folder.join("numbers.toml"), numbers).unwrap();
        let phones = "[phone.desk]\nnumber = \"+12025550180\"\npassword = { file = \"desk.password\" }\n";
        std::fs::write(folder.join("phones.toml"), phones).unwrap();
        std::fs::write(folder.join("desk.password"), "desk-password").unwrap();
        let path = folder.join("callahead.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("max_calls        = 50"));
        std::fs::write(path, text.replace("max_calls        = 50", &format!("max_calls = {max_calls}")))
            .unwrap();
    };
    let trunk = "127.0.0.1:9".parse().unwrap();
    let engine = TestEngine::start_with(trunk, MESSAGE, &[], CREDENTIALS.1, edit).await;
    // The trunk's address is known a moment later: until then its messages get no answer.
    let probe = Wire::new("127.0.0.1", engine.sip_addr());
    for _ in 0..100 {
        probe.send(&probe.request("OPTIONS", Uuid::now_v7(), 1, "", ""));
        if probe.hear(100).is_some() {
            return engine;
        }
    }
    panic!("the engine does not answer OPTIONS from its trunk");
}

/// A socket that speaks SIP by hand.
struct Wire {
    socket: UdpSocket,
    engine: SocketAddr,
}

impl Wire {
    fn new(ip: &str, engine: SocketAddr) -> Self {
        Self { socket: UdpSocket::bind((ip, 0)).unwrap(), engine }
    }

    fn request(&self, method: &str, call: Uuid, cseq: u32, to_tag: &str, body: &str) -> String {
        self.request_to(DID, method, call, cseq, to_tag, body)
    }

    fn request_to(
        &self,
        user: &str,
        method: &str,
        call: Uuid,
        cseq: u32,
        to_tag: &str,
        body: &str,
    ) -> String {
        let ours = self.socket.local_addr().unwrap();
        // An ACK of a 200 is a transaction of its own; CANCEL and the ACK of a refusal name the INVITE's.
        let branch = match method {
            "ACK" if !body.is_empty() || !to_tag.is_empty() => "ack".to_owned(),
            "INVITE" | "CANCEL" | "ACK" => "invite".to_owned(),
            other => other.to_ascii_lowercase(),
        };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let tag = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
        format!(
            "{method} sip:{user}@{engine} SIP/2.0\r\nVia: SIP/2.0/UDP {ours};rport;branch=z9hG4bK{branch}{call}\r\n\
             From: <sip:{CALLER}@{ours}>;tag=far\r\nTo: <sip:{user}@{engine}>{tag}\r\nCall-ID: {call}\r\n\
             CSeq: {cseq} {method}\r\nContact: <sip:{ours}>\r\nMax-Forwards: 70\r\n{kind}Content-Length: {length}\r\n\r\n{body}",
            engine = self.engine,
            length = body.len(),
        )
    }

    fn sdp(&self) -> String {
        let ip = self.socket.local_addr().unwrap().ip();
        format!("v=0\r\no=x 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n")
    }

    fn send(&self, text: &str) {
        self.socket.send_to(text.as_bytes(), self.engine).unwrap();
    }

    fn hear(&self, milliseconds: u64) -> Option<String> {
        self.socket.set_read_timeout(Some(Duration::from_millis(milliseconds))).unwrap();
        let mut buffer = [0; 4000];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    /// The first message that begins like this; others are passed over.
    fn expect(&self, start: &str) -> String {
        for _ in 0..20 {
            match self.hear(10_000) {
                Some(text) if text.starts_with(start) => return text,
                Some(_) => {}
                None => break,
            }
        }
        panic!("`{start}` did not come");
    }
}

fn field<'t>(text: &'t str, name: &str) -> &'t str {
    let line = text.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).split_once(':').unwrap().1.trim()
}

fn tag_of(text: &str) -> String {
    field(text, "to").split_once(";tag=").unwrap().1.to_owned()
}

async fn only_call(engine: &TestEngine) -> Ended {
    let calls = engine.calls().await;
    assert_eq!(calls.len(), 1, "{calls:?}");
    engine.ended(calls[0].id).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_calls_a_number_and_what_it_says_is_recorded() {
    let sound = prompts::named("conf-getpin").path;
    let engine = engine("0s", 50).await;
    let peer = Sipp::call("caller", engine.sip_addr(), DID, 1, std::slice::from_ref(&sound));
    let said = peer.said();
    tokio::task::spawn_blocking(move || peer.finish()).await.unwrap();
    let ended = only_call(&engine).await;
    assert_eq!(ended.call.direction, Direction::Inbound);
    assert_eq!(ended.call.number.reveal(), CALLER);
    assert_eq!(ended.call.called.as_ref().map(|called| called.reveal().as_str()), Some(DID));
    assert_eq!(ended.call.outcome.as_deref(), Some("instructions"), "{:?}", ended.attempt);
    assert_eq!((ended.attempt.cause, ended.attempt.trunk.as_str()), (Some(EndCause::Human), "peer"));
    assert!(ended.attempt.ringing_at.is_some() && ended.attempt.answered_at.is_some());
    let (left, _) = engine.channels(ended.recording());
    let found = left.windows(said.len()).any(|window| window == said);
    assert!(found, "every sample that was said is recorded, in one piece");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_is_not_ours_is_not_found_and_a_stranger_hears_nothing() {
    let engine = engine("0s", 50).await;
    let wire = Wire::new("127.0.0.1", engine.sip_addr());
    wire.send(&wire.request_to("+12025550199", "INVITE", Uuid::now_v7(), 1, "", &wire.sdp()));
    wire.expect("SIP/2.0 404 ");
    let stranger = Wire::new("127.0.0.2", engine.sip_addr());
    for method in ["INVITE", "REGISTER", "OPTIONS", "BYE"] {
        stranger.send(&stranger.request(method, Uuid::now_v7(), 1, "", ""));
    }
    stranger.send("INVITE garbage");
    assert_eq!(stranger.hear(700), None);
    assert!(engine.calls().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_hangs_up_while_it_rings_is_not_answered() {
    let engine = engine("30s", 50).await;
    let (wire, call) = (Wire::new("127.0.0.1", engine.sip_addr()), Uuid::now_v7());
    wire.send(&wire.request("INVITE", call, 1, "", &wire.sdp()));
    wire.expect("SIP/2.0 180 ");
    wire.send(&wire.request("CANCEL", call, 1, "", ""));
    wire.expect("SIP/2.0 200 ");
    wire.expect("SIP/2.0 487 ");
    wire.send(&wire.request("ACK", call, 1, "", ""));
    let ended = only_call(&engine).await;
    assert_eq!(ended.attempt.cause, Some(EndCause::Cancelled), "{:?}", ended.attempt);
    assert_eq!((ended.attempt.answered_at, ended.recordings.len()), (None, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invite_without_an_offer_gets_ours_and_a_full_engine_sheds_the_next() {
    let engine = engine("0s", 1).await;
    let (wire, call) = (Wire::new("127.0.0.1", engine.sip_addr()), Uuid::now_v7());
    wire.send(&wire.request("INVITE", call, 1, "", ""));
    let answer = wire.expect("SIP/2.0 200 ");
    assert!(answer.contains("m=audio "), "{answer}");
    wire.send(&wire.request("ACK", call, 1, &tag_of(&answer), &wire.sdp()));
    let running = engine.calls().await[0].id;
    engine.seen(running, |attempt| attempt.answered_at.is_some()).await;

    let other = Wire::new("127.0.0.1", engine.sip_addr());
    for _ in 0..20 {
        other.send(&other.request("INVITE", Uuid::now_v7(), 1, "", &other.sdp()));
        let refused = other.expect("SIP/2.0 503 ");
        let wait: u64 = field(&refused, "retry-after").parse().unwrap();
        assert!((5..=20).contains(&wait), "{refused}");
    }
    // The running call is as it was, and ends when its caller hangs up.
    let live = attempts::of_call(engine.store(), running).await.unwrap();
    assert!(live[0].ended_at.is_none(), "{live:?}");
    wire.send(&wire.request("BYE", call, 2, &tag_of(&answer), ""));
    wire.expect("SIP/2.0 200 ");
    let ended = only_call(&engine).await;
    assert_eq!(ended.attempt.reason.as_deref(), Some("the customer hung up"));
}

/// Sends `request`, answers one challenge, and returns the last response; `None`: silence.
fn with_password(wire: &Wire, request: &str, password: &str, again: &str) -> Option<String> {
    wire.send(request);
    let first = loop {
        let text = wire.hear(1500)?;
        if !text.starts_with("SIP/2.0 1") {
            break text;
        }
    };
    let challenge = Message::parse(first.as_bytes()).unwrap();
    let credentials = Credentials { username: "desk".into(), password: Secret::new(password) };
    let mut auth = DigestClient::new(Some(credentials));
    if !auth.take_challenges(&challenge) {
        return Some(first);
    }
    let mut request = Message::parse(again.as_bytes()).unwrap();
    auth.authorize(&mut request, &mut StdRng::seed_from_u64(1));
    wire.send(std::str::from_utf8(&request.to_bytes()).unwrap());
    loop {
        let text = wire.hear(3000)?;
        if !text.starts_with("SIP/2.0 1") {
            return Some(text);
        }
    }
}

fn register(wire: &Wire, password: &str) -> Option<String> {
    let call = Uuid::now_v7();
    let first = wire.request_to("desk", "REGISTER", call, 1, "", "");
    let again = first.replace("CSeq: 1", "CSeq: 2").replace("z9hG4bKregister", "z9hG4bKagain");
    with_password(wire, &first, password, &again)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_telephone_registers_and_calls_and_one_that_guesses_is_silenced() {
    let engine = engine("0s", 50).await;
    let thief = Wire::new("127.0.0.3", engine.sip_addr());
    let mut got = Vec::new();
    for _ in 0..6 {
        got.push(register(&thief, "guess").map(|text| text[8..11].to_owned()));
    }
    let got: Vec<_> = got.iter().map(|status| status.as_deref().unwrap_or("silence")).collect();
    assert_eq!(got, ["401", "401", "401", "403", "silence", "silence"]);

    let desk = Wire::new("127.0.0.2", engine.sip_addr());
    desk.send(&desk.request("INVITE", Uuid::now_v7(), 1, "", &desk.sdp()));
    assert_eq!(desk.hear(500), None, "it has not registered");
    let granted = register(&desk, "desk-password").unwrap();
    assert!(granted.starts_with("SIP/2.0 200 ") && granted.contains(";expires=3600"), "{granted}");
    let call = Uuid::now_v7();
    let invite = desk.request("INVITE", call, 1, "", &desk.sdp());
    let again = invite.replace("CSeq: 1", "CSeq: 2").replace("z9hG4bKinvite", "z9hG4bKagain");
    let answer = with_password(&desk, &invite, "desk-password", &again).unwrap();
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    desk.send(&desk.request("ACK", call, 2, &tag_of(&answer), ""));
    desk.send(&desk.request("BYE", call, 3, &tag_of(&answer), ""));
    let ended = only_call(&engine).await;
    assert_eq!(
        (ended.call.number.reveal().as_str(), ended.attempt.trunk.as_str()),
        ("+12025550180", "phone:desk")
    );
}
