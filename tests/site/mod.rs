//! A site for tests: the real router and store on a port of its own, with an engine that only takes notes.
#![allow(dead_code)] // each test binary uses its part

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use callahead::http::{
    AppState, EngineControl, EngineStatus, HttpConfig, PlanInfo, TrunkInfo, VarProblem, router,
};
use callahead::metrics::{Metrics, SipMetrics};
use callahead::pii::{Redacted, Secret};
use callahead::sip::Transport;
use callahead::store::attempts::{self, End, Next};
use callahead::store::calls::{self, CallFilter};
use callahead::store::deliveries::{self, NewDelivery};
use callahead::store::jobs::{self, TRANSCRIBE};
use callahead::store::recordings::{self, AnswerRange, Finished};
use callahead::store::sip_messages::{self, Head};
use callahead::store::transcripts::{self, NewTranscript};
use callahead::store::users::{self, NewUser};
use callahead::store::{EndCause, Planner, Role, Store, Vars, api_keys};
use callahead::trace::{Batch, Direction, Traced};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

pub const PASSWORD: &str = "correct horse";

#[derive(Default)]
pub struct NotingEngine {
    pub wakes: AtomicU32,
    pub active: Mutex<HashSet<Uuid>>,
    pub hung_up: Mutex<Vec<Uuid>>,
}

impl EngineControl for NotingEngine {
    fn wake(&self) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
    }

    fn hang_up(&self, call_id: Uuid) -> bool {
        self.hung_up.lock().unwrap().push(call_id);
        self.active.lock().unwrap().remove(&call_id)
    }

    fn plans(&self) -> Vec<PlanInfo> {
        vec![PlanInfo {
            name: "delivery-confirm".to_owned(),
            title: "Confirm a delivery".to_owned(),
            languages: vec!["en".to_owned()],
            required_vars: vec!["name".to_owned()],
        }]
    }

    fn check_vars(&self, _: &str, vars: &Vars, _: &str) -> Result<(), VarProblem> {
        match vars.0.contains_key("name") {
            true => Ok(()),
            false => Err(VarProblem { name: "name".to_owned(), message: "is missing".to_owned() }),
        }
    }

    fn check_number(&self, raw: &str) -> Result<String, String> {
        let number: String = raw.chars().filter(|c| !" ()-".contains(*c)).collect();
        let digits = number.strip_prefix('+').unwrap_or_default();
        let fits = (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        if fits { Ok(number) } else { Err("is no phone number: write it as +442071838750".to_owned()) }
    }

    fn trunks(&self) -> Vec<TrunkInfo> {
        Vec::new()
    }

    fn measure(&self, _: &Metrics) {}

    fn status(&self) -> EngineStatus {
        EngineStatus { ready: true, ..EngineStatus::default() }
    }
}

pub struct Site {
    pub address: SocketAddr,
    pub store: Store,
    pub engine: Arc<NotingEngine>,
    pub key: String,
    pub dir: tempfile::TempDir,
    pub runtime: tokio::runtime::Runtime,
}

