//! SIP over real connections: every transport, reuse and loss of connections, certificates, and peers that mean harm.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/wire.rs"]
mod wire;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use callahead::engine::signalling::{Counters, Limits, Listen, TlsPeer, Unclaimed, server_config};
use callahead::sip::endpoint::Accept;
use callahead::sip::framing::Piece;
use callahead::sip::message::{Header, HeaderName, Message, Method};
use callahead::sip::session::{Failure, Session, SessionEvent, SessionOutput, Side};
use callahead::sip::transaction::Timing;
use callahead::sip::{Hop, Transmit, Transport};
use certificates::Authority;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::time::{sleep, timeout};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest};
use wire::{Caller, PATIENCE, Wire, any, request, start};

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Waits until a counter has come to `wanted`.
async fn counted(counters: &Counters, what: impl Fn(&Counters) -> &AtomicU64, wanted: u64) {
    let reached = async {
        while count(what(counters)) != wanted {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let reached = timeout(PATIENCE, reached).await;
    assert!(reached.is_ok(), "{} instead of {wanted}: {counters:?}", count(what(counters)));
}

fn answered(event: &SessionEvent) -> bool {
    matches!(event, SessionEvent::Answered { .. })
}

fn roots(authority: &Authority) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.ca()).unwrap()).unwrap();
    Arc::new(roots)
}

async fn connect_tls(authority: &Authority, to: SocketAddr) -> tokio_rustls::client::TlsStream<TcpStream> {
    let config = ClientConfig::builder().with_root_certificates(roots(authority)).with_no_client_auth();
    let stream = TcpStream::connect(to).await.unwrap();
    let name = ServerName::try_from("depot.example").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

async fn connect_websocket<S>(
    io: S,
    subprotocol: Option<&str>,
) -> Result<WebSocketStream<S>, tungstenite::Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut request = "ws://depot.example/any/path".into_client_request().unwrap();
    if let Some(subprotocol) = subprotocol {
        request.headers_mut().insert("Sec-WebSocket-Protocol", subprotocol.parse().unwrap());
    }
    tokio_tungstenite::client_async(request, io).await.map(|(socket, _)| socket)
}

/// Asks for OPTIONS and returns the answer.
async fn ask<S>(wire: &mut Wire<S>, transport: &str, number: u32) -> Message
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    wire.write(request("OPTIONS", transport, number)).await;
    wire.message().await.expect("closed instead of an answer")
}

async fn ask_websocket<S>(socket: &mut WebSocketStream<S>, message: tungstenite::Message) -> Message
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    socket.send(message).await.unwrap();
    loop {
        let frame = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        if frame.is_text() {
            return Message::parse(&frame.into_data()).unwrap();
        }
    }
}

