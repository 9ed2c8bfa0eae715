//! Tables of offers and answers, among them what real equipment sends.

use std::net::SocketAddr;

use super::offer_answer::*;
use super::{MAX_MEDIA, MAX_SDP};

fn local() -> SocketAddr {
    "192.0.2.10:4000".parse().unwrap()
}

const ORIGIN: SessionOrigin = SessionOrigin { id: 7, version: 1 };

fn policy(codecs: &[Codec]) -> MediaPolicy {
    MediaPolicy { codecs: codecs.to_vec(), ..MediaPolicy::default() }
}

fn sdp(media: &str) -> Vec<u8> {
    format!("v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\n{media}")
        .into_bytes()
}

fn reply(offer: &[u8]) -> (String, Negotiated) {
    let (text, negotiated) =
        answer(offer, &MediaPolicy::default(), ORIGIN, local(), Direction::SendRecv).unwrap();
    (String::from_utf8(text).unwrap(), negotiated)
}

#[test]
fn our_offer_says_what_we_speak() {
    let text =
        String::from_utf8(offer(&MediaPolicy::default(), ORIGIN, local(), Direction::SendRecv)).unwrap();
    for line in [
        "o=- 7 1 IN IP4 192.0.2.10",
        "c=IN IP4 192.0.2.10",
        "m=audio 4000 RTP/AVP 0 8 101",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-16",
        "a=ptime:20",
        "a=sendrecv",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in {text}");
    }
    let six =
        offer(&MediaPolicy::default(), ORIGIN, "[2001:db8::1]:4000".parse().unwrap(), Direction::SendRecv);
    assert!(String::from_utf8(six).unwrap().contains("c=IN IP6 2001:db8::1\r\n"));
}

#[test]
fn our_own_offer_is_answered_and_accepted() {
    let ours = offer(&MediaPolicy::default(), ORIGIN, local(), Direction::SendRecv);
    let other = "198.51.100.9:9000".parse().unwrap();
    let (text, theirs) = answer(&ours, &policy(&[Codec::Pcma]), ORIGIN, other, Direction::SendRecv).unwrap();
    assert_eq!((theirs.codec, theirs.remote), (Codec::Pcma, local()));
    let agreed = accept(&text, &MediaPolicy::default(), Direction::SendRecv).unwrap();
    let expected = Negotiated {
        remote: other,
        codec: Codec::Pcma,
        payload_type: 8,
        telephone_event: Some(101),
        receive_payload_type: 8,
        receive_telephone_event: Some(101),
        direction: Direction::SendRecv,
        ptime_ms: 20,
    };
    assert_eq!(agreed, expected);
}

