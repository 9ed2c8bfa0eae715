//! Media threads over real sockets on the loopback interface.

use std::future::Future;
use std::net::{Ipv4Addr, UdpSocket};

use super::*;
use crate::audio::{Codec, FRAME, tones};
use crate::record::{self, Recorder, RecorderConfig, RecordingSpec};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn pool(ports: RangeInclusive<u16>) -> MediaPool {
    MediaPool::start(&PoolConfig { threads: 2, ports, quarantine: Duration::ZERO }).unwrap()
}

fn open(pool: &MediaPool) -> Leg {
    pool.open(&LegConfig { ip: LOCAL, stream: StreamConfig::default() }).unwrap()
}

fn connect(leg: &Leg, remote: SocketAddr) {
    let codec = Codec::Pcma;
    let connection =
        Connection { remote, codec, payload_type: 8, telephone_event: Some(101), receive_payload_type: 8, receive_telephone_event: Some(101), send: true, receive: true };
    leg.try_send(LegCommand::Connect(connection)).unwrap();
}

/// Nothing here depends on how long things take; the bound only turns a hang into a failure.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("hangs")
}

async fn until(leg: &mut Leg, wanted: impl Fn(&StreamEvent) -> bool) -> Vec<StreamEvent> {
    let mut events = Vec::new();
    loop {
        let event = soon(leg.events.recv()).await.expect("closed");
        let LegEvent::Stream(event) = event else { panic!("{event:?}") };
        let found = wanted(&event);
        events.push(event);
        if found {
            return events;
        }
    }
}

#[tokio::test]
async fn two_legs_talk_and_one_is_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let config = RecorderConfig { directory: directory.path().into(), min_free_bytes: 0 };
    let recorder = Recorder::start(config).unwrap();
    let spec = RecordingSpec {
        id: uuid::Uuid::now_v7(),
        attempt: uuid::Uuid::now_v7(),
        started_at: jiff::Timestamp::UNIX_EPOCH,
    };
    let (tap, handle) = recorder.begin(&spec).unwrap();
    let pool = pool(28_100..=28_199);
    let (mut engine, mut customer) = (open(&pool), open(&pool));
    engine.try_send(LegCommand::StartRecording(Box::new(tap))).unwrap();
    connect(&engine, customer.local_addr());
    connect(&customer, engine.local_addr());
    let prompt = tones::sine(440.0, Duration::from_millis(400), -12.0);
    let answer = tones::sine(620.0, Duration::from_millis(600), -12.0);
    engine.try_send(LegCommand::Play { id: 1, samples: Arc::from(prompt.as_slice()) }).unwrap();
    until(&mut engine, |event| *event == StreamEvent::PlayDone { id: 1 }).await;
    customer.try_send(LegCommand::Play { id: 2, samples: Arc::from(answer.as_slice()) }).unwrap();
    until(&mut customer, |event| *event == StreamEvent::PlayDone { id: 2 }).await;
    customer.try_send(LegCommand::SendDigits("5#".into())).unwrap();
    let events = until(&mut engine, |event| *event == StreamEvent::Digit('#')).await;
    assert_eq!(events, [StreamEvent::Digit('5'), StreamEvent::Digit('#')]);
    assert_eq!(pool.statistics().legs, 2);
    let heard = soon(engine.close()).await.unwrap();
    let said = soon(customer.close()).await.unwrap();
    assert!(heard.received <= said.sent && heard.received >= 30, "{heard:?} {said:?}");
    assert_eq!((heard.lost, heard.malformed, heard.strangers), (0, 0, 0));
    let ended = soon(handle.closed()).await;
    let finished = record::finish(&ended.journal).unwrap();
    assert_eq!(finished.gaps, 0);
    let mut wav = hound::WavReader::open(&finished.path).unwrap();
    let samples: Vec<i16> = wav.samples().map(Result::unwrap).collect();
    for (channel, clip) in [(0, &answer), (1, &prompt)] {
        let mut channel = samples.iter().copied().skip(channel).step_by(2).collect::<Vec<i16>>();
        // Frame after frame; a machine that starves the thread for long may leave a hole between two.
        for frame in clip.chunks(FRAME) {
            let coded: Vec<i16> = frame.iter().map(|s| Codec::Pcma.decode(Codec::Pcma.encode(*s))).collect();
            let at = channel.windows(coded.len()).position(|window| window == coded);
            channel.drain(..at.expect("the clip is whole") + coded.len());
        }
    }
}