#[tokio::test]
async fn every_transport_answers_over_ipv4_and_ipv6() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("depot", &["depot.example"]);
    let both = || vec![any("127.0.0.1"), any("::1")];
    let listen = Listen {
        plain: both(),
        tls: both(),
        ws: both(),
        wss: both(),
        identity: Some(server_config(&certificate, &key).unwrap()),
        ..Listen::default()
    };
    let running = start(listen, Accept::All).await;
    for (ip, number) in [("127.0.0.1", 10), ("::1", 20)] {
        let at = |transport| {
            let hop = Hop::new(transport, SocketAddr::new(ip.parse().unwrap(), 9));
            running.signalling.address_towards(hop).unwrap()
        };
        assert_eq!(at(Transport::Udp), at(Transport::Tcp));
        let status = |message: Message, transport: &str| {
            assert_eq!(message.status(), Some(200), "{transport}");
            let via = message.header(HeaderName::Via).unwrap().into_owned();
            assert!(via.starts_with(&format!("SIP/2.0/{transport} ")) && via.contains(";rport="), "{via}");
        };
        let udp = UdpSocket::bind(any(ip)).await.unwrap();
        udp.send_to(request("OPTIONS", "UDP", number).as_bytes(), at(Transport::Udp)).await.unwrap();
        let mut buffer = vec![0; 4096];
        let (length, _) = timeout(PATIENCE, udp.recv_from(&mut buffer)).await.unwrap().unwrap();
        status(Message::parse(&buffer[..length]).unwrap(), "UDP");

        let mut tcp = Wire::new(TcpStream::connect(at(Transport::Tcp)).await.unwrap());
        status(ask(&mut tcp, "TCP", number).await, "TCP");
        status(ask(&mut tcp, "TCP", number + 1).await, "TCP");
        let mut tls = Wire::new(connect_tls(&authority, at(Transport::Tls)).await);
        status(ask(&mut tls, "TLS", number).await, "TLS");

        let text = |transport| tungstenite::Message::text(request("OPTIONS", transport, number));
        let mut ws = connect_websocket(TcpStream::connect(at(Transport::Ws)).await.unwrap(), Some("x, sip"))
            .await
            .unwrap();
        status(ask_websocket(&mut ws, text("WS")).await, "WS");
        let binary = tungstenite::Message::binary(request("OPTIONS", "WS", number + 1).into_bytes());
        status(ask_websocket(&mut ws, binary).await, "WS");
        let mut wss =
            connect_websocket(connect_tls(&authority, at(Transport::Wss)).await, Some("sip")).await.unwrap();
        status(ask_websocket(&mut wss, text("WSS")).await, "WSS");
    }
    assert_eq!(count(&running.signalling.counters.accepted), 8);
    assert_eq!(count(&running.signalling.counters.received), 14);
}

