//! A flood from forged addresses: nothing is answered, nothing is kept.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests begin at some time and may panic")]

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use callahead::sip::Hop;
use callahead::sip::endpoint::{Accept, DropReason, Endpoint, EndpointConfig, House, Received};

fn endpoint() -> Endpoint {
    let trunk = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9));
    let config = EndpointConfig {
        user_agent: "flood/1".into(),
        accept: Accept::From(HashSet::from([trunk])),
        incoming: true,
        registrar: false,
        max_sessions: 10,
    };
    Endpoint::new(config, 1)
}

fn request(method: &str, user: &str, call_id: &str) -> String {
    format!(
        "{method} sip:{user}@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK{call_id}\r\n\
         From: <sip:{user}@192.0.2.1>;tag=a\r\nTo: <sip:{user}@192.0.2.1>\r\nCall-ID: {call_id}\r\n\
         CSeq: 1 {method}\r\nContact: <sip:x@198.51.100.1>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
}

fn local() -> SocketAddr {
    "192.0.2.1:5060".parse().unwrap()
}

fn stranger(number: u32) -> Hop {
    // Scattered over all addresses but the trunk's own network.
    let address = Ipv4Addr::from_bits(number.wrapping_mul(2_654_435_761) | 0x0100_0000);
    Hop::udp(SocketAddr::new(address.into(), 5060))
}

#[test]
fn a_million_forged_invites_leave_no_reply_and_no_trace() {
    let (mut endpoint, now) = (endpoint(), Instant::now());
    let mut flood: Vec<u8> = request("INVITE", "+12025550100", "00000000").into_bytes();
    let at = String::from_utf8_lossy(&flood).find("Call-ID: ").unwrap() + 9;
    for number in 0..1_000_000_u32 {
        flood[at..at + 8].copy_from_slice(format!("{number:08}").as_bytes());
        let got = endpoint.handle_message(now, stranger(number), local(), &flood);
        assert!(matches!(got, Received::Dropped(DropReason::UnknownSource)), "{got:?}");
    }
    assert_eq!(endpoint.sessions(), 0);
    let trunk = Hop::udp("192.0.2.9:5060".parse().unwrap());
    let got = endpoint.handle_message(now, trunk, local(), request("INVITE", "x", "real").as_bytes());
    assert!(matches!(got, Received::Incoming(_)), "{got:?}");
}

#[test]
fn a_call_that_stands_is_heard_from_anywhere() {
    let (mut endpoint, now) = (endpoint(), Instant::now());
    let seed = endpoint.connect();
    let bye = request("BYE", "x", &seed.call_id)
        .replace("192.0.2.1>\r\nCall-ID", &format!("192.0.2.1>;tag={}\r\nCall-ID", seed.local_tag));
    let got = endpoint.handle_message(now, stranger(7), local(), bye.as_bytes());
    assert!(matches!(got, Received::Session(id, _) if id == seed.id), "{got:?}");
    endpoint.remove(seed.id);
    let got = endpoint.handle_message(now, stranger(7), local(), bye.as_bytes());
    assert!(matches!(got, Received::Dropped(DropReason::UnknownSource)), "{got:?}");
}

#[test]
fn strangers_register_by_the_name_of_a_telephone_only_and_not_too_often() {
    let (mut endpoint, now) = (endpoint(), Instant::now());
    let register = |endpoint: &mut Endpoint, at, number: u32, user: &str| {
        endpoint.handle_message(
            at,
            stranger(number),
            local(),
            request("REGISTER", user, &format!("{number}")).as_bytes(),
        )
    };
    assert!(matches!(register(&mut endpoint, now, 0, "desk"), Received::Dropped(DropReason::UnknownSource)));
    let names = HashSet::from(["desk".to_owned()]);
    endpoint.set_house(House { names, addresses: HashSet::new() });
    assert!(matches!(register(&mut endpoint, now, 0, "root"), Received::Dropped(DropReason::UnknownSource)));
    let heard = (0..100_000)
        .filter(|number| matches!(register(&mut endpoint, now, *number, "desk"), Received::Request(_)));
    assert_eq!(heard.count(), 200, "one burst for all strangers together");
    let later = now + Duration::from_secs(1);
    let heard = (0..1000)
        .filter(|number| matches!(register(&mut endpoint, later, *number, "desk"), Received::Request(_)));
    assert_eq!(heard.count(), 50);
}