#[tokio::test]
async fn garbage_and_strangers_are_counted_and_change_nothing() {
    let pool = pool(28_200..=28_299);
    let mut leg = open(&pool);
    let (peer, stranger) = (UdpSocket::bind((LOCAL, 0)).unwrap(), UdpSocket::bind((LOCAL, 0)).unwrap());
    connect(&leg, peer.local_addr().unwrap());
    let mut packet = [0xd5; 12 + FRAME];
    packet[..12].copy_from_slice(&[0x80, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9]);
    let event = loop {
        // Until the connection has been taken, what comes is early.
        peer.send_to(&packet, leg.local_addr()).unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        if let Ok(event) = leg.events.try_recv() {
            break event;
        }
    };
    let source = peer.local_addr().unwrap();
    assert_eq!(event, LegEvent::Stream(StreamEvent::FirstPacket { source }));
    stranger.send_to(&packet, leg.local_addr()).unwrap();
    stranger.send_to(b"GET / HTTP/1.1\r\n\r\n", leg.local_addr()).unwrap();
    // Our packets go on to the peer; each one that arrives is at least one tick of the leg.
    peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut buffer = [0; 2048];
    for _ in 0..5 {
        assert_eq!(peer.recv_from(&mut buffer).unwrap(), (12 + FRAME, leg.local_addr()));
    }
    let statistics = soon(leg.close()).await.unwrap();
    assert_eq!((statistics.strangers, statistics.malformed), (1, 1));
}

#[tokio::test]
async fn a_closed_legs_port_is_free_again_and_a_leg_outlives_its_pool() {
    let pool = pool(28_300..=28_301);
    let first = open(&pool);
    let refused = pool.open(&LegConfig { ip: LOCAL, stream: StreamConfig::default() });
    assert_eq!(refused.err().unwrap().kind(), io::ErrorKind::AddrInUse);
    let port = first.local_addr().port();
    assert!(soon(first.close()).await.is_some());
    let mut second = open(&pool);
    assert_eq!(second.local_addr().port(), port);
    drop(pool);
    connect(&second, SocketAddr::new(LOCAL, 9));
    second.try_send(LegCommand::SendDigits("x".into())).unwrap();
    let refusal = soon(second.events.recv()).await;
    assert_eq!(refusal, Some(LegEvent::DigitsRefused(DigitError::NotADigit('x'))));
    second.try_send(LegCommand::Play { id: 3, samples: Arc::from([0; 10]) }).unwrap();
    until(&mut second, |event| *event == StreamEvent::PlayDone { id: 3 }).await;
    assert!(soon(second.close()).await.unwrap().sent > 0);
}

#[tokio::test]
async fn events_that_nobody_fetches_wait_in_order() {
    let pool = pool(28_400..=28_499);
    let mut leg = open(&pool);
    let sink = UdpSocket::bind((LOCAL, 0)).unwrap();
    connect(&leg, sink.local_addr().unwrap());
    let total = 200;
    let mut id = 0;
    while id < total {
        // Twice as many clips as the event queue holds are played before the first event is fetched.
        match leg.try_send(LegCommand::Play { id, samples: Arc::from([0; 10]) }) {
            Ok(()) => id += 1,
            Err(error) => {
                assert_eq!(error, LegError::Busy);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    for id in 0..total {
        let event = soon(leg.events.recv()).await;
        assert_eq!(event, Some(LegEvent::Stream(StreamEvent::PlayDone { id })));
    }
}