#[tokio::test]
async fn pings_are_answered_and_a_websocket_must_be_for_sip() {
    let listen = Listen { plain: vec![any("127.0.0.1")], ws: vec![any("127.0.0.1")], ..Listen::default() };
    let running = start(listen, Accept::All).await;
    let mut tcp = Wire::new(TcpStream::connect(running.signalling.local_addr()).await.unwrap());
    tcp.write("\r\n\r\n").await;
    assert_eq!(tcp.piece().await, Some(Piece::Pong));

    let address = running.signalling.listen_addr(Transport::Ws).unwrap();
    let mut ws = connect_websocket(TcpStream::connect(address).await.unwrap(), Some("sip")).await.unwrap();
    ws.send(tungstenite::Message::text("\r\n\r\n")).await.unwrap();
    let pong = timeout(PATIENCE, ws.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(pong.into_data().as_ref(), b"\r\n");
    for wrong in [None, Some("xmpp")] {
        match connect_websocket(TcpStream::connect(address).await.unwrap(), wrong).await {
            Err(tungstenite::Error::Http(response)) => assert_eq!(response.status(), 400),
            other => panic!("{:?}", other.map(|_| ())),
        }
    }
    counted(&running.signalling.counters, |counters| &counters.handshakes_failed, 2).await;
}

#[tokio::test]
async fn a_registered_phone_keeps_its_connection_and_others_do_not() {
    let limits = Limits { idle: Duration::from_millis(300), ..Limits::default() };
    let listen =
        Listen { plain: vec![any("127.0.0.1")], ws: vec![any("127.0.0.1")], limits, ..Listen::default() };
    let mut running = start(listen, Accept::All).await;
    let address = running.signalling.listen_addr(Transport::Ws).unwrap();
    let mut phone = connect_websocket(TcpStream::connect(address).await.unwrap(), Some("sip")).await.unwrap();
    let mut stranger =
        connect_websocket(TcpStream::connect(address).await.unwrap(), Some("sip")).await.unwrap();
    let mut silent = Wire::new(TcpStream::connect(running.signalling.local_addr()).await.unwrap());

    phone.send(tungstenite::Message::text(request("REGISTER", "WS", 1))).await.unwrap();
    let Some(Unclaimed::Request(register)) = running.unclaimed.recv().await else { panic!("no request") };
    assert_eq!(register.source.transport, Transport::Ws);
    let granted = [Header::new(HeaderName::Contact, "<sip:a@192.0.2.9:5999>;expires=60")];
    running.signalling.respond(std::time::Instant::now(), &register, 200, &granted).await;
    let answer = timeout(PATIENCE, phone.next()).await.unwrap().unwrap().unwrap();
    assert!(answer.into_text().unwrap().starts_with("SIP/2.0 200 "));

    assert!(timeout(PATIENCE, stranger.next()).await.unwrap().unwrap().unwrap().is_close());
    assert_eq!(silent.message().await, None);
    counted(&running.signalling.counters, |counters| &counters.idle, 2).await;
    assert_eq!(count(&running.signalling.counters.open), 1);
    // A request of ours goes to the phone over the connection that it opened.
    let options = Transmit { destination: register.source, bytes: request("OPTIONS", "WS", 9).into_bytes() };
    running.signalling.send(&options).await.unwrap();
    assert!(
        timeout(PATIENCE, phone.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
            .into_text()
            .unwrap()
            .starts_with("OPTIONS")
    );
    drop(phone);
    counted(&running.signalling.counters, |counters| &counters.open, 0).await;
    assert!(running.signalling.send(&options).await.is_err(), "a browser cannot be connected to");
}

#[tokio::test]
async fn what_is_no_sip_is_closed_with_an_answer_where_there_can_be_one() {
    let running = start(any("127.0.0.1"), Accept::All).await;
    let connect = async || Wire::new(TcpStream::connect(running.signalling.local_addr()).await.unwrap());
    for garbage in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01", "hello\r\n"] {
        let mut wire = connect().await;
        wire.write(garbage).await;
        assert_eq!(wire.message().await, None, "{garbage}");
    }
    let without = request("OPTIONS", "TCP", 1).replace("Content-Length: 0\r\n", "");
    let large = request("OPTIONS", "TCP", 2).replace("Content-Length: 0", "Content-Length: 70000");
    for (message, status) in [(without, 400), (large, 513)] {
        let mut wire = connect().await;
        wire.write(message).await;
        assert_eq!(wire.message().await.unwrap().status(), Some(status));
        assert_eq!(wire.message().await, None);
    }
    counted(&running.signalling.counters, |counters| &counters.unframeable, 5).await;
    counted(&running.signalling.counters, |counters| &counters.open, 0).await;
}

#[tokio::test]
async fn strangers_are_turned_away_before_anything_is_read() {
    let trunk = HashSet::from(["127.0.0.2".parse().unwrap()]);
    let running = start(any("127.0.0.1"), Accept::From(trunk)).await;
    let mut stranger = Wire::new(TcpStream::connect(running.signalling.local_addr()).await.unwrap());
    assert_eq!(stranger.message().await, None);
    let counters = &running.signalling.counters;
    assert_eq!((count(&counters.turned_away), count(&counters.received)), (1, 0));
    let mut trunk = Wire::new(connect_from("127.0.0.2", running.signalling.local_addr()).await);
    assert_eq!(ask(&mut trunk, "TCP", 1).await.status(), Some(200));
}

async fn connect_from(ip: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(any(ip)).unwrap();
    socket.connect(to).await.unwrap()
}

/// A thousand connections that shake no hands, trickle, or talk nonsense, from fifty addresses; then as many from one.
#[tokio::test]
async fn a_thousand_hostile_connections_are_bounded_and_a_call_still_goes_through() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("depot", &["depot.example"]);
    let short = Duration::from_millis(1500);
    let limits = Limits { handshake: short, message: short, idle: short, ..Limits::default() };
    let (plain, tls) = (vec![any("127.0.0.1")], vec![any("127.0.0.1")]);
    let identity = Some(server_config(&certificate, &key).unwrap());
    let mut running = start(Listen { plain, tls, identity, limits, ..Listen::default() }, Accept::All).await;
    let (tcp, tls) =
        (running.signalling.local_addr(), running.signalling.listen_addr(Transport::Tls).unwrap());
    let counters = running.signalling.counters.clone();

    let mut hostile = Vec::new();
    for number in 0..1000 {
        let from = format!("127.0.1.{}", number % 50 + 1);
        let mut wire = Wire::new(connect_from(&from, if number % 2 == 0 { tcp } else { tls }).await);
        match number % 4 {
            0 => wire.write("OPTIONS sip:depot@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP x").await,
            1 => {}
            2 => wire.write("\r\n").await,
            _ => wire.write([0x16, 0x03, 0x01, 0x02, 0x00]).await,
        }
        hostile.push(wire);
    }
    let mut refused = Wire::new(connect_from("127.0.1.1", tcp).await);
    assert_eq!(refused.message().await, None, "a twenty-first from one address");
    counted(&counters, |counters| &counters.accepted, 1000).await;
    assert_eq!((count(&counters.turned_away), count(&counters.open)), (1, 1000));

    // Meanwhile a trickler goes on, and an honest peer calls.
    let trickler = async {
        for _ in 0..20 {
            sleep(Duration::from_millis(100)).await;
            for wire in hostile.iter_mut().step_by(4) {
                wire.try_write(b"x");
            }
        }
    };
    let call = async {
        let mut honest = Wire::new(TcpStream::connect(tcp).await.unwrap());
        let invite = request("INVITE", "TCP", 1);
        honest.write(invite).await;
        let Some(Unclaimed::Incoming(call, _inbox)) = running.unclaimed.recv().await else {
            panic!("no call")
        };
        let contact = callahead::engine::signalling::contact("depot", tcp, Transport::Tcp).unwrap();
        let mut session = Session::incoming(std::time::Instant::now(), *call, contact, Timing::default());
        session.accept(std::time::Instant::now(), b"answer");
        while let Some(output) = session.poll_output() {
            if let SessionOutput::Transmit(transmit) = output {
                running.signalling.send(&transmit).await.unwrap();
            }
        }
        loop {
            let response = honest.message().await.expect("closed instead of an answer");
            if response.status() == Some(200) {
                return response;
            }
        }
    };
    let (answer, ()) = tokio::join!(call, trickler);
    assert!(answer.header(HeaderName::Contact).unwrap().contains(";transport=tcp"));
    counted(&counters, |counters| &counters.open, 0).await;
    assert_eq!(count(&counters.stalled) + count(&counters.idle) + count(&counters.handshakes_failed), 1000);
    assert!(count(&counters.stalled) >= 250 && count(&counters.handshakes_failed) == 500, "{counters:?}");
}