impl Site {
    /// Starts a site with the users ada (admin), dora (dispatcher), grace and alan (agents), and an admin's key.
    pub fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let engine = Arc::new(NotingEngine::default());
        let (store, key, address) = runtime.block_on(async {
            let store = Store::open(dir.path().join("callahead.db")).await.unwrap();
            let people = [
                ("ada", Role::Admin),
                ("dora", Role::Dispatcher),
                ("grace", Role::Agent),
                ("alan", Role::Agent),
            ];
            for (username, role) in people {
                let password = Secret::new(PASSWORD);
                let (username, display_name) = (username.to_owned(), username.to_uppercase());
                let new = NewUser { username, display_name, role, password };
                users::add(&store, Timestamp::now(), &new).await.unwrap();
            }
            let (_, key) = api_keys::add(&store, Timestamp::now(), "test", Role::Admin).await.unwrap();
            let config = HttpConfig {
                planner: planner(),
                default_plan: Some("delivery-confirm".to_owned()),
                default_lead_seconds: 1800,
                data_dir: dir.path().to_owned(),
                secure_cookies: false,
                open_metrics: true,
            };
            let metrics = Arc::new(Metrics::new(SipMetrics::default()));
            let site = router(AppState::new(store.clone(), engine.clone(), metrics, config));
            let finish = Router::new().route("/test/finish", post(finish)).with_state(store.clone());
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let service = site.merge(finish).into_make_service_with_connect_info::<SocketAddr>();
            tokio::spawn(async move { axum::serve(listener, service).await });
            (store, key.reveal().to_owned(), address)
        });
        Self { address, store, engine, key, dir, runtime }
    }

    /// A delivery at noon UTC today whose customer was reached and recorded; the transcript is not there yet.
    pub fn recorded(&self, order_ref: &str, customer: &str) -> (Uuid, Uuid) {
        self.runtime.block_on(async {
            let file = self.dir.path().join(format!("{order_ref}.wav"));
            let bytes = write_wav(&file, 12);
            let now = Timestamp::now();
            let (delivery, _) =
                deliveries::upsert(&self.store, now, &delivery(order_ref, customer), &planner())
                    .await
                    .unwrap();
            let filter = CallFilter { delivery_id: Some(delivery.id), ..CallFilter::default() };
            let call = calls::list(&self.store, &filter, 1).await.unwrap().remove(0);
            let attempt = attempts::begin_dialing(&self.store, call.due_at, Uuid::now_v7(), call.id, "main")
                .await
                .unwrap()
                .unwrap();
            attempts::answered(&self.store, now, attempt.id).await.unwrap();
            let id = Uuid::now_v7();
            recordings::begin(&self.store, now, id, attempt.id, "a.part").await.unwrap();
            let finished = Finished {
                path: format!("{order_ref}.wav"),
                duration_ms: 12_000,
                bytes,
                sha256: format!("{bytes:064x}"),
                answer_ranges: vec![AnswerRange { start_ms: 2_000, end_ms: 11_000 }],
            };
            recordings::finished(&self.store, now, id, &finished, true).await.unwrap();
            let end = End { cause: EndCause::Human, sip_status: Some(200), reason: None };
            let next = Next::Done { outcome: "instructions".to_owned() };
            attempts::ended(&self.store, now, attempt.id, &end, &next).await.unwrap();
            (delivery.id, id)
        })
    }
}

impl Site {
    /// A delivery some hours after noon that is being called, or whose call ended so, without a recording.
    pub fn called(&self, order_ref: &str, customer: &str, hours: i64, end: Option<(EndCause, &str)>) -> Uuid {
        self.runtime.block_on(async {
            let mut new = delivery(order_ref, customer);
            new.eta = new.eta.saturating_add(SignedDuration::from_hours(hours)).unwrap();
            new.stop = (4 + hours).to_string();
            let now = Timestamp::now();
            let (delivery, _) = deliveries::upsert(&self.store, now, &new, &planner()).await.unwrap();
            let filter = CallFilter { delivery_id: Some(delivery.id), ..CallFilter::default() };
            let call = calls::list(&self.store, &filter, 1).await.unwrap().remove(0);
            let why = serde_json::json!({
                "strategy": "cost", "reason": "0.008 a minute",
                "skipped": [{ "trunk": "spare", "code": "full", "reason": "30 calls are running, which is the limit" }],
            });
            let route = attempts::Route { trunk: "main".to_owned(), failover: 0, why: Some(why) };
            let attempt = attempts::begin_dialing(&self.store, call.due_at, Uuid::now_v7(), call.id, route)
                .await
                .unwrap()
                .unwrap();
            if let Some((cause, outcome)) = end {
                let end = End { cause, sip_status: None, reason: None };
                let next = Next::Done { outcome: outcome.to_owned() };
                attempts::ended(&self.store, now, attempt.id, &end, &next).await.unwrap();
            }
            attempt.id
        })
    }