/// Media lines of an answer to us, and what comes of them: codec, payload type, telephone-event, direction.
#[test]
fn answers_of_real_equipment() {
    use Direction::*;
    type Row = (&'static str, Codec, u8, Option<u8>, Direction);
    let table: [Row; 10] = [
        ("m=audio 5000 RTP/AVP 0\r\n", Codec::Pcmu, 0, None, SendRecv),
        (
            "m=audio 5000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n",
            Codec::Pcma,
            8,
            Some(101),
            SendRecv,
        ),
        (
            "m=audio 5000 RTP/AVP 0 96\r\na=rtpmap:96 TELEPHONE-EVENT/8000\r\na=fmtp:96 0-15\r\n",
            Codec::Pcmu,
            0,
            Some(96),
            SendRecv,
        ),
        ("m=audio 5000 RTP/AVP 18 8\r\na=rtpmap:18 G729/8000\r\n", Codec::Pcma, 8, None, SendRecv),
        ("m=audio 5000 RTP/AVP 97\r\na=rtpmap:97 pcmu/8000/1\r\n", Codec::Pcmu, 97, None, SendRecv),
        ("m=audio 5000 RTP/AVP 0\r\na=sendonly\r\n", Codec::Pcmu, 0, None, RecvOnly),
        ("m=audio 5000 RTP/AVP 0\r\na=recvonly\r\n", Codec::Pcmu, 0, None, SendOnly),
        ("m=audio 5000 RTP/AVP 0\r\na=inactive\r\n", Codec::Pcmu, 0, None, Inactive),
        ("m=audio 5000 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\n", Codec::Pcmu, 0, None, RecvOnly),
        (
            "m=audio 5000 RTP/AVP 0 101\na=rtpmap:101 telephone-event/16000\na=silenceSupp:off - - - -\n",
            Codec::Pcmu,
            0,
            None,
            SendRecv,
        ),
    ];
    for (media, codec, payload_type, event, direction) in table {
        let agreed =
            accept(&sdp(media), &MediaPolicy::default(), SendRecv).unwrap_or_else(|e| panic!("{media}: {e}"));
        let got = (agreed.codec, agreed.payload_type, agreed.telephone_event, agreed.direction);
        assert_eq!(got, (codec, payload_type, event, direction), "{media}");
    }
}

#[test]
fn the_media_level_address_wins() {
    let agreed = accept(
        &sdp("m=audio 5000 RTP/AVP 0\r\nc=IN IP4 203.0.113.7\r\n"),
        &MediaPolicy::default(),
        Direction::SendRecv,
    );
    assert_eq!(agreed.unwrap().remote, "203.0.113.7:5000".parse().unwrap());
    let text = b"v=0\r\no=- 1 1 IN IP6 ::1\r\ns=-\r\nt=0 0\r\nm=audio 5000 RTP/AVP 0\r\nc=IN IP6 2001:db8::5\r\na=ptime:30\r\n";
    let agreed = accept(text, &MediaPolicy::default(), Direction::SendRecv).unwrap();
    assert_eq!((agreed.remote, agreed.ptime_ms), ("[2001:db8::5]:5000".parse().unwrap(), 30));
}

#[test]
fn what_cannot_be_used_is_named() {
    let refuse = |media: &str| accept(&sdp(media), &MediaPolicy::default(), Direction::SendRecv).unwrap_err();
    assert_eq!(refuse("m=audio 0 RTP/AVP 0\r\n"), SdpError::Refused);
    assert_eq!(refuse("m=audio 5000 RTP/AVP 18\r\na=rtpmap:18 G729/8000\r\n"), SdpError::NoCodec);
    assert_eq!(refuse("m=audio 5000 RTP/SAVP 0\r\n"), SdpError::NoAudio);
    assert_eq!(refuse("m=video 5000 RTP/AVP 31\r\n"), SdpError::NoAudio);
    assert_eq!(refuse("m=audio 5000 RTP/AVP 0\r\nc=IN IP4 host.example.com\r\n"), SdpError::NoAddress);
    assert_eq!(refuse("m=audio 5000 RTP/AVP 0\r\nc=IN IP4 224.1.2.3/127\r\n"), SdpError::NoAddress);
    assert_eq!(refuse(&"m=audio 5000 RTP/AVP 0\r\n".repeat(MAX_MEDIA + 1)), SdpError::TooLarge);
    assert_eq!(
        accept(&vec![b'a'; MAX_SDP + 1], &MediaPolicy::default(), Direction::SendRecv),
        Err(SdpError::TooLarge)
    );
    assert!(matches!(
        accept(b"hello", &MediaPolicy::default(), Direction::SendRecv),
        Err(SdpError::Malformed(_))
    ));
    let missing = b"v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\ns=-\r\nt=0 0\r\nm=audio 5000 RTP/AVP 0\r\n";
    assert_eq!(accept(missing, &MediaPolicy::default(), Direction::SendRecv), Err(SdpError::NoAddress));
}

#[test]
fn other_streams_are_refused_in_their_place() {
    let (text, _) = reply(&sdp(
        "m=video 6000 RTP/AVP 31\r\na=rtpmap:31 H261/90000\r\nm=audio 5000 RTP/AVP 8 0\r\nm=audio 5002 RTP/AVP 0\r\nm=image 7000 udptl t38\r\n",
    ));
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("m=")).collect();
    let expected =
        ["m=video 0 RTP/AVP 31", "m=audio 4000 RTP/AVP 8", "m=audio 0 RTP/AVP 0", "m=image 0 udptl t38"];
    assert_eq!(lines, expected);
}

#[test]
fn hold_is_answered_with_its_mirror() {
    for (offered, ours) in [
        ("sendonly", "recvonly"),
        ("recvonly", "sendonly"),
        ("inactive", "inactive"),
        ("sendrecv", "sendrecv"),
    ] {
        let (text, negotiated) = reply(&sdp(&format!("m=audio 5000 RTP/AVP 0\r\na={offered}\r\n")));
        assert!(text.contains(&format!("a={ours}\r\n")), "{offered}: {text}");
        assert_eq!(negotiated.direction.as_str(), ours);
    }
    // A direction at session level counts for the stream.
    let held = b"v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\ns=-\r\nc=IN IP4 1.1.1.1\r\nt=0 0\r\na=sendonly\r\nm=audio 5 RTP/AVP 0\r\n";
    assert_eq!(reply(held).1.direction, Direction::RecvOnly);
}

#[test]
fn the_offerers_payload_types_are_kept() {
    let (text, negotiated) = reply(&sdp(
        "m=audio 5000 RTP/AVP 97 96\r\na=rtpmap:97 PCMA/8000\r\na=rtpmap:96 telephone-event/8000\r\n",
    ));
    assert!(text.contains("m=audio 4000 RTP/AVP 97 96\r\n"), "{text}");
    assert!(
        text.contains("a=rtpmap:97 PCMA/8000\r\n") && text.contains("a=rtpmap:96 telephone-event/8000\r\n")
    );
    assert_eq!((negotiated.payload_type, negotiated.telephone_event), (97, Some(96)));
}

/// Found by fuzzing: a protocol of NUL bytes left a hole in our answer, and nobody could read it.
#[test]
fn a_refused_stream_of_control_characters_leaves_a_readable_answer() {
    let offer = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
        m=audio 49170 RTP/AVP 8\r\nm=\x01 491 \0\0\0 \x02\r\nm=video 5 \0 31\r\n";
    let origin = SessionOrigin { id: 1, version: 1 };
    let local = "192.0.2.9:4000".parse().unwrap();
    let (ours, _) = answer(offer, &MediaPolicy::default(), origin, local, Direction::SendRecv).unwrap();
    accept(&ours, &MediaPolicy::default(), Direction::SendRecv).unwrap();
    let text = String::from_utf8(ours).unwrap();
    assert!(text.ends_with("m=audio 0 RTP/AVP 0\r\nm=video 0 RTP/AVP 31\r\n"), "{text}");
}