#[tokio::test]
async fn two_calls_share_one_connection() {
    let callee = TcpListener::bind(any("127.0.0.1")).await.unwrap();
    let address = callee.local_addr().unwrap();
    let running = start(any("127.0.0.1"), Accept::From(HashSet::from([address.ip()]))).await;
    let hop = Hop::tcp(address);
    let (mut one, mut two) = (Caller::call(&running.signalling, hop), Caller::call(&running.signalling, hop));
    let answering = async {
        let mut wire = Wire::new(callee.accept().await.unwrap().0);
        let (mut acked, mut vias) = (0, Vec::new());
        while acked < 2 {
            let message = wire.message().await.unwrap();
            match message.method() {
                Some(Method::Invite) => {
                    vias.push(message.header(HeaderName::Via).unwrap().into_owned());
                    assert!(message.header(HeaderName::Contact).unwrap().contains(";transport=tcp>"));
                    wire.answer(&message, 200, Some(hop)).await;
                }
                Some(Method::Ack) => acked += 1,
                other => panic!("{other:?}"),
            }
        }
        (wire, vias)
    };
    let both = async { tokio::join!(one.until(answered), two.until(answered)) };
    let ((_wire, vias), _) = tokio::join!(answering, both);
    let ours = format!("SIP/2.0/TCP {}", running.signalling.local_addr());
    assert!(vias.iter().all(|via| via.starts_with(&ours)), "{vias:?}");
    assert_eq!(count(&running.signalling.counters.opened), 1);
    assert!(
        timeout(Duration::from_millis(200), callee.accept()).await.is_err(),
        "there is a second connection"
    );
}

