//! Descriptions in the style of real equipment, as offers to us: what we take and what we answer.

use std::net::SocketAddr;

use super::*;

struct Row {
    who: &'static str,
    offer: &'static str,
    remote: &'static str,
    codec: (Codec, u8),
    event: Option<u8>,
    direction: Direction,
    ptime_ms: u32,
    /// The m= lines of our answer.
    answered: &'static [&'static str],
}

const ROWS: &[Row] = &[
    Row {
        who: "an IOS gateway",
        offer: "v=0\r\no=CiscoSystemsSIP-GW-UserAgent 4628 9483 IN IP4 198.51.100.1\r\ns=SIP Call\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\nm=audio 16490 RTP/AVP 18 8 0 101\r\nc=IN IP4 198.51.100.1\r\na=rtpmap:18 G729/8000\r\na=fmtp:18 annexb=no\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\n",
        remote: "198.51.100.1:16490",
        codec: (Codec::Pcma, 8),
        event: Some(101),
        direction: Direction::SendRecv,
        ptime_ms: 20,
        answered: &["m=audio 4000 RTP/AVP 8 101"],
    },
    Row {
        who: "Asterisk with a refused video stream",
        offer: "v=0\r\no=- 1821083456 1821083456 IN IP4 198.51.100.2\r\ns=Asterisk\r\nc=IN IP4 198.51.100.2\r\nt=0 0\r\nm=audio 18250 RTP/AVP 8 0 3 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:3 GSM/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=maxptime:150\r\na=sendrecv\r\na=rtcp-mux\r\nm=video 0 RTP/AVP 99\r\n",
        remote: "198.51.100.2:18250",
        codec: (Codec::Pcma, 8),
        event: Some(101),
        direction: Direction::SendRecv,
        ptime_ms: 20,
        answered: &["m=audio 4000 RTP/AVP 8 101", "m=video 0 RTP/AVP 99"],
    },
    Row {
        who: "FreeSWITCH on hold",
        offer: "v=0\r\no=FreeSWITCH 1700000001 1700000002 IN IP4 198.51.100.3\r\ns=FreeSWITCH\r\nc=IN IP4 198.51.100.3\r\nt=0 0\r\nm=audio 17432 RTP/AVP 9 0 8 101 13\r\na=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=rtpmap:13 CN/8000\r\na=silenceSupp:off - - - -\r\na=rtcp:17433 IN IP4 198.51.100.3\r\na=ptime:30\r\na=sendonly\r\n",
        remote: "198.51.100.3:17432",
        codec: (Codec::Pcmu, 0),
        event: Some(101),
        direction: Direction::RecvOnly,
        ptime_ms: 30,
        answered: &["m=audio 4000 RTP/AVP 0 101"],
    },
    Row {
        who: "a session border controller before Teams, SRTP or not",
        offer: "v=0\r\no=SBC 1138420117 1447320283 IN IP4 198.51.100.4\r\ns=-\r\nc=IN IP4 198.51.100.4\r\nb=CT:10000000\r\nt=0 0\r\na=ice-lite\r\na=x-devicecaps:audio:send,recv;video:send,recv\r\nm=audio 6000 RTP/SAVP 0 8 101 13\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA|2^31\r\na=rtpmap:101 telephone-event/8000\r\nm=audio 6020 RTP/AVP 0 8 101 13\r\na=label:main-audio\r\na=mid:1\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=rtcp-mux\r\na=candidate:1 1 UDP 2130706431 198.51.100.4 6020 typ host\r\na=ptime:20\r\na=sendrecv\r\n",
        remote: "198.51.100.4:6020",
        codec: (Codec::Pcmu, 0),
        event: Some(101),
        direction: Direction::SendRecv,
        ptime_ms: 20,
        answered: &["m=audio 0 RTP/SAVP 0 8 101 13", "m=audio 4000 RTP/AVP 0 101"],
    },
    Row {
        who: "a browser's gateway: a bundle, three telephone-events, our codec last",
        offer: "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=msid-semantic: WMS\r\nm=audio 50000 RTP/AVPF 111 9 0 110 126\r\nc=IN IP4 198.51.100.5\r\na=mid:0\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:110 telephone-event/48000\r\na=rtpmap:126 telephone-event/8000\r\nm=video 50000 RTP/AVPF 96\r\na=mid:1\r\na=bundle-only\r\n",
        remote: "198.51.100.5:50000",
        codec: (Codec::Pcmu, 0),
        event: Some(126),
        direction: Direction::SendRecv,
        ptime_ms: 20,
        answered: &["m=audio 4000 RTP/AVPF 0 126", "m=video 0 RTP/AVPF 96"],
    },
    Row {
        who: "a door phone that cannot write",
        offer: "v=0 \no=door 99999999999999999999999 1 IN IP4 \ns=\u{e9}\nc=IN  IP4   198.51.100.6 \nc=IN IP4 198.51.100.7\nt=now\nb=AS\nm=audio  5004/1   RTP/AVP  0   101 \na= rtpmap:101  TELEPHONE-EVENT/8000\na=rtpmap:0\tpcmu/8000/1\na=PTIME: 20 \n\n\0",
        remote: "198.51.100.6:5004",
        codec: (Codec::Pcmu, 0),
        event: Some(101),
        direction: Direction::SendRecv,
        ptime_ms: 20,
        answered: &["m=audio 4000 RTP/AVP 0 101"],
    },
    Row {
        who: "a phone on IPv6 whose packets must be short",
        offer: "v=0\r\no=- 1 1 IN IP6 2001:db8::6\r\ns=-\r\nc=IN IP6 [2001:db8::6]\r\nt=0 0\r\nm=audio 5006 RTP/AVP 97 0\r\na=rtpmap:97 PCMA/8000\r\na=ptime:40\r\na=maxptime:20\r\n",
        remote: "[2001:db8::6]:5006",
        codec: (Codec::Pcma, 97),
        event: None,
        direction: Direction::SendRecv,
        ptime_ms: 20,
        answered: &["m=audio 4000 RTP/AVP 97"],
    },
    Row {
        who: "an old phone on hold, and a fax stream",
        offer: "v=0\r\no=- 1 2 IN IP4 198.51.100.8\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=audio 5008 RTP/AVP 8\r\nm=image 5010 udptl t38\r\nc=IN IP4 198.51.100.8\r\na=T38FaxVersion:0\r\n",
        remote: "0.0.0.0:5008",
        codec: (Codec::Pcma, 8),
        event: None,
        direction: Direction::RecvOnly,
        ptime_ms: 20,
        answered: &["m=audio 4000 RTP/AVP 8", "m=image 0 udptl t38"],
    },
    Row {
        who: "both sides on hold",
        offer: "v=0\r\no=- 1 2 IN IP4 198.51.100.9\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=inactive\r\nm=audio 5008 RTP/AVP 0\r\n",
        remote: "0.0.0.0:5008",
        codec: (Codec::Pcmu, 0),
        event: None,
        direction: Direction::Inactive,
        ptime_ms: 20,
        answered: &["m=audio 4000 RTP/AVP 0"],
    },
];

