//! What a request outside of calls gets, through the endpoint: one table of statuses with the fields that must go along.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests begin at some time, read their data and may panic"
)]

use std::net::SocketAddr;
use std::time::Instant;

use callahead::sip::Hop;
use callahead::sip::endpoint::{Accept, Endpoint, EndpointConfig, Received};
use callahead::sip::message::Message;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn endpoint(open: bool, max_sessions: usize) -> Endpoint {
    let config = EndpointConfig {
        user_agent: "bench/1".into(),
        accept: Accept::All,
        incoming: open,
        registrar: open,
        messages: open,
        max_sessions,
    };
    Endpoint::new(config, 5)
}

/// A request whose parts a row may replace: `uri`, `to`, and more lines.
#[derive(Clone, Copy)]
struct Row {
    method: &'static str,
    uri: &'static str,
    to: &'static str,
    lines: &'static str,
    body: &'static str,
}

const PLAIN: Row =
    Row { method: "OPTIONS", uri: "sip:bob@192.0.2.1", to: "<sip:bob@192.0.2.1>", lines: "", body: "" };

fn ask(endpoint: &mut Endpoint, number: usize, row: Row) -> Received {
    let Row { method, uri, to, lines, body } = row;
    let text = format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.1;rport;branch=z9hG4bKrow{number}\r\nFrom: <sip:ada@b>;tag=remote\r\nTo: {to}\r\nCall-ID: call{number}\r\nCSeq: 7 {method}\r\nContact: <sip:ada@198.51.100.1>\r\n{lines}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let source = Hop::udp(address("198.51.100.1:5060"));
    endpoint.handle_message(Instant::now(), source, address("192.0.2.1:5060"), text.as_bytes())
}

/// The answer; 0 for a call, 1 for what is handed up.
fn answer(received: Received) -> (u16, Option<Message>) {
    match received {
        Received::Reply(reply) => {
            let message = Message::parse(&reply.bytes).unwrap();
            (message.status().unwrap(), Some(message))
        }
        Received::Incoming(_) => (0, None),
        Received::Request(_) => (1, None),
        other => panic!("{other:?}"),
    }
}

/// A request, its status, and a field that must go along.
type Expected = (Row, u16, Option<(&'static str, &'static str)>);

const CALL: u16 = 0;
const HANDED_UP: u16 = 1;
const SDP: &str = "Content-Type: application/sdp\r\n";
const OPEN_ALLOW: &str =
    "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE, REFER, NOTIFY, MESSAGE, REGISTER";

