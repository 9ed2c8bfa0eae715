//! The 49 torture messages of RFC 4475, run by directory listing against the endpoint.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests begin at some time, read their data and may panic"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use callahead::sip::Hop;
use callahead::sip::endpoint::{Accept, DropReason, Endpoint, EndpointConfig, Received};
use callahead::sip::message::{Defect, HeaderName, Message, Method, NameAddr, Scheme, Via, lex};

/// What must become of a message.
#[derive(Debug, PartialEq, Clone, Copy)]
enum Fate {
    /// A new call.
    Call,
    /// A request for the registrar.
    HandedUp,
    /// A response that parses; nobody waits for it here.
    Unmatched,
    /// Answered with this status.
    Status(u16),
    /// Dropped as no message.
    Dropped,
}

use Fate::{Call, Dropped, HandedUp, Status, Unmatched};

/// Each file, and its fate at a user agent that takes calls and registrations, after the text of RFC 4475.
const FATES: [(&str, Fate); 49] = [
    // §3.1.1 valid
    // Accepted; its To bears a tag of a dialog that we do not have (RFC 3261 §12.2.2).
    ("wsinv", Status(481)),
    ("intmeth", Status(501)),
    ("esc01", Call),
    ("escnull", HandedUp),
    ("esc02", Status(501)),
    ("lwsdisp", Status(200)),
    ("longreq", Call),
    ("dblreq", HandedUp),
    ("semiuri", Status(200)),
    ("transports", Status(200)),
    ("mpart01", Status(405)),
    ("unreason", Unmatched),
    ("noreason", Unmatched),
    // §3.1.2 invalid
    ("badinv01", Status(400)),
    ("clerr", Status(400)),
    ("ncl", Status(400)),
    ("scalar02", Status(400)),
    ("scalarlg", Dropped),
    ("quotbal", Status(400)),
    ("ltgtruri", Status(400)),
    ("lwsruri", Status(400)),
    ("lwsstart", Status(400)),
    ("trws", Status(400)),
    ("escruri", Status(400)),
    ("baddate", Status(400)),
    ("regbadct", Status(400)),
    ("badaspec", Status(400)),
    ("baddn", Status(400)),
    ("badvers", Status(505)),
    ("mismatch01", Status(400)),
    ("mismatch02", Status(501)),
    ("bigcode", Dropped),
    // §3.2 transaction layer
    ("badbranch", Status(200)),
    // §3.3 application layer
    ("insuf", Status(400)),
    ("unkscm", Status(416)),
    ("novelsc", Status(416)),
    ("unksm2", Status(400)),
    ("bext01", Status(420)),
    ("invut", Status(415)),
    ("regaut01", HandedUp),
    ("multi01", Status(400)),
    ("mcl01", Status(400)),
    ("bcast", Unmatched),
    ("zeromf", Status(200)),
    ("cparam01", HandedUp),
    ("cparam02", HandedUp),
    ("regescrt", HandedUp),
    ("sdp01", Status(406)),
    // §3.4
    ("inv2543", Call),
];

fn files() -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/torture");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let messages = entries.filter(|path| path.extension().is_some_and(|extension| extension == "dat"));
    messages
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap()))
        .collect()
}

fn endpoint() -> Endpoint {
    let config = EndpointConfig {
        user_agent: "torture/1".into(),
        accept: Accept::All,
        incoming: true,
        registrar: true,
        messages: false,
        max_sessions: 100,
    };
    Endpoint::new(config, 1)
}

fn receive(bytes: &[u8]) -> Received {
    let local: SocketAddr = "192.0.2.100:5060".parse().unwrap();
    let source = Hop::udp("192.0.2.200:5060".parse().unwrap());
    endpoint().handle_message(Instant::now(), source, local, bytes)
}