#[test]
fn offers_of_equipment() {
    let local: SocketAddr = "192.0.2.10:4000".parse().unwrap();
    let origin = SessionOrigin { id: 7, version: 1 };
    for row in ROWS {
        // One row has a byte of ISO 8859-1, which no text in UTF-8 can hold.
        let bytes: Vec<u8> = row.offer.chars().map(|c| c as u8).collect();
        let mut exchange = Exchange::new(MediaPolicy::default(), origin, local);
        let (text, got) = exchange
            .answer(&bytes, Direction::SendRecv)
            .unwrap_or_else(|error| panic!("{}: {error}", row.who));
        assert_eq!(got.remote, row.remote.parse().unwrap(), "{}", row.who);
        assert_eq!((got.codec, got.payload_type), row.codec, "{}", row.who);
        assert_eq!(got.telephone_event, row.event, "{}", row.who);
        assert_eq!((got.receive_payload_type, got.receive_telephone_event), (row.codec.1, row.event));
        assert_eq!((got.direction, got.ptime_ms), (row.direction, row.ptime_ms), "{}", row.who);
        let text = String::from_utf8(text).unwrap();
        let streams: Vec<&str> = text.lines().filter(|line| line.starts_with("m=")).collect();
        assert_eq!(streams, row.answered, "{}", row.who);
        for never in ["rtcp-mux", "BUNDLE", "candidate", "crypto"] {
            assert!(!text.contains(never), "{}: {never} in {text}", row.who);
        }
        assert!(text.contains(&format!("a={}\r\n", row.direction.as_str())), "{}: {text}", row.who);
        // The same from the function without memory.
        let (plain, again) =
            answer(&bytes, &MediaPolicy::default(), origin, local, Direction::SendRecv).unwrap();
        assert_eq!((String::from_utf8(plain).unwrap(), again), (text, got), "{}", row.who);
    }
}

#[test]
fn each_clock_rate_has_its_own_telephone_event() {
    let rates = [16_000, 8000, 8000, 48_000, 16_000];
    let events = offer_answer::events_of(rates.into_iter(), 101);
    assert_eq!(events, [(16_000, 101), (8000, 102), (48_000, 103)]);
}

#[test]
fn what_has_no_version_is_no_description() {
    for text in
        ["", "hello", "m=audio 1 RTP/AVP 0\r\nc=IN IP4 192.0.2.1\r\n", "v=1\r\nm=audio 1 RTP/AVP 0\r\n"]
    {
        let refused = answer(
            text.as_bytes(),
            &MediaPolicy::default(),
            SessionOrigin { id: 1, version: 1 },
            "192.0.2.10:4000".parse().unwrap(),
            Direction::SendRecv,
        );
        assert!(matches!(refused, Err(SdpError::Malformed(_))), "{text:?}: {refused:?}");
    }
}

#[test]
fn an_offer_is_refused_stream_by_stream() {
    let offer = "v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\ns=-\r\nc=IN IP4 1.1.1.1\r\nt=0 0\r\nm=audio 5 RTP/AVP 18\r\nm=video 7 RTP/AVP 31\r\n";
    let text = String::from_utf8(refuse(offer.as_bytes()).unwrap()).unwrap();
    let streams: Vec<&str> = text.lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(streams, ["m=audio 0 RTP/AVP 18", "m=video 0 RTP/AVP 31"]);
}