#[test]
fn requests_get_the_status_of_the_rfc_and_its_fields() {
    let with = |method, lines, body| Row { method, lines, body, ..PLAIN };
    let to = |uri, method| Row { uri, method, ..PLAIN };
    let tagged = |method| Row { to: "<sip:bob@192.0.2.1>;tag=nobody", method, ..PLAIN };
    let text = "Content-Type: text/plain;charset=utf-8\r\n";
    let rows: Vec<Expected> = vec![
        (PLAIN, 200, Some(("Allow", OPEN_ALLOW))),
        (PLAIN, 200, Some(("Accept", "application/sdp, text/plain"))),
        (PLAIN, 200, Some(("Supported", "100rel, timer, replaces, norefersub"))),
        // Whoever is meant by a request takes it, though it may go no further (RFC 4475 §3.3.11): 483 is for proxies.
        (with("OPTIONS", "Max-Forwards: 0\r\n", ""), 200, None),
        (with("INVITE", "Max-Forwards: 0\r\n", ""), CALL, None),
        (tagged("INVITE"), 481, None),
        (tagged("BYE"), 481, None),
        (tagged("REFER"), 481, None),
        (tagged("OPTIONS"), 481, None),
        (with("BYE", "", ""), 481, None),
        (with("CANCEL", "", ""), 481, None),
        (with("INFO", "", ""), 481, None),
        (with("PRACK", "", ""), 481, None),
        (with("UPDATE", "", ""), 481, None),
        (with("NOTIFY", "Event: message-summary\r\n", ""), 481, None),
        (with("REFER", "Refer-To: <sip:c@d>\r\n", ""), 403, None),
        (with("SUBSCRIBE", "Event: presence\r\n", ""), 405, Some(("Allow", OPEN_ALLOW))),
        (with("PUBLISH", "Event: presence\r\n", ""), 405, Some(("Allow", OPEN_ALLOW))),
        (with("DANCE", "", ""), 501, Some(("Allow", OPEN_ALLOW))),
        (to("isbn:2983792873", "INVITE"), 416, None),
        (to("isbn:2983792873", "OPTIONS"), 416, None),
        (to("tel:+4930123", "INVITE"), CALL, None),
        (
            with("OPTIONS", "Require: 100rel-not, replaces, pizza\r\n", ""),
            420,
            Some(("Unsupported", "100rel-not, pizza")),
        ),
        (with("INVITE", "Require: norefersub\r\n", ""), CALL, None),
        (with("INVITE", "Content-Type: text/html\r\n", "<p>"), 415, Some(("Accept", "application/sdp"))),
        (with("INVITE", "Content-Type: application/sdp\r\nContent-Encoding: gzip\r\n", "x"), 415, None),
        (with("INVITE", "Accept: text/html\r\n", ""), 406, None),
        (with("INVITE", SDP, "v=0\r\n"), CALL, None),
        (with("INVITE", "Replaces: gone;to-tag=1;from-tag=2\r\n", ""), 481, None),
        (with("INVITE", "Replaces: gone\r\n", ""), 400, None),
        (
            with("INVITE", "Replaces: a;to-tag=1;from-tag=2\r\nReplaces: b;to-tag=1;from-tag=2\r\n", ""),
            400,
            None,
        ),
        (with("REGISTER", "", ""), HANDED_UP, None),
        (with("MESSAGE", text, "the lorry is late"), HANDED_UP, None),
        (with("MESSAGE", "", ""), HANDED_UP, None),
        (with("MESSAGE", "Content-Type: text/html\r\n", "<p>"), 415, Some(("Accept", "text/plain"))),
        (
            with("MESSAGE", "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n", "x"),
            415,
            Some(("Accept-Encoding", "identity")),
        ),
    ];
    for (number, (row, status, field)) in rows.into_iter().enumerate() {
        let mut endpoint = endpoint(true, 10);
        let (got, message) = answer(ask(&mut endpoint, number, row));
        let asked = format!("{} {} {:?}", row.method, row.uri, row.lines);
        assert_eq!(got, status, "{asked}");
        if let Some((name, value)) = field {
            assert_eq!(message.as_ref().unwrap().header_named(name).as_deref(), Some(value), "{asked}");
        }
        // Every answer but 100 names a dialog side, and repeats what it answers.
        if let Some(message) = message {
            assert!(message.to_tag().is_some(), "{asked}");
            assert_eq!(message.cseq().unwrap().method.as_str(), row.method);
            let (again, repeated) = answer(ask(&mut endpoint, number, row));
            assert_eq!((again, repeated.unwrap() == message), (status, true), "{asked}");
        }
    }
}

#[test]
fn what_is_closed_is_not_listed() {
    let mut endpoint = endpoint(false, 10);
    let listed = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE, REFER, NOTIFY";
    for (number, method) in ["OPTIONS", "REGISTER", "MESSAGE"].into_iter().enumerate() {
        let (status, message) = answer(ask(&mut endpoint, number, Row { method, ..PLAIN }));
        assert_eq!(status, if method == "OPTIONS" { 200 } else { 405 }, "{method}");
        assert_eq!(message.unwrap().header_named("Allow").as_deref(), Some(listed), "{method}");
    }
    let (status, _) = answer(ask(&mut endpoint, 9, Row { method: "INVITE", ..PLAIN }));
    assert_eq!(status, 403);
}

#[test]
fn a_full_house_says_when_to_come_again_and_a_loop_is_seen() {
    let mut endpoint = endpoint(true, 1);
    let invite = Row { method: "INVITE", ..PLAIN };
    assert_eq!(answer(ask(&mut endpoint, 1, invite)).0, CALL);
    let (status, message) = answer(ask(&mut endpoint, 2, invite));
    assert_eq!((status, message.unwrap().header_named("Retry-After").as_deref()), (503, Some("10")));
    // The same INVITE by another way: its branch differs, all else is the same.
    let merged = "INVITE sip:bob@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.1;rport;branch=z9hG4bKother\r\nFrom: <sip:ada@b>;tag=remote\r\nTo: <sip:bob@192.0.2.1>\r\nCall-ID: call1\r\nCSeq: 7 INVITE\r\nContact: <sip:ada@198.51.100.1>\r\n\r\n";
    let source = Hop::udp(address("198.51.100.1:5060"));
    let received =
        endpoint.handle_message(Instant::now(), source, address("192.0.2.1:5060"), merged.as_bytes());
    assert_eq!(answer(received).0, 482);
}

#[test]
fn long_texts_are_refused() {
    let mut endpoint = endpoint(true, 1);
    let long: &'static str = Box::leak("x".repeat(1301).into_boxed_str());
    let row = Row { method: "MESSAGE", lines: "Content-Type: text/plain\r\n", body: long, ..PLAIN };
    assert_eq!(answer(ask(&mut endpoint, 1, row)).0, 413);
    assert_eq!(answer(ask(&mut endpoint, 2, Row { body: &long[..1300], ..row })).0, HANDED_UP);
}