    /// Keeps SIP messages of the attempt: a password is asked for, the INVITE goes twice, the callee is on the phone.
    pub fn traced(&self, attempt: Uuid) {
        let sdp = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
                   m=audio 20000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n";
        let sdp = format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len());
        let invite = "INVITE sip:+442071838750@carrier.example.net;user=phone SIP/2.0";
        let asks = "Proxy-Authenticate: Digest realm=\"carrier.example.net\", nonce=\"1\"\r\nContent-Length: 0\r\n\r\n";
        let busy = "Reason: Q.850;cause=17;text=\"User busy\"\r\nContent-Length: 0\r\n\r\n";
        let ours = format!("Proxy-Authorization: Digest username=\"depot42\"\r\n{sdp}");
        let none = "Content-Length: 0\r\n\r\n";
        let said = [
            (0, Direction::Out, invite, sdp.as_str()),
            (18_450, Direction::In, "SIP/2.0 407 Proxy Authentication Required", asks),
            (18_900, Direction::Out, "ACK sip:+442071838750@carrier.example.net;user=phone SIP/2.0", none),
            (19_100, Direction::Out, invite, &ours),
            (519_300, Direction::Out, invite, &ours),
            (742_118, Direction::In, "SIP/2.0 180 Ringing", none),
            (4_103_077, Direction::In, "SIP/2.0 486 Busy Here", busy),
            (4_103_600, Direction::Out, "ACK sip:+442071838750@carrier.example.net;user=phone SIP/2.0", none),
        ];
        let messages = said.map(|(at, direction, first, rest)| {
            let number = 1 + i32::from(at > 19_000);
            let method = if first.starts_with("ACK") { "ACK" } else { "INVITE" };
            let text = format!(
                "{first}\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK74bf9c1d\r\n\
                 From: \"Riverside Depot\" <sip:+442071838700@carrier.example.net>;tag=3a91c2\r\n\
                 To: <sip:+442071838750@carrier.example.net>\r\nCall-ID: 8f2e44b1c9d04d77\r\nCSeq: {number} {method}\r\n{rest}"
            );
            let at_us = Timestamp::now().as_microsecond() + at;
            let (local, remote) = ("192.0.2.1:5060".parse().unwrap(), "198.51.100.7:5060".parse().unwrap());
            Traced { at_us, direction, transport: Transport::Udp, local, remote, bytes: text.into_bytes() }
        });
        let head = Head {
            id: attempt.to_string(),
            sip_call_id: "8f2e44b1c9d04d77".to_owned(),
            peer: "main".to_owned(),
        };
        let batch = Batch { first: 0, messages: messages.to_vec(), dropped: 0 };
        let batches = [(head, batch)];
        self.runtime.block_on(sip_messages::append(&self.store, Timestamp::now(), &batches)).unwrap();
    }
}

pub fn planner() -> Planner {
    Planner { zone: TimeZone::UTC, depot: String::new(), max_attempts: 3 }
}

pub fn delivery(order_ref: &str, customer: &str) -> NewDelivery {
    let noon =
        Timestamp::now().to_zoned(TimeZone::UTC).date().at(12, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap();
    NewDelivery {
        order_ref: order_ref.to_owned(),
        stop: "4".to_owned(),
        customer_name: Redacted::new(customer.to_owned()),
        phone: Redacted::new("+442071838750".to_owned()),
        address: Redacted::new("12 St James's Square, London".to_owned()),
        eta: noon.timestamp(),
        language: "en".to_owned(),
        agent: "grace".to_owned(),
        instructions: "Two parcels".to_owned(),
        plan: Some("delivery-confirm".to_owned()),
        call_lead_seconds: 1800,
    }
}

/// Finishes the oldest waiting transcription, as the worker would; 204 when none waits.
async fn finish(State(store): State<Store>) -> StatusCode {
    let now = Timestamp::now();
    let Some(job) = jobs::claim(&store, TRANSCRIBE, now, SignedDuration::from_secs(60)).await.unwrap() else {
        return StatusCode::NO_CONTENT;
    };
    let transcript = NewTranscript {
        text: Redacted::new("Please leave it behind the <b>blue</b> bin, the gate is open.".to_owned()),
        no_speech: false,
        language: "en".to_owned(),
        model: "test".to_owned(),
        seconds: 0.5,
        words: Vec::new(),
    };
    transcripts::finish(&store, now, &job, &transcript).await.unwrap();
    StatusCode::OK
}

/// Two channels at 8 kHz: a low tone left, a high one right. Returns the file's size.
fn write_wav(path: &std::path::Path, seconds: u32) -> u64 {
    let spec = hound::WavSpec {
        channels: 2,
        sample_rate: 8000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut wav = hound::WavWriter::create(path, spec).unwrap();
    for n in 0..8000 * seconds {
        for hertz in [220.0, 440.0] {
            let angle = f64::from(n) * hertz * std::f64::consts::TAU / 8000.0;
            wav.write_sample((angle.sin() * 6000.0) as i16).unwrap();
        }
    }
    wav.finalize().unwrap();
    std::fs::metadata(path).unwrap().len()
}