#[tokio::test]
async fn the_bye_of_a_call_whose_connection_is_gone_makes_another() {
    let callee = TcpListener::bind(any("127.0.0.1")).await.unwrap();
    let address = callee.local_addr().unwrap();
    let running = start(any("127.0.0.1"), Accept::From(HashSet::from([address.ip()]))).await;
    let mut caller = Caller::call(&running.signalling, Hop::tcp(address));
    let callee = async {
        let mut wire = Wire::new(callee.accept().await.unwrap().0);
        wire.take_call(Hop::tcp(address)).await;
        drop(wire);
        let mut wire = Wire::new(callee.accept().await.unwrap().0);
        let bye = wire.expect(&Method::Bye).await;
        wire.answer(&bye, 200, None).await;
    };
    let caller = async {
        caller.until(answered).await;
        counted(&running.signalling.counters, |counters| &counters.open, 0).await;
        caller.hang_up();
        let by = caller.until(|event| matches!(event, SessionEvent::Ended { .. })).await;
        assert!(matches!(by, SessionEvent::Ended { by: Side::Local, .. }));
        // It repeats what has to be repeated, until the callee has seen what it waits for.
        caller.until(|event| *event == SessionEvent::Finished).await
    };
    tokio::select! {
        () = callee => {}
        _ = caller => panic!("there was no BYE"),
    }
    assert_eq!(count(&running.signalling.counters.opened), 2);
}

#[tokio::test]
async fn an_answer_whose_connection_is_gone_goes_to_the_sent_by_of_the_via() {
    let mut running = start(any("127.0.0.1"), Accept::All).await;
    let home = TcpListener::bind(any("127.0.0.1")).await.unwrap();
    let mut wire = Wire::new(TcpStream::connect(running.signalling.local_addr()).await.unwrap());
    let port = home.local_addr().unwrap().port();
    wire.write(request("INVITE", "TCP", 1).replace("192.0.2.9:5999", &format!("192.0.2.9:{port}"))).await;
    let Some(Unclaimed::Incoming(call, _inbox)) = running.unclaimed.recv().await else { panic!("no call") };
    drop(wire);
    counted(&running.signalling.counters, |counters| &counters.open, 0).await;
    let contact = callahead::engine::signalling::contact("depot", call.local, Transport::Tcp).unwrap();
    let mut session = Session::incoming(std::time::Instant::now(), *call, contact, Timing::default());
    session.accept(std::time::Instant::now(), b"answer");
    let mut wire = None;
    while let Some(output) = session.poll_output() {
        if let SessionOutput::Transmit(transmit) = output {
            running.signalling.send(&transmit).await.unwrap();
            if wire.is_none() {
                wire = Some(Wire::new(timeout(PATIENCE, home.accept()).await.unwrap().unwrap().0));
            }
        }
    }
    let mut wire = wire.unwrap();
    let mut statuses = Vec::new();
    while statuses.last() != Some(&Some(200)) {
        statuses.push(wire.message().await.unwrap().status());
    }
}

