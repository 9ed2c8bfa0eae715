//! What rsip and rsipstack accept, we accept and agree on. Every disagreement is a row in [`DISAGREEMENTS`] with its
//! reason; a row that no longer happens fails as much as a disagreement that has none.

#![allow(clippy::unwrap_used, reason = "tests read their data and may panic")]

use std::collections::BTreeSet;

use callahead::sip::message::{Message, NameAddr, lex};
use proptest::prelude::*;

#[path = "differential/corpus.rs"]
mod corpus;
#[path = "differential/oracles.rs"]
mod oracles;

/// What is compared; a field that a reader does not find is empty.
#[derive(Debug, PartialEq, Default, Clone)]
struct Reading {
    start: String,
    uri: String,
    via: String,
    from_tag: String,
    to_tag: String,
    call_id: String,
    cseq: String,
    contact: String,
    body: Vec<u8>,
}

impl Reading {
    /// The fields in which two readings differ.
    fn differences(&self, other: &Self) -> Vec<&'static str> {
        let pairs = [
            ("start", self.start == other.start),
            ("uri", self.uri == other.uri),
            ("via", self.via == other.via),
            ("from-tag", self.from_tag == other.from_tag),
            ("to-tag", self.to_tag == other.to_tag),
            ("call-id", self.call_id == other.call_id),
            ("cseq", self.cseq == other.cseq),
            ("contact", self.contact == other.contact),
            ("body", self.body == other.body),
        ];
        pairs.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
    }
}

fn ours(bytes: &[u8]) -> Option<Reading> {
    let message = Message::parse(bytes).ok()?;
    let start = match message.method() {
        Some(method) => method.to_string(),
        None => message.status()?.to_string(),
    };
    let via = message.top_via(|via| {
        let port = via.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}{port} {}", via.host, via.branch().unwrap_or_default())
    })?;
    let contact = message.header(callahead::sip::message::HeaderName::Contact).unwrap_or_default();
    let contact =
        lex::split(&contact, b',').next().and_then(|first| Some(NameAddr::parse(first)?.uri.to_owned()));
    let cseq = message.cseq()?;
    Some(Reading {
        start,
        uri: message.uri().map(|uri| uri.to_string()).unwrap_or_default(),
        via,
        from_tag: message.from_tag().unwrap_or_default(),
        to_tag: message.to_tag().unwrap_or_default(),
        call_id: message.call_id().into_owned(),
        cseq: format!("{} {}", cseq.number, cseq.method),
        contact: contact.unwrap_or_default(),
        body: message.body().to_vec(),
    })
}

type Reader = fn(&[u8]) -> Option<Reading>;

const ORACLES: [(&str, Reader); 2] = [("rsip", oracles::rsip), ("rsipstack", oracles::rsipstack)];

