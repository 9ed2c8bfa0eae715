//! Properties of the message layer, and its agreement with rsip.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests begin at some time, read their data and may panic"
)]

use callahead::sdp::offer_answer::{Direction, MediaPolicy, SessionOrigin, accept, answer};
use callahead::sip::endpoint::{Accept, Endpoint, EndpointConfig};
use callahead::sip::message::{Message, Uri};
use proptest::prelude::*;
use rsip::prelude::{HeadersExt, UntypedHeader};

fn line(name: &str, value: &str) -> String {
    format!("{name}: {value}\r\n")
}

prop_compose! {
    fn field()(
        name in prop::sample::select(vec!["X-Thing", "subject", "s", "P-Asserted-Identity", "Warning", "Reason"]),
        space in "[ \t]{0,2}",
        value in "[ -~äß世]{0,40}",
        fold in prop::option::of("[ -~]{0,10}"),
    ) -> String {
        let fold = fold.map(|text| format!("\r\n {text}")).unwrap_or_default();
        format!("{name}{space}:{space}{value}{fold}\r\n")
    }
}

prop_compose! {
    fn message()(
        method in "(INVITE|BYE|OPTIONS|[A-Z!.%]{1,8})",
        user in "[a-z0-9+;%?/]{1,12}",
        host in "(example\\.com|192\\.0\\.2\\.1|\\[2001:db8::1\\])",
        fields in prop::collection::vec(field(), 0..8),
        order in any::<prop::sample::Index>(),
        number in 0_u32..0x8000_0000,
        tag in "[a-zA-Z0-9.!%*_+`'~-]{1,16}",
        body in prop::collection::vec(any::<u8>(), 0..64),
    ) -> Vec<u8> {
        let mut lines = vec![
            line("v", &format!("SIP/2.0/UDP {host}:5070;rport;branch=z9hG4bK{tag}")),
            line("From", &format!("\"A\" <sip:{user}@{host}>;tag={tag}")),
            line("t", &format!("<sip:{user}@{host}>")),
            line("Call-ID", &tag),
            line("CSeq", &format!("{number} {method}")),
            line("l", &body.len().to_string()),
        ];
        let at = order.index(lines.len());
        for field in fields {
            lines.insert(at, field);
        }
        let mut bytes = format!("{method} sip:{user}@{host}:5060 SIP/2.0\r\n{}\r\n", lines.concat()).into_bytes();
        bytes.extend(body);
        bytes
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn valid_messages_come_out_as_they_went_in(bytes in message()) {
        let read = Message::parse(&bytes);
        // `?` and `;` are letters of a user part, so every one of these is valid.
        prop_assert!(read.is_ok(), "{:?} {}", read.err(), String::from_utf8_lossy(&bytes));
        let read = read.unwrap();
        prop_assert_eq!(read.to_bytes(), bytes);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = Message::parse(&bytes);
        let _ = Uri::parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn arbitrary_sdp_never_panics(
        lines in prop::collection::vec("[vosctma]=[ -~]{0,40}", 0..12),
        noise in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut text = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 5000 RTP/AVP 0\r\n".to_vec();
        text.extend(lines.join("\r\n").into_bytes());
        text.extend(noise);
        let policy = MediaPolicy::default();
        let origin = SessionOrigin { id: 1, version: 1 };
        let answered = answer(&text, &policy, origin, "192.0.2.9:4000".parse().unwrap(), Direction::SendRecv);
        if let Ok((ours, _)) = answered {
            prop_assert!(accept(&ours, &policy, Direction::SendRecv).is_ok());
        }
        let _ = accept(&text, &policy, Direction::SendRecv);
    }

    #[test]
    fn damaged_messages_never_panic_and_what_is_read_survives(
        bytes in message(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = bytes;
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        if let Ok(read) = Message::parse(&bytes) {
            prop_assert_eq!(Message::parse(&read.to_bytes()), Ok(read));
        }
        let config = EndpointConfig {
            user_agent: "x".into(),
            accept: Accept::All,
            incoming: true,
            registrar: true,
            messages: false,
            max_sessions: 10,
        };
        let address = "192.0.2.1:5060".parse().unwrap();
        let source = callahead::sip::Hop::udp(address);
        let _ = Endpoint::new(config, 1).handle_message(std::time::Instant::now(), source, address, &bytes);
    }
}

/// What rsip accepts and we do not, each with the reason.
const DISAGREEMENTS: [(&str, &str); 11] = [
    ("badinv01", "RFC 4475 §3.1.2.1: empty parameters in Via and Contact; rsip drops them"),
    ("clerr", "RFC 4475 §3.1.2.2: the body is shorter than Content-Length; rsip ignores Content-Length"),
    ("ncl", "RFC 4475 §3.1.2.3: a negative Content-Length; rsip ignores Content-Length"),
    ("quotbal", "RFC 4475 §3.1.2.6: an unterminated quoted string in To; rsip reads To only when asked"),
    (
        "ltgtruri",
        "RFC 4475 §3.1.2.7: a Request-URI in angle brackets; rsip takes the brackets for a part of it",
    ),
    ("baddate", "RFC 4475 §3.1.2.12: a Date that is not GMT; rsip does not read Date"),
    ("regbadct", "RFC 4475 §3.1.2.13: a Contact with `?` outside of brackets; rsip does not read Contact"),
    ("badaspec", "RFC 4475 §3.1.2.14: white space within an addr-spec; rsip trims it"),
    ("mismatch01", "RFC 4475 §3.1.2.17: CSeq names another method; rsip does not compare"),
    ("multi01", "RFC 4475 §3.3.8: repeated From, To, Call-ID and CSeq; rsip takes the first"),
    ("mcl01", "RFC 4475 §3.3.9: two Content-Lengths; rsip ignores Content-Length"),
];

fn corpus() -> Vec<(String, Vec<u8>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/torture");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let torture = paths.map(|path| {
        (path.file_stem().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap())
    });
    let base = "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK77\r\nFrom: \"Ada\" <sip:ada@example.com>;tag=88\r\nTo: <sip:bob@example.com>\r\nCall-ID: abc@192.0.2.1\r\n";
    let plain = [
        (
            "plain-options",
            format!(
                "OPTIONS sip:bob@example.com SIP/2.0\r\n{base}CSeq: 4 OPTIONS\r\nContent-Length: 0\r\n\r\n"
            ),
        ),
        (
            "plain-invite",
            format!(
                "INVITE sip:bob@example.com;transport=udp SIP/2.0\r\n{base}CSeq: 5 INVITE\r\nContact: <sip:ada@192.0.2.1:5060;ob>\r\nMax-Forwards: 70\r\nContent-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n"
            ),
        ),
        (
            "plain-ringing",
            format!(
                "SIP/2.0 180 Ringing\r\n{base}CSeq: 5 INVITE\r\nContact: <sip:bob@192.0.2.9>\r\nContent-Length: 0\r\n\r\n"
            ),
        ),
        (
            "plain-unauthorized",
            format!(
                "SIP/2.0 401 Unauthorized\r\n{base}CSeq: 5 REGISTER\r\nWWW-Authenticate: Digest realm=\"x\", nonce=\"y\"\r\nContent-Length: 0\r\n\r\n"
            ),
        ),
        (
            "plain-bye",
            format!(
                "BYE sip:bob@192.0.2.9 SIP/2.0\r\n{base}CSeq: 6 BYE\r\nReason: Q.850;cause=16\r\nContent-Length: 0\r\n\r\n"
            ),
        ),
    ];
    torture.chain(plain.into_iter().map(|(name, text)| (name.to_owned(), text.into_bytes()))).collect()
}

/// Call-ID, CSeq number and method, tag of From, method or status: as rsip reads them; `None` when it does not.
fn by_rsip(bytes: &[u8]) -> Option<(String, u32, String, String)> {
    let message = rsip::SipMessage::try_from(bytes).ok()?;
    let call_id = message.call_id_header().ok()?.value().to_owned();
    let cseq = message.cseq_header().ok()?.typed_cseq()?;
    let tag = message.from_header().ok()?.tag().ok()??.value().to_owned();
    message.via_header().ok()?;
    message.to_header().ok()?;
    let kind = match &message {
        rsip::SipMessage::Request(request) => request.method.to_string(),
        rsip::SipMessage::Response(response) => response.status_code.code().to_string(),
    };
    Some((call_id, cseq.0, tag, kind))
}

trait CSeqOf {
    fn typed_cseq(&self) -> Option<(u32, String)>;
}

impl CSeqOf for rsip::headers::CSeq {
    fn typed_cseq(&self) -> Option<(u32, String)> {
        Some((self.seq().ok()?, self.method().ok()?.to_string()))
    }
}

#[test]
fn what_rsip_accepts_we_accept_and_agree_on() {
    let mut compared = 0;
    let mut differences = Vec::new();
    for (name, bytes) in corpus() {
        let Some(theirs) = by_rsip(&bytes) else { continue };
        let listed = DISAGREEMENTS.iter().any(|(known, reason)| *known == name && !reason.is_empty());
        match Message::parse(&bytes) {
            Ok(ours) => {
                compared += 1;
                let kind = ours
                    .method()
                    .map_or_else(|| ours.status().unwrap().to_string(), |method| method.to_string());
                let ours = (
                    ours.call_id().into_owned(),
                    ours.cseq().unwrap().number,
                    ours.from_tag().unwrap_or_default(),
                    kind,
                );
                if ours != theirs {
                    differences.push(format!("{name}: {ours:?} against {theirs:?}"));
                }
                assert!(!listed, "{name} is listed, yet there is no disagreement");
            }
            Err(_) if listed => {}
            Err(error) => differences.push(format!("{name}: refused by us: {error}")),
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
    assert!(compared >= 8, "only {compared} messages were compared");
}
