//! What a leg costs: N legs on the media threads against a plain UDP reflector, which sends every packet back.
//!
//! `cargo bench --bench media -- [LEGS] [SECONDS]` (200 and 10 when not given). Prints CPU milliseconds for a second of
//! one call, without the reflector's own; how late ticks came; and the distance of a leg's packets as the reflector
//! saw them. A call-second is 50 packets out, 50 in.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use callahead::audio::vad::{Vad, VadConfig};
use callahead::audio::{Codec, FRAME, tones};
use callahead::engine::media::{Leg, LegCommand, LegConfig, MediaPool, PoolConfig};
use callahead::media::{Connection, StreamConfig};
use callahead::record::{self, Ended, Handle, Recorder, RecorderConfig, RecordingSpec};
use nix::sys::resource::{Usage, UsageWho, getrusage};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What all legs do in one run.
#[derive(Clone, Copy)]
struct Work {
    name: &'static str,
    play: bool,
    listen: bool,
    record: bool,
}

const WORKS: [Work; 4] = [
    Work { name: "silence out, echo in", play: false, listen: false, record: false },
    Work { name: "playing", play: true, listen: false, record: false },
    Work { name: "recording", play: false, listen: false, record: true },
    Work { name: "playing, recording, listening", play: true, listen: true, record: true },
];

fn main() -> anyhow::Result<()> {
    // `cargo bench` adds a flag of its own.
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let (legs, seconds) = (numbers.next().unwrap_or(200), numbers.next().unwrap_or(10));
    println!("voice detector: {:.1} us for a 20 ms frame", vad_cost().as_secs_f64() * 1e6);
    println!("{legs} legs, {seconds} s, 2 media threads");
    println!(
        "{:<31}{:>15}{:>26}{:>26}{:>15}",
        "", "CPU ms/call-s", "tick late p50/p99/max ms", "packet delta p50/p99/max", "sent/received"
    );
    for work in WORKS {
        run(work, legs, Duration::from_secs(seconds))?;
    }
    Ok(())
}

fn run(work: Work, legs: u64, duration: Duration) -> anyhow::Result<()> {
    let socket = UdpSocket::bind((LOCAL, 0))?;
    let remote = socket.local_addr()?;
    let over = Arc::new(AtomicBool::new(false));
    let reflector = thread::spawn({
        let over = over.clone();
        move || reflect(&socket, &over)
    });
    let directory = std::env::temp_dir().join(format!("callahead-bench-{}", std::process::id()));
    let recorder = Recorder::start(RecorderConfig { directory: directory.clone(), min_free_bytes: 0 })?;
    let pool = MediaPool::start(&PoolConfig { threads: 2, ports: 10_000..=30_000, ..PoolConfig::default() })?;
    let clip: Arc<[i16]> = tones::sine(440.0, duration * 2, -12.0).into();
    let before = getrusage(UsageWho::RUSAGE_SELF)?;
    let began = Instant::now();
    let opened: Vec<(Leg, Option<Handle>)> = (0..legs)
        .map(|number| open(work, &pool, &recorder, remote, &clip, number as u32))
        .collect::<anyhow::Result<_>>()?;
    thread::sleep(duration);
    let statistics = pool.statistics();
    let elapsed = began.elapsed().as_secs_f64();
    over.store(true, Relaxed);
    let (reflected, mut deltas) = reflector.join().map_err(|_| anyhow::anyhow!("the reflector failed"))??;
    let spent = cpu(&getrusage(UsageWho::RUSAGE_SELF)?) - cpu(&before) - reflected;
    let handles: Vec<Handle> = opened.into_iter().filter_map(|(_, handle)| handle).collect();
    let ended: Vec<Ended> = handles.into_iter().map(Handle::wait_closed).collect();
    let gaps: u64 = ended.iter().map(|ended| ended.gaps).sum();
    if let Some(first) = ended.first() {
        record::finish(&first.journal)?;
    }
    std::fs::remove_dir_all(&directory)?;
    deltas.sort_unstable();
    let delta = |percent: usize| {
        let index = (deltas.len() * percent / 100).min(deltas.len().saturating_sub(1));
        deltas.get(index).copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    let late = statistics.lateness;
    let [p50, p99, max] = [late.p50, late.p99, late.max].map(|late| late.as_secs_f64() * 1e3);
    println!(
        "{:<31}{:>15.3}{:>26}{:>26}{:>15}{}",
        work.name,
        spent.as_secs_f64() * 1e3 / (legs as f64 * elapsed),
        format!("{p50:.2} / {p99:.2} / {max:.2}"),
        format!("{:.1} / {:.1} / {:.1}", delta(50), delta(99), delta(100)),
        format!("{}/{}", statistics.packets_out, statistics.packets_in),
        if gaps > 0 { format!("  {gaps} frames lost in recordings") } else { String::new() },
    );
    Ok(())
}

fn open(
    work: Work,
    pool: &MediaPool,
    recorder: &Recorder,
    remote: SocketAddr,
    clip: &Arc<[i16]>,
    ssrc: u32,
) -> anyhow::Result<(Leg, Option<Handle>)> {
    let leg =
        pool.open(&LegConfig { ip: LOCAL, stream: StreamConfig { ssrc, ..StreamConfig::default() } })?;
    let codec = Codec::Pcmu;
    let connection = Connection {
        remote,
        codec,
        payload_type: 0,
        telephone_event: Some(101),
        receive_payload_type: 0,
        receive_telephone_event: Some(101),
        send: true,
        receive: true,
    };
    leg.try_send(LegCommand::Connect(connection))?;
    leg.try_send(LegCommand::Listen(work.listen))?;
    if work.play {
        leg.try_send(LegCommand::Play { id: 0, samples: clip.clone() })?;
    }
    if !work.record {
        return Ok((leg, None));
    }
    let id = uuid::Uuid::now_v7();
    let (tap, handle) =
        recorder.begin(&RecordingSpec { id, attempt: id, started_at: jiff::Timestamp::now() })?;
    leg.try_send(LegCommand::StartRecording(Box::new(tap)))?;
    Ok((leg, Some(handle)))
}

/// Sends every packet back; returns its own CPU time and the distances of each leg's packets.
fn reflect(socket: &UdpSocket, over: &AtomicBool) -> anyhow::Result<(Duration, Vec<Duration>)> {
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut last: HashMap<SocketAddr, Instant> = HashMap::new();
    let mut deltas = Vec::new();
    let mut datagram = [0; 2048];
    while !over.load(Relaxed) {
        let Ok((length, source)) = socket.recv_from(&mut datagram) else { continue };
        socket.send_to(&datagram[..length], source)?;
        let now = Instant::now();
        if let Some(before) = last.insert(source, now) {
            deltas.push(now - before);
        }
    }
    Ok((cpu(&getrusage(UsageWho::RUSAGE_THREAD)?), deltas))
}

fn cpu(usage: &Usage) -> Duration {
    let micros = |time: nix::sys::time::TimeVal| (time.tv_sec() * 1_000_000 + time.tv_usec()) as u64;
    Duration::from_micros(micros(usage.user_time()) + micros(usage.system_time()))
}

fn vad_cost() -> Duration {
    let samples = tones::sine(300.0, Duration::from_secs(20), -12.0);
    let mut vad = Vad::new(VadConfig::default());
    let began = Instant::now();
    for (i, frame) in samples.chunks(FRAME).enumerate() {
        vad.push((i * FRAME) as u64, frame, |_| {});
    }
    began.elapsed() / (samples.len() / FRAME) as u32
}