/// Reader, message, field (`refused` when we refuse what it accepts), and who is right.
const DISAGREEMENTS: &[(&str, &str, &str, &str)] = &[
    ("rsip", "baddate", "refused", "RFC 4475 §3.1.2.12: a Date that is not GMT; Date is not read"),
    (
        "rsip",
        "badinv01",
        "refused",
        "RFC 4475 §3.1.2.1: empty parameters in Via and Contact; they are dropped",
    ),
    (
        "rsip",
        "body-longer",
        "body",
        "RFC 3261 §18.3: bytes past Content-Length are none of the message's; Content-Length is not read",
    ),
    ("rsip", "clerr", "refused", "RFC 4475 §3.1.2.2: the body is shorter than Content-Length; nobody checks"),
    (
        "rsip",
        "ltgtruri",
        "refused",
        "RFC 4475 §3.1.2.7: a Request-URI in angle brackets; they are taken for a part of it or removed",
    ),
    ("rsip", "mcl01", "refused", "RFC 4475 §3.3.9: two Content-Lengths; one is taken or none"),
    ("rsip", "mismatch01", "refused", "RFC 4475 §3.1.2.17: CSeq names another method; nobody compares"),
    (
        "rsip",
        "multi01",
        "refused",
        "RFC 4475 §3.3.8: repeated From, To, Call-ID and CSeq; the first is taken",
    ),
    ("rsip", "ncl", "refused", "RFC 4475 §3.1.2.3: a negative Content-Length; it is not read, or read as 0"),
    (
        "rsip",
        "phone-contact-params",
        "contact",
        "RFC 3261 §19.1.2: a URI is not ours to respell; `udp` becomes `UDP` or vanishes",
    ),
    (
        "rsip",
        "quotbal",
        "refused",
        "RFC 4475 §3.1.2.6: an unterminated quoted string in To; it is passed over",
    ),
    (
        "rsip",
        "regescrt",
        "contact",
        "RFC 4475 §3.3.14: header fields in a Contact belong to it; they are lost",
    ),
    (
        "rsip",
        "sbc-transport-tls",
        "uri",
        "RFC 3261 §19.1.2: a URI is not ours to respell; `tls` becomes `TLS`",
    ),
    (
        "rsipstack",
        "badaspec",
        "refused",
        "RFC 4475 §3.1.2.14: white space within an addr-spec; it is trimmed",
    ),
    ("rsipstack", "baddate", "refused", "RFC 4475 §3.1.2.12: a Date that is not GMT; Date is not read"),
    (
        "rsipstack",
        "badinv01",
        "refused",
        "RFC 4475 §3.1.2.1: empty parameters in Via and Contact; they are dropped",
    ),
    ("rsipstack", "badvers", "refused", "RFC 4475 §3.1.2.16: SIP/7.0 must get 505; any version is taken"),
    (
        "rsipstack",
        "body-without-length",
        "body",
        "RFC 3261 §18.3: over UDP the body then runs to the end of the datagram; it is dropped",
    ),
    (
        "rsipstack",
        "clerr",
        "refused",
        "RFC 4475 §3.1.2.2: the body is shorter than Content-Length; nobody checks",
    ),
    (
        "rsipstack",
        "esc01",
        "contact",
        "RFC 4475 §3.1.1.3: escapes stay as they are; they are escaped once more",
    ),
    ("rsipstack", "esc01", "uri", "RFC 4475 §3.1.1.3: escapes stay as they are; they are escaped once more"),
    (
        "rsipstack",
        "escnull",
        "contact",
        "RFC 4475 §3.1.1.4: escapes stay as they are; they are escaped once more",
    ),
    ("rsipstack", "escruri", "refused", "RFC 4475 §3.1.2.11: header fields in a Request-URI; they are kept"),
    (
        "rsipstack",
        "inv2543",
        "body",
        "RFC 3261 §18.3: over UDP the body then runs to the end of the datagram; it is dropped",
    ),
    (
        "rsipstack",
        "ltgtruri",
        "refused",
        "RFC 4475 §3.1.2.7: a Request-URI in angle brackets; they are taken for a part of it or removed",
    ),
    ("rsipstack", "mcl01", "refused", "RFC 4475 §3.3.9: two Content-Lengths; one is taken or none"),
    ("rsipstack", "mismatch01", "refused", "RFC 4475 §3.1.2.17: CSeq names another method; nobody compares"),
    (
        "rsipstack",
        "multi01",
        "refused",
        "RFC 4475 §3.3.8: repeated From, To, Call-ID and CSeq; the first is taken",
    ),
    (
        "rsipstack",
        "ncl",
        "refused",
        "RFC 4475 §3.1.2.3: a negative Content-Length; it is not read, or read as 0",
    ),
    (
        "rsipstack",
        "phone-contact-params",
        "contact",
        "RFC 3261 §19.1.2: a URI is not ours to respell; `udp` becomes `UDP` or vanishes",
    ),
    (
        "rsipstack",
        "phone-escaped-user",
        "uri",
        "RFC 3261 §19.1.2: escapes stay as they are; they are escaped once more",
    ),
    (
        "rsipstack",
        "quotbal",
        "refused",
        "RFC 4475 §3.1.2.6: an unterminated quoted string in To; it is passed over",
    ),
    (
        "rsipstack",
        "regbadct",
        "refused",
        "RFC 4475 §3.1.2.13: a Contact with `?` outside of brackets; it is cut there",
    ),
    (
        "rsipstack",
        "regescrt",
        "contact",
        "RFC 4475 §3.3.14: header fields in a Contact belong to it; they are lost",
    ),
    (
        "rsipstack",
        "sbc-transport-tls",
        "uri",
        "RFC 3261 §19.1.2: a URI is not ours to respell; `tls` becomes `TLS`",
    ),
    (
        "rsipstack",
        "stray-byte",
        "contact",
        "RFC 3261 §25.1: TEXT-UTF8 aside, a stray byte harms its own field only; all later fields are lost",
    ),
    ("rsipstack", "trws", "refused", "RFC 4475 §3.1.2.10: white space after the version; it is trimmed"),
    (
        "rsipstack",
        "wsinv",
        "from-tag",
        "RFC 4475 §3.1.1.1: white space around `=` is allowed; the tag is lost",
    ),
    ("rsipstack", "wsinv", "to-tag", "RFC 4475 §3.1.1.1: white space around `=` is allowed; the tag is lost"),
];

