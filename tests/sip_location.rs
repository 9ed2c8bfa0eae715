//! Where trunks are and whether they live: the program, a DNS server of the test's own, and trunks that come and go.

#[path = "resilience/depot.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod depot;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use callahead::store::{CallState, Store};
use depot::{Depot, Process, until};
use hickory_server::Server;
use hickory_server::proto::rr::rdata::{A, SOA, SRV};
use hickory_server::proto::rr::{LowerName, Name, RData, Record};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use serde_json::Value;

/// Nothing here takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(90);

/// A trunk that is busy, and lives unless told otherwise.
struct Busy {
    address: SocketAddr,
    invites: Arc<AtomicU32>,
    requests: Arc<Mutex<Vec<String>>>,
    mute: Arc<AtomicBool>,
}

impl Busy {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let busy = Self {
            address: socket.local_addr().unwrap(),
            invites: Arc::default(),
            requests: Arc::default(),
            mute: Arc::default(),
        };
        let (invites, mute, requests) = (busy.invites.clone(), busy.mute.clone(), busy.requests.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, source)) = socket.recv_from(&mut buffer) {
                let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
                let status = match request.split(' ').next() {
                    _ if mute.load(Ordering::SeqCst) => continue,
                    Some("OPTIONS" | "REGISTER") => "200 OK",
                    Some("INVITE") => "486 Busy Here",
                    _ => continue,
                };
                if status.starts_with("486") {
                    invites.fetch_add(1, Ordering::SeqCst);
                }
                requests.lock().unwrap().push(request.clone());
                socket.send_to(answer(&request, status).as_bytes(), source).unwrap();
            }
        });
        busy
    }

    /// What came with this method.
    fn requests(&self, method: &str) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter(|request| request.starts_with(method)).cloned().collect()
    }

    fn invites(&self) -> u32 {
        self.invites.load(Ordering::SeqCst)
    }
}

/// The answer of a trunk that sees us at 203.0.113.9:4321, behind a NAT.
fn answer(request: &str, status: &str) -> String {
    let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
    let mut answer = format!("SIP/2.0 {status}\r\n");
    let request = request.replacen(";rport", ";rport=4321;received=203.0.113.9", 1);
    for line in request.lines().filter(|line| copied.iter().any(|name| line.starts_with(name))) {
        let tag = if line.starts_with("To:") { ";tag=busy" } else { "" };
        answer += &format!("{line}{tag}\r\n");
    }
    answer + "Content-Length: 0\r\n\r\n"
}

/// `carrier.test`, whose records live for a second.
struct Zone {
    handler: Arc<InMemoryZoneHandler>,
    server: Server<Catalog>,
    address: SocketAddr,
}

impl Zone {
    async fn start() -> Self {
        let origin = name("carrier.test.");
        let handler: Arc<InMemoryZoneHandler> =
            Arc::new(InMemoryZoneHandler::empty(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny));
        let mut catalog = Catalog::new();
        catalog.upsert(LowerName::new(&origin), vec![handler.clone()]);
        let mut server = Server::new(catalog);
        let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        server.register_socket(socket);
        Self { handler, server, address }
    }

    /// Replaces all records: `_sip._udp.pbx.carrier.test` has these servers, the first with the lowest priority.
    async fn serve(&self, servers: &[SocketAddr]) {
        self.handler.records_mut().await.clear();
        let soa = SOA::new(name("ns.carrier.test."), name("root.carrier.test."), 1, 1, 1, 1, 1);
        let mut records = BTreeMap::from([("carrier.test.".to_owned(), RData::SOA(soa))]);
        for (index, server) in servers.iter().enumerate() {
            let target = format!("server{index}.carrier.test.");
            let priority = u16::try_from(index).unwrap();
            let srv = RData::SRV(SRV::new(priority, 0, server.port(), name(&target)));
            let record = Record::from_rdata(name("_sip._udp.pbx.carrier.test."), 1, srv);
            assert!(self.handler.upsert(record, 1).await);
            records.insert(target, RData::A(A(Ipv4Addr::LOCALHOST)));
        }
        for (owner, data) in records {
            assert!(self.handler.upsert(Record::from_rdata(name(&owner), 1, data), 1).await);
        }
    }

