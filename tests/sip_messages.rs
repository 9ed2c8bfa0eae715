//! Properties of the message layer.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests begin at some time, read their data and may panic"
)]

use callahead::sdp::offer_answer::{Direction, MediaPolicy, SessionOrigin, accept, answer};
use callahead::sip::endpoint::{Accept, Endpoint, EndpointConfig};
use callahead::sip::message::{Message, Uri};
use proptest::prelude::*;

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
            max_sessions: 10,
        };
        let address = "192.0.2.1:5060".parse().unwrap();
        let source = callahead::sip::Hop::udp(address);
        let _ = Endpoint::new(config, 1).handle_message(std::time::Instant::now(), source, address, &bytes);
    }
}