#[test]
fn every_message_meets_its_fate() {
    let files = files();
    let mut known: Vec<&str> = FATES.iter().map(|(name, _)| *name).collect();
    known.sort_unstable();
    assert_eq!(files.keys().map(String::as_str).collect::<Vec<_>>(), known);
    let mut wrong = Vec::new();
    for (name, fate) in FATES {
        let met = match receive(&files[name]) {
            Received::Incoming(_) => Call,
            Received::Request(_) => HandedUp,
            // Some answers carry the malformed Via back, as they must: read the first line only.
            Received::Reply(reply) => Status(String::from_utf8_lossy(&reply.bytes)[8..11].parse().unwrap()),
            Received::Dropped(DropReason::UnmatchedResponse) => Unmatched,
            Received::Dropped(DropReason::Malformed) => Dropped,
            other => panic!("{name}: {other:?}"),
        };
        if met != fate {
            wrong.push(format!(
                "{name}: {met:?} instead of {fate:?} ({:?})",
                Message::parse(&files[name]).err()
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_is_read_prints_as_it_was() {
    for (name, bytes) in files() {
        let Ok(message) = Message::parse(&bytes) else { continue };
        let printed = message.to_bytes();
        assert!(bytes.starts_with(&printed), "{name} is printed differently");
        assert_eq!(Message::parse(&printed), Ok(message), "{name}");
    }
}

fn read(name: &str) -> Message {
    Message::parse(&files()[name]).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn text(message: &Message, name: HeaderName) -> String {
    message.header(name).unwrap().into_owned()
}

#[test]
fn wsinv_has_the_right_values() {
    let message = read("wsinv");
    assert_eq!(message.method(), Some(&Method::Invite));
    assert_eq!(message.uri().unwrap().params().get("unknownparam"), Some(None));
    assert_eq!(message.to_tag().as_deref(), Some("1918181833n"));
    assert_eq!(message.from_tag().as_deref(), Some("98asjd8"));
    let from = text(&message, HeaderName::From);
    assert_eq!(NameAddr::parse(&from).unwrap().display_name().as_deref(), Some(r#"J Rosenberg \""#));
    assert_eq!(text(&message, HeaderName::MaxForwards), "0068");
    let cseq = message.cseq().unwrap();
    assert_eq!((cseq.number, cseq.method), (9, Method::Invite));
    let vias = message.list(HeaderName::Via);
    let vias: Vec<Via<'_>> = vias.iter().map(|via| Via::parse(via).unwrap()).collect();
    assert_eq!(
        vias.iter().map(|via| (via.transport, via.host)).collect::<Vec<_>>(),
        [("UDP", "192.0.2.2"), ("TCP", "spindle.example.com"), ("UDP", "192.168.255.111"),]
    );
    assert_eq!(
        vias.iter().map(|via| via.branch().unwrap()).collect::<Vec<_>>(),
        ["390skdjuw", "z9hG4bK9ikj8", "z9hG4bK30239"]
    );
    assert_eq!(text(&message, HeaderName::Subject), "");
    assert_eq!(
        message.header_named("NewFangledHeader").unwrap(),
        "newfangled value continued newfangled value"
    );
    assert_eq!(message.header_named("UnknownHeaderWithUnusualValue").unwrap(), ";;,,;;,;");
    let contact = text(&message, HeaderName::Contact);
    let contact = NameAddr::parse(&contact).unwrap();
    assert_eq!(contact.display_name().as_deref(), Some(r#"Quoted string """#));
    assert_eq!(
        (contact.params.get("newparam"), contact.params.get("q")),
        (Some(Some("newvalue")), Some(Some("0.33")))
    );
    assert_eq!(message.body().len(), 150);
    assert!(message.sdp().is_some());
}

#[test]
fn unusual_but_valid_values_are_kept() {
    let message = read("intmeth");
    assert_eq!(message.method().unwrap().as_str(), "!interesting-Method0123456789_*+`.%indeed'~");
    assert_eq!(message.uri().unwrap().user(), Some("1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"));
    assert_eq!(message.uri().unwrap().host(), "example.com");
    let to = text(&message, HeaderName::To);
    assert_eq!(NameAddr::parse(&to).unwrap().display_name().as_deref(), Some("BEL:\u{7} NUL:\0 DEL:\u{7f}"));
    assert_eq!(message.from_tag().as_deref(), Some("_token~1'+`*%!-."));

    let message = read("esc01");
    assert_eq!(message.uri().unwrap().user_decoded().unwrap(), b"sips:user@example.com");
    assert_eq!(message.uri().unwrap().user(), Some("sips%3Auser%40example.com"));

    let message = read("escnull");
    let contacts = message.list(HeaderName::Contact);
    let users = contacts
        .iter()
        .map(|contact| NameAddr::parse(contact).unwrap().to_uri().unwrap().user_decoded().unwrap());
    assert_eq!(users.collect::<Vec<_>>(), [b"\0".to_vec(), b"\0\0".to_vec()]);

    assert_eq!(read("esc02").method().unwrap().as_str(), "RE%47IST%45R");
    assert_eq!(read("semiuri").uri().unwrap().user_decoded().unwrap(), b"user;par=u@example.net");
    assert_eq!(read("longreq").list(HeaderName::Via).len(), 34);
    assert_eq!(read("dblreq").body(), b"");
    let transports = read("transports").list(HeaderName::Via);
    let transports: Vec<String> =
        transports.iter().map(|via| Via::parse(via).unwrap().transport.to_owned()).collect();
    assert_eq!(transports, ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]);
    assert_eq!(read("noreason").reason().unwrap(), "");
    assert_eq!(read("unreason").status(), Some(200));
    assert!(read("unreason").reason().unwrap().starts_with("= 2**3 * 5**2 но сто"));
    assert_eq!(read("novelsc").uri().unwrap().scheme(), Scheme::Other);
    let display = text(&read("lwsdisp"), HeaderName::From);
    assert_eq!(NameAddr::parse(&display).unwrap().display, Some("caller"));
}

#[test]
fn binary_bodies_survive() {
    let message = read("mpart01");
    let length: usize = text(&message, HeaderName::ContentLength).parse().unwrap();
    assert_eq!(message.body().len(), length);
    assert!(std::str::from_utf8(message.body()).is_err());
}

#[test]
fn extensions_are_named_in_the_refusal() {
    let Received::Reply(reply) = receive(&files()["bext01"]) else { panic!() };
    let reply = Message::parse(&reply.bytes).unwrap();
    let unsupported = text(&reply, HeaderName::Unsupported);
    let names: Vec<&str> = lex::split(&unsupported, b',').collect();
    assert_eq!(names, ["nothingSupportsThis", "nothingSupportsThisEither"]);
}

#[test]
fn a_missing_field_is_named() {
    assert_eq!(Message::parse(&files()["insuf"]).unwrap_err().defect, Defect::Missing(HeaderName::From));
    assert_eq!(Message::parse(&files()["clerr"]).unwrap_err().defect, Defect::Truncated);
    assert_eq!(Message::parse(&files()["multi01"]).unwrap_err().defect, Defect::Repeated(HeaderName::From));
}