#[tokio::test]
async fn nobody_there_is_told_at_once() {
    let limits = Limits { connect: Duration::from_millis(300), ..Limits::default() };
    let running = start(Listen { limits, ..Listen::from(any("127.0.0.1")) }, Accept::All).await;
    // Refused, and a server that takes the connection and never says anything.
    let refusing = TcpListener::bind(any("127.0.0.1")).await.unwrap().local_addr().unwrap();
    let deaf = TcpListener::bind(any("127.0.0.1")).await.unwrap();
    let hops = [Hop::tcp(refusing), Hop::new(Transport::Tls, deaf.local_addr().unwrap())];
    for hop in hops {
        let mut caller = Caller::call(&running.signalling, hop);
        let failed = caller.until(|event| matches!(event, SessionEvent::Failed(_))).await;
        assert_eq!(failed, SessionEvent::Failed(Failure::Unreachable), "{hop}");
    }
    assert!(running.signalling.last_failure(hops[0]).unwrap().contains("refused"));
    assert!(running.signalling.last_failure(hops[1]).unwrap().contains("too long"));
    assert_eq!(count(&running.signalling.counters.unreachable), 2);
    assert_eq!(count(&running.signalling.counters.open), 0);
}

#[tokio::test]
async fn a_peer_that_stops_answering_pings_is_given_up_and_callers_hear_of_it() {
    let short = Duration::from_millis(150);
    let limits = Limits { ping: short, pong: short, ..Limits::default() };
    let running = start(Listen { limits, ..Listen::from(any("127.0.0.1")) }, Accept::All).await;
    let callee = TcpListener::bind(any("127.0.0.1")).await.unwrap();
    let hop = Hop::tcp(callee.local_addr().unwrap());
    let mut caller = Caller::call(&running.signalling, hop);
    let callee = async {
        let mut wire = Wire::new(callee.accept().await.unwrap().0);
        wire.expect(&Method::Invite).await;
        let (mut pieces, mut pinged) = (Vec::new(), false);
        while let Some(piece) = wire.piece().await {
            if piece == Piece::Ping && !std::mem::replace(&mut pinged, true) {
                wire.write("\r\n").await;
            }
            pieces.push(piece);
        }
        pieces
    };
    let failing = caller.until(|event| matches!(event, SessionEvent::Failed(_)));
    let (pieces, failed) = tokio::join!(callee, failing);
    assert_eq!(failed, SessionEvent::Failed(Failure::Unreachable));
    assert_eq!(pieces.iter().filter(|piece| **piece == Piece::Ping).count(), 2, "{pieces:?}");
    assert_eq!(count(&running.signalling.counters.stalled), 1);
}

#[tokio::test]
async fn a_peer_that_does_not_read_costs_a_bounded_queue() {
    let limits = Limits { write: Duration::from_millis(300), queue: 8, ..Limits::default() };
    let running = start(Listen { limits, ..Listen::from(any("127.0.0.1")) }, Accept::All).await;
    let deaf = TcpListener::bind(any("127.0.0.1")).await.unwrap();
    let hop = Hop::tcp(deaf.local_addr().unwrap());
    let large = Transmit { destination: hop, bytes: vec![b'x'; 60_000] };
    running.signalling.send(&large).await.unwrap();
    let _connection = deaf.accept().await.unwrap();
    let (mut sent, mut refused) = (0, 0);
    while count(&running.signalling.counters.stalled) == 0 {
        match running.signalling.send(&large).await {
            Ok(()) => sent += 1,
            Err(_) => refused += 1,
        }
        assert!(sent < 1000 && refused < 10_000, "everything is taken");
        sleep(Duration::from_millis(1)).await;
    }
    assert!(refused > 0, "the queue is never full");
    counted(&running.signalling.counters, |counters| &counters.open, 0).await;
}

/// A TLS server that wants a client certificate of `clients`, if there is one.
fn acceptor(authority: &Authority, names: &[&str], clients: Option<&Authority>) -> TlsAcceptor {
    let (certificate, key) = authority.issue("trunk", names);
    let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let builder = match clients {
        Some(clients) => {
            let verifier = WebPkiClientVerifier::builder(roots(clients)).build().unwrap();
            ServerConfig::builder().with_client_cert_verifier(verifier)
        }
        None => ServerConfig::builder().with_no_client_auth(),
    };
    TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()))
}

