//! A server whose firewall swallows connections: calls do not wait for it again and again.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test opens sockets and may panic")]

#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/wire.rs"]
mod wire;

use std::sync::atomic::Ordering;
use std::time::Duration;

use callahead::engine::signalling::{Limits, Listen, Unreachable};
use callahead::sip::endpoint::Accept;
use callahead::sip::{Hop, Transmit};
use wire::{any, request, start};

/// A listener whose queue is full lets connections hang, as a firewall that swallows TCP does.
#[tokio::test]
async fn a_hop_that_swallows_connections_is_waited_for_once() {
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&any("127.0.0.1").into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let mut fillers = Vec::new();
    while let Ok(filler) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        fillers.push(filler);
    }
    let limits = Limits { connect: Duration::from_millis(300), ..Limits::default() };
    let running = start(Listen { limits, ..Listen::from(any("127.0.0.1")) }, Accept::All).await;
    let transmit = Transmit {
        destination: Hop::tcp(address),
        bytes: request("OPTIONS", "TCP", 1).replace("127.0.0.1 SIP", "depot.example SIP").into_bytes(),
    };
    for _ in 0..3 {
        assert_eq!(running.signalling.send(&transmit).await, Err(Unreachable(Hop::tcp(address))));
    }
    let tried = running.signalling.counters.unreachable.load(Ordering::Relaxed);
    assert_eq!(tried, 1, "it was waited for again");
}