#[test]
fn every_disagreement_is_known_and_still_there() {
    let listed: BTreeSet<(&str, String, &str)> = DISAGREEMENTS
        .iter()
        .map(|(oracle, message, field, reason)| {
            assert!(!reason.is_empty());
            (*oracle, (*message).to_owned(), *field)
        })
        .collect();
    let (mut found, mut compared) = (BTreeSet::new(), 0);
    for (name, bytes) in corpus::messages() {
        let ours = ours(&bytes);
        for (oracle, read) in ORACLES {
            let Some(theirs) = read(&bytes) else { continue };
            compared += 1;
            let fields = ours.as_ref().map_or(vec!["refused"], |ours| ours.differences(&theirs));
            for field in fields {
                if !listed.contains(&(oracle, name.clone(), field)) {
                    eprintln!("{oracle} {name} {field}: ours {ours:?}\n    theirs {theirs:?}");
                }
                found.insert((oracle, name.clone(), field));
            }
        }
    }
    let unlisted: Vec<_> = found.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&found).collect();
    assert!(unlisted.is_empty() && gone.is_empty(), "not listed: {unlisted:#?}\nno longer there: {gone:#?}");
    assert!(compared >= 40, "only {compared} readings were compared");
}

prop_compose! {
    /// Within what both oracles can read: no IPv6, folding, compact names, lists, quoted parameters or escapes.
    fn plain_message()(
        request in any::<bool>(),
        method in "(INVITE|BYE|OPTIONS|REGISTER|ACK|CANCEL)",
        status in prop::sample::select(vec![100_u16, 180, 183, 200, 202, 302, 401, 404, 407, 480, 486, 487, 500, 503, 603]),
        user in "[+a-z0-9]{1,12}",
        host in "(example\\.com|sbc-1\\.carrier\\.net|192\\.0\\.2\\.[1-9])",
        port in prop::option::of(1024_u16..65535),
        tags in ("[a-zA-Z0-9.]{1,16}", prop::option::of("[a-zA-Z0-9-]{1,16}")),
        display in prop::option::of("[A-Z][a-z]{0,8}( [A-Z][a-z]{0,8})?"),
        number in 1_u32..0x7fff_ffff,
        extra in prop::collection::vec(("X-[A-Z][a-z]{1,8}", "[a-z0-9]([ -~]{0,30}[a-z0-9])?"), 0..5),
        body in prop::option::of("[a-z=0-9 ]{1,40}\r\n"),
    ) -> Vec<u8> {
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let display = display.map(|name| format!("\"{name}\" ")).unwrap_or_default();
        let to_tag = tags.1.map(|tag| format!(";tag={tag}")).unwrap_or_default();
        let start = match request {
            true => format!("{method} sip:{user}@{host}{port} SIP/2.0"),
            false => format!("SIP/2.0 {status} Some Reason"),
        };
        let extra: String = extra.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let kind = if body.is_some() { "Content-Type: text/plain\r\n" } else { "" };
        let body = body.unwrap_or_default();
        format!(
            "{start}\r\nVia: SIP/2.0/UDP {host}{port};branch=z9hG4bK{tag}\r\n\
            From: {display}<sip:{user}@{host}>;tag={tag}\r\nTo: <sip:{user}@{host}{port}>{to_tag}\r\n\
            Call-ID: {tag}@{host}\r\nCSeq: {number} {method}\r\nContact: <sip:{user}@{host}{port}>\r\n\
            Max-Forwards: 70\r\n{extra}{kind}Content-Length: {}\r\n\r\n{body}",
            body.len(), tag = tags.0,
        ).into_bytes()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn on_plain_messages_all_three_agree(bytes in plain_message()) {
        let ours = ours(&bytes);
        prop_assert!(ours.is_some());
        for (oracle, read) in ORACLES {
            let theirs = read(&bytes);
            prop_assert!(theirs.is_some(), "{} refuses it", oracle);
            prop_assert_eq!(ours.as_ref().unwrap().differences(theirs.as_ref().unwrap()), Vec::<&str>::new());
        }
    }
}