/// Calls a TLS trunk; the answer, or why not in words.
async fn call_tls(acceptor: &TlsAcceptor, peer: Option<TlsPeer>) -> Result<(), String> {
    let listener = TcpListener::bind(any("127.0.0.1")).await.unwrap();
    let address = listener.local_addr().unwrap();
    let hop = Hop::new(Transport::Tls, address);
    let running = start(any("127.0.0.1"), Accept::All).await;
    running.signalling.set_tls_peers(peer.map(|peer| (address, peer)).into_iter().collect::<HashMap<_, _>>());
    let mut caller = Caller::call(&running.signalling, hop);
    let callee = async {
        let stream = listener.accept().await.unwrap().0;
        if let Ok(stream) = acceptor.accept(stream).await {
            let mut wire = Wire::new(stream);
            let invite = wire.take_call(hop).await;
            assert!(invite.header(HeaderName::Via).unwrap().starts_with("SIP/2.0/TLS "));
            assert!(invite.header(HeaderName::Contact).unwrap().contains(";transport=tls>"));
            return Some(wire);
        }
        None
    };
    let calling = caller.until(|event| answered(event) || matches!(event, SessionEvent::Failed(_)));
    match tokio::join!(callee, calling) {
        (Some(_), SessionEvent::Answered { .. }) => Ok(()),
        (None, SessionEvent::Failed(Failure::Unreachable)) => {
            Err(running.signalling.last_failure(hop).unwrap())
        }
        (_, other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_trunks_certificate_is_checked_and_ours_is_shown() {
    let (authority, other) = (Authority::new(), Authority::new());
    let plain = acceptor(&authority, &["sip.trunk.example"], None);
    let demanding = acceptor(&authority, &["sip.trunk.example"], Some(&other));
    let peer = |ca: Option<&Authority>, name: &str, client| {
        Some(TlsPeer { server_name: name.to_owned(), ca: ca.map(Authority::ca), client })
    };
    let name = "sip.trunk.example";
    assert_eq!(call_tls(&plain, peer(Some(&authority), name, None)).await, Ok(()));
    let ours = Some(other.issue("depot", &["depot.example"]));
    assert_eq!(call_tls(&demanding, peer(Some(&authority), name, ours)).await, Ok(()));

    let foreign = Some(authority.issue("foreign", &["depot.example"]));
    let table = [
        (
            &plain,
            peer(Some(&other), name, None),
            "signed by nobody that we trust; name the authority with `tls = { ca",
        ),
        (&plain, peer(None, name, None), "signed by nobody that we trust"),
        (&plain, None, "signed by nobody that we trust"),
        (
            &plain,
            peer(Some(&authority), "sip.other.example", None),
            "for another name; if that is right, write it as",
        ),
        (
            &demanding,
            peer(Some(&authority), name, None),
            "it wants to see our certificate; add `tls = { certificate",
        ),
        (&demanding, peer(Some(&authority), name, foreign), "it does not accept our certificate"),
    ];
    for (number, (acceptor, peer, expected)) in table.into_iter().enumerate() {
        let why = call_tls(acceptor, peer).await.unwrap_err();
        assert!(why.contains(expected), "{number}: {why}");
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_new_connections() {
    let (old, new) = (Authority::new(), Authority::new());
    let identity = |authority: &Authority| {
        let (certificate, key) = authority.issue("depot", &["depot.example"]);
        server_config(&certificate, &key).unwrap()
    };
    let listen = Listen {
        tls: vec![any("127.0.0.1")],
        identity: Some(identity(&old)),
        ..Listen::from(any("127.0.0.1"))
    };
    let running = start(listen, Accept::All).await;
    let address = running.signalling.listen_addr(Transport::Tls).unwrap();
    let mut before = Wire::new(connect_tls(&old, address).await);
    running.signalling.set_identity(identity(&new));
    let mut after = Wire::new(connect_tls(&new, address).await);
    assert_eq!(ask(&mut before, "TLS", 1).await.status(), Some(200));
    assert_eq!(ask(&mut after, "TLS", 2).await.status(), Some(200));
}
