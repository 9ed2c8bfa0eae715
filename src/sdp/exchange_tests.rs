//! Several offers and answers in one call.

use super::*;

fn exchange() -> Exchange {
    let origin = SessionOrigin { id: 7, version: 1 };
    Exchange::new(MediaPolicy::default(), origin, "192.0.2.10:4000".parse().unwrap())
}

fn theirs(media: &str) -> Vec<u8> {
    format!("v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\n{media}")
        .into_bytes()
}

/// o='s version, the m= lines and the direction.
fn gist(text: &[u8]) -> (String, Vec<String>, String) {
    let text = std::str::from_utf8(text).unwrap();
    let lines = |start: &'static str| text.lines().filter(move |line| line.starts_with(start));
    let version = lines("o=").next().unwrap().split(' ').nth(2).unwrap().to_owned();
    let ways = ["a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"];
    let direction = text.lines().find(|line| ways.contains(line)).unwrap_or_default().to_owned();
    (version, lines("m=").map(str::to_owned).collect(), direction)
}

#[test]
fn the_version_grows_with_each_change_only() {
    let mut exchange = exchange();
    assert_eq!(exchange.offer(Direction::SendRecv), {
        let origin = SessionOrigin { id: 7, version: 1 };
        offer(exchange.policy(), origin, "192.0.2.10:4000".parse().unwrap(), Direction::SendRecv)
    });
    let versions: Vec<String> =
        [Direction::SendRecv, Direction::SendOnly, Direction::SendOnly, Direction::SendRecv]
            .map(|direction| gist(&exchange.offer(direction)).0)
            .into();
    assert_eq!(versions, ["1", "2", "2", "3"]);
    let hold = theirs("m=audio 5000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=sendonly\r\n");
    let held = exchange.answer(&hold, Direction::SendRecv).unwrap().0;
    assert_eq!(gist(&held), ("4".into(), vec!["m=audio 4000 RTP/AVP 0 101".into()], "a=recvonly".into()));
    assert_eq!(exchange.answer(&hold, Direction::SendRecv).unwrap().0, held, "nothing changed");
}

#[test]
fn streams_keep_their_place_in_our_own_offers() {
    let mut exchange = exchange();
    exchange.offer(Direction::SendRecv);
    let offer = theirs("m=video 6000 RTP/AVP 31\r\nm=audio 5000 RTP/AVP 8\r\nm=image 7000 udptl t38\r\n");
    exchange.answer(&offer, Direction::SendRecv).unwrap();
    let expected = ["m=video 0 RTP/AVP 31", "m=audio 4000 RTP/AVP 0 8 101", "m=image 0 udptl t38"];
    let ours = gist(&exchange.offer(Direction::SendOnly));
    assert_eq!((ours.1, ours.2), (expected.map(str::to_owned).to_vec(), "a=sendonly".into()));
    // The answer is read in the same place, and in the first where the refused were left out.
    for answer in [
        "m=video 0 RTP/AVP 31\r\nm=audio 5002 RTP/AVP 0\r\na=recvonly\r\nm=image 0 udptl t38\r\n",
        "m=audio 5002 RTP/AVP 0\r\na=recvonly\r\n",
    ] {
        let agreed = exchange.accept(&theirs(answer)).unwrap();
        assert_eq!((agreed.remote.port(), agreed.direction), (5002, Direction::SendOnly));
    }
    let refused = theirs("m=video 0 RTP/AVP 31\r\nm=audio 0 RTP/AVP 0\r\nm=image 0 udptl t38\r\n");
    assert_eq!(exchange.accept(&refused), Err(SdpError::Refused));
}

#[test]
fn the_stream_in_use_stays_when_another_is_offered_before_it_or_beside_it() {
    let mut exchange = exchange();
    exchange
        .answer(&theirs("m=image 0 udptl t38\r\nm=audio 5000 RTP/AVP 0\r\n"), Direction::SendRecv)
        .unwrap();
    let two = theirs("m=audio 5100 RTP/AVP 0\r\nm=audio 5000 RTP/AVP 0\r\n");
    let (text, agreed) = exchange.answer(&two, Direction::SendRecv).unwrap();
    assert_eq!(agreed.remote.port(), 5000);
    assert_eq!(gist(&text).1, ["m=audio 0 RTP/AVP 0", "m=audio 4000 RTP/AVP 0"]);
}

#[test]
fn payload_types_keep_their_meaning() {
    let mut exchange = exchange();
    // 101 is theirs for something else, and PCMA has a number of its own.
    let offer = theirs("m=audio 5000 RTP/AVP 101 97\r\na=rtpmap:101 speex/8000\r\na=rtpmap:97 PCMA/8000\r\n");
    let (_, agreed) = exchange.answer(&offer, Direction::SendRecv).unwrap();
    assert_eq!((agreed.payload_type, agreed.telephone_event), (97, None));
    let ours = exchange.offer(Direction::SendRecv);
    let text = String::from_utf8(ours).unwrap();
    assert!(text.contains("m=audio 4000 RTP/AVP 0 97 96\r\n"), "{text}");
    assert!(
        text.contains("a=rtpmap:97 PCMA/8000\r\n") && text.contains("a=rtpmap:96 telephone-event/8000\r\n")
    );
}

#[test]
fn an_answer_may_number_payloads_its_own_way() {
    let mut exchange = exchange();
    exchange.offer(Direction::SendRecv);
    let answer = theirs(
        "m=audio 5000 RTP/AVP 118 99\r\na=rtpmap:118 PCMA/8000\r\na=rtpmap:99 telephone-event/8000\r\n",
    );
    let agreed = exchange.accept(&answer).unwrap();
    // We send with their numbers; they send with ours (RFC 3264 §6.1).
    assert_eq!((agreed.payload_type, agreed.telephone_event), (118, Some(99)));
    assert_eq!((agreed.receive_payload_type, agreed.receive_telephone_event), (8, Some(101)));
}

#[test]
fn a_bad_offer_changes_nothing() {
    let mut exchange = exchange();
    let before = exchange.offer(Direction::SendRecv);
    for bad in ["m=audio 5000 RTP/AVP 18\r\n", "m=video 5000 RTP/AVP 31\r\n", "m=audio 5000 RTP/SAVP 0\r\n"] {
        assert!(exchange.answer(&theirs(bad), Direction::SendOnly).is_err());
    }
    assert_eq!(exchange.offer(Direction::SendRecv), before);
}

#[test]
fn a_codec_may_change_in_the_call() {
    let mut exchange = exchange();
    exchange.offer(Direction::SendRecv);
    let first = exchange.accept(&theirs("m=audio 5000 RTP/AVP 0\r\n")).unwrap();
    let (text, second) =
        exchange.answer(&theirs("m=audio 5004 RTP/AVP 8 0\r\n"), Direction::SendRecv).unwrap();
    assert_eq!((first.codec, second.codec, second.remote.port()), (Codec::Pcmu, Codec::Pcma, 5004));
    assert_eq!(gist(&text).0, "2");
}