    async fn stop(mut self) {
        self.server.shutdown_gracefully().await.unwrap();
    }
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

/// A depot whose only trunk is configured by `lines`.
fn depot(lines: &str, dns: Option<SocketAddr>) -> Depot {
    let depot = Depot::new("");
    let file = depot.folder.path().join("sip-config/trunks/practice.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let kept = text
        .lines()
        .filter(|line| !["host ", "port ", "register ", "expires "].iter().any(|key| line.starts_with(key)));
    let text: String = kept.map(|line| format!("{line}\n")).collect();
    std::fs::write(&file, format!("{lines}\n{text}")).unwrap();
    if let Some(dns) = dns {
        depot.edit("sip-config/callahead.toml", "[sip]", &format!("[sip]\ndns = [\"{dns}\"]"));
    }
    depot
}

async fn call(depot: &Depot, store: &Store) {
    let id = depot.call(store, "+12025550102").await;
    let call = until(store, id, |call| call.state == CallState::Done).await;
    assert_eq!(call.outcome.as_deref(), Some("busy"), "{call:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_follow_the_dns_and_go_on_without_it() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (one, two) = (Busy::start(), Busy::start());
    let zone = Zone::start().await;
    zone.serve(&[silent.local_addr().unwrap(), one.address]).await;
    let depot = depot("host = \"pbx.carrier.test\"\noptions_every = \"0s\"", Some(zone.address));
    let engine = depot.serve();
    let store = depot.store().await;

    call(&depot, &store).await;
    assert_eq!((one.invites(), two.invites()), (1, 0), "the first server is silent: the second gets it");

    zone.serve(&[two.address]).await;
    let begun = Instant::now();
    while two.invites() == 0 {
        assert!(begun.elapsed() < PATIENCE, "the old address is used for ever");
        tokio::time::sleep(Duration::from_millis(300)).await;
        call(&depot, &store).await;
    }

    let before = (one.invites(), two.invites());
    zone.stop().await;
    engine.wait_for("the last known addresses are kept");
    call(&depot, &store).await;
    assert_eq!((one.invites(), two.invites()), (before.0, before.1 + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trunk_that_falls_silent_is_down_until_it_answers_again() {
    let trunk = Busy::start();
    let lines = format!("host = \"127.0.0.1\"\nport = {}\noptions_every = \"5s\"", trunk.address.port());
    let depot = depot(&lines, None);
    let engine = depot.serve();
    let key = depot.run(&["key", "add", "watch", "--role", "dispatcher"]);
    assert!(key.status.success(), "{key:?}");
    let key = String::from_utf8(key.stdout).unwrap().lines().last().unwrap().trim().to_owned();
    let store = depot.store().await;

    let up = seen(&engine, &key, |trunk| trunk["health"] == "up");
    assert_eq!(up["name"], "practice");
    assert_eq!(up["hops"], serde_json::json!([format!("udp:{}", trunk.address)]));
    assert_eq!((&up["breaker"], &up["active_calls"]), (&"closed".into(), &0.into()));
    assert!(up["health_since"].is_string() && up["health_reason"].is_null(), "{up}");

    trunk.mute.store(true, Ordering::SeqCst);
    let down = seen(&engine, &key, |trunk| trunk["health"] == "down");
    assert!(down["health_reason"].as_str().unwrap().contains("OPTIONS"), "{down}");
    let id = depot.call(&store, "+12025550102").await;
    let waiting = until(&store, id, |call| call.waiting.is_some()).await.waiting.unwrap();
    assert!(waiting.contains("it cannot be reached"), "{waiting}");
    assert_eq!(trunk.invites(), 0);

    trunk.mute.store(false, Ordering::SeqCst);
    seen(&engine, &key, |trunk| trunk["health"] == "up");
    until(&store, id, |call| call.state == CallState::Done).await;
    let used = seen(&engine, &key, |trunk| trunk["known_calls"] == 1);
    assert_eq!((&used["answer_rate"], trunk.invites()), (&0.0.into(), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_pass_the_outbound_proxy_and_the_contact_is_where_the_trunk_sees_us() {
    let proxy = Busy::start();
    let lines =
        format!("host = \"pbx.carrier.invalid\"\noutbound_proxy = \"{}\"\nregister = true", proxy.address);
    let depot = depot(&lines, None);
    let engine = depot.serve();
    let key = depot.run(&["key", "add", "watch", "--role", "admin"]);
    let key = String::from_utf8(key.stdout).unwrap().lines().last().unwrap().trim().to_owned();
    let trunk = seen(&engine, &key, |trunk| trunk["registered_since"].is_string());
    assert_eq!((&trunk["seen_at"], &trunk["health"]), (&"203.0.113.9:4321".into(), &"unknown".into()));

    call(&depot, &depot.store().await).await;
    let invite = proxy.requests("INVITE ").remove(0);
    assert!(invite.starts_with("INVITE sip:+12025550102@pbx.carrier.invalid SIP/2.0\r\n"), "{invite}");
    assert!(invite.contains(&format!("Route: <sip:{};lr>\r\n", proxy.address)), "{invite}");

    assert!(invite.contains("Contact: <sip:depot@203.0.113.9:4321>"), "{invite}");

    let registers = proxy.requests("REGISTER ");
    assert_eq!(registers.len(), 2, "once more with the other contact: {registers:?}");
    assert!(registers[0].starts_with("REGISTER sip:pbx.carrier.invalid SIP/2.0\r\n"), "{}", registers[0]);
    assert!(registers[0].contains(&format!("Contact: <sip:depot@{}>", depot.sip)), "{}", registers[0]);
    assert!(registers[1].contains("Contact: <sip:depot@203.0.113.9:4321>"), "{}", registers[1]);
}

/// The trunk in the API, as soon as it is as `wanted`.
fn seen(engine: &Process, key: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let log = engine.log();
    let address = log.split("ready: http://").nth(1).unwrap();
    let end = address.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':')).unwrap_or(address.len());
    let url = format!("http://{}/api/v1/trunks", &address[..end]);
    let begun = Instant::now();
    loop {
        let mut reply = ureq::get(&url).header("authorization", format!("Bearer {key}")).call().unwrap();
        let trunks: Value = serde_json::from_str(&reply.body_mut().read_to_string().unwrap()).unwrap();
        let trunk = &trunks["items"][0];
        if wanted(trunk) {
            return trunk.clone();
        }
        assert!(begun.elapsed() < PATIENCE, "{trunk}\n{}", engine.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}
