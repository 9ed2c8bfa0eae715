//! Made timelines in, packets, events and taps out; time is made as well.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::audio::vad::tests::syllables;
use crate::audio::{Codec, FRAME, tones};
use crate::media::Side;
use crate::rtp::packet::{self, Header};
use crate::rtp::telephone_event;

/// (side, position, codec, payload)
type Tapped = (Side, u64, Codec, Vec<u8>);

#[derive(Clone, Default)]
struct Collect(Arc<Mutex<Vec<Tapped>>>);

impl Tap for Collect {
    fn frame(&mut self, side: Side, position: u64, codec: Codec, payload: &[u8]) {
        self.0.lock().unwrap().push((side, position, codec, payload.to_vec()));
    }

    fn clock(&mut self, _position: u64) {}
}

impl Collect {
    fn positions(&self, side: Side) -> Vec<u64> {
        let tapped = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tapped.iter().filter(|frame| frame.0 == side).map(|frame| frame.1).collect()
    }

    fn bytes(&self, side: Side) -> Vec<u8> {
        let tapped = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tapped.iter().filter(|frame| frame.0 == side).flat_map(|frame| frame.3.clone()).collect()
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn connection(remote: SocketAddr) -> Connection {
    let codec = Codec::Pcmu;
    Connection {
        remote,
        codec,
        payload_type: 0,
        telephone_event: Some(101),
        receive_payload_type: 0,
        receive_telephone_event: Some(101),
        send: true,
        receive: true,
    }
}

/// A stream under test with a peer made of single packets.
struct Bench {
    start: Instant,
    stream: Stream,
    tap: Collect,
}

impl Bench {
    fn new() -> Self {
        let start = Instant::now();
        let mut stream = Stream::new(StreamConfig::default(), start);
        let tap = Collect::default();
        stream.connect(start, connection(address(4000)));
        stream.start_recording(start, Box::new(tap.clone()));
        Self { start, stream, tap }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn receive(&mut self, ms: u64, source: u16, header: Header, payload: &[u8]) {
        let mut buffer = [0; 2048];
        let length = packet::write(&header, payload, &mut buffer).unwrap();
        self.stream.handle_packet(self.at(ms), address(source), &buffer[..length]);
    }

    /// A 20 ms packet of one byte repeated; its timestamp follows its number.
    fn audio(&mut self, ms: u64, ssrc: u32, number: u16) {
        let header = Header { sequence: number, timestamp: u32::from(number) * 160, ssrc, ..AUDIO };
        self.receive(ms, 4000, header, &[number as u8; FRAME]);
    }

    fn events(&mut self) -> Vec<StreamEvent> {
        std::iter::from_fn(|| self.stream.poll_event()).collect()
    }
}

const AUDIO: Header = Header { payload_type: 0, marker: false, sequence: 0, timestamp: 0, ssrc: 1 };

#[test]
fn order_loss_and_duplicates() {
    let mut bench = Bench::new();
    for (ms, number) in [(0, 1), (20, 2), (40, 4), (41, 3), (42, 3), (60, 5), (100, 7), (120, 8), (181, 9)] {
        bench.audio(ms, 1, number);
    }
    assert_eq!(bench.tap.positions(Side::Received), [0, 160, 320, 480, 640, 960, 1120, 1280]);
    assert_eq!(bench.tap.bytes(Side::Received).chunks(FRAME).map(|frame| frame[0]).max(), Some(9));
    let statistics = bench.stream.statistics();
    assert_eq!((statistics.received, statistics.duplicates, statistics.late), (9, 1, 0));
    bench.audio(200, 1, 6);
    assert_eq!(bench.stream.statistics().late, 1);
    assert_eq!(bench.stream.statistics().lost, 0, "it came, though too late");
}

#[test]
fn a_held_packet_is_released_by_the_clock() {
    let mut bench = Bench::new();
    bench.audio(0, 1, 1);
    bench.audio(20, 1, 3);
    bench.stream.tick(bench.at(80));
    assert_eq!(bench.tap.positions(Side::Received).len(), 1);
    bench.stream.tick(bench.at(100));
    assert_eq!(bench.tap.positions(Side::Received), [0, 320]);
    assert_eq!(bench.stream.statistics().lost, 1);
}

#[test]
fn another_source_takes_over_without_flapping() {
    let mut bench = Bench::new();
    bench.audio(0, 1, 100);
    bench.audio(20, 1, 101);
    bench.audio(40, 2, 9000);
    bench.audio(45, 1, 102);
    bench.audio(60, 2, 9001);
    assert_eq!(bench.tap.positions(Side::Received), [0, 160, 320, 480]);
    bench.audio(400, 1, 103);
    assert_eq!(bench.tap.positions(Side::Received).last(), Some(&3200), "the second has fallen silent");
    let statistics = bench.stream.statistics();
    assert_eq!((statistics.source_changes, statistics.discarded, statistics.lost), (2, 1, 0));
}

#[test]
fn a_restarted_sender_costs_one_packet() {
    let mut bench = Bench::new();
    bench.audio(0, 1, 1);
    for (ms, number) in [(20, 30_000), (40, 30_001), (60, 30_002)] {
        bench.audio(ms, 1, number);
    }
    assert_eq!(bench.tap.positions(Side::Received), [0, 320, 480]);
    assert_eq!(bench.stream.statistics().discarded, 1);
}

#[test]
fn what_is_not_the_peers_is_counted() {
    let mut bench = Bench::new();
    let mut early = Stream::new(StreamConfig::default(), bench.start);
    early.handle_packet(bench.start, address(4000), &[0x80; 12]);
    assert_eq!(early.statistics().early, 1);
    bench.stream.handle_packet(bench.start, address(4000), b"OPTIONS sip:a SIP/2.0");
    bench.stream.handle_packet(bench.start, address(4000), &[0x80, 200, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0]);
    bench.receive(0, 4000, Header { payload_type: 96, ..AUDIO }, &[0; 160]);
    assert_eq!(bench.events(), [], "none of these is the peer's first packet");
    bench.audio(0, 1, 1);
    bench.receive(10, 4002, Header { sequence: 2, ssrc: 7, ..AUDIO }, &[0; 160]);
    bench.receive(20, 4000, Header { payload_type: 101, sequence: 2, ..AUDIO }, &[1, 2]);
    bench.receive(20, 4000, Header { sequence: 3, ..AUDIO }, &[]);
    let statistics = bench.stream.statistics();
    assert_eq!((statistics.malformed, statistics.rtcp, statistics.unexpected), (2, 1, 1));
    assert_eq!((statistics.strangers, statistics.received), (1, 3));
    assert_eq!(bench.tap.positions(Side::Received), [0]);
    assert_eq!(bench.events(), [StreamEvent::FirstPacket { source: address(4000) }]);
}

#[test]
fn either_codec_and_any_packet_length_are_taken() {
    let mut bench = Bench::new();
    bench.receive(0, 4000, Header { payload_type: 8, ..AUDIO }, &[0xd5; 240]);
    bench.receive(30, 4000, Header { sequence: 1, timestamp: 240, ..AUDIO }, &[0xff; 80]);
    let tapped = bench.tap.0.lock().unwrap().clone();
    assert_eq!(tapped[0], (Side::Received, 0, Codec::Pcma, vec![0xd5; 240]));
    assert_eq!(tapped[1], (Side::Received, 240, Codec::Pcmu, vec![0xff; 80]));
}

#[test]
fn numbers_may_differ_by_way_and_may_be_mixed_up() {
    let ours = Connection {
        receive_payload_type: 97,
        receive_telephone_event: Some(98),
        ..connection(address(4000))
    };
    let of = |number| Payload::of(&ours, number);
    let (audio, event) = (Some(Payload::Audio(Codec::Pcmu)), Some(Payload::TelephoneEvent));
    // What SDP says, then the other way's numbers from equipment that mixes them up, then what nobody named.
    assert_eq!([97, 98, 0, 101, 102].map(of), [audio, event, audio, event, None]);
}

#[test]
fn digits_come_in_order_of_the_stream() {
    let mut bench = Bench::new();
    let event = |sequence, timestamp, code, end: u8| {
        (Header { payload_type: 101, sequence, timestamp, ..AUDIO }, [code, end << 7, 1, 64])
    };
    // The second digit's only packet overtakes the first digit's.
    for (ms, (header, payload)) in [
        (0, event(0, 160, 0, 0)),
        (20, event(2, 2000, 2, 1)),
        (21, event(1, 1000, 1, 1)),
        (22, event(3, 2000, 2, 1)),
    ] {
        bench.receive(ms, 4000, header, &payload);
    }
    let digits: Vec<_> = bench.events().into_iter().skip(1).collect();
    assert_eq!(digits, ['0', '1', '2'].map(StreamEvent::Digit));
}

#[test]
fn a_flood_of_digits_stays_bounded_and_keeps_our_own_events() {
    let mut bench = Bench::new();
    for i in 0..1000_u16 {
        let header = Header { payload_type: 101, sequence: i, timestamp: u32::from(i) * 4000, ..AUDIO };
        bench.receive(0, 4000, header, &[1, 0x80, 1, 64]);
    }
    bench.stream.play(7, Arc::from([0; FRAME])).unwrap();
    bench.stream.tick(bench.at(20));
    let events = bench.events();
    assert_eq!(events.len(), 129);
    assert_eq!(events.last(), Some(&StreamEvent::PlayDone { id: 7 }));
    assert_eq!(bench.stream.statistics().events_dropped, 1001 - 128);
}

#[test]
fn silence_is_reported_once_and_not_on_hold() {
    let mut bench = Bench::new();
    let timeout = |silent, heard_before| {
        [StreamEvent::RtpTimeout { silent: Duration::from_millis(silent), heard_before }]
    };
    bench.stream.tick(bench.at(19_980));
    assert_eq!(bench.events(), []);
    bench.stream.tick(bench.at(20_000));
    bench.stream.tick(bench.at(20_020));
    assert_eq!(bench.events(), timeout(20_000, false));
    bench.audio(21_000, 1, 1);
    bench.events();
    let hold = Connection { receive: false, send: false, ..connection(address(4000)) };
    bench.stream.connect(bench.at(22_000), hold);
    assert_eq!(bench.stream.tick(bench.at(90_000)), None);
    assert_eq!(bench.events(), []);
    bench.stream.connect(bench.at(91_000), connection(address(4000)));
    bench.stream.tick(bench.at(111_000));
    assert_eq!(bench.events(), timeout(20_000, true));
}

#[test]
fn clips_wait_for_a_connection_that_sends() {
    let start = Instant::now();
    let mut stream = Stream::new(StreamConfig::default(), start);
    stream.play(1, Arc::from([1000; FRAME])).unwrap();
    assert_eq!(stream.tick(start), None);
    stream.connect(start, connection(SocketAddr::from(([0, 0, 0, 0], 4000))));
    assert_eq!(stream.tick(start), None);
    assert_eq!(stream.poll_event(), None);
    stream.connect(start, connection(address(4000)));
    let sent = stream.tick(start).unwrap();
    assert_eq!(sent.destination, address(4000));
    let sent = Packet::parse(sent.bytes).unwrap();
    assert_eq!(sent.payload, [Codec::Pcmu.encode(1000); FRAME]);
    assert_eq!(sent.header, Header { marker: true, timestamp: 320, ..AUDIO_OF_ZERO });
    assert_eq!(stream.poll_event(), Some(StreamEvent::PlayDone { id: 1 }));
}

const AUDIO_OF_ZERO: Header = Header { ssrc: 0, ..AUDIO };

#[test]
fn silence_is_sent_or_not_as_configured() {
    let start = Instant::now();
    for (send_silence, packets) in [(true, 10), (false, 3)] {
        let mut stream = Stream::new(StreamConfig { send_silence, ..StreamConfig::default() }, start);
        stream.connect(start, connection(address(4000)));
        let mut sent = Vec::new();
        for i in 0..10_u64 {
            if i == 2 || i == 7 {
                stream.play(i, Arc::from(vec![500; if i == 2 { 170 } else { 160 }])).unwrap();
            }
            if let Some(transmit) = stream.tick(start + Duration::from_millis(i * 20)) {
                sent.push(Packet::parse(transmit.bytes).unwrap().header);
            }
        }
        assert_eq!(sent.len(), packets);
        let marked: Vec<u32> = sent.iter().filter(|header| header.marker).map(|h| h.timestamp).collect();
        assert_eq!(marked, if send_silence { vec![0] } else { vec![320, 1120] });
        assert!(sent.windows(2).all(|pair| pair[1].sequence == pair[0].sequence + 1));
    }
}

/// What a stream finds, in milliseconds since its start, while `samples` arrive.
fn found(samples: &[i16], ask: impl Fn(&mut Stream)) -> Vec<(&'static str, u128)> {
    let mut bench = Bench::new();
    ask(&mut bench.stream);
    for (i, frame) in samples.chunks(FRAME).enumerate() {
        let payload: Vec<u8> = frame.iter().map(|sample| Codec::Pcmu.encode(*sample)).collect();
        let header = Header { sequence: i as u16, timestamp: i as u32 * 160, ..AUDIO };
        bench.receive(i as u64 * 20, 4000, header, &payload);
    }
    let start = bench.start;
    let ms = |at: Instant| at.duration_since(start).as_millis();
    let name = |event| match event {
        StreamEvent::SpeechStarted { at } => ("speech", ms(at)),
        StreamEvent::SpeechEnded { at } => ("no speech", ms(at)),
        StreamEvent::ToneStarted { at } => ("tone", ms(at)),
        StreamEvent::ToneEnded { at } => ("no tone", ms(at)),
        other => panic!("{other:?}"),
    };
    bench.events().into_iter().skip(1).map(name).collect()
}

#[test]
fn speech_and_tones_are_found_only_when_asked() {
    let silence = vec![0; 8000];
    let speech = [&silence[..], &syllables(4), &silence].concat();
    let events = found(&speech, |stream| stream.listen(true));
    let [("speech", began), ("no speech", ended)] = events[..] else { panic!("{events:?}") };
    assert!((900..1300).contains(&began) && (1900..2500).contains(&ended), "{events:?}");
    let beep = [&silence[..], &tones::beep(), &silence].concat();
    let events = found(&beep, |stream| stream.watch_tone(Some(tones::BEEP_FREQUENCY)));
    assert_eq!(events, [("tone", 1080), ("no tone", 1380)]);
    assert_eq!(found(&[speech, beep].concat(), |_| {}), []);
}

/// Two streams that hear each other, tick by tick, without a socket.
#[test]
fn two_streams_play_record_and_press_keys() {
    let start = Instant::now();
    let (here, there) = (address(1000), address(2000));
    let mut ends = [(here, there, 65_530), (there, here, 5)].map(|(_, remote, sequence)| {
        let timestamp = u32::MAX - 1000;
        let config =
            StreamConfig { ssrc: u32::from(sequence), sequence, timestamp, ..StreamConfig::default() };
        let mut stream = Stream::new(config, start);
        stream.connect(start, connection(remote));
        let tap = Collect::default();
        stream.start_recording(start, Box::new(tap.clone()));
        (stream, tap)
    });
    let clip: Vec<i16> = tones::sine(440.0, Duration::from_millis(500), -10.0);
    ends[0].0.play(1, Arc::from(clip.as_slice())).unwrap();
    ends[1].0.play(2, Arc::from(clip.as_slice())).unwrap();
    ends[1].0.send_digits("42#").unwrap();
    let mut events = [Vec::new(), Vec::new()];
    for i in 0..200_u64 {
        let now = start + Duration::from_millis(i * 20);
        for side in [0, 1] {
            let sent = ends[side].0.tick(now).map(|transmit| transmit.bytes.to_vec());
            let source = if side == 0 { here } else { there };
            ends[1 - side].0.handle_packet(now, source, &sent.unwrap());
        }
        for side in [0, 1] {
            events[side].extend(std::iter::from_fn(|| ends[side].0.poll_event()));
        }
    }
    let encoded: Vec<u8> = clip.iter().map(|sample| Codec::Pcmu.encode(*sample)).collect();
    for (heard, said) in [(0, 1), (1, 0)] {
        assert_eq!(ends[said].1.bytes(Side::Sent), encoded);
        let at = ends[said].1.positions(Side::Sent)[0] as usize;
        // What is heard holds silence as well; the clip lies at its place on the timeline.
        let mut timeline = vec![0xff_u8; 200 * FRAME];
        for (_, position, _, payload) in
            ends[heard].1.0.lock().unwrap().iter().filter(|frame| frame.0 == Side::Received)
        {
            timeline[*position as usize..][..payload.len()].copy_from_slice(payload);
        }
        // The keys that `there` pressed delay its audio's anchor on the other end not at all.
        let offset = timeline.windows(encoded.len()).position(|window| window == encoded);
        assert!(offset.is_some_and(|offset| offset.abs_diff(at) <= 30 * FRAME), "{offset:?} {at}");
        assert_eq!(ends[heard].0.statistics().lost, 0);
    }
    let digits: Vec<_> = events[0].iter().filter(|event| matches!(event, StreamEvent::Digit(_))).collect();
    assert_eq!(digits, ['4', '2', '#'].map(StreamEvent::Digit).iter().collect::<Vec<_>>());
    assert!(events[0].contains(&StreamEvent::PlayDone { id: 1 }));
    assert_eq!(events[1][1..], [StreamEvent::DigitsSent, StreamEvent::PlayDone { id: 2 }]);
    assert_eq!(telephone_event::digit_of(11), Some('#'));
}

#[test]
fn digits_that_cannot_go_are_refused_and_hold_up_no_clip() {
    let mut bench = Bench::new();
    bench.stream.send_digits("1").unwrap();
    let without =
        Connection { telephone_event: None, receive_telephone_event: None, ..connection(address(4000)) };
    bench.stream.connect(bench.at(0), without);
    assert_eq!(bench.stream.send_digits("2"), Err(DigitError::NotNegotiated));
    bench.stream.play(5, Arc::from([0; FRAME])).unwrap();
    bench.stream.tick(bench.at(20));
    assert_eq!(bench.events(), [StreamEvent::PlayDone { id: 5 }]);
}

#[test]
fn stopping_is_immediate_and_silent() {
    let mut bench = Bench::new();
    bench.stream.play(1, Arc::from(vec![900; 1600])).unwrap();
    bench.stream.tick(bench.at(0));
    bench.stream.stop();
    let sent = bench.stream.tick(bench.at(20)).unwrap();
    assert_eq!(Packet::parse(sent.bytes).unwrap().payload, [0xff; FRAME]);
    assert_eq!(bench.events(), []);
    bench.stream.skip(3);
    let sent = bench.stream.tick(bench.at(100)).unwrap();
    assert_eq!(Packet::parse(sent.bytes).unwrap().header.timestamp, 5 * 160);
    assert_eq!(bench.stream.statistics().skipped, 3);
}

#[test]
fn a_recording_begins_where_it_is_started() {
    let mut bench = Bench::new();
    bench.audio(0, 1, 1);
    let late = Collect::default();
    bench.stream.start_recording(bench.at(1010), Box::new(late.clone()));
    bench.audio(1000, 1, 51);
    bench.audio(1020, 1, 52);
    bench.stream.tick(bench.at(1100));
    assert_eq!(late.positions(Side::Received), [0, 80]);
    assert_eq!(late.bytes(Side::Received).len(), 240, "the half frame before its start is cut off");
}

#[test]
fn a_late_tick_cuts_nothing_off_what_is_said() {
    let mut bench = Bench::new();
    bench.stream.tick(bench.at(0));
    bench.stream.tick(bench.at(20));
    let tap = Collect::default();
    bench.stream.start_recording(bench.at(57), Box::new(tap.clone()));
    bench.stream.play(1, Arc::from([700; 2 * FRAME])).unwrap();
    bench.stream.tick(bench.at(57));
    bench.stream.tick(bench.at(60));
    assert_eq!(tap.positions(Side::Sent), [0, 160]);
    assert_eq!(tap.bytes(Side::Sent).len(), 2 * FRAME);
}

proptest! {
    #[test]
    fn packets_shuffled_by_less_than_the_buffer_lose_nothing(keys in proptest::collection::vec(0..3_u16, 2..200)) {
        let mut bench = Bench::new();
        let mut order: Vec<u16> = (1..=keys.len() as u16).collect();
        order.sort_by_key(|number| number + keys[usize::from(*number) - 1]);
        bench.audio(0, 1, 0);
        for (i, number) in order.iter().enumerate() {
            bench.audio(i as u64 * 20 + 20, 1, *number);
        }
        bench.stream.tick(bench.at(100_000));
        let expected: Vec<u64> = (0..=keys.len() as u64).map(|i| i * 160).collect();
        prop_assert_eq!(bench.tap.positions(Side::Received), expected);
    }

    #[test]
    fn no_datagram_breaks_a_stream(datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 0..50)) {
        let mut bench = Bench::new();
        for (i, mut datagram) in datagrams.into_iter().enumerate() {
            if let Some(first) = datagram.first_mut() {
                *first = 0x80 | *first & 0x3f; // the right version, so that more of them get in
            }
            if let Some(second) = datagram.get_mut(1) {
                *second &= 0x87;
            }
            bench.stream.handle_packet(bench.at(i as u64 * 20), address(4000), &datagram);
            bench.stream.tick(bench.at(i as u64 * 20));
        }
        prop_assert!(bench.stream.statistics().received <= 50);
    }
}
